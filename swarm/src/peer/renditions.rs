//! Which rendition to watch, by how much of it comes through.
//!
//! A downlink shows what it bears only when it carries that much. So nobody guesses: who has had its rendition whole for
//! long enough tries the one above, which comes beside the one that is watched; when that suffers, the try is over, and
//! the next one is later. Who runs dry as it gets less than the rate knows what it gets, and goes down to what that is
//! enough for.

use core::time::Duration;

use cardume_media::TrackKind;
use cardume_wire::{Stripe, TrackId, TrackSet};

use super::Peer;
use crate::renditions::{Pins, above, below, dearest_choice, first_choice, ladder};
use crate::{Instant, Role};

/// Less of the target latency than this ahead of the playhead is running dry: 1/4. Paths take about as much, so half of
/// what is usually ahead is gone then, and what is left is what finding other providers takes.
const LOW: u32 = 4;
/// Between two switches: the next one should not rest on what the last one did.
const PAUSE: Duration = Duration::from_secs(4);
/// The rendition above is tried when the present one was whole for so long, and up to half as long again: several groups of
/// pictures, and many times what a provider's death does.
const TRY_AFTER: Duration = Duration::from_secs(10);
/// Each try in vain, and each way down, doubles that up to this.
const TRY_AFTER_MAX: Duration = Duration::from_mins(1);
/// A switch that is not done by then is given up: the next key frame came meanwhile, and nobody has room.
const SWITCH_LIMIT: Duration = Duration::from_secs(8);
/// Length of one of the two stretches over which it is measured how much comes in.
const STRETCH: Duration = Duration::from_secs(1);

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
    /// Media ahead of the playhead at its begin.
    pub(super) ahead: Duration,
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

    /// The switch for whose new track everything waits.
    pub(super) fn awaited(&self) -> Option<Switch> {
        match self.step {
            Step::Awaited(switch) => Some(switch),
            Step::Steady | Step::Coming(_) => None,
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

    /// Whether even the soonest of the stripes comes late: a provider's failure makes one of them late, a downlink that is
    /// too slow all of them.
    fn is_short(&self) -> bool {
        let providers = Stripe::all().filter_map(|stripe| self.stripes.lane(stripe).provider.as_ref());
        let soonest = providers.filter_map(|provider| provider.age).min();
        soonest.is_some_and(|age| age > self.playhead.target() * (LOW - 1) / LOW)
    }

    fn judge_switch(&mut self, switch: Switch, now: Instant) {
        let waited = now.since(switch.since);
        let is_hurting = switch.pace == Pace::Calm && self.playhead.ahead(now) < switch.ahead / 2;
        if is_hurting || waited > SWITCH_LIMIT {
            self.give_up_switch(now);
        }
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
        let is_short = (self.is_low(now) || !has_started) && self.is_short();
        let lower = below(ladder, present, self.received_rate(now)).filter(|_| is_short);
        if let Some(lower) = lower {
            self.tuning.put_off();
            self.begin_switch(present, lower, Pace::Urgent, now);
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
