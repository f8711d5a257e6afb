//! From cut parts to what travels: numbers, hashes, signatures, link messages.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use cardume_wire::link::{BLOCK_HEADER_LEN, Message, block_header, block_len};
use cardume_wire::{BlockNumber, TrackId, WallTime};

use crate::descriptor::hash_block;
use crate::{Catalog, Descriptor, MediaTime, PART_LEN_LIMIT, PartId, SigningKey};

/// One part as cut at ingest, before it is numbered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CutPart {
    /// Its track in the broadcast's catalog.
    pub track: TrackId,
    /// Decode time of its first sample, in ticks of the track's timescale.
    pub start: MediaTime,
    /// In ticks of the track's timescale.
    pub duration: u32,
    /// Whether decoding can start here.
    pub is_independent: bool,
    /// When its first sample was captured.
    pub captured_at: WallTime,
    /// `moof` and `mdat`; 1 to [`PART_LEN_LIMIT`] bytes.
    pub bytes: Bytes,
}

/// Numbers, hashes and signs the parts of one broadcast.
#[derive(Debug)]
pub struct Publisher {
    key: SigningKey,
    catalog: Catalog,
    catalog_bytes: Bytes,
    next: BTreeMap<TrackId, Next>,
}

/// What the next part of a track is numbered.
#[derive(Debug, Clone, Copy, Default)]
struct Next {
    sequence: u32,
    block: BlockNumber,
}

/// A part ready to travel: what [`crate::Store::publish`] takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// The facts.
    pub descriptor: Descriptor,
    /// The same, signed, or in a film as its index vouches for it; without the link's type byte.
    pub descriptor_bytes: Bytes,
    /// The whole link message of each block, in order; views of one allocation.
    pub(crate) blocks: Vec<Bytes>,
}

/// Why a part cannot be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The catalog has no such track.
    #[error("track {} is not in the catalog", .0.0)]
    UnknownTrack(TrackId),
    /// Empty, or longer than [`PART_LEN_LIMIT`].
    #[error("a part has 1 to {PART_LEN_LIMIT} bytes, not {0}: send shorter parts")]
    Length(usize),
    /// It starts before the part before it, in a film.
    #[error("a part of a film starts before the one before it")]
    Order,
    /// The track has used up its numbers; a new broadcast starts from 0 again.
    #[error("the broadcast has used up its block numbers: start a new one")]
    Exhausted,
}

impl Publisher {
    /// The publisher of the broadcast that the catalog describes.
    pub fn new(key: SigningKey, catalog: Catalog) -> Self {
        let catalog_bytes = catalog.sign(&key).into();
        let next = catalog.tracks().iter().map(|track| (track.id, Next::default())).collect();
        Self { key, catalog, catalog_bytes, next }
    }

    /// The broadcast's catalog.
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The signed catalog, without the link's type byte.
    pub fn catalog_bytes(&self) -> Bytes {
        self.catalog_bytes.clone()
    }

    /// Gives the part the next number of its track.
    ///
    /// # Errors
    /// When the part breaks a limit, or is of no track of the catalog; no number is used up then.
    pub fn publish(&mut self, part: &CutPart) -> Result<Published, PublishError> {
        let next = self.next.get_mut(&part.track).ok_or(PublishError::UnknownTrack(part.track))?;
        let id = PartId { epoch: self.catalog.epoch(), track: part.track, sequence: next.sequence };
        let descriptor = describe(part, id, next.block)?;
        let end = next.block.0.checked_add(descriptor.n_blocks()).ok_or(PublishError::Exhausted)?;
        let sequence = next.sequence.checked_add(1).ok_or(PublishError::Exhausted)?;
        *next = Next { sequence, block: BlockNumber(end) };
        let descriptor_bytes = descriptor.sign(&self.key).into();
        let blocks = block_messages(&descriptor, &part.bytes);
        Ok(Published { descriptor, descriptor_bytes, blocks })
    }
}

impl Published {
    /// The whole link message of the descriptor.
    pub(crate) fn descriptor_message(&self) -> Bytes {
        Message::Descriptor(&self.descriptor_bytes).encode().into()
    }
}

/// The descriptor of a part with this name and first block.
pub(crate) fn describe(
    part: &CutPart,
    id: PartId,
    first_block: BlockNumber,
) -> Result<Descriptor, PublishError> {
    let len = u32::try_from(part.bytes.len()).unwrap_or(u32::MAX);
    if len == 0 || len as usize > PART_LEN_LIMIT {
        return Err(PublishError::Length(part.bytes.len()));
    }
    Ok(Descriptor {
        part: id,
        first_block,
        start: part.start,
        duration: part.duration,
        captured_at: part.captured_at,
        is_independent: part.is_independent,
        len,
        hashes: part.bytes.chunks(block_len(part.bytes.len())).map(hash_block).collect(),
    })
}

/// The whole link message of each block, in order.
pub(crate) fn block_messages(descriptor: &Descriptor, media: &[u8]) -> Vec<Bytes> {
    let n_blocks = descriptor.hashes.len();
    let mut buffer = BytesMut::with_capacity(media.len() + n_blocks * BLOCK_HEADER_LEN);
    let messages = descriptor.blocks().zip(media.chunks(block_len(media.len()))).map(|(id, payload)| {
        buffer.extend_from_slice(&block_header(id));
        buffer.extend_from_slice(payload);
        buffer.split().freeze()
    });
    messages.collect()
}
