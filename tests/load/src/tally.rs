//! What was measured.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Counts and times of one run, from the end of its warm-up on.
#[derive(Debug)]
pub(crate) struct Tally {
    since: Instant,
    pub(crate) n_replies: u64,
    pub(crate) n_offers: u64,
    pub(crate) n_answers: u64,
    pub(crate) n_failures: u64,
    latencies: Vec<Duration>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            n_replies: 0,
            n_offers: 0,
            n_answers: 0,
            n_failures: 0,
            latencies: Vec::new(),
        }
    }

    pub(crate) fn reply(&mut self, asked_at: Instant) {
        self.n_replies += 1;
        self.latencies.push(asked_at.elapsed());
    }

    /// As one line for programs: rates by the second, latency in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    pub(crate) fn finish(mut self, what: &str) -> Value {
        let seconds = self.since.elapsed().as_secs_f64();
        let rate = |n: u64| (n as f64 / seconds).round();
        self.latencies.sort_unstable();
        let quantile = |percent: usize| {
            let index = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
            let latency = self.latencies.get(index).copied().unwrap_or_default();
            (latency.as_secs_f64() * 1e5).round() / 100.0
        };
        json!({
            "what": what,
            "replies_per_s": rate(self.n_replies),
            "offers_per_s": rate(self.n_offers),
            "answers_per_s": rate(self.n_answers),
            "useful_per_s": rate(self.n_replies + self.n_offers + self.n_answers),
            "failures": self.n_failures,
            "p50_ms": quantile(50),
            "p99_ms": quantile(99),
        })
    }
}
