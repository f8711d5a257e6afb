//! Connections to all neighbours. Lives in the window, since workers have no `RTCPeerConnection`; the engine talks to
//! it in [`ConnectionCommand`]s and hears [`ConnectionEvent`]s, which could be messages between threads.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use cardume_swarm::Instant;
use cardume_wire::PeerId;
use cardume_wire::signal::{Candidate, IceServer};
use js_sys::{Array, JsString};
use web_sys::{RtcConfiguration, RtcIceServer};

use crate::connection::{Connection, ConnectionEvent};
use crate::listener::Notify;

/// How long a connection may take to open: 6 s of gathering behind a firewall that leaves TURN over TCP (measured),
/// twice that for both sides to do so one after the other.
const OPEN_LIMIT: Duration = Duration::from_secs(12);
/// How long a closed channel may go on sending what it was given: a few round trips. Wild guess.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// Connections at a time: the overlay's 16 neighbours, as many again that are being set up or come by themselves.
const CONNECTION_LIMIT: usize = 32;

/// What the engine asks of the connections.
#[derive(Debug)]
pub enum ConnectionCommand {
    /// The viewer's own id, which decides which of two offers that cross counts. Ends all connections.
    SetOwnId(PeerId),
    /// Use these for all later connections.
    SetIceServers(Vec<IceServer>),
    /// Connect to this peer by an offer, unless it is being done or is done.
    Connect(PeerId),
    /// A peer's offer.
    Offer {
        /// Who offers.
        from: PeerId,
        /// Its session description.
        sdp: String,
    },
    /// A peer's answer.
    Answer {
        /// Who answers.
        from: PeerId,
        /// Its session description.
        sdp: String,
    },
    /// A peer's candidate.
    Candidate {
        /// Whose it is.
        from: PeerId,
        /// The candidate.
        candidate: Candidate,
    },
    /// End the connection, or the attempt; nothing more is heard of it. What its channel was given before is sent.
    Close(PeerId),
}

/// All connections of one viewer. Dropping them closes them at once.
pub struct Connections {
    own_id: PeerId,
    configuration: RtcConfiguration,
    by_peer: BTreeMap<PeerId, Entry>,
    closing: VecDeque<Entry>,
    notify: Notify<(PeerId, ConnectionEvent)>,
}

struct Entry {
    connection: Connection,
    /// Until when it must be open, or may go on closing.
    expires_at: Instant,
}

impl Connections {
    /// No connection yet.
    pub fn new(notify: Notify<(PeerId, ConnectionEvent)>) -> Self {
        Self {
            own_id: PeerId::SERVER,
            configuration: RtcConfiguration::new(),
            by_peer: BTreeMap::new(),
            closing: VecDeque::new(),
            notify,
        }
    }

    /// Does what is asked; failures come as [`ConnectionEvent::Failed`].
    pub fn handle(&mut self, command: ConnectionCommand, now: Instant) {
        match command {
            ConnectionCommand::SetOwnId(id) => {
                self.own_id = id;
                self.by_peer.clear();
            }
            ConnectionCommand::SetIceServers(servers) => self.set_ice_servers(&servers),
            ConnectionCommand::Connect(peer) => self.connect(peer, now),
            ConnectionCommand::Offer { from, sdp } => self.handle_offer(from, &sdp, now),
            ConnectionCommand::Answer { from, sdp } => {
                self.with(from, |connection| connection.handle_answer(&sdp));
            }
            ConnectionCommand::Candidate { from, candidate } => {
                self.with(from, |connection| connection.handle_candidate(candidate));
            }
            ConnectionCommand::Close(peer) => self.close(peer, now),
        }
    }

    /// Gives up what takes too long. Early calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = self.by_peer.iter().filter(|(_, entry)| entry.is_pending() && entry.expires_at <= now);
        let late: Vec<PeerId> = late.map(|(peer, _)| *peer).collect();
        for peer in late {
            self.by_peer.remove(&peer);
            (self.notify)((peer, ConnectionEvent::Failed));
        }
        while self.closing.front().is_some_and(|entry| entry.expires_at <= now) {
            self.closing.pop_front();
        }
    }

    /// When [`Connections::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let pending = self.by_peer.values().filter(|entry| entry.is_pending());
        pending.chain(self.closing.front()).map(|entry| entry.expires_at).min()
    }

    fn connect(&mut self, peer: PeerId, now: Instant) {
        if self.by_peer.contains_key(&peer) {
            return;
        }
        let connection = if self.by_peer.len() < CONNECTION_LIMIT {
            Connection::offer(peer, &self.configuration, self.notify.clone())
        } else {
            None
        };
        self.keep(peer, connection, now);
    }

    /// Of two offers that cross, the one of the larger id counts; the other side drops its own and answers.
    fn handle_offer(&mut self, from: PeerId, sdp: &str, now: Instant) {
        let known = self.by_peer.get(&from);
        if known.is_some_and(|entry| entry.connection.awaits_answer()) && self.own_id > from {
            return;
        }
        if known.is_none() && self.by_peer.len() >= CONNECTION_LIMIT {
            return;
        }
        if self.by_peer.remove(&from).is_some_and(|entry| entry.connection.is_open()) {
            (self.notify)((from, ConnectionEvent::Replaced));
        }
        let connection = Connection::answer(from, sdp, &self.configuration, self.notify.clone());
        self.keep(from, connection, now);
    }

    fn keep(&mut self, peer: PeerId, connection: Option<Connection>, now: Instant) {
        match connection {
            Some(connection) => {
                self.by_peer.insert(peer, Entry { connection, expires_at: now + OPEN_LIMIT });
            }
            None => (self.notify)((peer, ConnectionEvent::Failed)),
        }
    }

    fn with(&mut self, peer: PeerId, change: impl FnOnce(&mut Connection)) {
        if let Some(entry) = self.by_peer.get_mut(&peer) {
            change(&mut entry.connection);
        }
    }

    fn close(&mut self, peer: PeerId, now: Instant) {
        let Some(Entry { mut connection, .. }) = self.by_peer.remove(&peer) else { return };
        if connection.is_open() && self.closing.len() < CONNECTION_LIMIT {
            connection.mute();
            self.closing.push_back(Entry { connection, expires_at: now + CLOSE_LIMIT });
        }
    }

    fn set_ice_servers(&mut self, servers: &[IceServer]) {
        let list = Array::new();
        for server in servers {
            list.push(&ice_server(server));
        }
        self.configuration.set_ice_servers(&list);
    }
}

impl Entry {
    fn is_pending(&self) -> bool {
        !self.connection.is_open()
    }
}

fn ice_server(server: &IceServer) -> RtcIceServer {
    let urls: Array = server.urls.iter().map(|url| JsString::from(url.as_str())).collect();
    let js = RtcIceServer::new();
    js.set_urls(&urls);
    if let Some(username) = &server.username {
        js.set_username(username);
    }
    if let Some(credential) = &server.credential {
        js.set_credential(credential);
    }
    js
}
