//! Load on a tracker. One thread, so that it fits on the core that the tracker leaves. Prints one line of JSON, or a table.
//!
//! `cargo xtask bench tracker` runs it against a built tracker; by hand it runs against any.

mod bench;
mod cluster;
mod hold;
mod idle;
mod memory;
mod ours;
mod pace;
mod relay;
mod secure;
mod siege;
mod socket;
mod tally;
mod torrent;
mod viewers;

use anyhow::{Context, Result};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Load on a tracker.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// `WebTorrent` announces, offers and answers in a closed loop, at this or any other tracker.
    Torrent(torrent::Options),
    /// Viewers of our own signalling that come, meet and go.
    Viewers(viewers::Options),
    /// Connections that do nothing, and what they cost in memory.
    Idle(idle::Options),
    /// The same over TLS, at a tracker of our own.
    Secure(secure::Options),
    /// Very many connections for long, with announces and churn: whether memory stays flat.
    Hold(hold::Options),
    /// Hostile clients beside others, and what these notice.
    Siege(siege::Options),
    /// Three nodes and NATS of our own, with viewers; nodes and NATS are killed and started again.
    Cluster(cluster::Options),
    /// What the relay passes on, beside a plain forwarder of datagrams, and what an allocation takes.
    Relay(relay::Options),
    /// That forwarder; started by `relay`.
    #[command(hide = true)]
    Forward(relay::ForwardOptions),
    /// All of it but the cluster and the relay, with a tracker of our own on a processor of its own.
    Bench(bench::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("cannot open more files")?;
    let outcome = match Command::parse() {
        Command::Torrent(options) => torrent::run(options).await?.to_string(),
        Command::Viewers(options) => viewers::run(options).await?.to_string(),
        Command::Idle(options) => idle::run(options).await?.to_string(),
        Command::Secure(options) => secure::run(options).await?.to_string(),
        Command::Hold(options) => hold::run(options).await?.to_string(),
        Command::Siege(options) => siege::run(options).await?.to_string(),
        Command::Cluster(options) => cluster::run(options).await?,
        Command::Relay(options) => relay::run(options).await?,
        Command::Forward(options) => relay::forward(options).await?,
        Command::Bench(options) => bench::run(options).await?,
    };
    println!("{outcome}");
    Ok(())
}
