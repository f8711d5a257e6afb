//! The first picture of who has just come: the parts that its timeline begins with, before all else.
//!
//! The server speaks first: catalog and descriptors go out as its link opens, and the parts themselves as far as its uplink
//! has room for them. What it does not send is pulled from the first neighbours whose links open; providers, who are still
//! being found then, bring the rest.

use core::time::Duration;
use std::collections::BTreeMap;

use cardume_wire::link::Control;
use cardume_wire::{BlockId, PeerId, Stripe};

use super::Peer;
use super::admission::Ask;
use crate::pacer::Class;
use crate::uploads::Claim;
use crate::window::Block;
use crate::{BitsPerSec, Instant, PartFacts, Role};

/// First pictures that wait for longer than this on the server's uplink let no other one in: who is not taken gets it
/// about as soon from neighbours, whose links open by then.
const WAIT_LIMIT: Duration = Duration::from_millis(400);
/// Blocks asked of one neighbour at a time: three or four neighbours' links open at about the same time, and each
/// should have to send a part of the picture only.
const ASK_LIMIT: u32 = 5;
/// The server is asked for blocks that no neighbour has when its link stands for so long: theirs take about a second.
const SERVER_AFTER: Duration = Duration::from_secs(1);
/// Blocks asked of the server at a time.
const SERVER_ASK_LIMIT: u32 = 8;
/// An answer takes at most this and two round trips: a picture's blocks take the median uplink 0.3 s.
const PATIENCE: Duration = Duration::from_millis(400);
/// The same without the round trips, as it is told to whom we ask.
const WITHIN_MS: u16 = 400;
/// A server that sent a block of it this recently sends the others too.
const SERVER_PAUSE: Duration = Duration::from_millis(250);

/// What somebody who has no picture yet knows of how to get it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Joining {
    /// Media time at which the timeline is going to begin.
    aim: Option<u64>,
    /// When a block last came from the server.
    served_at: Option<Instant>,
}

impl Peer {
    /// What a newcomer needs for its first picture, without being asked.
    pub(super) fn offer_first_picture(&mut self, to: PeerId, now: Instant) {
        if self.config.role != Role::Server || self.window.epoch().is_none() {
            return;
        }
        self.queue_catalog(to, now);
        let has_room = self.has_room_to_start(now);
        for part in self.first_parts(now) {
            self.queue_descriptor(to, part.id, Class::Repair, now);
            for block in part.blocks().filter(|_| has_room) {
                if self.window.holds(block) {
                    self.queue_block(to, block, Class::Startup, now);
                }
            }
        }
        self.send_on(to, now);
    }

    /// Sends a newcomer whom the server is not going to feed where there is room, before it asks. Its home stripe it asks
    /// for itself: where it is sent there depends on how many it can feed.
    fn send_on(&mut self, to: PeerId, now: Instant) {
        for stripe in Stripe::all().filter(|stripe| *stripe != to.home_stripe()) {
            let ask = Ask {
                stripe,
                tracks: self.first_tracks(),
                slots: 0,
                claim: Claim::Idle,
                is_starving: true,
                from_us: None,
            };
            if !self.has_slot_for(ask) && !self.may_start(to, ask, now) {
                self.refuse_asker(to, ask, now);
            }
        }
    }

    /// Settles with which picture to begin: with that of the clock, unless more of an earlier choice is here.
    pub(super) fn aim(&mut self, now: Instant) {
        if self.timeline.is_some() {
            return;
        }
        let Some(fresh) = self.goal_us(now).and_then(|goal| self.join_start(goal)) else { return };
        let kept = self.joining.aim.filter(|aim| self.n_missing(*aim) < self.n_missing(fresh));
        self.joining.aim = Some(kept.unwrap_or(fresh));
    }

    /// Where the timeline is going to begin, once [`Peer::aim`] knows of anything.
    pub(super) fn aimed_at(&self) -> Option<u64> {
        self.joining.aim
    }

    /// A block came; one from the server says that it serves us.
    pub(super) fn note_served(&mut self, from: PeerId, now: Instant) {
        if from.is_server() {
            self.joining.served_at = Some(now);
        }
    }

    /// Pulls what is missing of the first picture, from whoever may have it.
    pub(super) fn pull_first_picture(&mut self, now: Instant) {
        let is_served = self.joining.served_at.is_some_and(|at| now.since(at) < SERVER_PAUSE);
        if self.timeline.is_some() || is_served {
            return;
        }
        self.expire_requests(now);
        let blocks: Vec<BlockId> = self.first_parts(now).iter().flat_map(PartFacts::blocks).collect();
        let mut requests: BTreeMap<PeerId, Vec<BlockId>> = BTreeMap::new();
        for block in blocks {
            if let Some(of) = self.first_source(block, now) {
                self.mark_first(block, of, now);
                requests.entry(of).or_default().push(block);
            }
        }
        for (of, blocks) in requests {
            self.send_control(of, Control::Request { blocks, within_ms: Some(WITHIN_MS) }, now);
        }
    }

    /// Of each track the part that a timeline begins with, those of the picture first.
    fn first_parts(&self, now: Instant) -> Vec<PartFacts> {
        let Some(start_us) = self.timeline_start(now) else { return Vec::new() };
        let begun_with = self.first_tracks();
        let tracks = self.window.tracks().iter().filter(|track| begun_with.contains(track.facts.id));
        let mut parts: Vec<PartFacts> =
            tracks.filter_map(|track| track.part(track.start_sequence(start_us))).copied().collect();
        parts.sort_by_key(|part| core::cmp::Reverse(part.len));
        parts
    }

    /// Whether the server's uplink has room for one first picture more.
    fn has_room_to_start(&self, now: Instant) -> bool {
        let Some(rate) = self.pacer.rate() else { return true };
        let pushed = self.stripe_rate().0.saturating_mul(self.n_all() as u64);
        let left = BitsPerSec(rate.0.saturating_sub(pushed)).bytes_in(WAIT_LIMIT);
        self.pacer.starting_len() as u64 <= left && self.pacer.lateness(now).is_zero()
    }

    /// Blocks of the leading track's first part that are not here; none are expected of a part that is not known.
    fn n_missing(&self, start_us: u64) -> usize {
        let part = self.leading().and_then(|(_, track)| track.part(track.start_sequence(start_us)));
        part.map_or(usize::MAX, |part| part.blocks().filter(|block| !self.window.holds(*block)).count())
    }

    /// The least asked neighbour that may have the block; one whose greeting is still on its way was named by the tracker,
    /// and most likely watches.
    fn first_source(&self, block: BlockId, now: Instant) -> Option<PeerId> {
        let index = self.window.index(block.track)?;
        let Block::Missing { .. } = self.window.tracks()[index].block(block.number) else { return None };
        let age = self.window.part_of(block).and_then(|part| self.age_of(part, now));
        let epoch = self.window.epoch();
        let server =
            self.neighbours.get(PeerId::SERVER).filter(|link| now.since(link.opened_at) > SERVER_AFTER);
        let able = self.neighbours.iter().filter(|(peer, link)| {
            let may_hold = match link.status {
                Some(_) => link.epoch == epoch && link.may_hold(index, block, age),
                None => !link.lacks[index].contains(block.number.0),
            };
            let has_room = link.status.is_none_or(|status| status.free > 0);
            !peer.is_server()
                && self.may_bring_media(*peer)
                && has_room
                && may_hold
                && link.n_asked < ASK_LIMIT
                && link.busy_until <= now
        });
        let best =
            able.min_by_key(|(peer, link)| (link.n_asked, link.opened_at, *peer)).map(|(peer, _)| peer);
        best.or_else(|| server.filter(|link| link.n_asked < SERVER_ASK_LIMIT).map(|_| PeerId::SERVER))
    }

    fn mark_first(&mut self, block: BlockId, of: PeerId, now: Instant) {
        let Some(link) = self.neighbours.get_mut(of) else { return };
        link.n_asked += 1;
        let expires_at = now + link.rtt_or_guess() * 2 + PATIENCE;
        self.counts.n_requested += 1;
        let Some(track) = self.window.track_mut(block.epoch, block.track) else { return };
        if let Block::Missing { since, n_tries } = track.block(block.number) {
            let n_tries = n_tries.saturating_add(1);
            track.set(block.number, Block::Asked { of, expires_at, since, n_tries });
        }
    }
}
