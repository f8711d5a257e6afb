//! A tracker with a live demo channel, on this machine, with nothing to configure.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::Args;

use crate::{artefacts, place, say, task, task::Task};

/// A cold start takes well under a second; on a busy machine a few.
const START_LIMIT: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the site listens.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Where RTMP listens, for a channel of your own beside the demo's.
    #[arg(long, default_value_t = 1935)]
    rtmp_port: u16,
    /// Do not open the page.
    #[arg(long)]
    no_open: bool,
}

/// Builds, starts, shows, and stays until Ctrl-C.
pub(crate) fn run(options: &Options) -> Result<()> {
    let tracker = artefacts::build()?;
    let listen = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).to_string();
    let mut running = Task::new(tracker)
        .args(["serve", "--demo", "--data-dir"])
        .args([place::target().join("demo-data")])
        .args(["--http", &listen(options.port), "--rtmp", &listen(options.rtmp_port)])
        .start()?;
    let began = Instant::now();
    let site = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    while TcpStream::connect(site).is_err() {
        if !running.is_running() {
            return running.wait();
        }
        if began.elapsed() > START_LIMIT {
            bail!("the tracker does not answer at {site}");
        }
        thread::sleep(LOOK_AGAIN);
    }
    show(options);
    match running.wait() {
        Err(_) if task::is_interrupted() => Ok(()),
        outcome => outcome,
    }
}

fn show(options: &Options) {
    let address = format!("http://localhost:{}/", options.port);
    println!(
        "\n    Cardume is live:  {address}\n\n    Open it in several tabs; they feed each other. Ctrl-C ends it.\n"
    );
    if options.no_open || !has_desktop() {
        return;
    }
    if let Err(error) = opener(&address).run() {
        say!("could not open a browser: {error:#}");
    }
}

fn has_desktop() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("CI") && (!cfg!(target_os = "linux") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY"))
}

fn opener(address: &str) -> Task {
    match env::consts::OS {
        "macos" => Task::new("open").args([address]),
        "windows" => Task::new("cmd").args(["/C", "start", address]),
        _ => Task::new("xdg-open").args([address]),
    }
}
