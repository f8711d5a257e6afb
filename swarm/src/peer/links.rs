//! Links: greeting, round trips, silence, neighbours wanted.

use core::time::Duration;

use cardume_wire::link::Control;
use cardume_wire::{Epoch, PROTOCOL_VERSION, PeerId, Stripe};

use super::Peer;
use crate::neighbours::{Neighbour, Status};
use crate::time::micros;
use crate::window::TrackWindow;
use crate::{Instant, Offence, Output, Reason, Role};

/// A provider silent for this long that owes us a block is asked whether it lives: two parts of 100 ms would have come.
const PROVIDER_SILENCE: Duration = Duration::from_millis(250);
/// A block of a provider's stripe that is known for so long, from other paths, is owed: paths hardly differ by more.
const OWED_AFTER: Duration = Duration::from_millis(300);
/// A provider silent for this long is asked though it owes nothing: it may be the only one who would tell us. A stripe of a
/// slow stream has a block each 400 ms; asking at each pause was a third of all control.
const PROVIDER_PAUSE: Duration = Duration::from_secs(1);
/// Other neighbours are asked this often, for the round trip; well below [`SILENCE_LIMIT`].
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// The same for one that the tracker lost.
const DOUBTED_MIN: Duration = Duration::from_millis(100);
/// A link is not given up for a newcomer's before this.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// A link silent for this long is closed. Data channels themselves notice after some 5 to 30 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(8);
/// The same for a link whose greeting does not come.
const GREETING_LIMIT: Duration = Duration::from_secs(5);

impl Peer {
    pub(super) fn on_link_opened(&mut self, peer: PeerId, now: Instant) {
        self.forget_link(peer, now);
        if !peer.is_server() && self.neighbours.is_full(&self.config) {
            self.make_room(now);
        }
        if peer.is_server() {
            self.neighbours.forget_introducers();
        }
        let n_tracks = self.window.tracks().len();
        if !self.neighbours.open(peer, n_tracks, &self.config, now) {
            self.outputs.push_back(Output::Disconnect { peer, reason: Reason::TooMany });
            return;
        }
        self.due.tick_at =
            if self.timeline.is_none() { now } else { self.due.tick_at.min(now + super::TICK) };
        self.send_hello(peer, now);
        self.send_status(peer, now);
        self.offer_first_picture(peer, now);
    }

    pub(super) fn on_link_closed(&mut self, peer: PeerId, now: Instant) {
        self.forget_link(peer, now);
        self.choose_providers_soon(now);
    }

    /// Takes back all that rests on a link.
    pub(super) fn forget_link(&mut self, peer: PeerId, now: Instant) {
        if self.neighbours.close(peer).is_none() {
            return;
        }
        self.drop_provider(peer);
        self.uploads.remove_peer(peer);
        self.directory.remove(peer);
        self.pacer.retain(|job| job.to != peer);
        self.forget_asked(peer, now);
        self.forget_source(peer);
        // Who should call us back is gone.
        self.rests &= !peer.is_server();
        if !peer.is_server() {
            self.neighbours.hurry(now);
        }
    }

    pub(super) fn on_suggested(&mut self, peers: &[PeerId], now: Instant) {
        if self.config.role == Role::Viewer {
            self.neighbours.suggest(peers, &self.config);
            self.connect_suggested(now);
        }
    }

    pub(super) fn on_hello(&mut self, from: PeerId, version: u16, epoch: Option<Epoch>, now: Instant) {
        if version != PROTOCOL_VERSION {
            self.disconnect(from, Reason::Version, now);
            return;
        }
        let own = self.window.epoch();
        let Some(neighbour) = self.neighbours.get_mut(from) else { return };
        let is_first = !neighbour.is_greeted;
        neighbour.is_greeted = true;
        neighbour.epoch = neighbour.epoch.max(epoch);
        if own > neighbour.epoch && !from.is_server() {
            self.queue_catalog(from, now);
        } else if epoch > own && !is_first && self.config.role == Role::Viewer {
            self.send_hello(from, now);
        }
        if is_first {
            self.send_ping(from, now);
            self.choose_providers_soon(now);
        }
    }

    pub(super) fn on_pong(&mut self, from: PeerId, sent_at: u64, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(from) else { return };
        if neighbour.pinged_at.is_some_and(|at| at.as_micros() == sent_at) {
            neighbour.pinged_at = None;
            neighbour.is_doubted = false;
            neighbour.measure(now.since(Instant::from_micros(sent_at)));
            self.find_again(from);
        }
    }

    /// Who does not answer now is gone. Others are asked for what it pushes meanwhile: it hardly ever lives.
    pub(super) fn on_doubted(&mut self, peer: PeerId, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(peer) else { return };
        neighbour.is_doubted = true;
        self.send_ping(peer, now);
        self.choose_providers_soon(now);
    }

    /// Others blame a peer: nothing is taken from it for a while, or never again when it is evicted. What we saw ourselves
    /// counts for more: who served us keeps doing so.
    pub(super) fn on_blamed(&mut self, peer: PeerId, is_evicted: bool, now: Instant) {
        if peer.is_server() || self.neighbours.has_served(peer) {
            return;
        }
        if is_evicted {
            self.neighbours.ban(peer, now);
        } else {
            self.neighbours.suspect(peer, now);
        }
        // One liar must not starve those whom he blames.
        let is_fed = !self.uploads.stripes_of(peer).is_empty();
        if is_fed && !is_evicted {
            self.drop_provider(peer);
        } else if self.neighbours.get(peer).is_some() {
            self.disconnect(peer, Reason::Offence, now);
        }
        self.choose_providers_soon(now);
    }

    pub(super) fn on_goodbye(&mut self, from: PeerId, now: Instant) {
        self.disconnect(from, Reason::Goodbye, now);
        self.choose_providers_soon(now);
    }

    pub(super) fn on_status(&mut self, from: PeerId, status: Status, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(from) else { return };
        let had_room = neighbour.status.is_some_and(|before| before.free > 0);
        neighbour.status = Some(status);
        if self.config.role == Role::Server {
            self.directory.update(from, status);
            self.relieve(from, now);
            return;
        }
        if status.free > 0 && (from.is_server() || !had_room) {
            for stripe in Stripe::all() {
                self.stripes.lane_mut(stripe).forgive(from);
                self.aside(|peer| peer.stripes.lane_mut(stripe).forgive(from));
            }
            self.choose_providers_soon(now);
        }
    }

    pub(super) fn on_offence(&mut self, from: PeerId, kind: Offence, now: Instant) {
        if kind == Offence::WrongBlock {
            self.counts.n_wrong_blocks += 1;
        }
        let Some(is_introduced) = self.neighbours.get(from).map(|link| link.is_introduced) else { return };
        if !from.is_server() {
            self.neighbours.ban(from, now);
            if kind != Offence::Malformed && !is_introduced {
                self.outputs.push_back(Output::Blame { peer: from });
            }
        }
        self.disconnect(from, Reason::Offence, now);
        self.choose_providers_soon(now);
    }

    pub(super) fn on_backlog(&mut self, peer: PeerId, len: usize) {
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            neighbour.backlog = len;
        }
    }

    pub(super) fn leave(&mut self, now: Instant) {
        for peer in self.neighbours.peers() {
            self.send_control(peer, Control::Goodbye, now);
            self.disconnect(peer, Reason::Goodbye, now);
        }
    }

    /// Tells everybody which broadcast we know now; those who wait for it from us get the catalog itself.
    pub(super) fn told_epoch(&mut self, now: Instant) {
        let children = self.uploads.peers();
        for peer in children.into_iter().filter(|peer| !peer.is_server()) {
            let own = self.window.epoch();
            if self.neighbours.get(peer).is_some_and(|link| link.is_greeted && link.epoch < own) {
                self.queue_catalog(peer, now);
            }
        }
        for peer in self.neighbours.peers() {
            self.send_hello(peer, now);
        }
    }

    /// Pings, silence, new connections.
    pub(super) fn check_links(&mut self, now: Instant) {
        if self.config.role == Role::Server {
            self.check_viewers(now);
            return;
        }
        for peer in self.neighbours.peers() {
            self.check_link(peer, now);
        }
        self.connect_suggested(now);
        if let Some(without) = self.neighbours.find(&self.config, now) {
            self.ask_neighbours(now);
            self.outputs.push_back(Output::FindNeighbours { without });
        }
    }

    /// Whether nothing is to be hoped for from the peer: it has not answered although it was asked, which it has no time
    /// for if the tracker lost it, or is suspected.
    pub(super) fn is_silent(&self, peer: PeerId, now: Instant) -> bool {
        let Some(neighbour) = self.neighbours.get(peer) else { return true };
        neighbour.is_doubted
            || neighbour.owes_answer(neighbour.patience(), now)
            || self.neighbours.is_suspected(peer, now)
    }

    fn check_link(&mut self, peer: PeerId, now: Instant) {
        let is_provider = self.all_lanes().any(|lane| lane.provider_is(peer));
        let Some(neighbour) = self.neighbours.get(peer) else { return };
        let silence = now.since(neighbour.heard_at);
        let limit = if neighbour.is_greeted { SILENCE_LIMIT } else { GREETING_LIMIT };
        let is_gone = is_gone(neighbour, now);
        if silence > limit || is_gone {
            self.disconnect(peer, Reason::Silent, now);
            return;
        }
        let since_ping = now.since(neighbour.last_ping_at);
        let (is_greeted, is_asked) = (neighbour.is_greeted, neighbour.pinged_at.is_some());
        let is_doubtful = is_provider
            && !is_asked
            && (silence > PROVIDER_PAUSE || (silence > PROVIDER_SILENCE && self.owes_block(peer, now)));
        if is_greeted && (is_doubtful || since_ping > PING_INTERVAL) {
            self.send_ping(peer, now);
        }
        if is_provider {
            self.report_silent(peer, now);
        }
    }

    /// Whether a provider should have pushed a block by now that we know of from others.
    fn owes_block(&self, peer: PeerId, now: Instant) -> bool {
        let mut wanted = self.window.tracks().iter().flat_map(TrackWindow::wanted);
        wanted.any(|(number, since)| {
            self.stripes.lane(number.stripe()).provider_is(peer) && now.since(since) > OWED_AFTER
        })
    }

    /// Lets the oldest neighbour go with whom we exchange nothing, a relayed one first: newcomers need somebody.
    pub(super) fn make_room(&mut self, now: Instant) {
        let is_idle = |peer: PeerId| {
            let is_near = self.all_lanes().any(|lane| lane.provider_is(peer) || lane.successor_is(peer));
            !is_near && self.uploads.stripes_of(peer).is_empty() && !self.is_source(peer)
        };
        let settled = self.neighbours.iter().filter(|(peer, link)| {
            !peer.is_server() && now.since(link.opened_at) > SETTLED_AFTER && is_idle(*peer)
        });
        let oldest = settled
            .min_by_key(|(peer, link)| (!link.is_relayed(), link.opened_at, *peer))
            .map(|(peer, _)| peer);
        if let Some(oldest) = oldest {
            self.disconnect(oldest, Reason::TooMany, now);
        }
    }

    fn connect_suggested(&mut self, now: Instant) {
        for peer in self.neighbours.connects(&self.config, now) {
            self.outputs.push_back(Output::Connect { peer });
        }
    }

    fn send_hello(&mut self, peer: PeerId, now: Instant) {
        let hello = Control::Hello { version: PROTOCOL_VERSION, epoch: self.window.epoch() };
        self.send_control(peer, hello, now);
    }

    pub(super) fn send_ping(&mut self, peer: PeerId, now: Instant) {
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            neighbour.pinged_at = Some(now);
            neighbour.last_ping_at = now;
            self.send_control(peer, Control::Ping { sent_at: micros(now.since(Instant::default())) }, now);
        }
    }
}

/// Whether a neighbour that the tracker lost is dead indeed.
fn is_gone(neighbour: &Neighbour, now: Instant) -> bool {
    let patience = DOUBTED_MIN.max(neighbour.rtt_or_guess() * 3 / 2);
    neighbour.is_doubted && neighbour.owes_answer(patience, now)
}
