//! `sim NAME`: runs a scenario and tells how it went.

use std::time::Instant;

use anyhow::{Context, bail};
use cardume_sim::{NAMES, Progress, World, named};
use clap::Parser;
use serde_json::json;

/// Runs a scenario of the swarm in virtual time.
#[derive(Parser)]
struct Arguments {
    /// One of first-light, kill-feeder, budget, direct, tracker-restart, flash.
    name: String,
    /// The run is a function of the scenario and this number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many viewers join at the begin, instead of the scenario's own number.
    #[arg(long)]
    peers: Option<usize>,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Write all that happens to this viewer to standard error; 0 is the server.
    #[arg(long)]
    trace: Option<u64>,
    /// Tell of each viewer, too.
    #[arg(long)]
    viewers: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let scenario = named(&arguments.name, arguments.peers).with_context(|| {
        format!("there is no scenario {:?}; there are {}", arguments.name, NAMES.join(", "))
    })?;
    let length = scenario.length.as_secs();
    let begun = Instant::now();
    let mut world = World::new(scenario, arguments.seed);
    if let Some(viewer) = arguments.trace {
        world.trace(viewer);
    }
    let report = world.run(|Progress { seconds, n_events }| {
        if seconds % 10 == 0 {
            eprintln!(
                "{seconds} of {length} s, {n_events} events, {:.1} s passed",
                begun.elapsed().as_secs_f64()
            );
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}", report.table());
    if arguments.viewers {
        for viewer in &report.viewers {
            println!("{}", json!(viewer));
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = report.n_events as f64 / seconds;
    println!("{} events in {seconds:.1} s, {rate:.0} per second", report.n_events);
    if arguments.json {
        let machine = json!({ "os": std::env::consts::OS, "arch": std::env::consts::ARCH,
            "cores": std::thread::available_parallelism().map_or(1, usize::from) });
        let run = json!({ "seed": arguments.seed, "times": { "wall_s": seconds, "events_per_s": rate }, "machine": machine });
        println!("{}", report.json(&run));
    }
    if !report.violations.is_empty() {
        bail!("{} invariants were violated", report.violations.len());
    }
    Ok(())
}
