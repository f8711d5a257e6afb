//! One viewer's link to a channel's server peer. Sockets are not seen here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cardume_wire::PeerId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
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

/// The viewer's end of a link: what the server peer has for it.
#[derive(Debug)]
pub struct Carrier {
    server: ServerPeer,
    peer: PeerId,
    number: u64,
    queue: mpsc::Receiver<Bytes>,
    backlog: Arc<AtomicUsize>,
    /// The backlog that the session heard of last.
    told: usize,
    abort: CancellationToken,
    /// Held until the link ends.
    _counted: Counted,
}

/// A link that counts as open.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(n_links: &Arc<AtomicUsize>) -> Self {
        n_links.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(n_links))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ServerPeer {
    /// Opens a link; `None` when the server peer takes no more, or goes down. An older one of the same peer is closed.
    pub async fn link(self, peer: PeerId) -> Option<(Carrier, Intake)> {
        let (sender, queue) = mpsc::channel(QUEUE_LIMIT);
        let backlog = Arc::new(AtomicUsize::new(0));
        let abort = CancellationToken::new();
        let number = NEXT_LINK.fetch_add(1, Ordering::Relaxed);
        let link = Link { number, queue: sender, backlog: Arc::clone(&backlog), abort: abort.clone() };
        let (taken, is_taken) = oneshot::channel();
        self.commands.send(Command::Opened { peer, link, taken }).await.ok()?;
        is_taken.await.ok().filter(|is_taken| *is_taken)?;
        let intake = Intake { server: self.clone(), peer, number, window_at: Instant::now(), n_messages: 0 };
        let counted = Counted::new(&self.n_links);
        Some((
            Carrier { server: self, peer, number, queue, backlog, told: 0, abort, _counted: counted },
            intake,
        ))
    }
}

impl Carrier {
    /// Cancelled when the link is to end whatever waits in it.
    pub fn abort(&self) -> CancellationToken {
        self.abort.clone()
    }

    /// The next message, once the egress budget lets it pass. Cancelled, it loses the message.
    ///
    /// # Errors
    /// Why there are no more.
    pub async fn next(&mut self) -> Result<Bytes, &'static str> {
        let bytes = self.queue.recv().await.ok_or("the server peer closed the link")?;
        let framed_len = (bytes.len() + frame_header_len(bytes.len())) as u64;
        self.server.budget.pass(framed_len).await.map_err(|Exhausted| "the month's egress is used up")?;
        self.server.meter.record(framed_len);
        Ok(bytes)
    }

    /// A message of this length was handed to the system.
    pub async fn sent(&mut self, len: usize) {
        let backlog = self.backlog.fetch_sub(len, Ordering::Relaxed).saturating_sub(len);
        if backlog == 0 || backlog + BACKLOG_STEP <= self.told || backlog > self.told + BACKLOG_STEP {
            self.told = backlog;
            let command = Command::Backlog { peer: self.peer, number: self.number, len: backlog };
            // When the actor is gone it has closed the queue, and what is in it still goes out.
            let _ = self.server.commands.send(command).await;
        }
    }

    /// Ends the link.
    pub async fn close(self) {
        // When the actor is gone it has forgotten the link already.
        let _ = self.server.commands.send(Command::Closed { peer: self.peer, number: self.number }).await;
    }
}

/// The same end, as far as the viewer sends.
#[derive(Debug)]
pub struct Intake {
    server: ServerPeer,
    peer: PeerId,
    number: u64,
    window_at: Instant,
    n_messages: u32,
}

impl Intake {
    /// Hands one message of the viewer to the server peer.
    ///
    /// # Errors
    /// When there are too many.
    pub async fn receive(&mut self, bytes: Bytes) -> Result<(), &'static str> {
        let now = Instant::now();
        if now.duration_since(self.window_at) > RATE_WINDOW {
            (self.window_at, self.n_messages) = (now, 0);
        }
        self.n_messages += 1;
        if self.n_messages > MESSAGE_LIMIT {
            return Err("too many messages on the link");
        }
        let command = Command::Received { peer: self.peer, number: self.number, bytes };
        // When the actor is gone, the carrier knows it.
        let _ = self.server.commands.send(command).await;
        Ok(())
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
