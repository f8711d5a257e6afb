//! Fuzzing with libFuzzer on the stable compiler: coverage counters are an LLVM pass like any other.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{place, say, task::Task};

const DIR: &str = "tests/fuzz/libfuzzer";
/// What `cargo fuzz` passes without a sanitizer. All code under test is safe Rust, so there is nothing to sanitize.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
/// A message of a link has at most 64 KiB.
const INPUT_LEN_LIMIT: u32 = 65_536;
/// Long enough for a slow machine; a hang is a finding.
const INPUT_TIME_LIMIT: Duration = Duration::from_secs(10);

/// Options of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct Options {
    /// A target of tests/fuzz/libfuzzer; all of them, one after the other, when left out.
    target: Option<String>,
    /// How long each runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs one target or all.
pub(crate) fn run(options: &Options) -> Result<()> {
    let targets = targets()?;
    let chosen: Vec<_> =
        targets.iter().filter(|name| options.target.as_ref().is_none_or(|t| t == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no such fuzz target; there are: {}", targets.join(", "));
    }
    smoke(&chosen, Duration::from_secs(options.seconds))
}

/// Runs all targets, each for `time`.
pub(crate) fn all(time: Duration) -> Result<()> {
    smoke(&targets()?, time)
}

fn smoke(targets: &[impl AsRef<str>], time: Duration) -> Result<()> {
    let host = host()?;
    let build_dir = place::target().join("fuzz");
    Task::cargo("build")
        .args(["--release", "--target", &host])
        .dir(DIR.as_ref())
        .env("CARGO_TARGET_DIR", &build_dir)
        .env("RUSTFLAGS", COVERAGE)
        .run()?;
    let corpus = build_dir.join("corpus");
    Task::cargo("run")
        .args(["--quiet", "--package", "cardume-fuzz", "--bin", "write-corpus", "--"])
        .args([&corpus])
        .run()?;
    let programs = build_dir.join(&host).join("release");
    targets.iter().try_for_each(|target| fuzz(target.as_ref(), &programs.join(target.as_ref()), time))
}

/// Runs one target. Inputs that reach new code are kept in the build directory and start the next run.
fn fuzz(target: &str, program: &PathBuf, time: Duration) -> Result<()> {
    let corpus = place::target().join("fuzz/corpus").join(target);
    let findings = place::target().join("fuzz/findings").join(target);
    for dir in [&corpus, &findings] {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    say!("fuzzing {target} for {} s", time.as_secs());
    Task::new(program)
        .args([
            format!("-max_total_time={}", time.as_secs()),
            format!("-max_len={INPUT_LEN_LIMIT}"),
            format!("-timeout={}", INPUT_TIME_LIMIT.as_secs()),
            format!("-artifact_prefix={}/", findings.display()),
            "-print_final_stats=1".into(),
            "-verbosity=0".into(),
        ])
        .args([&corpus])
        .run()
        .with_context(|| format!("fuzz target {target}; its input is in {}", findings.display()))
}

fn targets() -> Result<Vec<String>> {
    let dir = place::root().join(DIR).join("targets");
    let entries = dir.read_dir().with_context(|| format!("cannot list {}", dir.display()))?;
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned));
    let mut names: Vec<_> = names.collect();
    names.sort();
    Ok(names)
}

/// The host's target triple: named, so that build scripts are compiled without the counters.
fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Task::new(rustc).args(["-vV"]).read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what its host is")
}
