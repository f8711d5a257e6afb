//! Media that came: kept in mind, passed on at once.

use core::time::Duration;

use cardume_wire::link::{Control, HAVE_TRACK_LIMIT, TrackBlocks};
use cardume_wire::{BlockId, Epoch, PeerId, TrackId};

use super::Peer;
use crate::bits::bitmaps;
use crate::time::difference;
use crate::window::Block;
use crate::{Instant, PartFacts, Role};

/// Parts that end this long before the newest known one still tell how old a path is, microseconds.
const NEWEST_SPAN: u64 = 300_000;

/// Between two times that a neighbour is told all that we hold: a block or two of each stripe.
const TELL_INTERVAL: Duration = Duration::from_millis(300);

impl Peer {
    pub(super) fn on_descriptor(&mut self, from: Option<PeerId>, part: PartFacts, now: Instant) {
        self.heard(from, now);
        let id = part.id;
        let Some(index) = self.window.index(id.track) else { return };
        if let Some(neighbour) = from.and_then(|from| self.neighbours.get_mut(from)) {
            neighbour.described[index].insert(id.sequence);
        }
        let Some(track) = self.window.track_mut(id.epoch, id.track) else { return };
        if !track.insert_part(part, now) {
            return;
        }
        let blocks = part.first_block.0..part.end_block().unwrap_or(part.first_block.0);
        self.unverifiable.retain(|(track, number), _| *track != id.track || !blocks.contains(&number.0));
        self.asked_descriptors.retain(|(track, number), _| *track != id.track || !blocks.contains(&number.0));
        // With the blocks of the home stripe, which are verified and passed on at once: by any other path it could come later
        // than these, at each hop anew.
        for (child, class) in self.uploads.takers_of_descriptors(id.track) {
            self.queue_descriptor(child, id, class, now);
        }
    }

    pub(super) fn on_block(&mut self, from: Option<PeerId>, block: BlockId, now: Instant) {
        self.heard(from, now);
        if from.is_none() {
            self.hear_source(now);
        }
        let Some(part) = self.window.part_of(block).copied() else { return };
        let Some(index) = self.window.index(block.track) else { return };
        let before = self.window.tracks()[index].block(block.number);
        self.window.tracks_mut()[index].set(block.number, Block::Held);
        self.forget_request(before);
        if let Some(from) = from {
            self.note_served(from, now);
            self.cancel_elsewhere(from, block, before, now);
            self.account_block(from, index, &part, block);
            let was_asked = matches!(before, Block::Asked { of, .. } if of == from);
            self.note_push(from, block, was_asked, now);
        }
        for (child, class) in self.uploads.takers(block) {
            self.queue_block(child, block, class, now);
        }
        if self.config.role == Role::Viewer {
            self.deliver(now);
            self.pull_first_picture(now);
        }
    }

    pub(super) fn on_useless_block(&mut self, from: PeerId, block: BlockId, len: usize, now: Instant) {
        self.heard(Some(from), now);
        self.counts.duplicate_len += len as u64;
        let index = self.window.index(block.track);
        if let (Some(index), Some(neighbour)) = (index, self.neighbours.get_mut(from)) {
            neighbour.has[index].insert(block.number.0);
            neighbour.received_len += len as u64;
        }
        self.note_push(from, block, false, now);
    }

    pub(super) fn on_have(&mut self, from: PeerId, epoch: Epoch, tracks: &[TrackBlocks]) {
        if self.window.epoch() != Some(epoch) {
            return;
        }
        for blocks in tracks {
            let Some(index) = self.window.index(blocks.track) else { continue };
            let track = &self.window.tracks()[index];
            let Some(neighbour) = self.neighbours.get_mut(from) else { return };
            for number in blocks.numbers() {
                neighbour.has[index].insert(number.0);
                if let Some(part) = track.part_of(number) {
                    neighbour.described[index].insert(part.id.sequence);
                }
            }
        }
    }

    /// Tells a neighbour all that we hold.
    pub(super) fn tell_all(&mut self, to: PeerId, now: Instant) {
        let Some(epoch) = self.window.epoch().filter(|_| self.config.role == Role::Viewer) else { return };
        let Some(link) = self.neighbours.get_mut(to).filter(|link| link.epoch == Some(epoch)) else { return };
        // Who is asked for several stripes need not hear it each time.
        if link.told_at.replace(now).is_some_and(|at| now.since(at) < TELL_INTERVAL) {
            return;
        }
        let tracks = self.window.tracks().iter();
        let maps = tracks.flat_map(|track| bitmaps(track.facts.id, &track.held().collect::<Vec<_>>()));
        self.send_maps(to, epoch, &maps.collect::<Vec<_>>(), now);
    }

    fn send_maps(&mut self, to: PeerId, epoch: Epoch, maps: &[TrackBlocks], now: Instant) {
        for tracks in maps.chunks(HAVE_TRACK_LIMIT) {
            self.send_control(to, Control::Have { epoch, tracks: tracks.to_vec() }, now);
        }
    }

    fn heard(&mut self, from: Option<PeerId>, now: Instant) {
        if let Some(neighbour) = from.and_then(|from| self.neighbours.get_mut(from)) {
            neighbour.heard_at = now;
        }
    }

    fn account_block(&mut self, from: PeerId, index: usize, part: &PartFacts, block: BlockId) {
        let len = part.message_len(block.number) as u64;
        if from.is_server() {
            self.counts.from_server_len += len;
        } else {
            self.counts.from_peers_len += len;
        }
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.received_len += len;
            neighbour.has[index].insert(block.number.0);
            neighbour.described[index].insert(part.id.sequence);
        }
    }

    /// A provider, or one about to be, sent a block of its stripe.
    pub(super) fn note_delivery(&mut self, from: PeerId, block: BlockId, was_asked: bool, now: Instant) {
        let stripe = block.number.stripe();
        // What is far behind comes from catching up and says nothing of the path.
        let newest = self.window.tracks().iter().filter_map(|track| track.parts().next_back());
        let newest_us = newest.map(|part| part.end_us).max().unwrap_or(0);
        let part =
            self.window.part_of(block).filter(|part| part.end_us.saturating_add(NEWEST_SPAN) >= newest_us);
        let is_current = part.is_some();
        let age = part.and_then(|part| self.age_of(part, now));
        let index = self.window.index(block.track);
        if let Some(age) = age {
            self.tuning.note_age(age);
        }
        let lane = self.stripes.lane_mut(stripe);
        if let Some(provider) = lane.provider.as_mut().filter(|provider| provider.peer == from) {
            provider.n_overdue = 0;
            if let Some(pushed_to) =
                index.filter(|_| !was_asked).and_then(|index| provider.pushed_to.get_mut(index))
            {
                *pushed_to = block.number.0.saturating_add(1).max(*pushed_to);
            }
            if is_current && !provider.is_current {
                // Others wait for somebody who can feed them.
                (self.due.status_at, self.due.tell_at) = (now, now);
            }
            provider.is_current |= is_current;
            provider.age = match (provider.age, age) {
                (Some(old), Some(new)) => Some((old * 3 + new) / 4),
                (old, new) => new.or(old),
            };
        }
        let is_taking_over = lane.successor.as_ref().is_some_and(|s| s.peer == from && s.accepted.is_some());
        if is_taking_over {
            self.promote(stripe, now);
        }
    }

    /// Time since the end of the part was captured; `None` without a clock.
    pub(super) fn age_of(&self, part: &PartFacts, now: Instant) -> Option<Duration> {
        let captured_end = part.captured_at.0.saturating_add(part.end_us.saturating_sub(part.start_us));
        let age = difference(self.wall_us(now)?, captured_end);
        Some(Duration::from_micros(u64::try_from(age).unwrap_or(0)))
    }

    pub(super) fn block_id(&self, track: TrackId, number: u32) -> Option<BlockId> {
        let epoch = self.window.epoch()?;
        Some(BlockId { epoch, track, number: cardume_wire::BlockNumber(number) })
    }
}
