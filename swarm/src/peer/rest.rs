//! Rest: the server tells some viewers that there is no room for them, and calls them back when there is.
//!
//! Who rests takes its home stripe only, to pass it on.

use core::time::Duration;

use cardume_wire::link::Control;
use cardume_wire::{PeerId, Stripe};

use super::Peer;
use crate::balance::{Seat, is_short, to_call, to_rest};
use crate::{Instant, Role};

/// Between two looks at everybody's slots.
const BALANCE_INTERVAL: Duration = Duration::from_millis(500);
/// Slots lack for so long before anybody rests: what uplinks bear shows in their first seconds.
const SHORT_FOR: Duration = Duration::from_secs(2);

/// When the server looks at everybody's slots, and since when there are too few.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    due_at: Instant,
    short_since: Option<Instant>,
}

impl Peer {
    /// The server tells some to rest, or calls some back.
    pub(super) fn balance(&mut self, now: Instant) {
        if self.config.role == Role::Viewer || now < self.rest_watch.due_at {
            return;
        }
        self.rest_watch.due_at = now + BALANCE_INTERVAL;
        let own_slots = self.n_slots() as u64;
        let seats = self.seats();
        if !is_short(own_slots, &seats) {
            self.rest_watch.short_since = None;
            self.set_rest(&to_call(own_slots, &seats), false, now);
        } else if now.since(*self.rest_watch.short_since.get_or_insert(now)) >= SHORT_FOR {
            let mut chosen = to_rest(own_slots, &seats);
            // With nobody else awake nothing need be kept back: less than a whole viewer's slots may be enough for one.
            if chosen.len() == seats.iter().filter(|seat| !seat.rests).count() && self.bears_one() {
                chosen.pop();
            }
            self.set_rest(&chosen, true, now);
        }
    }

    fn seats(&self) -> Vec<Seat> {
        let seats = self.neighbours.iter().filter_map(|(peer, link)| {
            let slots = link.status?.slots;
            let since = link.rests_since.unwrap_or(link.opened_at);
            Some(Seat { peer, slots, rests: link.rests_since.is_some(), since })
        });
        seats.collect()
    }

    fn set_rest(&mut self, peers: &[PeerId], rests: bool, now: Instant) {
        for &peer in peers {
            if let Some(link) = self.neighbours.get_mut(peer) {
                link.rests_since = rests.then_some(now);
                self.send_control(peer, Control::Rest { rests }, now);
            }
        }
    }

    /// The server has no room for us, or has again.
    pub(super) fn on_rest(&mut self, from: PeerId, rests: bool, now: Instant) {
        if !from.is_server() {
            return;
        }
        self.rests = rests;
        if rests {
            self.give_up_switch(now);
        }
        for stripe in Stripe::all() {
            if !self.takes(stripe) {
                self.give_up(stripe, now);
            }
        }
        self.choose_providers_soon(now);
    }

    /// Whether we take the stripe: every one, or when we rest only the one that we pass on.
    pub(super) fn takes(&self, stripe: Stripe) -> bool {
        !self.rests || self.would_feed(stripe)
    }

    fn give_up(&mut self, stripe: Stripe, now: Instant) {
        let left = self.stripes.lane_mut(stripe).clear();
        for peer in left {
            self.send_control(peer, Control::Unsubscribe { stripe }, now);
        }
        self.tell_path(stripe, now);
    }
}
