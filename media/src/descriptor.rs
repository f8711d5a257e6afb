//! What makes a part verifiable and schedulable.

use cardume_wire::{BlockId, BlockNumber, Epoch, TrackId, WallTime, link};

use crate::MediaTime;
use crate::index::IndexedPart;
use crate::key::{Domain, PublicKey, SIGNATURE_LEN, SigningKey};
use crate::read::Reader;

/// Bytes of one part at most: 6 s of 5.5 Mbit/s in a single chunk, what a plain HLS push sends at most.
/// 256 blocks: one `Have` of a link covers the largest part.
pub const PART_LEN_LIMIT: usize = 4 * 1024 * 1024;
/// Bytes of a block's hash: BLAKE3 cut to 128 bits, which leaves a second preimage out of reach.
pub const HASH_LEN: usize = 16;
/// Bytes of a signed descriptor at most: that of a part of [`PART_LEN_LIMIT`].
pub const DESCRIPTOR_LEN_LIMIT: usize =
    FIXED_LEN + link::block_count(PART_LEN_LIMIT) * HASH_LEN + SIGNATURE_LEN;

/// Form of the signed bytes; another one is refused.
const VERSION: u8 = 1;
/// Form of the bytes that a film's index vouches for: only what the index does not say.
const LIST_VERSION: u8 = 2;
/// Bytes before the hashes.
const FIXED_LEN: usize = 39;
/// The same in a list.
const LIST_FIXED_LEN: usize = 10;

/// BLAKE3 of one block's media, cut to [`HASH_LEN`] bytes.
pub type BlockHash = [u8; HASH_LEN];

/// The hash that a descriptor holds for a block with this media.
pub fn hash_block(payload: &[u8]) -> BlockHash {
    let mut hash = [0; HASH_LEN];
    hash.copy_from_slice(&blake3::hash(payload).as_bytes()[..HASH_LEN]);
    hash
}

/// One part, named: a CMAF chunk of one track.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartId {
    /// The broadcast.
    pub epoch: Epoch,
    /// The track.
    pub track: TrackId,
    /// Counted from 0 without gaps within track and epoch.
    pub sequence: u32,
}

/// The facts of one part and the hashes of its blocks, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Which part.
    pub part: PartId,
    /// Its first block; the others follow without gaps, and so does the first block of the next part.
    pub first_block: BlockNumber,
    /// Decode time of its first sample, in ticks of the track's timescale.
    pub start: MediaTime,
    /// In ticks of the track's timescale.
    pub duration: u32,
    /// When its first sample was captured; 0 in a film.
    pub captured_at: WallTime,
    /// Whether decoding can start here.
    pub is_independent: bool,
    /// Bytes of the part; 1 to [`PART_LEN_LIMIT`].
    pub len: u32,
    /// One per block; every block but the last has [`link::block_len`] bytes.
    pub hashes: Vec<BlockHash>,
}

/// Why this is no descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// Not signed by the channel's key.
    #[error("the descriptor is not signed by the channel's key")]
    Signature,
    /// Signed, but not in this version's form, or beyond a limit.
    #[error("the descriptor is not in the form of version {VERSION}")]
    Malformed,
    /// Of a film, or a part of it, whose index is not here.
    #[error("the index of the descriptor's film is not here")]
    Unknown,
    /// Not what the film's index names.
    #[error("the descriptor is not the one that the film's index names")]
    Index,
    /// Signed, but its blocks are numbered against those of its neighbours.
    #[error("the descriptor contradicts those of its neighbours")]
    Contradiction,
}

impl Descriptor {
    /// How many blocks the part has.
    pub fn n_blocks(&self) -> u32 {
        n_blocks(self.len)
    }

    /// The block after the part's last.
    pub const fn end_block(&self) -> BlockNumber {
        BlockNumber(self.first_block.0.saturating_add(n_blocks(self.len)))
    }

    /// Its blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = BlockId> + use<> {
        let PartId { epoch, track, .. } = self.part;
        (self.first_block.0..self.end_block().0).map(move |n| BlockId {
            epoch,
            track,
            number: BlockNumber(n),
        })
    }

    /// Bytes of its block number `index`, counted from 0 in the part; 0 when there is no such block.
    pub fn block_len(&self, index: u32) -> usize {
        let block_len = link::block_len(self.len as usize);
        let start = (index as usize).saturating_mul(block_len);
        (self.len as usize).saturating_sub(start).min(block_len)
    }

    /// Decode time of the first sample after it.
    pub const fn end(&self) -> MediaTime {
        self.start.saturating_add(self.duration)
    }

    /// The signed form, for [`Descriptor::verify`]; at most [`DESCRIPTOR_LEN_LIMIT`] bytes.
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        key.sign(Domain::Descriptor, self.encode())
    }

    /// The descriptor in signed bytes.
    ///
    /// # Errors
    /// [`DescriptorError::Signature`] unless `key` signed them, [`DescriptorError::Malformed`] when the signer broke
    /// the form.
    pub fn verify(bytes: &[u8], key: &PublicKey) -> Result<Self, DescriptorError> {
        if bytes.len() > DESCRIPTOR_LEN_LIMIT {
            return Err(DescriptorError::Malformed);
        }
        let body = key.open(Domain::Descriptor, bytes).ok_or(DescriptorError::Signature)?;
        Self::decode(body).ok_or(DescriptorError::Malformed)
    }

    /// The form for [`Descriptor::verify_list`], which a film's index vouches for; shorter than the signed one.
    pub fn list(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(list_len(self.hashes.len()));
        bytes.push(LIST_VERSION);
        bytes.extend_from_slice(&self.part.epoch.0.to_be_bytes());
        bytes.push(self.part.track.0);
        bytes.extend_from_slice(&self.part.sequence.to_be_bytes());
        bytes.extend_from_slice(self.hashes.as_flattened());
        bytes
    }

    /// The descriptor of this part of a film in bytes without a signature.
    ///
    /// # Errors
    /// [`DescriptorError::Index`] unless they hash to what the index says, [`DescriptorError::Malformed`] when who made
    /// the film broke the form.
    pub fn verify_list(bytes: &[u8], part: &IndexedPart) -> Result<Self, DescriptorError> {
        if bytes.len() > DESCRIPTOR_LEN_LIMIT || hash_block(bytes) != part.descriptor_hash {
            return Err(DescriptorError::Index);
        }
        Self::decode_list(bytes, part).ok_or(DescriptorError::Malformed)
    }

    /// The part that these bytes claim to describe, in either form; nothing is verified.
    pub(crate) fn peek_part(bytes: &[u8]) -> Option<PartId> {
        let mut reader = Reader::new(bytes);
        matches!(reader.u8()?, VERSION | LIST_VERSION).then_some(())?;
        decode_part(&mut reader)
    }

    /// Whether these bytes claim to be of a film.
    pub(crate) fn is_list(bytes: &[u8]) -> bool {
        bytes.first() == Some(&LIST_VERSION)
    }

    /// The entry of a film's index for this part; `descriptor_hash` is that of [`Descriptor::list`].
    pub(crate) fn indexed(&self, descriptor_hash: BlockHash) -> IndexedPart {
        let Self { part, first_block, start, duration, is_independent, len, .. } = *self;
        IndexedPart { part, first_block, start, duration, is_independent, len, descriptor_hash }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_LEN + self.hashes.len() * HASH_LEN + SIGNATURE_LEN);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.part.epoch.0.to_be_bytes());
        bytes.push(self.part.track.0);
        bytes.extend_from_slice(&self.part.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.first_block.0.to_be_bytes());
        bytes.extend_from_slice(&self.start.0.to_be_bytes());
        bytes.extend_from_slice(&self.duration.to_be_bytes());
        bytes.extend_from_slice(&self.captured_at.0.to_be_bytes());
        bytes.push(u8::from(self.is_independent));
        bytes.extend_from_slice(&self.len.to_be_bytes());
        bytes.extend_from_slice(self.hashes.as_flattened());
        bytes
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        (reader.u8()? == VERSION).then_some(())?;
        let descriptor = Self {
            part: decode_part(&mut reader)?,
            first_block: BlockNumber(reader.u32()?),
            start: MediaTime(reader.u64()?),
            duration: reader.u32()?,
            captured_at: WallTime(reader.u64()?),
            is_independent: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
            len: reader.u32()?,
            hashes: decode_hashes(reader.rest())?,
        };
        descriptor.is_sound().then_some(descriptor)
    }

    fn decode_list(bytes: &[u8], entry: &IndexedPart) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        (reader.u8()? == LIST_VERSION && decode_part(&mut reader)? == entry.part).then_some(())?;
        let descriptor = Self {
            part: entry.part,
            first_block: entry.first_block,
            start: entry.start,
            duration: entry.duration,
            captured_at: WallTime(0),
            is_independent: entry.is_independent,
            len: entry.len,
            hashes: decode_hashes(reader.rest())?,
        };
        descriptor.is_sound().then_some(descriptor)
    }

    fn is_sound(&self) -> bool {
        let has_len = (1..=PART_LEN_LIMIT).contains(&(self.len as usize));
        let has_numbers = self.first_block.0.checked_add(self.n_blocks()).is_some();
        has_len
            && has_numbers
            && self.hashes.len() == self.n_blocks() as usize
            && self.part.track.0 < TrackId::LIMIT
    }
}

fn decode_part(reader: &mut Reader<'_>) -> Option<PartId> {
    Some(PartId { epoch: Epoch(reader.u32()?), track: TrackId(reader.u8()?), sequence: reader.u32()? })
}

/// The signed bytes' length is limited, so this allocation is.
fn decode_hashes(bytes: &[u8]) -> Option<Vec<BlockHash>> {
    let (hashes, rest) = bytes.as_chunks::<HASH_LEN>();
    rest.is_empty().then(|| hashes.to_vec())
}

/// Bytes of the unsigned descriptor of a part with so many blocks.
pub(crate) const fn list_len(n_blocks: usize) -> usize {
    LIST_FIXED_LEN + n_blocks * HASH_LEN
}

#[expect(clippy::cast_possible_truncation, reason = "there are no more blocks than bytes")]
pub(crate) const fn n_blocks(len: u32) -> u32 {
    link::block_count(len as usize) as u32
}
