//! What a peer is told at its birth, with named limits that say where they come from.

use core::time::Duration;

use cardume_wire::PeerId;

use crate::BitsPerSec;

/// What a peer does in the swarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Watches, and feeds others with the uplink it may use.
    Viewer,
    /// The tracker's own peer: the source of the broadcast, under a hard egress budget.
    Server,
}

/// All that a [`crate::Peer`] is told at its birth.
#[derive(Clone, Debug)]
pub struct Config {
    /// The peer's own id.
    pub id: PeerId,
    /// What it does in the swarm.
    pub role: Role,
    /// From capture to screen; the same for all viewers of a channel. Default 2 s, the overlay's design.
    pub target_latency: Duration,
    /// What may be sent: for the server the egress budget, for a viewer the cap it chose.
    /// `None` is no limit of our own: the server takes everybody, a viewer finds out by its backlogs.
    /// Never exceeded over any second, headers counted.
    pub uplink_limit: Option<BitsPerSec>,
    /// What the uplink is thought to bear at first; it is watched and corrected. `None`: a cautious guess.
    pub uplink_guess: Option<BitsPerSec>,
    /// Neighbours below which a viewer asks for more. 8: the overlay's design.
    pub neighbours_wanted: usize,
    /// Neighbours a viewer connects to or accepts at most. 32: a provider for each stripe, as many children, and
    /// some to spare.
    pub neighbour_limit: usize,
    /// Links the server accepts at most, whatever its budget bears. 100,000: more than one machine serves.
    pub server_link_limit: usize,
}

impl Config {
    /// A viewer with the defaults.
    pub fn viewer(id: PeerId) -> Self {
        Self {
            id,
            role: Role::Viewer,
            target_latency: Duration::from_secs(2),
            uplink_limit: None,
            uplink_guess: None,
            neighbours_wanted: 8,
            neighbour_limit: 32,
            server_link_limit: 100_000,
        }
    }

    /// The server peer with the defaults and this egress budget.
    pub fn server(budget: Option<BitsPerSec>) -> Self {
        Self { role: Role::Server, uplink_limit: budget, ..Self::viewer(PeerId::SERVER) }
    }
}
