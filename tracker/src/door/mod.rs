//! Who is at the door: the network address behind a request, and whether the page that it comes from may be here.
//!
//! A proxy in front of the tracker hides who asks, and says it in a header that anybody else could write too. So the header is
//! believed only as far as trusted proxies wrote it.

mod forwarded;
mod origins;
mod proxies;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

use crate::config::Config;

pub use origins::{InvalidOrigin, Origin};
pub use proxies::{InvalidProxy, InvalidProxyHeader, Proxy, ProxyHeader};

/// What the operator says about callers.
#[derive(Debug, Default)]
struct Rules {
    trusted_proxies: Vec<Proxy>,
    proxy_header: ProxyHeader,
    allowed_origins: Vec<Origin>,
    /// The tracker's own.
    public_origin: Option<Origin>,
    public_url: Option<String>,
    metrics_token: Option<blake3::Hash>,
}

/// Recognises callers; a handle that is cheap to clone, whose rules may change.
#[derive(Debug, Clone, Default)]
pub struct Door(Arc<RwLock<Arc<Rules>>>);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The address that limits hold for: the caller's own, or that of the last proxy that is not trusted.
    pub address: IpAddr,
    /// Whether a proxy that is not trusted may stand between.
    is_hidden: bool,
}

/// Why somebody may not read the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// There is a token, and it was not named.
    #[error("name the metrics_token of the configuration: Authorization: Bearer TOKEN")]
    NoToken,
    /// There is no token, and the caller comes from elsewhere.
    #[error("without a metrics_token in the configuration only loopback and private addresses are told")]
    Far,
}

impl Door {
    /// With the rules of this configuration.
    pub fn new(config: &Config) -> Self {
        let door = Self::default();
        door.adopt(config);
        door
    }

    /// Takes over the rules of another configuration. Who is inside stays.
    pub fn adopt(&self, config: &Config) {
        let rules = Rules {
            trusted_proxies: config.trusted_proxies.clone(),
            proxy_header: config.proxy_header,
            allowed_origins: config.allowed_origins.clone(),
            public_origin: config.public_url.as_deref().and_then(Origin::of_url),
            public_url: config.public_url.clone(),
            metrics_token: config.metrics_token.as_ref().map(|token| blake3::hash(token.as_bytes())),
        };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Who is behind a request on a connection with this address.
    pub fn recognise(&self, connected: IpAddr, headers: &HeaderMap) -> Caller {
        let (rules, connected) = (self.rules(), connected.to_canonical());
        let address = match rules.proxy_header {
            ProxyHeader::XForwardedFor => rules.walk(connected, forwarded::x_forwarded_for(headers)),
            ProxyHeader::Forwarded => rules.walk(connected, forwarded::forwarded(headers)),
        };
        let marks = [&header::FORWARDED, &header::VIA, &forwarded::X_FORWARDED_FOR];
        let is_through_proxy = marks.iter().any(|name| headers.contains_key(*name));
        Caller { address, is_hidden: is_through_proxy && !rules.trusts(connected) }
    }

    /// Whether connections from this address are a trusted proxy's, and so those of many callers.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.rules().trusts(address.to_canonical())
    }

    /// Whether the page that a request comes from may open sockets here. Programs other than browsers name none, and may.
    pub fn admits(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let rules = self.rules();
        if rules.allowed_origins.iter().any(Origin::is_any) {
            return true;
        }
        let Ok(origin) = origin.to_str() else { return false };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| uri.authority().map(Authority::as_str));
        let is_own = origin.split_once("://").is_some_and(|(_, page)| Some(page) == host);
        is_own || rules.public_origin.iter().chain(&rules.allowed_origins).any(|known| known.matches(origin))
    }

    /// How the public reaches the tracker, as far as its operator says.
    pub fn public_url(&self) -> Option<String> {
        self.rules().public_url.clone()
    }

    /// Whether the caller may read the metrics.
    ///
    /// # Errors
    /// Why not.
    pub fn check_metrics(&self, caller: Caller, headers: &HeaderMap) -> Result<(), Stranger> {
        let Some(token) = self.rules().metrics_token else {
            let is_near = !caller.is_hidden && is_nearby(caller.address);
            return is_near.then_some(()).ok_or(Stranger::Far);
        };
        let named = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let named = named.and_then(|value| value.split_once(' '));
        let named = named.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        // `blake3::Hash` compares in constant time.
        let is_right = named.is_some_and(|(_, named)| blake3::hash(named.trim().as_bytes()) == token);
        is_right.then_some(()).ok_or(Stranger::NoToken)
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Rules {
    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|proxy| proxy.contains(address))
    }

    /// Goes back from proxy to proxy, as long as they are trusted. `hops` are the nearest first; `None` is unreadable.
    fn walk(&self, connected: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut caller = connected;
        for hop in hops {
            let Some(hop) = hop.filter(|_| self.trusts(caller)) else { break };
            caller = hop.to_canonical();
        }
        caller
    }
}

/// Loopback, private (RFC 1918, RFC 4193) and link-local addresses: this machine and its neighbours.
pub fn is_nearby(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
