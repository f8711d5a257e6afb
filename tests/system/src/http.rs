//! Just enough HTTP/1.1 to read answers.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::within;

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header lines, as they came.
    pub head: String,
    /// Body; what is no text in it is replaced.
    pub body: String,
}

impl Reply {
    /// From all that a server sent.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, head: head.to_lowercase(), body: body.to_owned() })
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Reads one answer whole.
pub async fn get(tracker: SocketAddr, path: &str) -> Reply {
    try_get(tracker, path).await.expect("an answer")
}

/// Reads one answer whole; `None` when the tracker closes the connection without one.
pub async fn try_get(tracker: SocketAddr, path: &str) -> Option<Reply> {
    read(Stream::open(tracker, path).await).await
}

/// Reads one answer to a request with these header lines, each with its end.
pub async fn fetch_with(tracker: SocketAddr, path: &str, headers: &str) -> Reply {
    read(Stream::open_with(tracker, path, headers).await).await.expect("an answer")
}

async fn read(mut stream: Stream) -> Option<Reply> {
    let mut bytes = Vec::new();
    within("the answer", stream.socket.read_to_end(&mut bytes)).await.ok()?;
    Reply::parse(&bytes)
}

/// An answer that does not end, such as an event stream.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    heard: String,
}

impl Stream {
    /// Asks for it.
    pub async fn open(tracker: SocketAddr, path: &str) -> Self {
        Self::open_with(tracker, path, "Origin: http://elsewhere.example\r\n").await
    }

    async fn open_with(tracker: SocketAddr, path: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(tracker).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {tracker}\r\n{headers}Connection: close\r\n\r\n");
        // A connection that was turned away shows itself when it is read.
        let _ = socket.write_all(request.as_bytes()).await;
        Self { socket, heard: String::new() }
    }

    /// Reads on until this text has come, and forgets what came up to its end.
    pub async fn read_until(&mut self, text: &str) {
        loop {
            if let Some(at) = self.heard.find(text) {
                self.heard.drain(..at + text.len());
                return;
            }
            let mut buffer = [0; 4096];
            let len = within(text, self.socket.read(&mut buffer)).await.unwrap();
            assert!(len > 0, "the stream ended before {text:?} came: {}", self.heard);
            self.heard.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
        }
    }

    /// Reads until the tracker ends the stream.
    pub async fn read_to_end(mut self) {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = within("the end of the stream", self.socket.read_to_end(&mut rest)).await;
    }
}
