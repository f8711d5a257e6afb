//! Measurements: benchmarks in real browsers and scenarios in the simulator.
//!
//! With `--json` standard output is one line: `{"bench": …, "rows": […], "goals": […], "run": {…}}`.

use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::{
    artefacts, place,
    setup::{Packages, TestTools, packages},
    task::Task,
};

/// What the names of the scripts that are benchmarks begin with.
const SCRIPT: &str = "bench:";

/// The scenario that is short and hard: a small budget, and the viewer who feeds most is killed.
const SMOKE: &str = "kill-feeder";

/// The benchmarks that need no browser, and the command of the load generator that each is.
const LOADS: [(&str, &str); 4] =
    [("tracker", "bench"), ("hold", "hold"), ("cluster", "cluster"), ("relay", "relay")];

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchOptions {
    /// `tracker`, `hold`, `cluster`, `relay`, or one of the scripts `bench:NAME` of tests/browser/package.json.
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
    /// A scenario of tests/sim and its options, `goals` or `oracle`; `help` tells of all.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs a benchmark against the built artefacts.
pub(crate) fn bench(options: &BenchOptions) -> Result<()> {
    if let Some((_, command)) = LOADS.iter().find(|(name, _)| *name == options.name) {
        return load(command, options);
    }
    let names = bench_names()?;
    if !names.contains(&options.name) {
        let loads = LOADS.map(|(name, _)| name).join(", ");
        bail!("there is no benchmark {}; there are: {loads}, {}", options.name, names.join(", "));
    }
    let tools = TestTools::find_or_install()?;
    let tracker = artefacts::build()?;
    packages(Packages::BrowserTests)?;
    tools
        .named_in(Task::npm(Packages::BrowserTests.dir()))
        .env("CARDUME_BIN", tracker)
        .args(["run", "--silent", &format!("{SCRIPT}{}", options.name), "--"])
        .args(options.json.then_some("--json"))
        .args(&options.arguments)
        .print()
}

/// Load on the tracker, which needs no site for it.
fn load(command: &str, options: &BenchOptions) -> Result<()> {
    Task::cargo("build").args(["--release", "--package", "cardume", "--package", "cardume-load"]).run()?;
    Task::new(place::target().join("release/load"))
        .args([command, "--tracker"])
        .args([artefacts::tracker_path()])
        .args(options.json.then_some("--json"))
        .args(&options.arguments)
        .print()
}

/// Runs the simulator, which is always built for speed.
pub(crate) fn sim(options: &SimOptions) -> Result<()> {
    simulator().args(&options.arguments).print()
}

/// One short scenario, as a test: the simulator fails when an invariant is violated.
pub(crate) fn sim_smoke() -> Result<()> {
    simulator().args([SMOKE]).run()
}

/// Small runs of all goals' scenarios: fails when a goal that was reached is lost.
pub(crate) fn sim_goals() -> Result<()> {
    simulator().args(["goals", "--short"]).run()
}

/// With large pages where the system has them: each event is about another viewer, whose memory lies elsewhere. A fifth to a
/// quarter of the time of some thousand viewers went into finding pages.
fn simulator() -> Task {
    let program = Task::cargo("run").args(["--quiet", "--release", "--package", "cardume-sim", "--"]);
    program.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
}

/// The scripts of the browser tests' package.json that are benchmarks.
fn bench_names() -> Result<Vec<String>> {
    let path = place::root().join(Packages::BrowserTests.dir()).join("package.json");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let package: Value = serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    let scripts = package["scripts"].as_object().into_iter().flatten();
    Ok(scripts.filter_map(|(name, _)| name.strip_prefix(SCRIPT).map(str::to_owned)).collect())
}
