//! The tracker's clock as a viewer sees it.

use core::time::Duration;
use std::collections::VecDeque;

use cardume_wire::WallTime;

use crate::Instant;
use crate::time::micros;

/// Questions whose answers are remembered: enough that one of them met empty queues, few enough to follow drift.
const SAMPLE_LIMIT: usize = 8;
/// A round trip beyond this says nothing about a clock. Wild guess, above any access link's queue.
const ROUND_TRIP_LIMIT: Duration = Duration::from_secs(3);

/// Estimates the tracker's wall clock from questions and answers, as NTP does (RFC 5905, section 8): of the last
/// few round trips the shortest counts, and the answer is taken to lie in its middle.
#[derive(Clone, Debug, Default)]
pub struct ClockEstimator {
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    round_trip: Duration,
    middle: Instant,
    time: WallTime,
}

impl ClockEstimator {
    /// An estimator that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One answered question: when it was asked, what the tracker's clock said, when the answer came.
    /// Answers that came before the question or took longer than 3 s are ignored.
    pub fn add(&mut self, sent_at: Instant, time: WallTime, received_at: Instant) {
        let round_trip = received_at.since(sent_at);
        if received_at < sent_at || round_trip > ROUND_TRIP_LIMIT {
            return;
        }
        if self.samples.len() == SAMPLE_LIMIT {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { round_trip, middle: sent_at + round_trip / 2, time });
    }

    /// Forgets all: the tracker may be another one now.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// The tracker's clock at this moment; `None` before the first answer.
    pub fn wall_at(&self, now: Instant) -> Option<WallTime> {
        let best = self.best()?;
        let wall = if now >= best.middle {
            best.time.0.saturating_add(micros(now.since(best.middle)))
        } else {
            best.time.0.saturating_sub(micros(best.middle.since(now)))
        };
        Some(WallTime(wall))
    }

    /// How wrong the estimate may be: half the round trip it rests on.
    pub fn error(&self) -> Option<Duration> {
        self.best().map(|best| best.round_trip / 2)
    }

    fn best(&self) -> Option<&Sample> {
        self.samples.iter().min_by_key(|sample| sample.round_trip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn the_shortest_round_trip_counts() {
        let mut clock = ClockEstimator::new();
        assert_eq!(clock.wall_at(at(0)), None);
        clock.add(at(1000), WallTime(5_400_000), at(1500));
        clock.add(at(2000), WallTime(6_010_000), at(2020));
        clock.add(at(3000), WallTime(7_390_000), at(3400));
        assert_eq!(clock.wall_at(at(4010)), Some(WallTime(8_010_000)));
        assert_eq!(clock.error(), Some(Duration::from_millis(10)));
    }

    #[test]
    fn another_tracker_has_another_clock() {
        let mut clock = ClockEstimator::new();
        clock.add(at(1000), WallTime(5_400_000), at(1020));
        clock.clear();
        assert_eq!((clock.wall_at(at(2000)), clock.error()), (None, None));
    }

    #[test]
    fn answers_from_before_the_question_or_long_after_are_ignored() {
        let mut clock = ClockEstimator::new();
        clock.add(at(1000), WallTime(1), at(900));
        clock.add(at(1000), WallTime(1), at(9000));
        assert_eq!(clock.wall_at(at(9000)), None);
    }
}
