//! What the viewers of one run saw, phase by phase.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Sums and times since the phase began.
#[derive(Debug)]
pub(super) struct Ledger {
    began_at: Instant,
    /// Per viewer, when a part last became whole, and the longest time without one.
    viewers: Vec<Watched>,
    /// From a socket's end to the next welcome.
    returns: Vec<Duration>,
    pub(super) n_offers: u64,
    pub(super) n_offers_arrived: u64,
    /// Offers of which the viewer was told that nobody is there.
    pub(super) n_offers_returned: u64,
    pub(super) n_wrong: u64,
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
            viewers: vec![Watched::default(); n_viewers],
            returns: Vec::new(),
            n_offers: 0,
            n_offers_arrived: 0,
            n_offers_returned: 0,
            n_wrong: 0,
        }
    }

    /// Begins another phase; who was without media stays so.
    pub(super) fn turn_page(&mut self) {
        let viewers = self.viewers.iter();
        let viewers = viewers.map(|watched| Watched { longest: Duration::ZERO, ..*watched }).collect();
        *self = Self { viewers, ..Self::new(0) };
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
    pub(super) fn finish(&self, phase: &str, buffer: Duration) -> Value {
        let now = Instant::now();
        let gap = |watched: &Watched| {
            let open = watched.last_at.map_or(Duration::MAX, |at| now.duration_since(at));
            watched.longest.max(open)
        };
        let mut gaps: Vec<Duration> = self.viewers.iter().map(gap).collect();
        let mut returns = self.returns.clone();
        gaps.sort_unstable();
        returns.sort_unstable();
        let lost = self.n_offers.saturating_sub(self.n_offers_arrived + self.n_offers_returned);
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
            "offers": self.n_offers,
            "offers_returned": self.n_offers_returned,
            "offers_lost": lost,
            "wrong": self.n_wrong,
        })
    }
}

fn quantile(sorted: &[Duration], percent: usize) -> Option<u64> {
    let index = (sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?);
    u64::try_from(sorted.get(index)?.as_millis()).ok()
}
