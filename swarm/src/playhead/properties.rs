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
