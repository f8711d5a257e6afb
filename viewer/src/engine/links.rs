//! Links to neighbours and to the server peer: what comes and goes over them.

use bytes::Bytes;
use cardume_swarm::Instant;
use cardume_wire::PeerId;
use cardume_wire::signal::{FromViewer, Introduction};

use super::Engine;
use crate::{ConnectionCommand, ConnectionEvent, Connector, Link, LinkEvent, Shell};

impl<S: Shell> Engine<S> {
    pub(super) fn handle_connection(
        &mut self,
        peer: PeerId,
        event: ConnectionEvent<<S::Connector as Connector>::Channel>,
        now: Instant,
    ) {
        match event {
            ConnectionEvent::Offer(sdp) => self.introduce(peer, Introduction::Offer { sdp }, now),
            ConnectionEvent::Answer(sdp) => self.introduce(peer, Introduction::Answer { sdp }, now),
            ConnectionEvent::Candidate(candidate) => {
                self.introduce(peer, Introduction::Candidate { candidate }, now);
            }
            ConnectionEvent::Opened(channel) => {
                let link = self.shell.link(peer, channel);
                self.links.insert(peer, link);
                if let Some(viewer) = &mut self.viewer {
                    viewer.session.link_opened(peer, now);
                }
            }
            ConnectionEvent::Route(route) => {
                if let Some(viewer) = self.viewer.as_mut().filter(|_| self.links.contains_key(&peer)) {
                    viewer.session.set_route(peer, route, now);
                }
            }
            ConnectionEvent::Failed => {
                self.connections.handle(ConnectionCommand::Close(peer), now);
                self.forget_link(peer, now);
            }
            ConnectionEvent::Replaced => self.forget_link(peer, now),
        }
    }

    /// Tells a peer what it needs to connect: by the way that it came by itself, or by the tracker, or by a neighbour.
    fn introduce(&mut self, to: PeerId, introduction: Introduction, now: Instant) {
        let introduced = self.viewer.as_mut().filter(|viewer| viewer.session.is_introduced(to));
        if let Some(viewer) = introduced {
            let text = serde_json::to_string(&introduction).unwrap_or_default();
            viewer.session.forward(to, text, now);
            return;
        }
        let is_candidate = matches!(introduction, Introduction::Candidate { .. });
        let is_sent = self.signal.send(&match introduction {
            Introduction::Offer { sdp } => FromViewer::Offer { to, sdp },
            Introduction::Answer { sdp } => FromViewer::Answer { to, sdp },
            Introduction::Candidate { candidate } => FromViewer::Candidate { to, candidate },
        });
        if !is_sent && !is_candidate {
            self.handle_connection(to, ConnectionEvent::Failed, now);
        }
    }

    /// What a peer needs us to know to connect came by way of a neighbour; what is no such thing is skipped.
    pub(super) fn handle_introduction(&mut self, from: PeerId, text: &str, now: Instant) {
        let Ok(introduction) = serde_json::from_str::<Introduction>(text) else { return };
        let command = match introduction {
            Introduction::Offer { sdp } => ConnectionCommand::Offer { from, sdp },
            Introduction::Answer { sdp } => ConnectionCommand::Answer { from, sdp },
            Introduction::Candidate { candidate } => ConnectionCommand::Candidate { from, candidate },
        };
        self.connections.handle(command, now);
    }

    pub(super) fn forget_link(&mut self, peer: PeerId, now: Instant) {
        let was_open = self.links.remove(&peer).is_some();
        let Some(viewer) = &mut self.viewer else { return };
        if was_open {
            viewer.session.link_closed(peer, now);
        } else {
            viewer.session.connect_failed(peer, now);
        }
    }

    pub(super) fn handle_link(&mut self, peer: PeerId, event: LinkEvent<'_>, now: Instant) {
        match event {
            LinkEvent::Message(message) => self.receive(peer, message, now),
            LinkEvent::Drained => {
                if let (Some(link), Some(viewer)) = (self.links.get(&peer), &mut self.viewer) {
                    viewer.session.set_backlog(peer, link.backlog_len(), now);
                }
            }
            LinkEvent::Closed => self.handle_connection(peer, ConnectionEvent::Failed, now),
        }
    }

    pub(super) fn receive(&mut self, from: PeerId, message: &[u8], now: Instant) {
        if let Some(viewer) = &mut self.viewer {
            viewer.session.receive(from, message, now);
        }
    }

    pub(super) fn measure_backlogs(&mut self, now: Instant) {
        let Some(viewer) = &mut self.viewer else { return };
        if self.signal.is_linked() {
            viewer.session.set_backlog(PeerId::SERVER, self.signal.backlog_len(), now);
        }
        for (peer, link) in &self.links {
            viewer.session.set_backlog(*peer, link.backlog_len(), now);
        }
    }

    /// Sends one message. A link that takes it no more is dead.
    pub(super) fn transmit(&mut self, to: PeerId, bytes: &Bytes, now: Instant) {
        let backlog_len = if to.is_server() {
            self.signal.send_to_server(bytes).then(|| self.signal.backlog_len())
        } else {
            self.links.get(&to).and_then(|link| link.send(bytes).then(|| link.backlog_len()))
        };
        match (backlog_len, &mut self.viewer) {
            (Some(len), Some(viewer)) => viewer.session.set_backlog(to, len, now),
            (None, _) if to.is_server() => self.lose_tracker(now),
            (None, _) if self.links.contains_key(&to) => {
                self.handle_connection(to, ConnectionEvent::Failed, now);
            }
            _ => {}
        }
    }

    /// The session knows already that the link is gone.
    pub(super) fn disconnect(&mut self, peer: PeerId, now: Instant) {
        if peer.is_server() {
            self.signal.lose(now);
        } else {
            self.links.remove(&peer);
            self.connections.handle(ConnectionCommand::Close(peer), now);
        }
    }
}
