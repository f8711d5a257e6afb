//! The sockets of viewers.

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use cardume_wire::link;
use cardume_wire::signal::Join;

use super::addresses::Slot;
use super::line::{self, Entry, Visit};
use super::{Http, failure};
use crate::door::Caller;
use crate::metrics::Refusal;

/// Read from a viewer's socket at once: what viewers send is short. The library's own 128 KiB would be nearly all that a viewer
/// costs.
const READ_BUFFER_LEN: usize = 2 * 1024;

/// A viewer's socket, by [`Join::address`].
pub(super) async fn signal(
    State(http): State<Http>,
    caller: Caller,
    (uri, headers): (Uri, HeaderMap),
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
    let slot = match let_in(&http, caller, &uri, &headers) {
        Ok(slot) => slot,
        Err(refusal) => return refusal,
    };
    // What is left of a used-up month is for signalling.
    let server = http.servers.find(&join.channel).filter(|_| http.readers.busy_with_the_month().is_none());
    let visit = Visit { join, authority: authority(&uri, &headers) };
    let (signalling, refusals, tasks) = (http.signalling, http.refusals, http.tasks);
    // Links have the longest messages; text that is too long for signalling is refused there.
    let upgrade = upgrade.max_message_size(link::MESSAGE_LEN_LIMIT).max_frame_size(link::MESSAGE_LEN_LIMIT);
    upgrade.read_buffer_size(READ_BUFFER_LEN).on_upgrade(move |socket| {
        tasks.track_future(async move {
            let _slot = slot;
            if line::serve(socket, signalling, server, visit).await == Entry::Refused {
                refusals.count(Refusal::Join);
            }
        })
    })
}

/// The authority that a request names (RFC 9110, section 7.2), if it does.
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let header = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
    uri.authority().map(Authority::as_str).or_else(header).map(str::to_owned)
}

fn not_a_join(rejection: &QueryRejection) -> Response {
    let message = format!("name a version and a channel, as in ?version=2&channel=live: {rejection}");
    failure(StatusCode::BAD_REQUEST, &message)
}

/// A place for one more socket of the caller, if the page that it comes from may open one.
#[expect(clippy::result_large_err, reason = "the error is the whole answer, made once per request")]
pub(super) fn let_in(http: &Http, caller: Caller, uri: &Uri, headers: &HeaderMap) -> Result<Slot, Response> {
    if !http.door.admits(uri, headers) {
        http.refusals.count(Refusal::Origin);
        let message =
            "pages of this origin may not use this tracker; its operator allows them with allowed_origins";
        return Err(failure(StatusCode::FORBIDDEN, message));
    }
    http.viewers.take(caller.address).ok_or_else(|| {
        http.refusals.count(Refusal::AddressSockets);
        let address = caller.address;
        tracing::warn!(%address, "a socket is turned away: the address has as many as address_limit");
        let message = "your network address has too many connections here; try again when some are closed";
        failure(StatusCode::TOO_MANY_REQUESTS, message)
    })
}

fn not_a_socket(rejection: &WebSocketUpgradeRejection) -> Response {
    failure(StatusCode::BAD_REQUEST, &format!("this address speaks WebSocket: {rejection}"))
}
