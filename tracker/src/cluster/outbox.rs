//! What waits to be published. Nobody waits for NATS: while it is away or slow, what does not fit is lost, and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::connection::Connection;

/// Messages that may wait.
const MESSAGE_LIMIT: usize = 4096;
/// Bytes that may wait: 3 s of 40 Mbit/s in all. What is later than that is of no use to anybody.
const LEN_LIMIT: usize = 16 * 1024 * 1024;

/// One message for a subject.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) subject: String,
    /// Where an answer should go.
    pub(super) reply: Option<String>,
    pub(super) payload: Bytes,
}

/// A way to NATS; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    queue: mpsc::Sender<Post>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting_len: AtomicUsize,
    n_sent: AtomicU64,
    n_lost: AtomicU64,
    is_told: AtomicBool,
}

/// What became of what was queued.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    pub(super) n_sent: u64,
    pub(super) n_lost: u64,
    /// Bytes that wait.
    pub(super) waiting_len: u64,
}

/// The other end of an [`Outbox`].
#[derive(Debug)]
pub(super) struct Postman {
    queue: mpsc::Receiver<Post>,
    counts: Arc<Counts>,
    connection: Connection,
}

impl Outbox {
    /// A way with its other end.
    pub(super) fn new(connection: Connection) -> (Self, Postman) {
        let (sender, queue) = mpsc::channel(MESSAGE_LIMIT);
        let counts = Arc::new(Counts::default());
        let postman = Postman { queue, counts: Arc::clone(&counts), connection };
        (Self { queue: sender, counts }, postman)
    }

    /// Something was given to NATS beside the queue.
    pub(super) fn count_sent(&self) {
        self.counts.n_sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn outgoing(&self) -> Outgoing {
        Outgoing {
            n_sent: self.counts.n_sent.load(Ordering::Relaxed),
            n_lost: self.counts.n_lost.load(Ordering::Relaxed),
            waiting_len: self.counts.waiting_len.load(Ordering::Relaxed) as u64,
        }
    }

    /// Queues a message, or loses it.
    pub(super) fn send(&self, subject: String, payload: Bytes) {
        self.post(Post { subject, reply: None, payload });
    }

    pub(super) fn post(&self, post: Post) {
        let len = post.payload.len();
        let waiting_len = self.counts.waiting_len.fetch_add(len, Ordering::Relaxed) + len;
        if waiting_len > LEN_LIMIT || self.queue.try_send(post).is_err() {
            self.counts.waiting_len.fetch_sub(len, Ordering::Relaxed);
            self.counts.lose();
        }
    }
}

impl Counts {
    /// Says so at the first message that is lost in a row.
    fn lose(&self) {
        let n_lost = self.n_lost.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(n_lost, "NATS: the queue is full, and what other nodes should hear is lost");
        }
    }
}

impl Postman {
    /// Publishes what comes, until the last [`Outbox`] is gone.
    pub(super) async fn run(mut self) {
        while let Some(post) = self.queue.recv().await {
            self.counts.waiting_len.fetch_sub(post.payload.len(), Ordering::Relaxed);
            // The client would keep it until it is connected again, and send it much too late.
            if !self.connection.is_up() {
                self.counts.lose();
                continue;
            }
            let client = &self.connection.client;
            let published = match post.reply {
                Some(reply) => client.publish_with_reply(post.subject, reply, post.payload).await,
                None => client.publish(post.subject, post.payload).await,
            };
            match published {
                Ok(()) => {
                    self.counts.n_sent.fetch_add(1, Ordering::Relaxed);
                    self.counts.is_told.store(false, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::debug!("NATS: not published: {error}");
                    self.counts.lose();
                }
            }
        }
    }
}
