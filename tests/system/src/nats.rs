//! A `nats-server` with `JetStream` for one test.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::until;

/// A server on a port of its own, whose store outlives it. Ends with this.
#[derive(Debug)]
pub struct NatsServer {
    port: u16,
    store: TempDir,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts one.
    pub async fn start() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut server = Self { port, store: tempfile::tempdir().unwrap(), child: None };
        server.restart().await;
        server
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Publishes a message, as anybody can who reaches it.
    pub async fn publish(&self, subject: &str, payload: &str) {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
        let command = format!("CONNECT {{}}\r\nPUB {subject} {}\r\n{payload}\r\nPING\r\n", payload.len());
        socket.write_all(command.as_bytes()).await.unwrap();
        let mut said = String::new();
        while !said.contains("PONG") {
            let mut bytes = [0; 1024];
            let len = socket.read(&mut bytes).await.unwrap();
            assert!(len > 0, "NATS hung up: {said}");
            said += &String::from_utf8_lossy(&bytes[..len]);
        }
    }

    /// Starts it again, with what it had stored.
    pub async fn restart(&mut self) {
        let child = Command::new("nats-server")
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string(), "--jetstream", "--store_dir"])
            .arg(self.store.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is needed: cargo xtask setup --tests, or apt-get install nats-server");
        self.child = Some(child);
        let port = self.port;
        until("nats-server listens", async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok())
            .await;
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
