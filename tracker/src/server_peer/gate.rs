//! The egress limit once more, at the sockets.
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
const BURST_LEN: u64 = (BLOCK_LEN_LIMIT + BLOCK_HEADER_LEN + 16) as u64;

/// A token bucket over all links of a tracker. A full bucket and a second of filling together are the limit, so that
/// any second stays within it.
#[derive(Debug)]
pub(super) struct Gate {
    rates: Option<Rates>,
    /// When the bucket was, or will be, empty. A fair lock: who comes first passes first.
    empty_at: Mutex<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Rates {
    bytes_per_second: u64,
    depth_len: u64,
}

impl Gate {
    pub(super) fn new(limit: RateLimit) -> Self {
        let rates = limit.bits_per_second().map(|bits| {
            let limit_len = (bits / 8).max(2);
            let depth_len = BURST_LEN.min(limit_len / 2);
            Rates { bytes_per_second: limit_len - depth_len, depth_len }
        });
        Self { rates, empty_at: Mutex::new(Instant::now()) }
    }

    /// Waits until this many bytes may go.
    pub(super) async fn pass(&self, len: usize) {
        let Some(rates) = self.rates else { return };
        let mut empty_at = self.empty_at.lock().await;
        let len = len as u64;
        tokio::time::sleep_until(*empty_at + rates.fill_time(len.min(rates.depth_len))).await;
        // Taken at the time it really is: on a busy machine that is later than was slept for.
        *empty_at = rates.empty_after(len, *empty_at, Instant::now());
    }
}

impl Rates {
    /// When the bucket is empty again after this much was taken out of it: what had not fitted in is lost.
    fn empty_after(self, len: u64, empty_at: Instant, now: Instant) -> Instant {
        let if_full = now.checked_sub(self.fill_time(self.depth_len)).unwrap_or(empty_at);
        empty_at.max(if_full) + self.fill_time(len)
    }

    fn fill_time(self, len: u64) -> Duration {
        let nanos = u128::from(len) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn what_piled_up_passes_no_faster_than_the_limit() {
        let gate = Arc::new(Gate::new(RateLimit::new(2_400_000)));
        // Idle time saves up one burst and no more.
        tokio::time::advance(Duration::from_mins(1)).await;
        let began_at = Instant::now();
        let mut passed = Vec::new();
        for _ in 0..100 {
            gate.pass(16_000).await;
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
        let gate = Arc::new(Gate::new(RateLimit::new(2_400_000)));
        tokio::time::advance(Duration::from_mins(1)).await;
        gate.pass(16_000).await;
        let late = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.pass(16_000).await }
        });
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(500)).await;
        late.await.unwrap();
        let woken_at = Instant::now();
        gate.pass(16_000).await;
        assert!(woken_at.elapsed() >= Duration::from_millis(50), "{:?}", woken_at.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_never_waits() {
        let gate = Gate::new(RateLimit::UNLIMITED);
        let began_at = Instant::now();
        for _ in 0..1000 {
            gate.pass(1_000_000).await;
        }
        assert_eq!(began_at.elapsed(), Duration::ZERO);
    }
}
