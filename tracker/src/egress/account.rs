//! The accountant of the month's egress: who may send, and what has to be on disk before.
//!
//! No clock, no disk: both are arguments. Bytes are only granted when the disk says already that they were sent, so a
//! process that dies forgets nothing; it may take for sent what was not, up to [`Account::step_len`].

use std::collections::BTreeMap;

use cardume_wire::WallTime;

use super::month::Month;

/// The most that may be asked for at once: well below half a step, so that a reservation always has room for it.
pub(super) const TAKE_LIMIT: u64 = 64 * 1024;
/// Part of the quota that is reserved on disk at once, and so what a crash costs at most: a thousandth.
const STEPS_PER_QUOTA: u64 = 1_000;
/// Not less than this, so that the disk is not written to all the time; (Wild guess.)
const STEP_MIN_LEN: u64 = 1024 * 1024;
/// Nor more: at 1 Gbit/s it lasts two seconds, in which a disk writes it down many times over.
const STEP_MAX_LEN: u64 = 256 * 1024 * 1024;
/// Below one part in so many of the quota the rest is paced.
const PACED_PART: u64 = 4;

/// What the store keeps: bytes that count as sent in a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) month: Month,
    pub(super) len: u64,
}

/// An answer to who wants to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// Send it: it is counted.
    Granted,
    /// Not before more is reserved on disk; see [`Account::wish`].
    NotReserved,
    /// Not in this month.
    Exhausted,
}

/// How a month stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) month: Month,
    pub(super) sent_len: u64,
    pub(super) rest_len: u64,
}

#[derive(Debug)]
pub(super) struct Account {
    quota_len: u64,
    /// All months that anything was sent in. The clock says which one counts, also when it is put back.
    months: BTreeMap<Month, Entry>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    sent_len: u64,
    /// What the disk says; not less than `sent_len`.
    reserved_len: u64,
}

impl Account {
    /// With what the disk says of earlier runs. All of it counts as sent.
    pub(super) fn open(quota_len: u64, kept: impl IntoIterator<Item = Kept>) -> Self {
        let entry = |kept: Kept| (kept.month, Entry { sent_len: kept.len, reserved_len: kept.len });
        Self { quota_len, months: kept.into_iter().map(entry).collect() }
    }

    /// The quota.
    pub(super) fn quota_len(&self) -> u64 {
        self.quota_len
    }

    /// Asks for `len` bytes, at most [`TAKE_LIMIT`].
    pub(super) fn take(&mut self, len: u64, now: WallTime) -> Take {
        let quota_len = self.quota_len;
        let entry = self.months.entry(Month::of(now)).or_default();
        let sent_len = entry.sent_len.saturating_add(len);
        if sent_len > quota_len {
            Take::Exhausted
        } else if sent_len > entry.reserved_len {
            Take::NotReserved
        } else {
            entry.sent_len = sent_len;
            Take::Granted
        }
    }

    /// What to write to disk now, so that nobody has to wait; then call [`Account::note_kept`].
    pub(super) fn wish(&self, now: WallTime) -> Option<Kept> {
        let month = Month::of(now);
        let Entry { sent_len, reserved_len } = self.entry(month);
        let len = sent_len.saturating_add(self.step_len()).min(self.quota_len);
        let is_short = reserved_len.saturating_sub(sent_len) < self.step_len() / 2;
        (is_short && len > reserved_len).then_some(Kept { month, len })
    }

    /// This is on disk.
    pub(super) fn note_kept(&mut self, kept: Kept) {
        let entry = self.months.entry(kept.month).or_default();
        entry.reserved_len = entry.reserved_len.max(kept.len);
    }

    /// Gives back what is reserved and was not sent: what to write to disk when the process ends. Nothing is granted
    /// after it without a new reservation.
    pub(super) fn settle(&mut self) -> Vec<Kept> {
        let mut kept = Vec::new();
        for (month, entry) in &mut self.months {
            if entry.reserved_len > entry.sent_len {
                entry.reserved_len = entry.sent_len;
                kept.push(Kept { month: *month, len: entry.sent_len });
            }
        }
        kept
    }

    /// How this month stands.
    pub(super) fn balance(&self, now: WallTime) -> Balance {
        let month = Month::of(now);
        let sent_len = self.entry(month).sent_len;
        Balance { month, sent_len, rest_len: self.quota_len.saturating_sub(sent_len) }
    }

    /// Bits per second at which the rest lasts for the rest of the month; `None` while more than a quarter of the quota
    /// is left, and all of it may be sent as fast as it is asked for.
    pub(super) fn pace(&self, now: WallTime) -> Option<u64> {
        let Balance { month, rest_len, .. } = self.balance(now);
        let left_us = month.end().0.saturating_sub(now.0).max(1);
        let pace = u128::from(rest_len) * 8 * 1_000_000 / u128::from(left_us);
        (rest_len <= self.quota_len / PACED_PART).then(|| u64::try_from(pace).unwrap_or(u64::MAX))
    }

    /// What is reserved at once.
    fn step_len(&self) -> u64 {
        (self.quota_len / STEPS_PER_QUOTA).clamp(STEP_MIN_LEN, STEP_MAX_LEN)
    }

    fn entry(&self, month: Month) -> Entry {
        self.months.get(&month).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR_US: u64 = 3_600_000_000;
    /// 2026-11-01T00:00:00Z.
    const NOVEMBER: WallTime = WallTime(1_793_491_200_000_000);

    /// An account whose wishes are all granted.
    fn take(account: &mut Account, len: u64, now: WallTime) -> Take {
        if let Some(wish) = account.wish(now) {
            account.note_kept(wish);
        }
        account.take(len, now)
    }

    #[test]
    fn nothing_is_granted_that_is_not_on_disk() {
        let mut account = Account::open(10_000_000, []);
        assert_eq!(account.take(1, NOVEMBER), Take::NotReserved);
        let wish = account.wish(NOVEMBER).unwrap();
        assert_eq!(wish.len, STEP_MIN_LEN);
        assert_eq!(account.take(1, NOVEMBER), Take::NotReserved, "it is not written yet");
        account.note_kept(wish);
        assert_eq!(account.take(TAKE_LIMIT, NOVEMBER), Take::Granted);
        assert_eq!(account.wish(NOVEMBER), None, "there is enough for now");
    }

    #[test]
    fn the_quota_is_the_end_until_the_next_month() {
        let mut account = Account::open(100_000, []);
        assert_eq!(take(&mut account, 60_000, NOVEMBER), Take::Granted);
        assert_eq!(take(&mut account, 40_001, NOVEMBER), Take::Exhausted);
        assert_eq!(take(&mut account, 40_000, NOVEMBER), Take::Granted);
        assert_eq!(take(&mut account, 1, NOVEMBER), Take::Exhausted);
        assert_eq!(account.pace(NOVEMBER), Some(0));
        let december = Month::of(NOVEMBER).end();
        assert_eq!(take(&mut account, 1, december), Take::Granted);
        assert_eq!(account.balance(december).rest_len, 99_999);
        assert_eq!(
            take(&mut account, 1, NOVEMBER),
            Take::Exhausted,
            "a clock that is put back earns nothing"
        );
    }

    #[test]
    fn the_last_quarter_is_paced_to_last_for_the_rest_of_the_month() {
        let quota = 4_000_000_000;
        let kept = |len| [Kept { month: Month::of(NOVEMBER), len }];
        assert_eq!(Account::open(quota, kept(2_999_999_999)).pace(NOVEMBER), None);
        // 1 GB over 30 days.
        assert_eq!(Account::open(quota, kept(3_000_000_000)).pace(NOVEMBER), Some(3086));
        let last_hour = WallTime(Month::of(NOVEMBER).end().0 - HOUR_US);
        assert_eq!(Account::open(quota, kept(3_000_000_000)).pace(last_hour), Some(2_222_222));
    }

    #[test]
    fn a_quota_that_was_lowered_below_what_is_spent_grants_nothing() {
        let mut account = Account::open(1_000_000, [Kept { month: Month::of(NOVEMBER), len: 5_000_000 }]);
        assert_eq!(account.wish(NOVEMBER), None);
        assert_eq!(account.take(1, NOVEMBER), Take::Exhausted);
        assert_eq!(account.balance(NOVEMBER).rest_len, 0);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(u64),
        /// The disk takes what the account wishes; false: the process dies between the write and its confirmation.
        Write(bool),
        Crash,
        Restart,
        /// The clock moves by so many hours, also back.
        Clock(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (1..=TAKE_LIMIT).prop_map(Step::Take),
            4 => Just(Step::Write(true)),
            1 => Just(Step::Write(false)),
            1 => Just(Step::Crash),
            1 => Just(Step::Restart),
            1 => (-800_i64..1200).prop_map(Step::Clock),
        ]
    }

    /// The reference: every byte that went out, and every byte that a crash made count, in a plain table by month.
    #[derive(Default)]
    struct Model {
        sent: BTreeMap<String, u64>,
        lost: BTreeMap<String, u64>,
        disk: BTreeMap<Month, u64>,
    }

    impl Model {
        fn kept(&self) -> Vec<Kept> {
            self.disk.iter().map(|(month, len)| Kept { month: *month, len: *len }).collect()
        }

        fn counted(&self, month: &str) -> u64 {
            self.sent.get(month).copied().unwrap_or(0) + self.lost.get(month).copied().unwrap_or(0)
        }

        /// The process dies: what the disk has more than was sent counts from now on.
        fn crash(&mut self, step_len: u64) {
            for (month, len) in &self.disk {
                let name = month.to_string();
                let lost = len - self.counted(&name);
                assert!(lost <= step_len, "a crash cost {lost} bytes, more than {step_len}");
                *self.lost.entry(name).or_default() += lost;
            }
        }
    }

    proptest! {
        #[test]
        fn the_quota_is_kept_through_restarts_crashes_and_clocks(
            quota_len in 100_000_u64..8_000_000,
            steps in proptest::collection::vec(step(), 1..400),
        ) {
            let (mut account, mut model) = (Account::open(quota_len, []), Model::default());
            let mut now = NOVEMBER;
            for step in steps {
                let month = Month::of(now).to_string();
                match step {
                    Step::Take(len) => {
                        let fits = model.counted(&month) + len <= quota_len;
                        match account.take(len, now) {
                            Take::Granted => *model.sent.entry(month.clone()).or_default() += len,
                            Take::NotReserved => prop_assert!(fits && account.wish(now).is_some(), "stuck"),
                            Take::Exhausted => prop_assert!(!fits, "{len} bytes refused that were left"),
                        }
                    }
                    Step::Write(is_confirmed) => {
                        let Some(wish) = account.wish(now) else { continue };
                        model.disk.insert(wish.month, wish.len);
                        if is_confirmed {
                            account.note_kept(wish);
                        } else {
                            model.crash(account.step_len());
                            account = Account::open(quota_len, model.kept());
                        }
                    }
                    Step::Crash => {
                        model.crash(account.step_len());
                        account = Account::open(quota_len, model.kept());
                    }
                    Step::Restart => {
                        for kept in account.settle() {
                            model.disk.insert(kept.month, kept.len);
                        }
                        account = Account::open(quota_len, model.kept());
                    }
                    Step::Clock(hours) => now = WallTime(now.0.saturating_add_signed(hours * HOUR_US.cast_signed())),
                }
                let balance = account.balance(now);
                let month = balance.month.to_string();
                prop_assert!(model.sent.values().all(|sent| *sent <= quota_len), "exceeded");
                prop_assert_eq!(balance.sent_len, model.counted(&month));
                prop_assert_eq!(balance.rest_len, quota_len - model.counted(&month));
            }
        }
    }
}
