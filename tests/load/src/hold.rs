//! Very many connections for long: some announce all the time, some close and others come, and memory must not grow.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, LocalSet};

use crate::memory::resident;
use crate::ours::Ours;
use crate::pace::pass;
use crate::socket::{Socket, Target};
use crate::tally::Tally;
use crate::torrent;

/// Announces go out in so many batches a second.
const BATCHES_PER_SECOND: u32 = 50;
/// Of the whole time, until memory is looked at: buffers have been through their busiest by then.
const WARM_UP_PERCENT: u32 = 20;

/// Options of `load hold`.
#[derive(Args)]
pub(crate) struct Options {
    /// The tracker's binary.
    #[arg(long)]
    tracker: PathBuf,
    /// Connections at any time.
    #[arg(long, default_value_t = 19_000)]
    connections: usize,
    /// Seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// Announces with two offers, each second.
    #[arg(long, default_value_t = 1_000)]
    announces: u32,
    /// Connections that end each second, with others in their place.
    #[arg(long, default_value_t = 50)]
    churn: u32,
    /// For the sake of the other benchmarks: it is JSON anyway.
    #[arg(long, hide = true)]
    json: bool,
}

/// A connection and who reads it.
struct Peer {
    /// Never used before: of one that was used, the tracker may not know yet that its connection ended.
    number: u64,
    socket: Rc<Socket>,
    reader: JoinHandle<()>,
}

struct Crowd {
    target: Target,
    tally: Rc<RefCell<Tally>>,
    peers: Vec<Peer>,
    n_opened: Cell<u64>,
    offers: String,
}

/// Measures.
pub(crate) async fn run(options: Options) -> Result<Value> {
    LocalSet::new().run_until(hold(options)).await
}

async fn hold(options: Options) -> Result<Value> {
    let Options { tracker, connections, seconds, announces, churn, .. } = options;
    ensure!(connections > 0 && seconds > 0, "there is nothing to hold");
    let ours = Ours::start(&tracker)?;
    let (target, pid) = (Target::parse(&ours.url("/announce"))?, ours.pid());
    let tally = Rc::new(RefCell::new(Tally::new()));
    let mut crowd = Crowd {
        target,
        tally,
        peers: Vec::new(),
        n_opened: Cell::default(),
        offers: torrent::offers(2, 1000),
    };
    for index in 0..connections {
        crowd.join(index).await?;
        if index % 5_000 == 4_999 {
            eprintln!("{} connections stand", index + 1);
        }
    }
    crowd.tally.replace(Tally::new());
    let (mut next, mut memory) = (0, Vec::new());
    let began_at = Instant::now();
    for second in 0..seconds {
        for batch in 0..BATCHES_PER_SECOND {
            for _ in 0..announces / BATCHES_PER_SECOND {
                next = (next + 1) % connections;
                crowd.announce(next);
            }
            let due = Duration::from_secs(second.into())
                + Duration::from_secs(1) * (batch + 1) / BATCHES_PER_SECOND;
            pass(due.saturating_sub(began_at.elapsed())).await;
        }
        for _ in 0..churn {
            crowd.replace(fastrand::usize(..connections)).await?;
        }
        if second * 100 >= seconds * WARM_UP_PERCENT {
            memory.push(resident(pid)?);
        }
        if second % 30 == 29 {
            eprintln!("{} s, {} MiB", second + 1, resident(pid)? >> 20);
        }
    }
    let tally = crowd.tally.replace(Tally::new());
    let (first, last) = (memory.first().copied(), memory.last().copied());
    let mut row = tally.finish(&format!("{connections} connections held for {seconds} s"));
    row["rss_bytes_after_warm_up"] = json!(first);
    row["rss_bytes_at_the_end"] = json!(last);
    row["rss_bytes_most"] = json!(memory.iter().max());
    Ok(row)
}

impl Crowd {
    async fn join(&mut self, index: usize) -> Result<()> {
        let peer = self.open(index).await?;
        self.peers.push(peer);
        self.announce(index);
        Ok(())
    }

    async fn replace(&mut self, index: usize) -> Result<()> {
        let new = self.open(index).await?;
        let old = core::mem::replace(&mut self.peers[index], new);
        old.reader.abort();
        self.announce(index);
        Ok(())
    }

    async fn open(&self, index: usize) -> Result<Peer> {
        let socket = Rc::new(self.target.open(index).await?);
        let (reading, tally) = (Rc::clone(&socket), Rc::clone(&self.tally));
        let reader = tokio::task::spawn_local(async move {
            let ended = reading.listen(|text| hear(&tally, &reading, text)).await;
            if ended.is_err() {
                tally.borrow_mut().n_failures += 1;
            }
        });
        let number = self.n_opened.replace(self.n_opened.get() + 1);
        Ok(Peer { number, socket, reader })
    }

    fn announce(&self, index: usize) {
        let Peer { number, socket, .. } = &self.peers[index];
        let (swarm, offers) = (index % 200, &self.offers);
        socket.asked_at.set(Some(Instant::now()));
        socket.send(&format!(
            r#"{{"action":"announce","info_hash":"hold{swarm:016}","peer_id":"-CL0004-{number:012}","numwant":2,"left":1,"offers":[{offers}]}}"#
        ));
    }
}

fn hear(tally: &RefCell<Tally>, socket: &Socket, text: &str) {
    let mut tally = tally.borrow_mut();
    if text.contains("\"interval\"") {
        if let Some(asked_at) = socket.asked_at.take() {
            tally.reply(asked_at);
        }
    } else if text.contains("\"offer\":") {
        tally.n_offers += 1;
    } else {
        tally.n_failures += 1;
    }
}
