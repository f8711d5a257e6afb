//! The live window: which parts and blocks of the broadcast there are, and which of them we hold.

use core::time::Duration;
use std::collections::VecDeque;

use cardume_media::PartId;
use cardume_wire::link::block_len;
use cardume_wire::{BlockId, BlockNumber, Epoch, PeerId, STRIPE_COUNT, TrackId, TrackSet};

use crate::bits::BIT_LIMIT;
use crate::{CatalogFacts, Instant, PartFacts, TrackFacts};

/// Parts of one track in the window at most: 50 s of parts of 100 ms.
const PART_LIMIT: usize = 512;

/// What we know of one block of a described part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// Its part's descriptor is not known.
    Undescribed,
    /// It exists, and nobody was asked for it.
    Missing {
        /// Since when we know of it.
        since: Instant,
        /// How often it was asked for in vain.
        n_tries: u8,
    },
    /// It was asked for.
    Asked {
        /// Of whom.
        of: PeerId,
        /// When to ask somebody else.
        expires_at: Instant,
        /// Since when we know of it.
        since: Instant,
        /// How often it was asked for, this time included.
        n_tries: u8,
    },
    /// Verified and stored.
    Held,
}

/// The broadcast as far as it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    catalog: Option<CatalogFacts>,
    tracks: Vec<TrackWindow>,
}

/// The live window of one track.
#[derive(Clone, Debug)]
pub(crate) struct TrackWindow {
    /// What the catalog says.
    pub(crate) facts: TrackFacts,
    parts: VecDeque<Option<PartFacts>>,
    /// Bytes of the described parts, their descriptors included.
    described_len: u64,
    /// Media time of the described parts, microseconds.
    described_us: u64,
    first_sequence: u32,
    blocks: VecDeque<Block>,
    first_block: u32,
    /// The next part to deliver; `None` before the start.
    pub(crate) next: Option<u32>,
    /// Where on the media timeline what was delivered last ends, microseconds.
    pub(crate) delivered_us: u64,
}

impl Window {
    /// Begins the broadcast of this catalog with nothing known of it.
    pub(crate) fn reset(&mut self, mut catalog: CatalogFacts) {
        catalog.tracks.truncate(cardume_wire::link::HAVE_TRACK_LIMIT);
        self.tracks = catalog.tracks.iter().map(|&facts| TrackWindow::new(facts)).collect();
        self.catalog = Some(catalog);
    }

    /// The broadcast's number.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.catalog.as_ref().map(|catalog| catalog.epoch)
    }

    /// Bytes of the catalog's message.
    pub(crate) fn catalog_len(&self) -> usize {
        self.catalog.as_ref().map_or(0, |catalog| catalog.len)
    }

    /// All tracks, in the catalog's order.
    pub(crate) fn tracks(&self) -> &[TrackWindow] {
        &self.tracks
    }

    /// All tracks, in the catalog's order.
    pub(crate) fn tracks_mut(&mut self) -> &mut [TrackWindow] {
        &mut self.tracks
    }

    /// Where the track stands in the catalog.
    pub(crate) fn index(&self, track: TrackId) -> Option<usize> {
        self.tracks.iter().position(|window| window.facts.id == track)
    }

    /// The track's window, if it is of this broadcast.
    pub(crate) fn track(&self, epoch: Epoch, track: TrackId) -> Option<&TrackWindow> {
        if self.epoch() != Some(epoch) {
            return None;
        }
        self.tracks.iter().find(|window| window.facts.id == track)
    }

    /// The track's window, if it is of this broadcast.
    pub(crate) fn track_mut(&mut self, epoch: Epoch, track: TrackId) -> Option<&mut TrackWindow> {
        if self.epoch() != Some(epoch) {
            return None;
        }
        self.tracks.iter_mut().find(|window| window.facts.id == track)
    }

    /// The part of a block.
    pub(crate) fn part_of(&self, block: BlockId) -> Option<&PartFacts> {
        self.track(block.epoch, block.track)?.part_of(block.number)
    }

    /// Whether we hold the block.
    pub(crate) fn holds(&self, block: BlockId) -> bool {
        self.track(block.epoch, block.track).is_some_and(|track| track.block(block.number) == Block::Held)
    }

    /// The part, when it is described.
    pub(crate) fn part(&self, id: PartId) -> Option<&PartFacts> {
        self.track(id.epoch, id.track)?.part(id.sequence)
    }

    /// Bytes that one child gets at once at most: a stripe's share of the largest part.
    pub(crate) fn burst_len(&self) -> u64 {
        let largest = self.tracks.iter().flat_map(TrackWindow::parts).map(|part| part.len).max();
        u64::from(largest.unwrap_or(0)) / u64::from(STRIPE_COUNT)
    }

    /// Bytes of the longest block.
    pub(crate) fn block_len(&self) -> u64 {
        let parts = self.tracks.iter().flat_map(TrackWindow::parts);
        parts.map(|part| block_len(part.len as usize) as u64).max().unwrap_or(0)
    }

    /// What the catalog says of all tracks.
    pub(crate) fn facts(&self) -> Vec<TrackFacts> {
        self.tracks.iter().map(|track| track.facts).collect()
    }

    /// All tracks of the catalog; before there is one, all there can be.
    pub(crate) fn all_tracks(&self) -> TrackSet {
        let known = self.tracks.iter().map(|track| track.facts.id).collect();
        if self.catalog.is_some() { known } else { TrackSet::ALL }
    }

    /// Media bytes per second of these tracks, measured over the window and at least 1 s of media.
    pub(crate) fn byte_rate(&self, tracks: TrackSet) -> Option<u64> {
        let meant = self.tracks.iter().filter(|track| tracks.contains(track.facts.id));
        let rates = meant.map(TrackWindow::byte_rate);
        let known: Vec<u64> = rates.flatten().collect();
        (!known.is_empty()).then(|| known.iter().sum())
    }

    /// The same over the second in which there is most of it: a key frame is several times its neighbours.
    pub(crate) fn peak_rate(&self, tracks: TrackSet) -> Option<u64> {
        let mean = self.byte_rate(tracks)?;
        let meant = self.tracks.iter().filter(|track| tracks.contains(track.facts.id));
        Some(meant.map(TrackWindow::busiest_second).sum::<u64>().max(mean))
    }
}

impl TrackWindow {
    fn new(facts: TrackFacts) -> Self {
        Self {
            facts,
            parts: VecDeque::new(),
            described_len: 0,
            described_us: 0,
            first_sequence: 0,
            blocks: VecDeque::new(),
            first_block: 0,
            next: None,
            delivered_us: 0,
        }
    }

    /// Adds a described part; false when it is known, too old or out of line.
    pub(crate) fn insert_part(&mut self, part: PartFacts, now: Instant) -> bool {
        let Some(end) = part.end_block() else { return false };
        if self.parts.is_empty() {
            self.first_sequence = part.id.sequence;
            self.first_block = part.first_block.0;
        }
        self.make_room(&part, end);
        if !self.open_front(&part) {
            return false;
        }
        let index = (part.id.sequence - self.first_sequence) as usize;
        if self.parts.get(index).is_some_and(Option::is_some) {
            return false;
        }
        while self.parts.len() <= index {
            self.parts.push_back(None);
        }
        self.parts[index] = Some(part);
        self.described_len += len_of(&part);
        self.described_us += duration_of(&part);
        while self.first_block + len_u32(self.blocks.len()) < end {
            self.blocks.push_back(Block::Undescribed);
        }
        for number in part.first_block.0..end {
            self.set(BlockNumber(number), Block::Missing { since: now, n_tries: 0 });
        }
        true
    }

    /// The described parts, rising.
    pub(crate) fn parts(&self) -> impl DoubleEndedIterator<Item = &PartFacts> + Clone {
        self.parts.iter().flatten()
    }

    /// The described parts from this one on.
    pub(crate) fn parts_from(&self, sequence: u32) -> impl Iterator<Item = &PartFacts> + Clone {
        let skipped = sequence.saturating_sub(self.first_sequence) as usize;
        self.parts.iter().skip(skipped).flatten()
    }

    /// The part, when it is described.
    pub(crate) fn part(&self, sequence: u32) -> Option<&PartFacts> {
        let index = sequence.checked_sub(self.first_sequence)? as usize;
        self.parts.get(index)?.as_ref()
    }

    /// The part of a block, when it is described.
    pub(crate) fn part_of(&self, number: BlockNumber) -> Option<&PartFacts> {
        // Undescribed parts split the order, so this looks from the newest back: what is asked for is near the end.
        self.parts().rev().find(|part| part.has_block(number))
    }

    /// What we know of a block.
    pub(crate) fn block(&self, number: BlockNumber) -> Block {
        let index = number.0.checked_sub(self.first_block).map(|index| index as usize);
        index.and_then(|index| self.blocks.get(index)).copied().unwrap_or(Block::Undescribed)
    }

    /// Notes what we know of a block of the window.
    pub(crate) fn set(&mut self, number: BlockNumber, block: Block) {
        let index = number.0.checked_sub(self.first_block).map(|index| index as usize);
        if let Some(slot) = index.and_then(|index| self.blocks.get_mut(index)) {
            *slot = block;
        }
    }

    /// Whether every block of the part is held.
    pub(crate) fn is_whole(&self, part: &PartFacts) -> bool {
        let end = part.first_block.0.saturating_add(part.n_blocks);
        (part.first_block.0..end).all(|number| self.block(BlockNumber(number)) == Block::Held)
    }

    /// Numbers of the blocks that are held, rising.
    pub(crate) fn held(&self) -> impl Iterator<Item = u32> + '_ {
        self.blocks.iter().zip(self.first_block..).filter(|(block, _)| **block == Block::Held).map(|(_, n)| n)
    }

    /// The part with which decoding from this media time begins: the newest independent one that starts not after it,
    /// or the first that is known. 0 when nothing is.
    pub(crate) fn start_sequence(&self, start_us: u64) -> u32 {
        let before = self.parts().rev().find(|part| part.is_independent && part.start_us <= start_us);
        let first = || self.parts().find(|part| part.is_independent);
        before.or_else(first).map_or(self.first_sequence, |part| part.id.sequence)
    }

    /// Numbers of the blocks that were asked for and have not come.
    pub(crate) fn open_numbers(&self) -> Vec<BlockNumber> {
        let blocks = self.blocks.iter().zip(self.first_block..);
        blocks
            .filter(|(block, _)| matches!(block, Block::Asked { .. }))
            .map(|(_, n)| BlockNumber(n))
            .collect()
    }

    /// The blocks that are known and not here, and since when they are known.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (BlockNumber, Instant)> {
        let blocks = self.blocks.iter().zip(self.first_block..);
        blocks.filter_map(|(block, number)| match *block {
            Block::Missing { since, .. } | Block::Asked { since, .. } => Some((BlockNumber(number), since)),
            Block::Undescribed | Block::Held => None,
        })
    }

    /// First blocks of parts that are not described though an earlier part is: at most `limit`, from `sequence` on,
    /// the last of them being the one after the newest part.
    pub(crate) fn gaps(&self, sequence: u32, limit: usize) -> Vec<BlockNumber> {
        let skipped = sequence.saturating_sub(self.first_sequence).saturating_sub(1) as usize;
        let known = self.parts.iter().skip(skipped);
        let following = self.parts.iter().skip(skipped + 1).chain(core::iter::once(&None));
        let gaps = known.zip(following).filter(|(_, next)| next.is_none());
        gaps.filter_map(|(part, _)| part.as_ref()?.end_block().map(BlockNumber)).take(limit).collect()
    }

    /// Forgets what ends before this media time, but nothing that is still to be delivered. Returns the first
    /// sequence kept, when anything went.
    pub(crate) fn evict_before(&mut self, time_us: u64) -> Option<u32> {
        let before = self.first_sequence;
        while let Some(first) = self.parts.front() {
            let is_over = first.as_ref().is_none_or(|part| part.end_us < time_us);
            if !is_over || self.parts.len() <= 1 || self.next.is_some_and(|next| next <= self.first_sequence)
            {
                break;
            }
            self.pop_part();
        }
        (self.first_sequence != before).then_some(self.first_sequence)
    }

    fn pop_part(&mut self) {
        let gone = self.parts.pop_front().flatten();
        if let Some(part) = &gone {
            self.described_len -= len_of(part);
            self.described_us -= duration_of(part);
        }
        self.first_sequence = self.first_sequence.saturating_add(1);
        // A part that is kept and not described yet begins where the one before it ends.
        let first_kept = match self.parts.front() {
            Some(Some(first)) => Some(first.first_block.0),
            _ => gone.and_then(|gone| gone.end_block()),
        };
        while first_kept.is_some_and(|kept| self.first_block < kept) && self.blocks.pop_front().is_some() {
            self.first_block += 1;
        }
        if self.parts.is_empty() {
            self.blocks.clear();
        }
    }

    /// Forgets old parts until the new one fits the limits.
    fn make_room(&mut self, part: &PartFacts, end: u32) {
        let is_too_long = |window: &Self| {
            part.id.sequence.saturating_sub(window.first_sequence) as usize >= PART_LIMIT
                || end.saturating_sub(window.first_block) > BIT_LIMIT
        };
        while !self.parts.is_empty() && is_too_long(self) {
            self.pop_part();
        }
        if self.parts.is_empty() {
            self.first_sequence = part.id.sequence;
            self.first_block = part.first_block.0;
        }
        self.next = self.next.map(|next| next.max(self.first_sequence));
    }

    /// Makes place before the window for an older part, as a joiner gets them in any order; false when it does not
    /// fit there, or is older than what was delivered.
    fn open_front(&mut self, part: &PartFacts) -> bool {
        if part.id.sequence >= self.first_sequence {
            return part.first_block.0 >= self.first_block;
        }
        let newest = self.first_sequence.saturating_add(len_u32(self.parts.len()));
        let last_block = self.first_block.saturating_add(len_u32(self.blocks.len()));
        let is_too_old = self.next.is_some_and(|next| part.id.sequence < next)
            || (newest - part.id.sequence) as usize > PART_LIMIT
            || last_block.saturating_sub(part.first_block.0) > BIT_LIMIT
            || part.end_block().is_none_or(|end| end > self.first_block);
        if is_too_old {
            return false;
        }
        for _ in part.id.sequence..self.first_sequence {
            self.parts.push_front(None);
        }
        for _ in part.first_block.0..self.first_block {
            self.blocks.push_front(Block::Undescribed);
        }
        self.first_sequence = part.id.sequence;
        self.first_block = part.first_block.0;
        true
    }

    fn byte_rate(&self) -> Option<u64> {
        /// Shorter stretches say little: one key frame would dominate.
        const SPAN_MIN: Duration = Duration::from_millis(500);
        let (first, last) = (self.parts().next()?, self.parts().next_back()?);
        let span = last.end_us.saturating_sub(first.start_us);
        if u128::from(span) < SPAN_MIN.as_micros() {
            return None;
        }
        let known = self.described_us;
        (known > 0).then(|| self.described_len.saturating_mul(1_000_000) / known)
    }

    /// Bytes of the parts that begin within one second, where these are the most.
    fn busiest_second(&self) -> u64 {
        let within =
            |first: &PartFacts, part: &PartFacts| part.start_us < first.start_us.saturating_add(1_000_000);
        let mut last = self.parts();
        let (mut sum, mut most, mut next) = (0u64, 0, last.next());
        for first in self.parts() {
            while let Some(part) = next.filter(|part| within(first, part)) {
                sum = sum.saturating_add(len_of(part));
                next = last.next();
            }
            most = most.max(sum);
            sum = sum.saturating_sub(len_of(first));
        }
        most
    }
}

/// Bytes of a part and its descriptor.
fn len_of(part: &PartFacts) -> u64 {
    u64::from(part.len).saturating_add(part.descriptor_len as u64)
}

/// Media time of a part, microseconds; bounded, so that the sum over a window cannot overflow whatever a stranger signs.
fn duration_of(part: &PartFacts) -> u64 {
    part.end_us.saturating_sub(part.start_us).min(u64::MAX / (2 * PART_LIMIT as u64))
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
