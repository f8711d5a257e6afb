//! How much may pass: bytes of one allocation, and answers to the strangers of one address.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use tokio::time::Instant;

use crate::http::Network;

/// Buckets for all addresses of the world: those whose hashes are equal share one. 24 bytes each.
const N_BUCKETS: usize = 8192;
/// Answers that an address gets at once: a school behind one NAT, where a hundred viewers join. (Wild guess.)
const ANSWER_BURST: f64 = 1000.0;
/// Answers a second that it gets in the long run. To somebody whose address is forged it is 70 kbit/s.
const ANSWERS_PER_SECOND: f64 = 100.0;

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(burst: f64, now: Instant) -> Self {
        Self { tokens: burst, filled_at: now }
    }

    /// Whether so many tokens are there; they are taken then.
    pub(super) fn take(&mut self, n: f64, per_second: f64, burst: f64, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * per_second;
        self.tokens = (self.tokens + gained).min(burst);
        self.filled_at = now;
        let is_enough = self.tokens >= n;
        if is_enough {
            self.tokens -= n;
        }
        is_enough
    }
}

/// Limits answers to strangers by their address, in memory that does not grow.
#[derive(Debug)]
pub(super) struct Strangers {
    hasher: RandomState,
    buckets: Vec<Bucket>,
}

impl Strangers {
    pub(super) fn new(now: Instant) -> Self {
        Self { hasher: RandomState::new(), buckets: vec![Bucket::new(ANSWER_BURST, now); N_BUCKETS] }
    }

    /// Whether this address gets one more answer.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        let hash = usize::try_from(self.hasher.hash_one(Network::around(address)) % N_BUCKETS as u64);
        let bucket = hash.ok().and_then(|index| self.buckets.get_mut(index));
        bucket.is_some_and(|bucket| bucket.take(1.0, ANSWERS_PER_SECOND, ANSWER_BURST, now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_from_one_address_is_answered_within_limits_and_others_as_ever() {
        let (start, mut strangers) = (Instant::now(), Strangers::new(Instant::now()));
        let n_answers = |strangers: &mut Strangers, address: &str, now| {
            let address = address.parse().unwrap();
            (0..5000).filter(|_| strangers.take(address, now)).count()
        };
        assert_eq!(n_answers(&mut strangers, "198.51.100.7", start), 1000);
        assert_eq!(n_answers(&mut strangers, "198.51.100.7", start + Duration::from_secs(1)), 100);
        let others = (1..=20).map(|n| n_answers(&mut strangers, &format!("192.0.2.{n}"), start));
        assert!(others.filter(|n| *n == 1000).count() > 15);
    }
}
