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
        // As if the bucket had been filled from empty to the brim, at most.
        let earliest = Instant::now().checked_sub(rates.fill_time(rates.depth_len)).unwrap_or(*empty_at);
        let refilled_from = (*empty_at).max(earliest);
        let len = len as u64;
        tokio::time::sleep_until(refilled_from + rates.fill_time(len.min(rates.depth_len))).await;
        *empty_at = refilled_from + rates.fill_time(len);
    }
}

impl Rates {
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
    async fn no_limit_never_waits() {
        let gate = Gate::new(RateLimit::UNLIMITED);
        let began_at = Instant::now();
        for _ in 0..1000 {
            gate.pass(1_000_000).await;
        }
        assert_eq!(began_at.elapsed(), Duration::ZERO);
    }
}
