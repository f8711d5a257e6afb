//! The rate limit once more, at the sockets.
//!
//! Sessions decide what is worth sending and keep within the budget when they decide. But links that were stuck, or
//! a machine that was busy, would write later what was decided at several times: here nothing passes faster than the
//! limit allows, whatever piled up.

use std::time::Duration;

use cardume_wire::link::{BLOCK_HEADER_LEN, BLOCK_LEN_LIMIT};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::rate::RateLimit;

/// The longest message that passes without having to be saved up for: a block and its framing.
pub(super) const BURST_LEN: u64 = (BLOCK_LEN_LIMIT + BLOCK_HEADER_LEN + 16) as u64;
/// How soon somebody who waits hears that the limit has changed.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);
const NANOS: i128 = 1_000_000_000;

/// A token bucket. A full bucket and a second of filling together are the limit, so that any second stays within it.
#[derive(Debug)]
pub(super) struct Gate {
    /// A fair lock: who comes first passes first.
    bucket: Mutex<Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// What is in it, in billionths of a byte; negative after a message longer than the bucket is deep.
    level: i128,
    filled_at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Rates {
    bytes_per_second: u64,
    depth_len: u64,
}

impl Default for Gate {
    fn default() -> Self {
        Self { bucket: Mutex::new(Bucket { level: 0, filled_at: Instant::now() }) }
    }
}

impl Gate {
    /// Waits until this many bytes may go, under a limit that may change meanwhile.
    pub(super) async fn pass(&self, len: u64, limit: impl Fn() -> RateLimit) {
        let mut bucket = self.bucket.lock().await;
        while let Some(rates) = Rates::new(limit()) {
            // Filled at the time it really is: on a busy machine that is later than was slept for.
            bucket.fill(rates, Instant::now());
            let wait = bucket.time_until(len, rates);
            if wait.is_zero() {
                bucket.level -= i128::from(len) * NANOS;
                return;
            }
            tokio::time::sleep(wait.min(RECHECK_INTERVAL)).await;
        }
    }
}

impl Bucket {
    /// What does not fit in is lost.
    fn fill(&mut self, rates: Rates, now: Instant) {
        let nanos = i128::try_from(now.duration_since(self.filled_at).as_nanos()).unwrap_or(i128::MAX);
        let gained = nanos.saturating_mul(i128::from(rates.bytes_per_second));
        let depth = i128::from(rates.depth_len) * NANOS;
        (self.level, self.filled_at) = (self.level.saturating_add(gained).min(depth), now);
    }

    /// How long until this many bytes, or as many as fit, are in it.
    fn time_until(&self, len: u64, rates: Rates) -> Duration {
        let missing = i128::from(len.min(rates.depth_len)) * NANOS - self.level;
        let nanos = missing.max(0) / i128::from(rates.bytes_per_second.max(1));
        let is_short = missing > 0;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).saturating_add(u64::from(is_short)))
    }
}

impl Rates {
    fn new(limit: RateLimit) -> Option<Self> {
        let limit_len = (limit.bits_per_second()? / 8).max(2);
        let depth_len = BURST_LEN.min(limit_len / 2);
        Some(Self { bytes_per_second: limit_len - depth_len, depth_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const LIMIT: RateLimit = RateLimit::new(2_400_000);

    #[tokio::test(start_paused = true)]
    async fn what_piled_up_passes_no_faster_than_the_limit() {
        let gate = Arc::new(Gate::default());
        // Idle time saves up one burst and no more.
        tokio::time::advance(Duration::from_mins(1)).await;
        let began_at = Instant::now();
        let mut passed = Vec::new();
        for _ in 0..100 {
            gate.pass(16_000, || LIMIT).await;
            passed.push(began_at.elapsed());
        }
        for (index, start) in passed.iter().enumerate() {
            let in_a_second =
                passed[index..].iter().filter(|at| **at < *start + Duration::from_secs(1)).count();
            assert!(in_a_second * 16_000 * 8 <= 2_400_000, "{in_a_second} messages from {start:?}");
        }
        let rate = 100.0 * 16_000.0 * 8.0 / began_at.elapsed().as_secs_f64();
        assert!(rate > 2_200_000.0, "{rate} bit/s is far below the limit");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_wake_does_not_let_two_messages_pass_at_once() {
        let gate = Arc::new(Gate::default());
        tokio::time::advance(Duration::from_mins(1)).await;
        gate.pass(16_000, || LIMIT).await;
        let late = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.pass(16_000, || LIMIT).await }
        });
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(500)).await;
        late.await.unwrap();
        let woken_at = Instant::now();
        gate.pass(16_000, || LIMIT).await;
        assert!(woken_at.elapsed() >= Duration::from_millis(50), "{:?}", woken_at.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_under_a_low_limit_goes_on_when_it_is_raised() {
        let gate = Gate::default();
        let (began_at, raised_after) = (Instant::now(), Duration::from_mins(1));
        let limit =
            || if began_at.elapsed() < raised_after { RateLimit::new(8) } else { RateLimit::new(2_400_000) };
        gate.pass(16_000, limit).await;
        gate.pass(16_000, limit).await;
        let elapsed = began_at.elapsed();
        assert!(elapsed >= raised_after && elapsed < raised_after + Duration::from_secs(2), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_never_waits() {
        let gate = Gate::default();
        let began_at = Instant::now();
        for _ in 0..1000 {
            gate.pass(1_000_000, || RateLimit::UNLIMITED).await;
        }
        assert_eq!(began_at.elapsed(), Duration::ZERO);
    }
}
