//! Everything that is spoken over HTTP: the API, the sockets, and the site.

mod api;
mod serve;
mod sockets;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{any, get};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::cors::{Any, CorsLayer};

use crate::channel::Channels;
use crate::server_peer::{EgressBudget, ServerPeers};
use crate::signal::Signalling;
use crate::site::Site;

pub use serve::serve;

/// What the routes need of the tracker; cheap to clone.
#[derive(Clone)]
pub struct Http {
    /// The channel table.
    pub channels: Channels,
    /// Who introduces viewers to each other.
    pub signalling: Signalling,
    /// Who spreads media to them.
    pub servers: Arc<ServerPeers>,
    /// What those may send.
    pub budget: Arc<EgressBudget>,
    /// The pages.
    pub site: Site,
    /// Cancelled when the tracker goes down.
    pub stop: CancellationToken,
    /// Where sockets are counted, so that shutdown can wait for them.
    pub tasks: TaskTracker,
}

/// All routes.
pub fn router(http: Http) -> Router {
    let channels = http.channels.clone();
    Router::new()
        .route("/healthz", get(api::health))
        .route("/v1/channels", get(api::channels))
        .route("/v1/channels/events", get(api::channel_events))
        .route("/v1/channels/{channel}", get(api::channel))
        .route("/v1/channels/{channel}/stats", get(api::channel_stats))
        .route("/v1/signal", any(sockets::signal))
        .route("/v1/link/{channel}", any(sockets::link))
        .fallback(fallback)
        .with_state(http)
        .merge(media_routes(channels))
        .layer(axum::middleware::map_response(harden))
        .layer(cors())
}

/// What encoders and HLS players speak to.
fn media_routes(channels: Channels) -> Router {
    Router::new().merge(crate::hls::router(&channels)).merge(crate::ingest::push::router(channels))
}

/// Players, embeds and lists live on other people's pages; nothing here depends on cookies.
fn cors() -> CorsLayer {
    CorsLayer::new().allow_origin(Any).allow_methods([Method::GET, Method::HEAD]).allow_headers(Any)
}

async fn harden(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Pages for people, JSON for programs.
async fn fallback(State(http): State<Http>, request: Request) -> Response {
    let path = request.uri().path();
    if is_for_programs(path) {
        return failure(StatusCode::NOT_FOUND, "there is no such address");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return failure(StatusCode::METHOD_NOT_ALLOWED, "pages are read with GET");
    }
    http.site.respond(path, request.headers()).await
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
