//! What the relay passes on, within the budget.
//!
//! Datagrams do not wait: what finds no room is lost, and the connection that it belongs to slows down. While the relay passes more
//! than what it takes to find out whether a link stands, it gets as much of the rate as one channel.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cardume_swarm::{BitsPerSec, RollingLimit};
use tokio::time::Instant;

use super::budget::{EgressBudget, Share};
use super::meter::{Egress, Meter};

/// Part of a share that the relay may use without having one: 1/16.
const UNSHARED: u64 = 16;
/// The relay gives its share back when it did not need one for so long.
const SHARE_TIMEOUT: Duration = Duration::from_secs(15);

/// Lets relayed datagrams pass, or not.
#[derive(Debug)]
pub struct Relayed {
    budget: Arc<EgressBudget>,
    meter: Meter,
    began_at: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Keeps the relay to its share.
    rolling: RollingLimit,
    share: Option<Share>,
    busy_at: Instant,
}

impl Relayed {
    /// A relay that shares this budget with the server peers.
    pub fn new(budget: Arc<EgressBudget>) -> Arc<Self> {
        let now = Instant::now();
        let state = State { rolling: RollingLimit::new(BitsPerSec(0)), share: None, busy_at: now };
        Arc::new(Self { budget, meter: Meter::default(), began_at: now, state: Mutex::new(state) })
    }

    /// What was relayed.
    pub fn egress(&self) -> Egress {
        self.meter.read()
    }

    /// Whether nothing is relayed any more this month.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.budget.is_exhausted()
    }

    /// Whether this many bytes may go now; they are counted then.
    pub(crate) fn try_pass(&self, len: usize) -> bool {
        // One at a time, since the budget's gate turns away who finds another in it.
        let mut state = self.lock();
        self.adopt_share(&mut state);
        let passes = self.is_in_share(&mut state, len) && self.budget.try_pass(len as u64);
        if passes {
            self.meter.record(len as u64);
        }
        passes
    }

    /// Gives the share back when little is relayed.
    pub(crate) fn release_share(&self) {
        let mut state = self.lock();
        if state.busy_at.elapsed() > SHARE_TIMEOUT {
            state.share = None;
        }
    }

    fn adopt_share(&self, state: &mut State) {
        let Some(share) = self.budget.share() else { return };
        if self.meter.read().bits_per_second > share.0 / UNSHARED {
            state.busy_at = Instant::now();
            let _ = state.share.get_or_insert_with(|| self.budget.activate());
        }
    }

    fn is_in_share(&self, state: &mut State, len: usize) -> bool {
        let Some(share) = self.budget.share() else { return true };
        state.rolling.set_limit(share);
        let now = cardume_swarm::Instant::default() + self.began_at.elapsed();
        let is_room = state.rolling.allows_at(len, now) == Some(now);
        if is_room {
            state.rolling.take(len, now);
        }
        is_room
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::RateLimit;

    /// 100 kB a second.
    const LIMIT: RateLimit = RateLimit::new(800_000);

    #[tokio::test(start_paused = true)]
    async fn a_flood_gets_as_much_as_one_channel_and_the_rest_is_lost() {
        let budget = Arc::new(EgressBudget::new(LIMIT));
        let (_channel, relayed) = (budget.activate(), Relayed::new(Arc::clone(&budget)));
        let mut passed_len = 0;
        for _ in 0..10_000 {
            tokio::time::advance(Duration::from_millis(1)).await;
            passed_len += if relayed.try_pass(1000) { 1000 } else { 0 };
        }
        assert_eq!(budget.n_shares(), 2);
        // Ten seconds of half the rate, and what passed before it had a share.
        assert!((450_000..600_000).contains(&passed_len), "{passed_len}");
        assert_eq!(relayed.egress().total_len, passed_len);
        assert_eq!(budget.egress().total_len, passed_len);
    }

    #[tokio::test(start_paused = true)]
    async fn finding_out_whether_links_stand_costs_channels_no_share() {
        let budget = Arc::new(EgressBudget::new(LIMIT));
        let (_channel, relayed) = (budget.activate(), Relayed::new(Arc::clone(&budget)));
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(100)).await;
            assert!(relayed.try_pass(100));
        }
        assert_eq!(budget.n_shares(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_share_is_given_back_when_little_is_relayed() {
        let budget = Arc::new(EgressBudget::new(LIMIT));
        let relayed = Relayed::new(Arc::clone(&budget));
        for _ in 0..100 {
            relayed.try_pass(1000);
        }
        assert_eq!(budget.n_shares(), 1);
        tokio::time::advance(SHARE_TIMEOUT + Duration::from_secs(1)).await;
        relayed.release_share();
        assert_eq!(budget.n_shares(), 0);
    }
}
