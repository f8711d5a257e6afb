//! The sockets of WebTorrent clients.
//!
//! The upgrade is our own, since a library's keeps its HTTP machinery and buffers around for as long as the socket is open,
//! and most of these are idle.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cardume_webtorrent::Swarms;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use sha1::{Digest, Sha1};

use super::connection::Connection;
use super::{Http, failure};
use crate::door::Caller;
use crate::metrics::Refusal;
use crate::places::Places;

/// Where clients announce themselves; some have `/` in their lists.
pub(super) const ANNOUNCE_PATH: &str = "/announce";
/// What both ends of a WebSocket put behind the key (RFC 6455, section 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What WebTorrent clients share.
#[derive(Debug, Clone)]
pub struct Announces {
    /// Who is in which swarm.
    pub swarms: Swarms,
    /// Their sockets: at most half of all connections, so that strangers' torrents leave room for viewers.
    pub places: Places,
}

impl Announces {
    /// On a tracker that takes so many connections.
    pub fn new(swarms: Swarms, connection_limit: u32) -> Self {
        let announces = Self { swarms, places: Places::new(0) };
        announces.set_connection_limit(connection_limit);
        announces
    }

    /// The tracker takes so many connections from now on.
    pub fn set_connection_limit(&self, connection_limit: u32) {
        self.places.set_limit((connection_limit / 2).max(1));
    }
}

/// Whether this asks for a WebSocket.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// A client's socket.
pub(super) async fn announce(State(http): State<Http>, caller: Caller, mut request: Request) -> Response {
    let Some(announces) = http.announces.clone() else {
        let message = "this tracker does not serve WebTorrent clients; its operator turns that on with webtorrent = true";
        return failure(StatusCode::NOT_FOUND, message);
    };
    let answer = match accept(request.headers()) {
        Ok(answer) => answer,
        Err(reason) => return not_a_socket(reason),
    };
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return not_a_socket("this connection cannot become a WebSocket; use HTTP/1.1");
    };
    let slot = match super::sockets::let_in(&http, caller, request.uri(), request.headers()) {
        Ok(slot) => slot,
        Err(refusal) => return refusal,
    };
    let Some(place) = announces.places.take() else {
        http.refusals.count(Refusal::WebTorrent);
        return failure(StatusCode::SERVICE_UNAVAILABLE, "this tracker is full; try again later");
    };
    let (stop, address) = (http.stop, caller.address);
    http.tasks.spawn(async move {
        let Some((stream, early)) = upgrade.await.ok().and_then(unwrap) else { return };
        let stopped = std::pin::pin!(stop.cancelled());
        let ending = cardume_webtorrent::serve(stream, &early, announces.swarms, stopped).await;
        tracing::debug!(%address, "WebTorrent: {ending}");
        drop((slot, place));
    });
    answer
}

/// The answer that makes a WebSocket of a connection (RFC 6455, section 4.2.2).
fn accept(headers: &HeaderMap) -> Result<Response, &'static str> {
    if !is_upgrade(headers) {
        return Err("this address speaks WebSocket, the protocol of WebTorrent trackers");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err("Sec-WebSocket-Version must be 13");
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or("Sec-WebSocket-Key is missing")?;
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let accept = HeaderValue::from_str(&STANDARD.encode(digest)).map_err(|_| "Sec-WebSocket-Key is wrong")?;
    let answer = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, answer, Body::empty()).into_response())
}

fn not_a_socket(reason: &'static str) -> Response {
    failure(StatusCode::UPGRADE_REQUIRED, reason)
}

/// The connection without what HTTP had around it, and what came behind the request: a copy, as it is mostly nothing, in a
/// buffer of 8 KiB.
fn unwrap(upgraded: Upgraded) -> Option<(Connection, Vec<u8>)> {
    let parts = downcast::<TokioIo<Connection>>(upgraded).ok()?;
    Some((parts.io.into_inner(), parts.read_buf.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn a_key_is_accepted_as_the_standard_says() {
        let asked = [
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let answer = accept(&headers(&asked)).unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(answer.headers()[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn anything_else_is_told_what_is_missing() {
        let check = |pairs: &[_], words: &str| {
            let reason = accept(&headers(pairs)).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        };
        check(&[], "speaks WebSocket");
        check(&[("upgrade", "websocket"), ("sec-websocket-version", "8")], "must be 13");
        check(&[("upgrade", "websocket"), ("sec-websocket-version", "13")], "Key is missing");
    }
}
