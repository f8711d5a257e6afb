//! A viewer's side of its socket, as far as signalling goes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use cardume_wire::signal::{ErrorCode, FromTracker, FromViewer, Join, Welcome};
use cardume_wire::{PROTOCOL_VERSION, PeerId};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::within;

/// A viewer's socket. What comes from the server peer is kept for [`crate::LinkViewer::over`].
#[derive(Debug)]
pub struct SignalClient {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) from_server: VecDeque<Bytes>,
}

impl SignalClient {
    /// Asks to join and does not wait for the answer.
    pub async fn ask(tracker: SocketAddr, join: &Join) -> Self {
        let (socket, _) = connect_async(format!("ws://{tracker}{}", join.address())).await.unwrap();
        Self { socket, from_server: VecDeque::new() }
    }

    /// Joins a channel as a new peer.
    pub async fn join(tracker: SocketAddr, channel: &str) -> (Self, Welcome) {
        Self::join_again(tracker, channel, None).await
    }

    /// Joins a channel, as the peer of this token if there is one.
    pub async fn join_again(tracker: SocketAddr, channel: &str, resume: Option<String>) -> (Self, Welcome) {
        let mut client = Self::ask(tracker, &Self::wish(channel, resume)).await;
        match client.hear().await {
            FromTracker::Welcome(welcome) => (client, *welcome),
            other => panic!("no welcome but {other:?}"),
        }
    }

    /// What a viewer of the newest version asks for.
    pub fn wish(channel: &str, resume: Option<String>) -> Join {
        Join { version: PROTOCOL_VERSION, channel: channel.parse().unwrap(), resume }
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
                Some(Ok(Message::Binary(bytes))) => self.from_server.push_back(bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no message but {other:?}"),
            }
        }
    }

    /// The next message of the server peer.
    pub async fn hear_server(&mut self) -> Bytes {
        loop {
            if let Some(bytes) = self.from_server.pop_front() {
                return bytes;
            }
            match within("a message of the server peer", self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => return bytes,
                Some(Ok(_)) => {}
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

/// Opens a viewer's socket with one more header.
///
/// # Errors
/// The HTTP status of the refusal and its body.
pub async fn upgrade_with(
    tracker: SocketAddr,
    path: &str,
    header: (&'static str, &str),
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, (u16, String)> {
    let mut request = format!("ws://{tracker}{path}").into_client_request().unwrap();
    request.headers_mut().insert(header.0, header.1.parse().unwrap());
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            Err((response.status().as_u16(), String::from_utf8(body).unwrap()))
        }
        Err(other) => panic!("neither a socket nor a refusal but {other:?}"),
    }
}
