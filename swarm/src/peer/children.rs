//! Those whom we feed: who is taken, refused, released.

use core::time::Duration;

use cardume_media::PartId;
use cardume_wire::link::{Control, HINT_LIMIT, UNKNOWN_AGE};
use cardume_wire::{BlockId, BlockNumber, PeerId, STRIPE_COUNT, Stripe, TrackSet};

use rand_chacha::rand_core::Rng;

use super::Peer;
use crate::directory::Search;
use crate::pacer::Class;
use crate::uplink::Sent;
use crate::uploads::Child;
use crate::{BitsPerSec, Instant, PartFacts, Role};

/// Share of the uplink that is not given to children but kept for repair, joiners and bursts: 1/5.
/// Simulator: with 1/10 of three copies left, joiners 2 s apart starve each other; with 1/16 of viewers' uplinks
/// left, at a resource index of 1.4, queues grow until nothing is on time.
const RESERVE: u64 = 5;
/// Bitrate assumed while neither catalog nor media say one: 720p.
const RATE_GUESS: u64 = 3_000_000;
/// An uplink that bears fewer feeds nobody: a block takes so long through it that all below would be late. It still
/// answers pulls. Simulator, `first-light`: most stalls were below uplinks of 0.7 Mbit/s for a stream of 1 Mbit/s.
const SLOTS_MIN: usize = 2;
/// Slots of a server without a budget.
const SLOTS_UNLIMITED: usize = u16::MAX as usize;
/// Between two looks at the uplink.
const TEND_INTERVAL: Duration = Duration::from_millis(250);
/// Between two words on our place, if it changed.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Ages that differ by less are the same.
const AGE_STEP: u16 = 100;
/// A child that has more waiting than this many seconds of a stripe is one too many, as tenths: 0.6 s.
const BACKLOG_TENTHS: u64 = 6;
/// Never too many before this much waits.
const BACKLOG_MIN: u64 = 48 * 1024;
/// A child is not made to give way before it has been served for so long.
const REDIRECT_AFTER: Duration = Duration::from_secs(1);
/// Between two such redirections: each costs one stripe twice for a moment.
const REDIRECT_INTERVAL: Duration = Duration::from_millis(250);
/// Slots that an asker must have beyond twice those of the child that gives way, so that nobody swaps in circles.
const REDIRECT_GAIN: u16 = 2;
/// Viewers named by the server at a time: one, and one more in case the pair cannot connect.
const SUGGESTED: usize = 2;
/// A viewer is told of room at most this often.
const INVITE_INTERVAL: Duration = Duration::from_secs(2);
/// Media that goes later than it should by this much says that there are too many children.
const LATENESS_LIMIT: Duration = Duration::from_millis(300);
/// A joiner is fed by the server for so long: three connections' time.
const START_GRACE: Duration = Duration::from_secs(3);
/// Who came longer ago is no joiner any more.
const START_WITHIN: Duration = Duration::from_secs(2);
/// Start-up media that waits for longer than this on a limited uplink lets no other child in.
const STARTUP_WAIT_LIMIT: Duration = Duration::from_secs(1);

/// A wish to be fed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) stripe: Stripe,
    pub(super) tracks: TrackSet,
    pub(super) slots: u16,
    pub(super) is_starving: bool,
}

/// How much right a child has to its slot, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ChildRank {
    /// It is fed outside our home stripe, as nobody else did.
    Abroad,
    /// It could feed so many others.
    Home { slots: u16 },
}

impl Peer {
    pub(super) fn on_subscribe(&mut self, from: PeerId, ask: Ask, now: Instant) {
        let stripe = ask.stripe;
        let path = self.own_path(stripe).filter(|path| !path.contains(&from));
        let lane = self.stripes.lane(stripe);
        let is_current = self.config.role == Role::Server || lane.is_current();
        let Some(path) = path.filter(|_| is_current && !lane.provider_is(from)) else {
            self.refuse(from, stripe, now);
            return;
        };
        let is_child = self.uploads.child(from, stripe).is_some_and(|child| child.leaves_at.is_none());
        let has_room = is_child
            || (self.has_slot_for(ask) && (ask.slots > 0 || !self.is_starting_others(now)))
            || self.make_way(from, ask, now);
        if !has_room && self.may_start(from, ask, now) {
            self.start(from, ask, now);
            return;
        }
        if !has_room {
            self.refuse_asker(from, ask, now);
            if ask.is_starving {
                self.describe_window(from, stripe, now);
            }
            return;
        }
        let since = self.uploads.child(from, stripe).map_or(now, |child| child.since);
        self.uploads.add(
            from,
            stripe,
            Child { since, tracks: ask.tracks, slots: ask.slots, leaves_at: None },
        );
        self.send_control(from, Control::Accept { stripe, path }, now);
        self.catch_up(from, stripe, now);
    }

    /// Whether the server may feed a joiner for the moment that it takes to find others: all stripes of it, or none.
    fn may_start(&self, from: PeerId, ask: Ask, now: Instant) -> bool {
        let n_held = self.uploads.stripes_of(from).len();
        let n_left = self.slots_with(2 * RESERVE).saturating_sub(self.uploads.n_all());
        let n_needed = usize::from(STRIPE_COUNT).saturating_sub(n_held);
        self.config.role == Role::Server
            && ask.is_starving
            && self.neighbours.get(from).is_some_and(|link| now.since(link.opened_at) < START_WITHIN)
            && Stripe::all().all(|stripe| self.has_its_roots(stripe))
            && n_left >= if n_held == 0 { n_needed } else { 1 }
            && (n_held > 0 || !self.is_starting_others(now))
    }

    /// Feeds a joiner at once, and tells it to look elsewhere meanwhile.
    fn start(&mut self, from: PeerId, ask: Ask, now: Instant) {
        let stripe = ask.stripe;
        let leaves_at = Some(now + START_GRACE);
        self.uploads.add(from, stripe, Child { since: now, tracks: ask.tracks, slots: ask.slots, leaves_at });
        self.send_control(from, Control::Accept { stripe, path: Vec::new() }, now);
        self.catch_up(from, stripe, now);
        self.refuse_asker(from, ask, now);
    }

    /// Whether joiners already wait for more than what pushes leave can bring them soon: another one would make all of
    /// them late.
    fn is_starting_others(&self, now: Instant) -> bool {
        let Some(rate) = self.pacer.rate() else { return false };
        let pushed = self.stripe_rate().0.saturating_mul(self.uploads.n_all() as u64);
        let left = BitsPerSec(rate.0.saturating_sub(pushed)).bytes_in(STARTUP_WAIT_LIMIT);
        self.pacer.starting_len() as u64 > left || self.pacer.lateness(now) > LATENESS_LIMIT / 2
    }

    pub(super) fn on_unsubscribe(&mut self, from: PeerId, stripe: Stripe) {
        if self.uploads.remove(from, stripe) {
            self.pacer.retain(|job| {
                let is_of_stripe = match job.cargo {
                    crate::pacer::Cargo::Block(block) => block.number.stripe() == stripe,
                    _ => false,
                };
                job.to != from || job.class == Class::Repair || !is_of_stripe
            });
        }
    }

    /// Stripes we could push, all children together.
    pub(super) fn n_slots(&self) -> usize {
        self.slots_with(RESERVE)
    }

    /// The same with another part of the uplink kept back. Measured rates waver: who is in stays up to half the reserve.
    fn slots_with(&self, reserve: u64) -> usize {
        match self.pacer.rate() {
            Some(rate) => {
                let usable = rate.0 - rate.0 / reserve;
                let n_slots = usize::try_from(usable / self.stripe_rate().0.max(1)).unwrap_or(usize::MAX);
                if n_slots < SLOTS_MIN { 0 } else { n_slots.min(SLOTS_UNLIMITED) }
            }
            None => SLOTS_UNLIMITED,
        }
    }

    pub(super) fn n_free(&self) -> usize {
        self.n_slots().saturating_sub(self.uploads.n_all())
    }

    /// Tells the children of a stripe that its path changed.
    pub(super) fn tell_path(&mut self, stripe: Stripe, now: Instant) {
        let staying = self.uploads.children(stripe).filter(|(_, child)| child.leaves_at.is_none());
        let children: Vec<PeerId> = staying.map(|(peer, _)| peer).collect();
        let path = self.own_path(stripe);
        for child in children {
            if let Some(path) = path.clone().filter(|path| !path.contains(&child)) {
                self.send_control(child, Control::Accept { stripe, path }, now);
            } else {
                self.uploads.remove(child, stripe);
                self.refuse(child, stripe, now);
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

    /// Tells neighbours of our place when it changed.
    pub(super) fn tell_status(&mut self, now: Instant) {
        if now < self.due.status_at || self.config.role == Role::Server {
            return;
        }
        let status = self.status();
        if self.told.as_ref().is_some_and(|told| !is_news(told, &status)) {
            self.due.status_at = now + STATUS_INTERVAL / 4;
            return;
        }
        self.due.status_at = now + STATUS_INTERVAL;
        for peer in self.neighbours.peers() {
            let is_greeted = self.neighbours.get(peer).is_some_and(|link| link.is_greeted);
            if is_greeted {
                self.send_control(peer, status.clone(), now);
            }
        }
        self.told = Some(status);
    }

    /// Tells a new neighbour.
    pub(super) fn send_status(&mut self, to: PeerId, now: Instant) {
        if self.config.role == Role::Viewer {
            let status = self.status();
            self.send_control(to, status, now);
        }
    }

    fn status(&self) -> Control {
        let ages = self.stripes.ages();
        let [slots, free, yields] =
            [self.n_slots(), self.n_free(), self.n_yielding()].map(|n| u16::try_from(n).unwrap_or(u16::MAX));
        Control::Status { slots, free, ages, yields, wait: self.wait_ms() }
    }

    /// Milliseconds until one child more would have its share of the largest part, after all others.
    fn wait_ms(&self) -> u16 {
        let Some(rate) = self.pacer.rate().filter(|rate| rate.0 > 0) else { return 0 };
        let bits = 8 * self.window.burst_len() * (self.uploads.n_used() as u64 + 1);
        u16::try_from(bits.saturating_mul(1000) / rate.0).unwrap_or(UNKNOWN_AGE - 1)
    }

    /// The path to tell a child; `None` when we have the stripe from nobody.
    fn own_path(&self, stripe: Stripe) -> Option<Vec<PeerId>> {
        match self.config.role {
            Role::Server => Some(Vec::new()),
            Role::Viewer => self.stripes.lane(stripe).path_with(self.config.id),
        }
    }

    /// Bits per second of one stripe, as measured, or as the catalog says.
    fn stripe_rate(&self) -> BitsPerSec {
        let nominal: u64 = self.window.tracks().iter().map(|track| track.facts.bitrate.0).sum();
        let nominal = if nominal == 0 { RATE_GUESS } else { nominal };
        let measured = self.window.byte_rate().map(|bytes| bytes * 8);
        BitsPerSec(measured.unwrap_or(nominal) / u64::from(STRIPE_COUNT))
    }

    fn refuse(&mut self, peer: PeerId, stripe: Stripe, now: Instant) {
        let hints = self.hints(peer, stripe, &[]);
        self.send_control(peer, Control::Refuse { stripe, hints }, now);
    }

    /// The server sends whom it cannot take where there is room; who is fed already, only to shorter paths.
    fn refuse_asker(&mut self, peer: PeerId, ask: Ask, now: Instant) {
        if self.config.role == Role::Viewer {
            self.refuse(peer, ask.stripe, now);
            return;
        }
        let own_age = self.neighbours.get(peer).and_then(|link| Some(link.status?.ages[ask.stripe.index()]));
        let age_limit = match own_age {
            Some(age) if !ask.is_starving => age.saturating_sub(AGE_STEP),
            _ => u16::MAX,
        };
        let hints =
            self.search(Search { asker: peer, stripe: ask.stripe, feeds: ask.slots > 0, age_limit }, now);
        self.send_control(peer, Control::Refuse { stripe: ask.stripe, hints }, now);
    }

    fn search(&mut self, search: Search, now: Instant) -> Vec<PeerId> {
        let (directory, rng) = (&mut self.directory, &mut self.rng);
        directory.suggest(search, SUGGESTED, now, |n| rng.next_u64() % n)
    }

    /// Those who may take the asker: named ones, then children with room, then other neighbours with room, then
    /// any child.
    fn hints(&self, asker: PeerId, stripe: Stripe, first: &[PeerId]) -> Vec<PeerId> {
        let has_room = |peer: PeerId| {
            let link = self.neighbours.get(peer);
            link.is_some_and(|link| {
                link.age(stripe).is_some() && link.status.is_some_and(|status| status.free > 0)
            })
        };
        let children = || self.uploads.children(stripe);
        let said: Vec<(u16, PeerId)> = children().map(|(peer, child)| (child.slots, peer)).collect();
        let mut able = said;
        able.sort_unstable_by(|a, b| b.cmp(a));
        let roomy = self.neighbours.iter().map(|(peer, _)| peer).filter(|peer| has_room(*peer));
        let mut hints: Vec<PeerId> = first.to_vec();
        hints.extend(able.iter().map(|(_, peer)| *peer).filter(|peer| has_room(*peer)));
        hints.extend(roomy);
        hints.extend(able.iter().filter(|(slots, _)| *slots > 0).map(|(_, peer)| *peer));
        let mut unique: Vec<PeerId> = Vec::new();
        for hint in hints {
            if hint != asker && !hint.is_server() && !unique.contains(&hint) {
                unique.push(hint);
            }
        }
        unique.truncate(HINT_LIMIT);
        unique
    }

    /// Makes the child that multiplies its stripe least give way to a better asker, who may then feed it.
    fn make_way(&mut self, asker: PeerId, ask: Ask, now: Instant) -> bool {
        let is_too_soon = self.redirected_at.is_some_and(|at| now.since(at) < REDIRECT_INTERVAL);
        let is_at_home = self.config.role == Role::Server || ask.stripe == self.config.id.home_stripe();
        // Who is fed already has most of what it would be sent.
        let is_too_busy = ask.is_starving && self.is_starting_others(now);
        if !is_at_home || is_too_soon || is_too_busy {
            return false;
        }
        let stripes =
            Stripe::all().filter(|stripe| self.config.role == Role::Viewer || *stripe == ask.stripe);
        let weakest = stripes.filter_map(|stripe| self.weakest_child(stripe, asker, now)).min();
        let Some((rank, stripe, peer)) = weakest else { return false };
        let gives_way = match rank {
            ChildRank::Abroad => true,
            ChildRank::Home { slots } => ask.slots >= slots.saturating_mul(2).saturating_add(REDIRECT_GAIN),
        };
        if !gives_way {
            return false;
        }
        self.redirected_at = Some(now);
        let first = if stripe == ask.stripe { core::slice::from_ref(&asker) } else { &[] };
        self.release(peer, stripe, first, now);
        true
    }

    /// The settled child of a stripe that has the least right to its slot.
    fn weakest_child(
        &self,
        stripe: Stripe,
        asker: PeerId,
        now: Instant,
    ) -> Option<(ChildRank, Stripe, PeerId)> {
        let is_home = self.config.role == Role::Server || stripe == self.config.id.home_stripe();
        let rank = |slots| if is_home { ChildRank::Home { slots } } else { ChildRank::Abroad };
        let settled = self.uploads.children(stripe).filter(|(peer, child)| {
            *peer != asker && child.leaves_at.is_none() && now.since(child.since) > REDIRECT_AFTER
        });
        settled.map(|(peer, child)| (rank(child.slots), stripe, peer)).min()
    }

    /// Children that would give way to one that can feed others.
    fn n_yielding(&self) -> usize {
        let children = Stripe::all().flat_map(|stripe| self.uploads.children(stripe));
        children.filter(|(_, child)| child.leaves_at.is_none() && child.slots == 0).count()
    }

    fn release(&mut self, peer: PeerId, stripe: Stripe, first: &[PeerId], now: Instant) {
        let slots = self.uploads.child(peer, stripe).map_or(0, |child| child.slots);
        self.uploads.release(peer, stripe, now);
        let mut hints = self.hints(peer, stripe, first);
        if self.config.role == Role::Server {
            hints = self.search(Search { asker: peer, stripe, feeds: slots > 0, age_limit: u16::MAX }, now);
            hints.splice(0..0, first.iter().copied());
        }
        self.send_control(peer, Control::Refuse { stripe, hints }, now);
    }

    /// A viewer that is refused learns at least what there is, so that it can pull it.
    fn describe_window(&mut self, to: PeerId, stripe: Stripe, now: Instant) {
        let Some(start_us) = self.catch_up_start(now) else { return };
        let tracks = self.window.tracks().iter();
        let parts = tracks.flat_map(|track| track.parts_from(track.start_sequence(start_us)));
        let ids: Vec<PartId> =
            parts.filter(|part| part.first_block.stripe() == stripe).map(|part| part.id).collect();
        for id in ids {
            self.queue_descriptor(to, id, Class::Startup, now);
        }
    }

    /// Sends a new child what the window has of the stripe and it has not.
    fn catch_up(&mut self, to: PeerId, stripe: Stripe, now: Instant) {
        let Some(start_us) = self.catch_up_start(now) else { return };
        let tracks = self.window.tracks().iter();
        let mut parts: Vec<PartFacts> =
            tracks.flat_map(|track| track.parts_from(track.start_sequence(start_us))).copied().collect();
        parts.sort_by_key(|part| (part.start_us, part.id));
        for part in parts {
            if part.first_block.stripe() == stripe {
                self.queue_descriptor(to, part.id, Class::Startup, now);
            }
            let blocks = part.first_block.0..part.end_block().unwrap_or(part.first_block.0);
            for number in blocks.map(BlockNumber).filter(|number| number.stripe() == stripe) {
                let block = BlockId { epoch: part.id.epoch, track: part.id.track, number };
                if self.window.holds(block) {
                    self.queue_block(to, block, Class::Startup, now);
                }
            }
        }
    }

    /// Where a new child's window begins: the group of pictures that should be on screen now.
    fn catch_up_start(&self, now: Instant) -> Option<u64> {
        self.join_start(self.goal_us(now)?)
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
        let n_excess = self.uploads.n_used().saturating_sub(limit).max(usize::from(is_late));
        for _ in 0..n_excess {
            let counts = Stripe::all().map(|stripe| (self.uploads.n_staying(stripe), stripe));
            // The last child of a stripe feeds all others.
            let Some((_, stripe)) = counts.filter(|(n, _)| *n > 1).max() else { return };
            let staying = self.uploads.children(stripe).filter(|(_, child)| child.leaves_at.is_none());
            let weakest = staying.min_by_key(|(_, child)| (child.slots, core::cmp::Reverse(child.since)));
            let Some((peer, _)) = weakest else { return };
            self.release(peer, stripe, &[], now);
        }
    }

    /// Whether a child more fits in this stripe, with one slot kept for each other stripe that has no child yet.
    fn has_slot_for(&self, ask: Ask) -> bool {
        let stripe = ask.stripe;
        if self.config.role == Role::Viewer {
            // The uplink is for the home stripe; others get what is left only when nobody else feeds them.
            let is_wanted = stripe == self.config.id.home_stripe() || ask.is_starving;
            return is_wanted && self.n_free() > 0;
        }
        self.uploads.n_staying(stripe) == 0 || (!self.has_its_roots(stripe) && self.n_free() > 0)
    }

    /// Whether the stripe has its share of the server's slots.
    fn has_its_roots(&self, stripe: Stripe) -> bool {
        self.uploads.n_staying(stripe) >= self.n_slots().div_ceil(usize::from(STRIPE_COUNT))
    }

    /// The server tells some viewers that it has room: a few each time, so that not all come at once.
    fn invite(&mut self, now: Instant) {
        if self.config.role == Role::Viewer || self.window.epoch().is_none() {
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
}

fn is_news(told: &Control, status: &Control) -> bool {
    let (
        Control::Status { slots, free, ages, yields, wait },
        Control::Status { slots: slots2, free: free2, ages: ages2, yields: yields2, wait: wait2 },
    ) = (told, status)
    else {
        return true;
    };
    let has_moved = |(a, b): (&u16, &u16)| a.abs_diff(*b) > AGE_STEP;
    slots != slots2
        || (*free == 0) != (*free2 == 0)
        || (*yields == 0) != (*yields2 == 0)
        || has_moved((wait, wait2))
        || ages.iter().zip(ages2).any(has_moved)
}
