//! STUN and TURN (RFC 8489, RFC 8656), so that viewers behind NATs reach each other.
//!
//! STUN tells a viewer its public address: enough for most pairs. Where it is not, as between two symmetric NATs or where UDP is
//! blocked, the relay passes datagrams on, if the operator lets it; what it sends counts in the egress budget.
//!
//! [`machine`] and [`turn`] decide, without sockets; [`sockets`] and [`connection`] perform.
//!
//! Strangers cost little: an answer to one is hardly longer than what asked for it, each address gets so many, and nothing is kept
//! of them. Viewers have quotas. Nobody reaches the operator's own network through the relay: see [`reach`].

mod allocation;
mod connection;
mod credentials;
mod flow;
mod frame;
pub mod fuzzing;
mod ice;
mod machine;
mod quota;
mod reach;
mod settings;
mod sockets;
mod stun;
#[cfg(test)]
mod tests;
mod turn;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, UdpSocket};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::egress::Relayed;
use crate::http::Addresses;
pub use credentials::{CREDENTIAL_LIFETIME_SECONDS, Credentials};
pub use ice::IceServers;
pub use settings::{InvalidPorts, InvalidStun, PortRange, StunAddress};

/// The longest datagram that passes, and the longest frame of a connection: WebRTC's have 1,300 bytes at most.
const DATAGRAM_LEN_LIMIT: usize = 2048;

/// How a client speaks to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Transport {
    Udp,
    Tcp,
}

/// Whoever speaks to the relay from one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client {
    transport: Transport,
    address: SocketAddr,
}

impl Client {
    fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, address: SocketAddr::new(address.ip().to_canonical(), address.port()) }
    }
}

/// When something happens, by both clocks.
#[derive(Debug, Clone, Copy)]
struct Moment {
    now: Instant,
    /// Seconds since 1970.
    unix: u32,
}

/// What the relay needs of the tracker.
pub(crate) struct Ties {
    pub(crate) egress: Arc<Relayed>,
    pub(crate) credentials: Credentials,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// Why STUN or the relay does not start.
#[derive(Debug, thiserror::Error)]
pub enum NoRelay {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address} for STUN; stop what else listens there (as coturn does), choose another address with --stun, \
         or turn it off with --stun off"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It is not known where peers reach the relay.
    #[error("cannot find out this machine's public address for the relay; set relay_address to it")]
    Address(#[source] io::Error),
}

/// A STUN and TURN server that runs until the tracker goes down.
#[derive(Clone)]
pub struct Relay {
    address: Option<SocketAddr>,
    ice_servers: IceServers,
}

impl Relay {
    /// Listens as it is configured, if it is.
    ///
    /// # Errors
    /// When the address cannot be listened on, or it is not known where peers reach the relay.
    pub(crate) async fn start(config: &Config, ties: Ties) -> Result<Self, NoRelay> {
        let Some(asked) = config.stun.address() else {
            return Ok(Self { address: None, ice_servers: IceServers::new(config, None) });
        };
        let taken = |source| NoRelay::Listen { address: asked, source };
        let clients = UdpSocket::bind(asked).await.map_err(taken)?;
        let address = clients.local_addr().map_err(taken)?;
        let mut machine = machine::Machine::new(Instant::now());
        let mut own = ice::Own { port: address.port(), credentials: None };
        let mut listener = None;
        if config.relay {
            let terms = terms(config, relay_address(config, address.ip()).await.map_err(NoRelay::Address)?);
            machine = machine.with_relay(terms, ties.credentials.clone());
            own.credentials = Some(ties.credentials);
            listener = Some(TcpListener::bind(address).await.map_err(taken)?);
        }
        let shared = Arc::new(sockets::Shared {
            machine: Mutex::new(machine),
            clients,
            bind_address: address.ip(),
            ports: config.relay_ports.range(),
            egress: ties.egress,
            stop: ties.stop,
            tasks: ties.tasks.clone(),
        });
        if let Some(listener) = listener {
            let (limit, addresses) =
                (config.relay_ports.n_ports(), Addresses::new(config.relay_address_limit));
            ties.tasks.spawn(connection::serve_connections(Arc::clone(&shared), listener, limit, addresses));
        }
        ties.tasks.spawn(sockets::serve_datagrams(shared));
        Ok(Self { address: Some(address), ice_servers: IceServers::new(config, Some(own)) })
    }

    /// Where it listens; `None` when it is off.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// What viewers are told.
    pub fn ice_servers(&self) -> &IceServers {
        &self.ice_servers
    }
}

fn terms(config: &Config, address: IpAddr) -> turn::Terms {
    let limit = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    turn::Terms {
        address,
        viewer_limit: limit(config.relay_viewer_limit),
        address_limit: limit(config.relay_address_limit),
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact beyond 2^53")]
        rate: config.relay_rate.bits_per_second().map(|bits| bits as f64 / 8.0),
        is_private_allowed: config.relay_private,
    }
}

/// Where peers send what is to be relayed: as configured, else where the server listens, else where `public_url` leads, else where
/// this machine sends from.
async fn relay_address(config: &Config, listens_on: IpAddr) -> io::Result<IpAddr> {
    if let Some(address) = config.relay_address {
        return Ok(address);
    }
    if !listens_on.is_unspecified() {
        return Ok(listens_on);
    }
    let mut found = None;
    if let Some(host) = config.public_host() {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = tokio::net::lookup_host((host, 0)).await;
        found = addresses.ok().and_then(|mut all| all.find(|one| one.is_ipv4() || listens_on.is_ipv6()));
    }
    let address = match found {
        Some(found) => found.ip().to_canonical(),
        None => own_address(listens_on).await?,
    };
    if reach::is_private(address) && !config.relay_private {
        tracing::warn!(%address, "viewers elsewhere cannot reach the relay; set relay_address to the public address");
    }
    Ok(address)
}

/// What this machine has where it would send to the public internet. Nothing is sent.
async fn own_address(listens_on: IpAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((listens_on, 0)).await?;
    // Addresses for documentation, which are routed as all others are (RFC 5737, RFC 3849).
    let anywhere: IpAddr = match listens_on {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1).into(),
    };
    socket.connect((anywhere, 9)).await?;
    Ok(socket.local_addr()?.ip())
}
