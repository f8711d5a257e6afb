//! What the tasks of a viewer report to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use cardume_viewer::ConnectionEvent;
use cardume_wire::PeerId;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::link::Channel;
use crate::socket::Refusal;

/// Reports that wait at most; who has more to tell waits. Wild guess: a part's blocks from all neighbours.
pub(crate) const REPORT_LIMIT: usize = 256;

/// One thing that happened, and whether anybody still wants to hear of it.
pub(crate) struct Report {
    origin: Wanted,
    pub(crate) news: News,
}

/// What can happen.
pub(crate) enum News {
    /// The socket can send now.
    SocketOpened,
    /// It brought a text message.
    SocketText(Utf8Bytes),
    /// It brought a binary message.
    SocketBinary(Bytes),
    /// It is gone; if it never came to be, why.
    SocketClosed(Option<Refusal>),
    /// Something happened to a connection.
    Connection(PeerId, ConnectionEvent<Channel>),
    /// A link brought a message.
    Message(PeerId, BytesMut),
    /// A link's queue is nearly empty.
    Drained(PeerId),
    /// A link is gone.
    LinkClosed(PeerId),
}

/// Where a task reports to.
#[derive(Clone)]
pub(crate) struct Reporter {
    wanted: Wanted,
    reports: mpsc::Sender<Report>,
}

/// Whether the owner of a socket, connection or link still has it: reports may be on their way when it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Wanted(Arc<AtomicBool>);

impl Wanted {
    /// Wanted, until it is not.
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Nothing more is heard from now on.
    pub(crate) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Reporter {
    /// Reports as long as it is wanted.
    pub(crate) fn new(wanted: Wanted, reports: mpsc::Sender<Report>) -> Self {
        Self { wanted, reports }
    }

    /// Tells the viewer, once it has room; false when nobody listens any more.
    pub(crate) async fn tell(&self, news: News) -> bool {
        let report = Report { origin: self.wanted.clone(), news };
        self.wanted.is_so() && self.reports.send(report).await.is_ok()
    }
}

impl Report {
    /// Whether its origin is still in use.
    pub(crate) fn is_wanted(&self) -> bool {
        self.origin.is_so()
    }
}
