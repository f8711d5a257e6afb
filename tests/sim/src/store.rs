//! What a node holds, as `media::Store` would: blocks count only once their descriptor is there.

use std::collections::VecDeque;

use cardume_media::PartId;
use cardume_swarm::PartFacts;
use cardume_wire::{BlockId, BlockNumber, Epoch, PeerId};

use crate::library::{Library, TRACK_COUNT};

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
    /// Parts before this one are evicted; their slots wait until they are judged.
    evicted_before: u32,
    /// Parts before this one were judged.
    judged_before: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    is_known: bool,
    n_on_time: u8,
    held: u64,
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
        slot.n_on_time += u8::from(is_on_time);
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
            row.evicted_before = row.evicted_before.max(id.sequence);
            row.tidy();
        }
    }

    /// Says of each part whose deadline has passed, and was not said yet, how many blocks it has and how many were here
    /// in time. Parts with a deadline before `from` are left out.
    pub(crate) fn judge(
        &mut self,
        library: &Library,
        deadlines: Deadlines,
        mut verdict: impl FnMut(u64, u32, u32),
    ) {
        if self.epoch.is_none() || self.epoch != library.epoch() {
            return;
        }
        for (track, row) in self.rows.iter_mut().enumerate() {
            let parts = library.parts(track);
            let skipped = parts.partition_point(|part| deadlines.of(&part.facts) < deadlines.from);
            let first = skipped.max(row.judged_before as usize);
            let mut judged_before = first;
            for part in parts.iter().skip(first) {
                let deadline = deadlines.of(&part.facts);
                if deadline > deadlines.until {
                    break;
                }
                let slot = row.slot_mut(part.facts.id.sequence).map_or(Slot::default(), |slot| *slot);
                verdict(deadline, part.facts.n_blocks, u32::from(slot.n_on_time));
                judged_before += 1;
            }
            row.judged_before = u32::try_from(judged_before).unwrap_or(u32::MAX);
            row.tidy();
        }
    }

    fn slot(&self, part: &PartFacts) -> Option<&Slot> {
        let row = self.rows.get(usize::from(part.id.track.0))?;
        if self.epoch != Some(part.id.epoch) || part.id.sequence < row.evicted_before {
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

    /// Drops the slots of parts that are evicted and judged.
    fn tidy(&mut self) {
        while self.first < self.evicted_before.min(self.judged_before) && self.slots.pop_front().is_some() {
            self.first += 1;
        }
    }
}

fn bit(part: &PartFacts, number: BlockNumber) -> u64 {
    let index = number.0.wrapping_sub(part.first_block.0);
    if index < BLOCKS_OF_PART_LIMIT { 1 << index } else { 0 }
}
