//! The stages of a long command: each timed, the first failure ends the run, and the table is printed either way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{say, tally::Tally};

/// The record of the stages so far.
#[derive(Default)]
pub(crate) struct Stages {
    rows: Vec<Row>,
    tally: Tally,
}

struct Row {
    name: &'static str,
    took: Duration,
    is_ok: bool,
}

impl Stages {
    /// Runs a stage that counts no tests.
    pub(crate) fn run<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.count(name, |_| work())
    }

    /// Runs a stage that adds to the count of tests.
    pub(crate) fn count<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut Tally) -> Result<T>,
    ) -> Result<T> {
        say!("── {name} ──");
        let started = Instant::now();
        let outcome = work(&mut self.tally);
        self.rows.push(Row { name, took: started.elapsed(), is_ok: outcome.is_ok() });
        outcome.with_context(|| format!("stage {name}"))
    }

    /// The time of each stage, and of all.
    pub(crate) fn table(&self) -> String {
        let total: Duration = self.rows.iter().map(|row| row.took).sum();
        let line = |name: &str, took: Duration, outcome: &str| {
            format!("{name:<24} {:>3} min {:>2} s  {outcome}\n", took.as_secs() / 60, took.as_secs() % 60)
        };
        let outcome = |is_ok| if is_ok { "ok" } else { "FAILED" };
        let rows: String = self.rows.iter().map(|row| line(row.name, row.took, outcome(row.is_ok))).collect();
        rows + &line("total", total, outcome(self.rows.iter().all(|row| row.is_ok)))
    }

    /// The tests of all stages.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_stage_is_in_the_table_and_named_in_the_error() {
        let mut stages = Stages::default();
        stages.run("first", || Ok(())).unwrap();
        let error = stages.run("second", || anyhow::bail!("no fish") as Result<()>).unwrap_err();
        assert_eq!(format!("{error:#}"), "stage second: no fish");
        let table = stages.table();
        let outcomes: Vec<_> =
            table.lines().filter_map(|line| line.rsplit_once("  ").map(|(_, last)| last)).collect();
        assert_eq!(outcomes, ["ok", "FAILED", "FAILED"]);
    }

    #[test]
    fn tests_of_a_stage_that_fails_count() {
        let mut stages = Stages::default();
        let _ = stages.count("tests", |tally| {
            tally.add(Tally { passed: 2, failed: 1 });
            anyhow::bail!("one failed") as Result<()>
        });
        assert_eq!(stages.tally(), Tally { passed: 2, failed: 1 });
    }
}
