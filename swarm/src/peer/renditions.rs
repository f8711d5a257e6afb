//! Which rendition to watch, by how much of it comes through.
//!
//! A downlink shows what it bears only when it carries that much. So nobody guesses: who has had its rendition whole for
//! long enough tries the one above, which comes beside the one that is watched; when even the soonest blocks come later for
//! that, or nobody has room, the try is over, and the next one is later. Who gets less than the rate, and even the soonest
//! block late, knows what its downlink bears, and goes down to that; it asks for nothing a second time meanwhile, as all of
//! it is on its way. Who finds nobody to push what it watches goes down, too, those who feed the fewest first.

use core::time::Duration;

use cardume_media::TrackKind;
use cardume_wire::{STRIPE_COUNT, Stripe, TrackId, TrackSet};

use super::Peer;
use crate::renditions::{Pins, above, below, dearest_choice, first_choice, ladder};
use crate::{Instant, Role};

/// Less of the target latency than this ahead of the playhead is running dry: 1/4. Paths take about as much, so half of
/// what is usually ahead is gone then, and what is left is what finding other providers takes.
const LOW: u32 = 4;
/// Between two switches, and before the first: the next one should not rest on what the last one did.
const PAUSE: Duration = Duration::from_secs(2);
/// The rendition above is tried when the present one was whole for so long, and up to half as long again: several groups of
/// pictures, and many times what a provider's death does.
const TRY_AFTER: Duration = Duration::from_secs(10);
/// Each try in vain, and each way down, doubles that up to this.
const TRY_AFTER_MAX: Duration = Duration::from_mins(1);
/// A switch that is not done by then is given up: the next key frame came meanwhile, and nobody has room.
const SWITCH_LIMIT: Duration = Duration::from_secs(8);
/// A try is over when nobody had room for a stripe of it for so long: two or three times what finding a provider takes.
const ROOM_LIMIT: Duration = Duration::from_secs(3);
/// A stripe that nobody has had room to push to us for so long, and for each of our slots so much longer, is one of a
/// rendition that too few can feed: three times what finding a provider takes.
const UNFED_AFTER: Duration = Duration::from_secs(2);
const UNFED_STEP: Duration = Duration::from_millis(500);
/// Length of one of the two stretches over which it is measured how much comes in: what came before a downlink fell says
/// nothing of what it bears now.
const STRETCH: Duration = Duration::from_millis(250);
/// More than this part of the target latency from capture to the soonest block is too late: 1/2. Simulator: the soonest of
/// eight paths takes a sixth; what is left is what finding other providers takes.
const SHORT: u32 = 2;
/// A try that makes the soonest block later by this part of the target latency is more than the downlink bears: 1/5, twice
/// what the soonest usually wavers by.
const HURT: u32 = 5;
/// A later block makes what counts as the soonest later by this part of the difference: 1/8, a part's blocks.
const SOONEST_WEIGHT: u32 = 8;

/// How a switch comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The downlink may bear more: what is watched must not suffer.
    Calm,
    /// It bears less: what is watched runs dry anyway.
    Urgent,
    /// The viewer wants it.
    Chosen,
}

/// One track is to take the place of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switch {
    pub(super) from: TrackId,
    pub(super) to: TrackId,
    pub(super) since: Instant,
    /// Media time before which nothing of the new one is of use.
    pub(super) from_us: u64,
    /// From capture to the soonest block when it began.
    pub(super) soonest: Duration,
    pub(super) pace: Pace,
}

/// How far a switch is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// None is under way.
    Steady,
    /// Those who push the new track are sought beside those who push the old one.
    Coming(Switch),
    /// They push it, and nobody pushes the old one, of which the rest is shown.
    Awaited(Switch),
}

/// How the choice of tracks stands.
#[derive(Clone, Debug)]
pub(super) struct Tuning {
    pins: Pins,
    pub(super) step: Step,
    /// Until when those who got what is leaving from us may need it.
    pub(super) leaving_until: Instant,
    /// When the last switch was over.
    settled_at: Instant,
    /// Since when nothing was missing.
    whole_since: Instant,
    /// How long that has to last for the next try.
    try_after: Duration,
    /// By how much longer, as not all should try at once.
    spread: Duration,
    /// When each of the last two stretches began, and bytes that had come by then.
    marks: [(Instant, u64); 2],
    /// From capture to the soonest of the last blocks.
    pub(super) soonest: Duration,
    n_skipped: u64,
    n_switches: u32,
}

impl Tuning {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            pins: Pins::default(),
            step: Step::Steady,
            leaving_until: now,
            settled_at: now,
            whole_since: now,
            try_after: TRY_AFTER,
            spread: Duration::ZERO,
            marks: [(now, 0); 2],
            soonest: Duration::ZERO,
            n_skipped: 0,
            n_switches: 0,
        }
    }

    /// The switch under way.
    pub(super) fn switch(&self) -> Option<Switch> {
        match self.step {
            Step::Coming(switch) | Step::Awaited(switch) => Some(switch),
            Step::Steady => None,
        }
    }

    /// The switch whose providers are sought.
    pub(super) fn coming(&self) -> Option<Switch> {
        match self.step {
            Step::Coming(switch) => Some(switch),
            Step::Steady | Step::Awaited(_) => None,
        }
    }

    /// Nobody is left who pushes the old track.
    pub(super) fn wait_for_new(&mut self) {
        if let Step::Coming(switch) = self.step {
            self.step = Step::Awaited(switch);
        }
    }

    /// The new track is shown.
    pub(super) fn switched(&mut self, now: Instant) {
        self.n_switches += 1;
        self.settle(now);
    }

    pub(super) fn n_switches(&self) -> u32 {
        self.n_switches
    }

    /// A block was pushed to us that is so old.
    pub(super) fn note_age(&mut self, age: Duration) {
        let later = age.saturating_sub(self.soonest);
        self.soonest = age.min(self.soonest + later / SOONEST_WEIGHT);
    }

    fn settle(&mut self, now: Instant) {
        self.step = Step::Steady;
        self.settled_at = now;
        self.whole_since = now;
    }

    fn put_off(&mut self) {
        self.try_after = (self.try_after * 2).min(TRY_AFTER_MAX);
    }
}

impl Peer {
    /// The viewer chooses a track, or none.
    pub(super) fn select(&mut self, kind: TrackKind, track: Option<TrackId>, now: Instant) {
        self.tuning.pins.set(kind, track);
        self.choose_providers_soon(now);
    }

    /// Whether there is anything to choose.
    pub(super) fn has_alternatives(&self) -> bool {
        self.slot_tracks != TrackSet::ALL
    }

    /// The tracks that a timeline begins with: as long as it did not choose, everybody's.
    pub(super) fn first_tracks(&self) -> TrackSet {
        match self.config.role {
            Role::Server => first_choice(&self.window.facts(), Pins::default()),
            Role::Viewer => self.playing,
        }
    }

    /// A new broadcast: chooses what to watch of it.
    pub(super) fn tune(&mut self, now: Instant) {
        let facts = self.window.facts();
        let usual = first_choice(&facts, Pins::default());
        // They know it, too.
        self.uploads.narrow(usual);
        if self.config.role == Role::Server {
            self.slot_tracks = dearest_choice(&facts);
            return;
        }
        let Tuning { pins, n_switches, .. } = self.tuning;
        self.tuning = Tuning { pins, n_switches, ..Tuning::new(now) };
        if usual != TrackSet::ALL {
            self.tuning.spread = self.random_time(TRY_AFTER / 2);
        }
        let chosen = first_choice(&facts, pins);
        let asked = self.stripes.tracks;
        if chosen == usual && asked == TrackSet::ALL {
            (self.playing, self.slot_tracks, self.stripes.tracks) = (chosen, chosen, chosen);
        } else if chosen != asked {
            self.retune(chosen, now);
        }
    }

    /// Watches what comes through, and has the fitting rendition come.
    pub(super) fn adapt(&mut self, now: Instant) {
        if !self.has_alternatives() || self.rests {
            return;
        }
        self.watch_downlink(now);
        match self.tuning.step {
            Step::Coming(switch) => {
                self.aside(|peer| peer.choose_providers(now));
                self.judge_switch(switch, now);
            }
            Step::Awaited(_) => {}
            Step::Steady if self.side.is_some() => {
                if now >= self.tuning.leaving_until {
                    self.end_side(now);
                }
            }
            Step::Steady => self.consider(now),
        }
    }

    /// Marks how much has come, and since when nothing was missing.
    fn watch_downlink(&mut self, now: Instant) {
        if now.since(self.tuning.marks[1].0) >= STRETCH {
            self.tuning.marks = [self.tuning.marks[1], (now, self.received_len())];
        }
        if self.is_low(now) || self.tuning.n_skipped != self.counts.n_skipped_parts {
            self.tuning.n_skipped = self.counts.n_skipped_parts;
            self.tuning.whole_since = now;
        }
    }

    fn received_len(&self) -> u64 {
        self.counts.from_server_len + self.counts.from_peers_len + self.counts.duplicate_len
    }

    /// Bits per second that have come lately.
    fn received_rate(&self, now: Instant) -> u64 {
        let (since, before) = self.tuning.marks[0];
        let passed = crate::time::micros(now.since(since)).max(1);
        (self.received_len() - before).saturating_mul(8_000_000) / passed
    }

    /// Whether little is left ahead of the playhead.
    fn is_low(&self, now: Instant) -> bool {
        self.playhead.started_at().is_some() && self.playhead.ahead(now) < self.playhead.target() / LOW
    }

    /// Whether even the soonest blocks come late: a provider's failure makes one stripe late, a downlink that is too slow
    /// all of them, as they wait for each other.
    pub(super) fn is_short(&self) -> bool {
        self.has_alternatives() && self.tuning.soonest > self.playhead.target() / SHORT
    }

    /// Whether nobody has had room for us in some stripe for so long that there are too few who feed others what we watch.
    /// Who can feed few gives up sooner: then the others have what they need.
    fn is_unfed(&self, now: Instant) -> bool {
        let n_slots = u32::try_from(self.n_slots()).unwrap_or(u32::MAX);
        let patience = UNFED_AFTER + UNFED_STEP * n_slots.min(u32::from(STRIPE_COUNT) * 2);
        Stripe::all().any(|stripe| self.stripes.lane(stripe).starves_since_before(now, patience))
    }

    /// Bits per second of what is watched, as the catalog says.
    fn watched_rate(&self) -> u64 {
        let tracks = self.window.tracks().iter().map(|track| track.facts);
        tracks.filter(|facts| self.playing.contains(facts.id)).map(|facts| facts.bitrate.0).sum()
    }

    /// How much longer than usual an answer may take: it waits behind all that is on its way through our downlink.
    pub(super) fn downlink_wait(&self) -> Duration {
        if self.is_short() { self.tuning.soonest } else { Duration::ZERO }
    }

    fn judge_switch(&mut self, switch: Switch, now: Instant) {
        let waited = now.since(switch.since);
        let later = self.tuning.soonest.saturating_sub(switch.soonest);
        let is_hurting = later > self.playhead.target() / HURT;
        let is_vain = switch.pace == Pace::Calm && (is_hurting || self.lacks_room(now));
        if is_vain || waited > SWITCH_LIMIT {
            self.give_up_switch(now);
        }
    }

    /// Whether nobody has room to push some stripe of what is coming.
    fn lacks_room(&self, now: Instant) -> bool {
        let lanes = self.side.iter().flat_map(|side| Stripe::all().map(|stripe| side.lane(stripe)));
        lanes.into_iter().any(|lane| lane.starves_since_before(now, ROOM_LIMIT))
    }

    /// Stays with what is watched.
    pub(super) fn give_up_switch(&mut self, now: Instant) {
        self.end_side(now);
        if self.tuning.coming().is_some() {
            self.release_others(now);
            self.tuning.settle(now);
            self.tuning.put_off();
        }
    }

    /// Begins a switch when there is reason to.
    fn consider(&mut self, now: Instant) {
        let facts = self.window.facts();
        if self.timeline.is_none() {
            let chosen = first_choice(&facts, self.tuning.pins);
            if chosen != self.stripes.tracks {
                self.retune(chosen, now);
            }
            return;
        }
        if now.since(self.tuning.settled_at) < PAUSE {
            return;
        }
        let sound = facts.iter().find(|track| !track.is_video).map(|track| track.id);
        let sound = self.tuning.pins.of(TrackKind::Audio, &facts).or(sound);
        let picture = self.tuning.pins.of(TrackKind::Video, &facts);
        for (kind, wanted) in [(TrackKind::Video, picture), (TrackKind::Audio, sound)] {
            let ladder = ladder(&facts, kind);
            let present = ladder.iter().map(|track| track.id).find(|track| self.playing.contains(*track));
            if let Some((from, to)) = present.zip(wanted).filter(|(from, to)| from != to) {
                self.begin_switch(from, to, Pace::Chosen, now);
                return;
            }
            if let Some(from) = present.filter(|_| kind == TrackKind::Video && wanted.is_none()) {
                self.follow_downlink(&ladder, from, now);
            }
        }
    }

    /// Down at once when too little comes, up by one when nothing was missing for long enough.
    fn follow_downlink(&mut self, ladder: &[crate::TrackFacts], present: TrackId, now: Instant) {
        if self.tuning.switch().is_some() {
            return;
        }
        let has_started = self.playhead.started_at().is_some();
        let received = self.received_rate(now);
        let is_too_much = self.is_short() && received < self.watched_rate();
        if let Some(lower) = below(ladder, present, received).filter(|_| is_too_much) {
            self.tuning.put_off();
            self.begin_switch(present, lower, Pace::Urgent, now);
            return;
        }
        if let Some(lower) = below(ladder, present, u64::MAX).filter(|_| self.is_unfed(now)) {
            self.tuning.put_off();
            self.begin_switch(present, lower, Pace::Chosen, now);
            return;
        }
        let has_waited = now.since(self.tuning.whole_since) >= self.tuning.try_after + self.tuning.spread;
        if !has_started || !has_waited {
            return;
        }
        if let Some(higher) = above(ladder, present) {
            self.begin_switch(present, higher, Pace::Calm, now);
        }
    }
}
