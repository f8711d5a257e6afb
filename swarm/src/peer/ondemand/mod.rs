//! A film: nothing is pushed, everything is pulled, and neighbours tell each other which parts they hold whole.

mod playing;
mod serving;
mod telling;

use core::time::Duration;
use std::collections::BTreeMap;

use cardume_media::{INDEX_PAGE_PARTS, PageId};
use cardume_wire::link::{Control, REQUEST_LIMIT};
use cardume_wire::{BlockId, PeerId};

use super::Peer;
use crate::film::{Film, Moment, Orders, Reach, Sender};
use crate::neighbours::Neighbour;
use crate::{Input, Instant, Output, PartFacts, ReelFacts, Role};

/// A page of the index that did not come within this is asked for again.
const INDEX_PATIENCE: Duration = Duration::from_millis(1500);

/// Peers told of, and connected to, at a time, as holders of what is asked for.
const HOLDERS_LIMIT: usize = 3;

impl Peer {
    /// Begins a broadcast: a film when it has reels.
    pub(super) fn begin_film(&mut self, reels: &[ReelFacts], now: Instant) {
        let epoch = self.window.epoch().filter(|_| !reels.is_empty());
        self.film = None;
        if let Some(epoch) = epoch {
            let salt = self.random_below(u64::MAX);
            let mut film = Film::new(epoch, reels, self.config.role, salt);
            // Who sent the catalog sends the first pages, too.
            for reel in film.reels_mut() {
                reel.page_asked(0, PeerId::SERVER, now + INDEX_PATIENCE);
            }
            self.film = Some(film);
            self.playhead.watch_from(0);
            self.due.tick_at = now;
        }
    }

    /// Takes what happened to a film, while one is on; gives back what all broadcasts have in common.
    pub(super) fn record_on_demand(&mut self, input: Input, now: Instant) -> Option<Input> {
        if self.film.is_none() {
            return Some(input);
        }
        if let Some(link) = sender(&input).and_then(|from| self.neighbours.get_mut(from)) {
            link.heard_at = now;
        }
        match input {
            Input::Control { from, control } => {
                let control = self.on_demand_control(from, control, now)?;
                return Some(Input::Control { from, control });
            }
            Input::Index { page, parts, .. } => self.on_index(page, parts, now),
            Input::Descriptor { part, .. } => self.on_list(&part),
            Input::Block { from, block } => self.on_film_block(from, block, now),
            Input::BlockUseless { len, .. } => self.counts.duplicate_len += len as u64,
            Input::BlockUnverifiable { .. } => {}
            Input::Player(state) => self.on_film_player(&state, now),
            other => return Some(other),
        }
        None
    }

    /// Looks at everything that only time changes.
    pub(super) fn tend_film(&mut self, now: Instant) {
        self.watch_film_uplink(now);
        if self.config.role == Role::Server {
            return;
        }
        self.ask_index(now);
        self.tell_parts(now);
        self.give(now);
        self.plan_film(now);
    }

    /// What a lost link was asked for is missing again.
    pub(super) fn forget_source(&mut self, peer: PeerId) {
        if let Some(film) = &mut self.film {
            film.forget_source(peer);
        }
    }

    /// Whether a neighbour owes us something of a film.
    pub(super) fn is_source(&self, peer: PeerId) -> bool {
        let source = self.film.as_ref().and_then(|film| film.source(peer));
        source.is_some_and(|source| source.n_asked() > 0)
    }

    /// A control message of a greeted neighbour that films understand in their own way; others come back.
    fn on_demand_control(&mut self, from: PeerId, control: Control, now: Instant) -> Option<Control> {
        if !self.neighbours.get(from)?.is_greeted {
            return Some(control);
        }
        match control {
            Control::Request { blocks, within_ms } => self.on_film_request(from, &blocks, within_ms, now),
            Control::Cancel { blocks } => self.on_film_cancel(from, &blocks),
            Control::Missing { blocks } => self.on_film_missing(from, &blocks, now),
            Control::RequestDescriptor { block } => self.on_list_request(from, block, now),
            Control::Holders { peers } => self.on_holders(from, &peers, now),
            Control::RequestIndex { epoch, track, page } => {
                self.queue_index(from, PageId { epoch, track, page }, now);
            }
            Control::HaveParts { epoch, whole, gone } => {
                if let Some(film) = self.film.as_mut().filter(|film| film.epoch() == epoch) {
                    film.heard(from, &whole, &gone);
                }
            }
            Control::Have { epoch, tracks } => {
                if let Some(film) = self.film.as_mut().filter(|film| film.epoch() == epoch) {
                    film.heard_blocks(from, &tracks);
                }
            }
            Control::Subscribe { .. }
            | Control::Accept { .. }
            | Control::Refuse { .. }
            | Control::Unsubscribe { .. }
            | Control::Status { .. } => {}
            other => return Some(other),
        }
        None
    }

    fn on_index(&mut self, page: PageId, parts: Vec<PartFacts>, now: Instant) {
        if let Some(film) = &mut self.film {
            film.insert_page(page, parts);
        }
        let state = self.playhead.state().cloned().unwrap_or_default();
        self.follow(&state, now);
        self.plan_film(now);
    }

    fn on_list(&mut self, part: &PartFacts) {
        let is_wanted = self.film.as_mut().is_some_and(|film| film.described(part.id));
        if !is_wanted {
            self.outputs.push_back(Output::EvictPart { part: part.id });
        }
    }

    fn on_film_block(&mut self, from: Option<PeerId>, block: BlockId, now: Instant) {
        let (Some(peer), Some(film)) = (from, &mut self.film) else { return };
        let Some(part) = film.part_of(block).map(|part| part.id) else { return };
        let rtt = self.neighbours.get(peer).map_or(Duration::ZERO, Neighbour::rtt_or_guess);
        let Some(arrived) = film.arrived(Sender { peer, rtt }, block, now) else {
            self.outputs.push_back(Output::EvictPart { part });
            return;
        };
        self.account_film_block(peer, arrived.len);
        if let Some(other) = arrived.others {
            self.send_control(other, Control::Cancel { blocks: vec![block] }, now);
        }
        if arrived.is_whole {
            self.give(now);
            self.evict_film(now);
        }
    }

    fn on_film_missing(&mut self, from: PeerId, blocks: &[BlockId], now: Instant) {
        if let Some(film) = &mut self.film {
            for block in blocks {
                film.declined(from, *block, now);
            }
        }
    }

    /// The server knows who holds what we asked for: an idle neighbour gives way to them.
    fn on_holders(&mut self, from: PeerId, peers: &[PeerId], now: Instant) {
        if self.config.role == Role::Server || !from.is_server() {
            return;
        }
        for &peer in peers.iter().take(HOLDERS_LIMIT) {
            if self.neighbours.is_full(&self.config) {
                self.make_room(now);
            }
            if self.neighbours.connect(peer, &self.config, now) {
                self.outputs.push_back(Output::Connect { peer });
            }
        }
    }

    fn account_film_block(&mut self, from: PeerId, len: usize) {
        if from.is_server() {
            self.counts.from_server_len += len as u64;
        } else {
            self.counts.from_peers_len += len as u64;
        }
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.received_len += len as u64;
        }
    }

    /// Asks for what is wanted.
    pub(super) fn plan_film(&mut self, now: Instant) {
        if self.config.role == Role::Server {
            return;
        }
        let (moment, reach) = (self.moment(now), self.suppliers(now));
        let Some(film) = &mut self.film else { return };
        let orders = film.plan(&moment, &reach);
        self.carry_out(orders, now);
    }

    fn carry_out(&mut self, orders: Orders, now: Instant) {
        let mut cancels: BTreeMap<PeerId, Vec<BlockId>> = BTreeMap::new();
        for (of, block) in orders.cancels {
            cancels.entry(of).or_default().push(block);
        }
        for (of, blocks) in cancels {
            for blocks in blocks.chunks(REQUEST_LIMIT) {
                self.send_control(of, Control::Cancel { blocks: blocks.to_vec() }, now);
            }
        }
        for (of, block) in orders.lists {
            self.send_control(of, Control::RequestDescriptor { block }, now);
        }
        self.counts.n_requested += orders.requests.len() as u64;
        let mut requests: BTreeMap<(PeerId, u16), Vec<BlockId>> = BTreeMap::new();
        for (of, block, within) in orders.requests {
            let within_ms = u16::try_from(within.as_millis()).unwrap_or(u16::MAX);
            requests.entry((of, within_ms)).or_default().push(block);
        }
        for ((of, within_ms), blocks) in requests {
            for blocks in blocks.chunks(REQUEST_LIMIT) {
                let request = Control::Request { blocks: blocks.to_vec(), within_ms: Some(within_ms) };
                self.send_control(of, request, now);
            }
        }
    }

    fn moment(&self, now: Instant) -> Moment {
        Moment { now, position_us: self.playhead.position(now).unwrap_or(0) }
    }

    /// Round trips to the neighbours that know the film and answer.
    fn reach(&self, now: Instant) -> Reach {
        let epoch = self.film.as_ref().map(Film::epoch);
        let able = self
            .neighbours
            .iter()
            .filter(|(peer, link)| link.is_greeted && link.epoch == epoch && !self.is_silent(*peer, now));
        able.map(|(peer, link)| (peer, link.rtt_or_guess())).collect()
    }

    /// Of these, whom to ask for media.
    fn suppliers(&self, now: Instant) -> Reach {
        self.reach(now).into_iter().filter(|(peer, _)| self.may_bring_media(*peer)).collect()
    }

    /// Asks for the pages of the index: first the one that is on screen.
    fn ask_index(&mut self, now: Instant) {
        let moment = self.moment(now);
        let reach = self.suppliers(now);
        let Some(film) = &self.film else { return };
        let epoch = film.epoch();
        let reels = film.reels().iter().enumerate();
        let lacking: Vec<(usize, u16)> = reels
            .filter_map(|(place, reel)| Some((place, reel.page_to_ask(moment.position_us, now)?)))
            .collect();
        for (place, page) in lacking {
            let holders: Vec<PeerId> =
                reach.keys().copied().filter(|peer| self.has_of_page(*peer, place, page)).collect();
            let choice = usize::try_from(self.random_below(holders.len() as u64)).unwrap_or(0);
            let server = reach.contains_key(&PeerId::SERVER).then_some(PeerId::SERVER);
            let Some(of) = holders.get(choice).copied().or(server) else { continue };
            let Some(reel) = self.film.as_mut().and_then(|film| film.reels_mut().get_mut(place)) else {
                return;
            };
            reel.page_asked(page, of, now + INDEX_PATIENCE);
            let track = reel.track;
            self.send_control(of, Control::RequestIndex { epoch, track, page }, now);
        }
    }

    /// Whether a neighbour holds a part of this page, and so the page.
    fn has_of_page(&self, peer: PeerId, place: usize, page: u16) -> bool {
        let Some(source) = self.film.as_ref().and_then(|film| film.source(peer)) else { return false };
        let n = u32::try_from(INDEX_PAGE_PARTS).unwrap_or(u32::MAX);
        let first = u32::from(page).saturating_mul(n);
        (first..first.saturating_add(n)).any(|sequence| source.has_whole(place, sequence))
    }
}

/// Who sent what happened, if it came over a link.
fn sender(input: &Input) -> Option<PeerId> {
    match input {
        Input::Control { from, .. }
        | Input::BlockUseless { from, .. }
        | Input::BlockUnverifiable { from, .. } => Some(*from),
        Input::Descriptor { from, .. } | Input::Index { from, .. } | Input::Block { from, .. } => *from,
        _ => None,
    }
}
