//! Everybody who can send: the server and the viewers.

use cardume_swarm::BitsPerSec;

use super::uplink::{Server, Slot, Uplink};
use super::{Place, USED_PERCENT};

/// Longer than any plan: when a viewer that sends nothing is ready to send.
const NEVER: u64 = u64::MAX;

/// The server, the viewers, and how far apart they are.
#[derive(Debug)]
pub(super) struct Fleet<R> {
    server: Server,
    /// By viewer.
    uplinks: Vec<Uplink>,
    round_trip: R,
}

impl<R: Fn(Place, Place) -> u64> Fleet<R> {
    /// For blocks of so many bits.
    pub(super) fn new(server: BitsPerSec, uplinks: &[BitsPerSec], block: u64, round_trip: R) -> Self {
        let uplinks = uplinks.iter().map(|rate| Uplink::new(rate.0 * USED_PERCENT / 100, block));
        Self { server: Server::new(server.0, block), uplinks: uplinks.collect(), round_trip }
    }

    /// Every place but the server's.
    pub(super) fn n_viewers(&self) -> usize {
        self.uplinks.len()
    }

    /// A block is published now, the next one later.
    pub(super) fn publish(&mut self, now: u64, next_at: u64) {
        self.server.publish(now, next_at);
        for uplink in &mut self.uplinks {
            uplink.forget_before(now);
        }
    }

    /// When `from`, which holds the block since then, can send its next copy.
    pub(super) fn next_slot(&self, from: Place, held_since: u64) -> Option<Slot> {
        from.checked_sub(1)
            .map_or_else(|| self.server.next(), |viewer| self.uplinks[viewer].first_from(held_since))
    }

    /// Takes what [`Fleet::next_slot`] gave.
    pub(super) fn take(&mut self, from: Place, slot: &Slot) {
        match from.checked_sub(1) {
            None => self.server.take(slot),
            Some(viewer) => self.uplinks[viewer].take(slot),
        }
    }

    /// When `to` has what `from` has sent by then.
    pub(super) fn arrives_at(&self, from: Place, to: Place, sent_at: u64) -> u64 {
        sent_at + (self.round_trip)(from, to) / 2
    }

    /// When a viewer that gets the block then has passed it on once.
    pub(super) fn passed_on_at(&self, viewer: Place, got_at: u64) -> u64 {
        self.next_slot(viewer, got_at).map_or(NEVER, |slot| slot.end)
    }
}
