//! A playhead and an element that does what it is told, while media comes late and in bursts.

use proptest::prelude::*;

use super::*;

const WALL: u64 = 1_000_000_000;
const TARGET: Duration = Duration::from_secs(2);
/// Media time is this much ahead of what was captured then.
const OFFSET: u64 = 7_000_000;
const PART: u64 = 200_000;
const STEP: u64 = 50_000;

/// An element, on its own timeline of microseconds.
struct Element {
    playhead: u64,
    rate: f64,
    buffered: (u64, u64),
}

impl Element {
    fn play_on(&mut self) {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            reason = "a step"
        )]
        let step = (STEP as f64 * self.rate) as u64;
        let (start, end) = self.buffered;
        if start <= self.playhead && self.playhead < end {
            self.playhead = (self.playhead + step).min(end);
        }
    }

    fn state(&self) -> PlayerState {
        PlayerState { playhead_us: self.playhead, buffered: vec![self.buffered], ..PlayerState::default() }
    }
}

/// Plays parts that come so many milliseconds after their capture ended, and checks each step.
fn play(delays: &[u64]) -> (Playhead, Element, Instant) {
    let mut playhead = Playhead::new(TARGET, Instant::default());
    let mut element = Element { playhead: 0, rate: 0.0, buffered: (OFFSET, OFFSET) };
    let mut now = Instant::default();
    let mut n_there = 0;
    while n_there < delays.len() {
        now += Duration::from_micros(STEP);
        let arrives_at = |index: usize| (index as u64 + 1) * PART + delays[index] * 1000;
        while n_there < delays.len() && arrives_at(n_there) <= now.as_micros() {
            let start = OFFSET + n_there as u64 * PART;
            playhead.delivered(start, WALL + n_there as u64 * PART, now);
            element.buffered.1 = start + PART;
            n_there += 1;
        }
        element.play_on();
        playhead.set_player(element.state(), now);
        let before = (element.playhead, playhead.phase());
        match playhead.decide(Some(WALL + now.as_micros()), now) {
            Some(Action::SetRate(rate)) => {
                assert!((0.95..=1.05).contains(&rate), "people hear {rate}");
                assert!(
                    rate <= 1.0 || playhead.ahead(now) >= Duration::from_micros(SPEED_AHEAD),
                    "into a stall"
                );
                element.rate = rate;
            }
            Some(Action::Seek(to)) => {
                assert!(to > before.0 && to < element.buffered.1, "forward, to what is there: {to}");
                element.playhead = to;
            }
            Some(Action::Start(at)) => {
                assert!(element.buffered.0 <= at && at + START_AHEAD <= element.buffered.1, "{at}");
                (element.playhead, element.rate) = (at, 1.0);
            }
            None => {}
        }
    }
    (playhead, element, now)
}

proptest! {
    #[test]
    fn the_target_latency_is_held_again_after_whatever_happened(
        troubled in proptest::collection::vec(0u64..6_000, 10..60),
        calm in 0u64..800,
    ) {
        // Twenty seconds at 5 % mend a second, and beyond that it jumps.
        let delays: Vec<u64> = troubled.into_iter().chain(core::iter::repeat_n(calm, 200)).collect();
        let (playhead, _, now) = play(&delays);
        let latency = playhead.latency(Some(WALL + now.as_micros()), now);
        let error = latency.map(|latency| latency.abs_diff(TARGET));
        prop_assert!(error.is_some_and(|error| error < Duration::from_millis(150)), "{latency:?}");
        prop_assert_eq!(playhead.phase(), Phase::Playing);
    }

    #[test]
    fn media_that_is_always_in_time_never_stalls(delays in proptest::collection::vec(0u64..1_200, 100)) {
        let (playhead, _, now) = play(&delays);
        prop_assert_eq!(playhead.stalls(now).n, 0);
    }
}

#[test]
fn a_stall_is_counted_for_as_long_as_media_is_lacking() {
    // Three seconds of nothing, with two seconds there.
    let delays: Vec<u64> = (0..50).map(|n| if n < 30 { 100 } else { 3_100 }).collect();
    let (playhead, _, now) = play(&delays);
    let stalls = playhead.stalls(now);
    assert_eq!(stalls.n, 1);
    assert!(stalls.total.abs_diff(Duration::from_millis(1_300)) < Duration::from_millis(300), "{stalls:?}");
    assert_eq!(stalls.longest, stalls.total);
}

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn state(position_ms: u64, end_ms: u64) -> PlayerState {
    let of = |millis: u64| OFFSET + millis * 1000;
    PlayerState {
        playhead_us: of(position_ms),
        buffered: vec![(OFFSET, of(end_ms))],
        ..PlayerState::default()
    }
}

/// Plays since 3.1 s, a second into what is there: 2.8 s.
fn playing() -> Playhead {
    let mut playhead = Playhead::new(TARGET, at(0));
    playhead.delivered(OFFSET, WALL, at(0));
    playhead.set_player(state(0, 2_800), at(3_000));
    let start = playhead.decide(Some(WALL + 3_000_000), at(3_000));
    assert_eq!((start, playhead.phase()), (Some(Action::Start(OFFSET + 1_000_000)), Phase::Buffering));
    playhead.set_player(state(1_100, 2_800), at(3_100));
    assert_eq!((playhead.started_at(), playhead.phase()), (Some(at(3_100)), Phase::Playing));
    playhead
}

/// The same at the end of what is there, since 4.8 s.
fn stalled() -> Playhead {
    let mut playhead = playing();
    for millis in [4_800, 5_000] {
        playhead.set_player(state(2_800, 2_800), at(millis));
    }
    playhead
}

#[test]
fn a_stall_is_told_while_it_lasts() {
    let mut playhead = stalled();
    let told = |playhead: &Playhead, millis| {
        let stalls = playhead.stalls(at(millis));
        (stalls.n, stalls.total.as_millis(), stalls.longest.as_millis())
    };
    assert_eq!(told(&playhead, 5_300), (1, 500, 500));
    assert_eq!(playhead.stalled_for(at(5_300)), Some(Duration::from_millis(500)));
    assert_eq!((playhead.phase(), playhead.position(at(5_300))), (Phase::Stalled, Some(OFFSET + 2_800_000)));
    playhead.set_player(state(2_900, 4_000), at(5_400));
    assert_eq!(told(&playhead, 9_000), (1, 600, 600));
    assert_eq!((playhead.phase(), playhead.stalled_for(at(9_000))), (Phase::Playing, None));
}

#[test]
fn who_pauses_or_seeks_does_not_stall() {
    for (is_paused, is_seeking) in [(true, false), (false, true)] {
        let mut playhead = playing();
        for millis in [4_800, 5_000, 5_200] {
            let still = PlayerState { is_paused, is_seeking, ..state(2_800, 2_800) };
            playhead.set_player(still, at(millis));
        }
        assert_eq!(playhead.stalls(at(6_000)).n, 0);
        let still = PlayerState { is_paused, is_seeking, ..state(1_500, 2_800) };
        playhead.set_player(still.clone(), at(6_000));
        assert_eq!(playhead.position(at(6_500)), Some(OFFSET + 1_500_000), "it stands there");
        assert_eq!(playhead.state(), Some(&still));
    }
}

#[test]
fn between_two_reports_it_moves_as_far_as_there_is_media() {
    let playhead = playing();
    assert_eq!(playhead.position(at(3_400)), Some(OFFSET + 1_400_000));
    assert_eq!(playhead.position(at(9_000)), Some(OFFSET + 2_800_000));
    assert_eq!(playhead.plays_at(OFFSET + 1_700_000, at(3_400)), Some(at(3_700)));
    assert_eq!(playhead.plays_at(OFFSET, at(3_400)), Some(at(3_400)), "what it has passed is due now");
    assert_eq!(playhead.ahead(at(3_400)), Duration::from_millis(1_400));
    assert_eq!(Playhead::new(TARGET, at(0)).plays_at(OFFSET, at(0)), None);
}

#[test]
fn another_broadcast_begins_anew_and_forgets_no_stall() {
    let mut playhead = stalled();
    playhead.set_player(state(2_900, 4_000), at(5_400));
    let (stalls, started_at) = (playhead.stalls(at(5_400)), playhead.started_at());
    playhead.reset(at(6_000));
    assert_eq!((playhead.phase(), playhead.position(at(6_000))), (Phase::Buffering, None));
    assert_eq!((playhead.stalls(at(6_000)).total, playhead.started_at()), (stalls.total, started_at));
}

#[test]
fn a_second_seek_waits_for_the_first_to_show() {
    let mut playhead = playing();
    let mut seek = |millis: u64| {
        let late = PlayerState { buffered: vec![(OFFSET, OFFSET + millis * 1000)], ..state(2_000, 0) };
        playhead.set_player(late, at(millis));
        playhead.decide(Some(WALL + millis * 1000), at(millis)).is_some()
    };
    assert_eq!([10_000, 10_400, 10_500].map(&mut seek), [true, false, true]);
}

#[test]
fn another_target_is_held_from_now_on() {
    let mut playhead = playing();
    playhead.set_target(Duration::from_millis(500));
    assert_eq!(playhead.target(), Duration::from_millis(500));
    // At 5 s and 2 s behind, it is 1.5 s late: too much for the rate.
    playhead.set_player(state(3_000, 5_000), at(5_000));
    let action = playhead.decide(Some(WALL + 5_000_000), at(5_000));
    assert_eq!(action, Some(Action::Seek(OFFSET + 4_500_000)));
}
