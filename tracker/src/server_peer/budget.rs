//! One egress budget for all channels of a tracker.

use std::sync::Arc;

use cardume_swarm::BitsPerSec;
use tokio::sync::watch;

use super::gate::Gate;
use crate::rate::RateLimit;

/// What the server peers of all channels may send together. Channels that have something to send share it evenly.
#[derive(Debug)]
pub struct EgressBudget {
    limit: RateLimit,
    n_active: watch::Sender<usize>,
    gate: Arc<Gate>,
}

impl EgressBudget {
    /// With this limit on their sum.
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, n_active: watch::Sender::new(0), gate: Arc::new(Gate::new(limit)) }
    }

    /// What keeps to it at the sockets.
    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The limit on the sum.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// What one active channel may send now; `None` is no limit.
    pub fn share(&self) -> Option<BitsPerSec> {
        let n_active = (*self.n_active.borrow()).max(1) as u64;
        self.limit.bits_per_second().map(|bits| BitsPerSec(bits / n_active))
    }

    /// Wakes when shares change.
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.n_active.subscribe()
    }

    /// Counts one more channel in until the share is dropped.
    pub fn activate(self: &Arc<Self>) -> Share {
        self.n_active.send_modify(|n| *n += 1);
        Share { budget: Arc::clone(self) }
    }
}

/// One channel's claim to its share.
#[derive(Debug)]
pub struct Share {
    budget: Arc<EgressBudget>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.n_active.send_modify(|n| *n = n.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_channels_share_the_budget_and_give_it_back() {
        let budget = Arc::new(EgressBudget::new(RateLimit::new(12_000_000)));
        assert_eq!(budget.share(), Some(BitsPerSec(12_000_000)));
        let first = budget.activate();
        assert_eq!(budget.share(), Some(BitsPerSec(12_000_000)));
        let _second = budget.activate();
        assert_eq!(budget.share(), Some(BitsPerSec(6_000_000)));
        drop(first);
        assert_eq!(budget.share(), Some(BitsPerSec(12_000_000)));
    }

    #[test]
    fn no_limit_is_no_limit_for_each() {
        let budget = Arc::new(EgressBudget::new(RateLimit::UNLIMITED));
        let _share = budget.activate();
        assert_eq!(budget.share(), None);
    }
}
