//! From one track to another: other subscriptions on the links that stand.
//!
//! Who pushes what comes is sought beside those who push what is watched, which goes on as if nothing were. Once the new
//! track is whole from a place on where decoding can begin, ahead of the playhead and not after what was delivered of the
//! old one, it takes its place: there, at the same media time, and not before. Only then are those told who get the old
//! track from us, and have it for as long as it takes to find others.

use core::time::Duration;

use cardume_wire::link::Control;
use cardume_wire::{BlockId, PeerId, Stripe, TrackId, TrackSet};

use super::Peer;
use super::admission::Ask;
use super::renditions::{Pace, Step, Switch};
use crate::stripes::{Lane, Stripes};
use crate::time::micros;
use crate::uploads::{Child, RELEASE_GRACE};
use crate::window::TrackWindow;
use crate::{Instant, PartFacts, Role};

/// The new track begins this far ahead of the playhead at least, microseconds: what is nearer may be decoded already.
const CUT_MARGIN: u64 = 300_000;
/// So much of the new track must have come whole beside the old one before a downlink is taken to bear it, microseconds: one
/// that does not is behind by then.
const PROVEN: u64 = 2_000_000;
/// Parts of two tracks that begin closer to each other than this begin together, microseconds: a frame of 25 a second.
const ALIGNED: u64 = 40_000;

impl Peer {
    /// Does for what is coming what is done for what is watched.
    pub(super) fn aside(&mut self, act: impl FnOnce(&mut Self)) {
        if !matches!(self.tuning.step, Step::Coming(_)) {
            return;
        }
        if let Some(side) = self.side.take() {
            let watched = core::mem::replace(&mut self.stripes, side);
            self.side = Some(watched);
            act(self);
            if let Some(watched) = self.side.take() {
                self.side = Some(core::mem::replace(&mut self.stripes, watched));
            }
        }
    }

    /// Whether it is what is coming that is looked at now.
    pub(super) fn is_aside(&self) -> bool {
        self.tuning.coming().is_some_and(|switch| self.stripes.tracks.contains(switch.to))
    }

    /// Takes an answer of a peer where it was asked: for what is watched, for what is coming, or for both.
    pub(super) fn in_lanes_of(&mut self, peer: PeerId, stripe: Stripe, act: impl Fn(&mut Self)) {
        let is_aside = self.side.as_ref().is_some_and(|side| side.names(peer, stripe));
        let is_watched = self.stripes.names(peer, stripe);
        if is_aside || !is_watched {
            self.aside(&act);
        }
        if is_watched || !is_aside {
            act(self);
        }
    }

    /// Somebody asks for what is watched, or for what is coming: those who try the same may feed each other.
    pub(super) fn on_subscribe_to_any(&mut self, from: PeerId, ask: Ask, now: Instant) {
        let coming = self.side.as_ref().filter(|_| self.tuning.coming().is_some());
        let is_coming = coming.is_some_and(|side| side.tracks.includes(self.askable(ask.tracks)));
        if is_coming && !self.stripes.tracks.includes(self.askable(ask.tracks)) {
            self.aside(|peer| peer.on_subscribe(from, ask, now));
        } else {
            self.on_subscribe(from, ask, now);
        }
    }

    /// A block came that was pushed, or could have been.
    pub(super) fn note_push(&mut self, from: PeerId, block: BlockId, was_asked: bool, now: Instant) {
        let note = |peer: &mut Self| {
            if peer.stripes.tracks.contains(block.track) {
                peer.note_delivery(from, block, was_asked, now);
            }
        };
        note(self);
        self.aside(note);
    }

    /// The lanes of what is watched, and of what is coming or leaving.
    pub(super) fn all_lanes(&self) -> impl Iterator<Item = &Lane> {
        let sets = core::iter::once(&self.stripes).chain(&self.side);
        sets.flat_map(|stripes| Stripe::all().map(|stripe| stripes.lane(stripe)))
    }

    /// Whether the peer pushes something of the stripe to us.
    pub(super) fn is_provider(&self, peer: PeerId, stripe: Stripe) -> bool {
        let mut sets = core::iter::once(&self.stripes).chain(&self.side);
        sets.any(|stripes| stripes.lane(stripe).provider_is(peer))
    }

    /// A peer is to push nothing to us any more.
    pub(super) fn drop_provider(&mut self, peer: PeerId) {
        self.stripes.drop_peer(peer);
        if let Some(side) = &mut self.side {
            side.drop_peer(peer);
        }
    }

    /// Asks for a stripe of all that the peer is to push of it.
    pub(super) fn send_subscribe(&mut self, peer: PeerId, stripe: Stripe, is_starving: bool, now: Instant) {
        let slots = u16::try_from(self.n_slots()).unwrap_or(u16::MAX);
        let tracks = self.asked_of(peer, stripe);
        let switch = self.tuning.switch().filter(|switch| self.stripes.tracks.contains(switch.to));
        let from_us = switch.map(|switch| switch.from_us);
        // Who watches something takes no room from those who lack what they watch.
        let is_starving = is_starving && !self.is_aside();
        self.send_control(peer, Control::Subscribe { stripe, tracks, slots, is_starving, from_us }, now);
    }

    /// Tells a peer that it is not needed in a lane any more; what it pushes for another one goes on.
    pub(super) fn unsubscribe(&mut self, peer: PeerId, stripe: Stripe, now: Instant) {
        if self.asked_of(peer, stripe).is_empty() {
            self.send_control(peer, Control::Unsubscribe { stripe }, now);
        } else {
            self.send_subscribe(peer, stripe, false, now);
        }
    }

    /// The tracks that a peer was asked to push in a stripe.
    fn asked_of(&self, peer: PeerId, stripe: Stripe) -> TrackSet {
        let sets = core::iter::once(&self.stripes).chain(&self.side);
        let asked = sets.filter(|stripes| stripes.names(peer, stripe)).map(|stripes| stripes.tracks);
        asked.fold(TrackSet::default(), TrackSet::with)
    }

    /// What somebody who asks for these tracks can get: all of the catalog's is all where there is nothing to choose.
    pub(super) fn askable(&self, tracks: TrackSet) -> TrackSet {
        let all = self.window.all_tracks();
        if !self.has_alternatives() && tracks.includes(all) { TrackSet::ALL } else { tracks.common(all) }
    }

    /// What others may ask for: what is watched, and what is coming once it comes in the stripe that we feed others in.
    /// Those who try the same at the same time find each other by that.
    pub(super) fn pushable_tracks(&self) -> TrackSet {
        let coming = self.side.as_ref().filter(|_| self.tuning.coming().is_some());
        let coming = coming.filter(|side| side.lane(self.config.id.home_stripe()).is_current());
        coming.map_or(self.stripes.tracks, |side| side.tracks.with(self.stripes.tracks))
    }

    /// Whether the track is, or is about to be, watched.
    pub(super) fn is_fetched(&self, track: TrackId) -> bool {
        let coming = self.side.as_ref().filter(|_| self.tuning.coming().is_some());
        self.stripes.tracks.contains(track) || coming.is_some_and(|side| side.tracks.contains(track))
    }

    /// Whether what is missing of the track is pulled: of what is watched, or will be as soon as it is there; and of what
    /// is coming when all of it comes but for a block here and there.
    pub(super) fn is_repaired(&self, track: TrackId) -> bool {
        let is_coming = || self.tuning.coming().is_some_and(|switch| switch.to == track);
        let is_fed = |side: &Stripes| Stripe::all().all(|stripe| side.lane(stripe).is_current());
        self.stripes.tracks.contains(track) || (is_coming() && self.side.as_ref().is_some_and(is_fed))
    }

    /// Seeks those who push the new track.
    pub(super) fn begin_switch(&mut self, from: TrackId, to: TrackId, pace: Pace, now: Instant) {
        let Some(old) = self.window.index(from) else { return };
        let from_us = self.useful_from(&self.window.tracks()[old], pace, now);
        let tracks = replaced(self.playing, from, to);
        self.side = Some(Stripes::new(tracks));
        self.tuning.step =
            Step::Coming(Switch { from, to, since: now, from_us, soonest: self.tuning.soonest, pace });
        if pace == Pace::Urgent {
            // What comes of the old one comes too late, and makes the new one late.
            self.commit(now);
            self.end_side(now);
            self.tuning.wait_for_new();
            self.choose_providers(now);
        } else {
            self.aside(|peer| peer.choose_providers(now));
        }
    }

    /// Goes on with the new track as soon as that can be without a gap, or the old one has come to its end.
    pub(super) fn cut(&mut self, now: Instant) {
        let Some(switch) = self.tuning.switch() else { return };
        let Some((old, new)) = self.window.index(switch.from).zip(self.window.index(switch.to)) else {
            return;
        };
        let tracks = self.window.tracks();
        let Some(sequence) = self.cut_at(&tracks[old], &tracks[new], switch.pace, now) else { return };
        self.window.tracks_mut()[old].next = None;
        self.window.tracks_mut()[new].next = Some(sequence);
        self.playing = replaced(self.playing, switch.from, switch.to);
        self.commit(now);
        self.tuning.switched(now);
        self.deliver(now);
    }

    /// The part with which a track is to begin: when what is shown before it is over, or as soon as it may.
    pub(super) fn awaited(&self, track: &TrackWindow, now: Instant) -> Option<u32> {
        let switch = self.tuning.switch().filter(|switch| switch.to == track.facts.id)?;
        let old = self.window.tracks().get(self.window.index(switch.from)?)?;
        let is_coming = self.tuning.coming().is_some();
        let from_us =
            if is_coming { self.soonest_cut(old, now).max(switch.from_us) } else { old.delivered_us };
        let mut later = track.parts().filter(|part| part.start_us.saturating_add(ALIGNED) >= from_us);
        later.find(|part| part.is_independent).map(|part| part.id.sequence)
    }

    /// Media time from which on the new track is of use. All that was delivered will be shown. Who runs dry may need to begin
    /// earlier, as hardly anything of the old track comes any more, but not before what is on its way is through. Who tries
    /// whether a downlink bears more wants no more of it than it would have to bear: nothing of the past.
    fn useful_from(&self, old: &TrackWindow, pace: Pace, now: Instant) -> u64 {
        let newest_us = old.parts().next_back().map_or(old.delivered_us, |part| part.end_us);
        match pace {
            Pace::Urgent if self.playhead.position(now).is_some() => {
                self.soonest_cut(old, now).saturating_add(micros(self.tuning.soonest))
            }
            Pace::Chosen => old.delivered_us,
            Pace::Calm | Pace::Urgent => newest_us,
        }
    }

    /// Media time before which nothing can take the place of what is shown.
    fn soonest_cut(&self, old: &TrackWindow, now: Instant) -> u64 {
        self.playhead.position(now).unwrap_or(old.delivered_us).saturating_add(CUT_MARGIN)
    }

    /// The part of the new track to go on with.
    fn cut_at(&self, old: &TrackWindow, new: &TrackWindow, pace: Pace, now: Instant) -> Option<u32> {
        let end_us = old.delivered_us;
        let soonest_us = self.soonest_cut(old, now);
        let earliest_us = soonest_us.min(end_us);
        let whole = || new.parts().filter(|part| part.is_independent && new.is_whole(part));
        let is_seamless = |part: &&PartFacts| {
            let is_in_time = part.start_us.saturating_add(ALIGNED) >= earliest_us;
            let is_joined = part.start_us <= end_us.saturating_add(ALIGNED);
            let until = whole_until(new, part);
            let is_proven = || until.saturating_sub(whole_since(new, part)) >= PROVEN;
            let is_safe = pace != Pace::Calm || is_proven();
            is_in_time && is_joined && until.saturating_add(ALIGNED) >= end_us && is_safe
        };
        let seamless = whole().find(is_seamless);
        let is_dry = self.playhead.ahead(now) < Duration::from_micros(CUT_MARGIN) && pace != Pace::Calm;
        let next = || whole().filter(|_| is_dry).find(|part| part.start_us >= end_us);
        seamless.or_else(next).map(|part| part.id.sequence)
    }

    /// Those who push the new track are our providers from now on; who gets the old one from us is told to look elsewhere,
    /// and gets it meanwhile, as long as it comes.
    pub(super) fn commit(&mut self, now: Instant) {
        if self.tuning.coming().is_none() {
            return;
        }
        let Some(coming) = self.side.take() else { return };
        self.side = Some(core::mem::replace(&mut self.stripes, coming));
        self.slot_tracks = self.stripes.tracks;
        let n_released = self.release_others(now);
        self.tuning.leaving_until = if n_released == 0 { now } else { now + RELEASE_GRACE };
        (self.due.status_at, self.due.tell_at) = (now, now);
    }

    /// Tells those to look elsewhere who get something that is not watched; says how many.
    pub(super) fn release_others(&mut self, now: Instant) -> usize {
        let tracks = self.stripes.tracks;
        let is_other = |child: &Child| child.leaves_at.is_none() && !tracks.includes(child.tracks);
        let others = self.uploads.iter().filter(|(.., child)| is_other(child));
        let others: Vec<(PeerId, Stripe)> = others.map(|(peer, stripe, _)| (peer, stripe)).collect();
        for &(peer, stripe) in &others {
            self.release(peer, stripe, &[], now);
        }
        others.len()
    }

    /// Ends the subscriptions of what was coming or is leaving.
    pub(super) fn end_side(&mut self, now: Instant) {
        let Some(side) = self.side.take() else { return };
        for stripe in Stripe::all() {
            let lane = side.lane(stripe);
            let provider = lane.provider.as_ref().map(|provider| provider.peer);
            let successor = lane.successor.as_ref().map(|successor| successor.peer);
            for peer in provider.into_iter().chain(successor.filter(|peer| Some(*peer) != provider)) {
                self.unsubscribe(peer, stripe, now);
            }
        }
    }

    /// Watches other tracks from now on, as nothing is shown yet.
    pub(super) fn retune(&mut self, tracks: TrackSet, now: Instant) {
        self.end_side(now);
        self.tuning.step = Step::Steady;
        (self.playing, self.slot_tracks, self.stripes.tracks) = (tracks, tracks, tracks);
        for stripe in Stripe::all() {
            let lane = self.stripes.lane(stripe);
            let successor = lane.successor.as_ref().map(|successor| successor.peer);
            let named = lane.provider.as_ref().map(|provider| provider.peer).into_iter().chain(successor);
            for peer in named.collect::<Vec<_>>() {
                self.send_subscribe(peer, stripe, self.needs_provider(stripe, now), now);
            }
        }
        if self.config.role == Role::Viewer {
            (self.due.status_at, self.due.tell_at) = (now, now);
        }
    }
}

/// Up to where a track is whole from a part on.
fn whole_until(track: &TrackWindow, part: &PartFacts) -> u64 {
    let following = track.parts_from(part.id.sequence).zip(part.id.sequence..);
    let whole =
        following.take_while(|(part, sequence)| part.id.sequence == *sequence && track.is_whole(part));
    whole.map(|(part, _)| part.end_us).last().unwrap_or(part.start_us)
}

/// From where on a track is whole up to a part.
fn whole_since(track: &TrackWindow, part: &PartFacts) -> u64 {
    let before = (0..part.id.sequence).rev().map_while(|sequence| track.part(sequence));
    let whole = before.take_while(|part| track.is_whole(part));
    whole.map(|part| part.start_us).last().unwrap_or(part.start_us)
}

/// The set with one track in the place of another.
fn replaced(tracks: TrackSet, from: TrackId, to: TrackId) -> TrackSet {
    let others = TrackSet(tracks.0 & !TrackSet::from_iter([from]).0);
    others.with(TrackSet::from_iter([to]))
}
