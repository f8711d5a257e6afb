//! Proxies that are trusted to say whom they serve, and how they say it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;

/// An address or a network of trusted proxies, such as `10.0.0.5` or `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Proxy(IpNet);

/// Text that is no [`Proxy`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address or network: write it like \"10.0.0.5\", \"10.0.0.0/8\" or \"2001:db8::/32\"")]
pub struct InvalidProxy(String);

impl Proxy {
    /// Whether this address is one of them. An IPv4 address in IPv6 notation is to be made an IPv4 one before.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for Proxy {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let alone = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical())).ok();
        text.parse().ok().or_else(alone).map(Self).ok_or_else(|| InvalidProxy(text.to_owned()))
    }
}

impl TryFrom<String> for Proxy {
    type Error = InvalidProxy;

    fn try_from(text: String) -> Result<Self, InvalidProxy> {
        text.parse()
    }
}

/// The header in which trusted proxies name whom they serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, of nearly all of them.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Text that is no [`ProxyHeader`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no header that is understood here: it is \"x-forwarded-for\" or \"forwarded\"")]
pub struct InvalidProxyHeader(String);

impl FromStr for ProxyHeader {
    type Err = InvalidProxyHeader;

    fn from_str(text: &str) -> Result<Self, InvalidProxyHeader> {
        match text.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err(InvalidProxyHeader(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ProxyHeader {
    type Error = InvalidProxyHeader;

    fn try_from(text: String) -> Result<Self, InvalidProxyHeader> {
        text.parse()
    }
}

impl fmt::Display for ProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        })
    }
}
