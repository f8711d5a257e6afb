//! The rate limit once more, at the sockets.
//!
//! Sessions decide what is worth sending and keep within the budget when they decide. But links that were stuck, or
//! a machine that was busy, would write later what was decided at several times: here nothing passes faster than the
//! limit allows, whatever piled up.

use std::time::Duration;

use cardume_swarm::{BitsPerSec, RollingLimit};
use cardume_wire::link::{BLOCK_HEADER_LEN, BLOCK_LEN_LIMIT};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::rate::RateLimit;

/// The longest message that sessions send: a block and its framing.
pub(super) const BURST_LEN: u64 = (BLOCK_LEN_LIMIT + BLOCK_HEADER_LEN + 16) as u64;
/// How soon somebody who waits hears that the limit has changed.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Lets pass what any second has room for.
#[derive(Debug)]
pub(super) struct Gate {
    began_at: Instant,
    /// A fair lock: who comes first passes first.
    rolling: Mutex<RollingLimit>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { began_at: Instant::now(), rolling: Mutex::new(RollingLimit::new(BitsPerSec(0))) }
    }
}

impl Gate {
    /// Waits until this many bytes may go, under a limit that may change meanwhile.
    pub(super) async fn pass(&self, len: u64, limit: impl Fn() -> RateLimit) {
        let mut rolling = self.rolling.lock().await;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        while let Some(limit) = limit().bits_per_second() {
            rolling.set_limit(BitsPerSec(limit));
            // The time that it really is: on a busy machine that is later than was slept for.
            let now = cardume_swarm::Instant::default() + self.began_at.elapsed();
            let at = rolling.allows_at(len, now);
            if at == Some(now) {
                rolling.take(len, now);
                return;
            }
            let wait = at.map_or(RECHECK_INTERVAL, |at| at.since(now).min(RECHECK_INTERVAL));
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether this many bytes may go now; they are counted then. What waits comes first.
    pub(super) fn try_pass(&self, len: u64, limit: RateLimit) -> bool {
        let Some(limit) = limit.bits_per_second() else { return true };
        let Ok(mut rolling) = self.rolling.try_lock() else { return false };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        rolling.set_limit(BitsPerSec(limit));
        let now = cardume_swarm::Instant::default() + self.began_at.elapsed();
        let is_room = rolling.allows_at(len, now) == Some(now);
        if is_room {
            rolling.take(len, now);
        }
        is_room
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
        // Idle time saves up one second's worth and no more.
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
