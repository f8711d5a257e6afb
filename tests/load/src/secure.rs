//! What an idle connection over TLS costs the tracker.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rcgen::CertifiedKey;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::memory::settled;
use crate::ours::{Ours, until_listening};

const HOST: &str = "localhost";
/// The request for a WebSocket at the `WebTorrent` protocol.
const UPGRADE: &str = "GET /announce HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Of an answer to that: more is none.
const HEAD_LIMIT: usize = 4096;

/// Options of `load secure`.
#[derive(Args)]
pub(crate) struct Options {
    /// The tracker's binary.
    #[arg(long)]
    tracker: PathBuf,
    /// WebSockets over TLS 1.3.
    #[arg(long, default_value_t = 4_000)]
    connections: usize,
}

impl Options {
    pub(crate) fn of(tracker: PathBuf, connections: usize) -> Self {
        Self { tracker, connections }
    }
}

/// A certificate of our own, and how to connect to who has it.
struct Certificate {
    directory: TempDir,
    connector: TlsConnector,
}

/// Measures.
pub(crate) async fn run(options: Options) -> Result<Value> {
    let Options { tracker, connections } = options;
    let certificate = Certificate::new()?;
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let ours = certificate.start(&tracker, address)?;
    until_listening(address)?;
    let pid = ours.pid();
    // What the first ones need once is not theirs.
    let warm = certificate.open(address, connections / 100).await?;
    let before = settled(pid).await?;
    let sockets = certificate.open(address, connections - warm.len()).await?;
    let after = settled(pid).await?;
    let n = sockets.len();
    ensure!(n > 0, "there is nothing to measure");
    let each = after.saturating_sub(before) / n as u64;
    Ok(json!({ "what": format!("{n} idle over TLS"), "bytes_each": each, "rss_bytes": after }))
}

impl Certificate {
    fn new() -> Result<Self> {
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        let directory = TempDir::new()?;
        std::fs::write(directory.path().join("certificate.pem"), cert.pem())?;
        std::fs::write(directory.path().join("key.pem"), signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { directory, connector: TlsConnector::from(Arc::new(config)) })
    }

    fn start(&self, tracker: &Path, address: SocketAddr) -> Result<Ours> {
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        let certificate = format!("--tls-certificate={}", file("certificate.pem"));
        let key = format!("--tls-key={}", file("key.pem"));
        Ours::start_with(tracker, &["--stun=off", &format!("--https={address}"), &certificate, &key])
    }

    async fn open(&self, address: SocketAddr, n: usize) -> Result<Vec<TlsStream<TcpStream>>> {
        let mut sockets = Vec::with_capacity(n);
        for _ in 0..n {
            sockets.push(self.open_one(address).await?);
        }
        Ok(sockets)
    }

    async fn open_one(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await.context("cannot connect")?;
        let mut stream = self.connector.connect(ServerName::try_from(HOST)?, stream).await?;
        stream.write_all(UPGRADE.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(head.len() < HEAD_LIMIT, "no answer to the upgrade");
            ensure!(stream.read_buf(&mut head).await? > 0, "closed instead of an answer");
        }
        ensure!(head.starts_with(b"HTTP/1.1 101"), "no WebSocket but {:?}", String::from_utf8_lossy(&head));
        Ok(stream)
    }
}
