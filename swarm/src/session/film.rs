//! Films in a session: their index, and at the server their parts, which are read when somebody asks for them.

use bytes::Bytes;
use cardume_media::{Film, IndexError, IndexedPart, Inserted, PartId};
use cardume_wire::{PeerId, WallTime};

use super::reading::{Reading, Waiting};
use super::{Event, Session};
use crate::{Input, Instant, Offence, Outgoing, PartFacts, Role};

impl Session {
    /// Begins a film (server role), as [`cardume_media::FilmMaker`] made it; a broadcast that is on ends. Its parts are
    /// asked for by [`Event::Read`]. An epoch that is not newer leaves everything as it is.
    pub fn start_film(&mut self, film: &Film, now: Instant) {
        if !matches!(self.store.insert_catalog(&film.catalog_bytes), Ok(Inserted::New)) {
            return;
        }
        self.publisher = None;
        self.reading = Reading::default();
        self.catalog_is_new(now);
        for page in &film.pages {
            // Our own pages are what our own catalog names.
            let _ = self.take_index(None, page, now);
        }
    }

    /// Takes what an [`Event::Read`] asked for, or `None` when it cannot be read. False when it is not what the film was
    /// made of: nobody gets it then.
    pub fn part_read(&mut self, part: PartId, media: Option<&Bytes>) -> bool {
        let is_right = media.is_some_and(|media| self.store.restore(part, media));
        for waiting in self.reading.done(part) {
            self.send(waiting.to, &waiting.message);
        }
        if is_right {
            let len = media.map_or(0, Bytes::len);
            self.reading.keep(part, len).into_iter().for_each(|old| self.store.evict(old));
        }
        self.read_on();
        is_right
    }

    pub(super) fn receive_index(&mut self, from: PeerId, body: &[u8], now: Instant) {
        if self.take_index(Some(from), body, now).is_err() {
            self.input(Input::Offence { from, kind: Offence::WrongSignature }, now);
        }
    }

    /// Takes a page of a film's index; fails when the catalog proves it wrong.
    fn take_index(&mut self, from: Option<PeerId>, body: &[u8], now: Instant) -> Result<(), IndexError> {
        match self.store.insert_index(body) {
            Ok((Inserted::New, page)) => {
                let parts = page.parts.iter().filter_map(|part| self.indexed_facts(part)).collect();
                self.input(Input::Index { from, page: page.id, parts }, now);
                Ok(())
            }
            Ok(_) | Err(IndexError::Unknown) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What the peer needs of a part of a film; `None` if its track is not in the catalog.
    fn indexed_facts(&self, part: &IndexedPart) -> Option<PartFacts> {
        let timescale = self.store.catalog()?.track(part.part.track)?.timescale;
        Some(PartFacts {
            id: part.part,
            first_block: part.first_block,
            n_blocks: part.n_blocks(),
            len: part.len,
            start_us: part.start.to_micros(timescale),
            end_us: part.end().to_micros(timescale),
            captured_at: WallTime(0),
            is_independent: part.is_independent,
            descriptor_len: part.descriptor_len() + 1,
        })
    }

    /// Sends what is of a part that has to be read first.
    pub(super) fn send_when_read(&mut self, to: PeerId, message: Outgoing) {
        let part = match message {
            Outgoing::Descriptor(part) => Some(part),
            Outgoing::Block(block) => self.store.indexed_part_of(block),
            _ => None,
        };
        if let Some(part) = part.filter(|_| self.role == Role::Server) {
            self.reading.wait(part, Waiting { to, message });
            self.read_on();
        }
    }

    fn read_on(&mut self) {
        while let Some(part) = self.reading.next() {
            self.events.push_back(Event::Read { part });
        }
    }
}
