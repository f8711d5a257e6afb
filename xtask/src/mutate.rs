//! Mutations: the code is broken on purpose, and a test has to notice.
//!
//! The full run is cargo-mutants' (some 2,700 mutations of `swarm` alone, each built anew: hours). The short one breaks the
//! scheduler in the ways of [`list`]: all of them are built at once into a copy of the sources, each behind a question
//! that the environment answers, and each is run with the one test that has to fail.

mod list;
mod sources;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::{list::MUTATIONS, sources::Sources};
use crate::{place, say, setup::mutants, tally::Tally, task::Task};

const PACKAGE: &str = "cardume-swarm";
/// Names the mutation that is on, by its number; the copy's sources ask for it.
const SWITCH: &str = "CARDUME_MUTATION";

/// Options of `cargo xtask mutate`.
#[derive(Args)]
pub(crate) struct Options {
    /// Only the scheduler's own list, as CI does it.
    #[arg(long)]
    short: bool,
    /// Passed on to cargo-mutants, for example `--file swarm/src/window.rs` or `--shard 1/50`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// One way to break the scheduler.
pub(crate) struct Mutation {
    /// What the scheduler does then.
    what: &'static str,
    /// Relative to `swarm/src`.
    file: &'static str,
    /// An expression that stands there once.
    from: &'static str,
    /// What stands there instead.
    to: &'static str,
    /// The argument that makes cargo build the test's program, and the test that fails.
    noticed_by: (&'static str, &'static str),
}

/// Runs the short list, or cargo-mutants, which prints what survives and fails then.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.short {
        return short();
    }
    mutants::find_or_install()?.args(["--package", PACKAGE]).args(&options.arguments).print()
}

/// Breaks the scheduler in every way of the list.
///
/// # Errors
/// When one survives, no longer applies, or names a test that does not pass without it.
pub(crate) fn short() -> Result<()> {
    let copy = Copy::new()?;
    let outcomes =
        MUTATIONS.iter().enumerate().map(|(number, mutation)| (mutation, copy.try_out(number, mutation)));
    let survivors: Vec<String> =
        outcomes.filter_map(|(mutation, outcome)| Some(mutation.told(&outcome.err()?))).collect();
    for survivor in &survivors {
        say!("{survivor}");
    }
    match survivors.len() {
        0 => {
            say!("all {} mutations of the scheduler are noticed", MUTATIONS.len());
            Ok(())
        }
        n => bail!("{n} of {} mutations of the scheduler are not noticed", MUTATIONS.len()),
    }
}

impl Mutation {
    fn told(&self, why: &anyhow::Error) -> String {
        format!("swarm/src/{}: `{}` -> `{}`, so that {}: {why:#}", self.file, self.from, self.to, self.what)
    }
}

/// The sources with all mutations in them, apart from the workspace.
struct Copy {
    root: PathBuf,
}

impl Copy {
    fn new() -> Result<Self> {
        let root = place::target().join("mutate");
        let mut sources = Sources::of_scheduler()?;
        for (number, mutation) in MUTATIONS.iter().enumerate() {
            sources.plant(number, mutation)?;
        }
        sources.write(&root)?;
        Ok(Self { root })
    }

    /// The test passes without the mutation and fails with it.
    fn try_out(&self, number: usize, mutation: &Mutation) -> Result<()> {
        let (program, test) = mutation.noticed_by;
        let without = self.test(program, test, "none")?;
        if without != (Tally { passed: 1, failed: 0 }) {
            bail!("{test} does not pass as it is, or there is no such test");
        }
        let with = self.test(program, test, &number.to_string())?;
        if with != (Tally { passed: 0, failed: 1 }) {
            bail!("{test} does not notice");
        }
        say!("noticed: {}", mutation.what);
        Ok(())
    }

    fn test(&self, program: &str, test: &str, switch: &str) -> Result<Tally> {
        let task = Task::cargo("test")
            .args(["--quiet", "--offline", "--package", PACKAGE])
            .args(program.split(' '))
            .args(["--", "--exact", test])
            .dir(&self.root)
            .env("CARGO_TARGET_DIR", place::target())
            .env(SWITCH, switch)
            .env("RUST_BACKTRACE", "0");
        let mut tally = Tally::default();
        let outcome = task.count_silently(&mut tally);
        if tally == Tally::default() {
            outcome.with_context(|| format!("running {test}"))?;
        }
        Ok(tally)
    }
}
