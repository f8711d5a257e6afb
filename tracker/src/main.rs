//! The `cardume` binary: a command line around the library.

mod watch;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use cardume::app::{StreamKey, Tracker};
use cardume::config::{Config, DEMO_CHANNEL, Flags};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  cardume serve                          one channel, \"live\"; the stream key is printed
  cardume serve --demo                   beside it, a channel that is on air by itself
  cardume serve --egress '30 Mbit/s'     viewers beyond 30 Mbit/s are fed by each other
  cardume config > cardume.toml          a commented file to begin from
  cardume serve --config cardume.toml
  cardume watch http://tracker.example/watch/live
                                         a viewer without a browser; see `cardume watch --help`

Logging: RUST_LOG=debug, or for one part RUST_LOG=cardume::signal=debug.";

/// Peer-to-peer live video: viewers feed each other what an encoder sends once.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the tracker: site, signalling, ingest and server peer in one.
    #[command(after_help = EXAMPLES)]
    Serve(Box<Serve>),
    /// Watch a channel without a browser: statistics, the stream itself, or many viewers for a load test.
    #[command(after_help = watch::EXAMPLES)]
    Watch(Box<watch::Flags>),
    /// Print a commented configuration file with every key and its default.
    Config,
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Configuration file (TOML); see `cardume config`.
    #[arg(long, value_name = "FILE", env = "CARDUME_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(options) => serve(*options),
        Command::Watch(flags) => watch::run(&flags),
        Command::Config => {
            print!("{}", Config::template());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cardume: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(options: Serve) -> anyhow::Result<()> {
    log("info");
    let config = Config::load(options.flags, options.config.as_deref())?;
    let public_url = config.public_url.clone();
    // Before anything is announced: who is told of the tracker may stop it at once.
    let signal = shutdown_signal().context("cannot listen for signals")?;
    let tracker = Tracker::start(config).await?;
    print!("{}", greeting(&tracker, public_url.as_deref()));
    let name = signal.await;
    tracing::info!("{name}: going down");
    if !tracker.shutdown().await {
        tracing::warn!("some connections had to be cut off");
    }
    Ok(())
}

/// Logs to standard error, this much unless `RUST_LOG` says otherwise.
fn log(by_default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(by_default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// Resolves to the name of the first signal that asks the process to end.
#[cfg(unix)]
fn shutdown_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "Ctrl-C",
        }
    })
}

#[cfg(not(unix))]
fn shutdown_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    Ok(async {
        // Without Ctrl-C there is no other way to end it than to kill it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    })
}

/// What the operator needs next, ready to paste.
fn greeting(tracker: &Tracker, public_url: Option<&str>) -> String {
    let site = public_url.map_or_else(
        || format!("http://{}", reachable(tracker.http_address())),
        |url| url.trim_end_matches('/').to_owned(),
    );
    let rtmp = match public_url.and_then(host_of) {
        Some(host) => format!("rtmp://{host}:{}/live", tracker.rtmp_address().port()),
        None => format!("rtmp://{}/live", reachable(tracker.rtmp_address())),
    };
    let mut text = format!("Cardume is on {site}/\n");
    for stream_key in tracker.stream_keys() {
        text += &invitation(stream_key, &site, &rtmp);
    }
    text
}

fn invitation(stream_key: &StreamKey, site: &str, rtmp: &str) -> String {
    let id = &stream_key.channel.id;
    let title = stream_key.channel.title();
    if id.as_str() == DEMO_CHANNEL {
        return format!("\nChannel {title:?}\n  watch    {site}/watch/{id}\n");
    }
    // A key that the operator chose is not repeated where logs are kept.
    let key = if stream_key.is_generated { stream_key.key.as_str() } else { "<its key>" };
    format!(
        "\nChannel {title:?}\n  \
           watch    {site}/watch/{id}\n  \
           OBS      server {rtmp}   stream key {key}\n  \
           ffmpeg   ffmpeg -re -i VIDEO -c:v libx264 -preset veryfast -tune zerolatency -g 60 -c:a aac -f flv \
         {rtmp}/{key}\n"
    )
}

/// An address that a browser on this machine can open, for one that is listened on.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}

/// The host of a web address, without scheme, port and path.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let is_ipv6 = authority.starts_with('[');
    let end = if is_ipv6 { authority.find(']')? + 1 } else { authority.find(':').unwrap_or(authority.len()) };
    authority.get(..end)
}
