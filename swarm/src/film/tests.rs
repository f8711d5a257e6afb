//! The scheduler against a naive account of what was asked, came and went.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use cardume_media::{INDEX_PAGE_PARTS, PageId, PartId};
use cardume_wire::link::{BLOCK_LEN_LIMIT, TrackParts, block_count};
use cardume_wire::{BlockId, BlockNumber, Epoch, PeerId, TrackId, WallTime};
use proptest::prelude::*;

use super::plan::{LOOK_AHEAD, URGENT};
use super::{Film, Given, MEMORY, Moment, Sender};
use crate::{Instant, PartFacts, ReelFacts, Role};

const EPOCH: Epoch = Epoch(1);
const TRACK: TrackId = TrackId(0);
const N_PARTS: u32 = 100;
const PART_US: u64 = 2_000_000;
/// So long that some twenty parts fill the memory.
const PART_LEN: usize = 2 * 1024 * 1024;
const RTT: Duration = Duration::from_millis(50);

fn n_blocks() -> u32 {
    u32::try_from(block_count(PART_LEN)).expect("a few")
}

fn part(sequence: u32) -> PartFacts {
    PartFacts {
        id: PartId { epoch: EPOCH, track: TRACK, sequence },
        first_block: BlockNumber(sequence * n_blocks()),
        n_blocks: n_blocks(),
        len: u32::try_from(PART_LEN).expect("small"),
        start_us: u64::from(sequence) * PART_US,
        end_us: u64::from(sequence + 1) * PART_US,
        captured_at: WallTime(0),
        is_independent: true,
        descriptor_len: 1000,
    }
}

/// What can happen.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Hold {
        peer: u64,
        first: u32,
        n: u32,
    },
    Gone {
        peer: u64,
        sequence: u32,
    },
    /// Some of what was asked for comes.
    Arrive(usize),
    Decline(usize),
    Leave(u64),
    GoTo(u32),
    Play,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u64..800).prop_map(Step::Wait),
        2 => (1u64..5, 0..N_PARTS, 1u32..40).prop_map(|(peer, first, n)| Step::Hold { peer, first, n }),
        1 => (1u64..5, 0..N_PARTS).prop_map(|(peer, sequence)| Step::Gone { peer, sequence }),
        12 => (1usize..64).prop_map(Step::Arrive),
        2 => (1usize..8).prop_map(Step::Decline),
        1 => (1u64..5).prop_map(Step::Leave),
        1 => (0..N_PARTS).prop_map(Step::GoTo),
        3 => Just(Step::Play),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A film, and the account.
struct Trial {
    film: Film,
    moment: Moment,
    owed: BTreeMap<BlockId, PeerId>,
    held: BTreeSet<BlockId>,
    holds: BTreeMap<PeerId, BTreeSet<u32>>,
}

impl Trial {
    fn new() -> Self {
        let page_starts = (0..N_PARTS).step_by(INDEX_PAGE_PARTS).map(|sequence| part(sequence).start_us);
        let reel = ReelFacts { track: TRACK, n_parts: N_PARTS, page_starts_us: page_starts.collect() };
        let mut film = Film::new(EPOCH, &[reel], Role::Viewer, 7);
        let parts: Vec<PartFacts> = (0..N_PARTS).map(part).collect();
        for (page, parts) in (0..).zip(parts.chunks(INDEX_PAGE_PARTS)) {
            film.insert_page(PageId { epoch: EPOCH, track: TRACK, page }, parts.to_vec());
        }
        film.reels_mut()[0].given = Some(Given { first: 0, next: 0 });
        let moment = Moment { now: Instant::from_micros(1), position_us: 0 };
        let holds = (1..5).map(|peer| (PeerId::new(peer), BTreeSet::new())).collect();
        Self { film, moment, owed: BTreeMap::new(), held: BTreeSet::new(), holds }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait(millis) => self.moment.now += Duration::from_millis(*millis),
            Step::Hold { peer, first, n } => {
                let sequences = *first..(first + n).min(N_PARTS);
                for sequence in sequences {
                    self.tell(PeerId::new(*peer), sequence, true);
                }
            }
            Step::Gone { peer, sequence } => self.tell(PeerId::new(*peer), *sequence, false),
            Step::Arrive(n) => self.arrive(*n),
            Step::Decline(n) => self.decline(*n),
            Step::Leave(peer) => {
                let peer = PeerId::new(*peer);
                self.film.forget_source(peer);
                self.owed.retain(|_, of| *of != peer);
                self.holds.insert(peer, BTreeSet::new());
            }
            Step::GoTo(sequence) => {
                self.moment.position_us = part(*sequence).start_us;
                self.film.reels_mut()[0].given = Some(Given { first: *sequence, next: *sequence });
                let orders = self.film.abandon(&self.moment);
                self.cancel(&orders.cancels);
            }
            Step::Play => {
                let end = self.moment.position_us + 30_000_000;
                while self.film.reels_mut()[0].next_to_give(end).is_some() {}
                self.moment.position_us =
                    (self.moment.position_us + 1_000_000).min(u64::from(N_PARTS) * PART_US);
            }
        }
    }

    fn tell(&mut self, peer: PeerId, sequence: u32, is_held: bool) {
        let parts = [TrackParts { track: TRACK, first: sequence, bits: vec![1].into() }];
        let holds = self.holds.entry(peer).or_default();
        if is_held {
            holds.insert(sequence);
            self.film.heard(peer, &parts, &[]);
        } else {
            holds.remove(&sequence);
            self.film.heard(peer, &[], &parts);
        }
    }

    fn arrive(&mut self, n: usize) {
        let come: Vec<(BlockId, PeerId)> =
            self.owed.iter().map(|(block, of)| (*block, *of)).take(n).collect();
        for (block, peer) in come {
            self.film.described(part(block.number.0 / n_blocks()).id);
            let arrived = self.film.arrived(Sender { peer, rtt: RTT }, block, self.moment.now);
            assert!(
                arrived.is_some_and(|arrived| arrived.others.is_none()),
                "{block:?} is wanted, of {peer}"
            );
            self.owed.remove(&block);
            self.held.insert(block);
            for gone in self.film.evict(&self.moment) {
                let gone = part(gone.sequence);
                self.held.retain(|block| !gone.has_block(block.number));
                let lost: Vec<BlockId> =
                    self.owed.keys().copied().filter(|b| gone.has_block(b.number)).collect();
                for block in lost {
                    self.owed.remove(&block);
                }
            }
        }
    }

    fn decline(&mut self, n: usize) {
        let declined: Vec<(BlockId, PeerId)> =
            self.owed.iter().map(|(block, of)| (*block, *of)).take(n).collect();
        for (block, of) in declined {
            self.film.declined(of, block, self.moment.now);
            self.owed.remove(&block);
        }
    }

    fn cancel(&mut self, cancels: &[(PeerId, BlockId)]) {
        for (of, block) in cancels {
            assert_eq!(self.owed.remove(block), Some(*of), "what is cancelled was asked for");
        }
    }

    fn plan(&mut self) {
        let reach = (0..5).map(|peer| (PeerId::new(peer), RTT)).collect();
        let orders = self.film.plan(&self.moment, &reach);
        self.cancel(&orders.cancels);
        let next = self.film.reels()[0].given.expect("set").next;
        for (of, block, _) in &orders.requests {
            let sequence = block.number.0 / n_blocks();
            assert!(!self.held.contains(block), "{block:?} is here");
            assert_eq!(self.owed.insert(*block, *of), None, "{block:?} was asked for and not late");
            let start = part(sequence).start_us;
            assert!(
                sequence >= next && start < self.moment.position_us + LOOK_AHEAD,
                "{block:?} is not wanted"
            );
            assert!(of.is_server() || self.holds[of].contains(&sequence), "{of} does not hold {block:?}");
        }
        self.check_order(orders.requests.iter().map(|(of, block, _)| (*of, *block)));
        let n_owed = self.owed.len();
        assert_eq!(self.film.n_asked() as usize, n_owed, "the account is right");
    }

    /// Nobody is asked for what can wait while it holds what cannot, and that is not asked of anybody.
    fn check_order(&self, requests: impl Iterator<Item = (PeerId, BlockId)>) {
        let end = self.moment.position_us + URGENT;
        let is_urgent = |sequence: u32| part(sequence).start_us < end;
        let next = self.film.reels()[0].given.expect("set").next;
        let open = (next..N_PARTS).filter(|sequence| is_urgent(*sequence)).flat_map(|sequence| {
            (0..n_blocks()).map(move |index| BlockId {
                epoch: EPOCH,
                track: TRACK,
                number: BlockNumber(sequence * n_blocks() + index),
            })
        });
        let open: Vec<BlockId> =
            open.filter(|block| !self.held.contains(block) && !self.owed.contains_key(block)).collect();
        for (of, block) in requests.filter(|(of, _)| !of.is_server()) {
            let sequence = block.number.0 / n_blocks();
            let holds_open =
                open.iter().any(|block| self.holds[&of].contains(&(block.number.0 / n_blocks())));
            assert!(is_urgent(sequence) || !holds_open, "{of} is asked for {block:?} too soon");
        }
    }

    fn check_memory(&self) {
        let len: u64 = self
            .held
            .iter()
            .map(|block| part(block.number.0 / n_blocks()).message_len(block.number) as u64)
            .sum();
        assert_eq!(self.film.held_len, len, "the bytes that are held are counted");
        assert!(len <= MEMORY, "{len} bytes are held");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn each_block_is_asked_for_once_in_the_right_order_and_fits_into_memory(steps in steps()) {
        let mut trial = Trial::new();
        for step in &steps {
            trial.step(step);
            trial.plan();
            trial.check_memory();
        }
    }
}

#[test]
fn the_rarest_part_comes_first_beyond_what_plays_soon() {
    let mut trial = Trial::new();
    trial.moment.position_us = 0;
    for sequence in 0..30 {
        trial.tell(PeerId::new(1), sequence, true);
        if sequence != 12 {
            trial.tell(PeerId::new(2), sequence, true);
        }
    }
    // All that plays soon is here.
    trial.film.reels_mut()[0].given = Some(Given { first: 0, next: 4 });
    trial.plan();
    let of_first: BTreeSet<u32> = trial.owed.keys().map(|block| block.number.0 / n_blocks()).collect();
    assert!(of_first.contains(&12), "{of_first:?}");
}

#[test]
fn a_block_asked_in_vain_is_asked_of_somebody_else() {
    let mut trial = Trial::new();
    for peer in [1, 2] {
        trial.tell(PeerId::new(peer), 0, true);
    }
    trial.plan();
    let before = trial.owed.clone();
    trial.moment.now += Duration::from_secs(10);
    trial.plan();
    let moved = before.iter().filter(|(block, of)| trial.owed.get(*block).is_some_and(|now| now != *of));
    assert!(moved.count() > 0, "{before:?} {:?}", trial.owed);
    assert!(BLOCK_LEN_LIMIT * n_blocks() as usize >= PART_LEN);
}

#[test]
fn a_part_whose_list_came_for_an_earlier_try_gets_whole() {
    let mut trial = Trial::new();
    trial.tell(PeerId::new(1), 0, true);
    trial.plan();
    // The list comes, no block does, and the viewer goes elsewhere and back.
    trial.film.described(part(0).id);
    trial.step(&Step::GoTo(50));
    trial.step(&Step::GoTo(0));
    for _ in 0..200 {
        trial.step(&Step::Wait(100));
        trial.plan();
        let come: Vec<(BlockId, PeerId)> = trial.owed.iter().map(|(block, of)| (*block, *of)).collect();
        for (block, peer) in come {
            trial.film.arrived(Sender { peer, rtt: RTT }, block, trial.moment.now);
            trial.owed.remove(&block);
        }
    }
    assert!(trial.film.reels()[0].shelf.is_whole(0));
}
