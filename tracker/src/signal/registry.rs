//! The swarms of all channels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cardume_wire::signal::FromTracker;
use cardume_wire::{ChannelId, PeerId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::abroad::{Abroad, Letter, News};
use super::swarm::{ReportTotals, Swarm, to_json};
use crate::channel::Channels;
use crate::node::NodeId;

/// Shortest time between two `channel` messages that only count viewers anew.
///
/// Two seconds: 10,000 viewers then cost 5,000 small messages a second at worst. On air and off air go out at once.
const COUNT_INTERVAL: Duration = Duration::from_secs(2);

/// Who watches what: one swarm per channel, each with a lock of its own.
#[derive(Debug)]
pub struct Registry {
    swarms: BTreeMap<ChannelId, Arc<Swarm>>,
}

impl Registry {
    /// Empty swarms for these channels; `seed` makes peer ids, so it must not be guessable. In a cluster `abroad` takes what other
    /// nodes should hear.
    pub fn new(channels: &Channels, viewer_limit: u32, seed: u64, abroad: Option<&Abroad>) -> Self {
        let viewer_limit = usize::try_from(viewer_limit).unwrap_or(usize::MAX);
        let swarms = channels.iter().zip(0_u64..).map(|(channel, index)| {
            // Another node's film of the same name is another film.
            let abroad = abroad.filter(|_| channel.is_for_senders()).cloned();
            let swarm = Swarm::new(Arc::clone(channel), viewer_limit, seed.wrapping_add(index), abroad);
            (channel.id().clone(), Arc::new(swarm))
        });
        Self { swarms: swarms.collect() }
    }

    pub(super) fn find(&self, channel: &ChannelId) -> Option<&Arc<Swarm>> {
        self.swarms.get(channel).filter(|swarm| !swarm.channel().is_void())
    }

    /// What the channel's viewers reported in all.
    pub fn totals(&self, channel: &ChannelId) -> ReportTotals {
        self.swarms.get(channel).map(|swarm| swarm.totals()).unwrap_or_default()
    }

    /// The channel's peers that enough of its viewers blame for wrong media; wakes when there are more. Of a channel that
    /// is not in the table there are none.
    pub fn evicted(&self, channel: &ChannelId) -> watch::Receiver<BTreeSet<PeerId>> {
        let nobody = || watch::Sender::default().subscribe();
        self.swarms.get(channel).map_or_else(nobody, |swarm| swarm.evicted())
    }

    /// Tells the neighbours of each peer of the channel that somebody doubts, until nobody can any more: they see for
    /// themselves.
    pub fn spread_doubts(
        &self,
        channel: &ChannelId,
        mut doubted: mpsc::Receiver<PeerId>,
    ) -> impl Future<Output = ()> + use<> {
        let swarm = self.swarms.get(channel).cloned();
        async move {
            while let Some((swarm, peer)) = swarm.as_ref().zip(doubted.recv().await) {
                swarm.tell_doubted(peer);
            }
        }
    }

    /// Takes what another node has for a viewer of ours, or about it.
    pub fn receive(&self, channel: &ChannelId, node: NodeId, to: PeerId, letter: Letter) {
        if let Some(swarm) = self.shared(channel) {
            swarm.receive(node, to, letter);
        }
    }

    /// Takes what another node tells of its viewers.
    pub fn hear(&self, channel: &ChannelId, node: NodeId, news: &News) {
        if let Some(swarm) = self.shared(channel) {
            swarm.hear(node, news);
        }
    }

    /// Tells the other nodes of our viewers, and forgets what they told long ago.
    pub fn exchange_samples(&self) {
        for swarm in self.swarms.values() {
            if let Some(sample) = swarm.sample_for_others() {
                swarm.tell_others(sample);
            }
            swarm.count_elsewhere();
        }
    }

    /// A node is gone, with what it told.
    pub fn forget_node(&self, node: NodeId) {
        self.swarms.values().for_each(|swarm| swarm.forget_node(node));
    }

    /// The swarm, if it has a part at other nodes.
    fn shared(&self, channel: &ChannelId) -> Option<&Arc<Swarm>> {
        self.swarms.get(channel).filter(|swarm| swarm.channel().is_for_senders())
    }

    /// Tells all viewers how their channel changes, until `stop`.
    pub async fn announce_changes(self: Arc<Self>, channels: Channels, stop: CancellationToken) {
        let announcers = self.swarms.values().map(|swarm| announce(swarm, &channels));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = futures_util::future::join_all(announcers) => {}
        }
    }
}

async fn announce(swarm: &Swarm, channels: &Channels) {
    let mut changes = channels.changes();
    let mut last = swarm.channel().describe();
    let mut counted_at = tokio::time::Instant::now();
    while changes.changed().await.is_ok() {
        let mut now = swarm.channel().describe();
        if now == last {
            continue;
        }
        if now.is_live == last.is_live {
            // Wait for the count to settle, but not while the channel goes on or off air.
            let settled = tokio::time::sleep_until(counted_at + COUNT_INTERVAL);
            let is_live = swarm.channel().is_live();
            tokio::select! {
                () = settled => {}
                () = live_other_than(swarm, is_live) => {}
            }
            now = swarm.channel().describe();
        }
        counted_at = tokio::time::Instant::now();
        swarm.announcement.send_replace(to_json(&FromTracker::Channel { channel: now.clone() }));
        last = now;
    }
}

async fn live_other_than(swarm: &Swarm, is_live: bool) {
    let (mut window, mut elsewhere) = (swarm.channel().window(), swarm.channel().elsewhere());
    while swarm.channel().is_live() == is_live {
        let changed = tokio::select! {
            changed = window.changed() => changed,
            changed = elsewhere.changed() => changed,
        };
        if changed.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
