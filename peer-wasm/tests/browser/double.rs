//! A peer that lives in the test: an honest session, but what it sends to viewers may be spoilt on the way.

use std::collections::BTreeMap;
use std::rc::Rc;

use cardume_peer_wasm::connection::ConnectionEvent;
use cardume_peer_wasm::connections::{BrowserConnector, ConnectionCommand, Connections};
use cardume_peer_wasm::{Link, LinkEvent, Notify};
use cardume_swarm::{Config, Event, Session};
use cardume_wire::PeerId;
use cardume_wire::link::BLOCK_HEADER_LEN;
use cardume_wire::signal::{FromTracker, FromViewer};
use js_sys::Uint8Array;

use crate::fixture::key;
use crate::support::Recorder;
use crate::tracker::{Heard, Tracker};

/// The type byte of a block (see `wire`'s golden vectors).
const BLOCK: u8 = 1;

/// What its connections report. A link listens from the moment its channel opens, or it would miss the first message.
enum Connected {
    Open(Link),
    Other(ConnectionEvent),
}

/// The peer; driven by [`Double::tick`].
pub(crate) struct Double {
    id: PeerId,
    tracker: Tracker,
    heard: Recorder<Heard>,
    session: Session,
    connections: Connections,
    connected: Recorder<(PeerId, Connected)>,
    links: BTreeMap<PeerId, Link>,
    linked: Recorder<(PeerId, LinkEvent)>,
    flips_bits: bool,
    n_spoilt: usize,
}

impl Double {
    /// A peer with a link to the server; a polluter flips a bit in each block that it forwards.
    pub(crate) fn polluter(tracker: &Tracker) -> Self {
        let (id, heard) = tracker.add_double();
        let (connected, linked) = (Recorder::new(), Recorder::new());
        let mut connections =
            Connections::new(BrowserConnector::new(listen(connected.clone(), linked.clone())));
        connections.handle(ConnectionCommand::SetOwnId(id), tracker.now());
        let mut session = Session::new(Config::viewer(id), key().public(), id.number(), tracker.now());
        session.link_opened(PeerId::SERVER, tracker.now());
        session.set_clock(tracker.wall(), tracker.now());
        let links = BTreeMap::new();
        let tracker = tracker.clone();
        Self {
            id,
            tracker,
            heard,
            session,
            connections,
            connected,
            links,
            linked,
            flips_bits: true,
            n_spoilt: 0,
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    /// Wrong blocks sent so far.
    pub(crate) fn n_spoilt(&self) -> usize {
        self.n_spoilt
    }

    /// Works off what was heard, and what is due.
    pub(crate) fn tick(&mut self) {
        let now = self.tracker.now();
        while let Some(heard) = self.heard.take() {
            match heard {
                Heard::Server(bytes) => self.session.receive(PeerId::SERVER, &bytes, now),
                Heard::Tracker(message) => self.handle_tracker(message),
            }
        }
        while let Some((peer, event)) = self.connected.take() {
            self.handle_connection(peer, event);
        }
        while let Some((peer, event)) = self.linked.take() {
            match event {
                LinkEvent::Message(buffer) => {
                    self.session.receive(peer, &Uint8Array::new(&buffer).to_vec(), now)
                }
                LinkEvent::Drained => self.session.set_backlog(peer, 0, now),
                LinkEvent::Closed => self.close(peer),
            }
        }
        self.session.handle_timeout(now);
        self.perform();
    }

    fn handle_tracker(&mut self, message: FromTracker) {
        let command = match message {
            FromTracker::Offer { from, sdp } => ConnectionCommand::Offer { from, sdp },
            FromTracker::Answer { from, sdp } => ConnectionCommand::Answer { from, sdp },
            FromTracker::Candidate { from, candidate } => ConnectionCommand::Candidate { from, candidate },
            _ => return,
        };
        self.connections.handle(command, self.tracker.now());
        while let Some((peer, event)) = self.connections.poll_event() {
            self.handle_connection(peer, Connected::Other(event));
        }
    }

    fn handle_connection(&mut self, peer: PeerId, event: Connected) {
        let event = match event {
            Connected::Open(link) => {
                self.links.insert(peer, link);
                return self.session.link_opened(peer, self.tracker.now());
            }
            Connected::Other(event) => event,
        };
        let message = match event {
            ConnectionEvent::Offer(sdp) => FromViewer::Offer { to: peer, sdp },
            ConnectionEvent::Answer(sdp) => FromViewer::Answer { to: peer, sdp },
            ConnectionEvent::Candidate(candidate) => FromViewer::Candidate { to: peer, candidate },
            ConnectionEvent::Route(route) => {
                return self.session.set_route(peer, route, self.tracker.now());
            }
            _ => return self.close(peer),
        };
        self.tracker.hear_double(self.id, message);
    }

    fn close(&mut self, peer: PeerId) {
        let now = self.tracker.now();
        self.connections.handle(ConnectionCommand::Close(peer), now);
        if self.links.remove(&peer).is_some() {
            self.session.link_closed(peer, now);
        }
    }

    fn perform(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Transmit { to, bytes } if to.is_server() => {
                    self.tracker.hear_double_link(self.id, &bytes);
                }
                Event::Transmit { to, bytes } => {
                    let bytes = self.spoil(bytes.to_vec());
                    if let Some(link) = self.links.get(&to) {
                        link.send(&bytes);
                    }
                }
                Event::Disconnect { peer } => self.close(peer),
                _ => {}
            }
        }
    }

    fn spoil(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.flips_bits && bytes[0] == BLOCK {
            let middle = (BLOCK_HEADER_LEN + bytes.len()) / 2;
            bytes[middle] ^= 0x10;
            self.n_spoilt += 1;
        }
        bytes
    }
}

fn listen(
    connected: Recorder<(PeerId, Connected)>,
    linked: Recorder<(PeerId, LinkEvent)>,
) -> Notify<(PeerId, ConnectionEvent)> {
    Rc::new(move |(peer, event)| {
        let linked = linked.clone();
        connected.push((
            peer,
            match event {
                ConnectionEvent::Opened(channel) => {
                    Connected::Open(Link::new(channel, Rc::new(move |event| linked.push((peer, event)))))
                }
                event => Connected::Other(event),
            },
        ));
    })
}
