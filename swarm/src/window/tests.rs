//! The window against a naive account: a map of parts, and a map of blocks.

use std::collections::BTreeMap;

use cardume_wire::WallTime;
use proptest::prelude::*;

use super::*;
use crate::BitsPerSec;

const EPOCH: Epoch = Epoch(1);
const TRACK: TrackId = TrackId(3);
const N_PARTS: u32 = 40;
const PART_US: u64 = 200_000;

/// A part of a broadcast whose parts have one to four blocks.
fn part(sequence: u32) -> PartFacts {
    let [n_before, n_blocks] = [[0, 1], [1, 2], [3, 3], [6, 4]][sequence as usize % 4];
    PartFacts {
        id: PartId { epoch: EPOCH, track: TRACK, sequence },
        first_block: BlockNumber(sequence / 4 * 10 + n_before),
        n_blocks,
        len: n_blocks * 16_000 + sequence,
        start_us: u64::from(sequence) * PART_US,
        end_us: u64::from(sequence + 1) * PART_US,
        captured_at: WallTime(0),
        is_independent: sequence.is_multiple_of(5),
        descriptor_len: 100,
    }
}

fn numbers(part: &PartFacts) -> core::ops::Range<u32> {
    part.first_block.0..part.first_block.0 + part.n_blocks
}

#[derive(Clone, Debug)]
enum Step {
    Describe(u32),
    Hold(u32),
    Ask(u32),
    /// The player goes on to this part.
    GoTo(u32),
    EvictBefore(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0..N_PARTS / 4 * 10;
    let step = prop_oneof![
        6 => (0..N_PARTS).prop_map(Step::Describe),
        6 => number.clone().prop_map(Step::Hold),
        2 => number.prop_map(Step::Ask),
        1 => (0..N_PARTS).prop_map(Step::GoTo),
        1 => (0..u64::from(N_PARTS) * PART_US).prop_map(Step::EvictBefore),
    ];
    proptest::collection::vec(step, 1..120)
}

/// The naive account.
#[derive(Default)]
struct Account {
    parts: BTreeMap<u32, PartFacts>,
    blocks: BTreeMap<u32, Block>,
    /// Nothing before it is kept.
    first: u32,
    next: Option<u32>,
}

impl Account {
    fn describe(&mut self, part: PartFacts) -> bool {
        let sequence = part.id.sequence;
        let is_over = self.next.is_some_and(|next| sequence < next) && sequence < self.first;
        if self.parts.contains_key(&sequence) || is_over {
            return false;
        }
        self.first = if self.parts.is_empty() { sequence } else { self.first.min(sequence) };
        let missing = Block::Missing { since: Instant::default(), n_tries: 0 };
        self.blocks.extend(numbers(&part).map(|number| (number, missing)));
        self.parts.insert(sequence, part);
        true
    }

    fn set(&mut self, number: u32, block: Block) {
        if let Some(known) = self.blocks.get_mut(&number) {
            *known = block;
        }
    }

    /// What is over goes, but neither the newest part nor what is still to be delivered.
    fn evict_before(&mut self, time_us: u64) -> Option<u32> {
        let before = self.first;
        let newest = self.parts.keys().next_back().copied().unwrap_or(0);
        let is_over = |part: &PartFacts| part.end_us < time_us;
        while self.first < newest
            && self.next.is_none_or(|next| self.first < next)
            && self.parts.get(&self.first).is_none_or(is_over)
        {
            if let Some(part) = self.parts.remove(&self.first) {
                self.blocks.retain(|number, _| !numbers(&part).contains(number));
            }
            self.first += 1;
        }
        (self.first != before).then_some(self.first)
    }

    fn start_sequence(&self, start_us: u64) -> u32 {
        let starts: Vec<&PartFacts> = self.parts.values().filter(|part| part.is_independent).collect();
        let before = starts.iter().rfind(|part| part.start_us <= start_us);
        before.or(starts.first()).map_or(self.first, |part| part.id.sequence)
    }

    /// Where undescribed parts begin that follow a described one.
    fn gaps(&self, sequence: u32, limit: usize) -> Vec<BlockNumber> {
        let followed = self.parts.values().filter(|part| part.id.sequence + 1 >= sequence);
        let last = followed.filter(|part| !self.parts.contains_key(&(part.id.sequence + 1)));
        last.map(|part| BlockNumber(numbers(part).end)).take(limit).collect()
    }

    fn byte_rate(&self) -> Option<u64> {
        let (first, last) = (self.parts.values().next()?, self.parts.values().next_back()?);
        let len: u64 = self.parts.values().map(|part| u64::from(part.len) + 100).sum();
        let described_us = self.parts.len() as u64 * PART_US;
        (last.end_us - first.start_us >= 500_000).then(|| len * 1_000_000 / described_us)
    }
}

fn window() -> Window {
    let facts = TrackFacts { id: TRACK, is_video: true, bitrate: BitsPerSec(1) };
    let mut window = Window::default();
    window.reset(CatalogFacts { epoch: EPOCH, tracks: vec![facts], len: 9, reels: Vec::new() });
    window
}

fn take(window: &mut Window, account: &mut Account, step: &Step) -> Result<(), TestCaseError> {
    let track = window.track_mut(EPOCH, TRACK).expect("it has one");
    match *step {
        Step::Describe(sequence) => {
            let part = part(sequence);
            prop_assert_eq!(track.insert_part(part, Instant::default()), account.describe(part));
        }
        Step::Hold(number) if account.blocks.contains_key(&number) => {
            track.set(BlockNumber(number), Block::Held);
            account.set(number, Block::Held);
        }
        Step::Ask(number) if account.blocks.contains_key(&number) => {
            let (of, since) = (PeerId::new(1), Instant::default());
            let asked = Block::Asked { of, expires_at: since, since, n_tries: 1 };
            track.set(BlockNumber(number), asked);
            account.set(number, asked);
        }
        Step::GoTo(sequence) if !account.parts.is_empty() => {
            account.next = Some(sequence.max(account.first).max(account.next.unwrap_or(0)));
            track.next = account.next;
        }
        Step::EvictBefore(time_us) => {
            prop_assert_eq!(track.evict_before(time_us), account.evict_before(time_us));
        }
        Step::Hold(_) | Step::Ask(_) | Step::GoTo(_) => {}
    }
    Ok(())
}

fn compare(window: &Window, account: &Account) -> Result<(), TestCaseError> {
    let track = window.track(EPOCH, TRACK).expect("it has one");
    prop_assert!(track.parts().eq(account.parts.values()));
    for sequence in 0..N_PARTS {
        prop_assert_eq!(track.part(sequence), account.parts.get(&sequence));
        prop_assert!(track.parts_from(sequence).eq(account.parts.range(sequence..).map(|(_, part)| part)));
        prop_assert_eq!(track.gaps(sequence, 3), account.gaps(sequence, 3), "from {}", sequence);
        let start_us = part(sequence).start_us;
        prop_assert_eq!(track.start_sequence(start_us), account.start_sequence(start_us));
        let is_held = |number| account.blocks.get(&number) == Some(&Block::Held);
        prop_assert_eq!(track.is_whole(&part(sequence)), numbers(&part(sequence)).all(is_held));
        for number in numbers(&part(sequence)) {
            let known = account.blocks.get(&number).copied();
            prop_assert_eq!(track.block(BlockNumber(number)), known.unwrap_or(Block::Undescribed));
            let block = BlockId { epoch: EPOCH, track: TRACK, number: BlockNumber(number) };
            prop_assert_eq!(window.part_of(block), account.parts.get(&sequence));
            prop_assert_eq!(window.holds(block), is_held(number));
        }
    }
    let of =
        |is_it: fn(&Block) -> bool| account.blocks.iter().filter(move |(_, b)| is_it(b)).map(|(n, _)| *n);
    prop_assert!(track.held().eq(of(|block| *block == Block::Held)));
    let asked: Vec<BlockNumber> = of(|block| matches!(block, Block::Asked { .. })).map(BlockNumber).collect();
    prop_assert_eq!(track.open_numbers(), asked);
    prop_assert_eq!(window.byte_rate(TrackSet::ALL), account.byte_rate());
    Ok(())
}

/// Whatever a broadcaster may sign.
fn any_part() -> impl Strategy<Value = PartFacts> {
    let sequence = prop_oneof![0u32..2_000, any::<u32>(), Just(u32::MAX)];
    let first_block = prop_oneof![0u32..20_000, any::<u32>(), Just(u32::MAX)];
    (sequence, first_block, 1u32..1_024, any::<[u64; 2]>()).prop_map(|(sequence, first, n_blocks, times)| {
        let id = PartId { epoch: EPOCH, track: TRACK, sequence };
        let [start_us, end_us] = times;
        PartFacts { id, first_block: BlockNumber(first), n_blocks, start_us, end_us, ..part(0) }
    })
}

proptest! {
    #[test]
    fn it_knows_what_was_described_held_and_asked_for_and_nothing_else(steps in steps()) {
        let (mut window, mut account) = (window(), Account::default());
        for step in steps {
            take(&mut window, &mut account, &step)?;
            compare(&window, &account)?;
        }
    }

    #[test]
    fn it_keeps_within_its_limits_whatever_is_signed(parts in proptest::collection::vec(any_part(), 1..60)) {
        let mut window = window();
        for part in parts {
            let track = &mut window.tracks_mut()[0];
            let is_new = track.insert_part(part, Instant::default());
            prop_assert!(track.parts.len() <= PART_LIMIT, "{} parts", track.parts.len());
            prop_assert!(track.blocks.len() <= BIT_LIMIT as usize, "{} blocks", track.blocks.len());
            prop_assert_eq!(track.part(part.id.sequence) == Some(&part), is_new);
            prop_assert!(window.peak_rate(TrackSet::ALL) >= window.byte_rate(TrackSet::ALL));
        }
    }
}

#[test]
fn the_longest_block_and_a_stripes_share_are_of_the_largest_part() {
    let mut window = window();
    assert_eq!((window.burst_len(), window.block_len(), window.byte_rate(TrackSet::ALL)), (0, 0, None));
    for sequence in 0..4 {
        window.tracks_mut()[0].insert_part(part(sequence), Instant::default());
    }
    assert_eq!(window.burst_len(), u64::from(part(3).len) / 8);
    assert_eq!(window.block_len(), block_len(part(3).len as usize) as u64);
}

#[test]
fn the_busiest_second_counts_where_parts_differ() {
    let mut window = window();
    for sequence in 0..20 {
        let len = if sequence % 10 == 0 { 50_000 } else { 10_000 };
        window.tracks_mut()[0].insert_part(PartFacts { len, ..part(sequence) }, Instant::default());
    }
    let n_parts = 1_000_000 / PART_US;
    assert_eq!(window.peak_rate(TrackSet::ALL), Some(n_parts * (10_000 + 100) + 40_000));
}

#[test]
fn another_broadcast_is_not_this_one() {
    let mut window = window();
    window.tracks_mut()[0].insert_part(part(0), Instant::default());
    window.tracks_mut()[0].set(BlockNumber(0), Block::Held);
    let block = |epoch, track| BlockId { epoch, track, number: BlockNumber(0) };
    assert!(window.holds(block(EPOCH, TRACK)));
    assert!(!window.holds(block(Epoch(2), TRACK)) && !window.holds(block(EPOCH, TrackId(0))));
    assert!(window.track_mut(Epoch(2), TRACK).is_none() && window.track_mut(EPOCH, TrackId(0)).is_none());
    assert_eq!((window.index(TRACK), window.index(TrackId(0)), window.catalog_len()), (Some(0), None, 9));
}
