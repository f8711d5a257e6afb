//! The two WebSockets: signalling and the link to the server peer.

use std::net::SocketAddr;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use cardume_wire::{link, signal};
use serde::Deserialize;

use super::{Http, api, busy_response, failure};
use crate::clock::wall_time;

/// What a viewer may send in one signalling message before the socket refuses to read it at all. Beyond the protocol's
/// own limit, so that who exceeds that one is told so.
const SIGNAL_READ_LIMIT: usize = 4 * signal::MESSAGE_LEN_LIMIT;

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;
type Address = ConnectInfo<SocketAddr>;

pub(super) async fn signal(
    State(http): State<Http>,
    ConnectInfo(address): Address,
    upgrade: Upgrade,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return not_a_socket(&rejection),
    };
    let Some(slot) = http.signallers.take(address.ip()) else { return too_many(address) };
    let (signalling, tasks) = (http.signalling, http.tasks);
    upgrade.max_message_size(SIGNAL_READ_LIMIT).max_frame_size(SIGNAL_READ_LIMIT).on_upgrade(move |socket| {
        tasks.track_future(async move {
            let _slot = slot;
            crate::signal::serve(socket, signalling).await;
        })
    })
}

#[derive(Deserialize)]
pub(super) struct LinkQuery {
    #[serde(default)]
    token: String,
}

pub(super) async fn link(
    State(http): State<Http>,
    ConnectInfo(address): Address,
    Path(id): Path<String>,
    Query(query): Query<LinkQuery>,
    upgrade: Upgrade,
) -> Response {
    let channel = match api::find(&http, &id) {
        Ok(channel) => channel,
        Err(response) => return response,
    };
    let Some(peer) = http.signalling.tokens.verify(channel.id(), &query.token, wall_time()) else {
        let message = "the token is missing, expired or of another channel: join over /v1/signal to get one";
        return failure(StatusCode::FORBIDDEN, message);
    };
    let Some(server) = http.servers.find(channel.id()).cloned() else {
        return failure(StatusCode::NOT_FOUND, "this channel has no server peer");
    };
    if let Some(busy) = http.readers.busy_with_the_month() {
        return busy_response(busy);
    }
    if server.has_banned(peer) {
        return failure(
            StatusCode::FORBIDDEN,
            "this peer was evicted: others got wrong media from it; join anew",
        );
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return not_a_socket(&rejection),
    };
    let Some(slot) = http.linkers.take(address.ip()) else { return too_many(address) };
    let tasks = http.tasks;
    upgrade.max_message_size(link::MESSAGE_LEN_LIMIT).max_frame_size(link::MESSAGE_LEN_LIMIT).on_upgrade(
        move |socket| {
            tasks.track_future(async move {
                let _slot = slot;
                crate::server_peer::serve(socket, server, peer).await;
            })
        },
    )
}

fn too_many(address: SocketAddr) -> Response {
    tracing::warn!(address = %address.ip(), "a socket is turned away: the address has as many as address_limit");
    let message = "your network address has too many viewers here; try again when some have left";
    failure(StatusCode::TOO_MANY_REQUESTS, message)
}

fn not_a_socket(rejection: &WebSocketUpgradeRejection) -> Response {
    failure(StatusCode::BAD_REQUEST, &format!("this address speaks WebSocket: {rejection}"))
}
