//! What the server knows of the viewers' room, so that it can send those it does not feed where there is some.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cardume_wire::link::UNKNOWN_AGE;
use cardume_wire::{PeerId, STRIPE_COUNT, Stripe, TrackSet};

use crate::Instant;
use crate::neighbours::Status;
use crate::uploads::Claim;

/// Viewers among which a suggestion is drawn: near enough to the best, and not always the same, as a pair may be unable
/// to connect.
const DRAWN_FROM: usize = 4;
/// A suggestion takes a slot of the suggested for so long, or until it says that somebody came.
const PROMISED_FOR: Duration = Duration::from_secs(3);
/// Milliseconds from capture at which a path is short enough for somebody who feeds nobody.
pub(crate) const LEAF_RANK: u16 = 800;
/// Who asked in vain is told of room for so long; then it asks again.
const WAITING_FOR: Duration = Duration::from_secs(2);
/// Those who wait for a stripe at most: the joiners of a flash crowd of thousands a second.
const WAITING_LIMIT: usize = 4096;
/// Somebody who waits for so long is sent to viewers who are at home elsewhere.
const ABROAD_AFTER: Duration = Duration::from_millis(800);

/// The viewers by their room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    entries: BTreeMap<PeerId, Entry>,
    /// By stripe, those with a free slot.
    roomy: [BTreeSet<Place>; STRIPE_COUNT as usize],
    /// By home stripe, those with room for one that feeds others, or with a child that would give way to it.
    yielding: [BTreeSet<Place>; STRIPE_COUNT as usize],
    /// By home stripe, those with a child that would give way to one that contributes anything.
    idling: [BTreeSet<Place>; STRIPE_COUNT as usize],
    /// When promises end, and whose.
    promised: VecDeque<(Instant, PeerId)>,
    /// By stripe, those who asked in vain, and when; the first is served first.
    waiting: [VecDeque<(Instant, Search)>; STRIPE_COUNT as usize],
}

/// A viewer in the order in which it is suggested for a stripe: at home before abroad, then the shortest path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    is_abroad: bool,
    /// Milliseconds from capture to a child.
    rank: u16,
    peer: PeerId,
    /// The tracks that it can push, as bits.
    tracks: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    status: Status,
    /// When each slot that was promised to somebody was so.
    promised: VecDeque<Instant>,
}

impl Entry {
    fn n_promised(&self) -> u16 {
        u16::try_from(self.promised.len()).unwrap_or(u16::MAX)
    }
}

/// Whom somebody looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    pub(crate) asker: PeerId,
    pub(crate) stripe: Stripe,
    /// Of these tracks.
    pub(crate) tracks: TrackSet,
    /// Whose place the asker may take: that of those with less.
    pub(crate) claim: Claim,
    /// Milliseconds that the path may have at most.
    pub(crate) age_limit: u16,
}

impl Directory {
    /// Takes what a viewer says of its place.
    pub(crate) fn update(&mut self, peer: PeerId, status: Status) {
        let n_used = |status: Status| status.slots.saturating_sub(status.free);
        let mut promised = VecDeque::new();
        if let Some(before) = self.replace(peer, None) {
            let n_came = n_used(status).saturating_sub(n_used(before.status));
            promised = before.promised;
            promised.drain(..usize::from(n_came).min(promised.len()));
        }
        self.replace(peer, Some(Entry { status, promised }));
    }

    /// The viewer is gone.
    pub(crate) fn remove(&mut self, peer: PeerId) {
        self.replace(peer, None);
        for waiting in &mut self.waiting {
            waiting.retain(|(_, search)| search.asker != peer);
        }
    }

    /// A viewer with room, each time another; `draw(n)` is a random number below `n`.
    pub(crate) fn suggest(
        &mut self,
        search: Search,
        now: Instant,
        draw: impl FnOnce(u64) -> u64,
    ) -> Option<PeerId> {
        self.expire(now);
        let able = self.candidates(search);
        let index = usize::try_from(draw(able.len().max(1) as u64)).unwrap_or(0);
        let chosen = able.get(index).copied()?;
        self.promise(chosen, now);
        Some(chosen)
    }

    /// Somebody asked in vain and is to be told when there is room; who can feed others comes first.
    pub(crate) fn wait(&mut self, search: Search, now: Instant) {
        let waiting = &mut self.waiting[search.stripe.index()];
        waiting.retain(|(_, other)| other.asker != search.asker);
        if waiting.len() < WAITING_LIMIT && search.claim == Claim::Feeds {
            waiting.push_front((now, search));
        } else if waiting.len() < WAITING_LIMIT {
            waiting.push_back((now, search));
        }
    }

    /// Those who wait for what this viewer now has room for.
    pub(crate) fn relieve(&mut self, peer: PeerId, now: Instant) -> Vec<Search> {
        self.expire(now);
        let home = peer.home_stripe();
        let others = Stripe::all().filter(|stripe| *stripe != home);
        let mut relieved = Vec::new();
        for stripe in core::iter::once(home).chain(others) {
            while self.has_room(peer, stripe)
                && let Some(search) = self.take_waiting(peer, stripe, now)
            {
                self.promise(peer, now);
                relieved.push(search);
            }
        }
        relieved
    }

    fn take_waiting(&mut self, peer: PeerId, stripe: Stripe, now: Instant) -> Option<Search> {
        let tracks = self.entries.get(&peer)?.status.tracks;
        let waiting = &mut self.waiting[stripe.index()];
        waiting.retain(|(since, _)| now.since(*since) < WAITING_FOR);
        let patience = if stripe == peer.home_stripe() { Duration::ZERO } else { ABROAD_AFTER };
        let index = waiting.iter().position(|(since, search)| {
            let is_other = search.asker != peer && tracks.includes(search.tracks);
            is_other && now.since(*since) >= patience
        })?;
        waiting.remove(index).map(|(_, search)| search)
    }

    fn has_room(&self, peer: PeerId, stripe: Stripe) -> bool {
        self.entries.get(&peer).is_some_and(|entry| {
            entry.status.ages[stripe.index()] != UNKNOWN_AGE && entry.status.free > entry.n_promised()
        })
    }

    /// The nearest to the server for who feeds others; who does not gets the farthest that is near enough, as it would
    /// have to give way sooner or later. When nobody has room, those with less of a claim make some.
    fn candidates(&self, search: Search) -> Vec<PeerId> {
        let index = search.stripe.index();
        let is_able = |place: &&Place| {
            let is_other = place.peer != search.asker;
            is_other && place.rank <= search.age_limit && TrackSet(place.tracks).includes(search.tracks)
        };
        let first = |set: &BTreeSet<Place>| -> Vec<Place> {
            set.iter().filter(is_able).take(DRAWN_FROM).copied().collect()
        };
        let roomy = &self.roomy[index];
        let mut found = match search.claim {
            Claim::Feeds => first(&self.yielding[index]),
            Claim::Idle | Claim::Contributes => {
                let split =
                    Place { is_abroad: false, rank: LEAF_RANK, peer: PeerId::new(u64::MAX), tracks: 0 };
                let near = roomy.range(..=split).rev().filter(is_able);
                near.chain(roomy.range(split..).filter(is_able)).take(DRAWN_FROM).copied().collect()
            }
        };
        if found.is_empty() {
            found = match search.claim {
                Claim::Feeds => first(roomy),
                Claim::Contributes => first(&self.idling[index]),
                Claim::Idle => found,
            };
        }
        found.into_iter().map(|place| place.peer).collect()
    }

    fn promise(&mut self, peer: PeerId, now: Instant) {
        self.promised.push_back((now + PROMISED_FOR, peer));
        if let Some(mut entry) = self.replace(peer, None) {
            entry.promised.push_back(now);
            self.replace(peer, Some(entry));
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(_, peer)) = self.promised.front().filter(|(until, _)| *until <= now) {
            self.promised.pop_front();
            if let Some(mut entry) = self.replace(peer, None) {
                entry.promised.retain(|since| now.since(*since) < PROMISED_FOR);
                self.replace(peer, Some(entry));
            }
        }
    }

    /// Puts another entry in the place of a viewer's; returns the one that was there.
    fn replace(&mut self, peer: PeerId, entry: Option<Entry>) -> Option<Entry> {
        let before = self.entries.remove(&peer);
        if let Some(before) = &before {
            for stripe in Stripe::all() {
                let place = place(peer, before, stripe);
                self.roomy[stripe.index()].remove(&place);
                self.yielding[stripe.index()].remove(&place_of_feeder(place, before));
                self.idling[stripe.index()].remove(&place);
            }
        }
        if let Some(entry) = entry {
            self.insert(peer, entry);
        }
        before
    }

    fn insert(&mut self, peer: PeerId, entry: Entry) {
        for stripe in Stripe::all().filter(|stripe| entry.status.ages[stripe.index()] != UNKNOWN_AGE) {
            let place = place(peer, &entry, stripe);
            if entry.status.free > entry.n_promised() {
                self.roomy[stripe.index()].insert(place);
            }
            let room = entry.status.free.saturating_add(entry.status.yields);
            if !place.is_abroad && room > entry.n_promised() {
                self.yielding[stripe.index()].insert(place_of_feeder(place, &entry));
            }
            if !place.is_abroad && entry.status.idle > entry.n_promised() {
                self.idling[stripe.index()].insert(place);
            }
        }
        self.entries.insert(peer, entry);
    }
}

fn place(peer: PeerId, entry: &Entry, stripe: Stripe) -> Place {
    let rank = entry.status.ages[stripe.index()].saturating_add(entry.status.wait);
    let tracks = entry.status.tracks.0;
    Place { is_abroad: stripe != peer.home_stripe(), rank, peer, tracks }
}

/// The same for who feeds others: it waits only for its like, since leaves come after it.
fn place_of_feeder(place: Place, entry: &Entry) -> Place {
    let Status { slots, free, yields, wait, .. } = entry.status;
    let n_used = slots.saturating_sub(free);
    let n_before = n_used.saturating_sub(yields);
    let less = u32::from(wait) * u32::from(n_used - n_before) / (u32::from(n_used) + 1);
    Place { rank: place.rank.saturating_sub(u16::try_from(less).unwrap_or(u16::MAX)), ..place }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;

    /// At home in stripe 0, 1, 2, 3.
    const IDS: [PeerId; 4] = [PeerId::new(8), PeerId::new(9), PeerId::new(10), PeerId::new(11)];

    fn status(age: u16, free: u16, yields: u16) -> Status {
        let ages = [age; STRIPE_COUNT as usize];
        Status { slots: 8, free, ages, yields, wait: 0, idle: 0, tracks: TrackSet::ALL }
    }

    fn search(claim: Claim) -> Search {
        let (asker, stripe) = (PeerId::new(16), IDS[0].home_stripe());
        Search { asker, stripe, tracks: TrackSet::ALL, claim, age_limit: u16::MAX }
    }

    fn first(directory: &mut Directory, search: Search, at_ms: u64) -> Option<PeerId> {
        let now = Instant::from_micros(at_ms * 1000);
        directory.suggest(search, now, |_| 0)
    }

    #[test]
    fn the_one_at_home_with_the_shortest_path_comes_first() {
        let mut directory = Directory::default();
        directory.update(IDS[1], status(300, 2, 0));
        directory.update(IDS[0], status(700, 2, 0));
        assert_eq!(first(&mut directory, search(Claim::Idle), 0), Some(IDS[0]));
    }

    #[test]
    fn a_promised_slot_is_free_again_when_nobody_came() {
        let mut directory = Directory::default();
        directory.update(IDS[0], status(300, 1, 0));
        assert_eq!(first(&mut directory, search(Claim::Idle), 0), Some(IDS[0]));
        assert_eq!(first(&mut directory, search(Claim::Idle), 100), None);
        assert_eq!(first(&mut directory, search(Claim::Idle), 3_100), Some(IDS[0]));
    }

    #[test]
    fn who_feeds_others_is_sent_to_the_full_too() {
        let mut directory = Directory::default();
        directory.update(IDS[0], status(300, 0, 1));
        assert_eq!(first(&mut directory, search(Claim::Idle), 0), None);
        assert_eq!(first(&mut directory, search(Claim::Feeds), 0), Some(IDS[0]));
    }

    #[test]
    fn a_promise_is_kept_when_the_promised_one_shows() {
        let mut directory = Directory::default();
        directory.update(IDS[0], status(300, 2, 0));
        assert_eq!(first(&mut directory, search(Claim::Idle), 0), Some(IDS[0]));
        directory.update(IDS[0], status(300, 1, 0));
        assert_eq!(first(&mut directory, search(Claim::Idle), 100), Some(IDS[0]), "one came, one is free");
        assert_eq!(first(&mut directory, search(Claim::Idle), 200), None);
    }

    #[test]
    fn who_feeds_others_goes_to_the_front_and_leaves_to_the_back() {
        let mut directory = Directory::default();
        directory.update(IDS[0], status(300, 1, 0));
        directory.update(PeerId::new(24), status(LEAF_RANK - 1, 1, 0));
        directory.update(PeerId::new(32), status(LEAF_RANK + 1, 1, 0));
        assert_eq!(first(&mut directory, search(Claim::Contributes), 0), Some(PeerId::new(24)));
        assert_eq!(first(&mut directory, search(Claim::Feeds), 0), Some(IDS[0]));
        assert_eq!(first(&mut directory, search(Claim::Contributes), 0), Some(PeerId::new(32)));
    }

    #[test]
    fn who_contributes_takes_the_place_of_the_idle_and_only_theirs() {
        let mut directory = Directory::default();
        directory.update(IDS[0], Status { idle: 1, ..status(300, 0, 1) });
        assert_eq!(first(&mut directory, search(Claim::Idle), 0), None);
        assert_eq!(first(&mut directory, search(Claim::Contributes), 0), Some(IDS[0]));
        assert_eq!(first(&mut directory, search(Claim::Contributes), 0), None, "it was promised");
    }

    #[test]
    fn who_asked_in_vain_is_told_of_room_once_and_those_who_feed_others_first() {
        let mut directory = Directory::default();
        let leaf = search(Claim::Idle);
        let feeder = Search { asker: PeerId::new(40), ..search(Claim::Feeds) };
        directory.wait(leaf, Instant::default());
        directory.wait(feeder, Instant::default());
        directory.update(IDS[0], status(300, 1, 0));
        let mut relieved = |free| {
            directory.update(IDS[0], status(300, free, 0));
            let relieved = directory.relieve(IDS[0], Instant::default());
            relieved.into_iter().map(|search| search.asker).collect::<Vec<_>>()
        };
        assert_eq!(relieved(1), [feeder.asker]);
        assert_eq!(relieved(1), [], "the slot is promised");
        assert_eq!(relieved(2), [leaf.asker]);
        assert_eq!(relieved(4), []);
    }

    #[test]
    fn who_waited_too_long_or_left_is_told_nothing() {
        let mut directory = Directory::default();
        let leaf = search(Claim::Idle);
        directory.wait(leaf, Instant::default());
        directory.update(IDS[0], status(300, 1, 0));
        assert!(directory.relieve(IDS[0], Instant::default() + WAITING_FOR).is_empty());
        directory.wait(leaf, Instant::default());
        directory.remove(leaf.asker);
        assert!(directory.relieve(IDS[0], Instant::default()).is_empty());
    }

    #[test]
    fn one_is_sent_only_to_those_who_get_the_same_tracks() {
        let (low, high) = (TrackSet(0b011), TrackSet(0b110));
        let mut directory = Directory::default();
        directory.update(IDS[0], Status { tracks: low, ..status(300, 1, 1) });
        let wanting = |tracks| Search { tracks, ..search(Claim::Feeds) };
        assert_eq!(first(&mut directory, wanting(high), 0), None);
        directory.wait(wanting(high), Instant::default());
        assert!(directory.relieve(IDS[0], Instant::default()).is_empty());
        assert_eq!(first(&mut directory, wanting(low), 0), Some(IDS[0]));
    }

    #[test]
    fn nobody_is_sent_to_himself_to_the_gone_or_to_longer_paths_than_asked() {
        let mut directory = Directory::default();
        directory.update(IDS[0], status(300, 1, 0));
        assert_eq!(first(&mut directory, Search { asker: IDS[0], ..search(Claim::Feeds) }, 0), None);
        assert_eq!(first(&mut directory, Search { age_limit: 299, ..search(Claim::Feeds) }, 0), None);
        directory.remove(IDS[0]);
        assert_eq!(first(&mut directory, search(Claim::Feeds), 0), None);
    }
}
