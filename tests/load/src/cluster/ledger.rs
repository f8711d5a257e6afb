//! What the viewers of one run saw, phase by phase.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cardume_wire::{Epoch, PeerId};
use serde_json::{Value, json};

/// An offer that neither came nor came back within this is lost; younger ones belong to the next phase.
const OFFER_LIMIT: Duration = Duration::from_secs(4);

/// Sums and times since the phase began.
#[derive(Debug)]
pub(super) struct Ledger {
    began_at: Instant,
    /// Who has been let in.
    entered: BTreeSet<usize>,
    /// Per viewer that takes media, when a part last became whole, and the longest time without one.
    viewers: Vec<Watched>,
    /// From a socket's end to the next welcome.
    returns: Vec<Duration>,
    /// The newest broadcast that anybody heard of, and when.
    newest: Option<(Epoch, Instant)>,
    offers: Offers,
    pub(super) n_wrong: u64,
}

/// What became of offers.
#[derive(Debug, Default)]
struct Offers {
    /// Of which nothing is known yet, by number.
    open: BTreeMap<u64, Offer>,
    /// Of all phases.
    n_made: u64,
    n_arrived: u64,
    /// The viewer was told that nobody is there.
    n_returned: u64,
    /// The viewer's own socket ended: it knows that what it sent last may not have left.
    n_void: u64,
    n_lost: u64,
}

#[derive(Debug)]
struct Offer {
    viewer: usize,
    to: PeerId,
    at: Instant,
}

impl Offers {
    fn close(&mut self, is_meant: impl Fn(&Offer) -> bool) -> u64 {
        self.open.extract_if(.., |_, offer| is_meant(offer)).count() as u64
    }

    fn settle(&mut self) {
        self.n_lost += self.close(|offer| offer.at.elapsed() >= OFFER_LIMIT);
    }

    fn turn_page(&mut self) {
        *self = Self { open: std::mem::take(&mut self.open), n_made: self.n_made, ..Self::default() };
    }
}

#[derive(Debug, Clone, Default)]
struct Watched {
    last_at: Option<Instant>,
    longest: Duration,
}

impl Ledger {
    pub(super) fn new(n_viewers: usize) -> Self {
        Self {
            began_at: Instant::now(),
            entered: BTreeSet::new(),
            viewers: vec![Watched::default(); n_viewers],
            returns: Vec::new(),
            newest: None,
            offers: Offers::default(),
            n_wrong: 0,
        }
    }

    /// Begins another phase; who was without media stays so.
    pub(super) fn turn_page(&mut self) {
        let viewers = self.viewers.iter();
        let viewers = viewers.map(|watched| Watched { longest: Duration::ZERO, ..*watched }).collect();
        self.offers.turn_page();
        let (offers, newest) = (std::mem::take(&mut self.offers), self.newest);
        *self = Self { viewers, newest, offers, ..Self::new(0) };
    }

    /// A viewer hears of a broadcast.
    pub(super) fn broadcast_came(&mut self, epoch: Epoch) {
        if self.newest.is_none_or(|(newest, _)| newest < epoch) {
            self.newest = Some((epoch, Instant::now()));
        }
    }

    /// When the newest broadcast was first heard of.
    pub(super) fn newest_at(&self) -> Option<Instant> {
        self.newest.map(|(_, at)| at)
    }

    /// A viewer makes an offer: the number that it carries.
    pub(super) fn offer_made(&mut self, viewer: usize, to: PeerId) -> u64 {
        self.offers.n_made += 1;
        self.offers.open.insert(self.offers.n_made, Offer { viewer, to, at: Instant::now() });
        self.offers.n_made
    }

    /// Somebody has it.
    pub(super) fn offer_came(&mut self, number: u64) {
        if self.offers.open.remove(&number).is_some() {
            self.offers.n_arrived += 1;
        }
    }

    /// A viewer hears that nobody is there.
    pub(super) fn offer_returned(&mut self, viewer: usize, to: PeerId) {
        self.offers.n_returned += self.offers.close(|offer| (offer.viewer, offer.to) == (viewer, to));
    }

    /// A viewer's socket ended.
    pub(super) fn socket_ended(&mut self, viewer: usize) {
        self.offers.n_void += self.offers.close(|offer| offer.viewer == viewer);
    }

    /// A viewer is let in.
    pub(super) fn came_in(&mut self, viewer: usize) {
        self.entered.insert(viewer);
    }

    /// How many have been let in since the phase began.
    pub(super) fn n_entered(&self) -> usize {
        self.entered.len()
    }

    /// Where a viewer stands that has seen anything.
    pub(super) fn part_came(&mut self, viewer: usize) {
        let now = Instant::now();
        let watched = &mut self.viewers[viewer];
        if let Some(last_at) = watched.last_at.replace(now) {
            watched.longest = watched.longest.max(now.duration_since(last_at));
        }
    }

    pub(super) fn came_back(&mut self, after: Duration) {
        self.returns.push(after);
    }

    pub(super) fn n_watching(&self) -> usize {
        self.viewers.iter().filter(|watched| watched.last_at.is_some()).count()
    }

    /// How many have seen something since then.
    pub(super) fn n_watching_since(&self, since: Instant) -> usize {
        self.viewers.iter().filter(|watched| watched.last_at.is_some_and(|at| at > since)).count()
    }

    /// One line of the report: milliseconds, and how many were without media for longer than the buffer lasts.
    pub(super) fn finish(&mut self, phase: &str, buffer: Duration) -> Value {
        let now = Instant::now();
        let gap = |watched: &Watched| {
            let open = watched.last_at.map_or(Duration::MAX, |at| now.duration_since(at));
            watched.longest.max(open)
        };
        let mut gaps: Vec<Duration> = self.viewers.iter().map(gap).collect();
        let mut returns = self.returns.clone();
        gaps.sort_unstable();
        returns.sort_unstable();
        self.offers.settle();
        let Offers { n_arrived, n_returned, n_void, n_lost, .. } = self.offers;
        json!({
            "phase": phase,
            "seconds": self.began_at.elapsed().as_secs(),
            "n_returned": returns.len(),
            "return_p50_ms": quantile(&returns, 50),
            "return_p99_ms": quantile(&returns, 99),
            "gap_p50_ms": quantile(&gaps, 50),
            "gap_p99_ms": quantile(&gaps, 99),
            "gap_max_ms": quantile(&gaps, 100),
            "n_over_buffer": gaps.iter().filter(|gap| **gap > buffer).count(),
            "offers": n_arrived + n_returned + n_void + n_lost,
            "offers_returned": n_returned,
            "offers_void": n_void,
            "offers_lost": n_lost,
            "wrong": self.n_wrong,
        })
    }
}

pub(super) fn quantile(sorted: &[Duration], percent: usize) -> Option<u64> {
    let index = (sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?);
    u64::try_from(sorted.get(index)?.as_millis()).ok()
}
