//! Who makes connections: ICE servers and addresses of this machine, given to each.

use std::net::IpAddr;
use std::sync::Arc;

use cardume_viewer::Connector;
use cardume_wire::PeerId;
use cardume_wire::signal::IceServer;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use webrtc::peer_connection::RTCIceServer;

use crate::connection::{NativeConnection, Start, Surroundings};
use crate::link::Channel;
use crate::report::Report;

/// Makes connections for one viewer.
pub(crate) struct NativeConnector {
    surroundings: Arc<Surroundings>,
    reports: mpsc::Sender<Report>,
    tasks: TaskTracker,
}

impl NativeConnector {
    /// Connections over these addresses of this machine, or all if there are none, whose tasks are `tasks`.
    pub(crate) fn new(addresses: &[IpAddr], reports: mpsc::Sender<Report>, tasks: TaskTracker) -> Self {
        let surroundings = Arc::new(Surroundings::new(addresses));
        Self { surroundings, reports, tasks }
    }

    fn begin(&self, peer: PeerId, start: Start) -> NativeConnection {
        NativeConnection::begin(peer, start, (self.surroundings.clone(), self.reports.clone()), &self.tasks)
    }
}

impl Connector for NativeConnector {
    type Connection = NativeConnection;
    type Channel = Channel;

    fn set_ice_servers(&mut self, servers: &[IceServer]) {
        let server = |server: &IceServer| RTCIceServer {
            urls: server.urls.clone(),
            username: server.username.clone().unwrap_or_default(),
            credential: server.credential.clone().unwrap_or_default(),
        };
        let ice_servers = servers.iter().map(server).collect();
        self.surroundings = Arc::new(self.surroundings.with_ice_servers(ice_servers));
    }

    fn offer(&mut self, peer: PeerId) -> Option<NativeConnection> {
        Some(self.begin(peer, Start::Offer))
    }

    fn answer(&mut self, peer: PeerId, sdp: &str) -> Option<NativeConnection> {
        Some(self.begin(peer, Start::Answer(sdp.to_owned())))
    }
}
