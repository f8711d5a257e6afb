//! The swarms of all channels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use cardume_wire::signal::FromTracker;
use cardume_wire::{ChannelId, PeerId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::abroad::{Abroad, Letter, News};
use super::swarm::{ReportTotals, Swarm, to_json};
use crate::channel::{Channel, Channels};
use crate::node::NodeId;

/// Shortest time between two `channel` messages that only count viewers anew.
///
/// Two seconds: 10,000 viewers then cost 5,000 small messages a second at worst. On air and off air go out at once.
const COUNT_INTERVAL: Duration = Duration::from_secs(2);

/// Who watches what: one swarm per channel, each with a lock of its own.
#[derive(Debug)]
pub struct Registry {
    swarms: RwLock<BTreeMap<ChannelId, Arc<Swarm>>>,
    terms: Mutex<Terms>,
    /// `None` without other nodes.
    abroad: Option<Abroad>,
}

/// What new swarms begin with.
#[derive(Debug)]
struct Terms {
    viewer_limit: u32,
    seed: u64,
}

impl Registry {
    /// Empty swarms for these channels; `seed` makes peer ids, so it must not be guessable. In a cluster `abroad` takes what other
    /// nodes should hear.
    pub fn new(channels: &Channels, viewer_limit: u32, seed: u64, abroad: Option<&Abroad>) -> Self {
        let terms = Mutex::new(Terms { viewer_limit, seed });
        let registry = Self { swarms: RwLock::default(), terms, abroad: abroad.cloned() };
        channels.iter().for_each(|channel| registry.add(&channel));
        registry
    }

    /// An empty swarm for one more channel.
    pub fn add(&self, channel: &Arc<Channel>) {
        let mut terms = self.terms();
        terms.seed = terms.seed.wrapping_add(1);
        // Another node's film of the same name is another film.
        let abroad = self.abroad.clone().filter(|_| channel.is_for_senders());
        let swarm = Swarm::new(Arc::clone(channel), as_len(terms.viewer_limit), terms.seed, abroad);
        drop(terms);
        let mut swarms = self.swarms.write().unwrap_or_else(PoisonError::into_inner);
        swarms.insert(channel.id().clone(), Arc::new(swarm));
    }

    /// Takes the channel's swarm away; its viewers' sockets end.
    pub fn remove(&self, channel: &ChannelId) {
        let removed = self.swarms.write().unwrap_or_else(PoisonError::into_inner).remove(channel);
        if let Some(swarm) = removed {
            swarm.close();
        }
    }

    /// Lets so many viewers into each swarm from now on. Nobody has to leave.
    pub fn set_viewer_limit(&self, viewer_limit: u32) {
        self.terms().viewer_limit = viewer_limit;
        let swarms = self.swarms.read().unwrap_or_else(PoisonError::into_inner);
        swarms.values().for_each(|swarm| swarm.set_viewer_limit(as_len(viewer_limit)));
    }

    pub(super) fn find(&self, channel: &ChannelId) -> Option<Arc<Swarm>> {
        self.swarm(channel).filter(|swarm| !swarm.channel().is_void())
    }

    /// Whether this is a node of a cluster.
    pub fn has_other_nodes(&self) -> bool {
        self.abroad.is_some()
    }

    fn swarm(&self, channel: &ChannelId) -> Option<Arc<Swarm>> {
        self.swarms.read().unwrap_or_else(PoisonError::into_inner).get(channel).cloned()
    }

    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the channel's viewers reported in all.
    pub fn totals(&self, channel: &ChannelId) -> ReportTotals {
        self.swarm(channel).map(|swarm| swarm.totals()).unwrap_or_default()
    }

    /// The channel's peers that enough of its viewers blame for wrong media; wakes when there are more. Of a channel that
    /// is not in the table there are none.
    pub fn evicted(&self, channel: &ChannelId) -> watch::Receiver<BTreeSet<PeerId>> {
        let nobody = || watch::Sender::default().subscribe();
        self.swarm(channel).map_or_else(nobody, |swarm| swarm.evicted())
    }

    /// Tells the neighbours of each peer of the channel that somebody doubts, until nobody can any more: they see for
    /// themselves.
    pub fn spread_doubts(
        &self,
        channel: &ChannelId,
        mut doubted: mpsc::Receiver<PeerId>,
    ) -> impl Future<Output = ()> + use<> {
        let swarm = self.swarm(channel);
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
        for swarm in self.all() {
            if let Some(sample) = swarm.sample_for_others() {
                swarm.tell_others(sample);
            }
            swarm.count_elsewhere();
        }
    }

    /// A node is gone, with what it told.
    pub fn forget_node(&self, node: NodeId) {
        self.all().iter().for_each(|swarm| swarm.forget_node(node));
    }

    /// The other nodes are out of reach: nobody answers what was offered to their viewers.
    pub fn return_offers(&self) {
        self.all().iter().for_each(|swarm| swarm.return_offers(None));
    }

    /// The swarm, if it has a part at other nodes.
    fn shared(&self, channel: &ChannelId) -> Option<Arc<Swarm>> {
        self.swarm(channel).filter(|swarm| swarm.channel().is_for_senders())
    }

    fn all(&self) -> Vec<Arc<Swarm>> {
        self.swarms.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Tells a channel's viewers how it changes, until `stop`.
    pub fn announce_changes(
        &self,
        channel: &ChannelId,
        channels: Channels,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let swarm = self.swarm(channel);
        async move {
            let Some(swarm) = swarm else { return };
            stop.run_until_cancelled(announce(&swarm, &channels)).await;
        }
    }
}

fn as_len(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
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
