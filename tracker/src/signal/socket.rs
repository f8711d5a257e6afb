//! One viewer's signalling socket (`/v1/signal`).

use std::sync::Arc;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket, close_code};
use cardume_wire::signal::{
    ErrorCode, FromTracker, FromViewer, IceServer, MESSAGE_LEN_LIMIT, NEIGHBOUR_LIMIT, Report, Welcome,
};
use cardume_wire::{ChannelId, PROTOCOL_VERSION, PeerId};
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::limits::{
    IDLE_TIMEOUT, JOIN_TIMEOUT, PING_INTERVAL, RECONNECT_WITHIN, REPORT_INTERVAL, RateLimiter, SEND_TIMEOUT,
};
use super::registry::Registry;
use super::swarm::{Membership, to_json, unknown_channel};
use crate::clock::wall_time;
use crate::token::Tokens;

/// What a signalling socket needs of the tracker.
#[derive(Clone)]
pub struct Signalling {
    /// Who watches what.
    pub registry: Arc<Registry>,
    /// Makes and checks resume tokens.
    pub tokens: Tokens,
    /// Told to each viewer.
    pub ice_servers: Arc<[IceServer]>,
    /// Cancelled when the tracker goes down.
    pub stop: CancellationToken,
}

/// Why a socket's conversation ends: what the viewer is told.
struct Ending {
    message: Option<FromTracker>,
    code: u16,
    reason: &'static str,
}

impl Ending {
    const fn quiet(code: u16, reason: &'static str) -> Self {
        Self { message: None, code, reason }
    }

    fn refusal(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = error(code, message);
        Self { message: Some(message), code: close_code::POLICY, reason: "refused; see the last message" }
    }

    fn drain() -> Self {
        let within = u32::try_from(RECONNECT_WITHIN.as_millis()).unwrap_or(u32::MAX);
        let message = Some(FromTracker::Drain { reconnect_within_ms: within });
        Self { message, code: close_code::RESTART, reason: "the tracker goes down" }
    }

    /// The socket failed or was closed: there is nobody to tell.
    const fn gone() -> Self {
        Self::quiet(close_code::NORMAL, "")
    }
}

/// Speaks with one viewer until either side ends it.
pub async fn serve(mut socket: WebSocket, signalling: Signalling) {
    let ending = match join(&mut socket, &signalling).await {
        Ok((membership, announcements)) => {
            tracing::debug!(channel = %membership.swarm().channel().id(), peer = %membership.peer(), "joined");
            let mut viewer = Viewer {
                membership,
                announcements,
                limiter: RateLimiter::new(Instant::now()),
                heard_at: Instant::now(),
                reported_at: None,
            };
            let ending = viewer.talk(&mut socket, &signalling.stop).await;
            tracing::debug!(peer = %viewer.membership.peer(), reason = ending.reason, "left");
            ending
        }
        Err(ending) => ending,
    };
    let last = ending.message.map(|message| Message::Text(to_json(&message)));
    crate::ws::close(socket, last, ending.code, ending.reason).await;
}

/// Reads messages until one lets the viewer join.
async fn join(
    socket: &mut WebSocket,
    signalling: &Signalling,
) -> Result<(Membership, watch::Receiver<Utf8Bytes>), Ending> {
    let deadline = Instant::now() + JOIN_TIMEOUT;
    loop {
        let received = tokio::select! {
            () = signalling.stop.cancelled() => return Err(Ending::drain()),
            received = tokio::time::timeout_at(deadline, socket.recv()) => received,
        };
        let Ok(received) = received else {
            return Err(Ending::refusal(ErrorCode::OutOfOrder, "nothing joined in time: begin with join"));
        };
        let Some(text) = text_of(received)? else { continue };
        match parse(&text) {
            Ok(FromViewer::Join { version, channel, resume }) => {
                return enter(socket, signalling, Wish { version, channel, resume }).await;
            }
            Ok(FromViewer::Leave) => return Err(Ending::gone()),
            Ok(_) => send(socket, error(ErrorCode::OutOfOrder, "join a channel first")).await?,
            Err(refusal) => send(socket, refusal).await?,
        }
    }
}

struct Wish {
    version: u16,
    channel: ChannelId,
    resume: Option<String>,
}

async fn enter(
    socket: &mut WebSocket,
    signalling: &Signalling,
    wish: Wish,
) -> Result<(Membership, watch::Receiver<Utf8Bytes>), Ending> {
    if wish.version != PROTOCOL_VERSION {
        let version = wish.version;
        let message =
            format!("this tracker speaks version {PROTOCOL_VERSION}, not {version}: reload the page");
        return Err(Ending::refusal(ErrorCode::Version, message));
    }
    let swarm = signalling
        .registry
        .find(&wish.channel)
        .ok_or_else(|| Ending::refusal(ErrorCode::UnknownChannel, unknown_channel(&wish.channel)))?;
    let now = wall_time();
    // A token that is no longer good costs its owner the old id and nothing else.
    let resumed = wish.resume.and_then(|token| signalling.tokens.verify(&wish.channel, &token, now));
    let membership =
        swarm.join(resumed).map_err(|full| Ending::refusal(ErrorCode::TooMany, full.to_string()))?;
    let announcements = swarm.announcement.subscribe();
    let peer = membership.peer();
    let resume = signalling.tokens.mint(&wish.channel, peer, now);
    let welcome = Welcome {
        peer_id: peer,
        server_link: format!("/v1/link/{}?token={resume}", wish.channel),
        resume,
        ice_servers: signalling.ice_servers.to_vec(),
        channel: swarm.channel().describe(),
        time: wall_time(),
        neighbours: swarm.neighbours(peer, &[]),
    };
    send(socket, FromTracker::Welcome(Box::new(welcome))).await?;
    Ok((membership, announcements))
}

/// A viewer that has joined.
struct Viewer {
    membership: Membership,
    announcements: watch::Receiver<Utf8Bytes>,
    limiter: RateLimiter,
    heard_at: Instant,
    reported_at: Option<Instant>,
}

impl Viewer {
    async fn talk(&mut self, socket: &mut WebSocket, stop: &CancellationToken) -> Ending {
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        let closing = self.membership.closing.clone();
        loop {
            let turn = tokio::select! {
                () = stop.cancelled() => Err(Ending::drain()),
                () = closing.cancelled() => {
                    Err(Ending::quiet(close_code::POLICY, "too slow, or this peer joined again elsewhere"))
                }
                Some(message) = self.membership.inbox.recv() => send_json(socket, message).await,
                Ok(()) = self.announcements.changed() => {
                    let message = self.announcements.borrow_and_update().clone();
                    send_json(socket, message).await
                }
                received = socket.recv() => self.hear(socket, received).await,
                _ = pings.tick() => self.ping(socket).await,
            };
            if let Err(ending) = turn {
                return ending;
            }
        }
    }

    async fn ping(&self, socket: &mut WebSocket) -> Result<(), Ending> {
        if self.heard_at.elapsed() > IDLE_TIMEOUT {
            return Err(Ending::quiet(close_code::AWAY, "no sign of life"));
        }
        send_message(socket, Message::Ping(bytes::Bytes::new())).await
    }

    async fn hear(
        &mut self,
        socket: &mut WebSocket,
        received: Option<Result<Message, axum::Error>>,
    ) -> Result<(), Ending> {
        self.heard_at = Instant::now();
        if !self.limiter.take(self.heard_at) {
            return Err(Ending::refusal(ErrorCode::TooMany, "too many messages; slow down"));
        }
        let Some(text) = text_of(received)? else { return Ok(()) };
        let reply = match parse(&text) {
            Ok(FromViewer::Leave) => return Err(Ending::gone()),
            Ok(message) => self.answer(message),
            Err(refusal) => Some(refusal),
        };
        match reply {
            Some(reply) => send(socket, reply).await,
            None => Ok(()),
        }
    }

    fn answer(&mut self, message: FromViewer) -> Option<FromTracker> {
        let from = self.membership.peer();
        match message {
            FromViewer::Join { .. } | FromViewer::Leave => {
                Some(error(ErrorCode::OutOfOrder, "joined already; open another socket for another channel"))
            }
            FromViewer::Offer { to, sdp } => self.forward(to, &FromTracker::Offer { from, sdp }),
            FromViewer::Answer { to, sdp } => self.forward(to, &FromTracker::Answer { from, sdp }),
            FromViewer::Candidate { to, candidate } => {
                self.forward(to, &FromTracker::Candidate { from, candidate })
            }
            FromViewer::Neighbours { without } => Some(self.more_neighbours(&without)),
            FromViewer::Clock { sent_at } => Some(FromTracker::Clock { sent_at, time: wall_time() }),
            FromViewer::Report(report) => {
                self.note(&report);
                None
            }
            FromViewer::Blame { peer } => {
                self.membership.swarm().blame(from, peer);
                None
            }
        }
    }

    fn forward(&self, to: PeerId, message: &FromTracker) -> Option<FromTracker> {
        let swarm = self.membership.swarm();
        swarm.introduce(self.membership.peer(), to, message).err().map(|_| FromTracker::Gone { peer: to })
    }

    fn more_neighbours(&self, without: &[PeerId]) -> FromTracker {
        if without.len() > NEIGHBOUR_LIMIT {
            let message = format!("without names at most {NEIGHBOUR_LIMIT} peers");
            return error(ErrorCode::TooLarge, message);
        }
        let neighbours = self.membership.swarm().neighbours(self.membership.peer(), without);
        FromTracker::Neighbours { neighbours }
    }

    fn note(&mut self, report: &Report) {
        let now = Instant::now();
        if self.reported_at.is_none_or(|last| now.duration_since(last) >= REPORT_INTERVAL) {
            self.reported_at = Some(now);
            self.membership.swarm().report(report);
        }
    }
}

/// The text of what came; `None` for WebSocket's own messages.
fn text_of(received: Option<Result<Message, axum::Error>>) -> Result<Option<Utf8Bytes>, Ending> {
    match received {
        Some(Ok(Message::Text(text))) if text.len() > MESSAGE_LEN_LIMIT => Err(too_large()),
        Some(Ok(Message::Text(text))) => Ok(Some(text)),
        Some(Ok(Message::Binary(_))) => {
            Err(Ending::refusal(ErrorCode::Malformed, "messages here are JSON in text frames"))
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Err(error)) if is_capacity_error(&error) => Err(too_large()),
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Ending::gone()),
    }
}

fn too_large() -> Ending {
    Ending::refusal(ErrorCode::TooLarge, format!("a message is at most {MESSAGE_LEN_LIMIT} bytes"))
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

/// # Errors
/// The refusal to send.
fn parse(text: &str) -> Result<FromViewer, FromTracker> {
    serde_json::from_str(text).map_err(|problem| {
        #[derive(serde::Deserialize)]
        struct Typed {
            #[serde(rename = "type")]
            kind: String,
        }
        // `FromViewer` is the only enum in a viewer's message, so this can only be about its type.
        let is_unknown = problem.to_string().starts_with("unknown variant");
        match serde_json::from_str::<Typed>(text) {
            Ok(typed) if is_unknown => {
                let kind: String = typed.kind.chars().take(32).collect();
                error(ErrorCode::UnknownType, format!("messages of type {kind:?} are not known here"))
            }
            _ => error(ErrorCode::Malformed, format!("not a message of this protocol: {problem}")),
        }
    })
}

fn error(code: ErrorCode, message: impl Into<String>) -> FromTracker {
    FromTracker::Error { code, message: message.into() }
}

async fn send(socket: &mut WebSocket, message: FromTracker) -> Result<(), Ending> {
    send_json(socket, to_json(&message)).await
}

async fn send_json(socket: &mut WebSocket, json: Utf8Bytes) -> Result<(), Ending> {
    send_message(socket, Message::Text(json)).await
}

async fn send_message(socket: &mut WebSocket, message: Message) -> Result<(), Ending> {
    match timeout(SEND_TIMEOUT, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ending::gone()),
        Err(_) => Err(Ending::quiet(close_code::AWAY, "too slow")),
    }
}
