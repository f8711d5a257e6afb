//! What a node holds, as `media::Store` would: blocks count only once their descriptor is there.

use std::collections::BTreeMap;

use cardume_media::PartId;
use cardume_swarm::PartFacts;
use cardume_wire::{BlockId, Epoch, PeerId, TrackId};

/// Blocks held back for their descriptor at most, as in the session.
const UNVERIFIED_LIMIT: usize = 256;

/// The descriptors and blocks of one node.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) epoch: Option<Epoch>,
    /// First block of a part to the part and which of its blocks are held.
    tracks: BTreeMap<TrackId, BTreeMap<u32, Slot>>,
    unverified: Vec<(PeerId, BlockId)>,
}

#[derive(Debug)]
struct Slot {
    part: PartFacts,
    held: Vec<bool>,
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Verified,
    Useless,
    Unverifiable,
}

impl Store {
    pub(crate) fn begin(&mut self, epoch: Epoch) {
        *self = Self { epoch: Some(epoch), ..Self::default() };
    }

    /// False when it is known already or of another broadcast.
    pub(crate) fn insert_part(&mut self, part: &PartFacts) -> bool {
        if self.epoch != Some(part.id.epoch) {
            return false;
        }
        let track = self.tracks.entry(part.id.track).or_default();
        if track.contains_key(&part.first_block.0) {
            return false;
        }
        track.insert(part.first_block.0, Slot { part: *part, held: vec![false; part.n_blocks as usize] });
        true
    }

    pub(crate) fn insert_block(&mut self, from: PeerId, block: BlockId) -> Verdict {
        if self.epoch > Some(block.epoch) {
            return Verdict::Useless;
        }
        let Some((slot, index)) = self.slot(block) else {
            if self.unverified.len() < UNVERIFIED_LIMIT {
                self.unverified.push((from, block));
            }
            return Verdict::Unverifiable;
        };
        let was_held = core::mem::replace(&mut slot.held[index], true);
        if was_held { Verdict::Useless } else { Verdict::Verified }
    }

    /// The blocks that waited for this part's descriptor.
    pub(crate) fn take_waiting(&mut self, part: &PartFacts) -> Vec<(PeerId, BlockId)> {
        let is_ready = |(_, block): &(PeerId, BlockId)| {
            block.epoch == part.id.epoch && block.track == part.id.track && part.has_block(block.number)
        };
        let (ready, waiting) = core::mem::take(&mut self.unverified).into_iter().partition(is_ready);
        self.unverified = waiting;
        ready
    }

    pub(crate) fn holds(&self, block: BlockId) -> bool {
        let track = self.tracks.get(&block.track).filter(|_| self.epoch == Some(block.epoch));
        let slot = track.and_then(|track| track.range(..=block.number.0).next_back());
        slot.is_some_and(|(first, slot)| {
            slot.held.get((block.number.0 - first) as usize).copied().unwrap_or(false)
        })
    }

    pub(crate) fn part(&self, id: PartId) -> Option<&PartFacts> {
        let track = self.tracks.get(&id.track).filter(|_| self.epoch == Some(id.epoch))?;
        track.values().map(|slot| &slot.part).rfind(|part| part.id == id)
    }

    pub(crate) fn part_of(&self, block: BlockId) -> Option<&PartFacts> {
        let track = self.tracks.get(&block.track).filter(|_| self.epoch == Some(block.epoch))?;
        let (_, slot) = track.range(..=block.number.0).next_back()?;
        slot.part.has_block(block.number).then_some(&slot.part)
    }

    /// Whether all of a part is held.
    pub(crate) fn is_whole(&self, id: PartId) -> bool {
        let Some(part) = self.part(id) else { return false };
        let slot = self.tracks.get(&id.track).and_then(|track| track.get(&part.first_block.0));
        slot.is_some_and(|slot| slot.held.iter().all(|held| *held))
    }

    pub(crate) fn evict_before(&mut self, track: TrackId, sequence: u32) {
        if let Some(track) = self.tracks.get_mut(&track) {
            track.retain(|_, slot| slot.part.id.sequence >= sequence);
        }
    }

    fn slot(&mut self, block: BlockId) -> Option<(&mut Slot, usize)> {
        let track = self.tracks.get_mut(&block.track).filter(|_| self.epoch == Some(block.epoch))?;
        let (first, slot) = track.range_mut(..=block.number.0).next_back()?;
        let index = (block.number.0 - first) as usize;
        (index < slot.held.len()).then_some((slot, index))
    }
}
