//! One viewer at signalling: what it says, and what it is told.

use std::sync::Arc;

use axum::extract::ws::{Utf8Bytes, close_code};
use cardume_wire::signal::{
    ErrorCode, FromTracker, FromViewer, IceServer, Join, MESSAGE_LEN_LIMIT, NEIGHBOUR_LIMIT, Report, Welcome,
};
use cardume_wire::{PROTOCOL_VERSION, PeerId};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::{RECONNECT_WITHIN, REPORT_INTERVAL, RateLimiter};
use super::registry::Registry;
use super::swarm::{Membership, Swarm, unknown_channel};
use crate::clock::{unix_seconds, wall_time};
use crate::relay::IceServers;
use crate::token::Tokens;

/// What signalling needs of the tracker.
#[derive(Clone)]
pub struct Signalling {
    /// Who watches what.
    pub registry: Arc<Registry>,
    /// Makes and checks resume tokens.
    pub tokens: Tokens,
    /// Told to each viewer.
    pub ice_servers: IceServers,
    /// Cancelled when the tracker goes down.
    pub stop: CancellationToken,
}

/// Why a socket's conversation ends: what the viewer is told.
#[derive(Debug)]
pub struct Ending {
    /// The last message.
    pub message: Option<FromTracker>,
    /// The socket's close code.
    pub code: u16,
    /// For the close frame and the log.
    pub reason: &'static str,
}

impl Ending {
    /// Without a message.
    pub const fn quiet(code: u16, reason: &'static str) -> Self {
        Self { message: None, code, reason }
    }

    /// The viewer did or wants what it may not.
    pub fn refusal(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = error(code, message);
        Self { message: Some(message), code: close_code::POLICY, reason: "refused; see the last message" }
    }

    /// It sent more than a message may have.
    pub fn too_large() -> Self {
        Self::refusal(ErrorCode::TooLarge, format!("a message is at most {MESSAGE_LEN_LIMIT} bytes"))
    }

    /// The socket failed or was closed: there is nobody to tell.
    pub const fn gone() -> Self {
        Self::quiet(close_code::NORMAL, "")
    }

    /// The tracker goes down: come back soon.
    pub fn drain() -> Self {
        let within = u32::try_from(RECONNECT_WITHIN.as_millis()).unwrap_or(u32::MAX);
        let message = Some(FromTracker::Drain { reconnect_within_ms: within });
        Self { message, code: close_code::RESTART, reason: "the tracker goes down" }
    }
}

impl Signalling {
    /// Lets a viewer in that reached the tracker under this authority (`tv.example.org:8080`), until its [`News`] are dropped.
    ///
    /// # Errors
    /// What to tell it instead.
    pub fn enter(&self, join: &Join, authority: Option<&str>) -> Result<(Viewer, News), Ending> {
        if join.version != PROTOCOL_VERSION {
            let version = join.version;
            let message =
                format!("this tracker speaks version {PROTOCOL_VERSION}, not {version}: reload the page");
            return Err(Ending::refusal(ErrorCode::Version, message));
        }
        let swarm = self.registry.find(&join.channel).ok_or_else(|| {
            let message = unknown_channel(&join.channel, self.registry.has_other_nodes());
            Ending::refusal(ErrorCode::UnknownChannel, message)
        })?;
        let now = wall_time();
        // A token that is no longer good costs its owner the old id and nothing else.
        let resumed = join.resume.as_ref().and_then(|token| self.tokens.verify(&join.channel, token, now));
        let membership =
            swarm.join(resumed).map_err(|full| Ending::refusal(ErrorCode::TooMany, full.to_string()))?;
        let peer = membership.peer();
        let viewer = Viewer {
            swarm: Arc::clone(&swarm),
            peer,
            resume: self.tokens.mint(&join.channel, peer, now),
            ice_servers: self.ice_servers.for_viewer(peer, authority, unix_seconds(now)),
            limiter: RateLimiter::new(Instant::now()),
            reported_at: None,
        };
        let announcements = swarm.announcement.subscribe();
        Ok((viewer, News { membership, announcements, stop: self.stop.clone() }))
    }
}

/// What a viewer is told unasked; its place in the swarm goes with this.
#[derive(Debug)]
pub struct News {
    membership: Membership,
    announcements: watch::Receiver<Utf8Bytes>,
    stop: CancellationToken,
}

impl News {
    /// The next message. May be cancelled.
    ///
    /// # Errors
    /// The end of the conversation.
    pub async fn next(&mut self) -> Result<Utf8Bytes, Ending> {
        let closing = self.membership.closing.clone();
        tokio::select! {
            () = self.stop.cancelled() => Err(Ending::drain()),
            () = closing.cancelled() => {
                Err(Ending::quiet(close_code::POLICY, "too slow, joined again elsewhere, or the channel is gone"))
            }
            Some(message) = self.membership.inbox.recv() => Ok(message),
            Ok(()) = self.announcements.changed() => Ok(self.announcements.borrow_and_update().clone()),
        }
    }
}

impl Drop for News {
    fn drop(&mut self) {
        // A tracker that goes down loses all of them, and none is dead for that.
        if !self.stop.is_cancelled() {
            self.membership.tell_lost();
        }
    }
}

/// A viewer that has joined, as far as it is heard.
pub struct Viewer {
    swarm: Arc<Swarm>,
    peer: PeerId,
    resume: String,
    ice_servers: Vec<IceServer>,
    limiter: RateLimiter,
    reported_at: Option<Instant>,
}

impl Viewer {
    /// Its id.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The first message to it.
    pub fn welcome(&self, is_linked: bool) -> FromTracker {
        FromTracker::Welcome(Box::new(Welcome {
            peer_id: self.peer,
            resume: self.resume.clone(),
            ice_servers: self.ice_servers.clone(),
            channel: self.swarm.channel().describe(),
            time: wall_time(),
            is_linked,
            neighbours: self.swarm.neighbours(self.peer, &[]),
        }))
    }

    /// Counts one more message of it.
    ///
    /// # Errors
    /// When it sends too many.
    pub fn count(&mut self) -> Result<(), Ending> {
        if self.limiter.take(Instant::now()) {
            Ok(())
        } else {
            Err(Ending::refusal(ErrorCode::TooMany, "too many messages; slow down"))
        }
    }

    /// Takes one message and gives the answer to it, if there is one.
    ///
    /// # Errors
    /// The end of the conversation.
    pub fn hear(&mut self, text: &str) -> Result<Option<FromTracker>, Ending> {
        if text.len() > MESSAGE_LEN_LIMIT {
            return Err(Ending::too_large());
        }
        match parse(text) {
            Ok(FromViewer::Leave) => Err(Ending::gone()),
            Ok(message) => Ok(self.answer(message)),
            Err(refusal) => Ok(Some(refusal)),
        }
    }

    fn answer(&mut self, message: FromViewer) -> Option<FromTracker> {
        let from = self.peer;
        match message {
            FromViewer::Leave => None,
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
                self.swarm.blame(from, peer);
                None
            }
        }
    }

    fn forward(&self, to: PeerId, message: &FromTracker) -> Option<FromTracker> {
        self.swarm.introduce(self.peer, to, message).err().map(|_| FromTracker::Gone { peer: to })
    }

    fn more_neighbours(&self, without: &[PeerId]) -> FromTracker {
        if without.len() > NEIGHBOUR_LIMIT {
            let message = format!("without names at most {NEIGHBOUR_LIMIT} peers");
            return error(ErrorCode::TooLarge, message);
        }
        let neighbours = self.swarm.neighbours(self.peer, without);
        FromTracker::Neighbours { neighbours }
    }

    fn note(&mut self, report: &Report) {
        let now = Instant::now();
        if self.reported_at.is_none_or(|last| now.duration_since(last) >= REPORT_INTERVAL) {
            self.reported_at = Some(now);
            self.swarm.report(self.peer, report);
        }
    }
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
