//! HTTP push: CMAF in the bodies of PUT and POST requests, cut into parts as it arrives.
//!
//! `/ingest/KEY/any/path`, or `/ingest/any/path` with `Authorization: Bearer KEY`. Taken are ffmpeg's low-latency
//! DASH (`-f dash -ldash 1 -streaming 1`: a header and media per track), its HLS with fMP4 segments (`-f hls
//! -hls_segment_type fmp4`: tracks muxed), and one endless request of fragmented MP4 (DASH-IF Interface 1). Playlists
//! and manifests are read and forgotten: ours are made of the media.

mod error;
mod intake;
mod source;
mod state;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Router, http};
use bytes::Bytes;
use cardume_media::{Cut, Cutter};
use cardume_wire::ChannelId;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::channel::{Channel, Channels};
use crate::clock::wall_time;
use crate::door::Door;
pub use error::PushError;
use intake::{Intake, OpenBody};

/// How long a body may stay without its first byte: ffmpeg's HLS output opens the request of the header when it starts
/// and sends the header with the first segment.
const FIRST_DATA_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a body that has begun may pause. Segments of HLS come at once; chunks of live media come several times a
/// second.
const DATA_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a playlist or manifest at most; those of an hour of segments are below.
const MANIFEST_LEN_LIMIT: usize = 1024 * 1024;
/// How long, and for how many bytes, a refused body is read on, so that its sender comes to read the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
const DRAIN_LEN_LIMIT: usize = 1024 * 1024;
/// The address that everything is pushed to.
pub const PATH: &str = "/ingest/{*path}";
/// Bytes that tell what a body is: a box's length and type.
const BOX_HEADER_LEN: usize = 8;

/// What is known of the senders of each channel; a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Pushes(Arc<Intakes>);

impl Pushes {
    /// Of these channels. Senders are told apart by what the door knows of them.
    pub fn new(channels: Channels, door: Door) -> Self {
        Self(Arc::new(Intakes { channels, door, table: Mutex::default() }))
    }

    /// The routes under `/ingest/`. They need the `ConnectInfo<SocketAddr>` of a request, which the server adds.
    pub fn router(&self) -> Router {
        Router::new().route(PATH, any(handle)).with_state(Arc::clone(&self.0))
    }

    /// Requests with media that are open.
    pub fn n_open(&self) -> usize {
        let table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.values().map(|intake| intake.n_open()).sum()
    }
}

/// What the routes share.
#[derive(Debug)]
struct Intakes {
    channels: Channels,
    door: Door,
    table: Mutex<BTreeMap<ChannelId, Arc<Intake>>>,
}

impl Intakes {
    fn of(&self, channel: &Arc<Channel>) -> Arc<Intake> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let known = table.get(channel.id()).filter(|intake| Arc::ptr_eq(intake.channel(), channel));
        if let Some(intake) = known {
            return Arc::clone(intake);
        }
        // Also of a channel that went and came again.
        let intake = Intake::new(Arc::clone(channel));
        table.insert(channel.id().clone(), Arc::clone(&intake));
        intake
    }
}

async fn handle(State(intakes): State<Arc<Intakes>>, request: Request) -> Response {
    match request.method() {
        &Method::PUT | &Method::POST => {}
        // ffmpeg deletes old segments, and asks what is allowed: let it.
        &Method::DELETE => return StatusCode::OK.into_response(),
        &Method::OPTIONS => return (StatusCode::NO_CONTENT, [(header::ALLOW, "PUT, POST")]).into_response(),
        _ => return PushError::Method.into_response(),
    }
    let (head, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let (channel, path) = match target(&intakes.channels, &head) {
        Ok(target) => target,
        Err(error) => {
            drain(&mut body, DRAIN_LEN_LIMIT, DRAIN_TIMEOUT).await;
            return error.into_response();
        }
    };
    let connected = head.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let from = connected.map(|connected| intakes.door.recognise(connected, &head.headers).address);
    let push = Push { intake: intakes.of(&channel), path: path.to_owned(), from, body };
    // In a task of its own: a sender that closes right after its last chunk makes the server drop the handler, and
    // what it has not read would be lost.
    match tokio::spawn(push.run()).await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(error)) => error.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The channel that a request's key is for, and the path without the key.
fn target<'a>(
    channels: &Channels,
    head: &'a http::request::Parts,
) -> Result<(Arc<Channel>, &'a str), PushError> {
    let path = head.uri.path();
    let path = path.strip_prefix("/ingest/").unwrap_or(path);
    let (key, path) = match bearer(head) {
        Some(key) => (key, path),
        None => path.split_once('/').unwrap_or((path, "")),
    };
    if key.is_empty() {
        return Err(PushError::NoKey);
    }
    Ok((channels.find_by_key(key).ok_or(PushError::UnknownKey)?, path))
}

/// One request that brings something.
struct Push {
    intake: Arc<Intake>,
    /// Of the file, without the key.
    path: String,
    from: Option<IpAddr>,
    body: BodyDataStream,
}

impl Push {
    async fn run(mut self) -> Result<(), PushError> {
        if source::is_manifest(&self.path) {
            drain(&mut self.body, MANIFEST_LEN_LIMIT, DATA_TIMEOUT).await;
            return Ok(());
        }
        let result = self.take_media().await;
        if let Err(error) = &result {
            tracing::info!(channel = %self.intake.channel().id(), path = self.path, "a push is refused: {error}");
            drain(&mut self.body, DRAIN_LEN_LIMIT, DRAIN_TIMEOUT).await;
        }
        result
    }

    async fn take_media(&mut self) -> Result<(), PushError> {
        let Some(start) = self.read_start().await? else { return Ok(()) };
        let mut body = if source::has_init(&start) {
            self.intake.open_with_init(&self.path, self.from)?
        } else if source::is_media(&start) {
            self.intake.open_media(&self.path, self.from).await?
        } else {
            // Let the cutter say what is wrong with it.
            return Err(Cutter::new().push(&start).err().map_or(PushError::Empty, PushError::from));
        };
        let mut cutter = body.cutter();
        let result = self.cut(&mut body, &mut cutter, start).await;
        let end = cutter.finish();
        body.close().await;
        result.and_then(|()| end.map_err(PushError::from))
    }

    /// The first bytes, enough to see what they are; `None` for an empty body.
    async fn read_start(&mut self) -> Result<Option<Bytes>, PushError> {
        let mut start = Vec::new();
        while start.len() < BOX_HEADER_LEN {
            match timeout(FIRST_DATA_TIMEOUT, self.body.next()).await.map_err(|_| PushError::Silent)? {
                Some(chunk) => start.extend_from_slice(&chunk?),
                None if start.is_empty() => return Ok(None),
                None => return Err(PushError::Truncated),
            }
        }
        Ok(Some(start.into()))
    }

    async fn cut(&mut self, body: &mut OpenBody, cutter: &mut Cutter, start: Bytes) -> Result<(), PushError> {
        let mut bytes = start;
        loop {
            let arrived_at = wall_time();
            let pushed = cutter.push(&bytes);
            while let Some(cut) = cutter.poll() {
                match cut {
                    Cut::Init(inits) => body.announce(inits, cutter).await?,
                    Cut::Chunk(chunk) => body.publish(chunk, arrived_at).await?,
                }
            }
            pushed?;
            bytes = match timeout(DATA_TIMEOUT, self.body.next()).await.map_err(|_| PushError::Silent)? {
                Some(chunk) => chunk?,
                None => return Ok(()),
            };
        }
    }
}

fn bearer(head: &http::request::Parts) -> Option<&str> {
    let value = head.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Reads on without use, up to a limit of bytes and time.
async fn drain(body: &mut BodyDataStream, len_limit: usize, time_limit: Duration) {
    let read = async {
        let mut len = 0;
        while let Some(Ok(chunk)) = body.next().await {
            len += chunk.len();
            if len > len_limit {
                return;
            }
        }
    };
    // However it ends: nothing is wanted from it.
    let _ = timeout(time_limit, read).await;
}
