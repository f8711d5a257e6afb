//! A peer with its store: bytes in, bytes out.

use core::time::Duration;

use bytes::Bytes;
use cardume_media::{Catalog, CutPart, PublicKey, PublishError, Publisher};
use cardume_wire::{PeerId, TrackId, WallTime};

use crate::{BitsPerSec, Config, Instant, PlayerState, Stats};

/// What the shell has to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Send these bytes as one message.
    Transmit {
        /// To whom; the link stands.
        to: PeerId,
        /// One whole link message.
        bytes: Bytes,
    },
    /// Connect to this peer; answer with [`Session::link_opened`] or [`Session::connect_failed`].
    Connect {
        /// To whom.
        peer: PeerId,
    },
    /// Close the link to this peer, after what was sent before.
    Disconnect {
        /// To whom.
        peer: PeerId,
    },
    /// Tell the tracker that this neighbour sends wrong media.
    Blame {
        /// Who.
        peer: PeerId,
    },
    /// Ask the tracker for neighbours.
    FindNeighbours {
        /// Those that are connected already or did not work.
        without: Vec<PeerId>,
    },
    /// A new broadcast: make a new `MediaSource` with a `SourceBuffer` per track.
    Attach(Catalog),
    /// Append this part to its track's `SourceBuffer`.
    Append {
        /// The track.
        track: TrackId,
        /// The part's bytes in order.
        chunks: Vec<Bytes>,
        /// Where it begins on the media timeline, microseconds.
        start_us: u64,
        /// Where it ends.
        end_us: u64,
    },
    /// Play at this rate.
    SetRate(f64),
    /// Move the playhead.
    Seek {
        /// To this time on the media timeline, microseconds.
        to_us: u64,
    },
}

/// A [`crate::Peer`] with its [`cardume_media::Store`]: what the browser and the server peer both run.
///
/// After each call drain [`Session::poll_event`], then arm a timer for [`Session::poll_timeout`].
#[derive(Debug)]
pub struct Session {
    config: Config,
}

impl Session {
    /// A session of the channel with this key; `seed` should be unique to it.
    pub fn new(config: Config, key: PublicKey, seed: u64, now: Instant) -> Self {
        let _ = (key, seed, now);
        Self { config }
    }

    /// A link stands; the server's is [`PeerId::SERVER`].
    pub fn link_opened(&mut self, peer: PeerId, now: Instant) {
        let _ = (peer, now);
    }

    /// A link is gone.
    pub fn link_closed(&mut self, peer: PeerId, now: Instant) {
        let _ = (peer, now);
    }

    /// An [`Event::Connect`] came to nothing.
    pub fn connect_failed(&mut self, peer: PeerId, now: Instant) {
        let _ = (peer, now);
    }

    /// One message came.
    pub fn receive(&mut self, from: PeerId, bytes: &[u8], now: Instant) {
        let _ = (from, bytes, now);
    }

    /// Bytes that wait in the socket or data channel to this peer; tell it when it changes much.
    pub fn set_backlog(&mut self, peer: PeerId, len: usize, now: Instant) {
        let _ = (peer, len, now);
    }

    /// Peers named by the tracker.
    pub fn suggest(&mut self, peers: &[PeerId], now: Instant) {
        let _ = (peers, now);
    }

    /// The tracker's wall clock at `now`, as [`crate::ClockEstimator`] has it.
    pub fn set_clock(&mut self, wall_now: WallTime, now: Instant) {
        let _ = (wall_now, now);
    }

    /// The media element as it is; tell it on `timeupdate` and the like, some 4 to 20 times a second.
    pub fn set_player(&mut self, state: PlayerState, now: Instant) {
        let _ = (state, now);
    }

    /// Begins a broadcast (server role); one that is on ends.
    pub fn start_broadcast(&mut self, publisher: Publisher, now: Instant) {
        let _ = (publisher, now);
    }

    /// Publishes the next part of a track. Without a broadcast nothing happens.
    ///
    /// # Errors
    /// When the part breaks a limit; see [`PublishError`].
    pub fn publish(&mut self, part: &CutPart, now: Instant) -> Result<(), PublishError> {
        let _ = (part, now);
        Ok(())
    }

    /// Ends the broadcast; what is in the window still travels.
    pub fn end_broadcast(&mut self, now: Instant) {
        let _ = now;
    }

    /// The latency to hold from now on.
    pub fn set_target_latency(&mut self, latency: Duration, now: Instant) {
        let _ = now;
        self.config.target_latency = latency;
    }

    /// What may be sent from now on; see [`Config::uplink_limit`].
    pub fn set_uplink_limit(&mut self, limit: Option<BitsPerSec>, now: Instant) {
        let _ = now;
        self.config.uplink_limit = limit;
    }

    /// Says goodbye to all and closes the links.
    pub fn leave(&mut self, now: Instant) {
        let _ = now;
    }

    /// The time asked for has come; early calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When to call [`Session::handle_timeout`]; `None` is never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next thing to do.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// How it fares.
    pub fn stats(&self, now: Instant) -> Stats {
        let _ = now;
        Stats { target_latency: self.config.target_latency, ..Stats::default() }
    }
}
