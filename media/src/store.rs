//! Verified blocks of the live window.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cardume_wire::link::{BLOCK_HEADER_LEN, Message, block_header};
use cardume_wire::{BlockId, TrackId};

use crate::window::{Insertion, Slot, Window};
use crate::{Catalog, CatalogError, Descriptor, DescriptorError, PartId, PublicKey, Published};

/// How much a [`Store`] holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreLimits {
    /// Media bytes of all tracks; the parts captured first go when there are more. At least
    /// [`crate::PART_LEN_LIMIT`], or the largest part never gets whole.
    pub len: usize,
    /// Parts of each track, counted from its newest; older ones are not taken.
    pub n_parts: u32,
}

impl Default for StoreLimits {
    /// 48 MiB: 40 s of 10 Mbit/s, which a tab on a phone can bear. 512 parts: 100 s of 200 ms. Both are guesses that
    /// leave several times the target latency; the peer evicts earlier.
    fn default() -> Self {
        Self { len: 48 * 1024 * 1024, n_parts: 512 }
    }
}

/// What became of a catalog or descriptor that is properly signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inserted {
    /// It is in the store now.
    New,
    /// It was there before.
    Known,
    /// It is of an earlier broadcast, or behind the live window: not kept.
    Stale,
    /// A descriptor of a broadcast or track whose catalog is not here: not kept.
    Early,
}

/// What became of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockVerdict {
    /// It is what its descriptor says, and in the store now.
    Verified,
    /// It was in the store before; these bytes were not looked at.
    Duplicate,
    /// Nothing here says what it should be: not kept.
    NoDescriptor,
    /// It is not what its descriptor says: whoever sent it is to blame.
    Bad,
    /// It is of an earlier broadcast, or behind the live window: not kept.
    Stale,
}

/// Verified blocks of the live window of one channel. A block is kept as the link message it travels in, so that
/// forwarding copies nothing. Nothing gets in without the channel's signature, and memory is bounded by
/// [`StoreLimits`] (plus a descriptor of at most [`crate::DESCRIPTOR_LEN_LIMIT`] bytes for each part).
#[derive(Debug)]
pub struct Store {
    key: PublicKey,
    limits: StoreLimits,
    broadcast: Option<Broadcast>,
}

#[derive(Debug)]
struct Broadcast {
    catalog: Catalog,
    message: Bytes,
    windows: BTreeMap<TrackId, Window>,
}

impl Store {
    /// An empty store of the channel with this key.
    pub const fn new(key: PublicKey, limits: StoreLimits) -> Self {
        Self { key, limits, broadcast: None }
    }

    /// Takes a signed catalog. A newer epoch than the store's empties it; of two catalogs of one epoch the first stays.
    ///
    /// # Errors
    /// When the bytes are not a catalog signed by the channel's key: whoever sent them is to blame.
    pub fn insert_catalog(&mut self, bytes: &[u8]) -> Result<Inserted, CatalogError> {
        if self.broadcast.as_ref().is_some_and(|b| b.message.get(1..) == Some(bytes)) {
            return Ok(Inserted::Known);
        }
        let catalog = Catalog::verify(bytes, &self.key)?;
        match self.broadcast.as_ref().map(|b| b.catalog.epoch()) {
            Some(epoch) if catalog.epoch() < epoch => return Ok(Inserted::Stale),
            Some(epoch) if catalog.epoch() == epoch => return Ok(Inserted::Known),
            _ => {}
        }
        let windows = catalog.tracks().iter().map(|track| (track.id, Window::default())).collect();
        let message = Message::Catalog(bytes).encode().into();
        self.broadcast = Some(Broadcast { catalog, message, windows });
        Ok(Inserted::New)
    }

    /// Takes a signed descriptor, and gives back what it says. Of two descriptors of one part the first stays.
    ///
    /// # Errors
    /// When the bytes are not a sound descriptor signed by the channel's key: whoever sent them is to blame.
    pub fn insert_descriptor(
        &mut self,
        bytes: &[u8],
    ) -> Result<(Inserted, Arc<Descriptor>), DescriptorError> {
        if let Some(slot) = Descriptor::peek_part(bytes).and_then(|part| self.slot(part))
            && slot.descriptor_message().get(1..) == Some(bytes)
        {
            return Ok((Inserted::Known, slot.descriptor().clone()));
        }
        let descriptor = Arc::new(Descriptor::verify(bytes, &self.key)?);
        let slot = Slot::new(descriptor.clone(), Message::Descriptor(bytes).encode().into());
        self.insert_slot(slot).map(|inserted| (inserted, descriptor))
    }

    /// Takes a block's media if its descriptor is here and vouches for it.
    pub fn insert_block(&mut self, id: BlockId, payload: &[u8]) -> BlockVerdict {
        let Some(broadcast) = &mut self.broadcast else { return BlockVerdict::NoDescriptor };
        if id.epoch < broadcast.catalog.epoch() {
            return BlockVerdict::Stale;
        }
        let Some(window) = broadcast.windows.get_mut(&id.track) else { return BlockVerdict::NoDescriptor };
        if id.epoch > broadcast.catalog.epoch() {
            return BlockVerdict::NoDescriptor;
        }
        if window.is_behind(id.number) {
            return BlockVerdict::Stale;
        }
        let verdict = window.insert_block(id.number, payload, || block_message(id, payload));
        if verdict == BlockVerdict::Verified {
            self.enforce_len();
        }
        verdict
    }

    /// Takes a part that the broadcast's own [`crate::Publisher`] made; nothing is verified again. Its catalog has to
    /// be here first, else it is [`Inserted::Early`] and not kept.
    pub fn publish(&mut self, published: Published) -> Inserted {
        let message = published.descriptor_message();
        let slot = Slot::whole(Arc::new(published.descriptor), message, published.blocks);
        let inserted = self.insert_slot(slot).unwrap_or(Inserted::Stale);
        self.enforce_len();
        inserted
    }

    /// The current broadcast's catalog.
    pub fn catalog(&self) -> Option<&Catalog> {
        self.broadcast.as_ref().map(|broadcast| &broadcast.catalog)
    }

    /// What a part of the window is, if its descriptor is here.
    pub fn descriptor(&self, part: PartId) -> Option<&Arc<Descriptor>> {
        self.slot(part).map(Slot::descriptor)
    }

    /// The descriptors of a track in the window, oldest first; there may be gaps.
    pub fn descriptors(&self, track: TrackId) -> impl DoubleEndedIterator<Item = &Arc<Descriptor>> {
        let window = self.broadcast.as_ref().and_then(|broadcast| broadcast.windows.get(&track));
        window.into_iter().flat_map(Window::slots).map(Slot::descriptor)
    }

    /// The part that a block belongs to, if its descriptor is here.
    pub fn part_of(&self, block: BlockId) -> Option<PartId> {
        self.window_of(block)
            .and_then(|window| window.slot_of(block.number))
            .map(|slot| slot.descriptor().part)
    }

    /// Whether a block is held.
    pub fn has_block(&self, block: BlockId) -> bool {
        self.block(block).is_some()
    }

    /// Whether all blocks of a part are held.
    pub fn is_whole(&self, part: PartId) -> bool {
        self.slot(part).is_some_and(Slot::is_whole)
    }

    /// Media bytes held, headers included.
    pub fn len(&self) -> usize {
        self.broadcast.iter().flat_map(|broadcast| broadcast.windows.values()).map(Window::len).sum()
    }

    /// Whether no media is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole link message of the catalog; a cheap clone.
    pub fn catalog_message(&self) -> Option<Bytes> {
        self.broadcast.as_ref().map(|broadcast| broadcast.message.clone())
    }

    /// The whole link message of a part's descriptor; a cheap clone.
    pub fn descriptor_message(&self, part: PartId) -> Option<Bytes> {
        self.slot(part).map(|slot| slot.descriptor_message().clone())
    }

    /// The whole link message of a block that is held; a cheap clone.
    pub fn block_message(&self, block: BlockId) -> Option<Bytes> {
        self.block(block).cloned()
    }

    /// The media of a part, a slice for each block in order, if it is whole; cheap clones.
    pub fn part_payload(&self, part: PartId) -> Option<Vec<Bytes>> {
        self.slot(part)?
            .blocks()
            .map(|block| block.map(|message| message.slice(BLOCK_HEADER_LEN..)))
            .collect()
    }

    /// Forgets the parts of a track before this sequence, and takes none of them again.
    pub fn evict_before(&mut self, track: TrackId, sequence: u32) {
        if let Some(window) = self.broadcast.as_mut().and_then(|broadcast| broadcast.windows.get_mut(&track))
        {
            window.evict_before(sequence);
        }
    }

    fn insert_slot(&mut self, slot: Slot) -> Result<Inserted, DescriptorError> {
        let part = slot.descriptor().part;
        let Some(broadcast) = &mut self.broadcast else { return Ok(Inserted::Early) };
        if part.epoch < broadcast.catalog.epoch() {
            return Ok(Inserted::Stale);
        }
        let Some(window) = broadcast.windows.get_mut(&part.track) else { return Ok(Inserted::Early) };
        if part.epoch > broadcast.catalog.epoch() {
            return Ok(Inserted::Early);
        }
        match window.insert(slot, self.limits.n_parts) {
            Insertion::New => Ok(Inserted::New),
            Insertion::Known => Ok(Inserted::Known),
            Insertion::Stale => Ok(Inserted::Stale),
            Insertion::Contradiction => Err(DescriptorError::Contradiction),
        }
    }

    /// Drops the parts captured first until the limit holds.
    fn enforce_len(&mut self) {
        while self.len() > self.limits.len {
            let Some(broadcast) = &mut self.broadcast else { return };
            let oldest = broadcast.windows.values_mut().filter(|window| window.len() > 0);
            let Some(window) = oldest.min_by_key(|window| window.oldest_at()) else { return };
            window.evict_oldest();
        }
    }

    fn window_of(&self, block: BlockId) -> Option<&Window> {
        let broadcast =
            self.broadcast.as_ref().filter(|broadcast| broadcast.catalog.epoch() == block.epoch)?;
        broadcast.windows.get(&block.track)
    }

    fn slot(&self, part: PartId) -> Option<&Slot> {
        let broadcast =
            self.broadcast.as_ref().filter(|broadcast| broadcast.catalog.epoch() == part.epoch)?;
        broadcast.windows.get(&part.track)?.slot(part.sequence)
    }

    fn block(&self, block: BlockId) -> Option<&Bytes> {
        self.window_of(block)?.slot_of(block.number)?.block(block.number)
    }
}

fn block_message(id: BlockId, payload: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(BLOCK_HEADER_LEN + payload.len());
    message.extend_from_slice(&block_header(id));
    message.extend_from_slice(payload);
    message.freeze()
}
