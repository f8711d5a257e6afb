//! From a whole film's cut parts to its catalog, its index and what travels.

use bytes::Bytes;
use cardume_wire::{BlockNumber, Epoch, TrackId, WallTime};

use crate::descriptor::hash_block;
use crate::index::{INDEX_PAGE_PARTS, IndexPage, IndexedPart, PageId, PageSummary, TrackIndex};
use crate::publisher::{block_messages, describe};
use crate::{
    Catalog, CatalogError, CutPart, Descriptor, MediaTime, PartId, PublishError, Published, SigningKey, Track,
};

/// Numbers and hashes the parts of a film, and makes its index of them.
#[derive(Debug)]
pub struct FilmMaker {
    epoch: Epoch,
    tracks: Vec<(Track, Vec<IndexedPart>)>,
}

/// A film but for its media: what is signed once, and what hangs on that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Film {
    /// Its catalog.
    pub catalog: Catalog,
    /// The same, signed; without the link's type byte.
    pub catalog_bytes: Bytes,
    /// All pages of all tracks' indexes; without the link's type byte.
    pub pages: Vec<Bytes>,
}

impl FilmMaker {
    /// A film with these tracks and nothing in them.
    pub fn new(epoch: Epoch, tracks: Vec<Track>) -> Self {
        Self { epoch, tracks: tracks.into_iter().map(|track| (track, Vec::new())).collect() }
    }

    /// Gives the part the next number of its track; when it was captured does not matter.
    ///
    /// # Errors
    /// When the part breaks a limit, is of no track of the film, or starts before the one before it; it is no part of
    /// the film then.
    pub fn push(&mut self, part: &CutPart) -> Result<Published, PublishError> {
        let track = self.tracks.iter_mut().find(|(track, _)| track.id == part.track);
        let (_, parts) = track.ok_or(PublishError::UnknownTrack(part.track))?;
        let last = parts.last();
        if last.is_some_and(|last| part.start < last.start) {
            return Err(PublishError::Order);
        }
        let sequence = u32::try_from(parts.len()).map_err(|_| PublishError::Exhausted)?;
        let first_block = last.map_or(Some(BlockNumber(0)), IndexedPart::end_block);
        let first_block = first_block.ok_or(PublishError::Exhausted)?;
        let id = PartId { epoch: self.epoch, track: part.track, sequence };
        let published = publish(part, id, first_block)?;
        let entry = published.descriptor.indexed(hash_block(&published.descriptor_bytes));
        entry.end_block().ok_or(PublishError::Exhausted)?;
        parts.push(entry);
        Ok(published)
    }

    /// Signs what is there as the whole film.
    ///
    /// # Errors
    /// When a limit of catalogs is broken, or a track has no parts or too many; each error names the limit.
    pub fn finish(self, key: &SigningKey) -> Result<Film, CatalogError> {
        let epoch = self.epoch;
        let mut pages = Vec::new();
        let mut tracks = Vec::new();
        for (track, parts) in self.tracks {
            let own = pages_of(epoch, track.id, &parts);
            tracks.push((track, index_of(&parts, &own).ok_or(CatalogError::Index)?));
            pages.extend(own.into_iter().map(|(_, bytes)| bytes));
        }
        let catalog = Catalog::on_demand(epoch, tracks)?;
        Ok(Film { catalog_bytes: catalog.sign(key).into(), catalog, pages })
    }
}

/// The part of the index with this media, ready to travel; `None` when it is not what the index says.
pub(crate) fn publish_indexed(part: &IndexedPart, media: &Bytes) -> Option<Published> {
    let cut = CutPart {
        track: part.part.track,
        start: part.start,
        duration: part.duration,
        is_independent: part.is_independent,
        captured_at: WallTime(0),
        bytes: media.clone(),
    };
    let published = publish(&cut, part.part, part.first_block).ok()?;
    let is_same = hash_block(&published.descriptor_bytes) == part.descriptor_hash;
    (is_same && published.descriptor.len == part.len).then_some(published)
}

fn publish(part: &CutPart, id: PartId, first_block: BlockNumber) -> Result<Published, PublishError> {
    let descriptor = Descriptor { captured_at: WallTime(0), ..describe(part, id, first_block)? };
    let descriptor_bytes = descriptor.list().into();
    let blocks = block_messages(&descriptor, &part.bytes);
    Ok(Published { descriptor, descriptor_bytes, blocks })
}

fn pages_of(epoch: Epoch, track: TrackId, parts: &[IndexedPart]) -> Vec<(MediaTime, Bytes)> {
    let pages = (0..).zip(parts.chunks(INDEX_PAGE_PARTS)).map(|(page, parts)| {
        let page = IndexPage { id: PageId { epoch, track, page }, parts: parts.to_vec() };
        (page.parts[0].start, Bytes::from(page.encode()))
    });
    pages.collect()
}

fn index_of(parts: &[IndexedPart], pages: &[(MediaTime, Bytes)]) -> Option<TrackIndex> {
    let summary =
        |(start, bytes): &(MediaTime, Bytes)| PageSummary { start: *start, hash: hash_block(bytes) };
    let n_parts = u32::try_from(parts.len()).ok()?;
    TrackIndex::new(n_parts, parts.last()?.end(), pages.iter().map(summary).collect())
}
