//! The egress governor: what the server may send to viewers, in bits per second and in bytes a month. Both are hard.
//!
//! Counted are the messages on server links, HLS, what is relayed, and the site's files. Not counted is what costs little and keeps the
//! swarm alive: signalling, the API, and the headers of HTTP, TCP and IP.
//!
//! While more than a quarter of the month's bytes is left, they may be sent as fast as they are asked for. Then the rate
//! is lowered to what makes the rest last for the rest of the month. At the end nothing goes out but what is not counted.

mod account;
mod budget;
mod gate;
mod ledger;
mod meter;
mod month;
mod readers;
mod relayed;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::rate::{ByteQuota, RateLimit};
use crate::store::{Store, StoreError};

pub use budget::{EgressBudget, Share, Terms};
pub use ledger::Writer;
pub(crate) use meter::Meter;
pub use meter::{Egress, WINDOW};
pub use readers::{Admission, Busy, Readers};
pub use relayed::Relayed;

/// What plain HTTP is sent at once: a block's worth, so that it passes the gates as blocks do.
const PIECE_LEN: u64 = cardume_wire::link::BLOCK_LEN_LIMIT as u64;
/// How often the pace of a month's rest is reckoned anew: in it, the last quarter changes by little.
const PACE_INTERVAL: Duration = Duration::from_secs(10);

/// Nothing more may be sent this month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's egress budget of this month is used up")]
pub struct Exhausted;

/// A tracker's budget, and what keeps its books when there is a monthly quota: settle it last.
///
/// # Errors
/// When the store fails.
pub fn open(
    limit: RateLimit,
    quota: ByteQuota,
    store: &Arc<Store>,
) -> Result<(Arc<EgressBudget>, Option<Writer>), StoreError> {
    let budget = EgressBudget::new(limit);
    let Some(quota_len) = quota.bytes() else { return Ok((Arc::new(budget), None)) };
    let (ledger, writer) = ledger::Ledger::open(quota_len, Arc::clone(store))?;
    Ok((Arc::new(budget.with_ledger(ledger)), Some(writer)))
}

/// Adapts the rate to what is left of the month, until `stop`.
pub async fn govern(readers: Arc<Readers>, stop: CancellationToken) {
    let mut beat = tokio::time::interval(PACE_INTERVAL);
    let tend = async {
        loop {
            beat.tick().await;
            readers.budget().adopt_pace();
            readers.release_share();
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = tend => {}
    }
}

/// How a month's quota stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MonthReport {
    /// Such as `2026-11`, in UTC.
    month: String,
    /// Bytes that may be sent in it.
    pub quota_len: u64,
    /// Bytes that were sent in it, or may have been before a crash.
    pub sent_len: u64,
    /// Bytes that are left.
    rest_len: u64,
    state: QuotaState,
}

/// How a month's quota is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QuotaState {
    /// As it is asked for.
    Free,
    /// At a rate at which it lasts for the rest of the month.
    Paced,
    /// Not any more.
    Exhausted,
}

/// What the governor does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The limit that was configured; `None` is none.
    limit_bits_per_second: Option<u64>,
    /// The limit in force: lower when the month's rest is paced.
    pub limit_now_bits_per_second: Option<u64>,
    /// Channels that share it, HLS, and the relay.
    pub n_shares: usize,
    /// What each may send.
    share_bits_per_second: Option<u64>,
    /// What went out under the limit: server links, HLS, and what was relayed.
    pub egress: Egress,
    /// HLS alone.
    pub hls: Egress,
    /// What was relayed alone.
    pub relay: Egress,
    /// `None` without a monthly quota.
    pub month: Option<MonthReport>,
}

impl Report {
    /// As it is now.
    pub fn new(readers: &Readers, relayed: &Relayed) -> Self {
        let budget = readers.budget();
        Self {
            limit_bits_per_second: budget.limit().bits_per_second(),
            limit_now_bits_per_second: budget.limit_now().bits_per_second(),
            n_shares: budget.n_shares(),
            share_bits_per_second: budget.share().map(|share| share.0),
            egress: budget.egress(),
            hls: readers.egress(),
            relay: relayed.egress(),
            month: month_report(budget),
        }
    }
}

fn month_report(budget: &EgressBudget) -> Option<MonthReport> {
    let (quota_len, balance) = budget.month()?;
    let state = if budget.is_exhausted() {
        QuotaState::Exhausted
    } else if budget.is_paced() {
        QuotaState::Paced
    } else {
        QuotaState::Free
    };
    let (month, sent_len, rest_len) = (balance.month.to_string(), balance.sent_len, balance.rest_len);
    Some(MonthReport { month, quota_len, sent_len, rest_len, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::wall_time;

    #[tokio::test]
    async fn the_last_quarter_lowers_the_rate_of_everybody() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        let (limit, quota) = (RateLimit::new(1_000_000_000), ByteQuota::new(1_000_000));
        let (budget, writer) = open(limit, quota, &store).unwrap();
        writer.unwrap().settle().await;
        assert_eq!(budget.limit_now(), limit);
        store.keep_egress(&[(month::Month::of(wall_time()).number(), 750_000)]).unwrap();

        let (budget, _writer) = open(limit, quota, &store).unwrap();
        // A quarter of a megabyte: over the last second of a month it would be 2 Mbit/s, before that less.
        assert!(budget.limit_now().bits_per_second().unwrap() <= 2_000_000, "{:?}", budget.limit_now());
        assert_eq!(budget.share().unwrap().0, budget.limit_now().bits_per_second().unwrap());
        let report = Report::new(&Readers::new(Arc::clone(&budget)), &Relayed::new(budget));
        assert_eq!(report.limit_bits_per_second, Some(1_000_000_000));
        assert_eq!(report.month.unwrap().state, QuotaState::Paced);
    }
}
