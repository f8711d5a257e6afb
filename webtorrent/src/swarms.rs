//! All swarms, in parts with a lock each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::id::Id;
use crate::swarm::Swarm;

/// Parts that the swarms are in. (Wild guess: more than a small server has cores.)
const SHARD_COUNT: usize = 16;
/// Peers in all swarms together; each costs some 150 bytes.
pub(crate) const MEMBER_LIMIT: usize = 1_000_000;

/// Who is in which swarm; cheap to clone.
#[derive(Clone, Debug)]
pub struct Swarms(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shards: [Mutex<HashMap<Id, Swarm>>; SHARD_COUNT],
    interval: Duration,
    n_members: AtomicUsize,
    counters: Counters,
}

/// What happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) announces: AtomicU64,
    pub(crate) offers: AtomicU64,
    pub(crate) answers: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// How many there are of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Swarms with somebody in them.
    pub n_swarms: usize,
    /// Peers in them; one that is in two counts twice.
    pub n_members: usize,
    /// Announces since the start.
    pub n_announces: u64,
    /// Offers that were handed on since the start.
    pub n_offers: u64,
    /// Answers that were handed back since the start.
    pub n_answers: u64,
    /// Messages that were not sent to who does not read them, since the start.
    pub n_dropped: u64,
    /// Messages that were refused, since the start.
    pub n_failures: u64,
}

impl Swarms {
    /// None yet; clients are asked to announce themselves so often.
    pub fn new(interval: Duration) -> Self {
        Self(Arc::new(Inner {
            shards: Default::default(),
            interval,
            n_members: AtomicUsize::new(0),
            counters: Counters::default(),
        }))
    }

    /// How it stands.
    pub fn totals(&self) -> Totals {
        let counters = self.counters();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            n_swarms: self.0.shards.iter().map(|shard| lock(shard).len()).sum(),
            n_members: self.n_members().load(Ordering::Relaxed),
            n_announces: read(&counters.announces),
            n_offers: read(&counters.offers),
            n_answers: read(&counters.answers),
            n_dropped: read(&counters.dropped),
            n_failures: read(&counters.failures),
        }
    }

    pub(crate) fn interval(&self) -> Duration {
        self.0.interval
    }

    /// The swarms among which this one is, for as long as the guard lives. Never held across an await: it is only taken in
    /// functions that cannot wait.
    pub(crate) fn shard(&self, info_hash: Id) -> MutexGuard<'_, HashMap<Id, Swarm>> {
        lock(&self.0.shards[info_hash.low_bits() % SHARD_COUNT])
    }

    pub(crate) fn n_members(&self) -> &AtomicUsize {
        &self.0.n_members
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

fn lock(shard: &Mutex<HashMap<Id, Swarm>>) -> MutexGuard<'_, HashMap<Id, Swarm>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
