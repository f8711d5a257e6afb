//! What the playhead should do: hold the latency, jump gaps, count stalls.

use core::time::Duration;

use crate::time::{difference, micros};
use crate::{Instant, Phase, PlayerState};

/// Media that must be ahead of the playhead to start where the target latency is. Measured: Chromium and Firefox do
/// not stall 0.4 s behind arrivals of 200 ms parts.
const START_AHEAD: u64 = 400_000;
/// Media this much younger than the target latency is started with; for what is younger still, the start waits:
/// a playhead ahead of all others stalls first.
const YOUNG_SLACK: u64 = 200_000;
/// How long the start waits for that: longer than the target latency only when a clock is wrong.
const YOUNG_PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait after the first media for that at the target latency.
const START_PATIENCE: Duration = Duration::from_millis(1500);
/// Less than this ahead counts as nothing: decoders keep a frame or two.
const EMPTY_AHEAD: u64 = 100_000;
/// No speeding up with less than this ahead.
const SPEED_AHEAD: u64 = 300_000;
/// Latency this far off begins a correction.
const BAND_OUTER: i64 = 80_000;
/// Latency this close ends it.
const BAND_INNER: i64 = 20_000;
/// Latency this far over the target is jumped over, not caught up: at 5 % a second would take 20 s.
const JUMP_OVER: i64 = 1_000_000;
/// The rate changes by this much per second of error, up to [`RATE_CHANGE`].
const RATE_GAIN: f64 = 0.2;
/// Beyond 5 % people hear it.
const RATE_CHANGE: f64 = 0.05;
/// Between two seeks: the element needs time to follow.
const SEEK_WAIT: Duration = Duration::from_millis(500);
/// A report without movement this long after the last one is a stall. Above the time between two frames of 10/s.
const STILL_MIN: Duration = Duration::from_millis(120);

/// What to do with the element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Action {
    SetRate(f64),
    Seek(u64),
    /// Begins to play there.
    Start(u64),
}

/// How often and how long the playhead stopped for lack of media.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stalls {
    pub(crate) n: u32,
    pub(crate) total: Duration,
    pub(crate) longest: Duration,
}

/// The playhead of one session.
#[derive(Clone, Debug)]
pub(crate) struct Playhead {
    target: Duration,
    /// Captured-at minus media time, of the newest delivered part; microseconds.
    offset: Option<i64>,
    player: Option<(Instant, PlayerState)>,
    first_media_at: Option<Instant>,
    /// Whether a picture stands still until there is enough to play.
    is_shown: bool,
    /// When there was a picture first.
    seen_at: Option<Instant>,
    /// Where the start was asked for.
    start_us: Option<u64>,
    /// When it moved first.
    started_at: Option<Instant>,
    moved_at: Instant,
    stalled_since: Option<Instant>,
    stalls: Stalls,
    rate: f64,
    is_correcting: bool,
    sought_at: Option<Instant>,
}

impl Playhead {
    pub(crate) fn new(target: Duration, now: Instant) -> Self {
        Self {
            target,
            offset: None,
            player: None,
            first_media_at: None,
            is_shown: false,
            seen_at: None,
            start_us: None,
            started_at: None,
            moved_at: now,
            stalled_since: None,
            stalls: Stalls::default(),
            rate: 1.0,
            is_correcting: false,
            sought_at: None,
        }
    }

    /// A new broadcast: another timeline. What was counted stays.
    pub(crate) fn reset(&mut self, now: Instant) {
        let fresh = Self::new(self.target, now);
        let (stalls, seen_at, started_at) = (self.stalls, self.seen_at, self.started_at);
        *self = Self { stalls, seen_at, started_at, rate: self.rate, ..fresh };
    }

    /// A film is watched from this media time on, at its own pace: no latency is held.
    pub(crate) const fn watch_from(&mut self, start_us: u64) {
        self.start_us = Some(start_us);
    }

    /// The element as it was last.
    pub(crate) fn state(&self) -> Option<&PlayerState> {
        self.player.as_ref().map(|(_, state)| state)
    }

    pub(crate) fn set_target(&mut self, target: Duration) {
        self.target = target;
    }

    pub(crate) const fn target(&self) -> Duration {
        self.target
    }

    /// A part was delivered whose begin at this media time was captured at that wall time.
    pub(crate) fn delivered(&mut self, start_us: u64, captured_at: u64, now: Instant) {
        self.offset = Some(difference(captured_at, start_us));
        self.first_media_at.get_or_insert(now);
    }

    /// Whether to show the first picture now, standing still: better to look at than nothing, until there is enough to play.
    pub(crate) fn show(&mut self) -> bool {
        let is_first = !self.is_shown && self.start_us.is_none();
        self.is_shown = true;
        if is_first {
            self.rate = 0.0;
        }
        is_first
    }

    /// The element as it is.
    pub(crate) fn set_player(&mut self, state: PlayerState, now: Instant) {
        let before = self.player.as_ref().map(|(at, state)| (*at, state.playhead_us));
        let is_running = self.start_us.is_some() && !state.is_paused && !state.is_seeking;
        match before {
            Some((_, playhead_us)) if playhead_us != state.playhead_us => self.move_to(&state, now),
            Some((at, _)) if is_running => self.stand_still(&state, at, now),
            _ => self.moved_at = now,
        }
        let is_placed = (self.is_shown || self.start_us.is_some()) && !state.is_seeking;
        if self.started_at.is_some() || (is_placed && state.ahead_us(state.playhead_us) > 0) {
            self.seen_at.get_or_insert(now);
        }
        self.player = Some((now, state));
    }

    /// What to do now; at most one thing.
    pub(crate) fn decide(&mut self, wall_us: Option<u64>, now: Instant) -> Option<Action> {
        let (_, state) = self.player.clone()?;
        if state.is_paused || state.is_seeking {
            return None;
        }
        if self.start_us.is_none() {
            return self.start(&state, wall_us, now);
        }
        if self.sought_at.is_some_and(|at| now.since(at) < SEEK_WAIT) {
            return None;
        }
        self.jump(&state, wall_us, now).or_else(|| self.correct(&state, wall_us, now))
    }

    /// When this media time will be on screen, if the playhead goes on as now.
    pub(crate) fn plays_at(&self, media_us: u64, now: Instant) -> Option<Instant> {
        let position = self.position(now)?;
        Some(now + Duration::from_micros(media_us.saturating_sub(position)))
    }

    /// The playhead now, between two reports; `None` before the start.
    pub(crate) fn position(&self, now: Instant) -> Option<u64> {
        self.start_us?;
        let (at, state) = self.player.as_ref()?;
        let is_running = !state.is_paused && !state.is_seeking && self.stalled_since.is_none();
        let passed =
            if is_running { micros(now.since(*at)).min(state.ahead_us(state.playhead_us)) } else { 0 };
        Some(state.playhead_us.saturating_add(passed))
    }

    /// Capture to screen.
    pub(crate) fn latency(&self, wall_us: Option<u64>, now: Instant) -> Option<Duration> {
        self.started_at?;
        let latency = self.latency_at(self.position(now)?, wall_us?)?;
        Some(Duration::from_micros(u64::try_from(latency).unwrap_or(0)))
    }

    /// Media ahead of the playhead without a gap.
    pub(crate) fn ahead(&self, now: Instant) -> Duration {
        let ahead = self.player.as_ref().map_or(0, |(_, state)| {
            let position = self.position(now).unwrap_or(state.playhead_us);
            state.ahead_us(position)
        });
        Duration::from_micros(ahead)
    }

    pub(crate) fn stalls(&self, now: Instant) -> Stalls {
        let mut stalls = self.stalls;
        if let Some(since) = self.stalled_since {
            stalls.total += now.since(since);
            stalls.longest = stalls.longest.max(now.since(since));
        }
        stalls
    }

    /// For how long it has been standing still for lack of media.
    pub(crate) fn stalled_for(&self, now: Instant) -> Option<Duration> {
        self.stalled_since.map(|since| now.since(since))
    }

    pub(crate) fn phase(&self) -> Phase {
        match (self.start_us, self.stalled_since) {
            (_, Some(_)) => Phase::Stalled,
            (Some(_), None) if self.started_at.is_some() => Phase::Playing,
            _ => Phase::Buffering,
        }
    }

    /// When the element first had media where it was sent.
    pub(crate) const fn seen_at(&self) -> Option<Instant> {
        self.seen_at
    }

    pub(crate) const fn started_at(&self) -> Option<Instant> {
        self.started_at
    }

    pub(crate) const fn rate(&self) -> f64 {
        self.rate
    }

    fn move_to(&mut self, state: &PlayerState, now: Instant) {
        self.moved_at = now;
        if let Some(since) = self.stalled_since.take() {
            let length = now.since(since);
            self.stalls.total += length;
            self.stalls.longest = self.stalls.longest.max(length);
        }
        let has_started = self.start_us.is_some_and(|start| state.playhead_us > start);
        if has_started && !state.is_seeking {
            self.started_at.get_or_insert(now);
        }
    }

    fn stand_still(&mut self, state: &PlayerState, before: Instant, now: Instant) {
        let is_lack = state.ahead_us(state.playhead_us) < EMPTY_AHEAD;
        let is_new = self.stalled_since.is_none() && self.started_at.is_some();
        if is_new && is_lack && now.since(self.moved_at) >= STILL_MIN {
            self.stalled_since = Some(self.moved_at.max(before));
            self.stalls.n += 1;
        }
    }

    fn start(&mut self, state: &PlayerState, wall_us: Option<u64>, now: Instant) -> Option<Action> {
        let (first, end) = state.range_at(state.end_us()?.saturating_sub(1))?;
        let goal = self.goal(wall_us).unwrap_or(first);
        let has_waited = |limit| self.first_media_at.is_some_and(|at| now.since(at) > limit);
        let start = if goal < first {
            let is_young = first - goal > YOUNG_SLACK && !has_waited(YOUNG_PATIENCE);
            (!is_young).then_some(first)
        } else if goal + START_AHEAD <= end {
            Some(goal)
        } else {
            has_waited(START_PATIENCE).then_some(first.max(end.saturating_sub(START_AHEAD)))
        }?;
        if end - start < START_AHEAD {
            return None;
        }
        self.start_us = Some(start);
        self.sought_at = Some(now);
        self.rate = 1.0;
        Some(Action::Start(start))
    }

    /// Over a gap, or forward when the latency is beyond what the rate can mend.
    fn jump(&mut self, state: &PlayerState, wall_us: Option<u64>, now: Instant) -> Option<Action> {
        let ahead = state.ahead_us(state.playhead_us);
        let next = state.range_after(state.playhead_us);
        let to = match next {
            Some((start, _)) if ahead < EMPTY_AHEAD / 4 || self.stalled_since.is_some() => Some(start),
            _ => self.catch_up(state, wall_us),
        }?;
        self.sought_at = Some(now);
        Some(Action::Seek(to))
    }

    fn catch_up(&self, state: &PlayerState, wall_us: Option<u64>) -> Option<u64> {
        let latency = self.latency_at(state.playhead_us, wall_us?)?;
        if latency - signed(micros(self.target)) < JUMP_OVER {
            return None;
        }
        let end = state.end_us()?;
        let (first, _) = state.range_at(end.saturating_sub(1))?;
        let to = self.goal(wall_us)?.min(end.saturating_sub(START_AHEAD)).max(first);
        let gain = difference(to, state.playhead_us);
        (gain > JUMP_OVER / 2).then_some(to)
    }

    fn correct(&mut self, state: &PlayerState, wall_us: Option<u64>, now: Instant) -> Option<Action> {
        let position = self.position(now)?;
        let error = self.latency_at(position, wall_us?)? - signed(micros(self.target));
        self.is_correcting = error.abs() > if self.is_correcting { BAND_INNER } else { BAND_OUTER };
        let rate = if self.is_correcting { rate_for(error) } else { 1.0 };
        let has_little = state.ahead_us(position) < SPEED_AHEAD;
        let rate = if has_little { rate.min(1.0) } else { rate };
        if (rate - self.rate).abs() < 0.005 {
            return None;
        }
        self.rate = rate;
        Some(Action::SetRate(rate))
    }

    /// Where the playhead should be.
    fn goal(&self, wall_us: Option<u64>) -> Option<u64> {
        let goal = signed(wall_us?) - signed(micros(self.target)) - self.offset?;
        Some(u64::try_from(goal).unwrap_or(0))
    }

    fn latency_at(&self, position: u64, wall_us: u64) -> Option<i64> {
        Some(signed(wall_us) - signed(position) - self.offset?)
    }
}

/// In steps of 1 %, so that the element is not bothered for less.
fn rate_for(error: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of latency fit a double")]
    let change = (error as f64 / 1e6 * RATE_GAIN).clamp(-RATE_CHANGE, RATE_CHANGE);
    let step = (change * 100.0).round() / 100.0;
    let least = if error > 0 { 0.01 } else { -0.01 };
    1.0 + if step == 0.0 { least } else { step }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_000_000_000;

    /// Wall milliseconds, playhead, buffered stretches.
    type Step<'a> = (u64, u64, &'a [(u64, u64)]);

    /// A playhead whose media time 0 was captured at [`WALL`], and what the script of
    /// (wall milliseconds, playhead, buffered) makes it do.
    fn check(script: &[Step<'_>], expected: &[(u64, Action)]) -> Playhead {
        let mut playhead = Playhead::new(Duration::from_secs(2), Instant::default());
        playhead.delivered(0, WALL, Instant::default());
        let mut done = Vec::new();
        for &(millis, position, buffered) in script {
            let now = Instant::from_micros(millis * 1000);
            let buffered = buffered.iter().map(|&(start, end)| (start * 1000, end * 1000)).collect();
            let state = PlayerState { playhead_us: position * 1000, buffered, ..PlayerState::default() };
            playhead.set_player(state, now);
            if let Some(action) = playhead.decide(Some(WALL + millis * 1000), now) {
                done.push((millis, action));
            }
        }
        assert_eq!(done, expected);
        playhead
    }

    #[test]
    fn starts_where_the_target_latency_is() {
        check(&[(5_000, 0, &[(2_000, 4_800)])], &[(5_000, Action::Start(3_000_000))]);
    }

    #[test]
    fn waits_for_media_at_the_target_but_not_for_long() {
        let script: &[Step<'_>] =
            &[(1_000, 0, &[(0, 100)]), (1_400, 0, &[(0, 300)]), (2_600, 0, &[(0, 900)])];
        check(script, &[(2_600, Action::Start(500_000))]);
    }

    #[test]
    fn young_media_waits_for_the_target_latency() {
        let script: &[Step<'_>] = &[(2_000, 0, &[(1_000, 1_800)]), (2_900, 0, &[(1_000, 2_700)])];
        check(script, &[(2_900, Action::Start(1_000_000))]);
    }

    #[test]
    fn jumps_over_a_gap() {
        let script: &[Step<'_>] = &[
            (5_000, 0, &[(2_000, 3_600)]),
            (5_100, 3_050, &[(2_000, 3_600)]),
            (5_640, 3_590, &[(2_000, 3_600), (3_800, 5_000)]),
        ];
        check(script, &[(5_000, Action::Start(3_000_000)), (5_640, Action::Seek(3_800_000))]);
    }

    #[test]
    fn counts_a_stall_from_where_the_playhead_stopped() {
        let script: &[Step<'_>] = &[
            (5_000, 0, &[(2_000, 3_500)]),
            (5_250, 3_250, &[(2_000, 3_500)]),
            (5_500, 3_490, &[(2_000, 3_500)]),
            (5_750, 3_490, &[(2_000, 3_500)]),
            (6_000, 3_490, &[(2_000, 3_500)]),
            (6_100, 3_500, &[(2_000, 5_500)]),
        ];
        let expected = [(5_000, Action::Start(3_000_000)), (6_100, Action::SetRate(1.05))];
        let playhead = check(script, &expected);
        let stalls = playhead.stalls(Instant::from_micros(6_100_000));
        assert_eq!((stalls.n, stalls.total), (1, Duration::from_millis(600)));
    }

    #[test]
    fn a_small_error_is_mended_by_rate_and_a_large_one_by_a_jump() {
        let script: &[Step<'_>] = &[
            (5_000, 0, &[(2_000, 4_800)]),
            (6_000, 3_800, &[(2_000, 5_800)]),
            (9_000, 5_700, &[(2_000, 8_800)]),
        ];
        let expected = [
            (5_000, Action::Start(3_000_000)),
            (6_000, Action::SetRate(1.04)),
            (9_000, Action::Seek(7_000_000)),
        ];
        check(script, &expected);
    }

    #[test]
    fn a_picture_is_shown_once_and_not_after_the_start() {
        let mut fresh = Playhead::new(Duration::from_secs(2), Instant::default());
        assert!(fresh.show() && !fresh.show());
        let mut started = check(&[(5_000, 0, &[(2_000, 4_800)])], &[(5_000, Action::Start(3_000_000))]);
        assert!(!started.show());
    }

    #[test]
    fn a_picture_is_seen_when_media_is_there_and_moves_later() {
        let mut playhead = Playhead::new(Duration::from_secs(2), Instant::default());
        let mut tell = |position: u64, end: u64, millis: u64| {
            let now = Instant::from_micros(millis * 1000);
            let buffered = vec![(2_000_000, end * 1000)];
            let state = PlayerState { playhead_us: position * 1000, buffered, ..PlayerState::default() };
            playhead.delivered(2_000_000, WALL + 2_000_000, now);
            playhead.show();
            playhead.set_player(state, now);
            playhead.decide(Some(WALL + millis * 1000), now);
            (playhead.seen_at().map(Instant::as_micros), playhead.started_at().map(Instant::as_micros))
        };
        assert_eq!(tell(0, 2_200, 4_000), (None, None));
        assert_eq!(tell(2_000, 2_200, 4_050), (Some(4_050_000), None));
        assert_eq!(tell(2_000, 2_800, 4_100), (Some(4_050_000), None));
        assert_eq!(tell(2_150, 3_000, 4_200), (Some(4_050_000), Some(4_200_000)));
    }

    #[test]
    fn does_nothing_while_paused() {
        let mut playhead = Playhead::new(Duration::from_secs(2), Instant::default());
        playhead.delivered(0, WALL, Instant::default());
        let state = PlayerState {
            playhead_us: 0,
            buffered: vec![(0, 9_000_000)],
            is_paused: true,
            is_seeking: false,
        };
        playhead.set_player(state, Instant::from_micros(5_000_000));
        assert_eq!(playhead.decide(Some(WALL + 5_000_000), Instant::from_micros(5_000_000)), None);
    }
}
