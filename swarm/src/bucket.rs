//! A limit that smooths what is sent.

use core::time::Duration;

use crate::time::micros;
use crate::{BitsPerSec, Instant};

/// A token bucket: its rate passes in the long run, and as much as it holds at once.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    /// Bytes per second.
    fill: i64,
    depth: i64,
    /// Millionths of bytes; below zero after control, which never waits.
    level: i128,
    filled_at: Instant,
}

const MILLION: i128 = 1_000_000;

impl Bucket {
    /// A bucket that lets this rate pass in the long run, and `burst` bytes at once.
    pub(crate) fn soft(rate: BitsPerSec, burst: usize, now: Instant) -> Self {
        let mut bucket =
            Self { fill: 0, depth: i64::try_from(burst).unwrap_or(i64::MAX), level: 0, filled_at: now };
        bucket.follow(rate, now);
        bucket
    }

    /// Another rate from now on, for a [`Bucket::soft`] one.
    pub(crate) fn follow(&mut self, rate: BitsPerSec, now: Instant) {
        self.refill(now);
        self.fill = i64::try_from(rate.0 / 8).unwrap_or(i64::MAX);
    }

    /// What passes in the long run.
    pub(crate) fn rate(&self) -> BitsPerSec {
        BitsPerSec(u64::try_from(self.fill).unwrap_or(0).saturating_mul(8))
    }

    /// Whether a message of this length may pass now.
    pub(crate) fn allows(&mut self, len: usize, now: Instant) -> bool {
        self.refill(now);
        self.level >= self.need(len)
    }

    /// When a message of this length may pass; `None` for never.
    pub(crate) fn allows_at(&self, len: usize) -> Option<Instant> {
        if self.fill <= 0 {
            return None;
        }
        let lacking = (self.need(len) - self.level).max(0);
        let wait = u64::try_from(lacking / i128::from(self.fill) + 1).unwrap_or(u64::MAX);
        Some(self.filled_at + Duration::from_micros(wait))
    }

    /// Takes the bytes of a message that goes.
    pub(crate) fn take(&mut self, len: usize, now: Instant) {
        self.refill(now);
        self.level -= i128::try_from(len).unwrap_or(i128::MAX / MILLION) * MILLION;
    }

    fn need(&self, len: usize) -> i128 {
        i128::try_from(len).unwrap_or(i128::MAX).min(i128::from(self.depth)) * MILLION
    }

    fn refill(&mut self, now: Instant) {
        let passed = i128::from(micros(now.since(self.filled_at)));
        self.filled_at = self.filled_at.max(now);
        self.level = (self.level + passed * i128::from(self.fill)).min(i128::from(self.depth) * MILLION);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_soft_one_lets_its_rate_pass_and_a_burst_more(
            rate in 400_000u64..20_000_000,
            waits in proptest::collection::vec(0u64..30_000, 200..400),
        ) {
            const BURST: usize = 20_000;
            const LEN: usize = 5_000;
            let (mut now, mut passed) = (Instant::default(), 0u64);
            let mut bucket = Bucket::soft(BitsPerSec(1), BURST, now);
            bucket.follow(BitsPerSec(rate), now);
            prop_assert_eq!(bucket.rate().0 / 8, rate / 8);
            let mut lost = 0;
            for wait in waits {
                // What flows over while the bucket is full is lost.
                lost += BitsPerSec(rate).bytes_in(Duration::from_micros(wait)).saturating_sub((BURST - LEN) as u64);
                now += Duration::from_micros(wait);
                while bucket.allows(LEN, now) {
                    bucket.take(LEN, now);
                    passed += LEN as u64;
                }
                let rated = BitsPerSec(rate).bytes_in(now.since(Instant::default()));
                prop_assert!(passed <= rated + LEN as u64, "{} of {}", passed, rated);
                prop_assert!(passed + lost + BURST as u64 >= rated, "{} of {}", passed, rated);
            }
        }

        #[test]
        fn what_has_to_wait_passes_when_it_says(limit in 400_000u64..20_000_000, lens in 1usize..16_500) {
            let mut bucket = Bucket::soft(BitsPerSec(limit), 2 * 16_500, Instant::default());
            let at = bucket.allows_at(lens).expect("it fills");
            prop_assert!(bucket.allows(lens, at));
        }
    }
}
