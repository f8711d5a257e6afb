//! What programs read: health, channels, statistics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Json, Response};
use cardume_wire::{ChannelId, signal};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use serde_json::json;

use super::{Http, failure};
use crate::channel::Channel;
use crate::cluster::Holder;
use crate::egress::{Egress, Report, WINDOW};
use crate::signal::{NOT_OF_OTHERS, ReportTotals};

/// Why a film is not here, though it is said to be.
const FILM_ELSEWHERE: &str = "another node has this film and shows it alone, and does not say where it alone is reached (its public_url)";
/// Shortest time between two lists on one event stream.
const EVENT_INTERVAL: Duration = Duration::from_millis(500);
/// Comments in between keep proxies from closing the stream: half their shortest idle time-out (60 s).
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(25);

pub(super) async fn health(State(http): State<Http>) -> Response {
    let is_draining = http.stop.is_cancelled();
    let n_live = http.channels.iter().filter(|channel| channel.is_live()).count();
    let body = json!({
        "status": if is_draining { "draining" } else { "ok" },
        "version": env!("CARGO_PKG_VERSION"),
        "n_channels": http.channels.iter().count(),
        "n_live": n_live,
    });
    let status = if is_draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(body)).into_response()
}

#[derive(Serialize)]
struct ChannelList {
    channels: Vec<signal::Channel>,
}

pub(super) async fn channels(State(http): State<Http>) -> Response {
    Json(ChannelList { channels: http.channels.list() }).into_response()
}

/// The list at once, and again whenever it changes; ends when the tracker goes down.
pub(super) async fn channel_events(
    State(http): State<Http>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = http.channels.changes();
    let lists =
        stream::unfold((http.channels, changes, false), |(channels, mut changes, is_begun)| async move {
            if is_begun {
                // Whatever happens during the pause goes out in one list after it.
                tokio::time::sleep(EVENT_INTERVAL).await;
                changes.changed().await.ok()?;
            }
            changes.mark_unchanged();
            let list = ChannelList { channels: channels.list() };
            let event = Event::default().json_data(list).ok()?;
            Some((Ok(event), (channels, changes, true)))
        });
    let stop = http.stop;
    let until_stop = lists.take_until(async move { stop.cancelled_owned().await });
    Sse::new(until_stop).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL))
}

pub(super) async fn channel(State(http): State<Http>, Path(id): Path<String>, head: Parts) -> Response {
    match find(&http, &id, &head).await {
        Ok(channel) => Json(channel.describe()).into_response(),
        Err(response) => response,
    }
}

/// How a channel's server peer fares.
#[derive(Serialize)]
struct ChannelStats {
    channel: signal::Channel,
    /// What went over its links.
    egress: Egress,
    /// What it may send now; `None` is no limit.
    budget_bits_per_second: Option<u64>,
    /// What the server peers and HLS may send together now.
    total_budget_bits_per_second: Option<u64>,
    window_ms: u64,
    /// Viewers with a link to it.
    n_links: usize,
    /// Viewers' stripes that it feeds.
    n_children: u32,
    /// Media bytes that it sent.
    sent_len: u64,
    /// Parts of all tracks in the live window.
    n_parts: usize,
    /// What the viewers say.
    reports: ReportTotals,
}

/// The description of all this (`OpenAPI` 3.1), for programs and for the page `/api`.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

pub(super) async fn egress(State(http): State<Http>) -> Response {
    Json(Report::new(&http.readers, &http.relayed)).into_response()
}

/// Where encoders send to: what a page cannot know from its own address.
pub(super) async fn ingest(State(http): State<Http>) -> Response {
    Json(json!({ "rtmp_port": http.rtmp_port })).into_response()
}

pub(super) async fn channel_stats(State(http): State<Http>, Path(id): Path<String>, head: Parts) -> Response {
    let channel = match find(&http, &id, &head).await {
        Ok(channel) => channel,
        Err(response) => return response,
    };
    let Some(server) = http.servers.find(channel.id()) else {
        return failure(StatusCode::NOT_FOUND, "this channel has no server peer");
    };
    let Some(stats) = server.stats().await else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "the server peer does not answer; try again");
    };
    let n_parts = channel.window().borrow().tracks.iter().map(|track| track.parts.len()).sum();
    let budget = http.readers.budget();
    let body = ChannelStats {
        channel: channel.describe(),
        egress: server.egress(),
        budget_bits_per_second: budget.share().map(|share| share.0),
        total_budget_bits_per_second: budget.limit_now().bits_per_second(),
        window_ms: u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX),
        n_links: stats.neighbours.len(),
        n_children: stats.n_children,
        sent_len: stats.sent_len,
        n_parts,
        reports: http.signalling.registry.totals(channel.id()),
    };
    Json(body).into_response()
}

/// The channel of this name, or the answer to who asked for it so.
async fn find(http: &Http, id: &str, head: &Parts) -> Result<Arc<Channel>, Response> {
    let id: ChannelId = id
        .parse()
        .map_err(|error: cardume_wire::InvalidId| failure(StatusCode::NOT_FOUND, &error.to_string()))?;
    let found = http.channels.find(&id).filter(|channel| !channel.is_void());
    match found {
        Some(channel) => Ok(channel),
        None => Err(absent(http, &id, head).await),
    }
}

/// Where the channel is, if another node has it as a film; else that it is nowhere.
async fn absent(http: &Http, id: &ChannelId, head: &Parts) -> Response {
    let message = format!("there is no channel \"{id}\" here");
    let Some(films) = &http.films else { return failure(StatusCode::NOT_FOUND, &message) };
    match films.holder(id).await {
        // All nodes may have one name, which leads to any of them: nobody is sent in a circle.
        Holder::Node(Some(url)) if !came_by(&url, head) => {
            let mut response = failure(StatusCode::TEMPORARY_REDIRECT, &format!("this film is at {url}"));
            let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
            if let Ok(location) = HeaderValue::try_from(format!("{url}{path}")) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            response
        }
        Holder::Node(_) => failure(StatusCode::NOT_FOUND, &format!("{message}: {FILM_ELSEWHERE}")),
        Holder::Nobody => failure(StatusCode::NOT_FOUND, &message),
        Holder::Unknown => failure(StatusCode::NOT_FOUND, &format!("{message}{NOT_OF_OTHERS}")),
    }
}

/// Whether a request came by the host of this address.
fn came_by(url: &str, head: &Parts) -> bool {
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| head.uri.authority().map(Authority::as_str));
    let there = url.parse::<Uri>().ok();
    let there = there.as_ref().and_then(Uri::authority).map(Authority::as_str);
    there.zip(host).is_some_and(|(there, host)| there.eq_ignore_ascii_case(host))
}
