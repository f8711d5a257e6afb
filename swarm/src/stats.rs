//! How a session fares, for people and tests.

use core::time::Duration;

use cardume_wire::{PeerId, Stripe, TrackSet};

use crate::BitsPerSec;

/// A session as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// What the picture does.
    pub phase: Phase,
    /// Capture to screen; `None` before playback or without a clock.
    pub latency: Option<Duration>,
    /// What the latency should be.
    pub target_latency: Duration,
    /// Media ahead of the playhead without a gap.
    pub buffer_ahead: Duration,
    /// From the session's begin to the first picture, which may stand still until there is enough to play.
    pub first_picture: Option<Duration>,
    /// From the session's begin to the first moving picture.
    pub startup: Option<Duration>,
    /// How often the playhead stopped for lack of media after the start.
    pub n_stalls: u32,
    /// For how long in all.
    pub stalled: Duration,
    /// For how long at most.
    pub longest_stall: Duration,
    /// Playback rate asked for.
    pub rate: f64,
    /// Bytes of blocks that came from the server peer.
    pub from_server_len: u64,
    /// Bytes of blocks that came from neighbours.
    pub from_peers_len: u64,
    /// Bytes of blocks sent.
    pub sent_len: u64,
    /// Bytes sent in all, with headers and control.
    pub egress_len: u64,
    /// Bytes of control messages sent, with headers.
    pub control_sent_len: u64,
    /// Bytes of blocks that came twice or too late.
    pub duplicate_len: u64,
    /// Blocks that their descriptor disproved.
    pub n_wrong_blocks: u64,
    /// Parts that were skipped because they missed their deadline.
    pub n_skipped_parts: u64,
    /// Blocks asked for by repair.
    pub n_requested: u64,
    /// The tracks that go to the player.
    pub tracks: TrackSet,
    /// How often another track took the place of one.
    pub n_switches: u32,
    /// What the uplink bears, as found when it was full or known before; `None` until then.
    pub uplink: Option<BitsPerSec>,
    /// Stripes the uplink could feed.
    pub n_slots: u32,
    /// Stripes it feeds.
    pub n_children: u32,
    /// The stripes that somebody pushes to us.
    pub paths: Vec<PathStats>,
    /// The links that stand, by rising id.
    pub neighbours: Vec<NeighbourStats>,
}

impl Stats {
    /// Share of the media that came from neighbours, 0 to 1; 0 before any came.
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn share_from_peers(&self) -> f64 {
        let all = self.from_peers_len + self.from_server_len;
        if all == 0 { 0.0 } else { self.from_peers_len as f64 / all as f64 }
    }
}

/// What the picture does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// No broadcast is known.
    #[default]
    Waiting,
    /// Media comes; the playhead has not moved yet.
    Buffering,
    /// It plays, or the viewer paused it.
    Playing,
    /// The playhead stopped for lack of media.
    Stalled,
    /// There are more viewers than uplinks bear, and the server has no room for this one now.
    Resting,
}

/// How one stripe comes to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStats {
    /// The stripe.
    pub stripe: Stripe,
    /// Who pushes it.
    pub provider: PeerId,
    /// Peers between the server and us.
    pub depth: usize,
    /// From capture to arrival, smoothed; `None` before the first block, or without a clock.
    pub age: Option<Duration>,
}

/// One link as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct NeighbourStats {
    /// The other end.
    pub peer: PeerId,
    /// Round trip, smoothed; `None` before the first answer.
    pub rtt: Option<Duration>,
    /// Bytes of blocks that came from it.
    pub received_len: u64,
    /// Bytes of blocks sent to it.
    pub sent_len: u64,
    /// Stripes it pushes to us.
    pub provides: Vec<Stripe>,
    /// Stripes we push to it.
    pub child_in: Vec<Stripe>,
}
