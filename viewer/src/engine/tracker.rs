//! What the tracker says.

use core::time::Duration;

use cardume_media::{PublicKey, TrackKind};
use cardume_swarm::{Config, Instant, Phase, Session, Stats};
use cardume_wire::signal::{Channel, ErrorCode, FromTracker, NEIGHBOUR_LIMIT, Welcome};
use cardume_wire::{PeerId, TrackSet};

use super::{Engine, REPORT_INTERVAL, Viewer};
use crate::signal::{ClockSample, SignalEvent};
use crate::{ConnectionCommand, ConnectionEvent, PlayerEvent, Shell};

/// A tracker's time that differs this much from the estimate means another clock, not drift. Wild guess.
const CLOCK_STEP: Duration = Duration::from_secs(1);

impl<S: Shell> Engine<S> {
    pub(super) fn handle_signal(&mut self, said: Vec<SignalEvent<'_>>, now: Instant) {
        for event in said {
            match event {
                SignalEvent::Message(message) => self.handle_tracker(message, now),
                SignalEvent::Clock(sample) => self.handle_clock(sample, now),
                SignalEvent::FromServer(message) => self.receive(PeerId::SERVER, message, now),
                SignalEvent::Lost => self.forget_server(now),
            }
        }
    }

    fn handle_tracker(&mut self, message: FromTracker, now: Instant) {
        match message {
            FromTracker::Welcome(welcome) => self.handle_welcome(*welcome, now),
            FromTracker::Offer { from, sdp } => {
                self.connections.handle(ConnectionCommand::Offer { from, sdp }, now);
            }
            FromTracker::Answer { from, sdp } => {
                self.connections.handle(ConnectionCommand::Answer { from, sdp }, now);
            }
            FromTracker::Candidate { from, candidate } => {
                self.connections.handle(ConnectionCommand::Candidate { from, candidate }, now);
            }
            FromTracker::Neighbours { neighbours } => self.suggest(&neighbours, now),
            FromTracker::Channel { channel } => self.set_channel(channel, now),
            FromTracker::Gone { peer } if !self.links.contains_key(&peer) => {
                self.handle_connection(peer, ConnectionEvent::Failed, now);
            }
            FromTracker::Lost { peer } => self.doubt(peer, now),
            FromTracker::Blamed { peer, is_evicted } => {
                if let Some(viewer) = &mut self.viewer {
                    viewer.session.blame(peer, is_evicted, now);
                }
            }
            FromTracker::Drain { reconnect_within_ms } => {
                self.signal.drain(Duration::from_millis(reconnect_within_ms.into()), now);
                self.forget_server(now);
            }
            FromTracker::Error { code, message } => self.handle_refusal(code, message),
            FromTracker::Gone { .. } | FromTracker::Clock { .. } => {}
        }
    }

    fn handle_refusal(&mut self, code: ErrorCode, message: String) {
        let (code, is_fatal) = match code {
            ErrorCode::UnknownChannel => ("unknown_channel", true),
            ErrorCode::Version => ("version", true),
            ErrorCode::TooMany => ("too_many", false),
            _ => ("refused", false),
        };
        if is_fatal {
            self.signal.leave();
        }
        self.fail(code, message, is_fatal);
    }

    fn handle_welcome(&mut self, welcome: Welcome, now: Instant) {
        let Ok(key) = welcome.channel.public_key.parse::<PublicKey>() else {
            let message = "the tracker's welcome has no valid key for the channel".to_owned();
            self.signal.leave();
            return self.fail("bad_tracker", message, true);
        };
        let is_same = |viewer: &Viewer| viewer.id == welcome.peer_id && viewer.key == key;
        if !self.viewer.as_ref().is_some_and(is_same) {
            self.begin(welcome.peer_id, key, welcome.channel.clone(), now);
        }
        self.connections.handle(ConnectionCommand::SetIceServers(welcome.ice_servers), now);
        if let Some(viewer) = self.viewer.as_mut().filter(|_| welcome.is_linked) {
            viewer.session.link_opened(PeerId::SERVER, now);
        }
        self.set_channel(welcome.channel, now);
        self.suggest(&welcome.neighbours, now);
    }

    /// Another identity, the first one included: nothing of an older session counts but what its uplink bore.
    fn begin(&mut self, id: PeerId, key: PublicKey, channel: Channel, now: Instant) {
        let found = self.viewer.as_ref().and_then(|viewer| viewer.session.stats(now).uplink);
        self.links.clear();
        self.connections.handle(ConnectionCommand::SetOwnId(id), now);
        let config = Config {
            target_latency: Duration::from_millis(channel.target_latency_ms.into()),
            uplink_limit: self.wish.upload_limit,
            uplink_guess: found.or(self.wish.upload_guess),
            ..Config::viewer(id)
        };
        let mut session = Session::new(config, key, seed(self.signal.chance()), now);
        session.select(TrackKind::Video, self.wish.rendition, now);
        self.viewer = Some(Viewer {
            id,
            key,
            channel,
            session,
            began_at: now,
            catalog: None,
            phase: Phase::default(),
            playing: TrackSet::default(),
            n_broken: 0,
            reported: Stats::default(),
            report_at: now + REPORT_INTERVAL,
        });
    }

    /// The socket takes no more: another one is tried.
    pub(super) fn lose_tracker(&mut self, now: Instant) {
        if !self.signal.lose(now).is_empty() {
            self.forget_server(now);
        }
    }

    /// The line is gone, and the link to the server peer with it.
    fn forget_server(&mut self, now: Instant) {
        if let Some(viewer) = &mut self.viewer {
            viewer.session.link_closed(PeerId::SERVER, now);
        }
    }

    fn set_channel(&mut self, channel: Channel, now: Instant) {
        let Some(viewer) = &mut self.viewer else { return };
        viewer.session.set_target_latency(Duration::from_millis(channel.target_latency_ms.into()), now);
        viewer.channel = channel.clone();
        self.events.push_back(PlayerEvent::Channel(channel));
    }

    fn suggest(&mut self, neighbours: &[PeerId], now: Instant) {
        if let Some(viewer) = &mut self.viewer {
            viewer.session.suggest(neighbours.get(..NEIGHBOUR_LIMIT).unwrap_or(neighbours), now);
        }
    }

    fn doubt(&mut self, peer: PeerId, now: Instant) {
        if let Some(viewer) = &mut self.viewer {
            viewer.session.doubt(peer, now);
        }
    }

    fn handle_clock(&mut self, sample: ClockSample, now: Instant) {
        let middle = sample.sent_at + sample.received_at.since(sample.sent_at) / 2;
        let expected = self.clock.wall_at(middle).unwrap_or(sample.time);
        if Duration::from_micros(expected.0.abs_diff(sample.time.0)) > CLOCK_STEP {
            self.clock.clear();
        }
        self.clock.add(sample.sent_at, sample.time, sample.received_at);
        if let (Some(viewer), Some(wall)) = (&mut self.viewer, self.clock.wall_at(now)) {
            viewer.session.set_clock(wall, now);
        }
    }
}

/// Unique to a session, not secret.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 2^53")]
fn seed(chance: f64) -> u64 {
    (chance * 9_007_199_254_740_992.0) as u64
}
