//! The WebSocket to the tracker: a task that reads and writes, and the viewer's end of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use cardume_viewer::Dialler;
use cardume_wire::link;
use futures_util::{SinkExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{connect_async_with_config, tungstenite::http::StatusCode};
use tokio_util::task::TaskTracker;

use crate::address::Address;
use crate::report::{News, Report, Reporter, Wanted};

/// Bytes that may wait in a socket before it counts as dead: as in browsers, some ten seconds of a 6 Mbit/s uplink.
const BACKLOG_LIMIT: usize = 8 * 1024 * 1024;
/// Messages that may wait for the task: those of the longest burst, a bitmap and subscriptions, are some twenty.
const MESSAGE_LIMIT: usize = 4096;

/// Why there is no socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody answers there.
    #[error("cannot reach the tracker: {0}")]
    Unreachable(String),
    /// Somebody answers who is no tracker of this kind.
    #[error("this is no Cardume tracker: it answers {0} where one opens a WebSocket")]
    NoTracker(String),
    /// A tracker that says why not.
    #[error("the tracker refuses: {0}")]
    Refused(String),
}

/// Opens sockets to one tracker.
pub(crate) struct NativeDialler {
    address: Address,
    reports: mpsc::Sender<Report>,
    tasks: TaskTracker,
}

/// An open or opening WebSocket; it closes after what was sent when this is dropped.
pub(crate) struct NativeSocket {
    outbox: mpsc::Sender<Message>,
    line: Arc<Line>,
    wanted: Wanted,
}

/// What both ends know.
#[derive(Default)]
struct Line {
    is_open: AtomicBool,
    backlog_len: AtomicUsize,
}

impl NativeDialler {
    /// Sockets whose tasks are `tasks`.
    pub(crate) fn new(address: Address, reports: mpsc::Sender<Report>, tasks: TaskTracker) -> Self {
        // Two providers in one binary leave rustls without a default. Whoever comes first has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { address, reports, tasks }
    }
}

impl Dialler for NativeDialler {
    type Socket = NativeSocket;

    fn dial(&mut self, address: &str) -> Option<NativeSocket> {
        let (outbox, messages) = mpsc::channel(MESSAGE_LIMIT);
        let (wanted, line) = (Wanted::new(), Arc::<Line>::default());
        let reporter = Reporter::new(wanted.clone(), self.reports.clone());
        self.tasks.spawn(serve(self.address.socket_url(address), messages, line.clone(), reporter));
        Some(NativeSocket { outbox, line, wanted })
    }

    fn chance(&mut self) -> f64 {
        fastrand::f64()
    }
}

impl NativeSocket {
    fn send(&self, message: Message) -> bool {
        let is_open = self.line.is_open.load(Ordering::Relaxed);
        if !is_open || self.line.backlog_len.load(Ordering::Relaxed) >= BACKLOG_LIMIT {
            return false;
        }
        self.line.backlog_len.fetch_add(message.len(), Ordering::Relaxed);
        self.outbox.try_send(message).is_ok()
    }
}

impl cardume_viewer::Socket for NativeSocket {
    fn send_text(&self, text: &str) -> bool {
        self.send(Message::text(text))
    }

    fn send_bytes(&self, bytes: &Bytes) -> bool {
        self.send(Message::Binary(bytes.clone()))
    }

    fn backlog_len(&self) -> usize {
        self.line.backlog_len.load(Ordering::Relaxed)
    }
}

impl Drop for NativeSocket {
    fn drop(&mut self) {
        self.wanted.end();
    }
}

async fn serve(url: String, mut messages: mpsc::Receiver<Message>, line: Arc<Line>, reporter: Reporter) {
    let limit = Some(link::MESSAGE_LEN_LIMIT);
    let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
    let socket = match connect_async_with_config(url, Some(config), true).await {
        Ok((socket, _)) => socket,
        Err(error) => {
            reporter.tell(News::SocketClosed(Some(refusal(error)))).await;
            return;
        }
    };
    line.is_open.store(true, Ordering::Relaxed);
    reporter.tell(News::SocketOpened).await;
    let (mut sink, stream) = socket.split();
    let write = async {
        while let Some(message) = messages.recv().await {
            let len = message.len();
            if sink.send(message).await.is_err() {
                break;
            }
            line.backlog_len.fetch_sub(len, Ordering::Relaxed);
        }
        // Who has gone already needs no goodbye.
        let _ = sink.close().await;
    };
    tokio::select! {
        () = write => {}
        () = read(stream, &reporter) => {}
    }
    line.is_open.store(false, Ordering::Relaxed);
    reporter.tell(News::SocketClosed(None)).await;
}

/// Reports what comes until nothing more does.
async fn read(
    mut stream: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    reporter: &Reporter,
) {
    while let Some(Ok(message)) = stream.next().await {
        match message {
            Message::Text(text) => reporter.tell(News::SocketText(text)).await,
            Message::Binary(bytes) => reporter.tell(News::SocketBinary(bytes)).await,
            _ => true,
        };
    }
}

fn refusal(error: tungstenite::Error) -> Refusal {
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let said = serde_json::from_str::<serde_json::Value>(&body).ok();
            let said = said.and_then(|said| Some(said.get("error")?.as_str()?.to_owned()));
            match said {
                Some(said) if response.status() != StatusCode::NOT_FOUND => Refusal::Refused(said),
                _ => Refusal::NoTracker(response.status().to_string()),
            }
        }
        tungstenite::Error::Protocol(error) => Refusal::NoTracker(error.to_string()),
        tungstenite::Error::Io(error) => Refusal::Unreachable(error.to_string()),
        other => Refusal::Unreachable(other.to_string()),
    }
}
