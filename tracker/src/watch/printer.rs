//! How viewers fare, for people or for programs.

use std::io::{self, Write};
use std::time::Duration;

use cardume_peer_native::Snapshot;
use serde::Serialize;

/// Prints statistics.
pub(super) struct Printer {
    out: Box<dyn Write + Send>,
    is_json: bool,
}

/// One line for programs.
#[derive(Serialize)]
struct Line<'a> {
    /// Which of the viewers of this process, from 1.
    viewer: usize,
    #[serde(flatten)]
    snapshot: &'a Snapshot,
}

impl Printer {
    /// To standard output, or, where the stream goes there, to standard error.
    pub(super) fn new(is_json: bool, is_stdout_taken: bool) -> Self {
        let out: Box<dyn Write + Send> =
            if is_stdout_taken { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
        Self { out, is_json }
    }

    /// Prints how they fare now: a line for each for programs, one for all for people.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(super) fn print(&mut self, snapshots: &[Snapshot]) -> io::Result<()> {
        if self.is_json {
            for (viewer, snapshot) in (1..).zip(snapshots) {
                writeln!(self.out, "{}", serde_json::to_string(&Line { viewer, snapshot })?)?;
            }
        } else {
            match snapshots {
                [] => {}
                [one] => writeln!(self.out, "{}", of_one(one))?,
                many => writeln!(self.out, "{}", of_many(many))?,
            }
        }
        self.out.flush()
    }
}

fn of_one(it: &Snapshot) -> String {
    format!(
        "{:<12} {} | from neighbours {}, from the server {} | to neighbours {} | {} | neighbours {}",
        it.state,
        behind(it.latency_ms),
        size(it.from_peers_len),
        size(it.from_server_len),
        size(it.sent_len),
        stalls(it.stalls, it.stalled_ms),
        it.neighbours.len(),
    )
}

fn of_many(all: &[Snapshot]) -> String {
    let sum = |of: fn(&Snapshot) -> u64| all.iter().map(of).sum::<u64>();
    let mut latencies: Vec<f64> = all.iter().filter_map(|it| it.latency_ms).collect();
    latencies.sort_by(f64::total_cmp);
    let n_playing = all.iter().filter(|it| it.state == "playing").count();
    format!(
        "{n_playing} of {} playing, half of them {} | from neighbours {}, from the server {} | to neighbours {} | {} | \
         neighbours {}",
        all.len(),
        behind(latencies.get(latencies.len() / 2).copied()),
        size(sum(|it| it.from_peers_len)),
        size(sum(|it| it.from_server_len)),
        size(sum(|it| it.sent_len)),
        stalls(all.iter().map(|it| it.stalls).sum(), all.iter().map(|it| it.stalled_ms).sum()),
        all.iter().map(|it| it.neighbours.len()).sum::<usize>() / all.len().max(1),
    )
}

fn behind(latency_ms: Option<f64>) -> String {
    latency_ms.map_or_else(|| "not live yet".to_owned(), |ms| format!("{:.2} s behind live", ms / 1000.0))
}

fn stalls(n: u32, stalled_ms: f64) -> String {
    let stalled = Duration::from_secs_f64((stalled_ms / 1000.0).max(0.0));
    if n == 0 { "no stalls".to_owned() } else { format!("{n} stalls, {:.1} s", stalled.as_secs_f64()) }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn size(len: u64) -> String {
    format!("{:.1} MB", len as f64 / 1e6)
}
