//! The link to one neighbour: the way from the viewer into the task of an open data channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::report::Wanted;

/// Bytes that may wait for a channel before it counts as dead: as in browsers.
const BACKLOG_LIMIT: usize = 8 * 1024 * 1024;
/// Messages that may wait for a channel's task. Small ones gather only while it sends a large one.
const MESSAGE_LIMIT: usize = 4096;

/// An open data channel, to be taken over as a [`Link`].
#[derive(Debug)]
pub(crate) struct Channel(Link);

/// The viewer's end of an open channel; the channel closes after what was sent when this is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    outbox: mpsc::Sender<Bytes>,
    backlog: Arc<Backlog>,
    wanted: Wanted,
}

/// The task's end.
pub(crate) struct Outbox {
    messages: mpsc::Receiver<Bytes>,
    backlog: Arc<Backlog>,
}

/// Bytes on their way out.
#[derive(Debug, Default)]
struct Backlog {
    /// In our queue.
    queued_len: AtomicUsize,
    /// In the channel's, as of the task's last look.
    buffered_len: AtomicUsize,
}

/// Both ends of a link. `wanted` ends with the viewer's.
pub(crate) fn link(wanted: Wanted) -> (Channel, Outbox) {
    let (outbox, messages) = mpsc::channel(MESSAGE_LIMIT);
    let backlog = Arc::new(Backlog::default());
    (Channel(Link { outbox, backlog: backlog.clone(), wanted }), Outbox { messages, backlog })
}

impl Channel {
    /// Takes it over.
    pub(crate) fn into_link(self) -> Link {
        self.0
    }
}

impl cardume_viewer::Link for Link {
    fn send(&self, bytes: &Bytes) -> bool {
        if self.backlog_len() >= BACKLOG_LIMIT {
            return false;
        }
        // Before the task can take it off again.
        self.backlog.queued_len.fetch_add(bytes.len(), Ordering::Relaxed);
        self.outbox.try_send(bytes.clone()).is_ok()
    }

    fn backlog_len(&self) -> usize {
        self.backlog.queued_len.load(Ordering::Relaxed) + self.backlog.buffered_len.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.wanted.end();
    }
}

impl Outbox {
    /// The next message; `None` once the viewer has dropped its end and all is sent.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.messages.recv().await
    }

    /// A message went to the channel, which has so many bytes waiting now.
    pub(crate) fn sent(&self, message_len: usize, buffered_len: usize) {
        self.set_buffered(buffered_len);
        self.backlog.queued_len.fetch_sub(message_len, Ordering::Relaxed);
    }

    /// The channel has so many bytes waiting now.
    pub(crate) fn set_buffered(&self, len: usize) {
        self.backlog.buffered_len.store(len, Ordering::Relaxed);
    }

    /// Whether the channel had bytes waiting at the last look.
    pub(crate) fn is_buffered(&self) -> bool {
        self.backlog.buffered_len.load(Ordering::Relaxed) > 0
    }
}
