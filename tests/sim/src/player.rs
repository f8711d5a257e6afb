//! A media element: plays what is buffered, stops where it ends.

use std::collections::BTreeMap;

use cardume_swarm::{PartFacts, PlayerState};
use cardume_wire::WallTime;

use crate::library::is_sound;

/// A seek takes this long, microseconds.
const SEEK: u64 = 30_000;
/// After a stall, a browser goes on once this much is ahead.
const RESUME_AHEAD: u64 = 60_000;
/// Media kept behind the playhead.
const KEEP_BEHIND: u64 = 20_000_000;

/// What has a buffer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    is_sound: bool,
}

/// One node's element, in virtual time.
#[derive(Debug, Default)]
pub(crate) struct Player {
    /// Of picture and sound, whichever track it is of.
    ranges: BTreeMap<Kind, Vec<(u64, u64)>>,
    n_kinds: usize,
    /// Captured-at less media time.
    offset: Option<i128>,
    playhead: f64,
    rate: f64,
    at: u64,
    seeks_until: Option<u64>,
    /// Whether the playhead was where media is, at least once.
    started_at: Option<u64>,
    /// Media time at which the picture began to move.
    began_us: u64,
    /// When a picture could first be seen, standing still or not.
    first_frame_at: Option<u64>,
    is_waiting: bool,
    stalled_since: Option<u64>,
    stalls: Vec<(u64, u64)>,
    /// Time played, microseconds.
    pub(crate) played: u64,
    has_sought: bool,
    /// Where a film ends.
    end_us: Option<u64>,
    /// When the viewer went elsewhere, until there is a picture.
    left_at: Option<u64>,
    /// What each of that took.
    seeks: Vec<u64>,
}

impl Player {
    pub(crate) fn attach(&mut self, n_kinds: usize, now: u64) {
        self.advance(now);
        self.end_stall(now);
        *self = Self {
            n_kinds,
            at: now,
            rate: self.rate.max(0.5),
            started_at: self.started_at,
            first_frame_at: self.first_frame_at,
            stalls: core::mem::take(&mut self.stalls),
            played: self.played,
            seeks: core::mem::take(&mut self.seeks),
            is_waiting: true,
            ..Self::default()
        };
    }

    pub(crate) fn append(&mut self, part: &PartFacts, now: u64) {
        self.advance(now);
        self.offset = Some(i128::from(part.captured_at.0) - i128::from(part.start_us));
        let keep = self.position().saturating_sub(KEEP_BEHIND);
        let ranges = self.ranges.entry(Kind { is_sound: is_sound(part.id.track) }).or_default();
        add(ranges, (part.start_us, part.end_us));
        if keep > 0 {
            ranges.retain(|(_, end)| *end > keep);
        }
    }

    pub(crate) fn set_rate(&mut self, rate: f64, now: u64) {
        self.advance(now);
        self.rate = rate;
    }

    #[expect(clippy::cast_precision_loss, reason = "media times of a run are small")]
    pub(crate) fn seek(&mut self, to_us: u64, now: u64) {
        self.advance(now);
        self.playhead = to_us as f64;
        self.seeks_until = Some(now + SEEK);
        self.has_sought = true;
    }

    /// Plays a film from its begin as soon as there is media, to this end.
    pub(crate) fn watch(&mut self, end_us: u64) {
        self.has_sought = true;
        self.end_us = Some(end_us);
    }

    /// The viewer goes elsewhere: waiting for that is no stall.
    pub(crate) fn go_to(&mut self, to_us: u64, now: u64) {
        self.seek(to_us, now);
        self.end_stall(now);
        self.is_waiting = true;
        self.left_at = Some(now);
    }

    /// What each seek of the viewer took until the picture moved, the one under way included.
    pub(crate) fn seeks(&self, now: u64) -> impl Iterator<Item = u64> {
        self.seeks.iter().copied().chain(self.left_at.map(|at| now - at))
    }

    pub(crate) fn state(&mut self, now: u64) -> PlayerState {
        self.advance(now);
        let position = self.position();
        let buffered = self.buffered().into_iter().filter(|(_, end)| *end >= position).collect();
        PlayerState {
            playhead_us: position,
            buffered,
            is_paused: false,
            is_seeking: self.seeks_until.is_some() || self.left_at.is_some(),
        }
    }

    /// Capture to screen; `None` before the start.
    pub(crate) fn latency_us(&mut self, wall: WallTime, now: u64) -> Option<u64> {
        self.advance(now);
        self.started_at?;
        let captured = i128::from(self.position()) + self.offset.filter(|_| self.has_sought)?;
        u64::try_from(i128::from(wall.0) - captured).ok()
    }

    pub(crate) fn started_at(&self) -> Option<u64> {
        self.started_at
    }

    /// Media time at which the picture began to move; what comes before is not missed. 0 in a broadcast after the first.
    pub(crate) fn began_us(&self) -> u64 {
        self.began_us
    }

    /// When a picture could first be seen.
    pub(crate) fn first_frame_at(&self) -> Option<u64> {
        self.first_frame_at
    }

    /// Stalls as (begin, end), the one under way included.
    pub(crate) fn stalls(&self, now: u64) -> Vec<(u64, u64)> {
        let open = self.stalled_since.map(|since| (since, now));
        self.stalls.iter().copied().chain(open).collect()
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small"
    )]
    fn advance(&mut self, now: u64) {
        let mut from = self.at;
        self.at = now;
        if let Some(until) = self.seeks_until {
            if now < until {
                return;
            }
            self.seeks_until = None;
            from = until;
        }
        if !self.has_sought {
            return;
        }
        let ahead = self.ahead();
        if ahead > 0 {
            self.first_frame_at.get_or_insert(from);
        }
        // A picture that stands still on purpose.
        if self.rate == 0.0 {
            return;
        }
        if self.end_us.is_some_and(|end| self.position() >= end) {
            self.end_stall(from);
            return;
        }
        let needed = if self.is_waiting { RESUME_AHEAD } else { 1 };
        if ahead < needed {
            self.begin_stall(from);
            return;
        }
        // Media that came since then came just now: appends advance first.
        self.is_waiting = false;
        self.end_stall(from);
        self.seeks.extend(self.left_at.take().map(|at| from - at));
        if self.started_at.is_none() {
            (self.started_at, self.began_us) = (Some(from), self.position());
        }
        let wanted = (now.saturating_sub(from)) as f64 * self.rate;
        let moved = wanted.min(ahead as f64);
        self.playhead += moved;
        self.played += (moved / self.rate) as u64;
        let has_ended = self.end_us.is_some_and(|end| self.position() >= end);
        if moved < wanted && !has_ended {
            self.begin_stall(from + (moved / self.rate) as u64);
        }
    }

    fn begin_stall(&mut self, at: u64) {
        self.is_waiting = true;
        if self.started_at.is_some() && self.left_at.is_none() {
            self.stalled_since.get_or_insert(at);
        }
    }

    fn end_stall(&mut self, at: u64) {
        if let Some(since) = self.stalled_since.take()
            && at > since
        {
            self.stalls.push((since, at));
        }
    }

    fn ahead(&self) -> u64 {
        let position = self.position();
        let ranges = self.buffered();
        ranges
            .iter()
            .find(|(start, end)| *start <= position && position < *end)
            .map_or(0, |(_, end)| end - position)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "media times are small and positive"
    )]
    fn position(&self) -> u64 {
        self.playhead.round() as u64
    }

    /// Where picture and sound have media.
    fn buffered(&self) -> Vec<(u64, u64)> {
        let mut kinds = self.ranges.values();
        let Some(first) = kinds.next().filter(|_| self.ranges.len() == self.n_kinds) else {
            return Vec::new();
        };
        kinds.fold(first.clone(), |common, kind| intersect(&common, kind))
    }
}

/// Adds a stretch to those that are there, which stay apart and in order.
fn add(ranges: &mut Vec<(u64, u64)>, (mut start, mut end): (u64, u64)) {
    ranges.retain(|range| {
        let is_apart = range.1 < start || end < range.0;
        if !is_apart {
            (start, end) = (start.min(range.0), end.max(range.1));
        }
        is_apart
    });
    let place = ranges.partition_point(|range| range.0 < start);
    ranges.insert(place, (start, end));
}

fn intersect(a: &[(u64, u64)], b: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x.0.max(y.0), x.1.min(y.1))));
    let mut common: Vec<(u64, u64)> = pairs.filter(|(start, end)| start < end).collect();
    common.sort_unstable();
    common
}
