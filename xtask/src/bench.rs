//! Measurements: benchmarks in real browsers and scenarios in the simulator.
//!
//! With `--json` standard output is one line: `{"bench": …, "rows": […], "goals": […], "run": {…}}`.

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    artefacts, place,
    setup::{Packages, TestTools, packages},
    task::Task,
};

const BENCH_DIR: &str = "tests/browser/bench";

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchOptions {
    /// A script in tests/browser/bench, without its extension.
    name: String,
    /// End with one line of JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Passed on to the benchmark.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Options of `cargo xtask sim`.
#[derive(Args)]
pub(crate) struct SimOptions {
    /// A scenario of tests/sim.
    name: String,
    /// The same seed gives the same run.
    #[arg(long)]
    seed: Option<u64>,
    /// How many viewers.
    #[arg(long)]
    peers: Option<u32>,
    /// End with one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Runs a benchmark against the built artefacts.
pub(crate) fn bench(options: &BenchOptions) -> Result<()> {
    let names = bench_names();
    if !names.contains(&options.name) {
        bail!("there is no benchmark {}; there are: {}", options.name, names.join(", "));
    }
    let tools = TestTools::find_or_install()?;
    let tracker = artefacts::build()?;
    packages(Packages::BrowserTests)?;
    let script = format!("bench/{}.ts", options.name);
    tools
        .named_in(Task::new("node"))
        .env("CARDUME_BIN", tracker)
        .dir(Packages::BrowserTests.dir())
        .args(["--experimental-strip-types", &script])
        .args(options.json.then_some("--json"))
        .args(&options.arguments)
        .print()
}

/// Runs a scenario; the simulator is always built for speed.
pub(crate) fn sim(options: &SimOptions) -> Result<()> {
    let numbers = [("--seed", options.seed), ("--peers", options.peers.map(u64::from))];
    let numbers = numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())));
    Task::cargo("run")
        .args(["--quiet", "--release", "--package", "cardume-sim", "--", &options.name])
        .args(numbers.flat_map(|(name, value)| [name, value]))
        .args(options.json.then_some("--json"))
        .print()
}

fn bench_names() -> Vec<String> {
    let entries = place::root().join(BENCH_DIR).read_dir().into_iter().flatten().flatten();
    let names =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".ts").map(str::to_owned));
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}
