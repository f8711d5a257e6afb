//! What a node holds, as `media::Store` would: blocks count only once their descriptor is there.

use std::collections::VecDeque;

use cardume_media::PartId;
use cardume_swarm::PartFacts;
use cardume_wire::{BlockId, BlockNumber, Epoch, PeerId};

use crate::library::{Library, TRACK_COUNT};
use crate::shown::Shown;

/// Blocks held back for their descriptor at most, as in the session.
const UNVERIFIED_LIMIT: usize = 256;
/// Blocks of a part at most: they are bits of one word.
pub(crate) const BLOCKS_OF_PART_LIMIT: u32 = 64;

/// The descriptors and blocks of one node.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) epoch: Option<Epoch>,
    rows: [Row; TRACK_COUNT],
    unverified: Vec<(PeerId, BlockId)>,
}

/// The parts of one track.
#[derive(Debug, Default)]
struct Row {
    /// Sequence of the first slot.
    first: u32,
    slots: VecDeque<Slot>,
    /// Parts before this one were judged.
    judged_before: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    is_known: bool,
    /// Blocks that are held.
    held: u64,
    /// Blocks that came before their deadline, whatever became of them since.
    on_time: u64,
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Verified,
    Useless,
    Unverifiable,
}

impl Store {
    /// Begins a broadcast with nothing.
    pub(crate) fn begin(&mut self, epoch: Epoch) {
        *self = Self { epoch: Some(epoch), ..Self::default() };
    }

    /// False when it is known already or of another broadcast.
    pub(crate) fn insert_part(&mut self, part: &PartFacts) -> bool {
        if self.epoch != Some(part.id.epoch) {
            return false;
        }
        let Some(row) = self.rows.get_mut(usize::from(part.id.track.0)) else { return false };
        row.slot_or_new(part.id.sequence).is_some_and(|slot| !core::mem::replace(&mut slot.is_known, true))
    }

    /// Takes a block in; `is_on_time` says whether its deadline is still to come.
    pub(crate) fn insert_block(
        &mut self,
        from: PeerId,
        block: BlockId,
        part: Option<&PartFacts>,
        is_on_time: bool,
    ) -> Verdict {
        if self.epoch > Some(block.epoch) {
            return Verdict::Useless;
        }
        let slot = part.and_then(|part| self.row_mut(part)?.slot_mut(part.id.sequence));
        let (Some(part), Some(slot)) = (part, slot.filter(|slot| slot.is_known)) else {
            if self.unverified.len() < UNVERIFIED_LIMIT {
                self.unverified.push((from, block));
            }
            return Verdict::Unverifiable;
        };
        let bit = bit(part, block.number);
        if slot.held & bit != 0 {
            return Verdict::Useless;
        }
        slot.held |= bit;
        slot.on_time |= if is_on_time { bit } else { 0 };
        Verdict::Verified
    }

    /// The blocks that waited for this part's descriptor.
    pub(crate) fn take_waiting(&mut self, part: &PartFacts) -> Vec<(PeerId, BlockId)> {
        if self.unverified.is_empty() {
            return Vec::new();
        }
        let is_ready = |(_, block): &(PeerId, BlockId)| {
            block.epoch == part.id.epoch && block.track == part.id.track && part.has_block(block.number)
        };
        let (ready, waiting) = core::mem::take(&mut self.unverified).into_iter().partition(is_ready);
        self.unverified = waiting;
        ready
    }

    /// Whether the block of this part is held.
    pub(crate) fn holds(&self, part: &PartFacts, number: BlockNumber) -> bool {
        self.slot(part).is_some_and(|slot| slot.held & bit(part, number) != 0)
    }

    /// Whether the descriptor is held.
    pub(crate) fn knows(&self, part: &PartFacts) -> bool {
        self.slot(part).is_some_and(|slot| slot.is_known)
    }

    /// Whether all of a part is held.
    pub(crate) fn is_whole(&self, part: &PartFacts) -> bool {
        self.slot(part).is_some_and(|slot| slot.held.count_ones() == part.n_blocks)
    }

    /// Forgets the parts of a track before this one.
    pub(crate) fn evict_before(&mut self, id: PartId) {
        if let Some(row) = self.rows.get_mut(usize::from(id.track.0)) {
            row.forget_before(id.sequence);
            row.tidy();
        }
    }

    /// Forgets one part; it may come again.
    pub(crate) fn evict(&mut self, id: PartId) {
        let row = self.rows.get_mut(usize::from(id.track.0));
        if let Some(slot) = row.and_then(|row| row.slot_mut(id.sequence)) {
            *slot = Slot::default();
        }
    }

    /// Says of each part whose deadline has passed, and was not said yet, how many blocks it has and how many were here
    /// in time. Parts with a deadline before `from`, what ends before the viewer began, and renditions that were not shown
    /// are left out.
    pub(crate) fn judge(
        &mut self,
        library: &Library,
        deadlines: Deadlines,
        shown: &Shown,
        mut verdict: impl FnMut(u64, u32, u32),
    ) {
        if self.epoch.is_none() || self.epoch != library.epoch() {
            return;
        }
        for (track, row) in self.rows.iter_mut().enumerate() {
            let parts = library.parts(track);
            let is_before =
                |part: &PartFacts| deadlines.of(part) < deadlines.from || part.end_us <= deadlines.began_us;
            let skipped = parts.partition_point(|part| is_before(&part.facts));
            let first = skipped.max(row.judged_before as usize);
            let mut judged_before = first;
            for part in parts.iter().skip(first) {
                let deadline = deadlines.of(&part.facts);
                if deadline > deadlines.until {
                    break;
                }
                let slot = row.slot_mut(part.facts.id.sequence).map_or(Slot::default(), |slot| *slot);
                if shown.contains(part.facts.id) {
                    verdict(deadline, part.facts.n_blocks, slot.on_time.count_ones());
                }
                judged_before += 1;
            }
            row.judged_before = u32::try_from(judged_before).unwrap_or(u32::MAX);
            row.tidy();
        }
    }

    fn slot(&self, part: &PartFacts) -> Option<&Slot> {
        let row = self.rows.get(usize::from(part.id.track.0))?;
        if self.epoch != Some(part.id.epoch) {
            return None;
        }
        row.slots.get(part.id.sequence.checked_sub(row.first)? as usize)
    }

    fn row_mut(&mut self, part: &PartFacts) -> Option<&mut Row> {
        self.rows.get_mut(usize::from(part.id.track.0)).filter(|_| self.epoch == Some(part.id.epoch))
    }
}

/// Which deadlines are judged, microseconds of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// From the end of a part's capture to when it must be there.
    pub(crate) latency: u64,
    /// The first.
    pub(crate) from: u64,
    /// The last.
    pub(crate) until: u64,
    /// Media time at which the viewer began: a deadline is the end of a part, so that of the one before may lie a moment
    /// after the start.
    pub(crate) began_us: u64,
}

impl Deadlines {
    /// When a part must be there.
    pub(crate) fn of(&self, part: &PartFacts) -> u64 {
        crate::broadcast::captured_end(part) + self.latency
    }
}

impl Row {
    fn slot_mut(&mut self, sequence: u32) -> Option<&mut Slot> {
        let index = sequence.checked_sub(self.first)? as usize;
        self.slots.get_mut(index)
    }

    fn slot_or_new(&mut self, sequence: u32) -> Option<&mut Slot> {
        if self.slots.is_empty() {
            self.first = sequence;
        }
        while sequence < self.first {
            self.first -= 1;
            self.slots.push_front(Slot::default());
        }
        let index = (sequence - self.first) as usize;
        while self.slots.len() <= index {
            self.slots.push_back(Slot::default());
        }
        self.slots.get_mut(index)
    }

    /// Forgets what is held of the parts before this one; it may come again.
    fn forget_before(&mut self, sequence: u32) {
        let n_evicted = sequence.saturating_sub(self.first) as usize;
        for slot in self.slots.iter_mut().take(n_evicted) {
            *slot = Slot { on_time: slot.on_time, ..Slot::default() };
        }
    }

    /// Drops the slots of parts that are judged and of which nothing is known.
    fn tidy(&mut self) {
        let is_over = |slot: &Slot| !slot.is_known;
        while self.first < self.judged_before && self.slots.front().is_some_and(is_over) {
            self.slots.pop_front();
            self.first += 1;
        }
    }
}

fn bit(part: &PartFacts, number: BlockNumber) -> u64 {
    let index = number.0.wrapping_sub(part.first_block.0);
    if index < BLOCKS_OF_PART_LIMIT { 1 << index } else { 0 }
}

#[cfg(test)]
mod tests {
    use cardume_wire::{TrackId, WallTime};

    use super::*;
    use crate::broadcast::WALL_AT_START;

    const PEER: PeerId = PeerId::new(1);

    /// A second of media in two blocks.
    fn part(sequence: u32) -> PartFacts {
        let start_us = u64::from(sequence) * 1_000_000;
        PartFacts {
            id: PartId { epoch: Epoch(1), track: TrackId(0), sequence },
            first_block: BlockNumber(sequence * 2),
            n_blocks: 2,
            len: 20_000,
            start_us,
            end_us: start_us + 1_000_000,
            captured_at: WallTime(WALL_AT_START + start_us),
            is_independent: true,
            descriptor_len: 100,
        }
    }

    fn block(number: u32) -> BlockId {
        BlockId { epoch: Epoch(1), track: TrackId(0), number: BlockNumber(number) }
    }

    fn store() -> Store {
        let mut store = Store::default();
        store.begin(Epoch(1));
        store
    }

    #[test]
    fn blocks_wait_for_their_descriptor_and_count_once() {
        let (mut store, part) = (store(), part(3));
        assert_eq!(store.insert_block(PEER, block(6), Some(&part), true), Verdict::Unverifiable);
        assert!(store.insert_part(&part) && !store.insert_part(&part));
        assert_eq!(store.take_waiting(&part), [(PEER, block(6))]);
        assert_eq!(store.insert_block(PEER, block(6), Some(&part), true), Verdict::Verified);
        assert_eq!(store.insert_block(PEER, block(6), Some(&part), true), Verdict::Useless);
        assert!(store.holds(&part, BlockNumber(6)) && !store.is_whole(&part));
        assert_eq!(store.insert_block(PEER, block(7), Some(&part), true), Verdict::Verified);
        assert!(store.is_whole(&part));
    }

    #[test]
    fn what_was_evicted_can_come_again_judged_or_not() {
        let (mut store, part) = (store(), part(3));
        store.rows[0].judged_before = 10;
        store.insert_part(&part);
        store.insert_block(PEER, block(6), Some(&part), true);
        store.evict_before(self::part(4).id);
        assert!(!store.holds(&part, BlockNumber(6)) && !store.knows(&part));
        assert!(store.insert_part(&part));
        assert_eq!(store.insert_block(PEER, block(6), Some(&part), false), Verdict::Verified);
        store.evict_before(self::part(2).id);
        assert!(store.holds(&part, BlockNumber(6)));
    }

    #[test]
    fn parts_are_judged_once_when_their_deadline_has_passed_evicted_or_not() {
        let mut store = store();
        let mut library = Library::default();
        library.begin(Epoch(1));
        for sequence in 0..4 {
            library.publish(part(sequence), 0);
        }
        store.insert_part(&part(1));
        store.insert_block(PEER, block(2), Some(&part(1)), true);
        store.insert_block(PEER, block(3), Some(&part(1)), false);
        store.evict_before(part(2).id);
        let mut judged = Vec::new();
        // Deadlines lie at 3, 4, 5 and 6 s: the first is before the start, the last has not come.
        for until in [4_500_000, 5_500_000] {
            let deadlines = Deadlines { latency: 2_000_000, from: 3_500_000, until, began_us: 0 };
            let shown = Shown::default();
            store.judge(&library, deadlines, &shown, |at, n, n_on_time| {
                judged.push((at / 1_000_000, n, n_on_time));
            });
        }
        assert_eq!(judged, [(4, 2, 1), (5, 2, 0)]);
    }

    #[test]
    fn what_ends_before_the_viewer_began_is_not_judged_though_its_deadline_is_still_to_come() {
        let mut store = store();
        let mut library = Library::default();
        library.begin(Epoch(1));
        for sequence in 0..3 {
            library.publish(part(sequence), 0);
        }
        let deadlines = Deadlines { latency: 2_000_000, from: 0, until: 9_000_000, began_us: 1_000_001 };
        let mut judged = Vec::new();
        store.judge(&library, deadlines, &Shown::default(), |at, _, _| judged.push(at / 1_000_000));
        assert_eq!(judged, [4, 5]);
    }
}
