//! What is told of a node's part in its cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shared;
use super::outbox::Outgoing;
use crate::signal::Abroad;

/// Counts what passes; a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Meter {
    shared: Arc<Shared>,
    abroad: Abroad,
}

/// What came of other nodes and was taken.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Parcels of media.
    n_media: AtomicU64,
    /// Everything else.
    n_small: AtomicU64,
}

/// A node and its cluster, as they are now, with counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whether NATS is there.
    pub is_connected: bool,
    /// Other nodes that live.
    pub n_nodes: u64,
    /// Parcels of media.
    pub media: Traffic,
    /// Everything else: beats, what viewers tell each other, and how many there are.
    pub small: Traffic,
    /// What viewers had for those of other nodes and was lost before it came that far.
    pub n_signals_lost: u64,
}

/// Messages of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Given to NATS.
    pub n_sent: u64,
    /// Taken from it.
    pub n_received: u64,
    /// Lost, since the queue was full or NATS away.
    pub n_lost: u64,
    /// Bytes that wait.
    pub waiting_len: u64,
}

impl Meter {
    pub(super) fn new(shared: Arc<Shared>, abroad: Abroad) -> Self {
        Self { shared, abroad }
    }

    /// How it stands now.
    pub fn read(&self) -> Figures {
        let Shared { media, small, received, .. } = &*self.shared;
        let traffic = |Outgoing { n_sent, n_lost, waiting_len }, n_received: &AtomicU64| Traffic {
            n_sent,
            n_received: n_received.load(Ordering::Relaxed),
            n_lost,
            waiting_len,
        };
        Figures {
            is_connected: self.shared.connection.is_up(),
            n_nodes: self.shared.nodes().len() as u64,
            media: traffic(media.outgoing(), &received.n_media),
            small: traffic(small.outgoing(), &received.n_small),
            n_signals_lost: self.abroad.n_dropped(),
        }
    }
}

impl Received {
    pub(super) fn count_media(&self) {
        self.n_media.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_small(&self) {
        self.n_small.fetch_add(1, Ordering::Relaxed);
    }
}
