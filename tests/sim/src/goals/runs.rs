//! The runs that the goals need: each once, some at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::Order;
use super::check::Check;
use crate::oracle::Beside;
use crate::{Report, Scenario, World};

/// Runs at a time, at most: two thousand-viewer runs fit into any machine's memory, and CI has two cores.
const THREAD_LIMIT: usize = 2;

/// A run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) scenario: &'static str,
    pub(super) n_viewers: usize,
    pub(super) seed: u64,
}

/// What is known of a run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) scenario: Scenario,
    pub(super) report: Report,
    /// What the oracle says; `None` when no plan can keep up.
    pub(super) oracle: Option<Beside>,
}

/// All runs.
#[derive(Debug)]
pub(super) struct Runs(BTreeMap<Key, Run>);

impl Runs {
    /// Performs what these checks need, the longest first.
    pub(super) fn perform(order: &Order, checks: &[&Check], progress: &(impl Fn(&str) + Sync)) -> Self {
        let mut keys: Vec<Key> = checks.iter().flat_map(|check| check.keys(order)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.sort_by_key(|key| core::cmp::Reverse(effort(key)));
        let n_done = AtomicUsize::new(0);
        let next = AtomicUsize::new(0);
        let runs = Mutex::new(BTreeMap::new());
        let work = || {
            while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                let begun = Instant::now();
                let run = perform(key);
                let (n, all) = (n_done.fetch_add(1, Ordering::Relaxed) + 1, keys.len());
                let Key { scenario, n_viewers, seed } = key;
                let seconds = begun.elapsed().as_secs_f64();
                progress(&format!(
                    "{n} of {all}: {scenario}, {n_viewers} viewers, seed {seed}: {seconds:.0} s"
                ));
                if let Some(run) = run {
                    runs.lock().unwrap_or_else(PoisonError::into_inner).insert(*key, run);
                }
            }
        };
        let n_threads = thread::available_parallelism().map_or(1, usize::from).min(THREAD_LIMIT);
        thread::scope(|scope| (0..n_threads).for_each(|_| drop(scope.spawn(work))));
        Self(runs.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// One of them, if it was performed.
    pub(super) fn run(&self, key: &Key) -> Option<&Run> {
        self.0.get(key)
    }

    /// What must never happen and did.
    pub(super) fn violations(&self) -> Vec<String> {
        let of_run = |(key, run): (&Key, &Run)| {
            let Key { scenario, n_viewers, seed } = *key;
            let told = move |what: &String| format!("{scenario}, {n_viewers} viewers, seed {seed}: {what}");
            run.report.violations.iter().map(told).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_run).collect()
    }
}

/// How long a run takes, in no unit: so many viewers for so long.
fn effort(key: &Key) -> u64 {
    Scenario::load(key.scenario).map_or(0, |scenario| key.n_viewers as u64 * scenario.length.as_secs())
}

fn perform(key: &Key) -> Option<Run> {
    let scenario = Scenario::load(key.scenario).ok()?.with_viewers(key.n_viewers);
    let report = World::new(scenario.clone(), key.seed).run(|_| {});
    let is_against_oracle = key.scenario.starts_with("oracle-");
    let oracle = is_against_oracle.then(|| Beside::of(&scenario, key.seed, |_, _| {}).ok()).flatten();
    Some(Run { scenario, report, oracle })
}
