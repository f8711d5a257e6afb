//! All measurements of a tracker of our own, beside other trackers that run already.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::ours::Ours;
use crate::{idle, secure, siege, torrent, viewers};

/// Offers of each announce and bytes of each description, as others have been measured.
const SETTINGS: [(usize, usize); 3] = [(5, 1000), (10, 50), (0, 0)];
/// Fewer than the files that a process may have open on most machines.
const CONNECTIONS: usize = 19_000;

/// Options of `load bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// The tracker's binary.
    #[arg(long)]
    tracker: PathBuf,
    /// Another tracker that runs, such as aquatic=ws://127.0.0.1:3000 or, to have its memory measured, with @PID behind it. Keep it
    /// on the first processor (taskset -c 0), as ours is.
    #[arg(long, value_name = "NAME=URL[@PID]", value_parser = other)]
    against: Vec<Other>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// End with one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug)]
struct Other {
    name: String,
    url: String,
    pid: Option<u32>,
}

fn other(text: &str) -> Result<Other> {
    let (name, rest) = text.split_once('=').context("write NAME=URL or NAME=URL@PID")?;
    let (url, pid) = match rest.split_once('@') {
        Some((url, pid)) => (url, Some(pid.parse().context("the PID is no number")?)),
        None => (rest, None),
    };
    Ok(Other { name: name.to_owned(), url: url.to_owned(), pid })
}

/// Measures.
pub(crate) async fn run(options: Options) -> Result<String> {
    let ours = Ours::start(&options.tracker)?;
    let mine = Other { name: "cardume".into(), url: ours.url("/announce"), pid: Some(ours.pid()) };
    let mut rows = Vec::new();
    for tracker in core::iter::once(&mine).chain(&options.against) {
        rows.push(measure(tracker, options.seconds).await);
    }
    if let Some(error) = rows[0]["failed"].as_str() {
        bail!("our own tracker failed: {error}");
    }
    let viewers = viewers::run(viewers::Options::of(ours.url(""), options.seconds)).await?;
    let idle_viewers = idle::run(idle::Options::viewers(ours.url(""), ours.pid(), CONNECTIONS / 4)).await?;
    eprintln!("cardume: hostile clients beside others");
    let siege = siege::run(siege::Options::of(mine.url.clone(), ours.pid(), options.seconds)).await?;
    drop(ours);
    eprintln!("cardume: idle connections over TLS");
    let idle_tls = secure::run(secure::Options::of(options.tracker, CONNECTIONS / 4)).await?;
    if options.json {
        let all = json!({
            "bench": "tracker", "rows": rows, "viewers": viewers, "idle_viewers": idle_viewers, "idle_tls": idle_tls,
            "siege": siege,
        });
        return Ok(all.to_string());
    }
    let table = table(&rows);
    Ok(format!(
        "{table}\nour own signalling:\n{viewers}\n{idle_viewers}\nover TLS:\n{idle_tls}\nbesieged:\n{siege:#}"
    ))
}

/// A row, as far as it came: a tracker that fails takes nothing from the others.
async fn measure(tracker: &Other, seconds: u64) -> Value {
    let mut row = json!({ "tracker": tracker.name });
    if let Err(error) = fill(&mut row, tracker, seconds).await {
        let error = format!("{error:#}");
        eprintln!("{}: {error}", tracker.name);
        row["failed"] = error.into();
    }
    row
}

async fn fill(row: &mut Value, tracker: &Other, seconds: u64) -> Result<()> {
    let Other { name, url, pid } = tracker;
    for (index, (offers, sdp_len)) in SETTINGS.into_iter().enumerate() {
        eprintln!("{name}: {offers} offers of {sdp_len} bytes, {seconds} s");
        let options = torrent::Options::of(url.clone(), offers, sdp_len, seconds);
        row[format!("setting_{index}")] = torrent::run(options).await?;
    }
    if let Some(pid) = *pid {
        eprintln!("{name}: {CONNECTIONS} idle connections");
        row["idle"] = idle::run(idle::Options::torrents(url.clone(), pid, CONNECTIONS)).await?;
    }
    Ok(())
}

/// A line for each tracker, and below it its ratio to ours.
fn table(rows: &[Value]) -> String {
    let figure =
        |row: &Value, pointer: &str| row.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let columns = [
        ("5 offers of 1,000 B: announces/s", "/setting_0/replies_per_s"),
        ("useful/s", "/setting_0/useful_per_s"),
        ("p99, ms", "/setting_0/p99_ms"),
        ("10 of 50 B: useful/s", "/setting_1/useful_per_s"),
        ("no offers: announces/s", "/setting_2/replies_per_s"),
        ("bytes per idle", "/idle/bytes_each"),
    ];
    let line = |name: &str, cell: &dyn Fn(&str) -> String| {
        let cells =
            columns.iter().map(|(head, pointer)| format!("{:>width$}", cell(pointer), width = head.len()));
        format!("{name:18}  {}\n", cells.collect::<Vec<_>>().join("  "))
    };
    let heads = columns.map(|(head, _)| head).join("  ");
    let lines = rows.iter().flat_map(|row| {
        let name = row["tracker"].as_str().unwrap_or_default();
        let figures = line(name, &|pointer| format!("{:.0}", figure(row, pointer)));
        let failed = row["failed"].as_str().map(|error| format!("  failed: {error}\n")).unwrap_or_default();
        let ratios = line("  ours, times it", &|pointer| {
            format!("{:.2}", figure(&rows[0], pointer) / figure(row, pointer))
        });
        [figures, ratios, failed]
    });
    core::iter::once(format!("{:18}  {heads}\n", "tracker")).chain(lines).collect()
}
