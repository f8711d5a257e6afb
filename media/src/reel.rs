//! One track of a film, as far as it is here: parts in any order.

use std::collections::BTreeMap;

use bytes::Bytes;
use cardume_wire::BlockNumber;

use crate::index::{INDEX_PAGE_PARTS, IndexPage, IndexedPart, TrackIndex};
use crate::window::{Insertion, Slot};
use crate::{BlockVerdict, Descriptor};

/// Pages of the index and slots of parts; every slot's part is in one of the pages.
#[derive(Debug)]
pub(crate) struct Reel {
    /// As many as the track has.
    pages: Vec<Option<Page>>,
    slots: BTreeMap<u32, Slot>,
    len: usize,
}

#[derive(Debug)]
struct Page {
    parts: Vec<IndexedPart>,
    message: Bytes,
}

impl Reel {
    pub(crate) fn new(index: &TrackIndex) -> Self {
        Self { pages: index.pages().iter().map(|_| None).collect(), slots: BTreeMap::new(), len: 0 }
    }

    /// Takes a verified page; false when it is here already.
    pub(crate) fn insert_page(&mut self, page: IndexPage, message: Bytes) -> bool {
        let Some(place) = self.pages.get_mut(usize::from(page.id.page)) else { return false };
        if place.is_some() {
            return false;
        }
        *place = Some(Page { parts: page.parts, message });
        true
    }

    pub(crate) fn page_message(&self, page: u16) -> Option<&Bytes> {
        self.pages.get(usize::from(page))?.as_ref().map(|page| &page.message)
    }

    /// The part as the index has it, if its page is here.
    pub(crate) fn part(&self, sequence: u32) -> Option<&IndexedPart> {
        let sequence = sequence as usize;
        let page = self.pages.get(sequence / INDEX_PAGE_PARTS)?.as_ref()?;
        page.parts.get(sequence % INDEX_PAGE_PARTS)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn n_slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn slots(&self) -> impl DoubleEndedIterator<Item = &Slot> {
        self.slots.values()
    }

    pub(crate) fn slot(&self, sequence: u32) -> Option<&Slot> {
        self.slots.get(&sequence)
    }

    pub(crate) fn slot_of(&self, number: BlockNumber) -> Option<&Slot> {
        self.slots.get(&self.part_of(number)?.part.sequence)
    }

    /// Takes a part that the index has.
    pub(crate) fn insert(&mut self, slot: Slot) -> Insertion {
        let sequence = slot.descriptor().part.sequence;
        if self.slots.contains_key(&sequence) {
            return Insertion::Known;
        }
        if !self.part(sequence).is_some_and(|part| is_same(part, slot.descriptor())) {
            return Insertion::Contradiction;
        }
        self.len += slot.len();
        self.slots.insert(sequence, slot);
        Insertion::New
    }

    pub(crate) fn insert_block(
        &mut self,
        number: BlockNumber,
        payload: &[u8],
        message: impl FnOnce() -> Bytes,
    ) -> BlockVerdict {
        let sequence = self.part_of(number).map(|part| part.part.sequence);
        let Some(slot) = sequence.and_then(|sequence| self.slots.get_mut(&sequence)) else {
            return BlockVerdict::NoDescriptor;
        };
        let len = slot.len();
        let verdict = slot.insert(number, payload, message);
        self.len += slot.len() - len;
        verdict
    }

    pub(crate) fn evict(&mut self, sequence: u32) {
        if let Some(slot) = self.slots.remove(&sequence) {
            self.len -= slot.len();
        }
    }

    /// The part of a block, if its page is here. Blocks rise with parts, so each step halves what is left.
    pub(crate) fn part_of(&self, number: BlockNumber) -> Option<&IndexedPart> {
        let pages = || self.pages.iter().flatten();
        let page = pages().rfind(|page| page.parts.first().is_some_and(|part| part.first_block <= number))?;
        let after = page.parts.partition_point(|part| part.first_block <= number);
        let part = page.parts.get(after.checked_sub(1)?)?;
        part.end_block().is_some_and(|end| number < end).then_some(part)
    }
}

fn is_same(part: &IndexedPart, descriptor: &Descriptor) -> bool {
    part.part == descriptor.part && part.first_block == descriptor.first_block && part.len == descriptor.len
}
