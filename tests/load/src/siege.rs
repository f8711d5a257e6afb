//! Hostile clients beside well-behaved ones, and what the latter notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::memory::resident;
use crate::pace::pass;
use crate::socket::Target;
use crate::torrent;

/// Connections that stand half open at once.
const HALF_OPEN: usize = 2_000;
/// Sockets that announce and never read.
const DEAF: usize = 50;
/// Between two of an attacker's turns.
const TURN: Duration = Duration::from_millis(10);
/// What is sent of a frame that is said to be longer than anybody's memory.
const GIANT_PIECE: usize = 64 * 1024;

/// Options of `load siege`.
#[derive(Args)]
pub(crate) struct Options {
    /// A WebTorrent tracker, such as `ws://127.0.0.1:8080/announce`.
    url: String,
    /// The tracker's process, whose memory is read.
    #[arg(long)]
    pid: u32,
    /// How long each phase lasts: in peace, besieged, and after it.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl Options {
    pub(crate) fn of(url: String, pid: u32, seconds: u64) -> Self {
        Self { url, pid, seconds }
    }
}

/// Turns of each attack.
#[derive(Debug, Default)]
struct Turns {
    half_open: AtomicU64,
    giant: AtomicU64,
    garbage: AtomicU64,
    deaf: AtomicU64,
    forged: AtomicU64,
}

/// Measures.
pub(crate) async fn run(options: Options) -> Result<Value> {
    let Options { url, pid, seconds } = options;
    let peace = torrent::run(torrent::Options::gentle(url.clone(), seconds)).await?;
    let rss_before = resident(pid)?;
    let (stop, turns) = (CancellationToken::new(), Arc::new(Turns::default()));
    let target = Target::parse(&url)?;
    let attackers = {
        let (stop, turns) = (stop.clone(), Arc::clone(&turns));
        std::thread::spawn(move || attack(&target, &stop, &turns))
    };
    let besieged = torrent::run(torrent::Options::gentle(url.clone(), seconds)).await?;
    let rss_besieged = resident(pid)?;
    stop.cancel();
    attackers.join().map_err(|_| anyhow::anyhow!("the attackers panicked"))??;
    let after = torrent::run(torrent::Options::gentle(url, seconds)).await?;
    let n = |turns: &AtomicU64| turns.load(Ordering::Relaxed);
    Ok(json!({
        "what": "hostile clients beside others",
        "attacks": {
            "half_open": n(&turns.half_open), "giant_frames": n(&turns.giant), "garbage": n(&turns.garbage),
            "deaf_announces": n(&turns.deaf), "forged_ids": n(&turns.forged),
        },
        "peace": peace, "besieged": besieged, "after": after,
        "rss_bytes": [rss_before, rss_besieged, resident(pid)?],
    }))
}

/// All attacks at once, on a thread of their own: they must not slow those down who measure.
fn attack(target: &Target, stop: &CancellationToken, turns: &Turns) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let all = async {
            tokio::join!(
                stand_half_open(target, turns),
                send_giants(target, turns),
                send_garbage(target, turns),
                never_read(target, turns),
                forge(target, turns),
            )
        };
        stop.run_until_cancelled(all).await;
    });
    Ok(())
}

/// Connections with half a request, which are kept.
async fn stand_half_open(target: &Target, turns: &Turns) {
    let mut held = std::collections::VecDeque::new();
    loop {
        for _ in 0..HALF_OPEN / 100 {
            if let Ok(mut stream) = TcpStream::connect(target.address()).await {
                // What was closed already was turned away.
                let _ = stream.write_all(b"GET /announce HTTP/1.1\r\nHost: ").await;
                held.push_back(stream);
                turns.half_open.fetch_add(1, Ordering::Relaxed);
            }
            if held.len() > HALF_OPEN {
                held.pop_front();
            }
        }
        pass(TURN).await;
    }
}

/// Frames that are said to be of a terabyte.
async fn send_giants(target: &Target, turns: &Turns) {
    let mut frame = vec![0x81, 0xFF];
    frame.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.resize(GIANT_PIECE, b' ');
    loop {
        if let Ok(socket) = target.open(0).await {
            socket.send_bytes(&frame);
            turns.giant.fetch_add(1, Ordering::Relaxed);
        }
        pass(TURN).await;
    }
}

/// Bytes that are no frames, and frames that are no JSON.
async fn send_garbage(target: &Target, turns: &Turns) {
    loop {
        if let Ok(socket) = target.open(0).await {
            socket.send("{\"action\":\"announce\",\"info_hash\":[[[[[[");
            socket.send_bytes(&core::array::from_fn::<u8, 4096, _>(|_| fastrand::u8(..)));
            turns.garbage.fetch_add(1, Ordering::Relaxed);
        }
        pass(TURN).await;
    }
}

/// Peers of one swarm that send each other offers which nobody reads.
async fn never_read(target: &Target, turns: &Turns) {
    let mut sockets = Vec::new();
    let offers = torrent::offers(10, 1000);
    loop {
        while sockets.len() < DEAF {
            match target.open(0).await {
                Ok(socket) => sockets.push(socket),
                Err(_) => break,
            }
        }
        for (index, socket) in sockets.iter().enumerate() {
            socket.send(&format!(
                r#"{{"action":"announce","info_hash":"deaf0000000000000000","peer_id":"-CL0003-{index:012}","numwant":10,"left":1,"offers":[{offers}]}}"#
            ));
            turns.deaf.fetch_add(1, Ordering::Relaxed);
        }
        // The tracker may close whoever does not read.
        sockets.retain(crate::socket::Socket::is_open);
        pass(TURN * 5).await;
    }
}

/// Announces in the name of the others' first peer, and ends it.
async fn forge(target: &Target, turns: &Turns) {
    loop {
        if let Ok(socket) = target.open(0).await {
            for event in ["started", "stopped"] {
                socket.send(&format!(
                    r#"{{"action":"announce","info_hash":"swarm000000000000000","peer_id":"-CL0001-000000000000","event":"{event}","left":1}}"#
                ));
            }
            turns.forged.fetch_add(1, Ordering::Relaxed);
        }
        pass(TURN).await;
    }
}
