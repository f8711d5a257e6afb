//! How much the uplink bears when nobody says: found out by watching how fast the sockets empty.

use core::time::Duration;

use crate::time::micros;
use crate::{BitsPerSec, Instant};

/// What an uplink is thought to bear before anything is known: a little less than the median throughput of measured WebRTC
/// viewers, 2.5 Mbit/s. Where it is too much, children have to find somebody else; where it is too little, it grows.
const FIRST_GUESS: BitsPerSec = BitsPerSec(2_000_000);
/// Between two samples: some ten blocks at the median uplink.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);
/// What the uplink sends in this time, waiting at both ends of a sample, says that it was never idle.
const BUSY_TIME: Duration = Duration::from_millis(150);
/// More than this waiting says so in any case.
const BUSY_LEN_MAX: u64 = 48 * 1024;
/// Weight of a sample of a busy uplink, in eighths.
const SAMPLE_WEIGHT: u64 = 3;
/// The same as long as there is but a guess to weigh it against. Simulator, `realistic` with 200 viewers, seeds 5 to 8: with 3
/// and a guess of 2.5 Mbit/s 14.0 s of stalls an hour, with 6 12.2 s, and with a guess of 2 Mbit/s 10.1 s.
const FIRST_WEIGHT: u64 = 6;
/// Growth for each sample in which more could have been sent than was allowed, and nothing waited: doubles in 1 s.
const GROWTH_PERCENT: u64 = 20;
/// The same once the uplink was found full: another look every few seconds.
const PROBE_PERCENT: u64 = 1;
/// Share of the estimate, in quarters, that has to be in use for it to grow: an uplink that bears what little is sent was
/// not tried. Without it, in the simulator, what is kept back is eaten up by estimates that are half as much again.
const TRIED_QUARTERS: u64 = 3;
/// Share of the estimate that is used.
const PACE_PERCENT: u64 = 95;
/// An estimate stays within these. Wild guesses: less than the lowest bitrate, more than any tab should send.
const ESTIMATE_MIN: BitsPerSec = BitsPerSec(64_000);
const ESTIMATE_MAX: BitsPerSec = BitsPerSec(200_000_000);

/// The estimate, and the sample under way.
#[derive(Clone, Debug)]
pub(crate) struct UplinkEstimate {
    rate: BitsPerSec,
    /// Whether it was ever found full.
    was_full: bool,
    sample_at: Instant,
    sent_len: u64,
    backlog: u64,
}

/// What went out, as of now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Bytes handed to the sockets so far.
    pub(crate) len: u64,
    /// Of these, those that still wait there.
    pub(crate) backlog: u64,
    /// Bytes of the longest block.
    pub(crate) block_len: u64,
    /// Whether more would have been sent if the estimate allowed.
    pub(crate) is_held_back: bool,
}

impl UplinkEstimate {
    /// With what is known from elsewhere, if anything.
    pub(crate) fn new(guess: Option<BitsPerSec>, now: Instant) -> Self {
        let rate = guess.unwrap_or(FIRST_GUESS).clamp(ESTIMATE_MIN, ESTIMATE_MAX);
        Self { rate, was_full: guess.is_some(), sample_at: now, sent_len: 0, backlog: 0 }
    }

    /// What may be sent: less than the uplink is thought to bear, so that what waits does so in our order.
    pub(crate) fn rate(&self) -> BitsPerSec {
        BitsPerSec(self.rate.0 / 100 * PACE_PERCENT)
    }

    /// What the uplink bears, once it was found full or when that was known before.
    pub(crate) fn found(&self) -> Option<BitsPerSec> {
        self.was_full.then_some(self.rate)
    }

    /// Takes a look; returns whether the estimate changed.
    pub(crate) fn sample(&mut self, sent: Sent, now: Instant) -> bool {
        let Sent { len: sent_len, backlog, is_held_back, .. } = sent;
        let passed = now.since(self.sample_at);
        if passed < SAMPLE_INTERVAL {
            return false;
        }
        let drained = (sent_len + self.backlog).saturating_sub(self.sent_len + backlog);
        let measured = BitsPerSec(drained.saturating_mul(8_000_000) / micros(passed).max(1));
        let before = self.rate;
        // Two blocks may be on their way without anything waiting.
        let busy_len = before.bytes_in(BUSY_TIME).max(2 * sent.block_len).min(BUSY_LEN_MAX);
        if self.backlog > busy_len && backlog > busy_len {
            let weight = if self.was_full { SAMPLE_WEIGHT } else { FIRST_WEIGHT };
            self.rate = BitsPerSec((before.0 * (8 - weight) + measured.0 * weight) / 8);
            self.was_full = true;
        } else if is_held_back && backlog <= busy_len && measured.0 >= before.0 / 4 * TRIED_QUARTERS {
            let percent = if self.was_full { PROBE_PERCENT } else { GROWTH_PERCENT };
            self.rate = BitsPerSec(before.0 + before.0 * percent / 100);
        }
        self.rate = self.rate.clamp(ESTIMATE_MIN, ESTIMATE_MAX);
        (self.sample_at, self.sent_len, self.backlog) = (now, sent_len, backlog);
        self.rate != before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sends as much as the estimate allows over an uplink of this rate; the estimate after so many seconds.
    fn settle(uplink: u64, guess: Option<u64>, seconds: u64) -> u64 {
        let mut now = Instant::default();
        let mut estimate = UplinkEstimate::new(guess.map(BitsPerSec), now);
        let (mut sent, mut drained) = (0u64, 0u64);
        for _ in 0..seconds * 20 {
            now += Duration::from_millis(50);
            sent += estimate.rate().0 / 8 / 20;
            drained = (drained + uplink / 8 / 20).min(sent);
            let sent = Sent { len: sent, backlog: sent - drained, block_len: 4096, is_held_back: true };
            estimate.sample(sent, now);
        }
        estimate.rate().0
    }

    #[test]
    fn finds_an_uplink_that_is_faster_or_slower_than_guessed() {
        for uplink in [300_000, 1_000_000, 5_000_000, 20_000_000] {
            let found = settle(uplink, None, 20);
            assert!(found.abs_diff(uplink) < uplink / 5, "{found} of {uplink}");
        }
    }

    #[test]
    fn a_known_uplink_is_believed_and_still_watched() {
        assert!(settle(2_000_000, Some(2_000_000), 20).abs_diff(2_000_000) < 400_000);
        assert!(settle(1_000_000, Some(4_000_000), 20).abs_diff(1_000_000) < 200_000);
    }

    #[test]
    fn an_uplink_that_is_used_in_half_is_not_thought_to_bear_more() {
        let mut estimate = UplinkEstimate::new(Some(BitsPerSec(1_000_000)), Instant::default());
        let before = estimate.rate();
        for at in 1..100 {
            let sent = Sent { len: at * 15_000, backlog: 0, block_len: 4096, is_held_back: true };
            estimate.sample(sent, Instant::from_micros(at * 250_000));
        }
        assert_eq!(estimate.rate(), before);
    }

    #[test]
    fn what_an_uplink_bears_is_known_once_it_was_full_and_not_before() {
        let mut estimate = UplinkEstimate::new(None, Instant::default());
        let mut look = |millis: u64, len, backlog| {
            let sent = Sent { len, backlog, block_len: 4096, is_held_back: true };
            estimate.sample(sent, Instant::from_micros(millis * 1000));
            estimate.found()
        };
        assert_eq!(look(250, 60_000, 0), None);
        assert_eq!(look(500, 260_000, 150_000), None, "it was idle at one end");
        let found = look(750, 320_000, 160_000).expect("it never ran dry").0;
        assert!(found.abs_diff(1_600_000) < 300_000, "{found}");
    }

    proptest! {
        #[test]
        fn whatever_is_measured_the_estimate_stays_within_its_limits_and_changes_when_it_says(
            samples in proptest::collection::vec((0u64..2_000, any::<u32>(), any::<u32>(), any::<bool>()), 1..100)
        ) {
            let (mut now, mut len) = (Instant::default(), 0);
            let mut estimate = UplinkEstimate::new(None, now);
            for (wait, sent, backlog, is_held_back) in samples {
                now += Duration::from_millis(wait);
                len += u64::from(sent);
                let before = estimate.rate();
                let sent = Sent { len, backlog: backlog.into(), block_len: 16_384, is_held_back };
                let has_changed = estimate.sample(sent, now);
                prop_assert!(has_changed || estimate.rate() == before);
                prop_assert!((ESTIMATE_MIN..=ESTIMATE_MAX).contains(&estimate.rate));
                prop_assert!(estimate.rate() < estimate.rate, "some is left");
            }
        }
    }

    #[test]
    fn an_idle_uplink_is_not_thought_to_bear_more() {
        let mut estimate = UplinkEstimate::new(None, Instant::default());
        let before = estimate.rate();
        for at in 1..100 {
            let sent = Sent { len: at * 1000, backlog: 0, block_len: 4096, is_held_back: false };
            estimate.sample(sent, Instant::from_micros(at * 300_000));
        }
        assert_eq!(estimate.rate(), before);
    }
}
