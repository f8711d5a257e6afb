//! What a cluster is made of: NATS and nodes. Each ends with its guard.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::pace::pass;

/// Time for a process to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks whether it does.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A channel, and what is sent to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Programme {
    pub(super) channel: &'static str,
    /// Whoever has it may send.
    pub(super) key: &'static str,
    pub(super) parts_per_second: u32,
    pub(super) bitrate: &'static str,
}

/// What those watch who have signalling and the server's link alone: two small parts a second, since each costs each viewer a
/// signature to verify, and thousands of viewers share the processor that the nodes leave.
pub(super) const LIVE: Programme =
    Programme { channel: "live", key: "a-key-for-the-load", parts_per_second: 2, bitrate: "32k" };
/// What full peers watch: a channel of their own, where everybody who is suggested answers.
pub(super) const FULL: Programme =
    Programme { channel: "full", key: "a-key-for-full-peers", parts_per_second: 5, bitrate: "100k" };

/// A process that can be killed and started again.
#[derive(Debug)]
pub(super) struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    pub(super) address: SocketAddr,
    child: Option<Child>,
    /// Its data.
    directory: TempDir,
}

impl Process {
    /// `nats-server` with `JetStream`.
    pub(super) fn nats() -> Result<Self> {
        let (address, directory) = (free_address()?, TempDir::new()?);
        let arguments = ["--addr", "127.0.0.1", "--port", &address.port().to_string(), "--jetstream"];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        arguments.extend(["--store_dir".to_owned(), directory.path().display().to_string()]);
        Ok(Self { program: "nats-server".into(), arguments, address, child: None, directory })
    }

    /// A node; alone without NATS.
    pub(super) fn node(binary: &Path, nats: Option<&Self>) -> Result<(Self, SocketAddr)> {
        let (address, rtmp, directory) = (free_address()?, free_address()?, TempDir::new()?);
        let file = directory.path().join("cardume.toml");
        let nats = nats.map_or_else(String::new, |nats| format!("nats = \"nats://{}\"\n", nats.address));
        let limits = "connection_limit = 100000\nviewer_limit = 100000\nstun = \"off\"\n";
        let channel = |it: Programme| format!("[[channel]]\nid = {:?}\nkey = {:?}\n", it.channel, it.key);
        std::fs::write(&file, format!("{nats}{limits}{}{}", channel(LIVE), channel(FULL)))?;
        let mut arguments = vec!["serve".to_owned(), format!("--http={address}"), format!("--rtmp={rtmp}")];
        arguments.push(format!("--config={}", file.display()));
        arguments.push(format!("--data-dir={}", directory.path().join("data").display()));
        Ok((Self { program: binary.to_owned(), arguments, address, child: None, directory }, rtmp))
    }

    /// Starts it, and waits until it listens.
    pub(super) async fn start(&mut self) -> Result<()> {
        let log = std::fs::File::create(self.directory.path().join("log"))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| {
            format!(
                "cannot start {}; cargo xtask setup --tests installs what is missing",
                self.program.display()
            )
        })?;
        self.child = Some(child);
        let started_at = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            if started_at.elapsed() > START_LIMIT {
                let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                bail!("{} does not listen: {log}", self.program.display());
            }
            pass(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Stops it where it stands: its connections stay, and it is silent on all of them, as when its machine loses the network.
    pub(super) fn fall_silent(&self) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        let status = Command::new("kill").args(["-STOP", &child.id().to_string()]).status()?;
        if !status.success() {
            bail!("cannot stop {}", self.program.display());
        }
        Ok(())
    }

    /// Kills it at once: nobody is told.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process that ends with this.
#[derive(Debug)]
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
