//! What is held of one track: the live window, or parts of a film.

use bytes::Bytes;
use cardume_wire::BlockNumber;

use crate::index::{IndexPage, IndexedPart, TrackIndex};
use crate::reel::Reel;
use crate::window::{Insertion, Slot, Window};
use crate::{BlockVerdict, PartId};

/// One track of either kind; what the other kind has not is absent or does nothing.
#[derive(Debug)]
pub(crate) enum Holding {
    Live(Window),
    Film(Reel),
}

impl Holding {
    /// With nothing in it; of a film when there is an index.
    pub(crate) fn new(index: Option<&TrackIndex>) -> Self {
        index.map_or_else(|| Self::Live(Window::default()), |index| Self::Film(Reel::new(index)))
    }

    pub(crate) const fn is_film(&self) -> bool {
        matches!(self, Self::Film(_))
    }

    pub(crate) fn window_mut(&mut self) -> Option<&mut Window> {
        match self {
            Self::Live(window) => Some(window),
            Self::Film(_) => None,
        }
    }

    pub(crate) fn insert_page(&mut self, page: IndexPage, message: impl FnOnce() -> Bytes) -> bool {
        match self {
            Self::Live(_) => false,
            Self::Film(reel) => reel.insert_page(page, message()),
        }
    }

    pub(crate) fn page_message(&self, page: u16) -> Option<&Bytes> {
        self.reel()?.page_message(page)
    }

    pub(crate) fn indexed(&self, sequence: u32) -> Option<&IndexedPart> {
        self.reel()?.part(sequence)
    }

    pub(crate) fn indexed_part_of(&self, number: BlockNumber) -> Option<PartId> {
        self.reel()?.part_of(number).map(|part| part.part)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Live(window) => window.len(),
            Self::Film(reel) => reel.len(),
        }
    }

    pub(crate) fn n_slots(&self) -> usize {
        self.reel().map_or(0, Reel::n_slots)
    }

    pub(crate) fn slots(&self) -> Box<dyn DoubleEndedIterator<Item = &Slot> + '_> {
        match self {
            Self::Live(window) => Box::new(window.slots()),
            Self::Film(reel) => Box::new(reel.slots()),
        }
    }

    pub(crate) fn slot(&self, sequence: u32) -> Option<&Slot> {
        match self {
            Self::Live(window) => window.slot(sequence),
            Self::Film(reel) => reel.slot(sequence),
        }
    }

    pub(crate) fn slot_of(&self, number: BlockNumber) -> Option<&Slot> {
        match self {
            Self::Live(window) => window.slot_of(number),
            Self::Film(reel) => reel.slot_of(number),
        }
    }

    pub(crate) fn is_behind(&self, number: BlockNumber) -> bool {
        match self {
            Self::Live(window) => window.is_behind(number),
            Self::Film(_) => false,
        }
    }

    /// `n_parts` limits a live window.
    pub(crate) fn insert(&mut self, slot: Slot, n_parts: u32) -> Insertion {
        match self {
            Self::Live(window) => window.insert(slot, n_parts),
            Self::Film(reel) => reel.insert(slot),
        }
    }

    pub(crate) fn insert_block(
        &mut self,
        number: BlockNumber,
        payload: &[u8],
        message: impl FnOnce() -> Bytes,
    ) -> BlockVerdict {
        match self {
            Self::Live(window) => window.insert_block(number, payload, message),
            Self::Film(reel) => reel.insert_block(number, payload, message),
        }
    }

    pub(crate) fn evict_before(&mut self, sequence: u32) {
        if let Self::Live(window) = self {
            window.evict_before(sequence);
        }
    }

    pub(crate) fn evict(&mut self, sequence: u32) {
        if let Self::Film(reel) = self {
            reel.evict(sequence);
        }
    }

    fn reel(&self) -> Option<&Reel> {
        match self {
            Self::Live(_) => None,
            Self::Film(reel) => Some(reel),
        }
    }
}
