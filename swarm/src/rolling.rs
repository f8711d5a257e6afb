//! A hard limit on what is sent: no second exceeds it, and within a second all may go at once.

use std::collections::VecDeque;

use crate::{BitsPerSec, Instant};

/// What went is forgotten in slots of this many microseconds, a second after the slot's end.
const SLOT: u64 = 1_000_000 / 64;
/// Slots that may have to do with the last second.
const N_SLOTS: u64 = 65;
/// Kept for control, which never waits, as a share of the limit: 1/64.
const CONTROL_SHARE: u64 = 64;
/// Kept beside that, as a share of what control took in the last second: 1/4. It goes on at that rate until media has room again,
/// which is a part's duration.
const CONTROL_AHEAD: u64 = 4;

/// Keeps an account of the last second, so that what was sent in any second stays within a limit. Unlike a token bucket it lets
/// a part go as a whole when it is published: spread over its duration, each of its blocks would be late by half of that.
#[derive(Clone, Debug)]
pub struct RollingLimit {
    /// Bytes that may go in a second, without what is kept for control.
    allowed: u64,
    /// Those in which something went, by rising number.
    slots: VecDeque<Slot>,
    /// Bytes in all slots.
    used: u64,
    /// Of these, those of control.
    control: u64,
}

/// What went in one stretch of [`SLOT`].
#[derive(Clone, Copy, Debug)]
struct Slot {
    number: u64,
    len: u64,
    control_len: u64,
}

impl RollingLimit {
    /// Nothing has been sent yet.
    pub fn new(limit: BitsPerSec) -> Self {
        let mut rolling = Self { allowed: 0, slots: VecDeque::new(), used: 0, control: 0 };
        rolling.set_limit(limit);
        rolling
    }

    /// Another limit from now on; what went in the last second counts against it.
    pub fn set_limit(&mut self, limit: BitsPerSec) {
        let len = limit.0 / 8;
        self.allowed = len - len / CONTROL_SHARE;
    }

    /// What passes in the long run.
    pub fn rate(&self) -> BitsPerSec {
        BitsPerSec(self.allowed.saturating_mul(8))
    }

    /// When a message of so many bytes may pass; `None` is never. One of more than a second's worth does when nothing else
    /// went, and then nothing does for as many seconds.
    pub fn allows_at(&mut self, len: usize, now: Instant) -> Option<Instant> {
        self.forget(now);
        if self.allowed == 0 {
            return None;
        }
        let room = self.allowed.saturating_sub(len as u64);
        let (mut used, mut control, mut at) = (self.used, self.control, now);
        for slot in &self.slots {
            if used + control / CONTROL_AHEAD <= room {
                break;
            }
            (used, control) = (used - slot.len, control - slot.control_len);
            at = Instant::from_micros((slot.number + N_SLOTS) * SLOT);
        }
        Some(at)
    }

    /// Bytes of control in the last second.
    pub fn control_len(&self, now: Instant) -> u64 {
        let slot = now.as_micros() / SLOT;
        let lately = self.slots.iter().filter(|past| past.number + N_SLOTS > slot);
        lately.map(|past| past.control_len).sum()
    }

    /// Media of so many bytes goes.
    pub fn take(&mut self, len: usize, now: Instant) {
        let n_seconds = (len as u64).checked_div(self.allowed).unwrap_or(0);
        self.count(now.as_micros() / SLOT + n_seconds * N_SLOTS, len as u64, 0);
    }

    /// Control of so many bytes goes, whether there is room for it or not; media has to make up for it.
    pub fn take_control(&mut self, len: usize, now: Instant) {
        self.count(now.as_micros() / SLOT, len as u64, len as u64);
    }

    fn count(&mut self, number: u64, len: u64, control_len: u64) {
        self.used += len;
        self.control += control_len;
        match self.slots.back_mut() {
            Some(last) if last.number >= number => {
                (last.len, last.control_len) = (last.len + len, last.control_len + control_len);
            }
            _ => self.slots.push_back(Slot { number, len, control_len }),
        }
    }

    fn forget(&mut self, now: Instant) {
        let slot = now.as_micros() / SLOT;
        while let Some(old) = self.slots.front().copied().filter(|old| old.number + N_SLOTS <= slot) {
            (self.used, self.control) = (self.used - old.len, self.control - old.control_len);
            self.slots.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_second_exceeds_the_limit_and_what_may_go_in_it_may_go_at_once(
            limits in proptest::collection::vec(400_000u64..20_000_000, 2),
            steps in proptest::collection::vec((0u64..100_000, 1usize..16_500), 1..400),
        ) {
            let (mut now, mut sent) = (Instant::default(), Vec::<(Instant, usize)>::new());
            let mut rolling = RollingLimit::new(BitsPerSec(limits[0]));
            for (index, (wait, len)) in steps.into_iter().enumerate() {
                now += Duration::from_micros(wait);
                let limit = limits[index / 200];
                rolling.set_limit(BitsPerSec(limit));
                let in_last = |span: Duration| {
                    let last = sent.iter().filter(|(at, _)| now.since(*at) < span);
                    (last.map(|(_, len)| *len).sum::<usize>() + len) as u64 * 8
                };
                if rolling.allows_at(len, now) == Some(now) {
                    prop_assert!(in_last(Duration::from_secs(1)) <= limit);
                    rolling.take(len, now);
                    sent.push((now, len));
                } else {
                    // Two slots more than a second, and what is kept for control.
                    let slack = Duration::from_micros(1_000_000 + 2 * SLOT);
                    prop_assert!(in_last(slack) > limit - limit / CONTROL_SHARE - 8);
                }
            }
        }

        #[test]
        fn what_has_to_wait_passes_when_it_says_and_not_sooner(
            limit in 400_000u64..20_000_000,
            lens in proptest::collection::vec(1usize..16_500, 1..400),
        ) {
            let mut rolling = RollingLimit::new(BitsPerSec(limit));
            let mut now = Instant::default();
            for len in lens {
                let at = rolling.allows_at(len, now).expect("it is less than a second's worth");
                prop_assert!(at >= now);
                if at > now {
                    let before = Instant::from_micros(at.as_micros() - 1);
                    prop_assert!(rolling.allows_at(len, before) != Some(before));
                }
                now = at;
                prop_assert_eq!(rolling.allows_at(len, now), Some(now));
                rolling.take(len, now);
            }
        }
    }

    #[test]
    fn more_than_a_seconds_worth_takes_its_seconds_and_nothing_passes_a_limit_of_nothing() {
        let mut rolling = RollingLimit::new(BitsPerSec(80_000));
        rolling.take(35_000, Instant::default());
        let at = rolling.allows_at(35_000, Instant::default()).expect("it passes later");
        assert_eq!(at.since(Instant::default()).as_secs(), 4);
        assert_eq!(RollingLimit::new(BitsPerSec(0)).allows_at(1, Instant::default()), None);
    }

    #[test]
    fn media_leaves_room_for_as_much_control_as_there_was() {
        let limit = 8_000_000;
        let mut rolling = RollingLimit::new(BitsPerSec(limit));
        let mut sent: Vec<(u64, usize)> = Vec::new();
        // A third of the limit is control, evenly; media takes what it gets, five times a second.
        for millis in 0..5_000 {
            let now = Instant::from_micros(millis * 1_000);
            rolling.take_control(333, now);
            sent.push((millis, 333));
            while millis % 200 == 0 && rolling.allows_at(1_000, now) == Some(now) {
                rolling.take(1_000, now);
                sent.push((millis, 1_000));
            }
            let second = sent.iter().filter(|(at, _)| at + 1_000 > millis).map(|(_, len)| *len as u64 * 8);
            assert!(millis < 1_000 || second.sum::<u64>() <= limit, "at {millis} ms");
        }
    }

    #[test]
    fn control_goes_although_nothing_is_left_and_counts() {
        let mut rolling = RollingLimit::new(BitsPerSec(80_000));
        let now = Instant::default();
        rolling.take_control(20_000, now);
        let at = rolling.allows_at(1, now).expect("it passes later");
        assert!(at.since(now) >= Duration::from_secs(1));
    }
}
