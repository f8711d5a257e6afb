//! All tests, in the order that shows a mistake soonest.

use std::time::Duration;

use anyhow::Result;

use crate::{
    artefacts, bench, check, fuzz, mutate, say,
    setup::{self, Bindgen, Packages, TestTools, Toolchain},
    stages::Stages,
    tally::Tally,
    task::Task,
};

/// Enough to see that each target runs; the seeded runs among the native tests search near the surface, and
/// `cargo xtask fuzz` deeper.
const FUZZ_TIME: Duration = Duration::from_secs(3);

/// Runs every stage, prints their times and the number of tests; the first failure ends it.
pub(crate) fn run() -> Result<()> {
    let mut stages = Stages::default();
    let outcome = all(&mut stages);
    let tally = stages.tally();
    println!("\n{}", stages.table());
    if let Err(error) = &outcome {
        println!("{error:#}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    outcome
}

fn all(stages: &mut Stages) -> Result<()> {
    stages.run("set-up", || setup::all(true))?;
    stages.run("peer and its bundle", artefacts::peer)?;
    stages.run("check", check::run)?;
    stages.count("native tests", native)?;
    stages.run("mutations, briefly", mutate::short)?;
    stages.count("web unit tests", web)?;
    stages.count("tests in WebAssembly", in_webassembly)?;
    stages.run("fuzzing, briefly", || fuzz::all(FUZZ_TIME))?;
    stages.run("simulation, briefly", bench::sim_smoke)?;
    stages.run("goals of the swarm, briefly", bench::sim_goals)?;
    stages.run("web site", artefacts::site)?;
    stages.run("tracker, release", artefacts::tracker)?;
    stages.count("browser tests", |tally| browser("test:ci", &[], tally))
}

/// The whole matrix, with arguments for Playwright.
pub(crate) fn browser_matrix(arguments: &[String]) -> Result<()> {
    artefacts::build()?;
    browser("test", arguments, &mut Tally::default())
}

/// nextest where it is installed, since it runs the binaries side by side; it leaves the examples in the docs to cargo.
fn native(tally: &mut Tally) -> Result<()> {
    if Task::cargo("nextest").args(["--version"]).succeeds() {
        Task::cargo("nextest").args(["run", "--workspace", "--no-tests", "pass"]).count(tally)?;
        return Task::cargo("test").args(["--workspace", "--doc"]).count(tally);
    }
    say!("using cargo test; cargo-nextest would be quicker");
    Task::cargo("test").args(["--workspace"]).count(tally)
}

fn web(tally: &mut Tally) -> Result<()> {
    Task::npm(Packages::Web.dir()).args(["test"]).env("CI", "1").count(tally)
}

/// The core's run in Node.js, which must end as on this machine; then the browser peer's own tests, in a real Chromium.
fn in_webassembly(tally: &mut Tally) -> Result<()> {
    let (toolchain, bindgen) = (Toolchain::find_or_install()?, Bindgen::find_or_install()?);
    let in_wasm = |package| {
        let tests = toolchain.cargo("test").args(["--tests", "--package", package]);
        tests.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", bindgen.test_runner())
    };
    let digest = Task::cargo("run").args(["--quiet", "--package", "cardume-wasm-tests"]).read()?;
    in_wasm("cardume-wasm-tests").env("CARDUME_NATIVE_DIGEST", digest.trim()).count(tally)?;
    TestTools::find_or_install()?.named_in(in_wasm("cardume-peer-wasm")).count(tally)
}

/// Playwright against the built artefacts: a script of tests/browser/package.json.
fn browser(script: &str, arguments: &[String], tally: &mut Tally) -> Result<()> {
    setup::packages(Packages::BrowserTests)?;
    TestTools::find_or_install()?
        .named_in(Task::npm(Packages::BrowserTests.dir()))
        .env("CARDUME_BIN", artefacts::tracker_path())
        .args(["run", "--silent", script, "--", "--reporter", "list"])
        .args(arguments)
        .count(tally)
}
