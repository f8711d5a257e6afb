//! Counts what really went into the sockets, so that the egress budget can be checked from outside.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time over which rates are taken.
pub const WINDOW: Duration = Duration::from_secs(1);
const N_BUCKETS: usize = 20;
const BUCKET_MS: u128 = WINDOW.as_millis() / N_BUCKETS as u128;

/// Bytes that were sent to viewers, framing of WebSocket messages included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Egress {
    /// In the last [`WINDOW`].
    pub bits_per_second: u64,
    /// In the busiest [`WINDOW`] since the tracker began.
    pub max_bits_per_second: u64,
    /// Bytes since the tracker began.
    pub total_len: u64,
}

/// A sliding window of [`N_BUCKETS`] buckets.
#[derive(Debug)]
pub(crate) struct Meter {
    began_at: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    buckets: [u64; N_BUCKETS],
    /// Number of the newest bucket since the meter began; it comes first in `buckets`.
    newest: u128,
    max_len: u64,
    total_len: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { began_at: Instant::now(), state: Mutex::default() }
    }
}

impl Meter {
    /// Notes bytes sent now.
    pub(crate) fn record(&self, len: u64) {
        let bucket = self.began_at.elapsed().as_millis() / BUCKET_MS;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).record(bucket, len);
    }

    pub(crate) fn read(&self) -> Egress {
        let bucket = self.began_at.elapsed().as_millis() / BUCKET_MS;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).read(bucket)
    }
}

impl State {
    fn record(&mut self, bucket: u128, len: u64) {
        self.advance(bucket);
        let [first, ..] = &mut self.buckets;
        *first += len;
        self.total_len += len;
        self.max_len = self.max_len.max(self.sum());
    }

    fn read(&mut self, bucket: u128) -> Egress {
        self.advance(bucket);
        Egress {
            bits_per_second: self.sum() * 8,
            max_bits_per_second: self.max_len * 8,
            total_len: self.total_len,
        }
    }

    /// Moves the window on: the newest bucket is always the first.
    fn advance(&mut self, bucket: u128) {
        let passed = usize::try_from(bucket.saturating_sub(self.newest)).unwrap_or(usize::MAX).min(N_BUCKETS);
        self.buckets.rotate_right(passed);
        self.buckets.iter_mut().take(passed).for_each(|bucket| *bucket = 0);
        self.newest = self.newest.max(bucket);
    }

    fn sum(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_is_remembered_and_the_present_one_forgotten() {
        let mut state = State::default();
        state.record(0, 1000);
        state.record(19, 500);
        assert_eq!(state.read(19).bits_per_second, 12_000);
        state.record(20, 100);
        let egress = state.read(20);
        assert_eq!((egress.bits_per_second, egress.max_bits_per_second), (4_800, 12_000));
        let egress = state.read(1_000_000);
        assert_eq!((egress.bits_per_second, egress.max_bits_per_second, egress.total_len), (0, 12_000, 1600));
    }

    #[test]
    fn a_burst_across_buckets_counts_whole() {
        let mut state = State::default();
        for bucket in 100..120 {
            state.record(bucket, 10);
        }
        assert_eq!(state.read(119).max_bits_per_second, 1600);
    }
}
