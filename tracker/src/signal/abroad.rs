//! What signalling tells other nodes of a cluster, and hears of them. How it gets there is not seen here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cardume_wire::signal::FromTracker;
use cardume_wire::{ChannelId, PeerId};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::node::NodeId;

/// What waits to go to other nodes at most: when a node dies, thousands of viewers join another within seconds, and each is
/// told of and says a few things. Beyond it viewers try again by themselves.
const OUTWARD_LIMIT: usize = 16 * 1024;
/// Viewers that a [`News::Sample`] names at most.
pub(super) const SAMPLE_LIMIT: usize = 8;

/// Something for other nodes.
#[derive(Debug, Clone, PartialEq)]
pub enum Outward {
    /// For the node that has this peer.
    Letter {
        /// The node.
        node: NodeId,
        /// Whom it is for, or whom it is about.
        peer: PeerId,
        /// The channel that both watch.
        channel: ChannelId,
        /// What.
        letter: Letter,
    },
    /// For all who have viewers of the channel.
    News {
        /// The channel.
        channel: ChannelId,
        /// What.
        news: News,
    },
}

/// What one node has for one viewer of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Letter {
    /// To be passed on to it: something of another viewer, or about one.
    Tell {
        /// As it goes out.
        message: FromTracker,
    },
    /// A viewer of the sending node blames it for wrong media.
    Blame {
        /// Who does.
        by: PeerId,
    },
}

/// What one node tells all others of the viewers of a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum News {
    /// How many it has, and some that are worth knowing.
    Sample {
        /// All of them.
        n_viewers: u32,
        /// At most [`SAMPLE_LIMIT`].
        peers: Vec<PeerId>,
    },
    /// One that may have been at another node before has joined with its token.
    Resumed {
        /// Which.
        peer: PeerId,
    },
    /// One is evicted.
    Evicted {
        /// Which.
        peer: PeerId,
    },
}

impl Letter {
    /// Whose offer it is, if it is one.
    pub fn offerer(&self) -> Option<PeerId> {
        match self {
            Self::Tell { message: FromTracker::Offer { from, .. } } => Some(*from),
            _ => None,
        }
    }

    /// Whether it is something that nodes tell each other's viewers.
    pub(super) fn is_sound(&self) -> bool {
        use FromTracker::{Answer, Blamed, Candidate, Gone, Lost, Offer};
        let Self::Tell { message } = self else { return true };
        matches!(
            message,
            Offer { .. } | Answer { .. } | Candidate { .. } | Gone { .. } | Lost { .. } | Blamed { .. }
        )
    }
}

/// The way from signalling to the other nodes; cheap to clone. Nobody waits for it.
#[derive(Debug, Clone)]
pub struct Abroad {
    queue: mpsc::Sender<Outward>,
    n_dropped: Arc<AtomicU64>,
    is_told: Arc<AtomicBool>,
    is_open: Arc<AtomicBool>,
}

impl Abroad {
    /// The way, and its other end.
    pub fn new() -> (Self, mpsc::Receiver<Outward>) {
        let (queue, receiver) = mpsc::channel(OUTWARD_LIMIT);
        let is_open = Arc::new(AtomicBool::new(true));
        (Self { queue, n_dropped: Arc::default(), is_told: Arc::default(), is_open }, receiver)
    }

    /// Says whether the other nodes can be reached: while they cannot, viewers are told at once that theirs are not there. True
    /// when that is news.
    pub fn set_open(&self, is_open: bool) -> bool {
        self.is_open.swap(is_open, Ordering::Relaxed) != is_open
    }

    /// Whether they can be reached, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// How much was lost so far.
    pub fn n_dropped(&self) -> u64 {
        self.n_dropped.load(Ordering::Relaxed)
    }

    /// Queues something. When [`OUTWARD_LIMIT`] wait already it is lost, as it would be on a bad network.
    pub(super) fn send(&self, outward: Outward) {
        if self.queue.try_send(outward).is_ok() {
            self.is_told.store(false, Ordering::Relaxed);
            return;
        }
        let n_dropped = self.n_dropped.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(n_dropped, "what viewers tell those of other nodes is lost: too much of it waits");
        }
    }
}
