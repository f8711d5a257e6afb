//! Which broadcasts of other nodes are shown here: those that somebody here wants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode};
use cardume_wire::{ChannelId, Epoch, TrackId};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::nodes::SILENCE_LIMIT;
use super::outbox::Post;
use super::refill::Ask;
use super::{ClusterError, Shared, parcel, subject};
use crate::channel::{Channel, Channels, Elsewhere};
use crate::node::NodeId;
use crate::server_peer::{Progress, ServerPeer, ServerPeers};

/// How often is looked whether anything has changed, at least and at most: when thousands of viewers come, each is a change.
const REVIEW_INTERVAL: Duration = Duration::from_millis(500);
const REVIEW_PAUSE: Duration = Duration::from_millis(20);
/// How often the node on air is told that its broadcast is wanted, and at most asked for what was lost.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// The same when NATS says that the node is not there: after an outage it comes back a moment later than we do.
const NOBODY_INTERVAL: Duration = Duration::from_millis(100);

/// NATS that was restarted is back sooner; viewers have two seconds to find somebody else.
const OUTAGE_PATIENCE: Duration = Duration::from_millis(500);

/// Whom a channel is taken from.
type Source = (NodeId, Epoch);

/// Keeps every channel to what the nodes say, until dropped.
pub(super) struct Followers {
    shared: Arc<Shared>,
    channels: Channels,
    servers: Arc<ServerPeers>,
    /// Whose broadcasts are elsewhere, by the last look.
    elsewhere: BTreeMap<ChannelId, Source>,
    /// What is taken over; dropping a guard ends it.
    following: BTreeMap<ChannelId, (Source, tokio_util::sync::DropGuard)>,
}

impl Followers {
    pub(super) fn new(shared: Arc<Shared>, channels: Channels, servers: Arc<ServerPeers>) -> Self {
        Self { shared, channels, servers, elsewhere: BTreeMap::new(), following: BTreeMap::new() }
    }

    pub(super) async fn run(mut self) {
        let mut changes = self.channels.changes();
        let shared = Arc::clone(&self.shared);
        let mut ticks = interval(REVIEW_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let channels = self.channels.clone();
            self.elsewhere.retain(|id, _| channels.find(id).is_some());
            self.following.retain(|id, _| channels.find(id).is_some());
            for channel in channels.iter().filter(|channel| channel.is_for_senders()) {
                self.review(&channel).await;
            }
            tokio::time::sleep(REVIEW_PAUSE).await;
            tokio::select! {
                _ = ticks.tick() => {}
                () = shared.news.notified() => {}
                Ok(()) = changes.changed() => {}
            }
        }
    }

    async fn review(&mut self, channel: &Arc<Channel>) {
        let id = channel.id();
        let Some(server) = self.servers.find(id) else { return };
        let mine = self.shared.mine().get(id).copied();
        let theirs = self.shared.nodes().on_air(id);
        let source = theirs.filter(|(_, epoch)| mine.is_none_or(|mine| mine < *epoch));
        // With NATS away for long, a broadcast elsewhere keeps nobody from sending here.
        let is_sure = !self.shared.connection.state().is_down_for(SILENCE_LIMIT);
        channel.set_elsewhere(source.map(|(_, epoch)| Elsewhere { epoch, is_sure }));
        if source.is_some() && mine.is_some() {
            tracing::warn!(channel = %id, "another node has a newer broadcast: ours ends");
            server.yield_air().await;
        }
        self.keep_to(channel, &server, source.filter(|_| channel.is_wanted()));
        let was_elsewhere = match source {
            Some(source) => self.elsewhere.insert(id.clone(), source).is_some(),
            None => self.elsewhere.remove(id).is_some(),
        };
        if was_elsewhere && source.is_none() {
            server.abandon().await;
        }
    }

    /// Takes the channel over from this source, and from no other.
    fn keep_to(&mut self, channel: &Arc<Channel>, server: &ServerPeer, source: Option<Source>) {
        let id = channel.id();
        if self.following.get(id).map(|(source, _)| *source) == source {
            return;
        }
        self.following.remove(id);
        let Some(source) = source else { return };
        let stop = CancellationToken::new();
        let follower = Follower {
            shared: Arc::clone(&self.shared),
            channel: id.clone(),
            holder: source.0,
            server: server.clone(),
            next: BTreeMap::new(),
            ask_at: Instant::now(),
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            if let Some(Err(error)) = stopped.run_until_cancelled(follower.run()).await {
                tracing::warn!("a broadcast of another node cannot be had: {error}");
            }
        });
        self.following.insert(id.clone(), (source, stop.drop_guard()));
    }
}

/// Takes one broadcast over.
struct Follower {
    shared: Arc<Shared>,
    channel: ChannelId,
    holder: NodeId,
    server: ServerPeer,
    next: BTreeMap<TrackId, u32>,
    /// Not before this.
    ask_at: Instant,
}

impl Follower {
    async fn run(mut self) -> Result<(), ClusterError> {
        let mut parts = self.shared.subscribe(subject::media_of(&self.channel)).await?;
        let mut refills = self.shared.subscribe(subject::refill(self.shared.me, &self.channel)).await?;
        let mut reconnects = self.shared.connection.changes();
        reconnects.mark_unchanged();
        let mut ticks = interval(ASK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut lacks, mut cut_off_at) = (true, None);
        loop {
            if lacks && self.ask_at <= Instant::now() {
                // What is published meanwhile waits in the subscription, so that everything comes in order.
                lacks = self.catch_up(&mut refills).await;
            }
            let message = tokio::select! {
                message = parts.next() => message,
                message = refills.next() => message,
                _ = ticks.tick() => {
                    self.ask(&Ask::keep());
                    continue;
                }
                _ = reconnects.changed() => {
                    let is_up = self.shared.connection.is_up();
                    if is_up {
                        (lacks, self.ask_at) = (true, Instant::now());
                    }
                    cut_off_at = (!is_up).then(|| Instant::now() + OUTAGE_PATIENCE);
                    continue;
                }
                () = sleep_until(cut_off_at.unwrap_or_else(Instant::now)), if cut_off_at.is_some() => {
                    cut_off_at = None;
                    self.server.cut_off().await;
                    continue;
                }
                () = sleep_until(self.ask_at), if lacks => continue,
            };
            let Some(message) = message else { return Ok(()) };
            lacks = self.take(message).await.is_none_or(|progress| progress.has_gap);
        }
    }

    /// Asks for what is missing, and takes it until its end, or for a second. True when something is missing still.
    async fn catch_up(&mut self, refills: &mut async_nats::Subscriber) -> bool {
        let now = Instant::now();
        self.ask_at = now + ASK_INTERVAL;
        // Of an older answer.
        while refills.next().now_or_never().flatten().is_some() {}
        self.ask(&Ask::since(&self.next));
        let mut lacks = true;
        while let Ok(Some(message)) = timeout_at(self.ask_at, refills.next()).await {
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                self.ask_at = now + NOBODY_INTERVAL;
                return true;
            }
            if message.payload.is_empty() {
                return lacks;
            }
            lacks = self.take(message).await.is_none_or(|progress| progress.has_gap);
        }
        true
    }

    fn ask(&self, ask: &Ask) {
        let reply = (!ask.is_keep()).then(|| subject::refill(self.shared.me, &self.channel));
        let subject = subject::ask(self.holder, &self.channel);
        self.shared.small.post(Post { subject, reply, payload: ask.to_json() });
    }

    /// `None` when nothing can be said of it.
    async fn take(&mut self, message: Message) -> Option<Progress> {
        let messages = parcel::unpack(message.payload)?;
        self.shared.received.count_media();
        let progress = self.server.adopt(messages).await?;
        self.next.clone_from(&progress.next);
        Some(progress)
    }
}
