//! The server peer: for each channel a task that runs a [`cardume_swarm::Session`] in the server role, with links
//! to viewers.
//!
//! Knows nothing of signalling. Whose link it is has been settled before it gets here.

mod actor;
mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cardume_swarm::Stats;
use cardume_wire::{ChannelId, PeerId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::channel::ChannelEnd;
use crate::egress::{Egress, EgressBudget, Meter};
use crate::store::Store;

use actor::{Actor, Command};
pub use link::{Carrier, Intake};

/// Commands that may wait for a channel's task; links wait when it is full. With whole messages of 64 KiB, 16 MiB.
const COMMAND_LIMIT: usize = 256;
/// How long a request for statistics waits for the channel's task.
const STATS_TIMEOUT: Duration = Duration::from_secs(2);

/// What all server peers of a tracker have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// Where epochs are kept.
    pub store: Arc<Store>,
    /// What all of them together may send.
    pub budget: Arc<EgressBudget>,
    /// Links of one channel at most.
    pub link_limit: usize,
    /// Cancelled when the tracker goes down.
    pub stop: CancellationToken,
    /// Where their tasks run.
    pub tasks: TaskTracker,
}

/// Peers that a channel's server peer has nothing to do with any more.
pub type Banned = watch::Receiver<BTreeSet<PeerId>>;

/// What a channel's server peer is told of its viewers, and tells of them.
#[derive(Debug)]
pub struct Ties {
    /// Whom it neither feeds nor takes a link of.
    pub banned: Banned,
    /// Takes those that do not answer it.
    pub doubted: mpsc::Sender<PeerId>,
}

/// The server peers of all channels.
#[derive(Debug, Default)]
pub struct ServerPeers {
    by_channel: RwLock<BTreeMap<ChannelId, ServerPeer>>,
}

impl ServerPeers {
    /// Starts the server peer of one more channel.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn start(&self, end: ChannelEnd, ties: Ties, common: &Common) -> Result<(), getrandom::Error> {
        let seed = getrandom::u64()?;
        let (sender, commands) = mpsc::channel(COMMAND_LIMIT);
        let budget = Arc::clone(&common.budget);
        let server = ServerPeer {
            commands: sender,
            meter: Arc::default(),
            n_links: Arc::default(),
            budget,
            banned: ties.banned.clone(),
        };
        let mut by_channel = self.by_channel.write().unwrap_or_else(PoisonError::into_inner);
        by_channel.insert(end.channel().id().clone(), server);
        drop(by_channel);
        let actor = Actor::new(end, ties, seed, common);
        common.tasks.spawn(actor.run(commands));
        Ok(())
    }

    /// The server peer of this channel.
    pub fn find(&self, channel: &ChannelId) -> Option<ServerPeer> {
        self.by_channel.read().unwrap_or_else(PoisonError::into_inner).get(channel).cloned()
    }

    /// Forgets the server peer of this channel; it ends with the `stop` that it was started with.
    pub fn remove(&self, channel: &ChannelId) {
        self.by_channel.write().unwrap_or_else(PoisonError::into_inner).remove(channel);
    }
}

/// A handle to one channel's server peer; cheap to clone.
#[derive(Debug, Clone)]
pub struct ServerPeer {
    commands: mpsc::Sender<Command>,
    meter: Arc<Meter>,
    n_links: Arc<AtomicUsize>,
    budget: Arc<EgressBudget>,
    banned: Banned,
}

impl ServerPeer {
    /// What it has sent over its links.
    pub fn egress(&self) -> Egress {
        self.meter.read()
    }

    /// How many viewers have a link to it.
    pub fn n_links(&self) -> usize {
        self.n_links.load(Ordering::Relaxed)
    }

    /// How many commands wait for its task, and how many may.
    pub fn queue(&self) -> (usize, usize) {
        (self.commands.max_capacity() - self.commands.capacity(), self.commands.max_capacity())
    }

    /// Whether it takes no link of this peer.
    pub fn has_banned(&self, peer: PeerId) -> bool {
        self.banned.borrow().contains(&peer)
    }

    /// How its session fares; `None` when the tracker goes down or is overloaded.
    pub async fn stats(&self) -> Option<Stats> {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.commands.send(Command::Stats(reply)).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(STATS_TIMEOUT, ask).await.ok().flatten()
    }
}
