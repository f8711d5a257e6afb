//! The `cardume` binary: a command line around the library.

#[cfg(feature = "watch")]
mod watch;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use cardume::app::{Reloaded, StreamKey, Tracker};
use cardume::config::{self, Config, ConfigErrors, DEMO_CHANNEL, Flags};
use cardume::logs::Logs;
use cardume::{check, health, service};
use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

/// Very many small things live long here and others come and go between them: the system's allocator is left with holes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A worker looks for its next task in the queue that all share every so many tasks. Its own has room for 256, and where more
/// connections have something to read, the others go to the shared one: at tokio's choice (about 61) they wait for tens of
/// milliseconds while those of the worker's own queue are served again and again; by turns all wait alike.
const SHARED_QUEUE_INTERVAL: u32 = 2;

const EXAMPLES: &str = "\
Examples:
  cardume serve                          one channel, \"live\"; the stream key is printed
  cardume serve --demo                   beside it, a channel that is on air by itself
  cardume serve --egress '30 Mbit/s'     viewers beyond 30 Mbit/s are fed by each other
  cardume config > cardume.toml          a commented file to begin from
  cardume serve --config cardume.toml
  cardume check --config cardume.toml    says what is wrong with it, and what it would take
  cardume watch http://tracker.example/watch/live
                                         a viewer without a browser; see `cardume watch --help`

Logging: --log debug, or for one part --log info,cardume::signal=debug.
SIGHUP reads the configuration again, SIGTERM ends the tracker in order.";

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
    #[cfg(feature = "watch")]
    #[command(after_help = watch::EXAMPLES)]
    Watch(Box<watch::Flags>),
    /// Print a commented configuration file with every key and its default.
    Config,
    /// Say whether `serve` would start: all that is wrong, and what it would take. Exit code 1: the configuration is
    /// wrong; 3: it is right, but something of this machine is missing or taken.
    Check(Box<Serve>),
    /// Ask a running tracker whether it is well. Exit code 1: it is not.
    Health {
        /// Where it is.
        #[arg(default_value = "http://127.0.0.1:8080", env = "CARDUME_HEALTH_URL")]
        url: String,
    },
}

/// The configuration is right, but not for this machine as it is now.
const NOT_READY: u8 = 3;

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
        Command::Serve(options) => runtime().and_then(|runtime| runtime.block_on(serve(&options))),
        #[cfg(feature = "watch")]
        Command::Watch(flags) => watch::run(&flags),
        Command::Config => {
            print!("{}", Config::template());
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(options) => check(&options),
        Command::Health { url } => health::ask(&url).map(|answer| {
            println!("{answer}");
            ExitCode::SUCCESS
        }),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cardume: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Serve {
    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(self.flags.clone(), self.config.as_deref())
    }
}

fn check(options: &Serve) -> anyhow::Result<ExitCode> {
    let findings = check::check(&options.load()?);
    for finding in &findings {
        println!("{finding}");
    }
    let is_ready = findings.iter().all(|finding| finding.is_good);
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::from(NOT_READY) })
}

fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all().global_queue_interval(SHARED_QUEUE_INTERVAL);
    builder.build().context("cannot start threads")
}

async fn serve(options: &Serve) -> anyhow::Result<ExitCode> {
    let config = options.load()?;
    let logs = Logs::begin(&config.log, config.log_format).map_err(anyhow::Error::msg)?;
    service::raise_file_limit(config.connection_limit);
    let public_url = config.public_url.clone();
    // Before anything is announced: who is told of the tracker may stop it at once.
    let end = shutdown_signal().context("cannot listen for signals")?;
    let hangups = hangups().context("cannot listen for signals")?;
    let tracker = Tracker::start(config).await?;
    print!("{}", greeting(&tracker, public_url.as_deref()));
    tokio::spawn(service::keep_alive());
    service::ready();
    let name = tokio::select! {
        name = end => name,
        never = reload_at(hangups, &tracker, options, &logs) => match never {},
    };
    tracing::info!("{name}: going down");
    service::stopping();
    if !tracker.shutdown().await {
        tracing::warn!("some connections had to be cut off");
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration again at each SIGHUP. One that is faulty changes nothing.
async fn reload_at(
    mut hangups: impl AsyncFnMut(),
    tracker: &Tracker,
    options: &Serve,
    logs: &Logs,
) -> Infallible {
    loop {
        hangups().await;
        service::reloading();
        let outcome = options.load().map_err(anyhow::Error::from).and_then(|config| {
            let (filter, public_url) = (config.log.clone(), config.public_url.clone());
            Ok((tracker.reload(&config)?, filter, public_url))
        });
        match outcome {
            Ok((reloaded, filter, public_url)) => {
                report(&reloaded);
                print!("{}", invitations(&reloaded.added, tracker, public_url.as_deref()));
                // Last, so that who turns the log down is told, too.
                logs.adopt(&filter);
            }
            Err(error) => {
                tracing::error!("SIGHUP: the configuration is wrong, nothing is changed: {error:#}");
            }
        }
        service::ready();
    }
}

fn report(reloaded: &Reloaded) {
    let names = |keys: &[String]| if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
    tracing::info!("SIGHUP: the configuration was read again; changed: {}", names(&reloaded.applied));
    if !reloaded.waiting.is_empty() {
        tracing::warn!("SIGHUP: only a restart changes {}", names(&reloaded.waiting));
    }
}

/// Waits for the next SIGHUP; for ever where there is none.
#[cfg(unix)]
fn hangups() -> std::io::Result<impl AsyncFnMut()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move || {
        hangup.recv().await;
    })
}

#[cfg(not(unix))]
fn hangups() -> std::io::Result<impl AsyncFnMut()> {
    Ok(async || std::future::pending().await)
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
    let site = site(tracker, public_url);
    format!("Cardume is on {site}/\n") + &invitations(tracker.stream_keys(), tracker, public_url)
}

fn site(tracker: &Tracker, public_url: Option<&str>) -> String {
    match (public_url, tracker.https_address()) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(address)) => format!("https://{}", reachable(address)),
        (None, None) => format!("http://{}", reachable(tracker.http_address())),
    }
}

/// How to send to these channels, and where to watch them.
fn invitations(keys: &[StreamKey], tracker: &Tracker, public_url: Option<&str>) -> String {
    let site = site(tracker, public_url);
    let rtmp = match public_url.and_then(config::host_of) {
        Some(host) => format!("rtmp://{host}:{}/live", tracker.rtmp_address().port()),
        None => format!("rtmp://{}/live", reachable(tracker.rtmp_address())),
    };
    keys.iter().map(|key| invitation(key, &site, &rtmp)).collect()
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
