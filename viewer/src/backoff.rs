//! How long to wait before a lost connection is tried again.

use core::time::Duration;

/// The first wait. Wild guess: short enough that a restarted tracker is hardly noticed.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait. Wild guess: a tracker that comes back has all its viewers within this time.
const LIMIT: Duration = Duration::from_secs(8);

/// Jittered exponential backoff: each wait is between half and all of a delay that doubles up to a limit.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    n_failures: u32,
}

impl Backoff {
    /// The next wait; `chance` is uniform in 0..1, so that viewers who fell together do not return together.
    pub(crate) fn next(&mut self, chance: f64) -> Duration {
        let factor = 1_u32.checked_shl(self.n_failures.min(16)).unwrap_or(u32::MAX);
        self.n_failures = self.n_failures.saturating_add(1);
        let delay = FIRST.saturating_mul(factor).min(LIMIT);
        delay.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// It worked: the next failure waits shortly again.
    pub(crate) fn reset(&mut self) {
        self.n_failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_restart_after_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        backoff.reset();
        assert_eq!(backoff.next(1.0).as_millis(), 250);
    }

    #[test]
    fn chance_spreads_a_wait_over_its_upper_half() {
        let (mut low, mut high) = (Backoff::default(), Backoff::default());
        assert_eq!(low.next(0.0).as_millis(), 125);
        assert_eq!(high.next(1.0).as_millis(), 250);
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff { n_failures: u32::MAX - 1 };
        assert_eq!(backoff.next(1.0), LIMIT);
        assert_eq!(backoff.next(1.0), LIMIT);
    }
}
