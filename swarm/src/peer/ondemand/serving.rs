//! Answers to what others ask of a film.

use core::time::Duration;

use cardume_media::PageId;
use cardume_wire::link::{BLOCK_LEN_LIMIT, Control};
use cardume_wire::{BlockId, PeerId};

use super::super::Peer;
use super::HOLDERS_LIMIT;
use crate::film::SPARE_WITHIN;
use crate::pacer::{Cargo, Class, FRAME_LEN, Job};
use crate::uplink::Sent;
use crate::{Instant, Role};

/// What is needed soon is answered while what waits takes the uplink no longer than this; else somebody else is asked.
const QUEUE_LIMIT: Duration = Duration::from_millis(1200);
/// The same for what is not needed soon, or can be had elsewhere: it never makes others wait.
const SPARE_QUEUE_LIMIT: Duration = Duration::from_millis(400);
/// Between two looks at the uplink.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Viewers that hold a part before the server leaves it to them: one may leave, and another be busy.
const SEED_LIMIT: usize = 3;
/// Between two words to one viewer on who holds what it asks for: connecting takes about so long.
const HOLDERS_INTERVAL: Duration = Duration::from_secs(1);

impl Peer {
    pub(super) fn on_film_request(
        &mut self,
        from: PeerId,
        blocks: &[BlockId],
        within_ms: Option<u16>,
        now: Instant,
    ) {
        let within = Duration::from_millis(u64::from(within_ms.unwrap_or(0)));
        let mut missing = Vec::new();
        self.tell_holders(from, blocks, now);
        for &block in blocks {
            let part =
                self.film.as_ref().filter(|film| film.holds(block)).and_then(|film| film.part_of(block));
            let len = part.map(|part| part.message_len(block.number));
            match len.filter(|_| self.may_serve(from, block, within)) {
                Some(len) => {
                    let cargo = Cargo::Block(block);
                    self.queue(Job { to: from, cargo, class: Class::Push, len, due: now + within }, now);
                }
                None => missing.push(block),
            }
        }
        if !missing.is_empty() {
            self.send_control(from, Control::Missing { blocks: missing }, now);
        }
    }

    /// The neighbour has these by now, or does not want them any more.
    pub(super) fn on_film_cancel(&mut self, from: PeerId, blocks: &[BlockId]) {
        self.pacer.retain(|job| {
            let is_named = matches!(job.cargo, Cargo::Block(block) if blocks.contains(&block));
            job.to != from || !is_named
        });
    }

    pub(super) fn on_list_request(&mut self, from: PeerId, block: BlockId, now: Instant) {
        let Some(film) = &self.film else { return };
        let Some(part) = film.part_of(block).filter(|part| film.is_described(part.id)) else { return };
        let (cargo, len) = (Cargo::Descriptor(part.id), part.descriptor_len);
        self.queue(Job { to: from, cargo, class: Class::Push, len, due: now }, now);
    }

    /// Lines up a page of the index, if it is here.
    pub(super) fn queue_index(&mut self, to: PeerId, page: PageId, now: Instant) {
        let Some(len) = self.film.as_ref().and_then(|film| film.page_len(page)) else { return };
        self.queue(Job { to, cargo: Cargo::Index(page), class: Class::Push, len, due: now }, now);
    }

    /// Who gets the catalog from us begins at the film's beginning, most likely.
    pub(in crate::peer) fn queue_first_pages(&mut self, to: PeerId, now: Instant) {
        let Some(film) = &self.film else { return };
        let first = |track| PageId { epoch: film.epoch(), track, page: 0 };
        let pages: Vec<PageId> = film.reels().iter().map(|reel| first(reel.track)).collect();
        for page in pages {
            self.queue_index(to, page, now);
        }
    }

    /// Watches how much the uplink bears.
    pub(super) fn watch_film_uplink(&mut self, now: Instant) {
        if self.config.role == Role::Server || now < self.due.uploads_at {
            return;
        }
        self.due.uploads_at = now + WATCH_INTERVAL;
        let sent = Sent {
            len: self.counts.egress_len,
            backlog: self.backlog() as u64,
            block_len: BLOCK_LEN_LIMIT as u64,
            is_held_back: self.pacer.is_held_back(),
        };
        if self.uplink.sample(sent, now) {
            self.pacer.set_estimate(self.uplink.rate(), self.burst_len(), now);
        }
    }

    /// The server tells who holds what is asked for, now and then.
    fn tell_holders(&mut self, asker: PeerId, blocks: &[BlockId], now: Instant) {
        if self.config.role == Role::Viewer {
            return;
        }
        let Some(film) = &mut self.film else { return };
        let part = blocks.first().and_then(|block| film.part_of(*block)).map(|part| part.id);
        let mut holders = part.map(|part| film.holders(part, asker)).unwrap_or_default();
        let source = film.source_mut(asker);
        if holders.is_empty() || source.hinted_at.is_some_and(|at| now.since(at) < HOLDERS_INTERVAL) {
            return;
        }
        source.hinted_at = Some(now);
        while holders.len() > HOLDERS_LIMIT {
            let index = usize::try_from(self.random_below(holders.len() as u64)).unwrap_or(0);
            holders.swap_remove(index);
        }
        self.send_control(asker, Control::Holders { peers: holders }, now);
    }

    /// Whether one more block would be sent soon enough: who cannot send declines at once. The server first sends what
    /// few others can, and brings nothing into the swarm that is there.
    fn may_serve(&self, asker: PeerId, block: BlockId, within: Duration) -> bool {
        let is_spare = within >= SPARE_WITHIN;
        let is_common = self.config.role == Role::Server && self.is_common(asker, block);
        let limit = if is_spare || is_common { SPARE_QUEUE_LIMIT } else { QUEUE_LIMIT };
        !(is_spare && is_common) && self.has_room(limit)
    }

    /// Whether enough viewers hold the part of this block.
    fn is_common(&self, asker: PeerId, block: BlockId) -> bool {
        let Some(film) = &self.film else { return false };
        film.part_of(block).is_some_and(|part| film.holders(part.id, asker).len() >= SEED_LIMIT)
    }

    /// Whether what waits takes the uplink no longer than this.
    fn has_room(&self, limit: Duration) -> bool {
        let Some(rate) = self.pacer.rate() else { return true };
        // The server's sockets are many, and its budget is less than they bear.
        let backlog = if self.config.role == Role::Server { 0 } else { self.backlog() };
        let waiting = self.pacer.waiting_len() + backlog;
        // One block waits behind nothing on the slowest uplink, too.
        rate.0 > 0 && (waiting < BLOCK_LEN_LIMIT + FRAME_LEN || waiting as u64 <= rate.bytes_in(limit))
    }

    fn backlog(&self) -> usize {
        self.neighbours.iter().map(|(_, link)| link.backlog).sum()
    }
}
