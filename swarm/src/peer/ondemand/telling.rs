//! What neighbours are told of what we hold.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use cardume_wire::link::{Control, HAVE_TRACK_LIMIT, TrackBlocks, TrackParts};
use cardume_wire::{BlockNumber, PeerId};

use super::super::Peer;
use crate::Instant;
use crate::bits::bitmaps;
use crate::film::{Film, News, Reel};

/// Between two words to neighbours on parts that are whole now, or gone: a part or two of a film each time.
const NEWS_INTERVAL: Duration = Duration::from_secs(1);
/// The same while there are single blocks of rare parts to tell of.
const RARE_NEWS_INTERVAL: Duration = Duration::from_millis(400);

/// What became of which parts, by track and sequence.
type Parts = BTreeMap<(usize, u32), News>;
/// Single blocks, by track and number.
type Blocks = BTreeSet<(usize, BlockNumber)>;

impl Peer {
    /// Tells new neighbours what we hold, and all of them what changed.
    pub(super) fn tell_parts(&mut self, now: Instant) {
        // The server, too: it tells others who holds what.
        let neighbours: Vec<PeerId> = self.reach(now).into_keys().collect();
        let Some(film) = &mut self.film else { return };
        let interval = if film.has_rare_news() { RARE_NEWS_INTERVAL } else { NEWS_INTERVAL };
        let is_due = now.since(film.told_at) >= interval;
        let (parts, blocks) =
            if is_due { (film.take_news(), film.take_rare_news()) } else { (Parts::new(), Blocks::new()) };
        if is_due {
            film.told_at = now;
        }
        let mut words: Vec<(PeerId, Control)> = Vec::new();
        for peer in neighbours {
            let is_new = !core::mem::replace(&mut film.source_mut(peer).is_told, true);
            let (parts, blocks) = if is_new { all_of(film) } else { news_for(film, peer, &parts, &blocks) };
            let blocks = if peer.is_server() { Blocks::new() } else { blocks };
            let of_peer = words_on_parts(film, &parts).into_iter().chain(words_on_blocks(film, &blocks));
            words.extend(of_peer.map(|word| (peer, word)));
        }
        for (peer, word) in words {
            self.send_control(peer, word, now);
        }
    }
}

fn all_of(film: &Film) -> (Parts, Blocks) {
    let of_reel = |(place, reel): (usize, &Reel)| {
        let whole = reel.shelf.whole().map(move |sequence| ((place, sequence), News::Whole));
        whole.collect::<Vec<_>>()
    };
    (film.reels().iter().enumerate().flat_map(of_reel).collect(), film.rare_blocks())
}

/// Who holds something itself does not need to know that we do, too.
fn news_for(film: &Film, peer: PeerId, parts: &Parts, blocks: &Blocks) -> (Parts, Blocks) {
    let Some(source) = film.source(peer) else { return (Parts::new(), Blocks::new()) };
    let has_whole = |place: usize, sequence: u32| source.has_whole(place, sequence);
    let has = |place: usize, number: BlockNumber| {
        let part = film.reels().get(place).and_then(|reel| reel.part_of(number));
        part.is_some_and(|part| has_whole(place, part.id.sequence)) || source.has_block(place, number.0)
    };
    let is_news = |(part, what): &(&(usize, u32), &News)| **what == News::Gone || !has_whole(part.0, part.1);
    let parts = parts.iter().filter(is_news).map(|(part, what)| (*part, *what));
    let blocks = blocks.iter().filter(|(place, number)| !has(*place, *number)).copied();
    (parts.collect(), blocks.collect())
}

/// The messages that tell of these parts.
fn words_on_parts(film: &Film, parts: &Parts) -> Vec<Control> {
    let maps = |what: News| -> Vec<TrackParts> {
        let of_reel = |(place, reel): (usize, &Reel)| {
            let of_this = parts.iter().filter(|((at, _), is)| *at == place && **is == what);
            let sequences: Vec<u32> = of_this.map(|((_, sequence), _)| *sequence).collect();
            let maps = bitmaps(reel.track, &sequences).into_iter();
            maps.map(|map| TrackParts { track: map.track, first: map.first.0, bits: map.bits })
        };
        film.reels().iter().enumerate().flat_map(of_reel).collect()
    };
    let (whole, gone) = (maps(News::Whole), maps(News::Gone));
    let n = whole.len().max(gone.len()).div_ceil(HAVE_TRACK_LIMIT);
    let some = |all: &[TrackParts], index: usize| {
        all.chunks(HAVE_TRACK_LIMIT).nth(index).map(<[TrackParts]>::to_vec).unwrap_or_default()
    };
    let epoch = film.epoch();
    let word = |index| Control::HaveParts { epoch, whole: some(&whole, index), gone: some(&gone, index) };
    (0..n).map(word).collect()
}

/// The messages that tell of these blocks.
fn words_on_blocks(film: &Film, blocks: &Blocks) -> Vec<Control> {
    let of_reel = |(place, reel): (usize, &Reel)| {
        let numbers: Vec<u32> =
            blocks.iter().filter(|(at, _)| *at == place).map(|(_, number)| number.0).collect();
        bitmaps(reel.track, &numbers)
    };
    let maps: Vec<TrackBlocks> = film.reels().iter().enumerate().flat_map(of_reel).collect();
    let word = |tracks: &[TrackBlocks]| Control::Have { epoch: film.epoch(), tracks: tracks.to_vec() };
    maps.chunks(HAVE_TRACK_LIMIT).map(word).collect()
}
