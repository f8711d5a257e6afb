//! Full peers: `cardume watch` with real data channels, at one address before all nodes. They tell how they fare once a second, so
//! that two stalls within that time count as one.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::door::{Door, Order};
use super::ledger::quantile;
use super::processes::{FULL, Running};
use crate::pace::pass;

/// Processes that they are spread over: each writes a line a second for each of its viewers.
const N_PROCESSES: usize = 2;
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Two lines of a viewer whose stalls grew are of one stall when no more than this lies between.
const SAME_STALL: Duration = Duration::from_millis(1500);

/// What a viewer says of itself each second.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    viewer: usize,
    state: String,
    latency_ms: Option<f64>,
    stalled_ms: f64,
    from_server_len: u64,
    from_peers_len: u64,
    neighbours: Vec<Value>,
}

/// One viewer in the phase that is on.
#[derive(Debug, Clone, Default)]
struct Seen {
    begin: Line,
    now: Line,
    latencies_ms: Vec<f64>,
    /// Of the stall that grew last, and of the longest.
    stall_ms: f64,
    longest_ms: f64,
    grew_at: Option<Instant>,
}

impl Seen {
    fn take(&mut self, line: Line) {
        let grown_ms = line.stalled_ms - self.now.stalled_ms;
        if grown_ms > 0.0 {
            let is_same = self.grew_at.is_some_and(|at| at.elapsed() < SAME_STALL);
            self.stall_ms = if is_same { self.stall_ms + grown_ms } else { grown_ms };
            self.longest_ms = self.longest_ms.max(self.stall_ms);
            self.grew_at = Some(Instant::now());
        }
        self.latencies_ms.extend(line.latency_ms);
        self.now = line;
    }

    /// Begins another phase; a stall that lasts counts in both.
    fn turn(&mut self) {
        let (stall_ms, grew_at) = (self.stall_ms, self.grew_at);
        *self = Self { begin: self.now.clone(), now: self.now.clone(), stall_ms, grew_at, ..Self::default() };
    }
}

/// All of them; they go with this.
#[derive(Debug)]
pub(super) struct FullPeers {
    seen: Arc<Mutex<Vec<Seen>>>,
    _children: Vec<Running>,
    _door: Door,
}

impl FullPeers {
    /// Lets so many come, and waits until each plays and has met some.
    pub(super) async fn gather(
        binary: &Path,
        nodes: Vec<std::net::SocketAddr>,
        (n, limit): (usize, Duration),
    ) -> Result<Self> {
        let door = Door::open(nodes, Order::Turns).await?;
        let seen = Arc::new(Mutex::new(vec![Seen::default(); n]));
        let mut children = Vec::new();
        for process in 0..N_PROCESSES {
            let (first, end) = (n * process / N_PROCESSES, n * (process + 1) / N_PROCESSES);
            children.push(watch(binary, &door, &seen, first..end)?);
        }
        let peers = Self { seen, _children: children, _door: door };
        let began_at = Instant::now();
        while peers.n_settled() < n {
            if began_at.elapsed() > limit {
                bail!("{} of {n} full peers play and have neighbours", peers.n_settled());
            }
            pass(LOOK_INTERVAL).await;
        }
        Ok(peers)
    }

    pub(super) fn turn_page(&self) {
        lock(&self.seen).iter_mut().for_each(Seen::turn);
    }

    /// What they saw since the phase began. A stall is what sessions count as one: the picture stands still within a broadcast. The
    /// wait for the first picture of another broadcast is none of it.
    pub(super) fn row(&self) -> Value {
        let seen = lock(&self.seen);
        let sum = |of: fn(&Line) -> u64| -> u64 {
            seen.iter().map(|it| of(&it.now).saturating_sub(of(&it.begin))).sum()
        };
        let (peers, server) = (sum(|line| line.from_peers_len), sum(|line| line.from_server_len));
        let durations = |of: &mut dyn Iterator<Item = f64>| {
            let mut all: Vec<Duration> = of.map(|ms| Duration::from_secs_f64(ms.max(0.0) / 1000.0)).collect();
            all.sort_unstable();
            all
        };
        let latencies = durations(&mut seen.iter().flat_map(|it| it.latencies_ms.iter().copied()));
        let stalled = || seen.iter().map(|it| it.now.stalled_ms - it.begin.stalled_ms);
        let longest = durations(&mut seen.iter().map(|it| it.longest_ms));
        json!({
            "n": seen.len(),
            "n_playing": seen.iter().filter(|it| it.now.state == "playing").count(),
            "n_stalled": stalled().filter(|ms| *ms > 0.0).count(),
            "stalled_s": (stalled().sum::<f64>() / 100.0).round() / 10.0,
            "longest_stall_p50_ms": quantile(&longest, 50),
            "longest_stall_ms": quantile(&longest, 100),
            "latency_p50_ms": quantile(&latencies, 50),
            "latency_p95_ms": quantile(&latencies, 95),
            "offload_percent": (peers * 100).checked_div(peers + server),
            "neighbours": seen.iter().map(|it| it.now.neighbours.len()).sum::<usize>() / seen.len().max(1),
        })
    }

    fn n_settled(&self) -> usize {
        let is_settled = |it: &&Seen| it.now.state == "playing" && it.now.neighbours.len() >= 2;
        lock(&self.seen).iter().filter(is_settled).count()
    }
}

fn lock(seen: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(
    binary: &Path,
    door: &Door,
    seen: &Arc<Mutex<Vec<Seen>>>,
    whose: std::ops::Range<usize>,
) -> Result<Running> {
    let mut child = Command::new(binary)
        .args(["watch", &format!("http://{}/watch/{}", door.address, FULL.channel), "--json"])
        .args(["--bind", "127.0.0.1", "--viewers", &whose.len().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("the tracker's binary does not run")?;
    let lines = child.stdout.take().context("its output is piped")?;
    let seen = Arc::clone(seen);
    // Ends with the process.
    std::thread::spawn(move || {
        for text in BufReader::new(lines).lines().map_while(Result::ok) {
            let Ok(line) = serde_json::from_str::<Line>(&text) else { continue };
            if let Some(one) = lock(&seen).get_mut(whose.start + line.viewer.saturating_sub(1)) {
                one.take(line);
            }
        }
    });
    Ok(Running(child))
}
