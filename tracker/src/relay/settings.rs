//! What the operator writes about STUN and the relay.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// Where STUN is served, or not at all. As text: an address with its port, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StunAddress(Option<SocketAddr>);

/// Text that is not a [`StunAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address for STUN: write it like \"0.0.0.0:3478\" or \"off\"")]
pub struct InvalidStun(String);

impl StunAddress {
    /// `None` is off.
    pub const fn address(self) -> Option<SocketAddr> {
        self.0
    }
}

impl FromStr for StunAddress {
    type Err = InvalidStun;

    fn from_str(text: &str) -> Result<Self, InvalidStun> {
        match text.trim() {
            "off" => Ok(Self(None)),
            text => text.parse().map(|address| Self(Some(address))).map_err(|_| InvalidStun(text.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for StunAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer)
    }
}

/// Ports that the relay gives, the first and the last included. As text: `49152-57343`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Text that is not a [`PortRange`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of ports: write it like \"49152-57343\", with ports from 1024 on")]
pub struct InvalidPorts(String);

impl PortRange {
    /// From the first to the last.
    pub fn range(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    /// One at least.
    pub fn n_ports(self) -> usize {
        usize::from(self.last - self.first) + 1
    }
}

impl FromStr for PortRange {
    type Err = InvalidPorts;

    fn from_str(text: &str) -> Result<Self, InvalidPorts> {
        let invalid = || InvalidPorts(text.to_owned());
        let (first, last) = text.split_once('-').ok_or_else(invalid)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| invalid());
        let (first, last) = (port(first)?, port(last)?);
        if (1024..=last).contains(&first) { Ok(Self { first, last }) } else { Err(invalid()) }
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer)
    }
}

fn read<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(deserializer: D) -> Result<T, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stun_is_at_an_address_or_off() {
        let address = |text: &str| text.parse::<StunAddress>().unwrap().address();
        assert_eq!(address("0.0.0.0:3478"), Some("0.0.0.0:3478".parse().unwrap()));
        assert_eq!(address("[::]:3478"), Some("[::]:3478".parse().unwrap()));
        assert_eq!(address("off"), None);
        for text in ["", "3478", "on", "0.0.0.0"] {
            assert!(text.parse::<StunAddress>().unwrap_err().to_string().contains("\"off\""), "{text}");
        }
    }

    #[test]
    fn ports_are_a_range_above_those_of_services() {
        let ports: PortRange = "49152-49160".parse().unwrap();
        assert_eq!((ports.range(), ports.n_ports()), (49152..=49160, 9));
        for text in ["", "49152", "49160-49152", "80-90", "1-2-3", "1024-70000"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
