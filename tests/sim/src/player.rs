//! A media element: plays what is buffered, stops where it ends.

use std::collections::BTreeMap;

use cardume_swarm::{PartFacts, PlayerState};
use cardume_wire::{TrackId, WallTime};

/// A seek takes this long, microseconds.
const SEEK: u64 = 30_000;
/// After a stall, a browser goes on once this much is ahead.
const RESUME_AHEAD: u64 = 60_000;
/// Media kept behind the playhead.
const KEEP_BEHIND: u64 = 20_000_000;

/// One node's element, in virtual time.
#[derive(Debug, Default)]
pub(crate) struct Player {
    ranges: BTreeMap<TrackId, Vec<(u64, u64)>>,
    n_tracks: usize,
    /// Captured-at less media time.
    offset: Option<i128>,
    playhead: f64,
    rate: f64,
    at: u64,
    seeks_until: Option<u64>,
    /// Whether the playhead was where media is, at least once.
    started_at: Option<u64>,
    /// When a picture could first be seen, standing still or not.
    first_frame_at: Option<u64>,
    is_waiting: bool,
    stalled_since: Option<u64>,
    stalls: Vec<(u64, u64)>,
    /// Time played, microseconds.
    pub(crate) played: u64,
    has_sought: bool,
}

impl Player {
    pub(crate) fn attach(&mut self, n_tracks: usize, now: u64) {
        self.advance(now);
        self.end_stall(now);
        *self = Self {
            n_tracks,
            at: now,
            rate: self.rate.max(0.5),
            started_at: self.started_at,
            first_frame_at: self.first_frame_at,
            stalls: core::mem::take(&mut self.stalls),
            played: self.played,
            is_waiting: true,
            ..Self::default()
        };
    }

    pub(crate) fn append(&mut self, part: &PartFacts, now: u64) {
        self.advance(now);
        self.offset = Some(i128::from(part.captured_at.0) - i128::from(part.start_us));
        let keep = self.position().saturating_sub(KEEP_BEHIND);
        let ranges = self.ranges.entry(part.id.track).or_default();
        match ranges.last_mut().filter(|(_, end)| *end == part.start_us) {
            Some((_, end)) => *end = part.end_us,
            None => ranges.push((part.start_us, part.end_us)),
        }
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

    pub(crate) fn state(&mut self, now: u64) -> PlayerState {
        self.advance(now);
        let position = self.position();
        let buffered = self.buffered().into_iter().filter(|(_, end)| *end >= position).collect();
        PlayerState {
            playhead_us: position,
            buffered,
            is_paused: false,
            is_seeking: self.seeks_until.is_some(),
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
        let needed = if self.is_waiting { RESUME_AHEAD } else { 1 };
        if ahead < needed {
            self.begin_stall(from);
            return;
        }
        // Media that came since then came just now: appends advance first.
        self.is_waiting = false;
        self.end_stall(from);
        self.started_at.get_or_insert(from);
        let wanted = (now.saturating_sub(from)) as f64 * self.rate;
        let moved = wanted.min(ahead as f64);
        self.playhead += moved;
        self.played += (moved / self.rate) as u64;
        if moved < wanted {
            self.begin_stall(from + (moved / self.rate) as u64);
        }
    }

    fn begin_stall(&mut self, at: u64) {
        self.is_waiting = true;
        if self.started_at.is_some() {
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

    /// Where all tracks have media.
    fn buffered(&self) -> Vec<(u64, u64)> {
        let mut tracks = self.ranges.values();
        let Some(first) = tracks.next().filter(|_| self.ranges.len() == self.n_tracks) else {
            return Vec::new();
        };
        tracks.fold(first.clone(), |common, track| intersect(&common, track))
    }
}

fn intersect(a: &[(u64, u64)], b: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x.0.max(y.0), x.1.min(y.1))));
    let mut common: Vec<(u64, u64)> = pairs.filter(|(start, end)| start < end).collect();
    common.sort_unstable();
    common
}
