//! `sim NAME`: runs a scenario and tells how it went.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cardume_sim::goals::{self, Order, Size};
use cardume_sim::oracle::{Beside, Impossible};
use cardume_sim::plot::Album;
use cardume_sim::{Cost, Progress, Report, Scenario, World, names};
use clap::Parser;
use serde_json::json;

/// Runs a scenario of the swarm in virtual time.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Only asks the oracle: how soon every viewer could have every block if one mind planned each copy.
    Oracle {
        #[command(flatten)]
        what: What,
    },
    /// Runs the scenarios of the swarm's goals and tells how each stands; fails when one that was reached is lost.
    Goals(GoalsArguments),
}

#[derive(clap::Args)]
struct GoalsArguments {
    /// Small swarms that show within minutes whether something was lost.
    #[arg(long, conflicts_with = "full")]
    short: bool,
    /// As many viewers as the goals name, up to ten thousand.
    #[arg(long)]
    full: bool,
    /// Each scenario is run with each of these; the worst figure counts.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    seeds: Vec<u64>,
    /// Only these goals, by their number.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=9))]
    only: Vec<u8>,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What is run.
#[derive(clap::Args)]
struct What {
    /// A built-in scenario, or the path of a scenario file (TOML).
    #[arg(help = format!("A scenario file (TOML), or one that is built in: {}", names().join(", ")))]
    name: Option<String>,
    /// The run is a function of the scenario and this number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many viewers join, instead of the scenario's own number; churn and incidents grow with them.
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000_000))]
    peers: Option<usize>,
}

#[derive(clap::Args)]
struct RunArguments {
    #[command(flatten)]
    what: What,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Write all that happens to this viewer to standard error; 0 is the server.
    #[arg(long)]
    trace: Option<u64>,
    /// Viewers know their uplinks, whatever the scenario says.
    #[arg(long)]
    known: bool,
    /// Write to standard error how the swarm is built, each time so many seconds of the run have passed.
    #[arg(long)]
    census: Option<u64>,
    /// Write pictures (SVG) of this run, and of the same scenario with smaller audiences, into this folder.
    #[arg(long, value_name = "FOLDER")]
    plot: Option<PathBuf>,
    /// Tell of each viewer, too.
    #[arg(long)]
    viewers: bool,
}

/// Between two lines of progress.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Oracle { what }) => oracle(&what),
        Some(Command::Goals(arguments)) => goals(&arguments),
        None => run(&arguments.run),
    }
}

impl What {
    fn scenario(&self) -> anyhow::Result<Scenario> {
        let name = self.name.as_ref();
        let name = name.with_context(|| format!("name a scenario: {}", names().join(", ")))?;
        let scenario = Scenario::load(name)?;
        Ok(match self.peers {
            Some(n) => scenario.with_viewers(n),
            None => scenario,
        })
    }
}

fn oracle(what: &What) -> anyhow::Result<()> {
    let scenario = what.scenario()?;
    let beside = ask_oracle(&scenario, what.seed)?;
    println!("oracle {} seed {}, {} viewers", scenario.name, what.seed, beside.n_viewers);
    println!("  delay        {}", beside.line());
    Ok(())
}

fn goals(arguments: &GoalsArguments) -> anyhow::Result<()> {
    let size = match (arguments.short, arguments.full) {
        (true, _) => Size::Short,
        (false, true) => Size::Full,
        (false, false) => Size::Usual,
    };
    let order = Order { size, seeds: arguments.seeds.clone(), only: arguments.only.clone() };
    let begun = Instant::now();
    let outcome = goals::judge(&order, &|line| eprintln!("goals: {line}"))?;
    println!("{}", outcome.table());
    if arguments.json {
        println!(
            "{}",
            outcome
                .json(&json!({ "times": { "wall_s": begun.elapsed().as_secs_f64() }, "machine": machine() }))
        );
    }
    let lost: Vec<&str> = outcome.lost().map(|row| row.id).collect();
    if !lost.is_empty() {
        bail!("lost, though recorded as reached in tests/sim/goals.toml: {}", lost.join(", "));
    }
    Ok(())
}

fn machine() -> serde_json::Value {
    json!({ "os": std::env::consts::OS, "arch": std::env::consts::ARCH,
        "cores": std::thread::available_parallelism().map_or(1, usize::from) })
}

fn run(arguments: &RunArguments) -> anyhow::Result<()> {
    let seed = arguments.what.seed;
    let mut scenario = arguments.what.scenario()?;
    scenario.access.is_known |= arguments.known;
    let (report, cost) = simulate(arguments, &scenario);
    let beside = ask_oracle(&scenario, seed);
    println!("{}", report.table());
    println!("  oracle       {}\n", against_oracle(&beside, &report));
    if arguments.viewers {
        for viewer in &report.viewers {
            println!("{}", json!(viewer));
        }
    }
    println!("{}", cost.line());
    if arguments.json {
        let times = beside.as_ref().ok().map(|beside| beside.ratio(report.delay_ms[2]));
        let run = json!({ "seed": seed, "cost": cost, "machine": machine(), "oracle": beside.ok(),
            "times_oracle_p99": times });
        println!("{}", report.json(&run));
    }
    if let Some(folder) = &arguments.plot {
        plot(&scenario, seed, &report, folder)?;
    }
    if !report.violations.is_empty() {
        bail!("{} invariants were violated", report.violations.len());
    }
    Ok(())
}

fn simulate(arguments: &RunArguments, scenario: &Scenario) -> (Report, Cost) {
    let length = scenario.length.as_secs();
    let begun = Instant::now();
    let mut world = World::new(scenario.clone(), arguments.what.seed);
    if let Some(seconds) = arguments.census {
        world.census_each(seconds);
    }
    if let Some(viewer) = arguments.trace {
        world.trace(viewer);
    }
    let mut told_at = begun;
    let report = world.run(|progress| {
        if told_at.elapsed() >= TELL_INTERVAL {
            told_at = Instant::now();
            tell(progress, length, begun.elapsed());
        }
    });
    let cost = Cost::of(&report, begun.elapsed().as_secs_f64());
    (report, cost)
}

fn plot(scenario: &Scenario, seed: u64, report: &Report, folder: &Path) -> anyhow::Result<()> {
    let progress = |n_viewers| eprintln!("plot: {n_viewers} viewers");
    let pictures = Album::new(scenario, seed, report, progress).write(folder);
    for picture in pictures.with_context(|| format!("cannot write pictures into {}", folder.display()))? {
        eprintln!("plot: {}", picture.display());
    }
    Ok(())
}

/// A row of the table: the oracle's delays and the run's ratio to them, or why there are none.
fn against_oracle(beside: &Result<Beside, Impossible>, report: &Report) -> String {
    match beside {
        Ok(beside) => format!("{}; {}", beside.line(), beside.verdict(report.delay_ms[2])),
        Err(impossible) => format!("none: {impossible}"),
    }
}

/// How soon every viewer could have every block, with progress for people.
fn ask_oracle(scenario: &Scenario, seed: u64) -> Result<Beside, Impossible> {
    let mut told_at = Instant::now();
    Beside::of(scenario, seed, |n_planned, n| {
        if told_at.elapsed() >= TELL_INTERVAL {
            told_at = Instant::now();
            eprintln!("oracle: {n_planned} of {n} blocks");
        }
    })
}

/// One line of progress with an estimate of the time left: as if each virtual second took as long as the last ones did
/// on average.
#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
fn tell(Progress { seconds, n_events }: Progress, length: u64, passed: Duration) {
    let passed = passed.as_secs_f64();
    let left = passed / seconds.max(1) as f64 * length.saturating_sub(seconds) as f64;
    eprintln!("{seconds} of {length} s, {n_events} events, {passed:.0} s passed, about {left:.0} s left");
}
