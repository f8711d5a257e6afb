//! What the nodes of a cluster hand to each other: one has the broadcaster, and the server peers of the others show what it
//! publishes as if it were their own. All of it is verified again where it comes.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;
use cardume_media::{BlockVerdict, CutPart, DescriptorError, Inserted, PartId};
use cardume_wire::link::{DecodeError, Message};
use cardume_wire::{BlockId, Epoch, TrackId};

use super::Session;
use crate::{Input, Instant};

/// What became of a message of another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Adopted {
    /// A broadcast newer than what was here: it is shown from now on. One of our own has ended.
    Broadcast,
    /// With it a part is whole.
    Part(PartId),
    /// It cannot be verified before what should have come earlier, a catalog or a descriptor: not kept.
    Early,
    /// It was here before, is of no use any more, or is a piece of a part that is not whole yet.
    Nothing,
    /// It is no message that carries media, or the channel's key does not vouch for it: not kept.
    Wrong,
}

impl Session {
    /// Takes one link message of the broadcast that another node has (server role): a catalog, a descriptor or a block.
    pub fn adopt(&mut self, message: &[u8], now: Instant) -> Adopted {
        match Message::decode(message) {
            Ok(Message::Catalog(body)) => self.adopt_catalog(body, now),
            Ok(Message::Descriptor(body)) => self.adopt_descriptor(body, now),
            Ok(Message::Block { id, payload }) => self.adopt_block(id, payload, now),
            // Of a node of a later version.
            Err(DecodeError::UnknownType) => Adopted::Nothing,
            Ok(Message::Control(_) | Message::Index(_)) | Err(_) => Adopted::Wrong,
        }
    }

    /// The other node is out of reach: those who are fed look elsewhere until something is adopted.
    pub fn cut_off(&mut self, now: Instant) {
        self.input(Input::CutOff, now);
    }

    /// The epoch of what is shown.
    pub fn epoch(&self) -> Option<Epoch> {
        self.store.catalog().map(cardume_media::Catalog::epoch)
    }

    /// The catalog that is shown.
    pub fn catalog(&self) -> Option<&cardume_media::Catalog> {
        self.store.catalog()
    }

    /// The whole link message of the catalog.
    pub fn catalog_message(&self) -> Option<Bytes> {
        self.store.catalog_message()
    }

    /// The newest part of a track.
    pub fn newest_part(&self, track: TrackId) -> Option<PartId> {
        self.store.descriptors(track).next_back().map(|descriptor| descriptor.part)
    }

    /// The link messages of a part, its descriptor first; none unless it is whole.
    pub fn part_messages(&self, part: PartId) -> Vec<Bytes> {
        let Some(descriptor) = self.store.descriptor(part) else { return Vec::new() };
        let blocks: Option<Vec<Bytes>> =
            descriptor.blocks().map(|block| self.store.block_message(block)).collect();
        let messages = self.store.descriptor_message(part).zip(blocks);
        messages.map_or_else(Vec::new, |(first, blocks)| core::iter::once(first).chain(blocks).collect())
    }

    /// The whole parts in the window that a node lacks which has those of each track before `next`, in the order of their
    /// capture. Of a track not named there: from the newest place on where decoding can begin `span` before the newest part.
    pub fn parts_since(&self, next: &BTreeMap<TrackId, u32>, span: Duration) -> Vec<PartId> {
        let Some(catalog) = self.store.catalog() else { return Vec::new() };
        let mut parts = Vec::new();
        for track in catalog.tracks() {
            let first = next.get(&track.id).copied().or_else(|| self.join_sequence(track.id, span));
            let Some(first) = first else { continue };
            let held =
                self.store.descriptors(track.id).filter(|descriptor| descriptor.part.sequence >= first);
            parts.extend(held.map(|descriptor| (descriptor.captured_at, descriptor.part)));
        }
        parts.sort_unstable();
        parts.into_iter().map(|(_, part)| part).filter(|part| self.store.is_whole(*part)).collect()
    }

    /// A part in the form in which ingest brings it; `None` unless it is whole. Its media is copied.
    pub fn cut_part(&self, part: PartId) -> Option<CutPart> {
        let descriptor = self.store.descriptor(part)?;
        Some(CutPart {
            track: part.track,
            start: descriptor.start,
            duration: descriptor.duration,
            is_independent: descriptor.is_independent,
            captured_at: descriptor.captured_at,
            bytes: self.store.part_payload(part)?.concat().into(),
        })
    }

    /// The newest part of a track that begins `span` before its newest one or earlier and can be decoded by itself; the
    /// oldest, if there is none.
    fn join_sequence(&self, track: TrackId, span: Duration) -> Option<u32> {
        let timescale = self.store.catalog()?.track(track)?.timescale;
        let newest_us = self.store.descriptors(track).next_back()?.start.to_micros(timescale);
        let before_us = newest_us.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
        let mut parts = self.store.descriptors(track);
        let oldest = parts.next()?;
        let found = self.store.descriptors(track).rev().find(|descriptor| {
            descriptor.is_independent && descriptor.start.to_micros(timescale) <= before_us
        });
        Some(found.unwrap_or(oldest).part.sequence)
    }

    fn adopt_catalog(&mut self, body: &[u8], now: Instant) -> Adopted {
        match self.store.insert_catalog(body) {
            Ok(Inserted::New) => {
                self.publisher = None;
                self.catalog_is_new(now);
                Adopted::Broadcast
            }
            Ok(_) => Adopted::Nothing,
            Err(_) => Adopted::Wrong,
        }
    }

    fn adopt_descriptor(&mut self, body: &[u8], now: Instant) -> Adopted {
        match self.store.insert_descriptor(body) {
            Ok((Inserted::New, descriptor)) => {
                if let Some(part) = self.part_facts(&descriptor, body.len() + 1) {
                    self.input(Input::Descriptor { from: None, part }, now);
                }
                Adopted::Nothing
            }
            Ok((Inserted::Early, _)) | Err(DescriptorError::Unknown) => Adopted::Early,
            Ok(_) => Adopted::Nothing,
            Err(_) => Adopted::Wrong,
        }
    }

    fn adopt_block(&mut self, id: BlockId, payload: &[u8], now: Instant) -> Adopted {
        match self.store.insert_block(id, payload) {
            BlockVerdict::Verified => {
                self.input(Input::Block { from: None, block: id }, now);
                let whole = self.store.part_of(id).filter(|part| self.store.is_whole(*part));
                whole.map_or(Adopted::Nothing, Adopted::Part)
            }
            BlockVerdict::Duplicate | BlockVerdict::Stale => Adopted::Nothing,
            BlockVerdict::NoDescriptor => Adopted::Early,
            BlockVerdict::Bad => Adopted::Wrong,
        }
    }
}
