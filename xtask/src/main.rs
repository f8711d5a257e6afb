//! Every developer command of Cardume: `cargo xtask --help` lists them, and CI calls nothing else.
//!
//! Progress goes to standard error; standard output carries results only, so `--json` can be piped.

mod artefacts;
mod bench;
mod check;
mod demo;
mod fresh;
mod fuzz;
mod mutate;
mod nat;
mod place;
mod setup;
mod stages;
mod tally;
mod task;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Every developer command of Cardume.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the other commands need (they also do it themselves).
    Setup {
        /// Also what the tests need: a Chromium, its driver, ffmpeg.
        #[arg(long)]
        tests: bool,
    },
    /// Build everything: the peer in WebAssembly, the web site, and the tracker with the site inside.
    Build,
    /// Build everything and run a tracker with a live demo channel.
    Demo(demo::Options),
    /// Formatting, lints for Rust and TypeScript, and the house's own rules.
    Check,
    /// Set up what the tests need and run all that CI runs.
    Test,
    /// The whole browser matrix, including the long tests that CI leaves out.
    Browser {
        /// Passed on to Playwright, for example `-g embed`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Feed the parsers and the core with what no test would think of.
    Fuzz(fuzz::Options),
    /// Break the scheduler on purpose, to see whether the tests notice.
    Mutate(mutate::Options),
    /// Show which viewers connect how, behind NATs of each kind; needs Linux and root.
    Nat,
    /// Run the benchmark NAME, for example `first-light`.
    Bench(bench::BenchOptions),
    /// Run the simulator's scenario NAME.
    Sim(bench::SimOptions),
}

fn main() -> ExitCode {
    match task::end_children_on_signal().and_then(|()| run(Cli::parse().command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Setup { tests } => setup::all(tests),
        Command::Build => artefacts::build().map(drop),
        Command::Demo(options) => demo::run(&options),
        Command::Check => check::run(),
        Command::Test => test::run(),
        Command::Browser { arguments } => test::browser_matrix(&arguments),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Mutate(options) => mutate::run(&options),
        Command::Nat => nat::run(),
        Command::Bench(options) => bench::bench(&options),
        Command::Sim(options) => bench::sim(&options),
    }
}
