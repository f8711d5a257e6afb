//! Whom we feed.

use core::time::Duration;
use std::collections::BTreeMap;

use cardume_wire::{BlockId, PeerId, STRIPE_COUNT, Stripe, TrackId, TrackSet};

use crate::Instant;
use crate::pacer::Class;

/// Who was told to look elsewhere is pushed to for this long, and counts on it: released children, so that they find
/// another provider without a gap, and the joiners that the server starts. Two connections' time.
pub(crate) const RELEASE_GRACE: Duration = Duration::from_secs(2);

/// One stripe that we push to one neighbour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Child {
    pub(crate) since: Instant,
    pub(crate) tracks: TrackSet,
    /// Stripes it said it could push to others.
    pub(crate) slots: u16,
    pub(crate) claim: Claim,
    /// It was told to look elsewhere, and is pushed to until then.
    pub(crate) leaves_at: Option<Instant>,
}

impl Child {
    /// How urgent what is pushed to it is: who feeds others first, who was told to look elsewhere with what is left.
    fn class(&self) -> Class {
        match self {
            Self { leaves_at: Some(_), .. } => Class::Startup,
            Self { claim: Claim::Feeds, .. } => Class::Forward,
            _ => Class::Push,
        }
    }
}

/// How much right somebody has to be fed, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// It pushes nothing to anybody.
    Idle,
    /// It pushes other stripes.
    Contributes,
    /// It pushes this stripe.
    Feeds,
}

impl Claim {
    /// Of a viewer that could push so many stripes to others, on this one.
    pub(crate) fn of(peer: PeerId, slots: u16, stripe: Stripe) -> Self {
        match slots {
            0 => Self::Idle,
            _ if peer.home_stripe() == stripe => Self::Feeds,
            _ => Self::Contributes,
        }
    }
}

/// The children of each stripe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uploads {
    children: [BTreeMap<PeerId, Child>; STRIPE_COUNT as usize],
}

impl Uploads {
    /// Children of a stripe, by rising id.
    pub(crate) fn children(&self, stripe: Stripe) -> impl Iterator<Item = (PeerId, &Child)> {
        self.children[stripe.index()].iter().map(|(&peer, child)| (peer, child))
    }

    /// Those that are to be pushed this block, and how urgently.
    pub(crate) fn takers(&self, block: BlockId) -> Vec<(PeerId, Class)> {
        let children = self.children(block.number.stripe());
        let takers = children.filter(|(_, child)| child.tracks.contains(block.track));
        takers.map(|(peer, child)| (peer, child.class())).collect()
    }

    /// Those that are to be pushed the descriptors of this track: whom we feed in their home stripe.
    pub(crate) fn takers_of_descriptors(&self, track: TrackId) -> Vec<(PeerId, Class)> {
        let is_meant = |peer: PeerId, stripe, child: &Child| {
            peer.home_stripe() == stripe && child.tracks.contains(track)
        };
        let takers = self.iter().filter(|(peer, stripe, child)| is_meant(*peer, *stripe, child));
        takers.map(|(peer, _, child)| (peer, child.class())).collect()
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

    /// Whether those who stay get all these tracks of the stripe, one or another of them.
    pub(crate) fn is_pushed(&self, stripe: Stripe, tracks: TrackSet) -> bool {
        let staying = self.children(stripe).filter(|(_, child)| child.leaves_at.is_none());
        let pushed = staying.map(|(_, child)| child.tracks).fold(TrackSet::default(), TrackSet::with);
        pushed.includes(tracks)
    }

    /// Of those who stay: how many get these tracks of the stripe.
    pub(crate) fn n_of(&self, stripe: Stripe, tracks: TrackSet) -> usize {
        self.choices(stripe).filter(|choice| choice.includes(tracks)).count()
    }

    /// How many children of a stripe each choice of tracks would have, this one included, if all had the same number. Who is
    /// changing from one to another for a while gets both, which is no choice of its own.
    pub(crate) fn fair_share(&self, stripe: Stripe, tracks: TrackSet) -> usize {
        let mut choices: Vec<u32> =
            self.choices(stripe).chain(core::iter::once(tracks)).map(|choice| choice.0).collect();
        choices.sort_unstable();
        choices.dedup();
        let is_single = |choice: &&u32| {
            let others = choices.iter().filter(|other| other != choice);
            !others.into_iter().any(|other| TrackSet(**choice).includes(TrackSet(*other)))
        };
        let n_choices = choices.iter().filter(is_single).count().max(1);
        self.n_staying(stripe).div_ceil(n_choices)
    }

    /// What each child of a stripe that stays gets.
    fn choices(&self, stripe: Stripe) -> impl Iterator<Item = TrackSet> {
        let staying = self.children(stripe).filter(|(_, child)| child.leaves_at.is_none());
        staying.map(|(_, child)| child.tracks)
    }

    /// Whether this child gets a track that nobody else who stays does, and so may feed all others who watch it.
    pub(crate) fn is_last(&self, peer: PeerId, stripe: Stripe) -> bool {
        let Some(child) = self.child(peer, stripe) else { return false };
        let others =
            self.children(stripe).filter(|(other, child)| *other != peer && child.leaves_at.is_none());
        let pushed = others.map(|(_, other)| other.tracks).fold(TrackSet::default(), TrackSet::with);
        !pushed.includes(child.tracks)
    }

    /// Everybody we push something to, and what.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, Stripe, &Child)> {
        Stripe::all().flat_map(|stripe| self.children(stripe).map(move |(peer, child)| (peer, stripe, child)))
    }

    /// Those who asked for everything before there was anything to choose get these tracks.
    pub(crate) fn narrow(&mut self, tracks: TrackSet) {
        let children = self.children.iter_mut().flat_map(BTreeMap::values_mut);
        for child in children.filter(|child| child.tracks == TrackSet::ALL) {
            child.tracks = tracks;
        }
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
}

#[cfg(test)]
mod tests;
