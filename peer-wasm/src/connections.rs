//! Connections to all neighbours. They live in the window, since workers have no `RTCPeerConnection`; what is asked of them
//! and heard of them could be messages between threads.

use cardume_viewer::Connector;
use cardume_wire::PeerId;
use cardume_wire::signal::IceServer;
use js_sys::{Array, JsString};
use web_sys::{RtcConfiguration, RtcDataChannel, RtcIceServer};

use crate::connection::{Connection, ConnectionEvent};
use crate::listener::Notify;

pub use cardume_viewer::ConnectionCommand;

/// All connections of one viewer. Dropping them closes them at once.
pub type Connections = cardume_viewer::Connections<BrowserConnector>;

/// Makes `RTCPeerConnection`s.
pub struct BrowserConnector {
    configuration: RtcConfiguration,
    notify: Notify<(PeerId, ConnectionEvent)>,
}

impl BrowserConnector {
    /// What the connections report goes to `notify`.
    pub fn new(notify: Notify<(PeerId, ConnectionEvent)>) -> Self {
        Self { configuration: RtcConfiguration::new(), notify }
    }
}

impl Connector for BrowserConnector {
    type Connection = Connection;
    type Channel = RtcDataChannel;

    fn set_ice_servers(&mut self, servers: &[IceServer]) {
        let list = Array::new();
        for server in servers {
            list.push(&ice_server(server));
        }
        self.configuration.set_ice_servers(&list);
    }

    fn offer(&mut self, peer: PeerId) -> Option<Connection> {
        Connection::offer(peer, &self.configuration, self.notify.clone())
    }

    fn answer(&mut self, peer: PeerId, sdp: &str) -> Option<Connection> {
        Connection::answer(peer, sdp, &self.configuration, self.notify.clone())
    }
}

fn ice_server(server: &IceServer) -> RtcIceServer {
    let urls: Array = server.urls.iter().map(|url| JsString::from(url.as_str())).collect();
    let js = RtcIceServer::new();
    js.set_urls(&urls);
    if let Some(username) = &server.username {
        js.set_username(username);
    }
    if let Some(credential) = &server.credential {
        js.set_credential(credential);
    }
    js
}
