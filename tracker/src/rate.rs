//! Bit rates and amounts of data as people write them.

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
        let units = [("bit/s", 1.0), ("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9)];
        // Below a byte per second nothing moves.
        parse(text, &units, 8.0).map(Self).map_err(|Malformed| InvalidRate(text.trim().to_owned()))
    }
}

/// A limit in bytes, or none. As text: `500 GB`, `1.5 TB`, `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteQuota(Option<u64>);

/// Text that is not a [`ByteQuota`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an amount of data: write it like \"500 GB\", \"1.5 TB\" or \"unlimited\"; 1 MB is the least"
)]
pub struct InvalidQuota(String);

impl ByteQuota {
    /// No limit.
    pub const UNLIMITED: Self = Self(None);

    /// A limit of this many bytes.
    pub const fn new(len: u64) -> Self {
        Self(Some(len))
    }

    /// The limit in bytes; `None` when there is none.
    pub const fn bytes(self) -> Option<u64> {
        self.0
    }
}

impl FromStr for ByteQuota {
    type Err = InvalidQuota;

    fn from_str(text: &str) -> Result<Self, InvalidQuota> {
        let units = [("MB", 1e6), ("GB", 1e9), ("TB", 1e12)];
        parse(text, &units, 1e6).map(Self).map_err(|Malformed| InvalidQuota(text.trim().to_owned()))
    }
}

impl<'de> Deserialize<'de> for ByteQuota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

struct Malformed;

/// A number with one of these units, at least `min`; `None` is "unlimited".
fn parse(text: &str, units: &[(&str, f64)], min: f64) -> Result<Option<u64>, Malformed> {
    let text = text.trim();
    if text == "unlimited" {
        return Ok(None);
    }
    parse_number(text, units, min).map(Some).ok_or(Malformed)
}

fn parse_number(text: &str, units: &[(&str, f64)], min: f64) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit_at);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    let value = number.parse::<f64>().ok()? * factor;
    // Above 2^53 the number is not exact.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in the range checked here")]
    (min..=9e15).contains(&value).then_some(value.round() as u64)
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
    fn amounts_of_data_are_read_in_decimal_units() {
        let len = |text: &str| text.parse::<ByteQuota>().unwrap().bytes();
        assert_eq!(len("500 GB"), Some(500_000_000_000));
        assert_eq!(len("1.5TB"), Some(1_500_000_000_000));
        assert_eq!(len("unlimited"), None);
        for text in ["", "500", "500 Gbit", "0 GB", "0.5 MB", "-1 TB", "99999 TB", "TB"] {
            let error = text.parse::<ByteQuota>().unwrap_err().to_string();
            assert!(error.contains("500 GB"), "{text}: {error}");
        }
    }

    #[test]
    fn a_rate_prints_as_it_is_written() {
        for text in ["30 Mbit/s", "1500 kbit/s", "9601 bit/s", "unlimited"] {
            assert_eq!(text.parse::<RateLimit>().unwrap().to_string(), text);
        }
    }
}
