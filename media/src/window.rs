//! The live window of one track: its parts by sequence, oldest first.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use cardume_wire::{BlockNumber, WallTime};

use crate::descriptor::hash_block;
use crate::{BlockVerdict, Descriptor};

/// A part: its verified descriptor, and those of its blocks that are here.
#[derive(Debug)]
pub(crate) struct Slot {
    descriptor: Arc<Descriptor>,
    descriptor_message: Bytes,
    blocks: Vec<Option<Bytes>>,
    len: usize,
}

impl Slot {
    pub(crate) fn new(descriptor: Arc<Descriptor>, descriptor_message: Bytes) -> Self {
        let blocks = vec![None; descriptor.hashes.len()];
        Self { descriptor, descriptor_message, blocks, len: 0 }
    }

    /// With all its blocks, which the caller vouches for.
    pub(crate) fn whole(descriptor: Arc<Descriptor>, descriptor_message: Bytes, blocks: Vec<Bytes>) -> Self {
        let len = blocks.iter().map(Bytes::len).sum();
        Self { descriptor, descriptor_message, blocks: blocks.into_iter().map(Some).collect(), len }
    }

    pub(crate) const fn descriptor(&self) -> &Arc<Descriptor> {
        &self.descriptor
    }

    pub(crate) const fn descriptor_message(&self) -> &Bytes {
        &self.descriptor_message
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = Option<&Bytes>> {
        self.blocks.iter().map(Option::as_ref)
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.blocks.iter().all(Option::is_some)
    }

    pub(crate) fn block(&self, number: BlockNumber) -> Option<&Bytes> {
        self.blocks.get(self.index(number))?.as_ref()
    }

    /// Only for blocks at or after the slot's first; others give an index that no part has.
    fn index(&self, number: BlockNumber) -> usize {
        number.0.checked_sub(self.descriptor.first_block.0).map_or(usize::MAX, |index| index as usize)
    }

    /// Media bytes of the blocks that are here, headers included.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Takes a block if the descriptor vouches for it.
    pub(crate) fn insert(
        &mut self,
        number: BlockNumber,
        payload: &[u8],
        message: impl FnOnce() -> Bytes,
    ) -> BlockVerdict {
        let index = self.index(number);
        let (Some(place), Some(hash)) = (self.blocks.get_mut(index), self.descriptor.hashes.get(index))
        else {
            return BlockVerdict::NoDescriptor;
        };
        if place.is_some() {
            return BlockVerdict::Duplicate;
        }
        let is_len =
            u32::try_from(index).is_ok_and(|index| self.descriptor.block_len(index) == payload.len());
        if !is_len || hash_block(payload) != *hash {
            return BlockVerdict::Bad;
        }
        self.len += place.insert(message()).len();
        BlockVerdict::Verified
    }
}

/// What became of a slot.
pub(crate) enum Insertion {
    New,
    Known,
    Stale,
    Contradiction,
}

/// Slots in ascending order of sequence and of blocks; there may be gaps.
#[derive(Debug, Default)]
pub(crate) struct Window {
    slots: VecDeque<Slot>,
    /// Sequences below are not taken (again).
    floor: u32,
    /// Blocks below belong to evicted parts.
    floor_block: BlockNumber,
    len: usize,
}

impl Window {
    pub(crate) fn slots(&self) -> impl DoubleEndedIterator<Item = &Slot> {
        self.slots.iter()
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// When the oldest part was captured.
    pub(crate) fn oldest_at(&self) -> Option<WallTime> {
        self.slots.front().map(|slot| slot.descriptor.captured_at)
    }

    pub(crate) fn is_behind(&self, number: BlockNumber) -> bool {
        number < self.floor_block
    }

    pub(crate) fn slot(&self, sequence: u32) -> Option<&Slot> {
        let index = self.slots.binary_search_by_key(&sequence, |slot| slot.descriptor.part.sequence).ok()?;
        self.slots.get(index)
    }

    pub(crate) fn slot_of(&self, number: BlockNumber) -> Option<&Slot> {
        self.slots.get(self.index_of(number)?)
    }

    /// Takes a part; `n_parts` limits how far behind the newest part the oldest may be.
    pub(crate) fn insert(&mut self, slot: Slot, n_parts: u32) -> Insertion {
        let sequence = slot.descriptor.part.sequence;
        let newest = self.slots.back().map_or(sequence, |slot| slot.descriptor.part.sequence).max(sequence);
        if sequence < self.floor || newest - sequence >= n_parts {
            return Insertion::Stale;
        }
        let Err(index) = self.slots.binary_search_by_key(&sequence, |slot| slot.descriptor.part.sequence)
        else {
            return Insertion::Known;
        };
        if !self.fits(index, &slot.descriptor) {
            return Insertion::Contradiction;
        }
        self.len += slot.len;
        self.slots.insert(index, slot);
        self.evict_before(newest.saturating_add(1).saturating_sub(n_parts));
        Insertion::New
    }

    pub(crate) fn insert_block(
        &mut self,
        number: BlockNumber,
        payload: &[u8],
        message: impl FnOnce() -> Bytes,
    ) -> BlockVerdict {
        let Some(slot) = self.index_of(number).and_then(|index| self.slots.get_mut(index)) else {
            return BlockVerdict::NoDescriptor;
        };
        let len = slot.len;
        let verdict = slot.insert(number, payload, message);
        self.len += slot.len - len;
        verdict
    }

    pub(crate) fn evict_before(&mut self, sequence: u32) {
        self.floor = self.floor.max(sequence);
        while self.slots.front().is_some_and(|slot| slot.descriptor.part.sequence < sequence) {
            self.evict_oldest();
        }
    }

    pub(crate) fn evict_oldest(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            self.len -= slot.len;
            self.floor = self.floor.max(slot.descriptor.part.sequence.saturating_add(1));
            self.floor_block = self.floor_block.max(slot.descriptor.end_block());
        }
    }

    fn index_of(&self, number: BlockNumber) -> Option<usize> {
        let index = self.slots.partition_point(|slot| slot.descriptor.end_block() <= number);
        let slot = self.slots.get(index)?;
        (slot.descriptor.first_block <= number).then_some(index)
    }

    /// Whether blocks and sequences ascend together around `index`: what finding a block's part relies on.
    fn fits(&self, index: usize, descriptor: &Descriptor) -> bool {
        let before = index.checked_sub(1).and_then(|index| self.slots.get(index));
        let is_after = before.is_none_or(|slot| slot.descriptor.end_block() <= descriptor.first_block);
        let is_before =
            self.slots.get(index).is_none_or(|slot| descriptor.end_block() <= slot.descriptor.first_block);
        is_after && is_before && self.floor_block <= descriptor.first_block
    }
}
