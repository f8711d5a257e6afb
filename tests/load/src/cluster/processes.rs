//! What a cluster is made of: NATS, nodes, and an encoder. Each ends with its guard.

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
/// Whoever has it may send.
const STREAM_KEY: &str = "a-key-for-the-load";
/// The channel that all watch.
pub(super) const CHANNEL: &str = "live";

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
    pub(super) fn node(binary: &Path, nats: Option<&Self>) -> Result<(Self, u16)> {
        let (address, rtmp, directory) = (free_address()?, free_address()?, TempDir::new()?);
        let file = directory.path().join("cardume.toml");
        let nats = nats.map_or_else(String::new, |nats| format!("nats = \"nats://{}\"\n", nats.address));
        let limits = "connection_limit = 100000\nviewer_limit = 100000\nstun = \"off\"\n";
        let channel = format!("[[channel]]\nid = \"{CHANNEL}\"\nkey = \"{STREAM_KEY}\"\n");
        std::fs::write(&file, format!("{nats}{limits}{channel}"))?;
        let mut arguments = vec!["serve".to_owned(), format!("--http={address}"), format!("--rtmp={rtmp}")];
        arguments.push(format!("--config={}", file.display()));
        arguments.push(format!("--data-dir={}", directory.path().join("data").display()));
        let port = rtmp.port();
        Ok((Self { program: binary.to_owned(), arguments, address, child: None, directory }, port))
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

/// ffmpeg, which sends a small picture to a node: two parts a second, since each costs each viewer a signature to verify, and
/// thousands of viewers share the processor that the nodes leave.
#[derive(Debug)]
pub(super) struct Encoder(Child);

impl Encoder {
    pub(super) fn start(rtmp_port: u16) -> Result<Self> {
        let to = format!("rtmp://127.0.0.1:{rtmp_port}/live/{STREAM_KEY}");
        let ffmpeg = std::env::var_os("FFMPEG").unwrap_or_else(|| "ffmpeg".into());
        let child = Command::new(ffmpeg)
            .args(["-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=128x72:rate=2"])
            .args([
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-tune",
                "zerolatency",
                "-g",
                "2",
                "-b:v",
                "32k",
            ])
            .args(["-f", "flv", &to])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("ffmpeg is needed: cargo xtask setup --tests")?;
        Ok(Self(child))
    }

    /// Whether it still sends.
    pub(super) fn is_sending(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
