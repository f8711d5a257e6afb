//! Parts to the player in order, and the playhead.

use core::time::Duration;

use super::Peer;
use crate::playhead::Action;
use crate::time::micros;
use crate::window::TrackWindow;
use crate::{Instant, Output, PartFacts, Role};

/// A part that is this late is given up when there is something to go on with.
const SKIP_GRACE: Duration = Duration::from_millis(250);
/// Media kept behind what should be on screen: joiners start a group of pictures earlier, and repair comes late.
const KEEP: Duration = Duration::from_secs(6);
/// A part this late is not waited for at all: we were away, or cut off.
const LOST_AFTER: Duration = Duration::from_millis(1500);
/// A group of pictures that begins this much after what should be on screen will do, but no more than half of the target
/// latency, microseconds: there is less to fetch, and what should be on screen gets there while we fetch. Simulator, viewers
/// with 99 % on time, at 0.8, 1.0 and 1.5 s: 0.79, 0.81, 0.73 in E1 cut to 60 s; 0.98, 0.98, 0.96 in `e1-churn` with 100.
const JOIN_SLACK_LIMIT: u64 = 1_000_000;
/// Tracks begin with the leading one, or this much later with what there is.
const FOLLOW_LIMIT: Duration = Duration::from_millis(600);
/// Between two clean-ups.
const EVICT_INTERVAL: Duration = Duration::from_secs(1);

impl Peer {
    /// Delivers what is whole and next, skips what is lost, moves the playhead.
    pub(super) fn play(&mut self, now: Instant) {
        if self.config.role == Role::Server {
            return;
        }
        self.deliver(now);
        self.skip(now);
        self.cut(now);
        match self.playhead.decide(self.wall_us(now), now) {
            Some(Action::SetRate(rate)) => self.outputs.push_back(Output::SetRate(rate)),
            Some(Action::Seek(to_us)) => self.outputs.push_back(Output::Seek { to_us }),
            Some(Action::Start(at_us)) => {
                self.outputs.push_back(Output::Seek { to_us: at_us });
                self.outputs.push_back(Output::SetRate(1.0));
            }
            None => {}
        }
    }

    /// Delivers what is whole and next.
    pub(super) fn deliver(&mut self, now: Instant) {
        self.begin(now);
        for index in self.played() {
            while let Some(part) = next_whole(&self.window.tracks()[index]) {
                let track = &mut self.window.tracks_mut()[index];
                track.next = Some(part.id.sequence.saturating_add(1));
                track.delivered_us = part.end_us;
                self.playhead.delivered(part.start_us, part.captured_at.0, now);
                self.outputs.push_back(Output::Deliver { part: part.id });
            }
        }
        self.show();
    }

    /// Shows the first picture as soon as all tracks have begun.
    fn show(&mut self) {
        let Some((start_us, _)) = self.timeline else { return };
        let has_begun = self.has_begun();
        if has_begun && self.playhead.show() {
            self.outputs.push_back(Output::SetRate(0.0));
            self.outputs.push_back(Output::Seek { to_us: start_us });
        }
    }

    /// Media time at which a joiner's timeline begins: the newest place where decoding can begin that is not after
    /// what should be on screen; the oldest one if all are.
    pub(super) fn join_start(&self, goal_us: u64) -> Option<u64> {
        let (_, leading) = self.leading()?;
        let starts = || leading.parts().filter(|part| part.is_independent).map(|part| part.start_us);
        let slack = (micros(self.playhead.target()) / 2).min(JOIN_SLACK_LIMIT);
        starts().rfind(|start| *start <= goal_us.saturating_add(slack)).or_else(|| starts().next())
    }

    /// The picture that is shown, or what is in its place; with its index.
    pub(super) fn leading(&self) -> Option<(usize, &TrackWindow)> {
        let played = || {
            let tracks = self.window.tracks().iter().enumerate();
            tracks.filter(|(_, track)| self.playing.contains(track.facts.id))
        };
        played().find(|(_, track)| track.facts.is_video).or_else(|| played().next())
    }

    /// Indexes of the tracks that go to the player.
    fn played(&self) -> Vec<usize> {
        let tracks = self.window.tracks().iter().enumerate();
        tracks.filter(|(_, track)| self.playing.contains(track.facts.id)).map(|(index, _)| index).collect()
    }

    /// Whether every track that is to be shown has begun.
    fn has_begun(&self) -> bool {
        let mut tracks = self.window.tracks().iter();
        tracks.all(|track| track.next.is_some() || !self.playing.contains(track.facts.id))
    }

    /// The part that a joiner's track begins with.
    pub(super) fn join_sequence(&self, track: &TrackWindow, now: Instant) -> Option<u32> {
        let start_us = self.timeline_start(now)?;
        track.parts().next()?;
        Some(track.start_sequence(start_us))
    }

    /// When the part will be on screen: where the playhead gets there, or where it should be, whichever is sooner. A
    /// playhead that fell behind will jump, so what is due by the clock is due though the playhead is far from it.
    pub(super) fn plays_at(&self, part: &PartFacts, now: Instant) -> Option<Instant> {
        let by_playhead = self.playhead.plays_at(part.start_us, now);
        let by_clock = self.wall_us(now).map(|wall| {
            let due = part.captured_at.0.saturating_add(micros(self.playhead.target()));
            now + Duration::from_micros(due.saturating_sub(wall))
        });
        by_playhead.into_iter().chain(by_clock).min()
    }

    /// Forgets what nobody needs any more.
    pub(super) fn evict(&mut self, now: Instant) {
        if now < self.due.evict_at {
            return;
        }
        self.due.evict_at = now + EVICT_INTERVAL;
        let Some(goal) = self.goal_us(now) else { return };
        let before = goal.saturating_sub(micros(KEEP));
        let gone = self.window.tracks_mut().iter_mut().filter_map(|track| {
            let before_sequence = track.evict_before(before)?;
            Some(Output::Evict { track: track.facts.id, before_sequence })
        });
        let gone: Vec<Output> = gone.collect();
        self.outputs.extend(gone);
    }

    /// Where the timeline begins: where it began, or where it would now.
    pub(super) fn timeline_start(&self, now: Instant) -> Option<u64> {
        match self.timeline {
            Some((start, _)) => Some(start),
            None => self.aimed_at().or_else(|| self.join_start(self.goal_us(now)?)),
        }
    }

    /// Decides with which part each track begins, as soon as that part is whole: the leading track first, the others
    /// where it began.
    fn begin(&mut self, now: Instant) {
        if self.has_begun() {
            return;
        }
        let Some(start_us) = self.timeline_start(now) else { return };
        let leading = self.leading().map_or(0, |(index, _)| index);
        if self.timeline.is_none() {
            self.begin_track(leading, start_us, now);
            if self.window.tracks().get(leading).is_none_or(|track| track.next.is_none()) {
                return;
            }
            self.timeline = Some((start_us, now));
        }
        for index in self.played() {
            self.begin_track(index, start_us, now);
        }
    }

    fn begin_track(&mut self, index: usize, start_us: u64, now: Instant) {
        let waited = self.timeline.is_some_and(|(_, since)| now.since(since) > FOLLOW_LIMIT);
        let Some(track) = self.window.tracks_mut().get_mut(index).filter(|track| track.next.is_none()) else {
            return;
        };
        let Some(part) = track.part(track.start_sequence(start_us)).copied() else { return };
        let is_there = part.start_us <= start_us && start_us < part.end_us;
        if track.is_whole(&part) && (is_there || waited) {
            track.next = Some(part.id.sequence);
        }
    }

    /// Gives up what is too late, where there is something whole to go on with.
    fn skip(&mut self, now: Instant) {
        for index in self.played() {
            let track = &self.window.tracks()[index];
            let Some((next, to)) = track.next.zip(self.way_on(track, now)) else { continue };
            self.counts.n_skipped_parts += u64::from(to.saturating_sub(next));
            self.window.tracks_mut()[index].next = Some(to);
        }
        self.deliver(now);
    }

    /// Where to go on when the next part is too late.
    fn way_on(&self, track: &TrackWindow, now: Instant) -> Option<u32> {
        let next = track.next?;
        // An undescribed part begins where the one before it ends, which may be long before the first that is known.
        let described = track.part(next);
        let begins = described.or_else(|| track.parts_from(next).next())?;
        let hole_us =
            if described.is_some() { 0 } else { begins.start_us.saturating_sub(track.delivered_us) };
        let late = (now + Duration::from_micros(hole_us)).since(self.plays_at(begins, now)?);
        let later = || track.parts_from(next.saturating_add(1)).filter(|part| part.is_independent);
        if late > LOST_AFTER || self.is_lost(begins, now) {
            let goal = self.goal_us(now)?;
            let rejoin = later().filter(|part| part.start_us <= goal).last().or_else(|| later().next());
            return rejoin.map(|part| part.id.sequence);
        }
        if !self.is_overdue(begins, now) {
            return None;
        }
        let position = self.playhead.position(now).unwrap_or(0);
        let whole = || later().filter(|part| track.is_whole(part));
        let way_on = whole().filter(|part| part.start_us <= position).last().or_else(|| whole().next());
        way_on.map(|part| part.id.sequence)
    }

    /// Whether the playhead waits for the part, or has passed it.
    pub(super) fn is_overdue(&self, part: &PartFacts, now: Instant) -> bool {
        let Some(position) = self.playhead.position(now) else { return false };
        let is_waiting = self.playhead.stalled_for(now).is_some_and(|stalled| stalled > SKIP_GRACE);
        let is_next = part.start_us <= position.saturating_add(micros(SKIP_GRACE));
        position > part.end_us || (is_waiting && is_next)
    }

    /// Whether the part is so old that nobody keeps it.
    fn is_lost(&self, part: &PartFacts, now: Instant) -> bool {
        self.goal_us(now).is_some_and(|goal| part.end_us.saturating_add(micros(LOST_AFTER)) < goal)
    }
}

fn next_whole(track: &TrackWindow) -> Option<PartFacts> {
    let part = track.part(track.next?)?;
    track.is_whole(part).then_some(*part)
}
