//! Everything that is spoken over HTTP: the API, the sockets, and the site.

mod addresses;
mod announce;
mod api;
mod caller;
mod connection;
mod line;
mod metrics;
mod redirect;
mod serve;
mod sockets;
pub mod tls;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{MethodRouter, any, get};
use cardume_wire::signal::SIGNAL_PATH;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::cors::{Any, CorsLayer};

use crate::channel::Channels;
use crate::cluster::{Films, Meter};
use crate::door::{Caller, Door};
use crate::egress::{Busy, Readers, Relayed};
use crate::ingest::push::{self, Pushes};
use crate::metrics::Refusals;
use crate::places::Places;
use crate::server_peer::ServerPeers;
use crate::signal::Signalling;
use crate::site::Site;

pub use addresses::Addresses;
pub(crate) use addresses::{Network, Slot};
pub use announce::Announces;
pub use redirect::pages_to_https;
pub use serve::{Entrance, Port, serve};

/// What the routes need of the tracker; cheap to clone.
#[derive(Clone)]
pub struct Http {
    /// The channel table.
    pub channels: Channels,
    /// Who introduces viewers to each other.
    pub signalling: Signalling,
    /// Who spreads media to them.
    pub servers: Arc<ServerPeers>,
    /// `None` where WebTorrent clients are not served.
    pub announces: Option<Announces>,
    /// `None` without other nodes.
    pub cluster: Option<Meter>,
    /// Who has films that are not here; `None` without other nodes.
    pub films: Option<Films>,
    /// What plain HTTP may be sent, beside those.
    pub readers: Arc<Readers>,
    /// And what the relay may send.
    pub relayed: Arc<Relayed>,
    /// Who recognises callers.
    pub door: Door,
    /// Who was turned away.
    pub refusals: Refusals,
    /// Who has how many viewers' sockets.
    pub viewers: Addresses,
    /// How many connections are open.
    pub connections: Places,
    /// How many encoders speak RTMP.
    pub encoders: Places,
    /// Where encoders speak RTMP, as the pages tell.
    pub rtmp_port: u16,
    /// The pages.
    pub site: Site,
    /// Cancelled when the tracker goes down.
    pub stop: CancellationToken,
    /// Where sockets are counted, so that shutdown can wait for them.
    pub tasks: TaskTracker,
}

/// All routes.
pub fn router(http: Http) -> Router {
    let pushes = Pushes::new(http.channels.clone(), http.door.clone());
    let media = crate::hls::router(&http.channels, Arc::clone(&http.readers), http.films.clone())
        .merge(pushes.router());
    let metrics = metrics::router(http.clone(), pushes);
    let routes = api_routes().into_iter();
    let routes = routes.fold(Router::new(), |router, (path, answer)| router.route(path, answer));
    routes
        .fallback(fallback)
        .with_state(http)
        .merge(media)
        .layer(axum::middleware::map_response(harden))
        .layer(cors())
        .merge(metrics)
}

/// Addresses of the API, and who answers there.
fn api_routes() -> [(&'static str, MethodRouter<Http>); 10] {
    [
        ("/healthz", get(api::health)),
        ("/v1/channels", get(api::channels)),
        ("/v1/channels/events", get(api::channel_events)),
        ("/v1/channels/{channel}", get(api::channel)),
        ("/v1/channels/{channel}/stats", get(api::channel_stats)),
        ("/v1/egress", get(api::egress)),
        ("/v1/ingest", get(api::ingest)),
        ("/v1/openapi.json", get(api::openapi)),
        (SIGNAL_PATH, any(sockets::signal)),
        (announce::ANNOUNCE_PATH, get(announce::announce)),
    ]
}

/// Every address that is answered, but for the site's.
pub fn paths() -> Vec<&'static str> {
    let others = [crate::hls::PLAYLIST_PATH, crate::hls::MEDIA_PATH, push::PATH, metrics::PATH];
    api_routes().into_iter().map(|(path, _)| path).chain(others).collect()
}

/// Players, embeds and lists live on other people's pages; nothing here depends on cookies.
fn cors() -> CorsLayer {
    CorsLayer::new().allow_origin(Any).allow_methods([Method::GET, Method::HEAD]).allow_headers(Any)
}

async fn harden(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Pages for people, JSON for programs, and a WebSocket for WebTorrent clients that were told no path.
async fn fallback(State(http): State<Http>, caller: Caller, request: Request) -> Response {
    if request.uri().path() == "/" && announce::is_upgrade(request.headers()) {
        return announce::announce(State(http), caller, request).await;
    }
    let path = request.uri().path();
    if is_for_programs(path) {
        return failure(StatusCode::NOT_FOUND, "there is no such address");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return failure(StatusCode::METHOD_NOT_ALLOWED, "pages are read with GET");
    }
    let response = http.site.respond(path, request.headers()).await;
    let is_read = request.method() == Method::GET;
    if is_read { counted(response, &http.readers).await } else { response }
}

/// The page, as far as the month's egress goes.
async fn counted(page: Response, readers: &Arc<Readers>) -> Response {
    let (mut head, body) = page.into_parts();
    // A page is in memory already: this only unwraps it.
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return failure(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be read");
    };
    let len = bytes.len() as u64;
    if len == 0 {
        return Response::from_parts(head, Body::empty());
    }
    match readers.admit_site(len) {
        Ok(admission) => {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
            Response::from_parts(head, admission.body(vec![bytes]))
        }
        Err(busy) => busy_response(busy),
    }
}

/// An answer to who asks for more than the egress budget has: when to ask again, and why.
pub(crate) fn busy_response(busy: Busy) -> Response {
    let seconds = busy.retry_after().as_secs().max(1);
    let headers = [
        (header::RETRY_AFTER, HeaderValue::from(seconds)),
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::SERVICE_UNAVAILABLE, headers, format!("{busy}\n")).into_response()
}

fn is_for_programs(path: &str) -> bool {
    ["/v1", "/ingest", "/hls"]
        .iter()
        .any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// An error as programs read it: `{"error": "…"}`.
pub(crate) fn failure(status: StatusCode, message: &str) -> Response {
    (status, Json(serde_json::json!({ "error": message }))).into_response()
}
