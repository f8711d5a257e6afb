//! `sim NAME`: runs a scenario and tells how it went.

use std::time::{Duration, Instant};

use anyhow::bail;
use cardume_sim::{Cost, Progress, Scenario, World, names};
use clap::Parser;
use serde_json::json;

/// Runs a scenario of the swarm in virtual time.
#[derive(Parser)]
struct Arguments {
    /// A built-in scenario, or the path of a scenario file (TOML).
    #[arg(help = format!("A scenario file (TOML), or one that is built in: {}", names().join(", ")))]
    name: String,
    /// The run is a function of the scenario and this number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many viewers join, instead of the scenario's own number; churn and incidents grow with them.
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000_000))]
    peers: Option<usize>,
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
    /// Tell of each viewer, too.
    #[arg(long)]
    viewers: bool,
}

/// Between two lines of progress.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let scenario = Scenario::load(&arguments.name)?;
    let mut scenario = match arguments.peers {
        Some(n) => scenario.with_viewers(n),
        None => scenario,
    };
    scenario.access.is_known |= arguments.known;
    let length = scenario.length.as_secs();
    let begun = Instant::now();
    let mut world = World::new(scenario, arguments.seed);
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
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}", report.table());
    if arguments.viewers {
        for viewer in &report.viewers {
            println!("{}", json!(viewer));
        }
    }
    let cost = Cost::of(&report, seconds);
    println!("{}", cost.line());
    if arguments.json {
        let machine = json!({ "os": std::env::consts::OS, "arch": std::env::consts::ARCH,
            "cores": std::thread::available_parallelism().map_or(1, usize::from) });
        let run = json!({ "seed": arguments.seed, "cost": cost, "machine": machine });
        println!("{}", report.json(&run));
    }
    if !report.violations.is_empty() {
        bail!("{} invariants were violated", report.violations.len());
    }
    Ok(())
}

/// One line of progress with an estimate of the time left: as if each virtual second took as long as the last ones did
/// on average.
#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
fn tell(Progress { seconds, n_events }: Progress, length: u64, passed: Duration) {
    let passed = passed.as_secs_f64();
    let left = passed / seconds.max(1) as f64 * length.saturating_sub(seconds) as f64;
    eprintln!("{seconds} of {length} s, {n_events} events, {passed:.0} s passed, about {left:.0} s left");
}
