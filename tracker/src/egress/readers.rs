//! Who reads over plain HTTP: HLS players, and browsers that load the site.
//!
//! They cannot feed each other. So that they do not take from the swarm what it multiplies, HLS gets as much of the rate
//! as one channel, all of it together, and is refused beyond. The site is not held back, but counts in the month's quota.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::time::Instant;

use super::budget::{EgressBudget, Share};
use super::gate::Gate;
use super::meter::{Egress, Meter};
use super::{Exhausted, PIECE_LEN};
use crate::clock::wall_time;
use crate::rate::RateLimit;

/// How much HLS may be promised and not sent yet, in time: longer than a part lasts and shorter than a segment, so that
/// what is promised still comes in time.
const BACKLOG_LIMIT: Duration = Duration::from_secs(1);
/// HLS gives its share back when nobody asked for so long: longer than a player waits between two segments.
const SHARE_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest that anybody is told to stay away: the operator may have raised the quota meanwhile.
const RETRY_LIMIT: Duration = Duration::from_hours(1);

/// Lets plain HTTP in, within the budget.
#[derive(Debug)]
pub struct Readers {
    budget: Arc<EgressBudget>,
    state: Mutex<State>,
    /// Keeps HLS to its share.
    gate: Gate,
    meter: Meter,
    site_len: AtomicU64,
    n_refused: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of HLS that are promised and not sent.
    promised_len: u64,
    /// Held while HLS is asked for.
    share: Option<Share>,
    asked_at: Option<Instant>,
}

/// More is asked for than the budget has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Of the rate.
    #[error("the server's egress budget is used up by others just now; try again in a moment")]
    Rate {
        /// When there should be room.
        retry_after: Duration,
    },
    /// Of the month's bytes.
    #[error("the server's egress budget of this month is used up")]
    Month {
        /// When to ask again: at the end of the month, or before it.
        retry_after: Duration,
    },
}

impl Busy {
    /// When to ask again.
    pub fn retry_after(self) -> Duration {
        match self {
            Self::Rate { retry_after } | Self::Month { retry_after } => retry_after,
        }
    }

    fn month(budget: &EgressBudget) -> Self {
        let left_us =
            budget.month().map_or(0, |(_, balance)| balance.month.end().0.saturating_sub(wall_time().0));
        let retry_after = Duration::from_micros(left_us).clamp(Duration::from_secs(1), RETRY_LIMIT);
        Self::Month { retry_after }
    }
}

impl Readers {
    /// Readers that share this budget with the server peers.
    pub fn new(budget: Arc<EgressBudget>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            state: Mutex::default(),
            gate: Gate::default(),
            meter: Meter::default(),
            site_len: AtomicU64::new(0),
            n_refused: AtomicU64::new(0),
        })
    }

    /// The budget.
    pub fn budget(&self) -> &Arc<EgressBudget> {
        &self.budget
    }

    /// What HLS was sent.
    pub fn egress(&self) -> Egress {
        self.meter.read()
    }

    /// Bytes of the site's files that were sent.
    pub fn site_len(&self) -> u64 {
        self.site_len.load(Ordering::Relaxed)
    }

    /// How often somebody was refused since the budget had no room.
    pub fn n_refused(&self) -> u64 {
        self.n_refused.load(Ordering::Relaxed)
    }

    fn refuse(&self, busy: Busy) -> Busy {
        self.n_refused.fetch_add(1, Ordering::Relaxed);
        busy
    }

    /// Lets an HLS answer of this many bytes through.
    ///
    /// # Errors
    /// [`Busy`] when the budget has no room for it.
    pub fn admit_hls(self: &Arc<Self>, len: u64) -> Result<Admission, Busy> {
        if self.budget.is_exhausted_for(len) {
            return Err(self.refuse(Busy::month(&self.budget)));
        }
        let mut state = self.lock();
        state.asked_at = Some(Instant::now());
        let _ = state.share.get_or_insert_with(|| self.budget.activate());
        let over = self.backlog(&state).saturating_sub(BACKLOG_LIMIT);
        if !over.is_zero() {
            let retry_after = over.clamp(Duration::from_secs(1), RETRY_LIMIT);
            return Err(self.refuse(Busy::Rate { retry_after }));
        }
        state.promised_len += len;
        Ok(Admission { readers: Arc::clone(self), lane: Lane::Hls, rest_len: len })
    }

    /// Lets a file of the site through, of this many bytes.
    ///
    /// # Errors
    /// [`Busy`] when the month's quota has no room for it.
    pub fn admit_site(self: &Arc<Self>, len: u64) -> Result<Admission, Busy> {
        if self.budget.is_exhausted_for(len) {
            return Err(self.refuse(Busy::month(&self.budget)));
        }
        Ok(Admission { readers: Arc::clone(self), lane: Lane::Site, rest_len: len })
    }

    /// Why no media goes out to anybody, if none does.
    pub fn busy_with_the_month(&self) -> Option<Busy> {
        self.budget.is_exhausted().then(|| Busy::month(&self.budget))
    }

    /// Gives the share back when nobody reads any more.
    pub(super) fn release_share(&self) {
        let mut state = self.lock();
        let is_idle = state.asked_at.is_none_or(|at| at.elapsed() > SHARE_TIMEOUT);
        if is_idle && state.promised_len == 0 {
            state.share = None;
        }
    }

    fn share(&self) -> RateLimit {
        self.budget.share().map_or(RateLimit::UNLIMITED, |share| RateLimit::new(share.0))
    }

    /// How long it takes to send what is promised.
    fn backlog(&self, state: &State) -> Duration {
        let Some(share) = self.budget.share() else { return Duration::ZERO };
        let micros = u128::from(state.promised_len) * 8_000_000 / u128::from(share.0.max(1));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Hls,
    Site,
}

/// The right to send one answer. What is not sent when it is dropped others may have.
#[derive(Debug)]
pub struct Admission {
    readers: Arc<Readers>,
    lane: Lane,
    rest_len: u64,
}

impl Admission {
    /// An answer's body, sent as the budget allows.
    pub fn body(self, chunks: Vec<Bytes>) -> Body {
        let pieces = chunks.into_iter().flat_map(pieces).collect::<Vec<_>>().into_iter();
        Body::from_stream(stream::unfold((self, pieces), |(mut admission, mut pieces)| async move {
            let piece = pieces.next()?;
            // An error ends the connection: the reader sees that something is missing.
            let passed = admission.pass(piece.len() as u64).await;
            Some((passed.map(|()| piece), (admission, pieces)))
        }))
    }

    async fn pass(&mut self, len: u64) -> Result<(), Exhausted> {
        match self.lane {
            Lane::Site => {
                self.readers.budget.count(len).await?;
                self.readers.site_len.fetch_add(len, Ordering::Relaxed);
            }
            Lane::Hls => {
                self.readers.gate.pass(len, || self.readers.share()).await;
                self.readers.budget.pass(len).await?;
                self.readers.meter.record(len);
            }
        }
        self.settle(len);
        Ok(())
    }

    fn settle(&mut self, len: u64) {
        let len = len.min(self.rest_len);
        self.rest_len -= len;
        if self.lane == Lane::Hls {
            let mut state = self.readers.lock();
            state.promised_len = state.promised_len.saturating_sub(len);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.settle(self.rest_len);
    }
}

/// The chunk in pieces that the gates let through at once. Nothing is copied.
fn pieces(mut chunk: Bytes) -> impl Iterator<Item = Bytes> {
    let piece_len = usize::try_from(PIECE_LEN).unwrap_or(usize::MAX);
    std::iter::from_fn(move || {
        let len = piece_len.min(chunk.len());
        (len > 0).then(|| chunk.split_to(len))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 80 kB a second.
    const LIMIT: RateLimit = RateLimit::new(640_000);

    fn readers() -> Arc<Readers> {
        Readers::new(Arc::new(EgressBudget::new(LIMIT)))
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_promised_is_sent_within_the_limit_and_more_is_refused() {
        let readers = readers();
        let began_at = Instant::now();
        let media = Bytes::from(vec![7; 100_000]);
        let first = readers.admit_hls(100_000).unwrap().body(vec![media.clone()]);
        let refusal = readers.admit_hls(1).unwrap_err();
        assert!(matches!(refusal, Busy::Rate { retry_after } if retry_after.as_secs() == 1), "{refusal:?}");
        assert_eq!(axum::body::to_bytes(first, usize::MAX).await.unwrap(), media);
        // A second's worth goes at once.
        let rate = 8.0 * 100_000.0 / (began_at.elapsed().as_secs_f64() + 1.0);
        assert!(rate <= 640_000.0 && rate > 300_000.0, "{rate} bit/s");
        assert!(readers.budget().egress().max_bits_per_second <= 640_000);
        assert_eq!(readers.egress().total_len, 100_000);
        readers.admit_hls(1).unwrap();
        assert_eq!(readers.n_refused(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_makes_room_for_others() {
        let readers = readers();
        let unread = readers.admit_hls(1_000_000).unwrap().body(vec![Bytes::from(vec![7; 1_000_000])]);
        readers.admit_hls(1).unwrap_err();
        drop(unread);
        readers.admit_hls(1).unwrap();
        assert_eq!(readers.egress().total_len, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn hls_takes_one_share_while_it_is_asked_for() {
        let readers = readers();
        let _channel = readers.budget().activate();
        let admission = readers.admit_hls(10).unwrap();
        assert_eq!(readers.budget().n_shares(), 2);
        tokio::time::advance(2 * SHARE_TIMEOUT).await;
        readers.release_share();
        assert_eq!(readers.budget().n_shares(), 2, "an answer is under way");
        drop(admission);
        readers.release_share();
        assert_eq!(readers.budget().n_shares(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_site_is_not_held_back() {
        let readers = readers();
        let began_at = Instant::now();
        let file = Bytes::from(vec![7; 1_000_000]);
        let body = readers.admit_site(1_000_000).unwrap().body(vec![file.clone()]);
        assert_eq!(axum::body::to_bytes(body, usize::MAX).await.unwrap(), file);
        assert_eq!((began_at.elapsed(), readers.site_len()), (Duration::ZERO, 1_000_000));
    }
}
