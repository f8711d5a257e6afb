//! Datagrams in one direction, as many as get through.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Bytes of media and its headers in a datagram of WebRTC.
pub(super) const PAYLOAD_LEN: usize = 1200;
/// Datagrams under way at most: what a socket's buffer of 208 KiB, Linux's default, holds of them with what it counts for each.
const WINDOW: u64 = 64;
/// Sent before what came is taken.
const BURST: u64 = 16;
/// What has not come by then is lost: on one machine it takes microseconds.
const LOST_AFTER: Duration = Duration::from_millis(20);
/// Of `/proc`: 100 a second on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What is sent over and over, from where to where; both ends are connected.
pub(super) struct Flow<'s> {
    pub(super) from: &'s UdpSocket,
    pub(super) bytes: Vec<u8>,
    pub(super) to: &'s UdpSocket,
}

/// What came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    n: u64,
    n_lost: u64,
    seconds: f64,
    cpu_seconds: f64,
}

impl Flow<'_> {
    /// For so long, through a process whose time is taken.
    pub(super) fn run(&self, pid: u32, time: Duration) -> Result<Passed> {
        self.from.set_nonblocking(true)?;
        self.to.set_nonblocking(true)?;
        let mut buffer = [0; 2048];
        let (mut n, mut n_lost, mut under_way) = (0, 0, 0);
        let cpu_before = cpu_seconds(pid)?;
        let began_at = Instant::now();
        let mut came_at = began_at;
        while began_at.elapsed() < time {
            for _ in 0..BURST.min(WINDOW - under_way) {
                match self.from.send(&self.bytes) {
                    Ok(_) => under_way += 1,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("sending"),
                }
            }
            while let Ok(_len) = self.to.recv(&mut buffer) {
                n += 1;
                under_way = u64::saturating_sub(under_way, 1);
                came_at = Instant::now();
            }
            if came_at.elapsed() > LOST_AFTER {
                n_lost += under_way;
                under_way = 0;
                came_at = Instant::now();
            }
        }
        let seconds = began_at.elapsed().as_secs_f64();
        Ok(Passed { n, n_lost, seconds, cpu_seconds: cpu_seconds(pid)? - cpu_before })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
impl Passed {
    pub(super) fn per_s(&self) -> f64 {
        self.n as f64 / self.seconds
    }

    /// In a second of the process's time.
    pub(super) fn per_cpu_s(&self) -> f64 {
        self.n as f64 / self.cpu_seconds
    }

    pub(super) fn lost_percent(&self) -> f64 {
        100.0 * self.n_lost as f64 / (self.n + self.n_lost).max(1) as f64
    }
}

/// The one in the middle, by what passed in a second of the process's time.
pub(super) fn middle(mut all: Vec<Passed>) -> Passed {
    all.sort_by(|a, b| a.per_cpu_s().total_cmp(&b.per_cpu_s()));
    all[all.len() / 2]
}

/// Time that a process has been given, its own and the kernel's for it.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("no such process")?;
    // Its name may have spaces; what follows the parenthesis begins with the third field. The 14th and 15th are meant (proc(5)).
    let (_, fields) = stat.rsplit_once(") ").context("no fields")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u32>);
    let ticks = ticks.sum::<Result<u32, _>>()?;
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}
