//! The accept loop.
//!
//! Our own and not `axum::serve`: that one drops the request of a client that closes its sending side after the last
//! byte, as ffmpeg does with uploads, before the handler has read it. `half_close` keeps it.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::{Addresses, Slot};
use super::connection::Connection;
use super::tls::Tls;
use crate::door::Door;
use crate::metrics::{Refusal, Refusals};
use crate::places::{Place, Places};

/// Time for a request's header, and for the next request on a kept connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept: the process has run out of file descriptors, others must close some first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that the kernel may hold unsent for one socket.
///
/// Small, so that what waits for a slow viewer waits where it is counted, and `swarm` sees the backlog: eight blocks.
const UNSENT_LIMIT: u32 = 128 * 1024;

/// Connections for each socket that one address may have: a page opens some to load itself, and keeps them a while.
const CONNECTIONS_PER_SOCKET: u32 = 4;
/// What is sent and not taken for so long ends the connection: whoever reads at all reads something in a minute.
const UNREAD_TIMEOUT: Duration = Duration::from_mins(1);
/// How often a silent HTTP/2 connection is asked whether it lives, and how long it has to answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Who may connect.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// All connections.
    pub connections: Places,
    /// Those of each network address; trusted proxies come with many callers, and are not counted.
    addresses: Addresses,
    door: Door,
    refusals: Refusals,
}

impl Entrance {
    /// For so many connections, of callers that may have so many sockets each.
    pub fn new(connection_limit: u32, address_limit: u32, door: Door, refusals: Refusals) -> Self {
        let addresses = Addresses::new(address_limit.saturating_mul(CONNECTIONS_PER_SOCKET));
        Self { connections: Places::new(connection_limit), addresses, door, refusals }
    }

    /// Changes both limits. Who is in stays.
    pub fn set_limits(&self, connection_limit: u32, address_limit: u32) {
        self.connections.set_limit(connection_limit);
        self.addresses.set_limit(address_limit.saturating_mul(CONNECTIONS_PER_SOCKET));
    }

    fn let_in(&self, address: IpAddr) -> Option<Ticket> {
        let Some(place) = self.connections.take() else {
            tracing::warn!("a connection is turned away: there are as many as connection_limit");
            self.refusals.count(Refusal::Connections);
            return None;
        };
        if self.door.trusts(address) {
            return Some(Ticket { _place: place, _slot: None });
        }
        let Some(slot) = self.addresses.take(address) else {
            tracing::warn!(%address, "a connection is turned away: the address has as many as it may");
            self.refusals.count(Refusal::AddressConnections);
            return None;
        };
        Some(Ticket { _place: place, _slot: Some(slot) })
    }
}

/// The right to one connection.
#[derive(Debug)]
pub(super) struct Ticket {
    _place: Place,
    _slot: Option<Slot>,
}

/// Where connections come in.
pub struct Port {
    /// What is listened on.
    pub listener: TcpListener,
    /// What makes HTTPS of them; `None` for plain HTTP.
    pub tls: Option<Tls>,
}

/// Serves the routes until `stop`; then takes no more connections, and lets those that are there finish.
pub async fn serve(
    port: Port,
    routes: Router,
    entrance: Entrance,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = port.listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept connections: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(ticket) = entrance.let_in(address.ip()) else { continue };
        tune(&stream);
        let (tls, stop) = (port.tls.clone(), stop.clone());
        let routes = routes.clone().layer(Extension(ConnectInfo(address)));
        tasks.spawn(async move {
            let connection = stop.run_until_cancelled(Connection::open(stream, tls.as_ref(), ticket)).await;
            if let Some(connection) = connection.flatten() {
                speak(connection, routes, stop).await;
            }
        });
    }
}

/// Best effort: a socket without these options works, with more latency.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let socket = socket2::SockRef::from(stream);
        let _ = socket.set_tcp_notsent_lowat(UNSENT_LIMIT);
        // The kernel does the watching, so that nothing has to be done for each message.
        let _ = socket.set_tcp_user_timeout(Some(UNREAD_TIMEOUT));
    }
}

async fn speak(connection: Connection, routes: Router, stop: CancellationToken) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().half_close(true).timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let service = TowerToHyperService::new(routes);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(connection), service);
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!("connection ended: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_ends_connections_whose_other_side_does_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream);
        assert_eq!(socket2::SockRef::from(&stream).tcp_user_timeout().unwrap(), Some(UNREAD_TIMEOUT));
    }

    #[test]
    fn one_address_gets_four_connections_for_each_socket_and_a_trusted_proxy_all() {
        let config = crate::config::Config::from_toml("trusted_proxies = [\"198.51.100.9\"]").unwrap();
        let refusals = Refusals::default();
        let entrance = Entrance::new(10, 1, Door::new(&config), refusals.clone());
        let enter = |address: &str, n: usize| -> Vec<_> {
            (0..n).filter_map(|_| entrance.let_in(address.parse().unwrap())).collect()
        };
        let crowd = enter("198.51.100.7", 5);
        assert_eq!((crowd.len(), refusals.n(Refusal::AddressConnections)), (4, 1));
        let proxy = enter("198.51.100.9", 7);
        assert_eq!((proxy.len(), refusals.n(Refusal::Connections)), (6, 1));
        drop(crowd);
        assert_eq!(enter("198.51.100.7", 1).len(), 1);
    }
}
