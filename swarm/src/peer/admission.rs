//! Who is fed: taken, refused, and who gives way to whom.

use core::time::Duration;

use cardume_media::PartId;
use cardume_wire::link::Control;
use cardume_wire::{BlockId, BlockNumber, PeerId, STRIPE_COUNT, Stripe, TrackSet};

use super::Peer;
use super::children::{LATENESS_LIMIT, RESERVE};
use crate::pacer::{Cargo, Class};
use crate::uploads::{Child, Claim, RELEASE_GRACE};
use crate::{BitsPerSec, Instant, PartFacts, Role};

/// A child is not made to give way before it has been served for so long.
const REDIRECT_AFTER: Duration = Duration::from_secs(1);
/// Between two such redirections: each costs one stripe twice for a moment.
const REDIRECT_INTERVAL: Duration = Duration::from_millis(250);
/// Slots that an asker must have beyond twice those of the child that gives way, so that nobody swaps in circles.
const REDIRECT_GAIN: u16 = 2;
/// Between two viewers who try another rendition at the server.
const TRY_INTERVAL: Duration = Duration::from_millis(500);
/// Who came longer ago is no joiner any more.
const START_WITHIN: Duration = Duration::from_secs(2);
/// Start-up media that waits for longer than this on a limited uplink lets no other child in.
const STARTUP_WAIT_LIMIT: Duration = Duration::from_secs(1);

/// Who lacks at most one block in so many parts of the window changed its provider; who lacks more is joining, and would
/// hold up all others. Simulator, E1: with everybody's gaps sent first, blocks on time fall from 99.3 to 97.2 %.
const GAP_PARTS: usize = 8;

/// A wish to be fed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) stripe: Stripe,
    pub(super) tracks: TrackSet,
    /// Stripes that the asker could push to others.
    pub(super) slots: u16,
    pub(super) claim: Claim,
    pub(super) is_starving: bool,
    /// Media time before which it shows something else.
    pub(super) from_us: Option<u64>,
}

impl Ask {
    /// Whether the asker watches something else, and tries whether it can have this instead.
    fn is_try(&self) -> bool {
        self.from_us.is_some() && !self.is_starving
    }
}

/// How much right a child has to its slot, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ChildRank {
    /// It pushes nothing to anybody.
    Idle,
    /// It is fed outside our home stripe, as nobody else did.
    Abroad,
    /// It is a leaf in this stripe and feeds others elsewhere.
    Leaf,
    /// It could feed so many others in this stripe.
    Feeds { slots: u16 },
}

impl Peer {
    pub(super) fn on_subscribe(&mut self, from: PeerId, ask: Ask, now: Instant) {
        let stripe = ask.stripe;
        let tracks = self.askable(ask.tracks);
        let ask = Ask { tracks, ..ask };
        if tracks.is_empty() || !self.stripes.tracks.includes(tracks) {
            self.refuse(from, stripe, tracks, now);
            return;
        }
        let path = self.own_path(stripe).filter(|path| !path.contains(&from));
        let is_current = self.config.role == Role::Server || self.is_fed(stripe, now);
        let Some(path) = path.filter(|_| is_current && !self.is_provider(from, stripe)) else {
            self.refuse(from, stripe, tracks, now);
            return;
        };
        let is_child = self.uploads.child(from, stripe).is_some_and(|child| child.leaves_at.is_none());
        let may_enter = self.config.role == Role::Viewer || !ask.is_try() || self.lets_try(from, now);
        let has_room = is_child
            || (may_enter
                && self.has_slot_for(ask)
                && (ask.claim == Claim::Feeds || !self.is_starting_others(now)))
            || (may_enter && self.make_way(from, ask, now));
        if !has_room && self.may_start(from, ask, now) {
            self.start(from, ask, now);
            return;
        }
        if !has_room {
            self.refuse_asker(from, ask, now);
            if ask.is_starving && self.config.role == Role::Viewer {
                self.describe_window(from, ask, now);
            }
            return;
        }
        let since = self.uploads.child(from, stripe).map_or(now, |child| child.since);
        self.drop_pushes(from, stripe, tracks);
        self.uploads.add(
            from,
            stripe,
            Child { since, tracks: ask.tracks, slots: ask.slots, claim: ask.claim, leaves_at: None },
        );
        self.send_control(from, Control::Accept { stripe, path }, now);
        self.catch_up(from, ask, now);
    }

    /// Whether the server lets somebody try another rendition: one after the other, as who gets some stripes of it from the
    /// server and not the others cannot use them, and would feed nobody.
    fn lets_try(&mut self, from: PeerId, now: Instant) -> bool {
        let is_other = |(peer, since): (PeerId, Instant)| peer != from && now.since(since) < TRY_INTERVAL;
        let is_let_in = !self.trial.is_some_and(is_other);
        if is_let_in {
            self.trial = Some((from, now));
        }
        is_let_in
    }

    /// Whether the stripe comes, from somebody who is not silent: two that lost theirs would take each other.
    fn is_fed(&self, stripe: Stripe, now: Instant) -> bool {
        let lane = self.stripes.lane(stripe);
        lane.is_current()
            && lane.provider.as_ref().is_some_and(|provider| !self.is_silent(provider.peer, now))
    }

    pub(super) fn on_unsubscribe(&mut self, from: PeerId, stripe: Stripe) {
        if self.uploads.remove(from, stripe) {
            self.drop_pushes(from, stripe, TrackSet::default());
        }
    }

    /// What waits to be pushed to a child is not sent, but what is of these tracks.
    fn drop_pushes(&mut self, to: PeerId, stripe: Stripe, kept: TrackSet) {
        self.pacer.retain(|job| {
            let is_dropped = match job.cargo {
                Cargo::Block(block) => block.number.stripe() == stripe && !kept.contains(block.track),
                _ => false,
            };
            job.to != to || job.class == Class::Repair || !is_dropped
        });
    }

    /// Whether a slot is free for this.
    pub(super) fn has_slot_for(&self, ask: Ask) -> bool {
        let stripe = ask.stripe;
        if self.config.role == Role::Viewer {
            // The uplink is for the home stripe; others get what is left only when nobody else feeds them.
            let is_unfed = ask.is_starving || ask.is_try();
            let is_wanted = stripe == self.config.id.home_stripe() || is_unfed;
            return is_wanted && self.n_free() > 0;
        }
        // Who gets a rendition first feeds all others who watch it.
        !self.uploads.is_pushed(stripe, ask.tracks) || (!self.has_its_roots(stripe) && self.n_free() > 0)
    }

    /// Whether the stripe has its share of the server's slots.
    fn has_its_roots(&self, stripe: Stripe) -> bool {
        let staying = self.uploads.children(stripe).filter(|(_, child)| child.leaves_at.is_none());
        self.weigh(staying.map(|(_, child)| child)) >= self.n_slots().div_ceil(usize::from(STRIPE_COUNT))
    }

    /// Makes the child that multiplies its stripe least give way to a better asker, who may then feed it.
    fn make_way(&mut self, asker: PeerId, ask: Ask, now: Instant) -> bool {
        let is_too_soon =
            !ask.is_try() && self.redirected_at.is_some_and(|at| now.since(at) < REDIRECT_INTERVAL);
        let is_at_home = self.config.role == Role::Server || ask.stripe == self.config.id.home_stripe();
        if !is_at_home || is_too_soon {
            return false;
        }
        // Who is fed already has most of what it would be sent.
        let is_too_busy = ask.is_starving && self.is_starting_others(now);
        let stripes =
            Stripe::all().filter(|stripe| self.config.role == Role::Viewer || *stripe == ask.stripe);
        let settled = stripes.flat_map(|stripe| self.settled_children(stripe, asker, ask.tracks, now));
        let able = settled.filter(|(rank, _, _, tracks)| gives_way(*rank, *tracks, ask, is_too_busy));
        let weakest = able.min_by_key(|(rank, stripe, peer, _)| (*rank, *stripe, *peer));
        let Some((_, stripe, peer, tracks)) = weakest else { return false };
        let can_feed_it = ask.tracks.includes(tracks);
        self.redirected_at = Some(now);
        let first = if stripe == ask.stripe && can_feed_it { core::slice::from_ref(&asker) } else { &[] };
        self.release(peer, stripe, first, now);
        true
    }

    /// The settled children of a stripe that could give way, with their right to their slots.
    fn settled_children(
        &self,
        stripe: Stripe,
        asker: PeerId,
        tracks: TrackSet,
        now: Instant,
    ) -> impl Iterator<Item = (ChildRank, Stripe, PeerId, TrackSet)> {
        let is_home = self.config.role == Role::Server || stripe == self.config.id.home_stripe();
        let rank = move |child: &Child| match child {
            Child { claim: Claim::Idle, .. } => ChildRank::Idle,
            _ if !is_home => ChildRank::Abroad,
            Child { claim: Claim::Contributes, .. } => ChildRank::Leaf,
            Child { slots, .. } => ChildRank::Feeds { slots: *slots },
        };
        // Each rendition gets the same number of roots at the server, if it needs them.
        let share = self.uploads.fair_share(stripe, tracks);
        let is_owed = self.config.role == Role::Server && self.uploads.n_of(stripe, tracks) < share;
        let settled = self.uploads.children(stripe).filter(move |(peer, child)| {
            let has_more = || self.uploads.n_of(stripe, child.tracks) > share;
            let is_other = *peer != asker && (tracks.includes(child.tracks) || (is_owed && has_more()));
            is_other && child.leaves_at.is_none() && now.since(child.since) > REDIRECT_AFTER
        });
        settled.map(move |(peer, child)| (rank(child), stripe, peer, child.tracks))
    }

    /// Whether the server may feed a joiner for the moment that it takes to find others: all stripes of it, or none.
    pub(super) fn may_start(&self, from: PeerId, ask: Ask, now: Instant) -> bool {
        let n_held = self.uploads.stripes_of(from).len();
        let n_left = self.slots_with(2 * RESERVE).saturating_sub(self.n_all());
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
        let leaves_at = Some(now + RELEASE_GRACE);
        self.uploads.add(
            from,
            stripe,
            Child { since: now, tracks: ask.tracks, slots: ask.slots, claim: ask.claim, leaves_at },
        );
        self.send_control(from, Control::Accept { stripe, path: Vec::new() }, now);
        self.catch_up(from, ask, now);
        self.refuse_asker(from, ask, now);
    }

    /// Whether joiners already wait for more than what pushes leave can bring them soon: another one would make all of
    /// them late.
    fn is_starting_others(&self, now: Instant) -> bool {
        let Some(rate) = self.pacer.rate() else { return false };
        let pushed = self.stripe_rate().0.saturating_mul(self.n_all() as u64);
        let left = BitsPerSec(rate.0.saturating_sub(pushed)).bytes_in(STARTUP_WAIT_LIMIT);
        self.pacer.starting_len() as u64 > left || self.pacer.lateness(now) > LATENESS_LIMIT / 2
    }

    /// Sends a new child what the window has of the stripe and it has not: a joiner much, which has time; who comes from
    /// elsewhere the little that was lost between two providers, which it and all below wait for.
    fn catch_up(&mut self, to: PeerId, ask: Ask, now: Instant) {
        let stripe = ask.stripe;
        let parts = self.catch_up_parts(ask, now);
        let lacking = |part: &PartFacts| self.lacking(to, part, stripe);
        let blocks: Vec<(PartId, Vec<BlockId>)> = parts.iter().map(|part| (part.id, lacking(part))).collect();
        let n_blocks: usize = blocks.iter().map(|(_, blocks)| blocks.len()).sum();
        let feeds = self.uploads.child(to, stripe).is_some_and(|child| child.claim == Claim::Feeds);
        let class = match (n_blocks * GAP_PARTS <= parts.len(), feeds) {
            (false, _) => Class::Startup,
            (true, true) => Class::Forward,
            (true, false) => Class::Push,
        };
        // All descriptors: a joiner's other providers may be slower, and its blocks wait for nothing else.
        for part in &parts {
            self.queue_descriptor(to, part.id, Class::Push, now);
        }
        for (_, blocks) in blocks {
            for block in blocks {
                self.queue_block(to, block, class, now);
            }
        }
    }

    /// The parts that a new child needs, the oldest first.
    fn catch_up_parts(&self, ask: Ask, now: Instant) -> Vec<PartFacts> {
        let mut parts: Vec<PartFacts> = self.wanted_parts(ask, now).copied().collect();
        parts.sort_by_key(|part| (part.start_us, part.id));
        parts
    }

    /// The blocks of a part and a stripe that we hold and a neighbour does not.
    fn lacking(&self, peer: PeerId, part: &PartFacts, stripe: Stripe) -> Vec<BlockId> {
        let Some(index) = self.window.index(part.id.track) else { return Vec::new() };
        let Some(link) = self.neighbours.get(peer) else { return Vec::new() };
        let is_lacking =
            |number: BlockNumber| number.stripe() == stripe && !link.has[index].contains(number.0);
        part.blocks().filter(|block| is_lacking(block.number) && self.window.holds(*block)).collect()
    }

    /// A viewer that is refused learns at least what there is, so that it can pull it.
    fn describe_window(&mut self, to: PeerId, ask: Ask, now: Instant) {
        let parts = self.wanted_parts(ask, now);
        let ids: Vec<PartId> =
            parts.filter(|part| part.first_block.stripe() == ask.stripe).map(|part| part.id).collect();
        for id in ids {
            self.queue_descriptor(to, id, Class::Startup, now);
        }
    }

    /// What of the window an asker has a use for: of each track from the group of pictures on that should be on screen
    /// now, or from the first one that begins after what it shows until then.
    fn wanted_parts(&self, ask: Ask, now: Instant) -> impl Iterator<Item = &PartFacts> {
        let start_us = self.goal_us(now).and_then(|goal| self.join_start(goal));
        let tracks = self.window.tracks().iter().filter(move |track| ask.tracks.contains(track.facts.id));
        let parts = tracks.zip(core::iter::repeat(start_us)).filter_map(move |(track, start_us)| {
            let start = track.start_sequence(start_us?);
            let Some(from_us) = ask.from_us else { return Some(track.parts_from(start)) };
            let is_usable = |part: &&PartFacts| part.is_independent && part.start_us >= from_us;
            let first = track.parts_from(start).find(is_usable)?;
            Some(track.parts_from(first.id.sequence))
        });
        parts.flatten()
    }
}

/// Whether a child of this rank, which gets these tracks, gives way to who asks.
fn gives_way(rank: ChildRank, tracks: TrackSet, ask: Ask, is_too_busy: bool) -> bool {
    let can_feed_it = ask.tracks.includes(tracks);
    let feeds = ask.claim == Claim::Feeds;
    match rank {
        // A place that feeds nobody else is given up at once: as long as it is held so, all wait for the stripe.
        ChildRank::Idle if feeds && can_feed_it => true,
        _ if is_too_busy => false,
        // Its rendition has more than its share.
        _ if !can_feed_it => true,
        ChildRank::Idle => ask.claim == Claim::Contributes && ask.is_starving,
        ChildRank::Abroad | ChildRank::Leaf => feeds,
        ChildRank::Feeds { slots } => {
            feeds && ask.slots >= slots.saturating_mul(2).saturating_add(REDIRECT_GAIN)
        }
    }
}
