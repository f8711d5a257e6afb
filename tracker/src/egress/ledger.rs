//! The accountant at work: with the clock, and a task that writes reservations to disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Exhausted;
use super::account::{Account, Balance, Kept, Take};
use super::month::Month;
use crate::clock::wall_time;
use crate::store::{Store, StoreError};

/// Pause after a write that failed; until one succeeds, nothing goes out beyond what is reserved already.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Says who may send within the month's quota; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    account: Mutex<Account>,
    /// Wakes the writer.
    is_short: Notify,
    /// Wakes whoever waits for a reservation. False when there will be no more.
    is_open: watch::Sender<bool>,
}

/// The task that writes; see [`Writer::settle`].
#[derive(Debug)]
pub struct Writer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Ledger {
    /// Reads what was sent before, and starts the writer.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn open(quota_len: u64, store: Arc<Store>) -> Result<(Self, Writer), StoreError> {
        let kept = |(month, len)| Kept { month: Month::from_number(month), len };
        let account = Account::open(quota_len, store.egress()?.into_iter().map(kept));
        let shared = Arc::new(Shared {
            account: Mutex::new(account),
            is_short: Notify::new(),
            is_open: watch::Sender::new(true),
        });
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&shared).write(store, stop.clone()));
        Ok((Self { shared }, Writer { stop, task }))
    }

    /// Counts `len` bytes as sent, at most [`super::account::TAKE_LIMIT`]. Waits while the disk is written to.
    ///
    /// # Errors
    /// When they are beyond the month's quota, or the tracker goes down.
    pub(super) async fn take(&self, len: u64) -> Result<(), Exhausted> {
        let mut reservations = self.shared.is_open.subscribe();
        loop {
            match self.shared.take(len) {
                Take::Granted => return Ok(()),
                Take::Exhausted => return Err(Exhausted),
                Take::NotReserved if !*reservations.borrow() => return Err(Exhausted),
                Take::NotReserved => reservations.changed().await.map_err(|_| Exhausted)?,
            }
        }
    }

    /// Whether `len` bytes, at most [`super::account::TAKE_LIMIT`], may be sent now; they are counted then.
    pub(super) fn try_take(&self, len: u64) -> bool {
        matches!(self.shared.take(len), Take::Granted)
    }

    /// How the month stands.
    pub(super) fn balance(&self) -> Balance {
        self.shared.lock().balance(wall_time())
    }

    /// See [`Account::pace`].
    pub(super) fn pace(&self) -> Option<u64> {
        self.shared.lock().pace(wall_time())
    }

    pub(super) fn quota_len(&self) -> u64 {
        self.shared.lock().quota_len()
    }
}

impl Shared {
    fn take(&self, len: u64) -> Take {
        let now = wall_time();
        let mut account = self.lock();
        let take = account.take(len, now);
        if account.wish(now).is_some() {
            self.is_short.notify_one();
        }
        take
    }

    async fn write(self: Arc<Self>, store: Arc<Store>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wish = self.lock().wish(wall_time());
            let Some(kept) = wish else {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.is_short.notified() => {}
                }
                continue;
            };
            if keep(&store, vec![kept]).await {
                self.lock().note_kept(kept);
                self.is_open.send_replace(true);
            } else {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(RETRY_PAUSE) => {}
                }
            }
        }
        let settled = self.lock().settle();
        if !settled.is_empty() {
            keep(&store, settled).await;
        }
        self.is_open.send_replace(false);
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Writes down what was really sent, and ends. Nothing can be sent after it.
    pub async fn settle(self) {
        self.stop.cancel();
        // It cannot fail but by a panic, which has been told of.
        let _ = self.task.await;
    }
}

/// Whether it is on disk now.
async fn keep(store: &Arc<Store>, kept: Vec<Kept>) -> bool {
    let store = Arc::clone(store);
    let months = kept.into_iter().map(|Kept { month, len }| (month.number(), len)).collect::<Vec<_>>();
    match tokio::task::spawn_blocking(move || store.keep_egress(&months)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            let error = anyhow::Error::from(error);
            tracing::error!("the month's egress cannot be written down, so nothing goes out: {error:#}");
            false
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const QUOTA_LEN: u64 = 100_000_000;
    /// What is reserved at once of this quota.
    const STEP_LEN: u64 = 1024 * 1024;

    fn open(directory: &Path) -> (Ledger, Writer) {
        Ledger::open(QUOTA_LEN, Arc::new(Store::open(directory).unwrap())).unwrap()
    }

    async fn take(ledger: &Ledger, n_pieces: u64) {
        for _ in 0..n_pieces {
            ledger.take(50_000).await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_orderly_restart_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for n_run in 1..4 {
            let (ledger, writer) = open(directory.path());
            take(&ledger, 100).await;
            writer.settle().await;
            assert_eq!(ledger.take(1).await, Err(Exhausted), "its books are closed");
            assert_eq!(ledger.balance().sent_len, n_run * 5_000_000);
        }
    }

    #[tokio::test]
    async fn a_crash_costs_a_step_at_most_and_forgets_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut sent_len = 0;
        for _ in 0..4 {
            let (ledger, writer) = open(directory.path());
            let before = ledger.balance().sent_len;
            assert!((sent_len..=sent_len + STEP_LEN).contains(&before), "{before} after {sent_len}");
            take(&ledger, 30).await;
            sent_len = before + 1_500_000;
            // Killed: no farewell. Waiting for the task only frees the file for the next run.
            writer.task.abort();
            let _ = writer.task.await;
            wait_until_closed(directory.path()).await;
        }
    }

    /// A write that was under way when the task was aborted still holds the file.
    async fn wait_until_closed(directory: &Path) {
        while let Err(error) = Store::open(directory) {
            assert!(matches!(error, StoreError::Locked { .. }), "{error}");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_quota_is_given_to_the_last_byte_and_no_further() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        let (ledger, _writer) = Ledger::open(3_000_000, store).unwrap();
        take(&ledger, 60).await;
        assert_eq!(ledger.take(1).await, Err(Exhausted));
        assert_eq!(ledger.balance().rest_len, 0);
    }
}
