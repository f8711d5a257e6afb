//! One viewer's socket: text is for signalling, binary messages are the link to its channel's server peer.
//!
//! One socket for both, as a browser opens several to one host only one after another (RFC 6455, section 4.1): the second
//! would stand three round trips later. Media does not hold signalling up for long: the kernel takes little of it at a time,
//! and what waits here lets text pass. Both have one fate: when either ends the socket closes, and the viewer comes back
//! with its resume token.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use cardume_wire::signal::{ErrorCode, FromTracker, Join};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Mutex;
use tokio::time::{Instant, interval_at, timeout};

use crate::server_peer::{Carrier, Intake, ServerPeer};
use crate::signal::{Ending, News, Signalling, Viewer, to_json};

/// A socket that takes longer than this to accept one message is closed: a block at 13 kbit/s.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a viewer is asked whether it lives; half the shortest idle time-out of common proxies (60 s).
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Silence after which a viewer counts as dead: two pings unanswered, and some.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Time for the last messages to leave, and then again for the viewer to close its side. (Wild guess: a few round
/// trips.)
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Shared by those who write; none waits for longer than another's one message takes.
type Out = Mutex<SplitSink<WebSocket, Message>>;

/// Who a viewer is before it is let in.
pub(super) struct Visit {
    pub(super) join: Join,
    /// The authority under which it reached the tracker, as far as it is known.
    pub(super) authority: Option<String>,
}

/// Whether a viewer was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Joined,
    Refused,
}

/// Speaks with one viewer until either side ends it. Without a server peer there is signalling alone.
pub(super) async fn serve(
    socket: WebSocket,
    signalling: Signalling,
    server: Option<ServerPeer>,
    visit: Visit,
) -> Entry {
    let (sink, mut stream) = socket.split();
    let out = Mutex::new(sink);
    let (entry, ending) = match signalling.enter(&visit.join, visit.authority.as_deref()) {
        Ok((viewer, news)) => (Entry::Joined, carry(&out, &mut stream, viewer, news, server).await),
        Err(ending) => (Entry::Refused, ending),
    };
    // The server peer, too, ends when the tracker goes down, and may be heard of first.
    let ending = if signalling.stop.is_cancelled() { Ending::drain() } else { ending };
    // Both are halves of the same socket.
    if let Ok(socket) = stream.reunite(out.into_inner()) {
        close(socket, ending).await;
    }
    entry
}

async fn carry(
    out: &Out,
    stream: &mut SplitStream<WebSocket>,
    viewer: Viewer,
    news: News,
    server: Option<ServerPeer>,
) -> Ending {
    let peer = viewer.peer();
    let (mut carrier, intake) = match server.filter(|server| !server.has_banned(peer)) {
        Some(server) => server.link(peer).await.unzip(),
        None => (None, None),
    };
    tracing::debug!(%peer, is_linked = carrier.is_some(), "joined");
    let welcomed = write(out, text(&viewer.welcome(carrier.is_some()))).await;
    let ear = Ear { viewer, intake, heard_at: Instant::now() };
    let ending = if let Err(ending) = welcomed {
        ending
    } else {
        tokio::select! {
            ending = tell(out, news) => ending,
            ending = transmit(out, carrier.as_mut()) => ending,
            ending = ear.listen(out, stream) => ending,
        }
    };
    tracing::debug!(%peer, reason = ending.reason, "left");
    if let Some(carrier) = carrier {
        carrier.close().await;
    }
    ending
}

/// What signalling has to tell.
async fn tell(out: &Out, mut news: News) -> Ending {
    loop {
        let told = match news.next().await {
            Ok(message) => write(out, Message::Text(message)).await,
            Err(ending) => Err(ending),
        };
        if let Err(ending) = told {
            return ending;
        }
    }
}

/// What the server peer has to send; for ever, without one.
async fn transmit(out: &Out, carrier: Option<&mut Carrier>) -> Ending {
    let Some(carrier) = carrier else { return std::future::pending().await };
    let abort = carrier.abort();
    let sending = async {
        loop {
            let bytes = match carrier.next().await {
                Ok(bytes) => bytes,
                Err(reason) => return Ending::quiet(close_code::NORMAL, reason),
            };
            let len = bytes.len();
            if let Err(ending) = write(out, Message::Binary(bytes)).await {
                return ending;
            }
            carrier.sent(len).await;
        }
    };
    tokio::select! {
        () = abort.cancelled() => Ending::quiet(close_code::NORMAL, "replaced, evicted or too slow"),
        ending = sending => ending,
    }
}

/// Takes what the viewer sends, and asks it whether it lives.
struct Ear {
    viewer: Viewer,
    intake: Option<Intake>,
    heard_at: Instant,
}

impl Ear {
    async fn listen(mut self, out: &Out, stream: &mut SplitStream<WebSocket>) -> Ending {
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        loop {
            let turn = tokio::select! {
                received = stream.next() => self.take(out, received).await,
                _ = pings.tick() => self.ping(out).await,
            };
            if let Err(ending) = turn {
                return ending;
            }
        }
    }

    async fn ping(&self, out: &Out) -> Result<(), Ending> {
        if self.heard_at.elapsed() > IDLE_TIMEOUT {
            return Err(Ending::quiet(close_code::AWAY, "no sign of life"));
        }
        write(out, Message::Ping(bytes::Bytes::new())).await
    }

    async fn take(
        &mut self,
        out: &Out,
        received: Option<Result<Message, axum::Error>>,
    ) -> Result<(), Ending> {
        self.heard_at = Instant::now();
        match received {
            Some(Ok(Message::Binary(bytes))) => match &mut self.intake {
                Some(intake) => {
                    let taken = intake.receive(bytes).await;
                    taken.map_err(|reason| Ending::refusal(ErrorCode::TooMany, reason))
                }
                // It may have been on its way when the link was refused.
                None => self.viewer.count(),
            },
            Some(Ok(Message::Text(said))) => {
                self.viewer.count()?;
                match self.viewer.hear(&said)? {
                    Some(reply) => write(out, text(&reply)).await,
                    None => Ok(()),
                }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.viewer.count(),
            Some(Err(error)) if is_capacity_error(&error) => Err(Ending::too_large()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Ending::gone()),
        }
    }
}

async fn write(out: &Out, message: Message) -> Result<(), Ending> {
    let sending = async { out.lock().await.send(message).await };
    match timeout(SEND_TIMEOUT, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ending::gone()),
        Err(_) => Err(Ending::quiet(close_code::AWAY, "too slow")),
    }
}

fn text(message: &FromTracker) -> Message {
    Message::Text(to_json(message))
}

/// Whether the message was refused by its header alone, for its length.
fn is_capacity_error(error: &axum::Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if error.to_string().starts_with("Space limit exceeded") {
            return true;
        }
        source = error.source();
    }
    false
}

/// Closes the socket (RFC 6455, section 7), after a last message if there is one.
///
/// Waits a moment for the other side to close as well: closing under bytes that are still unread would make the
/// system throw away what the viewer has not read yet, the reason first of all.
async fn close(mut socket: WebSocket, ending: Ending) {
    let farewell = async {
        if let Some(message) = &ending.message {
            socket.send(text(message)).await?;
        }
        let frame = CloseFrame { code: ending.code, reason: Utf8Bytes::from_static(ending.reason) };
        socket.send(Message::Close(Some(frame))).await
    };
    if let Ok(Ok(())) = timeout(FAREWELL_TIMEOUT, farewell).await {
        let drain = async { while let Some(Ok(_)) = socket.recv().await {} };
        // A viewer that does not close is closed.
        let _ = timeout(FAREWELL_TIMEOUT, drain).await;
    }
}
