//! A viewer's side of `/v1/signal`.

use std::net::SocketAddr;

use cardume_wire::signal::{ErrorCode, FromTracker, FromViewer, Welcome};
use cardume_wire::{PROTOCOL_VERSION, PeerId};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::within;

/// A signalling socket.
#[derive(Debug)]
pub struct SignalClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl SignalClient {
    /// Opens a socket and says nothing yet.
    pub async fn connect(tracker: SocketAddr) -> Self {
        let (socket, _) = connect_async(format!("ws://{tracker}/v1/signal")).await.unwrap();
        Self { socket }
    }

    /// Joins a channel as a new peer.
    pub async fn join(tracker: SocketAddr, channel: &str) -> (Self, Welcome) {
        Self::join_again(tracker, channel, None).await
    }

    /// Joins a channel, as the peer of this token if there is one.
    pub async fn join_again(tracker: SocketAddr, channel: &str, resume: Option<String>) -> (Self, Welcome) {
        let mut client = Self::connect(tracker).await;
        let channel = channel.parse().unwrap();
        client.say(&FromViewer::Join { version: PROTOCOL_VERSION, channel, resume }).await;
        match client.hear().await {
            FromTracker::Welcome(welcome) => (client, *welcome),
            other => panic!("no welcome but {other:?}"),
        }
    }

    /// Sends a message of the protocol.
    pub async fn say(&mut self, message: &FromViewer) {
        self.say_text(&serde_json::to_string(message).unwrap()).await;
    }

    /// Sends any text.
    pub async fn say_text(&mut self, text: &str) {
        self.send(Message::text(text)).await.unwrap();
    }

    /// Sends any frame.
    ///
    /// # Errors
    /// When the tracker has closed the socket.
    pub async fn send(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        self.socket.send(message).await
    }

    /// The next message that is not about the number of viewers.
    pub async fn hear(&mut self) -> FromTracker {
        loop {
            let message = self.hear_any().await;
            if !matches!(message, FromTracker::Channel { .. }) {
                return message;
            }
        }
    }

    /// The next message.
    pub async fn hear_any(&mut self) -> FromTracker {
        loop {
            match within("a message of the tracker", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no message but {other:?}"),
            }
        }
    }

    /// The next message, which must be an error of this code; gives its text.
    pub async fn hear_error(&mut self, expected: ErrorCode) -> String {
        match self.hear().await {
            FromTracker::Error { code, message } if code == expected => message,
            other => panic!("no {expected:?} but {other:?}"),
        }
    }

    /// Waits until the tracker closes the socket; gives the close code, if one came.
    pub async fn hear_close(&mut self) -> Option<u16> {
        loop {
            match within("the end of the socket", self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The candidate that a test sends, and the message in which it arrives.
    pub fn candidate(from: PeerId) -> (cardume_wire::signal::Candidate, FromTracker) {
        let candidate = cardume_wire::signal::Candidate {
            candidate: "candidate:1 1 udp 2113937151 0c1d.local 50000 typ host".to_owned(),
            sdp_mid: Some("0".to_owned()),
            sdp_m_line_index: Some(0),
        };
        (candidate.clone(), FromTracker::Candidate { from, candidate })
    }
}

/// Tries to open a WebSocket at this path; gives the HTTP status of the refusal and its body.
pub async fn refused_upgrade(tracker: SocketAddr, path: &str) -> (u16, String) {
    match connect_async(format!("ws://{tracker}{path}")).await {
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            (response.status().as_u16(), String::from_utf8(body).unwrap())
        }
        other => panic!("no refusal but {other:?}"),
    }
}
