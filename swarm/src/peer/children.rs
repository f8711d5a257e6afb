//! Those whom we feed: how many the uplink bears, and who has to go.

use core::time::Duration;

use cardume_wire::link::Control;
use cardume_wire::{PeerId, STRIPE_COUNT, Stripe, TrackSet};

use super::Peer;
use crate::directory::Search;
use crate::uplink::Sent;
use crate::uploads::{Child, Claim};
use crate::{BitsPerSec, Instant, Role};

/// Share of the uplink that is not given to children but kept for repair, joiners and bursts: 1/5.
/// Simulator: with 1/10 of three copies left, joiners 2 s apart starve each other; with 1/16 of viewers' uplinks
/// left, at a resource index of 1.4, queues grow until nothing is on time.
pub(super) const RESERVE: u64 = 5;
/// Bitrate assumed while neither catalog nor media say one: 720p.
const RATE_GUESS: u64 = 3_000_000;
/// An uplink that bears fewer feeds nobody: a block takes so long through it that all below would be late. It still
/// answers pulls. Simulator, `first-light`: most stalls were below uplinks of 0.7 Mbit/s for a stream of 1 Mbit/s.
const SLOTS_MIN: usize = 2;
/// Slots of a server without a budget.
const SLOTS_UNLIMITED: usize = u16::MAX as usize;
/// Between two looks at the uplink.
const TEND_INTERVAL: Duration = Duration::from_millis(250);
/// A child that has more waiting than this many seconds of a stripe is one too many, as tenths: 0.6 s.
const BACKLOG_TENTHS: u64 = 6;
/// Never too many before this much waits.
const BACKLOG_MIN: u64 = 48 * 1024;
/// Media that goes later than it should by this much says that there are too many children.
pub(super) const LATENESS_LIMIT: Duration = Duration::from_millis(300);

impl Peer {
    /// Stripes we could push, all children together.
    pub(super) fn n_slots(&self) -> usize {
        if self.is_behind_the_relay() { 0 } else { self.slots_with(RESERVE) }
    }

    /// The same with another part of the uplink kept back. Measured rates waver: who is in stays up to half the reserve.
    pub(super) fn slots_with(&self, reserve: u64) -> usize {
        match self.pacer.rate() {
            Some(rate) => {
                let n_at_mean = (rate.0 - rate.0 / reserve) / self.stripe_rate().0.max(1);
                let n_slots = n_at_mean.min(self.n_at_peak(rate, reserve));
                let n_slots = usize::try_from(n_slots).unwrap_or(usize::MAX);
                if n_slots < SLOTS_MIN { 0 } else { n_slots.min(SLOTS_UNLIMITED) }
            }
            None => SLOTS_UNLIMITED,
        }
    }

    /// Slots for which the server has room in the busiest second, too: all that it pushes leaves at once, and what has to wait
    /// for the next second is late for everybody. As long as it serves all who are here, nothing need be kept back. Simulator,
    /// `realistic` with 2,000 viewers: with slots of the mean rate alone, key frames stood 0.3 s in line at the server, and all of
    /// the swarm behind them.
    fn n_at_peak(&self, rate: BitsPerSec, reserve: u64) -> u64 {
        let Some(stripe) = self.peak_of_stripe() else { return u64::MAX };
        let n_awake = self.neighbours.iter().filter(|(_, link)| link.rests_since.is_none()).count();
        let (n_most, n_wanted) = (rate.0 / stripe, n_awake as u64 * u64::from(STRIPE_COUNT));
        if n_wanted <= n_most { n_most } else { (rate.0 - rate.0 / reserve) / stripe }
    }

    /// Whether the server's uplink bears a viewer that it serves alone.
    pub(super) fn bears_one(&self) -> bool {
        let n_most = self.pacer.rate().zip(self.peak_of_stripe()).map(|(rate, stripe)| rate.0 / stripe);
        n_most.is_none_or(|n_most| n_most >= STRIPE_COUNT.into())
    }

    /// Bits of one stripe of what the server sends in the busiest second.
    fn peak_of_stripe(&self) -> Option<u64> {
        let peak = self.window.peak_rate(self.slot_tracks).filter(|_| self.config.role == Role::Server);
        peak.map(|bytes| (bytes.saturating_mul(8) / u64::from(STRIPE_COUNT)).max(1))
    }

    pub(super) fn n_free(&self) -> usize {
        self.n_slots().saturating_sub(self.n_all())
    }

    /// Slots that all children take, those that were released too.
    pub(super) fn n_all(&self) -> usize {
        if !self.has_alternatives() {
            return self.uploads.n_all();
        }
        self.weigh(self.uploads.iter().map(|(.., child)| child))
    }

    /// Slots in use; those that were released count no more.
    pub(super) fn n_used(&self) -> usize {
        let children = self.uploads.iter().map(|(.., child)| child);
        self.weigh(children.filter(|child| child.leaves_at.is_none()))
    }

    /// Slots that these children take: one each, or less where they get cheaper tracks than a slot is meant for.
    pub(super) fn weigh<'a>(&self, children: impl Iterator<Item = &'a Child>) -> usize {
        if !self.has_alternatives() {
            return children.count();
        }
        let rate: u64 = children.map(|child| self.stripe_rate_of(child.tracks).0).sum();
        usize::try_from(rate.div_ceil(self.stripe_rate().0.max(1))).unwrap_or(usize::MAX)
    }

    /// Tells the children of a stripe that its path changed.
    pub(super) fn tell_path(&mut self, stripe: Stripe, now: Instant) {
        let tracks = self.stripes.tracks;
        let staying = self
            .uploads
            .children(stripe)
            .filter(|(_, child)| child.leaves_at.is_none() && tracks.includes(child.tracks));
        let children: Vec<PeerId> = staying.map(|(peer, _)| peer).collect();
        let path = self.own_path(stripe);
        for child in children {
            if let Some(path) = path.clone().filter(|path| !path.contains(&child)) {
                self.send_control(child, Control::Accept { stripe, path }, now);
            } else {
                self.uploads.remove(child, stripe);
                self.refuse(child, stripe, tracks, now);
            }
        }
    }

    /// Ends what is over, and releases children when the uplink does not bear them.
    pub(super) fn tend_children(&mut self, now: Instant) {
        if now < self.due.uploads_at {
            return;
        }
        self.due.uploads_at = now + TEND_INTERVAL;
        self.uploads.expire(now);
        self.watch_uplink(now);
        let congested = self.congested_child();
        self.n_congested = if congested.is_some() { self.n_congested + 1 } else { 0 };
        if self.n_congested >= 2
            && let Some((peer, stripe)) = congested
        {
            self.n_congested = 0;
            self.release(peer, stripe, &[], now);
        }
        self.release_excess(now);
        self.invite(now);
    }

    fn watch_uplink(&mut self, now: Instant) {
        if self.config.role == Role::Server {
            return;
        }
        let backlog: usize = self.neighbours.iter().map(|(_, link)| link.backlog).sum();
        let is_held_back = self.pacer.is_held_back() || self.n_free() == 0;
        let sent = Sent {
            len: self.counts.egress_len,
            backlog: backlog as u64,
            block_len: self.window.block_len(),
            is_held_back,
        };
        if self.uplink.sample(sent, now) {
            self.pacer.set_estimate(self.uplink.rate(), self.burst_len(), now);
        }
    }

    /// The path to tell a child; `None` when we have the stripe from nobody.
    pub(super) fn own_path(&self, stripe: Stripe) -> Option<Vec<PeerId>> {
        match self.config.role {
            Role::Server => (!self.is_cut_off).then(Vec::new),
            Role::Viewer => self.stripes.lane(stripe).path_with(self.config.id),
        }
    }

    /// Bits per second of one stripe of what children get: of a viewer's what it watches, of the server's the most that
    /// one can ask for.
    pub(super) fn stripe_rate(&self) -> BitsPerSec {
        self.stripe_rate_of(self.slot_tracks)
    }

    /// Bits per second of one stripe of these tracks, as measured, or as the catalog says.
    fn stripe_rate_of(&self, tracks: TrackSet) -> BitsPerSec {
        let meant = self.window.tracks().iter().filter(|track| tracks.contains(track.facts.id));
        let nominal: u64 = meant.map(|track| track.facts.bitrate.0).sum();
        let nominal = if nominal == 0 { RATE_GUESS } else { nominal };
        let measured = self.window.byte_rate(tracks).map(|bytes| bytes * 8);
        BitsPerSec(measured.unwrap_or(nominal) / u64::from(STRIPE_COUNT))
    }

    pub(super) fn release(&mut self, peer: PeerId, stripe: Stripe, first: &[PeerId], now: Instant) {
        let child = self.uploads.child(peer, stripe);
        let claim = child.map_or(Claim::Idle, |child| child.claim);
        let tracks = child.map_or(self.stripes.tracks, |child| child.tracks);
        self.uploads.release(peer, stripe, now);
        let hints = match self.config.role {
            Role::Viewer => self.hints(peer, stripe, tracks, first),
            Role::Server => {
                let search = Search { asker: peer, stripe, tracks, claim, age_limit: u16::MAX };
                first.iter().copied().chain(self.search(search, now)).collect()
            }
        };
        self.send_control(peer, Control::Refuse { stripe, hints }, now);
    }

    /// The (peer, stripe) whose link has the most waiting, if it is too much.
    fn congested_child(&self) -> Option<(PeerId, Stripe)> {
        let stripe_len = self.stripe_rate().0 / 8;
        let limit = |n: usize| BACKLOG_MIN.max(stripe_len * n as u64 * BACKLOG_TENTHS / 10);
        let stripes = |peer| self.uploads.stripes_of(peer);
        let links = self.uploads.peers().into_iter().filter_map(|peer| {
            let backlog = self.neighbours.get(peer)?.backlog as u64;
            (backlog > limit(stripes(peer).len())).then_some((backlog, peer))
        });
        let (_, peer) = links.max()?;
        let held = |stripe: &Stripe| {
            self.uploads.child(peer, *stripe).is_some_and(|child| child.leaves_at.is_none())
        };
        let stripe = stripes(peer).into_iter().find(held)?;
        Some((peer, stripe))
    }

    /// The uplink was limited, or the stream grew: children of the stripes with most of them go, the newest first.
    fn release_excess(&mut self, now: Instant) {
        let is_late = self.pacer.lateness(now) > LATENESS_LIMIT;
        let limit = self.slots_with(RESERVE * 2);
        let n_excess = self.n_used().saturating_sub(limit).max(usize::from(is_late));
        for _ in 0..n_excess {
            let counts = Stripe::all().map(|stripe| (self.uploads.n_staying(stripe), stripe));
            // The last child of a stripe feeds all others.
            let Some((_, stripe)) = counts.filter(|(n, _)| *n > 1).max() else { return };
            let staying = self.uploads.children(stripe).filter(|(_, child)| child.leaves_at.is_none());
            let spare = staying.filter(|(peer, _)| !self.uploads.is_last(*peer, stripe));
            let weakest =
                spare.min_by_key(|(_, child)| (child.claim, child.slots, core::cmp::Reverse(child.since)));
            let Some((peer, _)) = weakest else { return };
            self.release(peer, stripe, &[], now);
        }
    }
}
