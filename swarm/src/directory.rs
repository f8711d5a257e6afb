//! What the server knows of the viewers' room, so that it can send those it does not feed where there is some.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cardume_wire::link::UNKNOWN_AGE;
use cardume_wire::{PeerId, STRIPE_COUNT, Stripe};

use crate::Instant;
use crate::neighbours::Status;

/// Viewers with the shortest paths among which a suggestion is drawn: near enough to the best, and not always the
/// same, as a pair may be unable to connect.
const DRAWN_FROM: usize = 4;
/// Milliseconds from capture at which a path is short enough for somebody who feeds nobody.
const LEAF_RANK: u16 = 800;
/// A suggestion takes a slot of the suggested for so long: by then its own Status says who came.
const RESERVED_FOR: Duration = Duration::from_secs(3);
/// Milliseconds that a viewer counts as later outside its home stripe: it should spend its uplink at home.
pub(crate) const ABROAD_MS: u16 = 500;

/// The viewers by their room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    entries: BTreeMap<PeerId, Entry>,
    /// By stripe, those with a free slot, the shortest path first.
    roomy: [BTreeSet<(u16, PeerId)>; STRIPE_COUNT as usize],
    /// By home stripe, those with a child that would give way to one that feeds others.
    yielding: [BTreeSet<(u16, PeerId)>; STRIPE_COUNT as usize],
    /// Slots promised, and until when.
    reserved: VecDeque<(Instant, PeerId)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    status: Status,
    n_reserved: u16,
}

/// Whom somebody looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    pub(crate) asker: PeerId,
    pub(crate) stripe: Stripe,
    /// Whether the asker can feed others in this stripe: then it may take the place of one that cannot.
    pub(crate) feeds: bool,
    /// Milliseconds that the path may have at most.
    pub(crate) age_limit: u16,
}

impl Directory {
    /// Takes what a viewer says of its place.
    pub(crate) fn update(&mut self, peer: PeerId, status: Status) {
        let n_reserved = self.entries.get(&peer).map_or(0, |entry| entry.n_reserved);
        self.replace(peer, Some(Entry { status, n_reserved }));
    }

    /// The viewer is gone.
    pub(crate) fn remove(&mut self, peer: PeerId) {
        self.replace(peer, None);
    }

    /// Up to `limit` viewers with room, each time others; `draw(n)` is a random number below `n`.
    pub(crate) fn suggest(
        &mut self,
        search: Search,
        limit: usize,
        now: Instant,
        mut draw: impl FnMut(u64) -> u64,
    ) -> Vec<PeerId> {
        self.expire(now);
        let mut able = self.candidates(search);
        let mut chosen = Vec::new();
        while chosen.len() < limit && !able.is_empty() {
            let index = usize::try_from(draw(able.len() as u64)).unwrap_or(0);
            chosen.push(able.swap_remove(index));
        }
        for &peer in &chosen {
            self.reserved.push_back((now + RESERVED_FOR, peer));
            self.reserve(peer, |n| n.saturating_add(1));
        }
        chosen
    }

    /// The nearest to the server for who feeds others; who does not gets the farthest that is near enough, as it would
    /// have to give way sooner or later.
    fn candidates(&self, search: Search) -> Vec<PeerId> {
        let index = search.stripe.index();
        let is_able = |(rank, peer): &&(u16, PeerId)| *rank <= search.age_limit && *peer != search.asker;
        let roomy = &self.roomy[index];
        if !search.feeds {
            let split = (LEAF_RANK, PeerId::new(u64::MAX));
            let near = roomy.range(..=split).rev().filter(is_able);
            let far = roomy.range(split..).filter(is_able);
            return near.chain(far).take(DRAWN_FROM).map(|(_, peer)| *peer).collect();
        }
        let first = |set: &BTreeSet<(u16, PeerId)>| -> Vec<(u16, PeerId)> {
            set.iter().filter(is_able).take(DRAWN_FROM).copied().collect()
        };
        let mut found = first(roomy);
        found.extend(first(&self.yielding[index]));
        found.sort_unstable();
        found.dedup();
        found.into_iter().take(DRAWN_FROM).map(|(_, peer)| peer).collect()
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(_, peer)) = self.reserved.front().filter(|(until, _)| *until <= now) {
            self.reserved.pop_front();
            self.reserve(peer, |n| n.saturating_sub(1));
        }
    }

    fn reserve(&mut self, peer: PeerId, change: impl FnOnce(u16) -> u16) {
        if let Some(entry) = self.entries.get(&peer).copied() {
            self.replace(peer, Some(Entry { n_reserved: change(entry.n_reserved), ..entry }));
        }
    }

    fn replace(&mut self, peer: PeerId, entry: Option<Entry>) {
        if let Some(before) = self.entries.remove(&peer) {
            for stripe in Stripe::all() {
                let key = (rank(peer, &before, stripe), peer);
                self.roomy[stripe.index()].remove(&key);
                self.yielding[stripe.index()].remove(&key);
            }
        }
        let Some(entry) = entry else { return };
        self.entries.insert(peer, entry);
        for stripe in Stripe::all().filter(|stripe| entry.status.ages[stripe.index()] != UNKNOWN_AGE) {
            let key = (rank(peer, &entry, stripe), peer);
            if entry.status.free > entry.n_reserved {
                self.roomy[stripe.index()].insert(key);
            }
            let room = entry.status.free.saturating_add(entry.status.yields);
            if stripe == peer.home_stripe() && entry.status.yields > 0 && room > entry.n_reserved {
                self.yielding[stripe.index()].insert(key);
            }
        }
    }
}

fn rank(peer: PeerId, entry: &Entry, stripe: Stripe) -> u16 {
    let abroad = if stripe == peer.home_stripe() { 0 } else { ABROAD_MS };
    entry.status.ages[stripe.index()].saturating_add(entry.status.wait).saturating_add(abroad)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At home in stripe 0, 1, 2, 3.
    const IDS: [PeerId; 4] = [PeerId::new(4), PeerId::new(5), PeerId::new(6), PeerId::new(7)];

    fn status(age: u16, free: u16, yields: u16) -> Status {
        Status { slots: 8, free, ages: [age; 4], yields, wait: 0 }
    }

    fn search(feeds: bool) -> Search {
        Search { asker: PeerId::new(8), stripe: IDS[0].home_stripe(), feeds, age_limit: u16::MAX }
    }

    fn first(directory: &mut Directory, search: Search, at_ms: u64) -> Option<PeerId> {
        let now = Instant::from_micros(at_ms * 1000);
        directory.suggest(search, 1, now, |_| 0).first().copied()
    }

    #[test]
    fn the_one_at_home_with_the_shortest_path_comes_first() {
        let mut directory = Directory::default();
        directory.update(IDS[1], status(300, 2, 0));
        directory.update(IDS[0], status(700, 2, 0));
        assert_eq!(first(&mut directory, search(false), 0), Some(IDS[0]));
        directory.update(IDS[0], status(900, 2, 0));
        assert_eq!(first(&mut directory, search(false), 0), Some(IDS[1]), "abroad counts half a second");
    }

    #[test]
    fn a_promised_slot_is_free_again_when_nobody_came() {
        let mut directory = Directory::default();
        directory.update(IDS[0], status(300, 1, 0));
        assert_eq!(first(&mut directory, search(false), 0), Some(IDS[0]));
        assert_eq!(first(&mut directory, search(false), 100), None);
        assert_eq!(first(&mut directory, search(false), 3_100), Some(IDS[0]));
    }

    #[test]
    fn who_feeds_others_is_sent_to_the_full_too() {
        let mut directory = Directory::default();
        directory.update(IDS[0], status(300, 0, 1));
        assert_eq!(first(&mut directory, search(false), 0), None);
        assert_eq!(first(&mut directory, search(true), 0), Some(IDS[0]));
    }

    #[test]
    fn nobody_is_sent_to_himself_to_the_gone_or_to_longer_paths_than_asked() {
        let mut directory = Directory::default();
        directory.update(IDS[0], status(300, 1, 0));
        assert_eq!(first(&mut directory, Search { asker: IDS[0], ..search(true) }, 0), None);
        assert_eq!(first(&mut directory, Search { age_limit: 299, ..search(true) }, 0), None);
        directory.remove(IDS[0]);
        assert_eq!(first(&mut directory, search(true), 0), None);
    }
}
