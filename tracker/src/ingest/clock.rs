//! When media was captured, as far as its arrival tells.

use cardume_wire::WallTime;

/// How far an encoder's own statement of time may lie before the arrival to be believed.
///
/// Encoders with look-ahead hold media for a second or two; a clock that is wrong is mostly wrong by more. (Wild guess.)
const STATED_AGE_LIMIT_US: i64 = 5_000_000;
/// How fast the base may rise, in microseconds per second of media: ten times the 100 ppm that quartz clocks differ
/// by, and too slow to be seen as a change of latency.
const RISE_PER_SECOND_US: i64 = 1_000;

/// Maps the media time of one broadcast to wall time: `captured_at = base + media time`.
///
/// The base is the least difference seen between a part's arrival and its media end: media cannot arrive before it
/// was captured, and the luckiest part shows the shortest way. It may rise slowly, so that an encoder whose clock runs
/// slow does not age for ever; captured times so stay smooth and linear. All tracks of a broadcast share one clock.
#[derive(Debug, Clone, Default)]
pub struct CaptureClock {
    base: Option<Base>,
}

#[derive(Debug, Clone, Copy)]
struct Base {
    /// Wall time of media time 0, in microseconds.
    offset: i64,
    /// The latest media end seen, in microseconds.
    media_end: i64,
}

impl CaptureClock {
    /// A clock that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns from a part whose media ends at `media_end_us` and that was complete at `arrived_at`.
    pub fn observe_arrival(&mut self, arrived_at: WallTime, media_end_us: u64) {
        let media_end = to_signed(media_end_us);
        self.observe(to_signed(arrived_at.0).saturating_sub(media_end), media_end);
    }

    /// Learns from an encoder's statement that media time `media_us` was produced at `produced_at`, heard of at
    /// `arrived_at`. A statement from the future, or older than 5 s, is not believed.
    pub fn observe_statement(&mut self, produced_at: WallTime, media_us: u64, arrived_at: WallTime) {
        let age = to_signed(arrived_at.0).saturating_sub(to_signed(produced_at.0));
        if (0..=STATED_AGE_LIMIT_US).contains(&age) {
            let media = to_signed(media_us);
            self.observe(to_signed(produced_at.0).saturating_sub(media), media);
        }
    }

    /// When the media at `media_us` was captured; `None` before anything was observed.
    pub fn captured_at(&self, media_us: u64) -> Option<WallTime> {
        let base = self.base?;
        Some(WallTime(base.offset.saturating_add(to_signed(media_us)).max(0).unsigned_abs()))
    }

    fn observe(&mut self, offset: i64, media_end: i64) {
        let Some(base) = &mut self.base else {
            self.base = Some(Base { offset, media_end });
            return;
        };
        let passed = media_end.saturating_sub(base.media_end).max(0);
        let rise = passed.saturating_mul(RISE_PER_SECOND_US) / 1_000_000;
        base.offset = offset.min(base.offset.saturating_add(rise));
        base.media_end = base.media_end.max(media_end);
    }
}

fn to_signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 1_700_000_000_000_000;
    const MS: u64 = 1_000;

    fn at(ms: u64) -> WallTime {
        WallTime(DAY + ms * MS)
    }

    #[test]
    fn captured_times_are_linear_whatever_the_jitter() {
        let mut clock = CaptureClock::new();
        for (part, jitter) in [5, 0, 80, 30, 100, 2, 60].into_iter().enumerate() {
            let end = (part as u64 + 1) * 200;
            clock.observe_arrival(at(end + jitter), end * MS);
        }
        // The luckiest part had no jitter; since then the base rose by 1 ms a second at most.
        for media in [0, 200, 1_400] {
            let captured = clock.captured_at(media * MS).unwrap().0;
            assert!((at(media).0..=at(media).0 + 2 * MS).contains(&captured), "{media}: {captured}");
        }
    }

    #[test]
    fn a_burst_at_the_start_is_corrected_by_what_follows() {
        let mut clock = CaptureClock::new();
        // Two seconds of media arrive at once, then live.
        for end in [200, 1_000, 2_000, 2_200] {
            clock.observe_arrival(at(2_000), end.min(2_000) * MS);
        }
        assert_eq!(clock.captured_at(2_000 * MS), Some(at(2_000)));
    }

    #[test]
    fn it_follows_an_encoder_whose_clock_runs_slow() {
        let mut clock = CaptureClock::new();
        // 100 ppm: 360 ms in an hour.
        for second in 0..3_600u64 {
            clock.observe_arrival(WallTime(DAY + second * 1_000_100), second * 1_000_000);
        }
        let captured = clock.captured_at(3_599_000_000).unwrap().0;
        assert_eq!(captured, DAY + 3_599 * 1_000_100);
    }

    #[test]
    fn a_plausible_statement_makes_media_older() {
        let mut clock = CaptureClock::new();
        clock.observe_arrival(at(1_000), 200 * MS);
        clock.observe_statement(at(300), 0, at(1_000));
        assert_eq!(clock.captured_at(0), Some(at(300)));
    }

    #[test]
    fn statements_from_the_future_or_too_old_are_not_believed() {
        let mut clock = CaptureClock::new();
        clock.observe_arrival(at(10_000), 200 * MS);
        clock.observe_statement(at(10_001), 0, at(10_000));
        clock.observe_statement(at(4_999), 0, at(10_000));
        assert_eq!(clock.captured_at(200 * MS), Some(at(10_000)));
    }

    #[test]
    fn absurd_numbers_do_no_harm() {
        let mut clock = CaptureClock::new();
        clock.observe_arrival(WallTime(u64::MAX), 0);
        clock.observe_arrival(WallTime(0), u64::MAX);
        assert_eq!(clock.captured_at(0), Some(WallTime(0)));
    }
}
