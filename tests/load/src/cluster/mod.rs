//! Three nodes and NATS, viewers on all of them, and what happens when one of it dies; beside it, a node alone.

mod ledger;
mod processes;
mod viewer;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::pace::pass;
use ledger::Ledger;
use processes::{CHANNEL, Encoder, Process};
use viewer::{Stage, Viewer};

/// The target latency of a channel that names none: what viewers have in their buffers.
const BUFFER: Duration = Duration::from_secs(2);
/// Time for all viewers to come and to see something.
const GATHER_LIMIT: Duration = Duration::from_mins(3);
/// Viewers that come each second.
const ARRIVALS_PER_SECOND: usize = 200;
/// How long NATS is away.
const OUTAGE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Options of `load cluster`.
#[derive(Args)]
pub(crate) struct Options {
    /// The tracker's binary.
    #[arg(long)]
    tracker: PathBuf,
    /// Viewers in all.
    #[arg(long, default_value_t = 300)]
    viewers: usize,
    /// Seconds to look after each thing that happens.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// End with one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Measures.
pub(crate) async fn run(options: Options) -> Result<String> {
    let tasks = LocalSet::new();
    let rows = tasks.run_until(async {
        let mut rows = cluster(&options).await?;
        rows.extend(alone(&options).await?);
        Ok::<_, anyhow::Error>(rows)
    });
    let rows = rows.await?;
    if options.json {
        return Ok(json!({ "bench": "cluster", "viewers": options.viewers, "rows": rows }).to_string());
    }
    Ok(table(&rows))
}

/// The phases of a cluster's life.
async fn cluster(options: &Options) -> Result<Vec<Value>> {
    let mut nats = Process::nats()?;
    nats.start().await?;
    let (mut nodes, mut rtmp_ports) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (mut node, rtmp_port) = Process::node(&options.tracker, Some(&nats))?;
        node.start().await?;
        nodes.push(node);
        rtmp_ports.push(rtmp_port);
    }
    let mut encoder = Encoder::start(rtmp_ports[0])?;
    let audience = Audience::gather(&nodes, options).await?;
    let mut rows = vec![audience.phase("three nodes, nothing happens").await];
    nodes[2].kill();
    rows.push(audience.phase("a node killed").await);
    nodes[2].start().await?;
    rows.push(audience.phase("and started again").await);
    nats.kill();
    pass(OUTAGE).await;
    rows.push(audience.note("NATS killed: those at the encoder's node and the others"));
    nats.start().await?;
    let healed = audience.all_see_something().await?;
    audience.turn_page();
    let mut row = audience.phase("NATS back").await;
    row["healed_ms"] = json!(u64::try_from(healed.as_millis())?);
    rows.push(row);
    nodes[0].kill();
    let killed_at = Instant::now();
    // An encoder that tries the next node until it is let in, as OBS does: the dead one's right lapses after 3 s.
    while !encoder.is_sending() || killed_at.elapsed() < Duration::from_secs(1) {
        encoder = Encoder::start(rtmp_ports[1])?;
        pass(Duration::from_secs(1)).await;
    }
    rows.push(audience.phase("the encoder's node killed").await);
    Ok(rows)
}

/// One node by itself, killed and started again at once.
async fn alone(options: &Options) -> Result<Vec<Value>> {
    let (mut node, rtmp_port) = Process::node(&options.tracker, None)?;
    node.start().await?;
    let encoder = Encoder::start(rtmp_port)?;
    let audience = Audience::gather(std::slice::from_ref(&node), options).await?;
    drop(encoder);
    node.kill();
    node.start().await?;
    let _encoder = Encoder::start(rtmp_port)?;
    Ok(vec![audience.phase("a node alone killed, and started again at once").await])
}

/// The viewers of one run; they go with this.
struct Audience {
    stage: Rc<Stage>,
    seconds: Duration,
    _viewers: tokio::task::JoinSet<()>,
}

impl Audience {
    /// Lets all come, and waits until each has seen something.
    async fn gather(nodes: &[Process], options: &Options) -> Result<Self> {
        let stage = Rc::new(Stage {
            nodes: nodes.iter().map(|node| node.address).collect(),
            channel: CHANNEL.to_owned(),
            ledger: RefCell::new(Ledger::new(options.viewers)),
        });
        let mut viewers = tokio::task::JoinSet::new();
        for index in 0..options.viewers {
            viewers.spawn_local(Viewer::new(Rc::clone(&stage), index).live());
            if index % ARRIVALS_PER_SECOND == ARRIVALS_PER_SECOND - 1 {
                pass(Duration::from_secs(1)).await;
            }
        }
        let began_at = Instant::now();
        while stage.ledger.borrow().n_watching() < options.viewers {
            if began_at.elapsed() > GATHER_LIMIT {
                bail!("{} of {} viewers see something", stage.ledger.borrow().n_watching(), options.viewers);
            }
            pass(LOOK_INTERVAL).await;
        }
        stage.ledger.borrow_mut().turn_page();
        Ok(Self { stage, seconds: Duration::from_secs(options.seconds), _viewers: viewers })
    }

    /// Waits until each has seen something from now on, and says how long that took.
    async fn all_see_something(&self) -> Result<Duration> {
        let began_at = Instant::now();
        let n_viewers = self.stage.ledger.borrow().n_watching();
        while self.stage.ledger.borrow().n_watching_since(began_at) < n_viewers {
            if began_at.elapsed() > GATHER_LIMIT {
                bail!("not all viewers see something again");
            }
            pass(LOOK_INTERVAL).await;
        }
        Ok(began_at.elapsed())
    }

    /// Looks for a while, and says what was seen since the last phase.
    async fn phase(&self, name: &str) -> Value {
        pass(self.seconds).await;
        self.note(name)
    }

    fn note(&self, name: &str) -> Value {
        let row = self.stage.ledger.borrow().finish(name, BUFFER);
        self.turn_page();
        eprintln!("{row}");
        row
    }

    fn turn_page(&self) {
        self.stage.ledger.borrow_mut().turn_page();
    }
}

fn table(rows: &[Value]) -> String {
    let columns = [
        ("back", "n_returned"),
        ("p50 ms", "return_p50_ms"),
        ("p99 ms", "return_p99_ms"),
        ("gap p50", "gap_p50_ms"),
        ("gap p99", "gap_p99_ms"),
        ("gap max", "gap_max_ms"),
        ("over 2 s", "n_over_buffer"),
        ("healed", "healed_ms"),
        ("offers", "offers"),
        ("returned", "offers_returned"),
        ("lost", "offers_lost"),
        ("wrong", "wrong"),
    ];
    let heads = columns.map(|(head, _)| format!("{head:>9}")).concat();
    let line = |row: &Value| {
        let cells = columns.map(|(_, key)| match &row[key] {
            Value::Null => format!("{:>9}", "-"),
            value => format!("{:>9}", value.to_string()),
        });
        format!("{:55}{}\n", row["phase"].as_str().unwrap_or_default(), cells.concat())
    };
    core::iter::once(format!("{:55}{heads}\n", "")).chain(rows.iter().map(line)).collect()
}
