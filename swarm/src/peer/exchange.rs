//! Neighbours of neighbours, named and connected to without the tracker.
//!
//! Two that want to connect have to tell each other a few things first, which a neighbour of both forwards. It could pretend
//! to be somebody else by that, so that who is introduced in this way is never blamed at the tracker.

use core::time::Duration;

use cardume_wire::PeerId;
use cardume_wire::link::{Control, FORWARD_LEN_LIMIT};

use super::Peer;
use crate::{Instant, Output, Role};

/// Neighbours that are asked for theirs at a time: some may be as lonely as we are.
const ASKED_LIMIT: usize = 2;
/// Neighbours named to one asker at a time: half of those that it wants.
const NAMED_LIMIT: usize = 4;
/// Between two answers to the same asker: less than it waits between two questions.
const NAME_INTERVAL: Duration = Duration::from_millis(400);

impl Peer {
    /// Whether a neighbour forwards what is said to this peer, so that it can be connected to without the tracker.
    pub fn is_introduced(&self, peer: PeerId) -> bool {
        self.neighbours.introducer(peer).is_some()
    }

    /// Asks some neighbours for theirs, while there is no server whose tracker would name others.
    pub(super) fn ask_neighbours(&mut self, now: Instant) {
        if self.has_server() {
            return;
        }
        let viewers = self.viewers_but(PeerId::SERVER, now);
        for peer in self.draw(viewers, ASKED_LIMIT) {
            self.send_control(peer, Control::FindNeighbours, now);
        }
    }

    pub(super) fn on_find_neighbours(&mut self, from: PeerId, now: Instant) {
        let Some(link) = self.neighbours.get_mut(from) else { return };
        let is_too_soon = link.named_at.is_some_and(|at| now.since(at) < NAME_INTERVAL);
        if self.config.role == Role::Server || is_too_soon {
            return;
        }
        link.named_at = Some(now);
        let others = self.viewers_but(from, now);
        let has_room = |peer: &PeerId| {
            let status = self.neighbours.get(*peer).and_then(|link| link.status);
            status.is_some_and(|status| status.free > 0)
        };
        let (roomy, full): (Vec<PeerId>, Vec<PeerId>) = others.into_iter().partition(has_room);
        let mut peers = self.draw(roomy, NAMED_LIMIT);
        peers.extend(self.draw(full, NAMED_LIMIT - peers.len()));
        self.send_control(from, Control::Neighbours { peers }, now);
    }

    pub(super) fn on_neighbours(&mut self, from: PeerId, peers: &[PeerId], now: Instant) {
        if !self.has_server() {
            self.neighbours.introduce(peers, from, &self.config);
            self.on_suggested(peers, now);
        }
    }

    /// Says something to a stranger by way of the neighbour that named it.
    pub(super) fn forward(&mut self, to: PeerId, text: String, now: Instant) {
        let introducer = self.neighbours.introducer(to).filter(|_| text.len() <= FORWARD_LEN_LIMIT);
        if let Some(introducer) = introducer {
            self.send_control(introducer, Control::Forward { to, text }, now);
        }
    }

    /// A neighbour says something to another one.
    pub(super) fn on_forward(&mut self, from: PeerId, to: PeerId, text: String, now: Instant) {
        let is_neighbour = !to.is_server() && self.neighbours.get(to).is_some_and(|link| link.is_greeted);
        if self.config.role == Role::Viewer && to != from && is_neighbour && self.admits(from, &text, now) {
            self.send_control(to, Control::Forwarded { from, text }, now);
        }
    }

    /// A stranger says something by way of a neighbour: it may, when we connect to it in this way already, or could.
    pub(super) fn on_forwarded(&mut self, by: PeerId, from: PeerId, text: String, now: Instant) {
        if self.config.role == Role::Server || by.is_server() || !self.admits(by, &text, now) {
            return;
        }
        let is_awaited = self.is_introduced(from) && self.neighbours.is_connecting(from);
        if is_awaited || self.neighbours.connect(from, &self.config, now) {
            self.neighbours.introduce(&[from], by, &self.config);
            self.outputs.push_back(Output::Forwarded { from, text });
        }
    }

    /// Whether so much may be forwarded for a neighbour, or come from others through it.
    fn admits(&mut self, neighbour: PeerId, text: &str, now: Instant) -> bool {
        let Some(link) = self.neighbours.get_mut(neighbour) else { return false };
        let is_allowed = link.forwards.allows(text.len(), now);
        if is_allowed {
            link.forwards.take(text.len(), now);
        }
        is_allowed
    }

    fn viewers_but(&self, other: PeerId, now: Instant) -> Vec<PeerId> {
        let viewers = self.neighbours.iter().filter(|(peer, link)| {
            !peer.is_server() && *peer != other && link.is_greeted && !self.is_silent(*peer, now)
        });
        viewers.map(|(peer, _)| peer).collect()
    }

    /// So many of these, by chance.
    fn draw(&mut self, mut from: Vec<PeerId>, limit: usize) -> Vec<PeerId> {
        let mut drawn = Vec::new();
        while drawn.len() < limit && !from.is_empty() {
            let index = usize::try_from(self.random_below(from.len() as u64)).unwrap_or(0);
            drawn.push(from.swap_remove(index));
        }
        drawn
    }
}
