//! Whom we feed, and how many more we could.

use core::time::Duration;
use std::collections::BTreeMap;

use cardume_wire::{BlockId, PeerId, STRIPE_COUNT, Stripe, TrackSet};

use crate::Instant;

/// Slots of an uplink that nobody limited and nothing is known of: one copy of the stream, what the median uplink of
/// measured viewers (2.5 Mbit/s) bears of a stream of 2 Mbit/s.
const SLOTS_AT_START: usize = STRIPE_COUNT as usize;
/// Slots an unlimited viewer finds at most. Wild guess: eight copies, beyond which one tab matters too much.
const SLOTS_LEARNT_LIMIT: usize = 8 * STRIPE_COUNT as usize;
/// Wait after a release before the uplink is thought to bear more again. A busy tab looks like a full uplink for a
/// moment: 15 s of it starved browser swarms. Wild guess between that and releasing the same child for ever.
const LEARN_WAIT: Duration = Duration::from_secs(5);
/// Between two steps up.
const LEARN_STEP: Duration = Duration::from_secs(1);
/// A released child is pushed to for this long, so that it finds another provider without a gap.
pub(crate) const RELEASE_GRACE: Duration = Duration::from_secs(2);

/// One stripe that we push to one neighbour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Child {
    pub(crate) since: Instant,
    pub(crate) tracks: TrackSet,
    /// Stripes it said it could push to others.
    pub(crate) slots: u16,
    /// It was told to look elsewhere, and is pushed to until then.
    pub(crate) leaves_at: Option<Instant>,
}

/// The children of each stripe, and the slots of an uplink that nobody limits.
#[derive(Clone, Debug)]
pub(crate) struct Uploads {
    children: [BTreeMap<PeerId, Child>; STRIPE_COUNT as usize],
    learnt: usize,
    step_at: Instant,
}

impl Uploads {
    pub(crate) fn new(now: Instant) -> Self {
        Self { children: Default::default(), learnt: SLOTS_AT_START, step_at: now + LEARN_STEP }
    }

    /// Children of a stripe, by rising id.
    pub(crate) fn children(&self, stripe: Stripe) -> impl Iterator<Item = (PeerId, &Child)> {
        self.children[stripe.index()].iter().map(|(&peer, child)| (peer, child))
    }

    /// Those that are to be pushed this block.
    pub(crate) fn takers(&self, block: BlockId) -> Vec<PeerId> {
        let children = self.children(block.number.stripe());
        children.filter(|(_, child)| child.tracks.contains(block.track)).map(|(peer, _)| peer).collect()
    }

    pub(crate) fn child(&self, peer: PeerId, stripe: Stripe) -> Option<&Child> {
        self.children[stripe.index()].get(&peer)
    }

    /// Stripes we push to this peer.
    pub(crate) fn stripes_of(&self, peer: PeerId) -> Vec<Stripe> {
        Stripe::all().filter(|stripe| self.child(peer, *stripe).is_some()).collect()
    }

    /// Everybody we push anything to, by rising id.
    pub(crate) fn peers(&self) -> Vec<PeerId> {
        let mut peers: Vec<PeerId> = self.children.iter().flat_map(|stripe| stripe.keys().copied()).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// Slots in use; those that were released count no more.
    pub(crate) fn n_used(&self) -> usize {
        self.children.iter().flat_map(BTreeMap::values).filter(|child| child.leaves_at.is_none()).count()
    }

    /// Children of a stripe that were not released.
    pub(crate) fn n_staying(&self, stripe: Stripe) -> usize {
        self.children(stripe).filter(|(_, child)| child.leaves_at.is_none()).count()
    }

    /// Stripes pushed, to those that were released too.
    pub(crate) fn n_all(&self) -> usize {
        self.children.iter().map(BTreeMap::len).sum()
    }

    pub(crate) fn add(&mut self, peer: PeerId, stripe: Stripe, child: Child) {
        self.children[stripe.index()].insert(peer, child);
    }

    pub(crate) fn remove(&mut self, peer: PeerId, stripe: Stripe) -> bool {
        self.children[stripe.index()].remove(&peer).is_some()
    }

    pub(crate) fn remove_peer(&mut self, peer: PeerId) {
        for children in &mut self.children {
            children.remove(&peer);
        }
    }

    /// The child is told to look elsewhere.
    pub(crate) fn release(&mut self, peer: PeerId, stripe: Stripe, now: Instant) {
        if let Some(child) = self.children[stripe.index()].get_mut(&peer) {
            child.leaves_at.get_or_insert(now + RELEASE_GRACE);
        }
    }

    /// Ends those whose grace is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        for children in &mut self.children {
            children.retain(|_, child| child.leaves_at.is_none_or(|at| now < at));
        }
    }

    /// Slots of an unlimited uplink, as found so far.
    pub(crate) fn learnt(&self) -> usize {
        self.learnt
    }

    /// All slots are used and nothing waits: the uplink may bear more.
    pub(crate) fn learn_room(&mut self, now: Instant) {
        if now >= self.step_at && self.n_used() >= self.learnt {
            self.learnt = (self.learnt + 1).min(SLOTS_LEARNT_LIMIT);
            self.step_at = now + LEARN_STEP;
        }
    }

    /// Something waits: the uplink bears one stripe less than it feeds now.
    pub(crate) fn learn_congestion(&mut self, now: Instant) {
        self.learnt = self.n_used().saturating_sub(1);
        self.step_at = now + LEARN_WAIT;
    }

    /// The uplink recovers in time, even from nothing.
    pub(crate) fn learn_pause(&mut self, now: Instant) {
        if now >= self.step_at && self.learnt == 0 {
            self.learnt = 1;
            self.step_at = now + LEARN_WAIT;
        }
    }
}
