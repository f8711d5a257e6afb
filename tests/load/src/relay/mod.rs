//! What the relay passes on, beside the least that a program can do with a datagram: take it, and send it on.
//!
//! The relay and the plain forwarder take turns on one processor, and we have another. As sending costs us as much as it does them,
//! what counts is how many datagrams they pass in a second of the time that they are given.

mod client;
mod flow;
mod forward;

use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cardume_wire::signal::{FromTracker, IceServer};
use clap::Args;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;

use crate::memory::{resident, settled};
use crate::ours::Ours;
use crate::viewers;

use client::Client;
use flow::{Flow, PAYLOAD_LEN};
use forward::Forwarder;
pub(crate) use forward::{ForwardOptions, run as forward};

/// The relay's address: what is sent to its own never leaves it.
const RELAY_ADDRESS: &str = "127.0.0.2";
/// The channel that clients use; any will do.
const CHANNEL: u16 = 0x4000;
/// Allocations whose memory is measured: fewer than the files that a process may have open on most machines.
const N_ALLOCATIONS: usize = 4_000;
/// What the first ones need once is not theirs.
const N_WARM: usize = 100;

/// Options of `load relay`.
#[derive(Args)]
pub(crate) struct Options {
    /// The tracker's binary.
    #[arg(long)]
    tracker: PathBuf,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Each measurement is made so often, and the one in the middle counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// End with one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Measures.
pub(crate) async fn run(options: Options) -> Result<String> {
    ensure!(options.rounds > 0 && options.seconds > 0, "there is nothing to measure");
    let port = UdpSocket::bind((RELAY_ADDRESS, 0))?.local_addr()?.port();
    let stun = format!("--stun={RELAY_ADDRESS}:{port}");
    let address = format!("--relay-address={RELAY_ADDRESS}");
    let limits = ["--relay-rate=unlimited", "--relay-viewer-limit=100000", "--relay-address-limit=100000"];
    let more = [&[&*stun, "--relay", "--relay-private", &*address], &limits[..]].concat();
    let ours = Ours::start_with(&options.tracker, &more)?;
    let told = told(&ours).await?;
    let rows = flows(&ours, &told, &options)?;
    let memory = memory(&ours, &told).await?;
    if options.json {
        return Ok(json!({ "bench": "relay", "rows": rows, "memory": memory }).to_string());
    }
    Ok(table(&rows, &memory))
}

/// The relay, as a viewer is told of it.
async fn told(ours: &Ours) -> Result<IceServer> {
    let (mut socket, _) = connect_async(ours.url(&viewers::path("live"))).await?;
    while let Some(message) = socket.next().await {
        let Ok(FromTracker::Welcome(welcome)) = serde_json::from_str(message?.to_text()?) else { continue };
        let relay = welcome.ice_servers.into_iter().find(|server| server.credential.is_some());
        return relay.context("the tracker tells of no relay");
    }
    bail!("the tracker welcomes nobody")
}

/// Each way of a datagram, in turns with the plain one.
fn flows(ours: &Ours, told: &IceServer, options: &Options) -> Result<Vec<Value>> {
    let (peer, other_peer) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let mut forwarder = Forwarder::start(ours, peer.local_addr()?)?;
    let mut alice = Client::new(told)?;
    let mut bob = Client::new(told)?;
    let (from_alice, from_bob) = (alice.allocate()?, bob.allocate()?);
    alice.bind(CHANNEL, other_peer.local_addr()?)?;
    other_peer.connect(from_alice)?;
    // Each has the other on a channel, and the peer, too.
    alice.bind(CHANNEL + 1, from_bob)?;
    bob.bind(CHANNEL + 1, from_alice)?;
    let sender = forwarder.connect()?;
    let frame = |number| client::frame(number, &[7; PAYLOAD_LEN]);
    let ways = [
        ("plain forwarder", forwarder.pid(), Flow { from: &sender, bytes: vec![7; PAYLOAD_LEN], to: &peer }),
        ("client to peer", ours.pid(), Flow { from: alice.socket(), bytes: frame(CHANNEL), to: &other_peer }),
        (
            "peer to client",
            ours.pid(),
            Flow { from: &other_peer, bytes: vec![7; PAYLOAD_LEN], to: alice.socket() },
        ),
        (
            "client to client",
            ours.pid(),
            Flow { from: alice.socket(), bytes: frame(CHANNEL + 1), to: bob.socket() },
        ),
    ];
    let mut rounds: Vec<Vec<flow::Passed>> = vec![Vec::new(); ways.len()];
    for round in 0..options.rounds {
        for ((name, pid, flow), passed) in ways.iter().zip(&mut rounds) {
            eprintln!("{name}, {} of {}", round + 1, options.rounds);
            passed.push(flow.run(*pid, Duration::from_secs(options.seconds))?);
        }
    }
    let middles: Vec<flow::Passed> = rounds.into_iter().map(flow::middle).collect();
    let plain = middles[0].per_cpu_s();
    let row = |((name, ..), passed): (&(&str, u32, Flow<'_>), &flow::Passed)| {
        json!({
            "way": name,
            "datagrams_per_cpu_s": passed.per_cpu_s().round(),
            "mbit_per_cpu_s": (passed.per_cpu_s() * 8.0 * PAYLOAD_LEN_F64 / 1e6).round(),
            "datagrams_per_s": passed.per_s().round(),
            "lost_percent": passed.lost_percent(),
            "of_plain": passed.per_cpu_s() / plain,
        })
    };
    Ok(ways.iter().zip(&middles).map(row).collect())
}

/// Resident memory of the tracker for each allocation with one channel; sockets' buffers are the kernel's.
async fn memory(ours: &Ours, told: &IceServer) -> Result<Value> {
    eprintln!("{N_ALLOCATIONS} allocations");
    let mut first = Client::new(told)?;
    first.allocate()?;
    let mut clients = vec![first];
    let mut before = 0;
    let peer = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    while clients.len() < N_WARM + N_ALLOCATIONS {
        if clients.len() == N_WARM {
            before = settled(ours.pid()).await?;
        }
        let mut client = clients[0].another()?;
        client.allocate()?;
        client.bind(CHANNEL, peer)?;
        clients.push(client);
    }
    let after = settled(ours.pid()).await?;
    let each = after.saturating_sub(before) / N_ALLOCATIONS as u64;
    Ok(json!({ "allocations": clients.len(), "bytes_each": each, "rss_bytes": resident(ours.pid())? }))
}

#[expect(clippy::cast_precision_loss, reason = "1,200")]
const PAYLOAD_LEN_F64: f64 = PAYLOAD_LEN as f64;

fn table(rows: &[Value], memory: &Value) -> String {
    let figure = |row: &Value, name: &str| row[name].as_f64().unwrap_or(f64::NAN);
    let lines = rows.iter().map(|row| {
        format!(
            "{:18}{:>22.0}{:>12.0}{:>18.2}{:>16.0}{:>8.1}\n",
            row["way"].as_str().unwrap_or_default(),
            figure(row, "datagrams_per_cpu_s"),
            figure(row, "mbit_per_cpu_s"),
            figure(row, "of_plain"),
            figure(row, "datagrams_per_s"),
            figure(row, "lost_percent"),
        )
    });
    let head = format!(
        "{:18}{:>22}{:>12}{:>18}{:>16}{:>8}\n",
        "1,200 bytes", "datagrams per core", "Mbit/s", "of the forwarder", "as measured/s", "lost %"
    );
    let each = format!("an allocation with a channel: {} bytes of memory\n", memory["bytes_each"]);
    core::iter::once(head).chain(lines).chain(core::iter::once(each)).collect()
}
