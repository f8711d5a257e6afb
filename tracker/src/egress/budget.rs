//! One egress budget for all channels of a tracker.

use std::sync::Arc;

use cardume_swarm::BitsPerSec;
use tokio::sync::watch;

use super::Exhausted;
use super::account::{Balance, TAKE_LIMIT};
use super::gate::{BURST_LEN, Gate};
use super::ledger::Ledger;
use super::meter::{Egress, Meter};
use crate::rate::RateLimit;

/// What the tracker may send to viewers: bits per second, and bytes a month. Channels that have something to send
/// share the rate evenly.
#[derive(Debug)]
pub struct EgressBudget {
    terms: watch::Sender<Terms>,
    gate: Gate,
    /// `None` without a monthly quota.
    ledger: Option<Ledger>,
    meter: Meter,
}

/// What changes about the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// As configured.
    limit: RateLimit,
    /// Shares that are taken.
    n_active: usize,
    /// Bits per second that the rest of the month's quota allows, when that is near its end.
    pace: Option<u64>,
}

impl EgressBudget {
    /// With this limit on the rate, and no monthly quota.
    pub fn new(limit: RateLimit) -> Self {
        let terms = watch::Sender::new(Terms { limit, n_active: 0, pace: None });
        Self { terms, gate: Gate::default(), ledger: None, meter: Meter::default() }
    }

    /// From now on this is the limit on the rate.
    pub fn set_limit(&self, limit: RateLimit) {
        self.terms.send_modify(|terms| terms.limit = limit);
    }

    pub(super) fn with_ledger(self, ledger: Ledger) -> Self {
        let budget = Self { ledger: Some(ledger), ..self };
        budget.adopt_pace();
        budget
    }

    /// The limit on the rate, as it was configured.
    pub fn limit(&self) -> RateLimit {
        self.terms.borrow().limit
    }

    /// The limit in force: lower than the configured one while the rest of the month's quota is paced.
    pub fn limit_now(&self) -> RateLimit {
        let Terms { limit, pace, .. } = *self.terms.borrow();
        let bits = [limit.bits_per_second(), pace].into_iter().flatten().min();
        bits.map_or(RateLimit::UNLIMITED, RateLimit::new)
    }

    /// What one active channel may send now; `None` is no limit.
    pub fn share(&self) -> Option<BitsPerSec> {
        let n_active = self.n_shares().max(1) as u64;
        self.limit_now().bits_per_second().map(|bits| BitsPerSec(bits / n_active))
    }

    /// How many share it now.
    pub fn n_shares(&self) -> usize {
        self.terms.borrow().n_active
    }

    /// Wakes when shares change.
    pub fn changes(&self) -> watch::Receiver<Terms> {
        self.terms.subscribe()
    }

    /// Counts one more channel in until the share is dropped.
    pub fn activate(self: &Arc<Self>) -> Share {
        self.terms.send_modify(|terms| terms.n_active += 1);
        Share { budget: Arc::clone(self) }
    }

    /// Waits until this many bytes may go, and counts them. Cancelled, it may have counted them.
    ///
    /// # Errors
    /// [`Exhausted`] when they may not go at all.
    pub async fn pass(&self, len: u64) -> Result<(), Exhausted> {
        // The gate comes last: what waits here for the disk would else pile up behind it.
        self.count(len).await?;
        self.gate.pass(len, || self.limit_now()).await;
        self.meter.record(len);
        Ok(())
    }

    /// Whether this many bytes, a block's worth at most, may go now; they are counted then.
    pub(super) fn try_pass(&self, len: u64) -> bool {
        let passes = self.gate.try_pass(len, self.limit_now())
            && self.ledger.as_ref().is_none_or(|ledger| ledger.try_take(len));
        if passes {
            self.meter.record(len);
        }
        passes
    }

    /// Counts bytes in the month's quota alone.
    ///
    /// # Errors
    /// [`Exhausted`] when they are beyond it.
    pub(super) async fn count(&self, mut len: u64) -> Result<(), Exhausted> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        while len > 0 {
            let taken = len.min(TAKE_LIMIT);
            ledger.take(taken).await?;
            len -= taken;
        }
        Ok(())
    }

    /// What went out under the rate limit.
    pub fn egress(&self) -> Egress {
        self.meter.read()
    }

    /// The month's quota in bytes, if there is one, and how it stands.
    pub(super) fn month(&self) -> Option<(u64, Balance)> {
        self.ledger.as_ref().map(|ledger| (ledger.quota_len(), ledger.balance()))
    }

    /// Whether the month's quota has no room for as much. A quota with no room for a block is at its end for everything:
    /// a playlist is of no use without media.
    pub(super) fn is_exhausted_for(&self, len: u64) -> bool {
        self.month().is_some_and(|(_, balance)| balance.rest_len < len.max(BURST_LEN))
    }

    /// Whether no media goes out any more this month.
    pub(super) fn is_exhausted(&self) -> bool {
        self.is_exhausted_for(BURST_LEN)
    }

    /// Whether the rest of the month's quota is paced.
    pub(super) fn is_paced(&self) -> bool {
        self.terms.borrow().pace.is_some()
    }

    /// Takes over the pace that the rest of the month's quota allows now.
    pub(super) fn adopt_pace(&self) {
        let pace = self.ledger.as_ref().and_then(Ledger::pace);
        self.terms.send_if_modified(|terms| {
            let is_new = terms.pace != pace;
            terms.pace = pace;
            is_new
        });
    }
}

/// One channel's claim to its share.
#[derive(Debug)]
pub struct Share {
    budget: Arc<EgressBudget>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.terms.send_modify(|terms| terms.n_active = terms.n_active.saturating_sub(1));
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
    fn a_new_limit_holds_at_once_and_wakes_who_shares_it() {
        let budget = Arc::new(EgressBudget::new(RateLimit::UNLIMITED));
        let changes = budget.changes();
        budget.set_limit(RateLimit::new(4_000_000));
        assert_eq!(budget.share(), Some(BitsPerSec(4_000_000)));
        assert!(changes.has_changed().unwrap());
    }

    #[test]
    fn no_limit_is_no_limit_for_each() {
        let budget = Arc::new(EgressBudget::new(RateLimit::UNLIMITED));
        let _share = budget.activate();
        assert_eq!(budget.share(), None);
    }
}
