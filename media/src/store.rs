//! Verified blocks of the live window, or of a film.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cardume_wire::link::{BLOCK_HEADER_LEN, Message, block_header};
use cardume_wire::{BlockId, TrackId};

use crate::film::publish_indexed;
use crate::holding::Holding;
use crate::window::{Insertion, Slot};
use crate::{
    Catalog, CatalogError, Descriptor, DescriptorError, IndexError, IndexPage, IndexedPart, PageId, PartId,
    PublicKey, Published,
};

/// How much a [`Store`] holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreLimits {
    /// Media bytes of all tracks. Of a live broadcast the parts captured first go when there are more; of a film, whose
    /// parts the peer evicts, no more are taken. At least [`crate::PART_LEN_LIMIT`], or the largest part never gets whole.
    pub len: usize,
    /// Parts of each track; of a live one they are counted from its newest, and older ones are not taken.
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
    /// It is of an earlier broadcast, behind the live window, or more than there is room for: not kept.
    Stale,
    /// A descriptor of a broadcast or track whose catalog, or of a film whose index, is not here: not kept.
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
    /// It is of an earlier broadcast, behind the live window, or more than there is room for: not kept.
    Stale,
}

/// Verified blocks of one channel: of the live window, or of a film, in any order. A block is kept as the link message it travels in, so that
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
    tracks: BTreeMap<TrackId, Holding>,
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
        let ids = catalog.tracks().iter().map(|track| track.id);
        let tracks = ids.map(|id| (id, Holding::new(catalog.index(id)))).collect();
        let message = Message::Catalog(bytes).encode().into();
        self.broadcast = Some(Broadcast { catalog, message, tracks });
        Ok(Inserted::New)
    }

    /// Takes a page of a film's index, and gives back what it says.
    ///
    /// # Errors
    /// [`IndexError::Hash`] and [`IndexError::Malformed`]: whoever sent the bytes is to blame. [`IndexError::Unknown`]
    /// may only be late, or early.
    pub fn insert_index(&mut self, bytes: &[u8]) -> Result<(Inserted, IndexPage), IndexError> {
        let broadcast = self.broadcast.as_mut().ok_or(IndexError::Unknown)?;
        let page = IndexPage::verify(bytes, &broadcast.catalog)?;
        let holding = broadcast.tracks.get_mut(&page.id.track).ok_or(IndexError::Unknown)?;
        let is_new = holding.insert_page(page.clone(), || Message::Index(bytes).encode().into());
        Ok((if is_new { Inserted::New } else { Inserted::Known }, page))
    }

    /// Takes the descriptor of a part, signed, or of a film whose index is here, and gives back what it says. Of two
    /// descriptors of one part the first stays.
    ///
    /// # Errors
    /// When the bytes are not a sound descriptor that the channel's key vouches for: whoever sent them is to blame, but
    /// for [`DescriptorError::Unknown`], which may only be late, or early.
    pub fn insert_descriptor(
        &mut self,
        bytes: &[u8],
    ) -> Result<(Inserted, Arc<Descriptor>), DescriptorError> {
        let slot = Descriptor::peek_part(bytes).and_then(|part| self.slot(part));
        if let Some(slot) = slot.filter(|slot| slot.descriptor_message().get(1..) == Some(bytes)) {
            return Ok((Inserted::Known, slot.descriptor().clone()));
        }
        let descriptor = Arc::new(self.verify_descriptor(bytes)?);
        if Descriptor::is_list(bytes) && !self.has_room(descriptor.part) {
            return Ok((Inserted::Stale, descriptor));
        }
        let slot = Slot::new(descriptor.clone(), Message::Descriptor(bytes).encode().into());
        self.insert_slot(slot).map(|inserted| (inserted, descriptor))
    }

    /// Takes a block's media if its descriptor is here and vouches for it.
    pub fn insert_block(&mut self, id: BlockId, payload: &[u8]) -> BlockVerdict {
        let is_full = self.len() + payload.len() > self.limits.len;
        let Some(broadcast) = &mut self.broadcast else { return BlockVerdict::NoDescriptor };
        if id.epoch < broadcast.catalog.epoch() {
            return BlockVerdict::Stale;
        }
        let Some(holding) = broadcast.tracks.get_mut(&id.track) else { return BlockVerdict::NoDescriptor };
        if id.epoch > broadcast.catalog.epoch() {
            return BlockVerdict::NoDescriptor;
        }
        if holding.is_behind(id.number) || (holding.is_film() && is_full) {
            return BlockVerdict::Stale;
        }
        let verdict = holding.insert_block(id.number, payload, || block_message(id, payload));
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

    /// Takes the media of a part of the store's own film, read anew. False when it is not what the index, which has to
    /// be here, says of the part: nothing is kept then.
    pub fn restore(&mut self, part: PartId, media: &Bytes) -> bool {
        let published = self.indexed(part).and_then(|part| publish_indexed(part, media));
        published.is_some_and(|published| matches!(self.publish(published), Inserted::New | Inserted::Known))
    }

    /// The part of a film that a block belongs to, if its page of the index is here.
    pub fn indexed_part_of(&self, block: BlockId) -> Option<PartId> {
        self.holding_of(block)?.indexed_part_of(block.number)
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
        let holding = self.broadcast.as_ref().and_then(|broadcast| broadcast.tracks.get(&track));
        holding.into_iter().flat_map(Holding::slots).map(Slot::descriptor)
    }

    /// The part that a block belongs to, if its descriptor is here.
    pub fn part_of(&self, block: BlockId) -> Option<PartId> {
        self.holding_of(block)
            .and_then(|holding| holding.slot_of(block.number))
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
        self.broadcast.iter().flat_map(|broadcast| broadcast.tracks.values()).map(Holding::len).sum()
    }

    /// Whether no media is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole link message of the catalog; a cheap clone.
    pub fn catalog_message(&self) -> Option<Bytes> {
        self.broadcast.as_ref().map(|broadcast| broadcast.message.clone())
    }

    /// The whole link message of a page of a film's index that is here; a cheap clone.
    pub fn index_message(&self, id: PageId) -> Option<Bytes> {
        let broadcast = self.broadcast.as_ref().filter(|broadcast| broadcast.catalog.epoch() == id.epoch)?;
        broadcast.tracks.get(&id.track)?.page_message(id.page).cloned()
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
        if let Some(holding) = self.broadcast.as_mut().and_then(|broadcast| broadcast.tracks.get_mut(&track))
        {
            holding.evict_before(sequence);
        }
    }

    /// Forgets one part of a film; it may come again.
    pub fn evict(&mut self, part: PartId) {
        let broadcast = self.broadcast.as_mut().filter(|broadcast| broadcast.catalog.epoch() == part.epoch);
        if let Some(holding) = broadcast.and_then(|broadcast| broadcast.tracks.get_mut(&part.track)) {
            holding.evict(part.sequence);
        }
    }

    /// As the bytes claim to be signed or of a film.
    fn verify_descriptor(&self, bytes: &[u8]) -> Result<Descriptor, DescriptorError> {
        if !Descriptor::is_list(bytes) {
            return Descriptor::verify(bytes, &self.key);
        }
        let part = Descriptor::peek_part(bytes).and_then(|part| self.indexed(part));
        Descriptor::verify_list(bytes, part.ok_or(DescriptorError::Unknown)?)
    }

    fn indexed(&self, part: PartId) -> Option<&IndexedPart> {
        let broadcast =
            self.broadcast.as_ref().filter(|broadcast| broadcast.catalog.epoch() == part.epoch)?;
        broadcast.tracks.get(&part.track)?.indexed(part.sequence)
    }

    fn has_room(&self, part: PartId) -> bool {
        let holding = self.broadcast.as_ref().and_then(|broadcast| broadcast.tracks.get(&part.track));
        holding.is_some_and(|holding| holding.n_slots() < self.limits.n_parts as usize)
    }

    fn insert_slot(&mut self, slot: Slot) -> Result<Inserted, DescriptorError> {
        let part = slot.descriptor().part;
        let Some(broadcast) = &mut self.broadcast else { return Ok(Inserted::Early) };
        if part.epoch < broadcast.catalog.epoch() {
            return Ok(Inserted::Stale);
        }
        let Some(holding) = broadcast.tracks.get_mut(&part.track) else { return Ok(Inserted::Early) };
        if part.epoch > broadcast.catalog.epoch() {
            return Ok(Inserted::Early);
        }
        match holding.insert(slot, self.limits.n_parts) {
            Insertion::New => Ok(Inserted::New),
            Insertion::Known => Ok(Inserted::Known),
            Insertion::Stale => Ok(Inserted::Stale),
            Insertion::Contradiction => Err(DescriptorError::Contradiction),
        }
    }

    /// Drops the parts of a live broadcast that were captured first until the limit holds.
    fn enforce_len(&mut self) {
        while self.len() > self.limits.len {
            let Some(broadcast) = &mut self.broadcast else { return };
            let windows = broadcast.tracks.values_mut().filter_map(Holding::window_mut);
            let oldest = windows.filter(|window| window.len() > 0).min_by_key(|window| window.oldest_at());
            let Some(window) = oldest else { return };
            window.evict_oldest();
        }
    }

    fn holding_of(&self, block: BlockId) -> Option<&Holding> {
        let broadcast =
            self.broadcast.as_ref().filter(|broadcast| broadcast.catalog.epoch() == block.epoch)?;
        broadcast.tracks.get(&block.track)
    }

    fn slot(&self, part: PartId) -> Option<&Slot> {
        let broadcast =
            self.broadcast.as_ref().filter(|broadcast| broadcast.catalog.epoch() == part.epoch)?;
        broadcast.tracks.get(&part.track)?.slot(part.sequence)
    }

    fn block(&self, block: BlockId) -> Option<&Bytes> {
        self.holding_of(block)?.slot_of(block.number)?.block(block.number)
    }
}

fn block_message(id: BlockId, payload: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(BLOCK_HEADER_LEN + payload.len());
    message.extend_from_slice(&block_header(id));
    message.extend_from_slice(payload);
    message.freeze()
}
