//! Calendar months in UTC, by which providers bill.

use std::fmt;

use cardume_wire::WallTime;

const DAY_US: u64 = 24 * 60 * 60 * 1_000_000;
const FIRST_YEAR: u32 = 1970;

/// A calendar month in UTC, 1970 or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Month(u32);

impl Month {
    /// The month of this time.
    pub(super) fn of(time: WallTime) -> Self {
        let (mut month, mut days) = (Self(FIRST_YEAR * 12), time.0 / DAY_US);
        // A turn for each month since 1970: some hundreds.
        while days >= month.n_days() {
            days -= month.n_days();
            month = month.next();
        }
        month
    }

    /// Its number, larger for later ones: twelve times the year, and the months of that year before it.
    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// The month of this number; that of January 1970 for lower ones.
    pub(super) const fn from_number(number: u32) -> Self {
        let first = FIRST_YEAR * 12;
        Self(if number < first { first } else { number })
    }

    /// When the next one begins.
    pub(super) fn end(self) -> WallTime {
        let days: u64 = (FIRST_YEAR * 12..=self.0).map(|number| Self(number).n_days()).sum();
        WallTime(days * DAY_US)
    }

    const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    const fn year(self) -> u32 {
        self.0 / 12
    }

    const fn n_days(self) -> u64 {
        let year = self.year();
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        match self.0 % 12 + 1 {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

/// As ISO 8601 has it: `2026-11`.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year(), self.0 % 12 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;

    /// Times as `date -u -d @SECONDS` prints them.
    #[test]
    fn months_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01"),
            (951_782_399, "2000-02"),
            (951_868_799, "2000-02"),
            (951_868_800, "2000-03"),
            (1_709_251_199, "2024-02"),
            (1_709_251_200, "2024-03"),
            (1_767_225_599, "2025-12"),
            (1_767_225_600, "2026-01"),
            (4_107_542_400, "2100-03"),
        ];
        for (seconds, expect) in cases {
            assert_eq!(Month::of(WallTime(seconds * SECOND_US)).to_string(), expect, "{seconds}");
        }
    }

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let mut month = Month::of(WallTime(0));
        for _ in 0..12 * 200 {
            let end = month.end();
            assert_eq!(Month::of(WallTime(end.0 - 1)), month);
            assert_eq!(Month::of(end), month.next());
            assert_eq!(Month::from_number(month.number()), month);
            month = month.next();
        }
    }
}
