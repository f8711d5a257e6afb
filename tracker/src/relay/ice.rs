//! The STUN and TURN servers that a viewer is told of: those that the operator named, and the tracker itself.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use cardume_wire::PeerId;
use cardume_wire::signal::IceServer;

use super::credentials::Credentials;
use crate::config::{Config, authority_host};

/// Says what each viewer is told; a handle that is cheap to clone. Who has joined keeps what it was told.
#[derive(Debug, Clone, Default)]
pub struct IceServers {
    told: Arc<RwLock<Arc<Told>>>,
    own: Option<Own>,
}

/// What the operator says, and may change.
#[derive(Debug, Default)]
struct Told {
    configured: Vec<IceServer>,
    /// Name or address under which viewers reach the tracker's own server; `None` is the one under which they reached the tracker.
    host: Option<String>,
}

/// The tracker's own server.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) port: u16,
    /// For its relay, if it has one.
    pub(super) credentials: Option<Credentials>,
}

impl IceServers {
    /// Those of the configuration, and the tracker itself.
    pub(super) fn new(config: &Config, own: Option<Own>) -> Self {
        let servers = Self { told: Arc::default(), own };
        servers.adopt(config);
        servers
    }

    /// From now on those of another configuration.
    pub(crate) fn adopt(&self, config: &Config) {
        let host = config.relay_address.map(as_host).or_else(|| config.public_host().map(str::to_owned));
        let told = Told { configured: config.ice_servers.clone(), host };
        *self.told.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(told);
    }

    /// For a viewer that reached the tracker under this authority (`tv.example.org:8080`), with credentials that are good from
    /// `now` on, in seconds since 1970.
    pub fn for_viewer(&self, peer: PeerId, authority: Option<&str>, now: u32) -> Vec<IceServer> {
        let told = Arc::clone(&self.told.read().unwrap_or_else(PoisonError::into_inner));
        let mut servers = told.configured.clone();
        let Some(own) = &self.own else { return servers };
        let host =
            told.host.as_deref().or_else(|| authority.and_then(authority_host).filter(|host| !is_here(host)));
        if let Some(host) = host {
            servers.extend(own.describe(host, peer, now));
        }
        servers
    }
}

impl Own {
    fn describe(&self, host: &str, peer: PeerId, now: u32) -> Vec<IceServer> {
        let port = self.port;
        let stun = IceServer { urls: vec![format!("stun:{host}:{port}")], username: None, credential: None };
        let turn = self.credentials.as_ref().map(|credentials| {
            let (username, credential) = credentials.mint(peer, now);
            let urls = ["udp", "tcp"].map(|transport| format!("turn:{host}:{port}?transport={transport}"));
            IceServer { urls: urls.into(), username: Some(username), credential: Some(credential) }
        });
        [Some(stun), turn].into_iter().flatten().collect()
    }
}

/// An address as it stands in the address of a server.
fn as_host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// A viewer on this machine, or a proxy that does not pass on how it was called: this is no name for anybody else, and viewers on
/// one machine need no server.
fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId::new(42);

    fn urls(host: Option<&str>, authority: Option<&str>) -> Vec<String> {
        let own = Own { port: 3478, credentials: Some(Credentials::new([1; 32])) };
        let text = host.map(|host| format!("public_url = \"https://{host}:8443/\"")).unwrap_or_default();
        let servers = IceServers::new(&Config::from_toml(&text).unwrap(), Some(own));
        servers.for_viewer(PEER, authority, 0).into_iter().flat_map(|server| server.urls).collect()
    }

    #[test]
    fn the_tracker_is_where_viewers_reached_it() {
        let expected = [
            "stun:tv.example.org:3478",
            "turn:tv.example.org:3478?transport=udp",
            "turn:tv.example.org:3478?transport=tcp",
        ];
        assert_eq!(urls(None, Some("tv.example.org:8080")), expected);
        assert_eq!(urls(Some("tv.example.org"), Some("proxy.internal")), expected);
        assert_eq!(urls(None, Some("[2001:db8::1]"))[0], "stun:[2001:db8::1]:3478");
    }

    #[test]
    fn viewers_on_the_same_machine_are_told_of_nothing() {
        for authority in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "[::ffff:127.0.0.1]"] {
            assert!(urls(None, Some(authority)).is_empty(), "{authority}");
        }
        assert!(urls(None, None).is_empty());
    }
}
