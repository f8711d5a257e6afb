//! The least that a relay has to do: a program that takes datagrams and sends them on, by tokio's sockets and nothing else.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use tokio::net::UdpSocket;

use crate::ours::Ours;

const DATAGRAM_LEN_LIMIT: usize = 2048;

/// Options of `load forward`.
#[derive(Args)]
pub(crate) struct ForwardOptions {
    /// Where everything is sent on to.
    #[arg(long)]
    to: SocketAddr,
}

/// Says where it listens, and forwards until it is killed.
pub(crate) async fn run(options: ForwardOptions) -> Result<String> {
    let front = UdpSocket::bind("127.0.0.1:0").await?;
    let back = UdpSocket::bind("127.0.0.1:0").await?;
    println!("{}", front.local_addr()?);
    let mut buffer = vec![0; DATAGRAM_LEN_LIMIT];
    loop {
        let (len, _) = front.recv_from(&mut buffer).await?;
        // As a relay does: whoever is not ready to take it loses it.
        let _ = back.try_send_to(&buffer[..len], options.to);
    }
}

/// The program, which ends with this.
pub(super) struct Forwarder {
    child: Child,
    address: SocketAddr,
}

impl Forwarder {
    /// On the tracker's processor.
    pub(super) fn start(ours: &Ours, to: SocketAddr) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["forward", &format!("--to={to}")]).stdout(Stdio::piped());
        let mut child = ours.beside(&mut command)?;
        let said = child.stdout.take().context("nothing can be heard of it")?;
        let line = BufReader::new(said).lines().next().context("it says nothing")??;
        Ok(Self { child, address: line.parse()? })
    }

    /// A socket whose datagrams it forwards.
    pub(super) fn connect(&mut self) -> Result<StdSocket> {
        let socket = StdSocket::bind("127.0.0.1:0")?;
        socket.connect(self.address)?;
        Ok(socket)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
