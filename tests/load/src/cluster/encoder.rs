//! An encoder as people have them: it sends to one address, and when it is cut off it connects again at once.

use std::cell::Cell;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::door::{Door, Order};
use super::processes::{Programme, Running};
use crate::pace::pass;

/// One that is refused tries again so soon.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// ffmpeg by RTMP, started again whenever its connection ends; ends with this.
#[derive(Debug)]
pub(super) struct Encoder {
    away: Rc<Cell<Away>>,
    door: Rc<Door>,
    keeping: tokio::task::JoinHandle<()>,
}

/// The last time that it was away.
#[derive(Debug, Clone, Copy, Default)]
struct Away {
    lost_at: Option<Instant>,
    /// Until it was connected to a node again, ready to send.
    time: Option<Duration>,
}

impl Encoder {
    /// Sends to the first of these nodes that lives.
    pub(super) async fn start(nodes: Vec<SocketAddr>, programme: Programme) -> Result<Self> {
        let door = Rc::new(Door::open(nodes, Order::First).await?);
        let mut child = spawn(door.address, programme)?;
        let away = Rc::new(Cell::new(Away::default()));
        let (note, known) = (Rc::clone(&away), Rc::clone(&door));
        let keeping = tokio::task::spawn_local(async move {
            let door = known;
            loop {
                door.ended.notified().await;
                let lost_at = Instant::now();
                drop(child);
                // It ended before it came back: still the same absence.
                let before = note.get().lost_at.filter(|_| note.get().time.is_none());
                if before.is_some() {
                    pass(RETRY_INTERVAL).await;
                }
                let lost_at = before.unwrap_or(lost_at);
                door.came_at.set(None);
                note.set(Away { lost_at: Some(lost_at), time: None });
                let Ok(started) = spawn(door.address, programme) else { return };
                child = started;
                let Some(came_at) = came(&door, &mut child).await else { continue };
                note.set(Away { lost_at: Some(lost_at), time: Some(came_at - lost_at) });
            }
        });
        Ok(Self { away, door, keeping })
    }

    /// Takes it from a node that does not answer to the next one, as whoever watches over it does.
    pub(super) fn leave(&self, node: SocketAddr) {
        self.door.leave(node);
    }

    /// How long it was away the last time; `None` when it never was. If it is refused then, that is not its absence.
    pub(super) fn away(&self) -> Option<Duration> {
        self.away.get().time
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

/// When it came to the door; `None` when it ended before.
async fn came(door: &Door, child: &mut Running) -> Option<Instant> {
    loop {
        if let Some(at) = door.came_at.get() {
            return Some(at);
        }
        if !matches!(child.0.try_wait(), Ok(None)) {
            door.ended.notify_one();
            return None;
        }
        pass(Duration::from_millis(2)).await;
    }
}

fn spawn(to: SocketAddr, programme: Programme) -> Result<Running> {
    let to = format!("rtmp://{to}/live/{}", programme.key);
    let ffmpeg = std::env::var_os("FFMPEG").unwrap_or_else(|| "ffmpeg".into());
    let rate = programme.parts_per_second;
    let child = Command::new(ffmpeg)
        .args(["-loglevel", "error", "-re", "-f", "lavfi", "-i", &format!("testsrc=size=128x72:rate={rate}")])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"])
        .args(["-g", &rate.to_string(), "-b:v", programme.bitrate, "-f", "flv", &to])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("ffmpeg is needed: cargo xtask setup --tests")?;
    Ok(Running(child))
}
