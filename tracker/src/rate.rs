//! Bit rates as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A limit in bits per second, or none. As text: `30 Mbit/s`, `800 kbit/s`, `1.5 Gbit/s`, `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit(Option<u64>);

/// Text that is not a [`RateLimit`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a bit rate: write it like \"30 Mbit/s\", \"800 kbit/s\", \"1.5 Gbit/s\" or \"unlimited\""
)]
pub struct InvalidRate(String);

impl RateLimit {
    /// No limit.
    pub const UNLIMITED: Self = Self(None);

    /// A limit of this many bits per second.
    pub const fn new(bits_per_second: u64) -> Self {
        Self(Some(bits_per_second))
    }

    /// The limit in bits per second; `None` when there is none.
    pub const fn bits_per_second(self) -> Option<u64> {
        self.0
    }
}

impl FromStr for RateLimit {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let text = text.trim();
        if text == "unlimited" {
            return Ok(Self::UNLIMITED);
        }
        let invalid = || InvalidRate(text.to_owned());
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (number, unit) = text.split_at(unit_at);
        let factor = match unit.trim() {
            "bit/s" => 1.0,
            "kbit/s" => 1e3,
            "Mbit/s" => 1e6,
            "Gbit/s" => 1e9,
            _ => return Err(invalid()),
        };
        let bits = number.parse::<f64>().map_err(|_| invalid())? * factor;
        // Below a byte per second nothing moves; above 2^53 the number is not exact.
        if !(8.0..=9e15).contains(&bits) {
            return Err(invalid());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in the range checked above"
        )]
        Ok(Self(Some(bits.round() as u64)))
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("unlimited"),
            Some(bits) if bits % 1_000_000 == 0 => write!(f, "{} Mbit/s", bits / 1_000_000),
            Some(bits) if bits % 1_000 == 0 => write!(f, "{} kbit/s", bits / 1_000),
            Some(bits) => write!(f, "{bits} bit/s"),
        }
    }
}

impl<'de> Deserialize<'de> for RateLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<u64>) {
        let rate: RateLimit = text.parse().unwrap();
        assert_eq!(rate.bits_per_second(), expect, "{text}");
    }

    #[test]
    fn rates_are_read_in_decimal_units() {
        check("30 Mbit/s", Some(30_000_000));
        check("1.5Gbit/s", Some(1_500_000_000));
        check(" 800 kbit/s ", Some(800_000));
        check("9600 bit/s", Some(9_600));
        check("unlimited", None);
    }

    #[test]
    fn a_rate_without_unit_or_out_of_range_is_refused() {
        for text in
            ["", "30", "30 MB/s", "-3 Mbit/s", "0 bit/s", "1.2.3 Mbit/s", "99999999999 Gbit/s", "Mbit/s"]
        {
            assert!(text.parse::<RateLimit>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_prints_as_it_is_written() {
        for text in ["30 Mbit/s", "1500 kbit/s", "9601 bit/s", "unlimited"] {
            assert_eq!(text.parse::<RateLimit>().unwrap().to_string(), text);
        }
    }
}
