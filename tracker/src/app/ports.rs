//! Where a tracker listens. All of it is opened before anything begins.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;
use crate::config::Config;
use crate::http::tls::Tls;
use crate::http::{self, Entrance, Port};

/// What is listened on.
pub(super) struct Ports {
    http: TcpListener,
    https: Option<Port>,
    rtmp: TcpListener,
    pub(super) addresses: Addresses,
}

/// Where a tracker can be reached, with the ports that the system chose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) http: SocketAddr,
    pub(super) https: Option<SocketAddr>,
    pub(super) rtmp: SocketAddr,
}

impl Ports {
    /// Listens as it is configured.
    pub(super) async fn open(
        config: &Config,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Self, StartError> {
        let http = listen(config.http, "HTTP", "--http").await?;
        let https = match (config.https, config.certificate()) {
            (Some(address), Some(certificate)) => {
                let tls = Some(Tls::open(certificate, stop.clone(), tasks)?);
                Some(Port { listener: listen(address, "HTTPS", "--https").await?, tls })
            }
            _ => None,
        };
        let rtmp = listen(config.rtmp, "RTMP", "--rtmp").await?;
        let addresses = Addresses {
            http: address_of(&http, config.http),
            https: config.https.zip(https.as_ref()).map(|(asked, port)| address_of(&port.listener, asked)),
            rtmp: address_of(&rtmp, config.rtmp),
        };
        Ok(Self { http, https, rtmp, addresses })
    }

    /// Serves the routes at the ports of HTTP and HTTPS until `stop`. Returns the port of RTMP.
    pub(super) fn serve(
        self,
        mut routes: Router,
        entrance: &Entrance,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> TcpListener {
        let serve = |port, routes| {
            tasks.spawn(http::serve(port, routes, entrance.clone(), stop.clone(), tasks.clone()));
        };
        if let (Some(port), Some(address)) = (self.https, self.addresses.https) {
            serve(port, routes.clone());
            routes = http::pages_to_https(routes, address.port());
        }
        serve(Port { listener: self.http, tls: None }, routes);
        self.rtmp
    }
}

async fn listen(
    address: SocketAddr,
    purpose: &'static str,
    flag: &'static str,
) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, purpose, flag, source })
}

/// With the port that the system chose for port 0.
fn address_of(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}
