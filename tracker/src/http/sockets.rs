//! The sockets of viewers.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use cardume_wire::link;
use cardume_wire::signal::Join;

use super::{Http, failure, line};

/// Read from a viewer's socket at once: what viewers send is short. The library's own 128 KiB would be nearly all that a viewer
/// costs.
const READ_BUFFER_LEN: usize = 2 * 1024;

/// A viewer's socket, by [`Join::address`].
pub(super) async fn signal(
    State(http): State<Http>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Authority(authority): Authority,
    join: Result<Query<Join>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return not_a_socket(&rejection),
    };
    let join = match join {
        Ok(Query(join)) => join,
        Err(rejection) => return not_a_join(&rejection),
    };
    let Some(slot) = http.viewers.take(address.ip()) else { return too_many(address) };
    // What is left of a used-up month is for signalling.
    let server =
        http.servers.find(&join.channel).cloned().filter(|_| http.readers.busy_with_the_month().is_none());
    let caller = line::Caller { join, authority };
    let (signalling, tasks) = (http.signalling, http.tasks);
    // Links have the longest messages; text that is too long for signalling is refused there.
    let upgrade = upgrade.max_message_size(link::MESSAGE_LEN_LIMIT).max_frame_size(link::MESSAGE_LEN_LIMIT);
    upgrade.read_buffer_size(READ_BUFFER_LEN).on_upgrade(move |socket| {
        tasks.track_future(async move {
            let _slot = slot;
            line::serve(socket, signalling, server, caller).await;
        })
    })
}

/// The authority that a request names (RFC 9110, section 7.2), if it does.
pub(super) struct Authority(Option<String>);

impl<S: Sync> FromRequestParts<S> for Authority {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let named = parts.uri.authority().map(axum::http::uri::Authority::as_str);
        let header = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        Ok(Self(named.or(header).map(str::to_owned)))
    }
}

fn not_a_join(rejection: &QueryRejection) -> Response {
    let message = format!("name a version and a channel, as in ?version=2&channel=live: {rejection}");
    failure(StatusCode::BAD_REQUEST, &message)
}

pub(super) fn too_many(address: SocketAddr) -> Response {
    tracing::warn!(address = %address.ip(), "a socket is turned away: the address has as many as address_limit");
    let message = "your network address has too many connections here; try again when some are closed";
    failure(StatusCode::TOO_MANY_REQUESTS, message)
}

fn not_a_socket(rejection: &WebSocketUpgradeRejection) -> Response {
    failure(StatusCode::BAD_REQUEST, &format!("this address speaks WebSocket: {rejection}"))
}
