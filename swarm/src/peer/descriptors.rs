//! Descriptors that did not come by themselves.

use core::time::Duration;

use cardume_wire::link::Control;
use cardume_wire::{BlockId, BlockNumber, PeerId, Stripe, TrackId};

use super::Peer;
use crate::Instant;
use crate::pacer::Class;

/// A block of the home stripe may be this much earlier than its descriptor: others wait for it.
const HOME_MARGIN: Duration = Duration::from_millis(40);
/// Any other block may be this much earlier than the descriptor, which comes by another path.
const MARGIN: Duration = Duration::from_millis(250);
/// Asked again, elsewhere, after this long.
const PATIENCE: Duration = Duration::from_millis(400);
/// Asked for at once at most. More gaps than this means that we are joining, and providers send them anyway.
const ASK_LIMIT: usize = 8;
/// Blocks remembered as waiting for their descriptor at most; the session holds back no more.
const UNVERIFIABLE_LIMIT: usize = 256;

impl Peer {
    pub(super) fn on_unverifiable_block(&mut self, from: PeerId, block: BlockId, now: Instant) {
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.heard_at = now;
        }
        if self.window.epoch() == Some(block.epoch) && self.unverifiable.len() < UNVERIFIABLE_LIMIT {
            self.unverifiable.entry((block.track, block.number)).or_insert((from, now));
        }
    }

    pub(super) fn on_request_descriptor(&mut self, from: PeerId, block: BlockId, now: Instant) {
        let Some((id, len)) = self.window.part_of(block).map(|part| (part.id, part.descriptor_len)) else {
            return;
        };
        if self.pacer.admit_pull(len, now) {
            self.queue_descriptor(from, id, Class::Repair, now);
        }
    }

    /// Asks whoever sent a block for its descriptor, and those that hold later blocks for gaps.
    pub(super) fn ask_descriptors(&mut self, now: Instant) {
        self.asked_descriptors.retain(|_, (_, again_at)| now < *again_at);
        self.unverifiable.retain(|_, (_, since)| now.since(*since) < PATIENCE * 5);
        let home = self.config.id.home_stripe();
        let margin = |number: BlockNumber| if number.stripe() == home { HOME_MARGIN } else { MARGIN };
        let waiting =
            self.unverifiable.iter().filter(|((_, number), (_, since))| now.since(*since) > margin(*number));
        let mut asks: Vec<(TrackId, BlockNumber, Option<PeerId>)> =
            waiting.map(|(&(track, number), &(from, _))| (track, number, Some(from))).collect();
        // While providers catch us up they send the gaps' descriptors by themselves.
        let is_catching_up = self.playhead.position(now).is_none()
            && Stripe::all().all(|stripe| !self.needs_provider(stripe, now));
        let tracks = self.window.tracks().iter().filter(|track| self.is_fetched(track.facts.id));
        for track in tracks.filter(|_| !is_catching_up) {
            let from = track.next.or_else(|| track.parts().next().map(|part| part.id.sequence));
            let gaps = track.gaps(from.unwrap_or(0), ASK_LIMIT);
            asks.extend(gaps.into_iter().map(|number| (track.facts.id, number, None)));
        }
        for (track, number, sender) in asks {
            if self.asked_descriptors.len() < ASK_LIMIT {
                self.ask_descriptor(track, number, sender, now);
            }
        }
    }

    fn ask_descriptor(&mut self, track: TrackId, number: BlockNumber, sender: Option<PeerId>, now: Instant) {
        let Some(block) = self.block_id(track, number.0) else { return };
        if self.asked_descriptors.contains_key(&(track, number)) {
            return;
        }
        let sender = sender.filter(|sender| self.neighbours.get(*sender).is_some());
        let Some(of) = sender.or_else(|| self.holder_of(block, now)) else { return };
        self.asked_descriptors.insert((track, number), (of, now + PATIENCE));
        self.send_control(of, Control::RequestDescriptor { block }, now);
    }

    /// Somebody who says that it holds the block, for at least a moment: who just got it may be about to push it.
    fn holder_of(&mut self, block: BlockId, now: Instant) -> Option<PeerId> {
        let index = self.window.index(block.track)?;
        let age = self.window.tracks()[index].parts().next_back().and_then(|part| self.age_of(part, now));
        let holders = self
            .neighbours
            .iter()
            .filter(|(peer, link)| !peer.is_server() && link.is_greeted && link.may_hold(index, block, age));
        let holders: Vec<PeerId> =
            holders.map(|(peer, _)| peer).filter(|peer| !self.is_silent(*peer, now)).collect();
        let choice = usize::try_from(self.random_below(holders.len() as u64)).unwrap_or(0);
        // Who is fed by nobody gets no descriptors unasked; the server does not answer for what is still to come.
        let is_starving = || Stripe::all().any(|stripe| self.needs_provider(stripe, now));
        let server = self.neighbours.get(PeerId::SERVER).filter(|link| link.is_greeted);
        holders.get(choice).copied().or_else(|| server.filter(|_| is_starving()).map(|_| PeerId::SERVER))
    }
}
