//! A client's WebSocket with nothing around it: the generator must be faster than what it measures.
//!
//! It trusts the other side: frames are unmasked, whole and text, or skipped.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};

/// Read at once.
const READ_LEN: usize = 64 * 1024;
/// Connections from one loopback address: there are some 28,000 ports.
const PER_ADDRESS: usize = 20_000;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_LEN]);
}

/// Where a tracker listens, from `ws://HOST:PORT/PATH`.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    host: String,
    path: String,
}

/// An open socket.
pub(crate) struct Socket {
    stream: TcpStream,
    /// What the kernel did not take yet.
    unsent: RefCell<Vec<u8>>,
    /// The begin of a frame.
    partial: RefCell<Vec<u8>>,
    is_open: Cell<bool>,
    /// Messages are being told of, and what is sent meanwhile goes out behind them.
    gathers: Cell<bool>,
    /// When something was asked that has no answer yet.
    pub(crate) asked_at: Cell<Option<Instant>>,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("ws://").context("the address must begin with ws://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = host.parse().with_context(|| format!("{host:?} is not an IP address with a port"))?;
        Ok(Self { address, host: host.to_owned(), path: format!("/{path}") })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same tracker at another path.
    pub(crate) fn with_path(&self, path: String) -> Self {
        Self { path, ..self.clone() }
    }

    /// The connection of this number: many come from several addresses of the loopback network.
    pub(crate) async fn open(&self, number: usize) -> Result<Socket> {
        let socket = TcpSocket::new_v4()?;
        let address = u8::try_from(number / PER_ADDRESS).context("too many connections")?;
        // Not for the first: a port that is bound before its connection is known is one that nobody else uses, and finding that
        // takes the kernel milliseconds where many were used lately.
        if self.address.ip().is_loopback() && address > 0 {
            socket.bind((Ipv4Addr::new(127, 0, 0, 1 + address), 0).into())?;
        }
        let mut stream = socket.connect(self.address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.path, self.host
        );
        stream.write_all(request.as_bytes()).await?;
        let early = read_head(&mut stream).await?;
        Ok(Socket {
            stream,
            unsent: RefCell::default(),
            partial: RefCell::new(early),
            is_open: Cell::new(true),
            gathers: Cell::default(),
            asked_at: Cell::default(),
        })
    }
}

/// Reads the answer to the upgrade, and gives what came behind it.
async fn read_head(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        ensure!(stream.read_buf(&mut head).await? > 0, "closed instead of an answer");
        if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let line = String::from_utf8_lossy(&head[..end]).lines().next().unwrap_or_default().to_owned();
            ensure!(line.contains("101"), "no WebSocket but {line:?}");
            return Ok(head.split_off(end + 4));
        }
    }
}

impl Socket {
    /// Sends a text, now or as soon as the kernel takes it. What is sent to a closed socket is lost.
    pub(crate) fn send(&self, text: &str) {
        let mut unsent = self.unsent.borrow_mut();
        let was_empty = unsent.is_empty();
        write_frame(&mut unsent, text);
        if was_empty && !self.gathers.get() {
            self.flush(&mut unsent);
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&self, bytes: &[u8]) {
        let mut unsent = self.unsent.borrow_mut();
        unsent.extend_from_slice(bytes);
        self.flush(&mut unsent);
    }

    /// Whether the other side has not closed it, as far as was seen.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    fn flush(&self, unsent: &mut Vec<u8>) {
        while !unsent.is_empty() {
            match self.stream.try_write(unsent) {
                Ok(n) => drop(unsent.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_open.set(false);
                    unsent.clear();
                }
            }
        }
    }

    /// Tells of each message until the socket closes; the error says how.
    pub(crate) async fn listen(&self, mut on: impl FnMut(&str)) -> Result<()> {
        let early = self.partial.take();
        self.cut(&early, &mut on);
        while self.is_open.get() {
            let waits = !self.unsent.borrow().is_empty();
            let interest = if waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let ready = self.stream.ready(interest).await?;
            if ready.is_writable() {
                self.flush(&mut self.unsent.borrow_mut());
            }
            if ready.is_readable() {
                self.read(&mut on)?;
            }
        }
        bail!("the socket is closed")
    }

    fn read(&self, on: &mut impl FnMut(&str)) -> Result<()> {
        let mut bytes = BUFFER.take();
        let result = self.stream.try_read(&mut bytes);
        match &result {
            Ok(0) => self.is_open.set(false),
            Ok(n) => self.take(&bytes[..*n], on),
            Err(_) => {}
        }
        BUFFER.set(bytes);
        match result {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn take(&self, bytes: &[u8], on: &mut impl FnMut(&str)) {
        let mut partial = self.partial.take();
        if partial.is_empty() {
            self.cut(bytes, on);
        } else {
            partial.extend_from_slice(bytes);
            self.cut(&partial, on);
        }
    }

    /// Tells of whole messages, and keeps the rest; what was sent because of them goes out in one write.
    fn cut(&self, mut bytes: &[u8], on: &mut impl FnMut(&str)) {
        self.gathers.set(true);
        while let Some((opcode, content, rest)) = split_frame(bytes) {
            bytes = rest;
            match (opcode, core::str::from_utf8(content)) {
                (1, Ok(text)) => on(text),
                (8, _) => self.is_open.set(false),
                _ => {}
            }
        }
        *self.partial.borrow_mut() = bytes.to_vec();
        self.gathers.set(false);
        self.flush(&mut self.unsent.borrow_mut());
    }
}

/// The first frame's opcode and content, and what follows.
fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, len], rest) = bytes.split_first_chunk()?;
    let (len, rest) = match len {
        126 => {
            let (len, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*len).into(), rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*len)).ok()?, rest)
        }
        len => (usize::from(len), rest),
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((first & 0x0F, content, rest))
}

/// With a mask of zeros, which costs nothing.
fn write_frame(frames: &mut Vec<u8>, text: &str) {
    frames.push(0x81);
    match u16::try_from(text.len()) {
        Ok(len @ 0..126) => frames.push(0x80 | len.to_be_bytes()[1]),
        Ok(len) => {
            frames.push(0xFE);
            frames.extend_from_slice(&len.to_be_bytes());
        }
        Err(_) => {
            frames.push(0xFF);
            frames.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    frames.extend_from_slice(&[0; 4]);
    frames.extend_from_slice(text.as_bytes());
}
