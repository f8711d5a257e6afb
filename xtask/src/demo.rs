//! A tracker with a live demo channel, on this machine, with nothing to configure.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use anyhow::Result;
use clap::Args;

use crate::{artefacts, place, say, task, task::Task};

/// How the tracker begins once it answers.
const READY: &str = "Cardume is on ";

/// The port of STUN (RFC 8489, section 18.6).
const STUN_PORT: u16 = 3478;

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
    // Viewers on this machine need no STUN; those elsewhere do, and another program may have its port.
    let stun = listen(STUN_PORT);
    let stun = if UdpSocket::bind(&stun).is_ok() { &stun } else { "off" };
    let serve = Task::new(tracker)
        .args(["serve", "--demo", "--data-dir"])
        .args([place::target().join("demo-data")])
        .args(["--http", &listen(options.port), "--rtmp", &listen(options.rtmp_port), "--stun", stun]);
    let outcome = serve.watch(|line| {
        println!("{line}");
        if line.starts_with(READY) {
            show(options);
        }
    });
    outcome.or_else(|error| if task::is_interrupted() { Ok(()) } else { Err(error) })
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
