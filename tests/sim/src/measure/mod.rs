//! What is counted while a run goes on, in memory that does not grow with the number of messages.

mod histogram;

use cardume_swarm::Outgoing;
use cardume_wire::{BlockId, PeerId};
use std::collections::BTreeSet;

pub(crate) use histogram::Histogram;

/// Requests to the server remembered at most; those beyond are counted as pushed.
const REQUESTED_LIMIT: usize = 65_536;

/// What was counted over all viewers.
#[derive(Debug, Default)]
pub(crate) struct Measures {
    /// From a block's publication to its first arrival at a viewer that had started, microseconds.
    pub(crate) delays: Histogram,
    /// From a provider's silent death to the next block of that stripe from somebody else, microseconds.
    pub(crate) gaps: Histogram,
    /// By second of the run.
    pub(crate) seconds: Vec<Second>,
    /// What everybody sent, headers included.
    pub(crate) sent: Sent,
    /// What the server sent of that.
    pub(crate) by_server: ServerSent,
    /// Bytes between viewers that arrived, and how many of these crossed the border of a network.
    pub(crate) between_viewers: u64,
    pub(crate) across_borders: u64,
    /// Blocks that arrived wrong.
    pub(crate) n_wrong_blocks: u64,
    /// Blocks that viewers asked the server for.
    requested: BTreeSet<(PeerId, BlockId)>,
}

/// One second of the run, over all viewers that watch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Second {
    /// Blocks with a deadline in it.
    pub(crate) n_due: u64,
    /// Of these, those that were there in time.
    pub(crate) n_on_time: u64,
    /// Bytes that the server sent in it.
    pub(crate) server_len: u64,
}

/// Bytes by what they are, headers included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) blocks: u64,
    pub(crate) descriptors: u64,
    /// Pages of films' indexes among them.
    pub(crate) catalogs: u64,
    pub(crate) control: u64,
}

/// The server's bytes by what they are for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerSent {
    /// Blocks to viewers that see the picture, without being asked.
    pub(crate) pushed: u64,
    /// Blocks that were asked for.
    pub(crate) repair: u64,
    /// Blocks to viewers that do not see the picture yet.
    pub(crate) startup: u64,
    /// Descriptors, catalogs and control.
    pub(crate) other: u64,
}

impl Sent {
    /// Adds a message of this length.
    pub(crate) fn add(&mut self, message: &Outgoing, len: usize) {
        let sum = match message {
            Outgoing::Block(_) => &mut self.blocks,
            Outgoing::Descriptor(_) => &mut self.descriptors,
            Outgoing::Catalog | Outgoing::Index(_) => &mut self.catalogs,
            Outgoing::Control(_) => &mut self.control,
        };
        *sum += len as u64;
    }
}

impl Measures {
    /// The second in which this moment lies.
    pub(crate) fn second(&mut self, at: u64) -> &mut Second {
        let index = usize::try_from(at / 1_000_000).unwrap_or(0);
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, Second::default());
        }
        &mut self.seconds[index]
    }

    /// A viewer asks the server for blocks.
    pub(crate) fn requested(&mut self, by: PeerId, blocks: &[BlockId]) {
        if self.requested.len() < REQUESTED_LIMIT {
            self.requested.extend(blocks.iter().map(|block| (by, *block)));
        }
    }

    /// The server sends something to a viewer.
    pub(crate) fn server_sends(&mut self, to: PeerId, has_started: bool, message: &Outgoing, len: usize) {
        let sum = match message {
            Outgoing::Block(block) if self.requested.remove(&(to, *block)) => &mut self.by_server.repair,
            Outgoing::Block(_) if has_started => &mut self.by_server.pushed,
            Outgoing::Block(_) => &mut self.by_server.startup,
            _ => &mut self.by_server.other,
        };
        *sum += len as u64;
    }
}
