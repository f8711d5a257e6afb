//! Three nodes and NATS, viewers on all of them, and what happens when one of it dies; beside it, a node alone.
//!
//! Most viewers are signalling alone, so that thousands fit on one machine; some take media over the server's link as well, and some
//! are full peers, with real data channels and an imagined player.

mod door;
mod encoder;
mod full;
mod goals;
mod ledger;
mod processes;
mod table;
mod viewer;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::pace::pass;
use encoder::Encoder;
use full::FullPeers;
use goals::BUFFER;
use ledger::Ledger;
use processes::{FULL, LIVE, Process};
use viewer::{Stage, Viewer};

/// Time for all viewers to come and to see something.
const GATHER_LIMIT: Duration = Duration::from_mins(3);
/// Viewers that come each second.
const ARRIVALS_PER_SECOND: usize = 200;
/// Between the last viewer's coming and the first phase.
const SETTLE_TIME: Duration = Duration::from_secs(5);
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
    /// Of these, full peers.
    #[arg(long, default_value_t = 20)]
    native: usize,
    /// Of the others, so many take media over the server's link and verify it, which costs this machine the most.
    #[arg(long, default_value_t = 300)]
    linked: usize,
    /// Seconds to look after each thing that happens.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// End with one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Measures.
pub(crate) async fn run(options: Options) -> Result<String> {
    if options.native >= options.viewers {
        bail!("--native {} must be less than --viewers {}", options.native, options.viewers);
    }
    let tasks = LocalSet::new();
    let rows = tasks.run_until(async {
        let mut rows = cluster(&options).await?;
        rows.extend(alone(&options).await?);
        Ok::<_, anyhow::Error>(rows)
    });
    let rows = rows.await?;
    let goals = goals::judge(&rows);
    if options.json {
        let Options { viewers, native, linked, .. } = options;
        let report = json!({
            "bench": "cluster", "viewers": viewers, "native": native, "linked": linked, "rows": rows, "goals": goals,
        });
        return Ok(report.to_string());
    }
    Ok(format!("{}\n{}", table::all(&rows), goals::told(&goals)))
}

/// The phases of a cluster's life.
async fn cluster(options: &Options) -> Result<Vec<Value>> {
    let mut nats = Process::nats()?;
    nats.start().await?;
    let (mut nodes, mut doors) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (mut node, rtmp) = Process::node(&options.tracker, Some(&nats))?;
        node.start().await?;
        nodes.push(node);
        doors.push(rtmp);
    }
    let encoders = [Encoder::start(doors.clone(), LIVE).await?, Encoder::start(doors.clone(), FULL).await?];
    let audience = Audience::gather(&nodes, options).await?;
    let mut rows = vec![audience.phase("three nodes, nothing happens").await];
    nodes[2].kill();
    rows.push(audience.phase("a node killed").await);
    nodes[2].start().await?;
    rows.push(audience.phase("and started again").await);
    nats.kill();
    pass(OUTAGE).await;
    let mut row = audience.note("NATS killed, away for 10 s");
    // Two thirds of those who have no neighbours.
    row["is_cut_off"] = json!(true);
    rows.push(row);
    nats.start().await?;
    let healed = audience.all_see_something().await?;
    audience.turn_page();
    let mut row = audience.phase("NATS back").await;
    row["healed_ms"] = json!(u64::try_from(healed.as_millis())?);
    rows.push(row);
    nodes[0].kill();
    let mut row = audience.phase("the encoders' node killed").await;
    if let Some(away) = encoders[0].away() {
        row["encoder_away_ms"] = json!(u64::try_from(away.as_millis())?);
    }
    rows.push(row);
    rows.push(silence(&audience, &nodes[1], (&encoders[0], doors[1])).await?);
    Ok(rows)
}

/// The node that has the encoder now falls silent, and the encoder is taken to another: how soon viewers there have what it sends.
/// Those of the silent node are left alone: nothing tells them.
async fn silence(
    audience: &Audience,
    node: &Process,
    (encoder, door): (&Encoder, SocketAddr),
) -> Result<Value> {
    let began_at = Instant::now();
    node.fall_silent()?;
    encoder.leave(door);
    let handed_over_at = loop {
        if let Some(at) = audience.stage.ledger.borrow().newest_at().filter(|at| *at > began_at) {
            break at;
        }
        if began_at.elapsed() > GATHER_LIMIT {
            bail!("no other node takes the encoder");
        }
        pass(LOOK_INTERVAL).await;
    };
    let handed_over_ms = u64::try_from((handed_over_at - began_at).as_millis())?;
    let row = json!({ "phase": "the encoders' next node silent", "handed_over_ms": handed_over_ms });
    eprintln!("{row}");
    Ok(row)
}

/// One node by itself, killed and started again at once.
async fn alone(options: &Options) -> Result<Vec<Value>> {
    let (mut node, rtmp) = Process::node(&options.tracker, None)?;
    node.start().await?;
    let encoders = [Encoder::start(vec![rtmp], LIVE).await?, Encoder::start(vec![rtmp], FULL).await?];
    let audience = Audience::gather(std::slice::from_ref(&node), options).await?;
    node.kill();
    node.start().await?;
    let mut row = audience.phase("a node alone killed, and started again at once").await;
    if let Some(away) = encoders[0].away() {
        row["encoder_away_ms"] = json!(u64::try_from(away.as_millis())?);
    }
    Ok(vec![row])
}

/// The viewers of one run; they go with this.
struct Audience {
    stage: Rc<Stage>,
    seconds: Duration,
    full: Option<FullPeers>,
    _viewers: tokio::task::JoinSet<()>,
}

impl Audience {
    /// Lets all come, and waits until each has seen something.
    async fn gather(nodes: &[Process], options: &Options) -> Result<Self> {
        let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
        let n_viewers = options.viewers - options.native;
        let n_linked = options.linked.min(n_viewers);
        let stage = Rc::new(Stage {
            nodes: addresses.clone(),
            channel: LIVE.channel.to_owned(),
            n_linked,
            ledger: RefCell::new(Ledger::new(n_linked)),
        });
        let full = match options.native {
            0 => None,
            n => Some(FullPeers::gather(&options.tracker, addresses, (n, GATHER_LIMIT)).await?),
        };
        let mut viewers = tokio::task::JoinSet::new();
        for index in 0..n_viewers {
            viewers.spawn_local(Viewer::new(Rc::clone(&stage), index).live());
            if index % ARRIVALS_PER_SECOND == ARRIVALS_PER_SECOND - 1 {
                pass(Duration::from_secs(1)).await;
            }
        }
        let began_at = Instant::now();
        loop {
            let (n_entered, n_watching) =
                (stage.ledger.borrow().n_entered(), stage.ledger.borrow().n_watching());
            if n_entered == n_viewers && n_watching == n_linked {
                break;
            }
            if began_at.elapsed() > GATHER_LIMIT {
                bail!(
                    "{n_entered} of {n_viewers} viewers are let in, {n_watching} of {n_linked} see something"
                );
            }
            pass(LOOK_INTERVAL).await;
        }
        // What coming cost is over, for all.
        pass(SETTLE_TIME).await;
        let seconds = Duration::from_secs(options.seconds);
        let audience = Self { stage, seconds, full, _viewers: viewers };
        audience.turn_page();
        Ok(audience)
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
        let mut row = self.stage.ledger.borrow_mut().finish(name, BUFFER);
        if let Some(full) = &self.full {
            row["full"] = full.row();
        }
        self.turn_page();
        eprintln!("{row}");
        row
    }

    fn turn_page(&self) {
        self.stage.ledger.borrow_mut().turn_page();
        if let Some(full) = &self.full {
            full.turn_page();
        }
    }
}
