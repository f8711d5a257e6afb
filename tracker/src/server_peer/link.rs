//! One viewer's WebSocket to a channel's server peer (`/v1/link/CHANNEL`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, close_code};
use bytes::Bytes;
use cardume_wire::PeerId;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::ServerPeer;
use super::actor::Command;
use crate::egress::Exhausted;

/// Messages that may wait for one viewer: with the byte limit below, many small ones.
const QUEUE_LIMIT: usize = 4096;
/// Bytes that may wait for one viewer before its link is dropped: 16 s of 4 Mbit/s, far beyond any use.
pub(super) const BACKLOG_LIMIT: usize = 8 * 1024 * 1024;
/// How much has to leave before the session hears of it again; four blocks.
const BACKLOG_STEP: usize = 64 * 1024;
/// A link that takes longer than this to accept one message is closed: a block at 13 kbit/s.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// As in signalling: half the shortest idle time-out of common proxies.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Messages a viewer may send in one [`RATE_WINDOW`]; ours sends some 20 a second. (Wild guess.)
const MESSAGE_LIMIT: u32 = 5_000;
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// Tells links of one peer apart.
static NEXT_LINK: AtomicU64 = AtomicU64::new(1);

/// The actor's hold on a link; dropping it closes the link once its queue is empty.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: u64,
    queue: mpsc::Sender<Bytes>,
    backlog: Arc<AtomicUsize>,
    /// Closes the link without regard to its queue.
    abort: CancellationToken,
}

impl Link {
    /// Queues one message and gives the bytes that wait now; `None` when the limits are exceeded: drop the link.
    pub(super) fn send(&self, bytes: Bytes) -> Option<usize> {
        let len = bytes.len();
        let backlog = self.backlog.fetch_add(len, Ordering::Relaxed) + len;
        if backlog > BACKLOG_LIMIT || self.queue.try_send(bytes).is_err() {
            self.abort.cancel();
            return None;
        }
        Some(backlog)
    }

    pub(super) fn abort(&self) {
        self.abort.cancel();
    }
}

/// Carries messages between one viewer and the channel's server peer until either side ends it.
pub async fn serve(socket: WebSocket, server: ServerPeer, peer: PeerId) {
    let (sender, queue) = mpsc::channel(QUEUE_LIMIT);
    let backlog = Arc::new(AtomicUsize::new(0));
    let abort = CancellationToken::new();
    let number = NEXT_LINK.fetch_add(1, Ordering::Relaxed);
    let link = Link { number, queue: sender, backlog: Arc::clone(&backlog), abort: abort.clone() };
    if server.commands.send(Command::Opened { peer, link }).await.is_err() {
        return;
    }
    let mut carrier = Carrier { socket, server, peer, number, queue, backlog, told: 0 };
    let reason = tokio::select! {
        () = abort.cancelled() => "replaced, evicted or too slow",
        reason = carrier.carry() => reason,
    };
    tracing::debug!(%peer, reason, "link closed");
    // When the actor is gone it has forgotten the link already.
    let _ = carrier.server.commands.send(Command::Closed { peer, number }).await;
    crate::ws::close(carrier.socket, None, close_code::NORMAL, reason).await;
}

struct Carrier {
    socket: WebSocket,
    server: ServerPeer,
    peer: PeerId,
    number: u64,
    queue: mpsc::Receiver<Bytes>,
    backlog: Arc<AtomicUsize>,
    /// The backlog that the session heard of last.
    told: usize,
}

impl Carrier {
    /// Gives the reason for its end.
    async fn carry(&mut self) -> &'static str {
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        let mut heard_at = Instant::now();
        let (mut window_at, mut n_messages) = (Instant::now(), 0);
        loop {
            let turn = tokio::select! {
                queued = self.queue.recv() => match queued {
                    Some(bytes) => self.transmit(bytes).await,
                    None => Err("the server peer closed it"),
                },
                received = self.socket.recv() => {
                    heard_at = Instant::now();
                    if heard_at.duration_since(window_at) > RATE_WINDOW {
                        (window_at, n_messages) = (heard_at, 0);
                    }
                    n_messages += 1;
                    if n_messages > MESSAGE_LIMIT {
                        Err("too many messages")
                    } else {
                        self.receive(received).await
                    }
                },
                _ = pings.tick() => {
                    if heard_at.elapsed() > IDLE_TIMEOUT {
                        Err("no sign of life")
                    } else {
                        self.write(Message::Ping(Bytes::new())).await
                    }
                }
            };
            if let Err(reason) = turn {
                return reason;
            }
        }
    }

    async fn transmit(&mut self, bytes: Bytes) -> Result<(), &'static str> {
        let len = bytes.len();
        let framed_len = (len + frame_header_len(len)) as u64;
        self.server.budget.pass(framed_len).await.map_err(|Exhausted| "the month's egress is used up")?;
        self.server.meter.record(framed_len);
        self.write(Message::Binary(bytes)).await?;
        let backlog = self.backlog.fetch_sub(len, Ordering::Relaxed).saturating_sub(len);
        if backlog == 0 || backlog + BACKLOG_STEP <= self.told || backlog > self.told + BACKLOG_STEP {
            self.told = backlog;
            let command = Command::Backlog { peer: self.peer, number: self.number, len: backlog };
            // When the actor is gone it has closed the queue, and what is in it still goes out.
            let _ = self.server.commands.send(command).await;
        }
        Ok(())
    }

    async fn receive(&mut self, received: Option<Result<Message, axum::Error>>) -> Result<(), &'static str> {
        match received {
            Some(Ok(Message::Binary(bytes))) => {
                let command = Command::Received { peer: self.peer, number: self.number, bytes };
                let _ = self.server.commands.send(command).await;
                Ok(())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Text(_))) => Err("messages here are binary"),
            Some(Ok(Message::Close(_))) | None => Err("closed by the viewer"),
            Some(Err(_)) => Err("failed, or a message was too long"),
        }
    }

    async fn write(&mut self, message: Message) -> Result<(), &'static str> {
        match timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("failed"),
            Err(_) => Err("too slow"),
        }
    }
}

/// Bytes before a server's frame of this length (RFC 6455, section 5.2).
const fn frame_header_len(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    }
}
