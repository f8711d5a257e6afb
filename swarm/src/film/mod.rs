//! A film as far as it is known: what there is, what is held, who holds what, and what to ask of whom.
//!
//! No streams and no providers as in the live overlay: everything is pulled. What plays next comes first and in order;
//! beyond it comes what is rarest among the neighbours, so that a swarm soon holds all of a film between its members.

mod plan;
mod reel;
mod shelf;
mod source;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use cardume_media::{PageId, PartId};
use cardume_wire::link::{HAVE_TRACK_LIMIT, TrackBlocks, TrackParts};
use cardume_wire::{BlockId, BlockNumber, Epoch, PeerId, TrackId};

pub(crate) use plan::{Moment, Orders, Reach, SPARE_WITHIN};
pub(crate) use reel::{Given, Reel};
pub(crate) use shelf::Block;
pub(crate) use source::Source;

use crate::{Instant, PartFacts, ReelFacts, Role};

/// Media that a viewer keeps of a film, for itself and for others: 5 minutes of 1 Mbit/s, which a tab on a phone can
/// bear. Below what the session's store takes, which is told of evictions a moment later.
const MEMORY: u64 = 40 * 1024 * 1024;
/// Parts of one track that are kept at most; below what the session's store takes.
const PART_LIMIT: usize = 400;
/// Media kept behind the playhead while there is anything else to evict, microseconds: people skip back by 10 s.
const KEEP_BEHIND: u64 = 12_000_000;

/// A part that fewer neighbours hold whole is exchanged block by block: where all watch the same, nobody has it whole
/// when it is needed.
const RARE: usize = 2;

/// The film of one broadcast.
#[derive(Clone, Debug)]
pub(crate) struct Film {
    epoch: Epoch,
    /// The broadcaster's own peer holds everything that the index has.
    is_complete: bool,
    reels: Vec<Reel>,
    sources: BTreeMap<PeerId, Source>,
    /// Bytes of media that are held.
    held_len: u64,
    /// Orders what is equally rare, differently for each viewer: so that they hold different parts soon.
    salt: u64,
    /// What neighbours have not been told yet, by track and sequence: whole now, or gone.
    news: BTreeMap<(usize, u32), News>,
    /// The same of single blocks, of parts that few neighbours hold whole: by track and number.
    rare_news: BTreeSet<(usize, BlockNumber)>,
    /// When they were last told.
    pub(crate) told_at: Instant,
}

/// What became of a part since neighbours were last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Whole,
    Gone,
}

/// Who sent a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) peer: PeerId,
    /// Round trip to it.
    pub(crate) rtt: Duration,
}

/// What a block's arrival changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Whom it was asked of, if it was and not of the sender: need not send it any more.
    pub(crate) others: Option<PeerId>,
    /// Bytes of its message.
    pub(crate) len: usize,
    /// Whether its part is whole now.
    pub(crate) is_whole: bool,
}

impl Film {
    /// The film with these tracks and nothing held; a server holds everything.
    pub(crate) fn new(epoch: Epoch, reels: &[ReelFacts], role: Role, salt: u64) -> Self {
        Self {
            epoch,
            is_complete: role == Role::Server,
            reels: reels.iter().take(HAVE_TRACK_LIMIT).map(Reel::new).collect(),
            sources: BTreeMap::new(),
            held_len: 0,
            salt,
            news: BTreeMap::new(),
            rare_news: BTreeSet::new(),
            told_at: Instant::default(),
        }
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The tracks in the catalog's order.
    pub(crate) fn reels(&self) -> &[Reel] {
        &self.reels
    }

    pub(crate) fn reels_mut(&mut self) -> &mut [Reel] {
        &mut self.reels
    }

    /// Takes a page of the index.
    pub(crate) fn insert_page(&mut self, id: PageId, parts: Vec<PartFacts>) {
        if let Some(reel) = self.place(id.epoch, id.track).and_then(|place| self.reels.get_mut(place)) {
            reel.insert_page(id.page, parts);
        }
    }

    /// Bytes of a page's message, if it is here.
    pub(crate) fn page_len(&self, id: PageId) -> Option<usize> {
        self.reel(id.epoch, id.track)?.page_len(id.page)
    }

    /// The part of a block, if its page is here.
    pub(crate) fn part_of(&self, block: BlockId) -> Option<&PartFacts> {
        self.reel(block.epoch, block.track)?.part_of(block.number)
    }

    /// Whether the part's list of block hashes is here.
    pub(crate) fn is_described(&self, id: PartId) -> bool {
        let Some(reel) = self.reel(id.epoch, id.track) else { return false };
        (self.is_complete && reel.part(id.sequence).is_some()) || reel.shelf.is_described(id.sequence)
    }

    /// Whether the block is here.
    pub(crate) fn holds(&self, block: BlockId) -> bool {
        let Some(reel) = self.reel(block.epoch, block.track) else { return false };
        let Some(part) = reel.part_of(block.number) else { return false };
        self.is_complete || reel.shelf.block(part, block.number) == Block::Held
    }

    /// A list of block hashes came; false when nobody wants it.
    pub(crate) fn described(&mut self, id: PartId) -> bool {
        let place = self.place(id.epoch, id.track);
        let reel = place.and_then(|place| self.reels.get_mut(place));
        reel.is_some_and(|reel| reel.shelf.described(id.sequence))
    }

    /// A block came, verified; `None` when nobody wants it, and it should be forgotten.
    pub(crate) fn arrived(&mut self, from: Sender, block: BlockId, now: Instant) -> Option<Arrived> {
        let place = self.place(block.epoch, block.track)?;
        let reel = self.reels.get_mut(place)?;
        let part = *reel.part_of(block.number)?;
        let before = reel.shelf.hold(&part, block.number)?;
        let is_whole = reel.shelf.close_if_whole(part.id.sequence);
        let len = part.message_len(block.number);
        self.held_len += len as u64;
        if is_whole {
            self.news.insert((place, part.id.sequence), News::Whole);
            self.rare_news.retain(|(at, number)| *at != place || !part.has_block(*number));
        } else if self.is_rare(place, part.id.sequence) {
            self.rare_news.insert((place, block.number));
        }
        let others = self.settle(from, before, now);
        Some(Arrived { others, len, is_whole })
    }

    /// A neighbour will not send a block that it was asked for.
    pub(crate) fn declined(&mut self, by: PeerId, block: BlockId, now: Instant) {
        let Some(reel) = self.place(block.epoch, block.track).and_then(|place| self.reels.get_mut(place))
        else {
            return;
        };
        let Some(part) = reel.part_of(block.number).copied() else { return };
        if reel.shelf.give_up(&part, block.number, by)
            && let Some(source) = self.sources.get_mut(&by)
        {
            source.declined(now);
        }
    }

    /// Who a neighbour is and what it holds, for those that speak of the same film.
    pub(crate) fn source(&self, peer: PeerId) -> Option<&Source> {
        self.sources.get(&peer)
    }

    /// The same, to change; made on first use.
    pub(crate) fn source_mut(&mut self, peer: PeerId) -> &mut Source {
        let lens = self.reels.iter().map(Reel::n_parts);
        self.sources.entry(peer).or_insert_with(|| Source::new(lens))
    }

    /// A neighbour is gone, and what it owed is missing again.
    pub(crate) fn forget_source(&mut self, peer: PeerId) {
        if self.sources.remove(&peer).is_some() {
            self.reels.iter_mut().for_each(|reel| reel.forget_source(peer));
        }
    }

    /// A neighbour says what it holds.
    pub(crate) fn heard(&mut self, peer: PeerId, whole: &[TrackParts], gone: &[TrackParts]) {
        for (all, is_held) in [(whole, true), (gone, false)] {
            for parts in all {
                let Some(place) = self.place(self.epoch, parts.track) else { continue };
                for sequence in parts.sequences() {
                    let part = self.reels[place].part(sequence).copied();
                    let source = self.source_mut(peer);
                    source.set_whole(place, sequence, is_held);
                    let blocks = part.and_then(|part| Some(part.first_block.0..part.end_block()?));
                    source.forget_blocks(place, blocks.unwrap_or_default());
                }
            }
        }
    }

    /// A neighbour says which blocks it holds of parts that are not whole.
    pub(crate) fn heard_blocks(&mut self, peer: PeerId, tracks: &[TrackBlocks]) {
        for blocks in tracks {
            let Some(place) = self.place(self.epoch, blocks.track) else { continue };
            let source = self.source_mut(peer);
            blocks.numbers().for_each(|number| source.set_block(place, number.0));
        }
    }

    /// Takes the single blocks that neighbours have not been told of yet.
    pub(crate) fn take_rare_news(&mut self) -> BTreeSet<(usize, BlockNumber)> {
        core::mem::take(&mut self.rare_news)
    }

    /// Whether there are single blocks to tell of.
    pub(crate) fn has_rare_news(&self) -> bool {
        !self.rare_news.is_empty()
    }

    /// Blocks that are held of parts that few hold whole.
    pub(crate) fn rare_blocks(&self) -> BTreeSet<(usize, BlockNumber)> {
        let reels = self.reels.iter().enumerate();
        let open = reels.flat_map(|(place, reel)| reel.shelf.held_of_open().map(move |held| (place, held)));
        let rare = open.filter(|(place, (sequence, _))| self.is_rare(*place, *sequence));
        rare.map(|(place, (_, number))| (place, number)).collect()
    }

    /// Whether neighbours do well to know of single blocks of the part.
    fn is_rare(&self, place: usize, sequence: u32) -> bool {
        self.n_holders(place, sequence) < RARE
    }

    /// Takes what neighbours have not been told of yet.
    pub(crate) fn take_news(&mut self) -> BTreeMap<(usize, u32), News> {
        core::mem::take(&mut self.news)
    }

    /// Gives up what does not fit, the commonest first and of these the farthest from the playhead; each as evicted.
    pub(crate) fn evict(&mut self, moment: &Moment) -> Vec<PartId> {
        let mut gone = Vec::new();
        while self.is_over()
            && let Some((place, sequence)) = self.most_dispensable(moment)
        {
            let reel = &mut self.reels[place];
            let Some(part) = reel.part(sequence).copied() else { break };
            for (of, _) in reel.shelf.give_up_where(|open, _, _| open == sequence) {
                self.sources.get_mut(&of).into_iter().for_each(Source::released);
            }
            self.held_len -= reel.shelf.drop_part(&part);
            self.news.insert((place, sequence), News::Gone);
            gone.push(PartId { epoch: self.epoch, track: reel.track, sequence });
        }
        gone
    }

    fn is_over(&self) -> bool {
        self.held_len > MEMORY || self.reels.iter().any(|reel| reel.shelf.len() > PART_LIMIT)
    }

    fn most_dispensable(&self, moment: &Moment) -> Option<(usize, u32)> {
        let position = moment.position_us;
        let kept = position.saturating_sub(KEEP_BEHIND)..position.saturating_add(plan::LOOK_AHEAD);
        let shelved = self.reels.iter().enumerate().flat_map(|(place, reel)| {
            reel.shelf.sequences().filter_map(move |sequence| Some((place, reel.part(sequence)?)))
        });
        let key = |(place, part): &(usize, &PartFacts)| {
            let is_outside = !kept.contains(&part.start_us);
            let n_holders = if is_outside { self.n_holders(*place, part.id.sequence) } else { 0 };
            (is_outside, n_holders, part.start_us.abs_diff(position), *place)
        };
        shelved.max_by_key(key).map(|(place, part)| (place, part.id.sequence))
    }

    /// Neighbours that hold all of a part, but for the server and one other.
    pub(crate) fn holders(&self, part: PartId, but: PeerId) -> Vec<PeerId> {
        let Some(place) = self.place(part.epoch, part.track) else { return Vec::new() };
        let others = self.sources.iter().filter(|(peer, _)| !peer.is_server() && **peer != but);
        let holders = others.filter(|(_, source)| source.has_whole(place, part.sequence));
        holders.map(|(peer, _)| *peer).collect()
    }

    /// Neighbours that hold all of a part, but for the server.
    fn n_holders(&self, place: usize, sequence: u32) -> usize {
        let viewers = self.sources.iter().filter(|(peer, _)| !peer.is_server());
        viewers.filter(|(_, source)| source.has_whole(place, sequence)).count()
    }

    /// A request is over as its block came: the neighbour's pace is known better. Gives whom else it was asked of.
    fn settle(&mut self, from: Sender, before: Block, now: Instant) -> Option<PeerId> {
        let Block::Asked { of, at, .. } = before else { return None };
        let source = self.sources.get_mut(&of)?;
        if of == from.peer {
            source.answered(at, from.rtt, now);
            return None;
        }
        source.released();
        Some(of)
    }

    fn place(&self, epoch: Epoch, track: TrackId) -> Option<usize> {
        self.reels.iter().position(|reel| reel.track == track).filter(|_| self.epoch == epoch)
    }

    fn reel(&self, epoch: Epoch, track: TrackId) -> Option<&Reel> {
        self.reels.get(self.place(epoch, track)?)
    }
}
