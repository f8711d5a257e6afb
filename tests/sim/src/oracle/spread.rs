//! How one block gets from the server to all.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::fleet::Fleet;
use super::{Place, Planned};

/// Receivers that a holder looks at among those that can soonest pass the block on, and as many again among all. With
/// four times as many, p99 falls by less than a twentieth (measured with 1,000 viewers in the three capacity settings).
const LOOKED_AT: usize = 16;

/// The viewers that lack the block, and those that hold it. Kept from block to block for its memory.
#[derive(Debug)]
pub(super) struct Spread {
    rng: ChaCha8Rng,
    /// Those that lack it, in no order.
    waiting: Vec<Place>,
    /// By place: where in `waiting` it is, if it is.
    waits_at: Vec<Option<u32>>,
    /// Those that lacked it when it was published; the one that could soonest pass it on is last.
    by_readiness: Vec<(u64, Place)>,
    /// Of these, the next ones that lack it.
    front: Vec<Place>,
    /// By place: when it has the block.
    held_since: Vec<u64>,
    n_holders: usize,
    proposals: BinaryHeap<Reverse<Proposal>>,
}

/// What a holder would do next. The first to arrive is the least.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Proposal {
    arrives_at: u64,
    from: Place,
    to: Place,
    begins_at: u64,
    ends_at: u64,
}

impl Spread {
    /// For any block; the seed chooses which receivers are looked at.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            waiting: Vec::new(),
            waits_at: Vec::new(),
            by_readiness: Vec::new(),
            front: Vec::new(),
            held_since: Vec::new(),
            n_holders: 0,
            proposals: BinaryHeap::new(),
        }
    }

    /// Plans all copies of a block that is published now.
    pub(super) fn plan<R: Fn(Place, Place) -> u64>(
        &mut self,
        fleet: &mut Fleet<R>,
        now: u64,
        mut on_copy: impl FnMut(Planned),
    ) {
        self.begin(fleet, now);
        self.propose(fleet, 0);
        while let Some(Reverse(next)) = self.proposals.pop() {
            if self.waits_at[next.to].is_some() {
                fleet.take(next.from, &(next.begins_at..next.ends_at));
                self.hold(next.to, next.arrives_at);
                self.propose(fleet, next.to);
                on_copy(next.planned());
            }
            self.propose(fleet, next.from);
        }
    }

    fn begin<R: Fn(Place, Place) -> u64>(&mut self, fleet: &Fleet<R>, now: u64) {
        let viewers = 1..=fleet.n_viewers();
        self.waiting.clear();
        self.waiting.extend(viewers.clone());
        self.waits_at.clear();
        self.waits_at.push(None);
        self.waits_at.extend((0..).take(fleet.n_viewers()).map(Some));
        self.held_since.clear();
        self.held_since.resize(fleet.n_viewers() + 1, now);
        self.by_readiness.clear();
        self.by_readiness.extend(viewers.map(|viewer| (fleet.passed_on_at(viewer, now), viewer)));
        self.by_readiness.sort_unstable_by_key(|&readiness| Reverse(readiness));
        self.front.clear();
        self.n_holders = 1;
    }

    /// A viewer gets the block.
    fn hold(&mut self, viewer: Place, at: u64) {
        let Some(index) = self.waits_at[viewer].take() else { return };
        self.waiting.swap_remove(index as usize);
        if let Some(&moved) = self.waiting.get(index as usize) {
            self.waits_at[moved] = Some(index);
        }
        self.front.retain(|other| *other != viewer);
        self.held_since[viewer] = at;
        self.n_holders += 1;
    }

    /// Adds a holder's next copy, if it can send one and somebody lacks the block.
    fn propose<R: Fn(Place, Place) -> u64>(&mut self, fleet: &Fleet<R>, from: Place) {
        let Some(slot) = fleet.next_slot(from, self.held_since[from]) else { return };
        let has_to_multiply = self.n_holders < self.waiting.len();
        let rank = |to: Place| {
            let arrives_at = fleet.arrives_at(from, to, slot.end);
            let good_at = if has_to_multiply { fleet.passed_on_at(to, arrives_at) } else { arrives_at };
            (good_at, arrives_at, to)
        };
        let best = if self.waiting.len() <= 2 * LOOKED_AT {
            self.waiting.iter().map(|&to| rank(to)).min()
        } else {
            self.fill_front();
            let n_waiting = self.waiting.len() as u64;
            let any = |_| self.waiting[usize::try_from(self.rng.next_u64() % n_waiting).unwrap_or(0)];
            let others = (0..LOOKED_AT).map(any);
            self.front.iter().copied().chain(others).map(rank).min()
        };
        let Some((_, arrives_at, to)) = best else { return };
        let proposal = Proposal { arrives_at, from, to, begins_at: slot.start, ends_at: slot.end };
        self.proposals.push(Reverse(proposal));
    }

    fn fill_front(&mut self) {
        while self.front.len() < LOOKED_AT
            && let Some((_, viewer)) = self.by_readiness.pop()
        {
            if self.waits_at[viewer].is_some() {
                self.front.push(viewer);
            }
        }
    }
}

impl Proposal {
    fn planned(&self) -> Planned {
        let &Self { arrives_at, from, to, begins_at, ends_at } = self;
        Planned { from, to, begins_at, ends_at, arrives_at }
    }
}
