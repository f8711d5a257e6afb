//! Connections to all neighbours: which there may be, which of two that cross counts, and when one is given up.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use cardume_swarm::Instant;
use cardume_wire::PeerId;
use cardume_wire::signal::{Candidate, IceServer};

use crate::{Connection, ConnectionEvent, Connector};

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
pub struct Connections<K: Connector> {
    own_id: PeerId,
    connector: K,
    by_peer: BTreeMap<PeerId, Entry<K::Connection>>,
    closing: VecDeque<Entry<K::Connection>>,
    /// What is to be told; a few for each command at most, and taken after it.
    events: VecDeque<(PeerId, ConnectionEvent<K::Channel>)>,
}

struct Entry<C> {
    connection: C,
    /// Until when it must be open, or may go on closing.
    expires_at: Instant,
}

impl<K: Connector> Connections<K> {
    /// No connection yet.
    pub fn new(connector: K) -> Self {
        Self {
            own_id: PeerId::SERVER,
            connector,
            by_peer: BTreeMap::new(),
            closing: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Does what is asked. What comes of it the connections report themselves, but for what
    /// [`Connections::poll_event`] tells.
    pub fn handle(&mut self, command: ConnectionCommand, now: Instant) {
        match command {
            ConnectionCommand::SetOwnId(id) => {
                self.own_id = id;
                self.by_peer.clear();
            }
            ConnectionCommand::SetIceServers(servers) => self.connector.set_ice_servers(&servers),
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

    /// [`ConnectionEvent::Failed`] of what could not be begun or took too long, or [`ConnectionEvent::Replaced`].
    pub fn poll_event(&mut self) -> Option<(PeerId, ConnectionEvent<K::Channel>)> {
        self.events.pop_front()
    }

    /// Gives up what takes too long. Early calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = self.by_peer.iter().filter(|(_, entry)| entry.is_pending() && entry.expires_at <= now);
        let late: Vec<PeerId> = late.map(|(peer, _)| *peer).collect();
        for peer in late {
            self.by_peer.remove(&peer);
            self.events.push_back((peer, ConnectionEvent::Failed));
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
        let connection =
            if self.by_peer.len() < CONNECTION_LIMIT { self.connector.offer(peer) } else { None };
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
            self.events.push_back((from, ConnectionEvent::Replaced));
        }
        let connection = self.connector.answer(from, sdp);
        self.keep(from, connection, now);
    }

    fn keep(&mut self, peer: PeerId, connection: Option<K::Connection>, now: Instant) {
        match connection {
            Some(connection) => {
                self.by_peer.insert(peer, Entry { connection, expires_at: now + OPEN_LIMIT });
            }
            None => self.events.push_back((peer, ConnectionEvent::Failed)),
        }
    }

    fn with(&mut self, peer: PeerId, change: impl FnOnce(&mut K::Connection)) {
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
}

impl<C: Connection> Entry<C> {
    fn is_pending(&self) -> bool {
        !self.connection.is_open()
    }
}
