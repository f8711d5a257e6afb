//! The link to the server peer: a binary WebSocket that comes back by itself.

use core::time::Duration;

use cardume_swarm::Instant;

use crate::backoff::Backoff;
use crate::listener::Notify;
use crate::socket::{Socket, SocketEvent};

/// How long connecting may take. Wild guess: three lost SYNs (1 + 2 + 4 s) and a little.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// A link that lasted this long was a good one: the wait after its end is short again. Wild guess.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// The link, open or not.
pub(crate) struct ServerLink {
    url: Option<String>,
    state: State,
    backoff: Backoff,
    notify: Notify<SocketEvent>,
}

enum State {
    Away { until: Instant },
    Opening { socket: Socket, expires_at: Instant },
    Open { socket: Socket, since: Instant },
}

impl ServerLink {
    /// A link that waits to be told its address.
    pub(crate) fn new(notify: Notify<SocketEvent>, now: Instant) -> Self {
        Self { url: None, state: State::Away { until: now }, backoff: Backoff::default(), notify }
    }

    /// The address from the tracker's welcome. An open link stays; otherwise it is tried at the next timeout.
    pub(crate) fn set_url(&mut self, url: String, now: Instant) {
        let has_changed = self.url.as_ref() != Some(&url);
        self.url = Some(url);
        if has_changed && !self.is_open() {
            self.backoff.reset();
            self.state = State::Away { until: now };
        }
    }

    /// The socket opened: the link can be used.
    pub(crate) fn handle_opened(&mut self, now: Instant) {
        match core::mem::replace(&mut self.state, State::Away { until: now }) {
            State::Opening { socket, .. } => self.state = State::Open { socket, since: now },
            other => self.state = other,
        }
    }

    /// The socket is gone, or shall go: tries again later. Whether it was open before.
    pub(crate) fn handle_closed(&mut self, now: Instant) -> bool {
        let since = if let State::Open { since, .. } = self.state { Some(since) } else { None };
        if since.is_some_and(|since| since + GOOD_AFTER <= now) {
            self.backoff.reset();
        }
        self.state = State::Away { until: now + self.backoff.next(js_sys::Math::random()) };
        since.is_some()
    }

    /// Sends one message; false when the link is not open or its queue is full.
    pub(crate) fn send(&self, bytes: &[u8]) -> bool {
        matches!(&self.state, State::Open { socket, .. } if socket.send_bytes(bytes))
    }

    /// Bytes handed over and not yet sent.
    pub(crate) fn backlog_len(&self) -> usize {
        if let State::Open { socket, .. } = &self.state { socket.backlog_len() } else { 0 }
    }

    /// Whether messages pass.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Connects when it is time to, and gives up what takes too long. Early calls are harmless.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match (&self.state, &self.url) {
            (State::Away { until }, Some(url)) if *until <= now => {
                self.state = match Socket::connect(url, self.notify.clone()) {
                    Some(socket) => State::Opening { socket, expires_at: now + OPEN_LIMIT },
                    None => State::Away { until: now + self.backoff.next(js_sys::Math::random()) },
                };
            }
            (State::Opening { expires_at, .. }, _) if *expires_at <= now => {
                self.handle_closed(now);
            }
            _ => {}
        }
    }

    /// When [`ServerLink::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match (&self.state, &self.url) {
            (State::Away { until }, Some(_)) => Some(*until),
            (State::Opening { expires_at, .. }, _) => Some(*expires_at),
            _ => None,
        }
    }
}
