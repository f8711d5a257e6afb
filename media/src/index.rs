//! The index of a film's track: all its parts, vouched for by one signature.
//!
//! Trust goes down in three steps: the signed catalog has the hash of each page of the index, a page has the hash of
//! each part's list of block hashes, and that list has the hash of each block. So a film of any length needs one
//! signature, and a viewer who seeks needs one page and one list more.

use cardume_wire::{BlockNumber, Epoch, TrackId, link};

use crate::descriptor::{BlockHash, HASH_LEN, PART_LEN_LIMIT, PartId, hash_block};
use crate::read::Reader;
use crate::{Catalog, MediaTime};

/// Parts of one page, but for the last one, which may have fewer: two minutes of parts of 2 s. A page of 2 KiB does not
/// hold up the first block; with pages of 8 KiB, half of what a server could send to a flash crowd was index (simulator,
/// `vod-flash`).
pub const INDEX_PAGE_PARTS: usize = PAGE_PARTS as usize;
/// Pages of one track's index at most: 9 hours of parts of 2 s, and 6 KiB of the catalog.
pub const INDEX_PAGE_LIMIT: usize = 256;
/// Bytes of one page at most.
pub const INDEX_PAGE_LEN_LIMIT: usize = index_page_len(INDEX_PAGE_PARTS);

/// See [`INDEX_PAGE_PARTS`]; sequences are counted in `u32`.
const PAGE_PARTS: u32 = 64;
/// Form of a page's bytes; another one is refused.
const VERSION: u8 = 1;
/// Bytes before the entries: version, epoch, track, page, first block.
const PAGE_FIXED_LEN: usize = 12;
/// Bytes for each part: start, duration, independence, length, hash.
const ENTRY_LEN: usize = 33;

/// What the catalog of a film says of one track: how much there is, and what the pages of its index hash to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackIndex {
    n_parts: u32,
    end: MediaTime,
    pages: Vec<PageSummary>,
}

/// One page as the catalog names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageSummary {
    /// Where its first part starts, in ticks of the track's timescale.
    pub start: MediaTime,
    /// [`hash_block`] of its bytes.
    pub hash: BlockHash,
}

/// One page of a track's index, named.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageId {
    /// The film.
    pub epoch: Epoch,
    /// The track.
    pub track: TrackId,
    /// Counted from 0; below [`INDEX_PAGE_LIMIT`].
    pub page: u16,
}

/// One page of a track's index: the parts from `page * INDEX_PAGE_PARTS` on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexPage {
    /// Which.
    pub id: PageId,
    /// Its parts in order; 1 to [`INDEX_PAGE_PARTS`].
    pub parts: Vec<IndexedPart>,
}

/// One part as the index has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexedPart {
    /// Which.
    pub part: PartId,
    /// Its first block; the others follow without gaps, and so does the first block of the next part.
    pub first_block: BlockNumber,
    /// Decode time of its first sample, in ticks of the track's timescale.
    pub start: MediaTime,
    /// In ticks of the track's timescale.
    pub duration: u32,
    /// Whether decoding can start here.
    pub is_independent: bool,
    /// Bytes of the part; 1 to [`PART_LEN_LIMIT`].
    pub len: u32,
    /// [`hash_block`] of its unsigned descriptor.
    pub descriptor_hash: BlockHash,
}

/// Why this is no page of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The catalog names no such page: it is of another film.
    #[error("the catalog has no such page of the index")]
    Unknown,
    /// It does not hash to what the catalog says.
    #[error("the page of the index is not the one that the catalog names")]
    Hash,
    /// It is what the catalog names, but not in this version's form, or beyond a limit.
    #[error("the page of the index is not in the form of version {VERSION}")]
    Malformed,
}

impl TrackIndex {
    /// The index of a track with so many parts that ends then; `None` unless there is one page for each
    /// [`INDEX_PAGE_PARTS`] parts, at least one and at most [`INDEX_PAGE_LIMIT`], with starts that do not fall.
    pub fn new(n_parts: u32, end: MediaTime, pages: Vec<PageSummary>) -> Option<Self> {
        let is_right = n_pages(n_parts) == pages.len() && (1..=INDEX_PAGE_LIMIT).contains(&pages.len());
        let is_rising = pages.is_sorted_by_key(|page| page.start);
        (is_right && is_rising).then_some(Self { n_parts, end, pages })
    }

    /// Parts of the track.
    pub const fn n_parts(&self) -> u32 {
        self.n_parts
    }

    /// Where the track ends, in ticks of its timescale.
    pub const fn end(&self) -> MediaTime {
        self.end
    }

    /// Its pages in order; 1 to [`INDEX_PAGE_LIMIT`].
    pub fn pages(&self) -> &[PageSummary] {
        &self.pages
    }

    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.n_parts.to_be_bytes());
        bytes.extend_from_slice(&self.end.0.to_be_bytes());
        for page in &self.pages {
            bytes.extend_from_slice(&page.start.0.to_be_bytes());
            bytes.extend_from_slice(&page.hash);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let n_parts = reader.u32()?;
        let end = MediaTime(reader.u64()?);
        let n_pages = Some(n_pages(n_parts)).filter(|n| *n <= INDEX_PAGE_LIMIT)?;
        let page =
            |_| Some(PageSummary { start: MediaTime(reader.u64()?), hash: reader.array::<HASH_LEN>()? });
        let pages = (0..n_pages).map(page).collect::<Option<_>>()?;
        Self::new(n_parts, end, pages)
    }
}

impl IndexPage {
    /// The bytes that travel, for [`IndexPage::verify`]; at most [`INDEX_PAGE_LEN_LIMIT`].
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(index_page_len(self.parts.len()));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.id.epoch.0.to_be_bytes());
        bytes.push(self.id.track.0);
        bytes.extend_from_slice(&self.id.page.to_be_bytes());
        let first_block = self.parts.first().map_or(BlockNumber(0), |part| part.first_block);
        bytes.extend_from_slice(&first_block.0.to_be_bytes());
        for part in &self.parts {
            bytes.extend_from_slice(&part.start.0.to_be_bytes());
            bytes.extend_from_slice(&part.duration.to_be_bytes());
            bytes.push(u8::from(part.is_independent));
            bytes.extend_from_slice(&part.len.to_be_bytes());
            bytes.extend_from_slice(&part.descriptor_hash);
        }
        bytes
    }

    /// The page in bytes that the signed catalog vouches for.
    ///
    /// # Errors
    /// [`IndexError::Unknown`] when they are of another film, [`IndexError::Hash`] when they are not what the catalog
    /// names, [`IndexError::Malformed`] when who signed the catalog broke the form.
    pub fn verify(bytes: &[u8], catalog: &Catalog) -> Result<Self, IndexError> {
        let id = Self::peek(bytes).filter(|id| id.epoch == catalog.epoch()).ok_or(IndexError::Unknown)?;
        let index = catalog.index(id.track).ok_or(IndexError::Unknown)?;
        let summary = index.pages.get(usize::from(id.page)).ok_or(IndexError::Unknown)?;
        if hash_block(bytes) != summary.hash {
            return Err(IndexError::Hash);
        }
        let page = Self::decode(bytes).ok_or(IndexError::Malformed)?;
        if page.is_sound(index) { Ok(page) } else { Err(IndexError::Malformed) }
    }

    /// The page that these bytes claim to be; nothing is verified.
    pub(crate) fn peek(bytes: &[u8]) -> Option<PageId> {
        let mut reader = Reader::new(bytes);
        (reader.u8()? == VERSION).then_some(())?;
        Some(PageId { epoch: Epoch(reader.u32()?), track: TrackId(reader.u8()?), page: reader.u16()? })
    }

    /// The bytes' length is that of a page which was made with a limit, or the catalog would not name its hash.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let id = Self::peek(bytes)?;
        let mut reader = Reader::new(bytes);
        reader.skip(PAGE_FIXED_LEN - 4)?;
        let mut next_block = reader.u32()?;
        let mut parts = Vec::new();
        let first = u32::from(id.page) * PAGE_PARTS;
        for sequence in first.. {
            if reader.end().is_some() {
                break;
            }
            if parts.len() == INDEX_PAGE_PARTS {
                return None;
            }
            let part = PartId { epoch: id.epoch, track: id.track, sequence };
            let part = IndexedPart::decode(&mut reader, part, BlockNumber(next_block))?;
            next_block = part.end_block()?.0;
            parts.push(part);
        }
        Some(Self { id, parts })
    }

    /// Whether it has the parts that the catalog says, in order.
    fn is_sound(&self, index: &TrackIndex) -> bool {
        let first = usize::from(self.id.page) * INDEX_PAGE_PARTS;
        let n_parts = (index.n_parts as usize).saturating_sub(first).min(INDEX_PAGE_PARTS);
        let start = index.pages.get(usize::from(self.id.page)).map(|page| page.start);
        self.parts.len() == n_parts
            && self.parts.first().map(|part| part.start) == start
            && self.parts.is_sorted_by_key(|part| part.start)
    }
}

impl IndexedPart {
    /// How many blocks the part has.
    pub const fn n_blocks(&self) -> u32 {
        crate::descriptor::n_blocks(self.len)
    }

    /// The block after its last; `None` when the numbers do not fit.
    pub fn end_block(&self) -> Option<BlockNumber> {
        self.first_block.0.checked_add(self.n_blocks()).map(BlockNumber)
    }

    /// Decode time of the first sample after it.
    pub const fn end(&self) -> MediaTime {
        self.start.saturating_add(self.duration)
    }

    /// Bytes of its unsigned descriptor.
    pub const fn descriptor_len(&self) -> usize {
        crate::descriptor::list_len(self.n_blocks() as usize)
    }

    fn decode(reader: &mut Reader<'_>, part: PartId, first_block: BlockNumber) -> Option<Self> {
        let entry = Self {
            part,
            first_block,
            start: MediaTime(reader.u64()?),
            duration: reader.u32()?,
            is_independent: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
            len: reader.u32()?,
            descriptor_hash: reader.array()?,
        };
        let has_len = (1..=PART_LEN_LIMIT).contains(&(entry.len as usize));
        has_len.then_some(entry)
    }
}

/// Bytes of a page with so many parts.
pub const fn index_page_len(n_parts: usize) -> usize {
    PAGE_FIXED_LEN + n_parts * ENTRY_LEN
}

const fn n_pages(n_parts: u32) -> usize {
    (n_parts as usize).div_ceil(INDEX_PAGE_PARTS)
}

const _: () = assert!(INDEX_PAGE_LEN_LIMIT < link::MESSAGE_LEN_LIMIT, "a page travels in one message");
