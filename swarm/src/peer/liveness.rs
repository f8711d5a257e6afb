//! Viewers that do not answer the server: others get their places until they do.
//!
//! The socket of a viewer whose cable was pulled stands for a minute yet. All that the server pushes into it meanwhile is lost, a
//! whole stripe if nobody else is pushed it, and whom it sends there asks in vain.

use core::time::Duration;

use cardume_wire::link::Control;
use cardume_wire::{PeerId, STRIPE_COUNT};

use super::Peer;
use crate::neighbours::{Neighbour, Presence};
use crate::{Instant, Output, Role};

/// The server asks its viewers this often whether they live.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// The same for those whom it feeds and that say nothing else.
const CHILD_PING_INTERVAL: Duration = Duration::from_secs(1);
/// Who said anything so lately lives, whoever doubts it.
const HEARD_LATELY: Duration = Duration::from_millis(250);
/// An answer is waited for so much longer at most, for what was sent before the question: on a dead link that only grows.
const BEHIND_LIMIT: Duration = Duration::from_secs(2);
/// Who said nothing for so long is dead, and not a tab that stood still for a moment: all its neighbours are told.
const ANNOUNCED_AFTER: Duration = Duration::from_millis(2500);

impl Peer {
    /// The server asks its viewers whether they live, and gives the places of those that do not answer to others.
    pub(super) fn check_viewers(&mut self, now: Instant) {
        let children = self.uploads.peers();
        for peer in self.neighbours.peers() {
            let is_child = children.binary_search(&peer).is_ok();
            let interval = if is_child { CHILD_PING_INTERVAL } else { PING_INTERVAL };
            let Some(link) = self.neighbours.get(peer) else { continue };
            let is_quiet = now.since(link.heard_at.max(link.last_ping_at)) > interval;
            if link.is_greeted && is_quiet && (link.pinged_at.is_none() || !is_child) {
                self.send_ping(peer, now);
            } else if link.presence == Presence::Heard && link.owes_answer(self.patience_with(link), now) {
                self.lose(peer, now);
            } else if link.presence == Presence::Lost && now.since(link.heard_at) > ANNOUNCED_AFTER {
                self.announce(peer);
            }
        }
    }

    /// How long a viewer may take to answer the server: what waits on its link goes before the question.
    fn patience_with(&self, link: &Neighbour) -> Duration {
        let rate = self.stripe_rate().0 * u64::from(STRIPE_COUNT);
        let waiting = (link.backlog as u64).saturating_mul(8_000_000) / rate.max(1);
        link.patience() + Duration::from_micros(waiting).min(BEHIND_LIMIT)
    }

    /// A viewer says that its provider does not answer: the server sees for itself.
    pub(super) fn on_doubt(&mut self, peer: PeerId, now: Instant) {
        let Some(link) = self.neighbours.get(peer).filter(|_| self.config.role == Role::Server) else {
            return;
        };
        if link.is_greeted && link.pinged_at.is_none() && now.since(link.heard_at) > HEARD_LATELY {
            self.send_ping(peer, now);
        }
    }

    /// Tells the server once of a provider that does not answer.
    pub(super) fn report_silent(&mut self, provider: PeerId, now: Instant) {
        let is_silent = !provider.is_server() && self.is_silent(provider, now);
        let Some(link) = self.neighbours.get_mut(provider) else { return };
        let presence = if is_silent { Presence::Lost } else { Presence::Heard };
        let before = core::mem::replace(&mut link.presence, presence);
        if is_silent && before == Presence::Heard {
            self.send_control(PeerId::SERVER, Control::Doubt { peer: provider }, now);
        }
    }

    /// A lost viewer answers after all: it may feed others again.
    pub(super) fn find_again(&mut self, peer: PeerId) {
        let Some(link) = self.neighbours.get_mut(peer) else { return };
        let before = core::mem::replace(&mut link.presence, Presence::Heard);
        let was_lost = before != Presence::Heard && self.config.role == Role::Server;
        if let Some(status) = link.status.filter(|_| was_lost) {
            self.directory.update(peer, status);
        }
    }

    /// Its neighbours need not each find out by themselves.
    fn announce(&mut self, peer: PeerId) {
        if let Some(link) = self.neighbours.get_mut(peer) {
            link.presence = Presence::Announced;
        }
        self.outputs.push_back(Output::Doubt { peer });
    }

    /// Nobody is sent there any more, and nothing pushed; should it live, it is told to look elsewhere.
    fn lose(&mut self, peer: PeerId, now: Instant) {
        if let Some(link) = self.neighbours.get_mut(peer) {
            link.presence = Presence::Lost;
        }
        self.directory.remove(peer);
        self.pacer.retain(|job| job.to != peer);
        for stripe in self.uploads.stripes_of(peer) {
            self.uploads.remove(peer, stripe);
            self.send_control(peer, Control::Refuse { stripe, hints: Vec::new() }, now);
        }
    }
}
