//! The sockets of viewers.

use std::net::SocketAddr;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
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
    let (signalling, tasks) = (http.signalling, http.tasks);
    // Links have the longest messages; text that is too long for signalling is refused there.
    let upgrade = upgrade.max_message_size(link::MESSAGE_LEN_LIMIT).max_frame_size(link::MESSAGE_LEN_LIMIT);
    upgrade.read_buffer_size(READ_BUFFER_LEN).on_upgrade(move |socket| {
        tasks.track_future(async move {
            let _slot = slot;
            line::serve(socket, signalling, server, join).await;
        })
    })
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
