//! What one viewer may ask of the tracker.

use std::time::Duration;

use tokio::time::Instant;

/// Messages that may wait for a slow viewer: two for each of 16 neighbours that connect at once, with candidates.
pub(super) const OUTBOX_LIMIT: usize = 256;
/// Messages a viewer may send at once: 16 offers with a dozen candidates each, and as many answers.
const BURST_LIMIT: f64 = 500.0;
/// Messages a second that a viewer may send in the long run. (Wild guess, far above what ours needs.)
const RATE_LIMIT: f64 = 50.0;
/// Shortest time between two reports that count; the protocol says 10 s.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Upper end of the jitter with which viewers come back to a tracker that goes down.
///
/// Two seconds: playback goes on by itself meanwhile, and 10,000 viewers make 5,000 joins a second.
pub(super) const RECONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A token bucket over messages.
#[derive(Debug)]
pub(super) struct RateLimiter {
    tokens: f64,
    filled_at: Instant,
}

impl RateLimiter {
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: BURST_LIMIT, filled_at: now }
    }

    /// Whether one more message is within the limits.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let gained = now.duration_since(self.filled_at).as_secs_f64() * RATE_LIMIT;
        self.tokens = (self.tokens + gained).min(BURST_LIMIT);
        self.filled_at = now;
        let is_allowed = self.tokens >= 1.0;
        if is_allowed {
            self.tokens -= 1.0;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(start);
        let passed = (0..1000).filter(|_| limiter.take(start)).count();
        assert_eq!(passed, 500);
        let later = start + Duration::from_secs(1);
        let passed = (0..1000).filter(|_| limiter.take(later)).count();
        assert_eq!(passed, 50);
    }
}
