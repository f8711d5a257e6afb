//! What others are told of our place and room.

use core::time::Duration;

use cardume_wire::link::{Control, UNKNOWN_AGE};
use cardume_wire::{PeerId, STRIPE_COUNT, Stripe, TrackSet};

use super::Peer;
use crate::uploads::{Child, Claim};
use crate::{Instant, Role};

/// Between two words on our place, if it changed.
const STATUS_INTERVAL: Duration = Duration::from_secs(4);
/// Between two words on our room to the server, which sends others by it: half of the time that a joiner takes to
/// connect.
const ROOM_INTERVAL: Duration = Duration::from_millis(250);
/// Ages that differ by less are the same.
pub(super) const AGE_STEP: u16 = 100;
/// A viewer is told of room at most this often.
const INVITE_INTERVAL: Duration = Duration::from_secs(2);

impl Peer {
    /// Tells neighbours of our place when it changed.
    pub(super) fn tell_status(&mut self, now: Instant) {
        if now < self.due.status_at || self.config.role == Role::Server {
            return;
        }
        self.due.status_at = now + ROOM_INTERVAL;
        let status = self.status();
        let is_old = |told: &Option<Control>| told.as_ref().is_none_or(|told| is_news(told, &status));
        let has_moved = is_old(&self.told) && now >= self.due.tell_at;
        let other_room = self.told_server.as_ref().is_none_or(|told| room_in(told) != room_in(&status));
        for peer in self.neighbours.peers() {
            let is_greeted = self.neighbours.get(peer).is_some_and(|link| link.is_greeted);
            if is_greeted && (has_moved || (peer.is_server() && other_room)) {
                self.send_control(peer, status.clone(), now);
            }
        }
        if has_moved {
            self.due.tell_at = now + STATUS_INTERVAL;
            self.told = Some(status.clone());
        }
        if has_moved || other_room {
            self.told_server = Some(status);
        }
    }

    /// Tells a new neighbour.
    pub(super) fn send_status(&mut self, to: PeerId, now: Instant) {
        if self.config.role == Role::Viewer {
            let status = self.status();
            self.send_control(to, status, now);
        }
    }

    /// The server tells some viewers that it has room: a few each time, so that not all come at once.
    pub(super) fn invite(&mut self, now: Instant) {
        if self.config.role == Role::Viewer || self.window.epoch().is_none() || self.is_cut_off {
            return;
        }
        let n_invited = self.n_free().div_ceil(usize::from(STRIPE_COUNT)).min(16);
        let is_due =
            |invited_at: Option<Instant>| invited_at.is_none_or(|at| now.since(at) > INVITE_INTERVAL);
        let outside = self.neighbours.iter().filter(|(peer, link)| {
            link.is_greeted
                && is_due(link.invited_at)
                && self.uploads.stripes_of(*peer).len() < STRIPE_COUNT.into()
        });
        let mut outside: Vec<(Option<Instant>, PeerId)> =
            outside.map(|(peer, link)| (link.invited_at, peer)).collect();
        outside.sort_unstable();
        outside.truncate(n_invited);
        let status = self.status();
        for (_, peer) in outside {
            if let Some(neighbour) = self.neighbours.get_mut(peer) {
                neighbour.invited_at = Some(now);
            }
            self.send_control(peer, status.clone(), now);
        }
    }

    pub(super) fn status(&self) -> Control {
        let ages = self.stripes.ages();
        let n_leaves = self.n_children(|child| child.claim != Claim::Feeds);
        let n_idle = self.n_children(|child| child.claim == Claim::Idle);
        let [slots, free, yields, idle] =
            [self.n_slots(), self.n_free(), n_leaves, n_idle].map(|n| u16::try_from(n).unwrap_or(u16::MAX));
        let tracks = self.has_alternatives().then(|| self.pushable_tracks());
        Control::Status { slots, free, ages, yields, wait: self.wait_ms(), idle, tracks }
    }

    /// Milliseconds until one child more would have its share of the largest part, after all others.
    pub(super) fn wait_ms(&self) -> u16 {
        let Some(rate) = self.pacer.rate().filter(|rate| rate.0 > 0) else { return 0 };
        let bits = 8 * self.window.burst_len() * (self.n_used() as u64 + 1);
        u16::try_from(bits.saturating_mul(1000) / rate.0).unwrap_or(UNKNOWN_AGE - 1)
    }

    /// Children of this kind that stay.
    fn n_children(&self, is_meant: impl Fn(&Child) -> bool) -> usize {
        let children = Stripe::all().flat_map(|stripe| self.uploads.children(stripe));
        children.filter(|(_, child)| child.leaves_at.is_none() && is_meant(child)).count()
    }
}

fn room_in(status: &Control) -> Option<(u16, u16, Option<TrackSet>)> {
    match status {
        Control::Status { slots, free, tracks, .. } => Some((*slots, *free, *tracks)),
        _ => None,
    }
}

fn is_news(told: &Control, status: &Control) -> bool {
    let (
        Control::Status { slots, free, ages, yields, wait, idle, tracks },
        Control::Status {
            slots: slots2,
            free: free2,
            ages: ages2,
            yields: yields2,
            wait: wait2,
            idle: idle2,
            tracks: tracks2,
        },
    ) = (told, status)
    else {
        return true;
    };
    let has_moved = |(a, b): (&u16, &u16)| a.abs_diff(*b) > AGE_STEP;
    slots != slots2
        || tracks != tracks2
        || (*free == 0) != (*free2 == 0)
        || (*yields == 0) != (*yields2 == 0)
        || (*idle == 0) != (*idle2 == 0)
        || has_moved((wait, wait2))
        || ages.iter().zip(ages2).any(has_moved)
}
