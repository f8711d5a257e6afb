//! One track of a film: the pages of its index that are here, and the parts.

use cardume_media::{INDEX_PAGE_PARTS, PartId, index_page_len};
use cardume_wire::{BlockNumber, PeerId, TrackId};

use super::shelf::Shelf;
use crate::{Instant, PartFacts, ReelFacts};

/// Pages are asked for so long before their parts can be wanted, microseconds: the look-ahead, and some tries.
const PAGE_AHEAD: u64 = super::plan::LOOK_AHEAD + 10_000_000;

/// One page of the index.
#[derive(Clone, Debug)]
pub(crate) enum Page {
    /// Neither here nor asked for.
    Unknown,
    /// Asked for, of a neighbour, and asked for anew then.
    Asked(PeerId, Instant),
    /// What its parts are.
    Known(Vec<PartFacts>),
}

/// One track.
#[derive(Clone, Debug)]
pub(crate) struct Reel {
    pub(crate) track: TrackId,
    n_parts: u32,
    /// Where each page starts, microseconds of media time.
    page_starts: Vec<u64>,
    pages: Vec<Page>,
    pub(crate) shelf: Shelf,
    /// What the player was given since it last went elsewhere.
    pub(crate) given: Option<Given>,
}

/// A stretch of parts that the player was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The first.
    pub(crate) first: u32,
    /// The next to give.
    pub(crate) next: u32,
}

impl Reel {
    pub(crate) fn new(facts: &ReelFacts) -> Self {
        Self {
            track: facts.track,
            n_parts: facts.n_parts,
            pages: vec![Page::Unknown; facts.page_starts_us.len()],
            page_starts: facts.page_starts_us.clone(),
            shelf: Shelf::default(),
            given: None,
        }
    }

    pub(crate) const fn n_parts(&self) -> u32 {
        self.n_parts
    }

    pub(crate) fn insert_page(&mut self, page: u16, parts: Vec<PartFacts>) {
        if let Some(place) = self.pages.get_mut(usize::from(page)) {
            *place = Page::Known(parts);
        }
    }

    /// Bytes of a page's message, if it is here.
    pub(crate) fn page_len(&self, page: u16) -> Option<usize> {
        match self.pages.get(usize::from(page))? {
            Page::Known(parts) => Some(index_page_len(parts.len()) + 1),
            _ => None,
        }
    }

    /// The next page to ask for: of this media time, or of what follows it soon; `None` while one is asked for.
    pub(crate) fn page_to_ask(&self, position_us: u64, now: Instant) -> Option<u16> {
        let is_open = |page: &Page| matches!(page, Page::Asked(_, again_at) if now < *again_at);
        if self.pages.iter().any(is_open) {
            return None;
        }
        let here = self.page_at(position_us);
        let soon = self.page_at(position_us.saturating_add(PAGE_AHEAD));
        let lacking = |page: &usize| !matches!(self.pages[*page], Page::Known(_));
        (here..=soon).find(lacking).and_then(|page| u16::try_from(page).ok())
    }

    pub(crate) fn page_asked(&mut self, page: u16, of: PeerId, again_at: Instant) {
        if let Some(place) = self.pages.get_mut(usize::from(page)) {
            *place = Page::Asked(of, again_at);
        }
    }

    /// A part by its sequence, if its page is here.
    pub(crate) fn part(&self, sequence: u32) -> Option<&PartFacts> {
        let sequence = sequence as usize;
        match self.pages.get(sequence / INDEX_PAGE_PARTS)? {
            Page::Known(parts) => parts.get(sequence % INDEX_PAGE_PARTS),
            _ => None,
        }
    }

    /// The part of a block, if its page is here.
    pub(crate) fn part_of(&self, number: BlockNumber) -> Option<&PartFacts> {
        let known = |page: &Page| match page {
            Page::Known(parts) => parts.first().is_some_and(|part| part.first_block <= number),
            _ => false,
        };
        let Page::Known(parts) = self.pages.iter().rfind(|page| known(page))? else { return None };
        let after = parts.partition_point(|part| part.first_block <= number);
        parts.get(after.checked_sub(1)?).filter(|part| part.has_block(number))
    }

    /// The part on screen at this media time, or the first of all; `None` while its page is not here.
    pub(crate) fn sequence_at(&self, time_us: u64) -> Option<u32> {
        let Page::Known(parts) = self.pages.get(self.page_at(time_us))? else { return None };
        let after = parts.partition_point(|part| part.start_us <= time_us);
        parts.get(after.saturating_sub(1)).map(|part| part.id.sequence)
    }

    /// The part that decoding for this media time begins with.
    pub(crate) fn entry_at(&self, time_us: u64) -> Option<u32> {
        let at = self.sequence_at(time_us)?;
        let back = (0..=at).rev().map_while(|sequence| self.part(sequence));
        Some(back.into_iter().find(|part| part.is_independent).map_or(at, |part| part.id.sequence))
    }

    /// Whether the player was given what lies here, or is about to be given it next.
    pub(crate) fn is_given(&self, time_us: u64) -> bool {
        let Some(Given { first, next }) = self.given else { return false };
        let starts = |sequence: u32| self.part(sequence).map(|part| part.start_us);
        // Before the first part there is nothing else to go to.
        let is_after = first == 0 || starts(first).is_some_and(|start| start <= time_us);
        is_after && starts(next).is_none_or(|start| time_us <= start || next == first)
    }

    /// The next part for the player, if it is whole and starts before this time; the one after it is next then.
    pub(crate) fn next_to_give(&mut self, end_us: u64) -> Option<PartId> {
        let next = self.given?.next;
        let part = self.part(next).filter(|part| part.start_us < end_us && self.shelf.is_whole(next))?.id;
        if let Some(given) = &mut self.given {
            given.next += 1;
        }
        Some(part)
    }

    /// The parts from this one on, as far as their pages are here.
    pub(crate) fn parts_from(&self, sequence: u32) -> impl Iterator<Item = &PartFacts> {
        (sequence..self.n_parts).map_while(|sequence| self.part(sequence))
    }

    /// What was asked of a neighbour is missing again.
    pub(crate) fn forget_source(&mut self, peer: PeerId) {
        self.shelf.forget_source(peer);
        for page in &mut self.pages {
            if matches!(page, Page::Asked(of, _) if *of == peer) {
                *page = Page::Unknown;
            }
        }
    }

    fn page_at(&self, time_us: u64) -> usize {
        self.page_starts.partition_point(|start| *start <= time_us).saturating_sub(1)
    }
}
