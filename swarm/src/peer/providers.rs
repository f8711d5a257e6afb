//! Choosing who pushes each stripe to us.

use core::time::Duration;

use cardume_wire::link::PATH_LIMIT;
use cardume_wire::{PeerId, Stripe};

use super::Peer;

use crate::directory::LEAF_RANK;
use crate::neighbours::Status;
use crate::stripes::{Provider, Successor};
use crate::uploads::RELEASE_GRACE;
use crate::{Instant, Output, Role};

/// Who refused is not asked again for this long, and up to as long again; a word of room ends it.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// The same for the server while somebody else pushes the stripe: it invites when it has room.
const SERVER_REFUSED_FOR: Duration = Duration::from_secs(8);
/// Each time that the server knows of nothing better doubles the wait, so often at most: thousands who ask in vain would take
/// the egress that all live on. Simulator, `realistic` with 10,000 viewers and 10 copies: refusals were two fifths of it.
const VAIN_LIMIT: u32 = 3;
/// Between two looks for a better provider, and up to as long again.
const IMPROVE_INTERVAL: Duration = Duration::from_secs(3);
/// Path latency that must be gained for a change.
const IMPROVE_GAIN: Duration = Duration::from_millis(100);
/// A neighbour that pushes another stripe to us already counts as this much later: paths should differ.
const SAME_PROVIDER: Duration = Duration::from_millis(200);
/// A neighbour without free slots counts as this much later: it will refuse, but name others.
const FULL: Duration = Duration::from_secs(4);
/// Who is not at home in the stripe is asked by a joiner only when it has been lacking for so long: neighbours' links open
/// at different times, and the first one should not get all stripes.
const ABROAD_AFTER: Duration = Duration::from_millis(300);
/// Age assumed of a neighbour that did not say.
const UNKNOWN_AGE: Duration = Duration::from_secs(1);
/// Who is not at home in the stripe counts as this much later: it should spend its uplink at home.
const ABROAD: Duration = Duration::from_millis(500);
/// Randomness between equals, in microseconds: not everybody should ask the same.
const JITTER_US: u64 = 20_000;

impl Peer {
    pub(super) fn on_accept(&mut self, from: PeerId, stripe: Stripe, path: Vec<PeerId>, now: Instant) {
        let own = self.config.id;
        let is_circle = path.contains(&own) || path.len() >= PATH_LIMIT;
        let lane = self.stripes.lane_mut(stripe);
        if is_circle && (lane.provider_is(from) || lane.successor_is(from)) {
            lane.drop_peer(from);
            lane.refuse(from, now + REFUSED_FOR);
            self.unsubscribe(from, stripe, now);
            self.choose_providers_soon(now);
        } else if lane.provider_is(from) {
            self.on_path_update(stripe, path, now);
        } else if lane.successor_is(from) {
            if let Some(successor) = &mut lane.successor {
                // Sent again when the path changed: an old path could hide a circle.
                let since = successor.accepted.as_ref().map_or(now, |(since, _)| *since);
                successor.accepted = Some((since, path));
            }
            if self.needs_provider(stripe, now) {
                self.promote(stripe, now);
            }
        } else {
            self.unsubscribe(from, stripe, now);
        }
    }

    pub(super) fn on_refuse(&mut self, from: PeerId, stripe: Stripe, hints: &[PeerId], now: Instant) {
        let is_needed = self.needs_provider(stripe, now);
        let wait = match (is_needed || !from.is_server(), self.would_feed(stripe)) {
            (true, _) => REFUSED_FOR,
            (false, true) => REFUSED_FOR * 3,
            (false, false) => SERVER_REFUSED_FOR,
        };
        let is_vain = from.is_server() && !is_needed && hints.is_empty();
        let wait = if is_vain { wait * (1 << self.stripes.lane(stripe).n_vain) } else { wait };
        let until = now + wait + self.random_time(wait);
        let has_alternatives = self.has_alternatives();
        if let Some(server) = self.neighbours.get_mut(from).filter(|_| from.is_server()) {
            // It has no room any more, if it said so.
            server.status = None;
        }
        let lane = self.stripes.lane_mut(stripe);
        lane.n_vain = if is_vain { (lane.n_vain + 1).min(VAIN_LIMIT) } else { 0 };
        lane.refuse(from, until);
        if lane.successor_is(from) {
            lane.successor = None;
        }
        if let Some(provider) = lane.provider.as_mut().filter(|provider| provider.peer == from) {
            provider.leaving_since.get_or_insert(now);
            if has_alternatives {
                // Few may watch this: there may be nobody else, whatever was said while there was.
                lane.forgive(PeerId::SERVER);
            }
        }
        // Who has the server to ask need not wander from neighbour to neighbour.
        if from.is_server() || !self.has_server() {
            self.neighbours.introduce(hints, from, &self.config);
            self.follow_hints(stripe, hints, now);
        }
        self.choose_providers_soon(now);
    }

    pub(super) fn choose_providers_soon(&mut self, now: Instant) {
        if self.config.role == Role::Viewer {
            self.due.tick_at = now;
        }
    }

    /// Sees to it that each stripe has a provider, or is about to have one.
    pub(super) fn choose_providers(&mut self, now: Instant) {
        if self.awaits_catalog() {
            return;
        }
        // The home stripe first: who has it can feed others.
        let home = self.config.id.home_stripe();
        let others = Stripe::all().filter(|stripe| *stripe != home);
        for stripe in core::iter::once(home).chain(others) {
            if !self.takes(stripe) {
                continue;
            }
            self.stripes.lane_mut(stripe).drop_left(now);
            self.expire_successor(stripe, now);
            self.note_starving(stripe, now);
            if self.stripes.lane(stripe).successor.is_some() {
                continue;
            }
            let is_needed = self.needs_provider(stripe, now);
            let choice =
                if is_needed { self.any_provider(stripe, now) } else { self.better_provider(stripe, now) };
            if let Some(peer) = choice {
                self.subscribe(peer, stripe, is_needed, now);
            }
        }
    }

    /// Whether a neighbour has the catalog and we do not yet: it comes by itself, and tells how many stripes our uplink
    /// bears, which is what others take us for.
    fn awaits_catalog(&self) -> bool {
        self.window.epoch().is_none() && self.neighbours.iter().any(|(_, link)| link.epoch.is_some())
    }

    /// A link opened to somebody whom we were sent to: it is asked at once, with the greeting.
    pub(super) fn ask_hinted(&mut self, peer: PeerId, now: Instant) {
        for stripe in Stripe::all() {
            if !self.takes(stripe) {
                continue;
            }
            let lane = self.stripes.lane(stripe);
            let is_meant = lane.successor.is_none() && lane.hinted(now).any(|hinted| hinted == peer);
            if is_meant {
                let is_needed = self.needs_provider(stripe, now);
                self.subscribe(peer, stripe, is_needed, now);
            }
        }
    }

    /// The successor takes over, and the old provider is told.
    pub(super) fn promote(&mut self, stripe: Stripe, now: Instant) {
        let wait = IMPROVE_INTERVAL + self.random_time(IMPROVE_INTERVAL);
        let lane = self.stripes.lane_mut(stripe);
        lane.improve_at = now + wait;
        let old = lane.promote(now);
        if let Some(old) = old {
            self.unsubscribe(old, stripe, now);
        }
        self.tell_path(stripe, now);
    }

    /// Whether nobody pushes the stripe, or nobody who will go on.
    pub(super) fn needs_provider(&self, stripe: Stripe, now: Instant) -> bool {
        let lane = self.stripes.lane(stripe);
        lane.is_in_need() || lane.provider.as_ref().is_some_and(|provider| self.is_silent(provider.peer, now))
    }

    /// Whether the one who told us to look elsewhere goes on pushing meanwhile.
    fn is_still_fed(&self, stripe: Stripe, now: Instant) -> bool {
        let provider = self.stripes.lane(stripe).provider.as_ref();
        let is_pushing = |provider: &Provider| {
            provider.leaving_since.is_some_and(|since| now.since(since) < RELEASE_GRACE * 3 / 4)
                && !self.is_silent(provider.peer, now)
        };
        provider.is_some_and(is_pushing)
    }

    fn on_path_update(&mut self, stripe: Stripe, path: Vec<PeerId>, now: Instant) {
        let lane = self.stripes.lane_mut(stripe);
        let Some(provider) = &mut lane.provider else { return };
        if provider.path != path {
            provider.path = path;
            self.tell_path(stripe, now);
        }
    }

    fn expire_successor(&mut self, stripe: Stripe, now: Instant) {
        let is_needed = self.needs_provider(stripe, now);
        let slack = self.downlink_wait();
        let lane = self.stripes.lane_mut(stripe);
        if is_needed && lane.successor.as_ref().is_some_and(|successor| successor.accepted.is_some()) {
            self.promote(stripe, now);
            return;
        }
        if let Some(late) = lane.expire(now, slack) {
            lane.refuse(late, now + REFUSED_FOR * 3);
            self.unsubscribe(late, stripe, now);
        }
    }

    /// A stripe that starves for long needs new faces.
    fn note_starving(&mut self, stripe: Stripe, now: Instant) {
        let is_needed = self.needs_provider(stripe, now);
        let lane = self.stripes.lane_mut(stripe);
        if is_needed && lane.starving_since.is_none() {
            // What it refused was a shorter path.
            lane.forgive(PeerId::SERVER);
        }
        if !is_needed {
            lane.starving_since = None;
        } else if now.since(*lane.starving_since.get_or_insert(now)) > REFUSED_FOR {
            self.neighbours.hurry(now);
        }
    }

    fn subscribe(&mut self, peer: PeerId, stripe: Stripe, is_needed: bool, now: Instant) {
        // What we hold goes first, so that nothing of it is sent to us.
        let is_server_new_to_us = peer.is_server() && self.holds_anything();
        if is_server_new_to_us || !peer.is_server() {
            self.tell_all(peer, now);
        }
        let is_starving = is_needed && !self.is_still_fed(stripe, now);
        self.stripes.lane_mut(stripe).successor = Some(Successor { peer, asked_at: now, accepted: None });
        self.send_subscribe(peer, stripe, is_starving, now);
    }

    /// Whom we were sent to, a neighbour with room, the server, and without one anybody, in this order.
    fn any_provider(&mut self, stripe: Stripe, now: Instant) -> Option<PeerId> {
        let hinted: Vec<PeerId> = self.stripes.lane(stripe).hinted(now).collect();
        if let Some(&peer) = hinted.iter().find(|peer| self.may_ask_hinted(**peer, stripe, now)) {
            return Some(peer);
        }
        let best = self.best_neighbour(stripe, now);
        if let Some((_, peer)) = best.filter(|(score, _)| *score < FULL) {
            return Some(peer);
        }
        if self.may_ask(PeerId::SERVER, stripe, now) {
            return Some(PeerId::SERVER);
        }
        best.filter(|_| !self.has_server()).map(|(_, peer)| peer)
    }

    /// Whether there is the server to ask: it knows who has room, and says so when somebody has.
    pub(super) fn has_server(&self) -> bool {
        self.neighbours.get(PeerId::SERVER).is_some_and(|link| link.is_greeted)
    }

    /// Whether somebody whom we were sent to can be asked: what it says of its room is older than what we were told.
    fn may_ask_hinted(&self, peer: PeerId, stripe: Stripe, now: Instant) -> bool {
        let lane = self.stripes.lane(stripe);
        self.neighbours.get(peer).is_some_and(|link| link.gets(self.stripes.tracks))
            && !self.is_asked_for_others(peer, stripe)
            && !lane.provider_is(peer)
            && !self.is_silent(peer, now)
            && self.may_bring_media(peer)
            && self.uploads.child(peer, stripe).is_none()
    }

    /// Whether a viewer pushes to us, or was asked to push, other tracks of the stripe: it watches one rendition, and to ask it
    /// for two would be refused both.
    fn is_asked_for_others(&self, peer: PeerId, stripe: Stripe) -> bool {
        !peer.is_server() && self.side.as_ref().is_some_and(|side| side.names(peer, stripe))
    }

    /// Whom we were sent to, the server, or a neighbour with a much shorter path.
    fn better_provider(&mut self, stripe: Stripe, now: Instant) -> Option<PeerId> {
        let provider = self.stripes.lane(stripe).provider.as_ref()?;
        // What is watched stays where it is while something else is tried: who were asked for both could have room for one.
        let is_trying = self.tuning.coming().is_some() && !self.is_aside();
        if provider.peer.is_server() || is_trying {
            return None;
        }
        let hinted =
            self.stripes.lane(stripe).hinted(now).find(|peer| self.may_ask_hinted(*peer, stripe, now));
        if hinted.is_some() {
            return hinted;
        }
        if self.is_worth_asking_the_server(stripe) && self.may_ask(PeerId::SERVER, stripe, now) {
            return Some(PeerId::SERVER);
        }
        let lane = self.stripes.lane(stripe);
        if now < lane.improve_at {
            return None;
        }
        // Anybody is better than the relay.
        let age = if self.is_fed_by_the_relay(stripe) { FULL } else { lane.provider.as_ref()?.age? };
        let wait = IMPROVE_INTERVAL + self.random_time(IMPROVE_INTERVAL);
        self.stripes.lane_mut(stripe).improve_at = now + wait;
        let (score, peer) = self.best_neighbour(stripe, now)?;
        (score + IMPROVE_GAIN < age && score * 4 < age * 3).then_some(peer)
    }

    /// Whether a shorter path would be of use, or the server has room: a leaf that is near enough would only have to give way.
    fn is_worth_asking_the_server(&self, stripe: Stripe) -> bool {
        let age = self.stripes.lane(stripe).provider.as_ref().and_then(|provider| provider.age);
        let is_near = age.is_some_and(|age| age < Duration::from_millis(LEAF_RANK.into()));
        let server = self.neighbours.get(PeerId::SERVER).and_then(|link| link.status);
        !is_near
            || self.is_fed_by_the_relay(stripe)
            || self.would_feed(stripe)
            || server.is_some_and(|status| status.free > 0)
    }

    fn is_fed_by_the_relay(&self, stripe: Stripe) -> bool {
        let provider = self.stripes.lane(stripe).provider.as_ref();
        provider.is_some_and(|provider| !self.may_bring_media(provider.peer))
    }

    fn may_ask(&self, peer: PeerId, stripe: Stripe, now: Instant) -> bool {
        let lane = self.stripes.lane(stripe);
        let is_able = self.neighbours.get(peer).is_some_and(|link| {
            let has_stripe = peer.is_server() || link.age(stripe).is_some();
            link.is_greeted && has_stripe && link.gets(self.stripes.tracks)
        });
        let is_out = self.is_asked_for_others(peer, stripe)
            || lane.provider_is(peer)
            || lane.is_refused(peer, now)
            || self.is_silent(peer, now);
        is_able && !is_out && self.may_bring_media(peer) && self.uploads.child(peer, stripe).is_none()
    }

    fn best_neighbour(&mut self, stripe: Stripe, now: Instant) -> Option<(Duration, PeerId)> {
        let peers: Vec<PeerId> = self.neighbours.iter().map(|(peer, _)| peer).collect();
        let is_orphan = self.needs_provider(stripe, now) && !self.is_still_fed(stripe, now);
        let is_playing = self.playhead.position(now).is_some();
        let may_go_abroad =
            (is_orphan && is_playing) || self.stripes.lane(stripe).starves_since_before(now, ABROAD_AFTER);
        let is_able = |peer: &PeerId| {
            !peer.is_server()
                && (may_go_abroad || peer.home_stripe() == stripe)
                && self.may_ask(*peer, stripe, now)
        };
        let able: Vec<PeerId> = peers.into_iter().filter(is_able).collect();
        let scored = able.into_iter().map(|peer| {
            let jitter = Duration::from_micros(self.random_below(JITTER_US));
            (self.score(peer, stripe) + jitter, peer)
        });
        scored.min()
    }

    /// The path latency to expect of a neighbour, with what speaks against it as time.
    fn score(&self, peer: PeerId, stripe: Stripe) -> Duration {
        let Some(neighbour) = self.neighbours.get(peer) else { return FULL };
        let wait =
            neighbour.status.map_or(Duration::ZERO, |status| Duration::from_millis(status.wait.into()));
        let age = neighbour.age(stripe).unwrap_or(UNKNOWN_AGE) + wait + neighbour.rtt_or_guess() / 2;
        let n_provides = u32::try_from(self.stripes.provided_by(peer).len()).unwrap_or(0);
        let is_abroad = stripe != peer.home_stripe();
        let would_yield = !is_abroad && self.would_feed(stripe);
        let has_room = |status: Status| status.free > 0 || (would_yield && status.yields > 0);
        let is_full = !neighbour.status.is_some_and(has_room);
        let abroad = if is_abroad { ABROAD } else { Duration::ZERO };
        age + abroad + SAME_PROVIDER * n_provides + if is_full { FULL } else { Duration::ZERO }
    }

    /// Whether others would be fed by us in this stripe.
    pub(super) fn would_feed(&self, stripe: Stripe) -> bool {
        stripe == self.config.id.home_stripe() && self.n_slots() > 0
    }

    /// Those named may have room: ask them again, and connect to the first stranger if it is worth it.
    fn follow_hints(&mut self, stripe: Stripe, hints: &[PeerId], now: Instant) {
        // All below whoever feeds others gain from its shorter path.
        let mut may_connect = self.would_feed(stripe) || self.needs_provider(stripe, now);
        for &hint in hints {
            if hint == self.config.id {
                continue;
            }
            let is_stranger = self.neighbours.get(hint).is_none();
            self.stripes.lane_mut(stripe).hint(hint, now);
            if is_stranger && may_connect && self.neighbours.connect(hint, &self.config, now) {
                may_connect = false;
                self.outputs.push_back(Output::Connect { peer: hint });
            } else if is_stranger {
                self.neighbours.suggest(&[hint], &self.config);
            }
        }
    }

    fn holds_anything(&self) -> bool {
        self.window.tracks().iter().any(|track| track.held().next().is_some())
    }

    pub(super) fn random_time(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.random_below(crate::time::micros(limit)))
    }
}
