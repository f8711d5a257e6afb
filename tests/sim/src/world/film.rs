//! What a film has in place of a live broadcast: all is there at once, pages of an index, viewers that go elsewhere.

use cardume_media::{INDEX_PAGE_PARTS, PageId, index_page_len};
use cardume_swarm::{Input, PartFacts, ReelFacts};
use cardume_wire::{BlockId, BlockNumber, Epoch, PeerId, WallTime};

use super::{Event, World, index_of};
use crate::broadcast::{Broadcast, micros};
use crate::library::TRACK_COUNT;

/// Bytes of an unsigned descriptor's message before its hashes.
const LIST_FIXED_LEN: usize = 11;
const HASH_LEN: usize = 16;

impl World {
    /// The server has the whole film.
    pub(super) fn begin_film(&mut self, mut broadcast: Broadcast) {
        let Some(film) = self.scenario.film.clone() else { return };
        let mut catalog = broadcast.catalog();
        self.library.begin(catalog.epoch);
        self.nodes[0].store.begin(catalog.epoch);
        for _ in 0..micros(film.length) / micros(self.scenario.stream.part) {
            for part in broadcast.next(&mut self.rng) {
                self.keep_part(of_film(part));
            }
        }
        let reel = |place: usize| {
            let parts = self.library.parts(place);
            let first = parts.first()?.facts;
            let starts = parts.iter().step_by(INDEX_PAGE_PARTS).map(|part| part.facts.start_us);
            let n_parts = u32::try_from(parts.len()).ok()?;
            Some(ReelFacts { track: first.id.track, n_parts, page_starts_us: starts.collect() })
        };
        catalog.reels = (0..TRACK_COUNT).filter_map(reel).collect();
        self.catalog = Some(catalog.clone());
        let pages: Vec<PageId> =
            catalog.reels.iter().flat_map(|reel| pages_of(reel, catalog.epoch)).collect();
        self.input(PeerId::SERVER, Input::Catalog(catalog));
        for page in pages {
            self.index_arrived(None, PeerId::SERVER, page);
        }
    }

    fn keep_part(&mut self, part: PartFacts) {
        self.library.publish(part, self.now);
        let store = &mut self.nodes[0].store;
        store.insert_part(&part);
        for number in (part.first_block.0..).take(part.n_blocks as usize).map(BlockNumber) {
            let block = BlockId { epoch: part.id.epoch, track: part.id.track, number };
            store.insert_block(PeerId::SERVER, block, Some(&part), true);
        }
    }

    /// A page of the index gets to a node; known ones are nothing new, as in a session.
    pub(super) fn index_arrived(&mut self, from: Option<PeerId>, to: PeerId, page: PageId) {
        let parts = self.page_parts(page);
        let node = &mut self.nodes[index_of(to)];
        if node.store.epoch == Some(page.epoch) && node.pages.insert(page) {
            self.input(to, Input::Index { from, page, parts });
        }
    }

    /// Bytes of a page's message.
    pub(super) fn index_len(&self, page: PageId) -> usize {
        1 + index_page_len(self.page_parts(page).len())
    }

    fn page_parts(&self, page: PageId) -> Vec<PartFacts> {
        let parts = self.library.parts(usize::from(page.track.0)).chunks(INDEX_PAGE_PARTS);
        let parts = parts.into_iter().nth(usize::from(page.page)).unwrap_or_default();
        parts.iter().map(|part| part.facts).collect()
    }

    /// A viewer's element begins to play a film as soon as it can.
    pub(super) fn watch_film(&mut self, id: PeerId) {
        if let Some(film) = &self.scenario.film {
            let end = micros(film.length);
            self.nodes[index_of(id)].player.watch(end);
        }
    }

    /// Arms a viewer's next seek, when it is one of those who do.
    pub(super) fn schedule_seek(&mut self, id: PeerId) {
        let seeks = self.scenario.film.as_ref().and_then(|film| film.seeks.clone());
        if let Some(seeks) = seeks.filter(|_| self.population().seeks(id)) {
            let wait = self.exponential(micros(seeks.interval));
            self.schedule(self.now + wait, Event::Seek(id));
        }
    }

    /// A viewer that sees the picture goes anywhere in the film.
    pub(super) fn seek(&mut self, id: PeerId) {
        let now = self.now;
        let length = self.scenario.film.as_ref().map_or(0, |film| micros(film.length));
        let to = self.below(length);
        let Some(node) = self.live(id) else { return };
        if node.player.started_at().is_some() {
            node.player.go_to(to, now);
            let state = node.player.state(now);
            self.input(id, Input::Player(state));
        }
        self.schedule_seek(id);
    }
}

fn pages_of(reel: &ReelFacts, epoch: Epoch) -> impl Iterator<Item = PageId> + use<> {
    let (track, n_pages) = (reel.track, reel.page_starts_us.len());
    (0..).take(n_pages).map(move |page| PageId { epoch, track, page })
}

/// A part without what only live ones have.
fn of_film(part: PartFacts) -> PartFacts {
    let descriptor_len = LIST_FIXED_LEN + HASH_LEN * part.n_blocks as usize;
    PartFacts { captured_at: WallTime(0), descriptor_len, ..part }
}
