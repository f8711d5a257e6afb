//! LL-HLS of every channel under `/hls/CHANNEL/`, for players that know nothing of Cardume: Safari, VLC, hls.js.
//!
//! `index.m3u8` names a playlist for each track, `TRACK.m3u8`. A part is named by its number in the track, so that the
//! name of the next one is known before it exists, whether or not it begins a segment.

mod playlist;
mod segments;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use cardume_media::TrackKind;
use cardume_wire::{ChannelId, Epoch, TrackId};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::channel::{Channel, Channels};
use crate::cluster::{Films, Holder};
use crate::egress::{Busy, Readers};
use crate::http::busy_response;
use crate::window::Window;
use segments::{Presentation, Rendition};

/// How long a broadcast that has ended can still be read: its sender may come back, and then its readers are there.
const AFTERGLOW: Duration = Duration::from_secs(10);
/// How long a request waits for a broadcast's first whole segment: less than players wait (hls.js: 10 s).
const BEGIN_TIMEOUT: Duration = Duration::from_secs(8);
/// A blocked request is given up after so many target durations (rfc8216bis, section 6.2.5.2).
const BLOCK_TARGET_DURATIONS: u64 = 3;
/// How far ahead a playlist may be asked for, in segments (same section).
const ADVANCE_SEGMENT_LIMIT: u64 = 2;
/// How long a request for more waits while the channel is off air.
const OFF_AIR_PAUSE: Duration = Duration::from_millis(500);
/// How long caches may keep media, in seconds: no longer than anybody asks for it. Names are never used again.
const MEDIA_CACHE_SECONDS: u32 = 60;

type Snapshots = watch::Receiver<Arc<Presentation>>;

/// What the routes need; cheap to clone.
#[derive(Clone)]
struct Hls {
    channels: Channels,
    followed: Arc<Mutex<BTreeMap<ChannelId, Followed>>>,
    readers: Arc<Readers>,
    films: Option<Films>,
}

/// A channel whose live window is followed.
struct Followed {
    channel: Arc<Channel>,
    snapshots: Snapshots,
}

impl Followed {
    /// Needs a runtime.
    fn new(channel: Arc<Channel>) -> Self {
        let mut presentation = Presentation::default();
        presentation.update(&channel.window().borrow());
        let (sender, snapshots) = watch::channel(Arc::new(presentation));
        tokio::spawn(follow(channel.window(), sender));
        Self { channel, snapshots }
    }
}

/// The address of playlists.
pub const PLAYLIST_PATH: &str = "/hls/{channel}/{playlist}";
/// The address of media.
pub const MEDIA_PATH: &str = "/hls/{channel}/{track}/{epoch}/{file}";

/// The routes under `/hls/`, within what readers may be sent. Follows every channel of the table from now on; needs a
/// runtime.
pub fn router(channels: &Channels, readers: Arc<Readers>, films: Option<Films>) -> Router {
    let follow = |channel: Arc<Channel>| (channel.id().clone(), Followed::new(channel));
    let followed = Arc::new(Mutex::new(channels.iter().map(follow).collect()));
    Router::new().route(PLAYLIST_PATH, get(playlist)).route(MEDIA_PATH, get(file)).with_state(Hls {
        channels: channels.clone(),
        followed,
        readers,
        films,
    })
}

/// Keeps a channel's presentation up to its live window, until the window's writer is gone.
async fn follow(mut window: watch::Receiver<Arc<Window>>, sender: watch::Sender<Arc<Presentation>>) {
    loop {
        let snapshot = Arc::clone(&window.borrow_and_update());
        sender.send_modify(|presentation| Arc::make_mut(presentation).update(&snapshot));
        if !snapshot.is_live && snapshot.epoch.is_some() {
            // Readers hold on for a while, then hear that it is over.
            tokio::select! {
                () = sleep(AFTERGLOW) => sender.send_modify(|presentation| Arc::make_mut(presentation).clear()),
                changed = window.changed() => if changed.is_err() { return } else { continue },
            }
        }
        if window.changed().await.is_err() {
            return;
        }
    }
}

/// Why there is no answer; told in plain words.
#[derive(Debug, thiserror::Error)]
enum HlsError {
    #[error("there is no channel \"{0}\" here")]
    UnknownChannel(String),
    #[error(
        "there is no channel \"{0}\" here: another node has a film of this name, and of films there is no HLS"
    )]
    FilmElsewhere(String),
    #[error("this is a film, and HLS is of live channels only: open its page, or /v1/channels")]
    Film,
    #[error("the channel is not live: nobody is sending to it now")]
    NotLive,
    #[error("there is no such file: the playlists are index.m3u8 and TRACK.m3u8")]
    NoSuchFile,
    #[error("this is not in the live window any more, or was never")]
    Gone,
    #[error("_HLS_part needs _HLS_msn")]
    PartWithoutSegment,
    #[error("that is too far ahead: the playlist is at segment {0}")]
    TooFarAhead(u64),
    #[error("it did not come in time; the sender may have stopped")]
    TimedOut,
    #[error(transparent)]
    Busy(#[from] Busy),
}

impl IntoResponse for HlsError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::UnknownChannel(_)
            | Self::FilmElsewhere(_)
            | Self::Film
            | Self::NotLive
            | Self::NoSuchFile
            | Self::Gone => StatusCode::NOT_FOUND,
            Self::PartWithoutSegment | Self::TooFarAhead(_) => StatusCode::BAD_REQUEST,
            Self::TimedOut => StatusCode::SERVICE_UNAVAILABLE,
            Self::Busy(busy) => return busy_response(busy),
        };
        let headers =
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
        (status, headers, format!("{self}\n")).into_response()
    }
}

impl Hls {
    /// The live channel of this name, or why there is none.
    async fn find(&self, name: &str) -> Result<Arc<Channel>, HlsError> {
        let unknown = || HlsError::UnknownChannel(name.to_owned());
        let id = name.parse::<ChannelId>().map_err(|_| unknown())?;
        match (self.channels.find(&id), &self.films) {
            (Some(channel), _) if channel.is_for_senders() => Ok(channel),
            (Some(channel), _) if !channel.is_void() => Err(HlsError::Film),
            (None, Some(films)) if matches!(films.holder(&id).await, Holder::Node(_)) => {
                Err(HlsError::FilmElsewhere(name.to_owned()))
            }
            _ => Err(unknown()),
        }
    }

    /// The channel, which is wanted from now on, with what is shown of it.
    async fn snapshots(&self, channel: &str) -> Result<(Arc<Channel>, Snapshots), HlsError> {
        let found = self.find(channel).await?;
        found.ask();
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was added, or taken away and added anew, is followed from the first time that it is asked for.
        if let Some(known) = followed.get(found.id()).filter(|known| Arc::ptr_eq(&known.channel, &found)) {
            return Ok((found, known.snapshots.clone()));
        }
        let new = Followed::new(Arc::clone(&found));
        let snapshots = new.snapshots.clone();
        followed.insert(found.id().clone(), new);
        Ok((found, snapshots))
    }

    fn playlist(&self, text: String) -> Result<Response, HlsError> {
        // A playlist is another one with each part.
        self.respond("application/vnd.apple.mpegurl", "no-cache".to_owned(), vec![text.into()])
    }

    fn media(&self, kind: TrackKind, chunks: Vec<Bytes>) -> Result<Response, HlsError> {
        let content_type = match kind {
            TrackKind::Video => "video/mp4",
            TrackKind::Audio => "audio/mp4",
        };
        self.respond(content_type, format!("public, max-age={MEDIA_CACHE_SECONDS}, immutable"), chunks)
    }

    /// Sends it within the budget. The chunks of media are shared with the window: nothing is copied.
    fn respond(
        &self,
        content_type: &'static str,
        caching: String,
        chunks: Vec<Bytes>,
    ) -> Result<Response, HlsError> {
        let len: usize = chunks.iter().map(Bytes::len).sum();
        let admission = self.readers.admit_hls(len as u64)?;
        let headers = [
            (header::CONTENT_TYPE, content_type.to_owned()),
            (header::CONTENT_LENGTH, len.to_string()),
            (header::CACHE_CONTROL, caching),
        ];
        Ok((headers, admission.body(chunks)).into_response())
    }
}

/// The delivery directives of a blocking reload (rfc8216bis, section 6.2.5.2).
#[derive(Debug, Default, Deserialize)]
struct Directives {
    #[serde(rename = "_HLS_msn")]
    segment: Option<u64>,
    #[serde(rename = "_HLS_part")]
    part: Option<usize>,
}

async fn playlist(
    State(hls): State<Hls>,
    Path((channel, name)): Path<(String, String)>,
    Query(directives): Query<Directives>,
) -> Result<Response, HlsError> {
    let (channel, mut snapshots) = hls.snapshots(&channel).await?;
    come(&channel, &mut snapshots).await?;
    let presentation = begun(&mut snapshots).await?;
    let name = name.strip_suffix(".m3u8").ok_or(HlsError::NoSuchFile)?;
    if name == "index" {
        return hls.playlist(playlist::multivariant(&presentation));
    }
    let track = TrackId(name.parse().map_err(|_| HlsError::NoSuchFile)?);
    let presentation = reached(&mut snapshots, presentation, track, &directives).await?;
    let rendition = presentation.rendition(track).ok_or(HlsError::NoSuchFile)?;
    hls.playlist(playlist::media(&presentation, rendition))
}

/// Waits for a broadcast that another node has: it is on its way since somebody asks for it.
async fn come(channel: &Channel, snapshots: &mut Snapshots) -> Result<(), HlsError> {
    if channel.elsewhere().borrow().is_none() {
        return Ok(());
    }
    let coming = timeout(BEGIN_TIMEOUT, snapshots.wait_for(|now| !now.renditions.is_empty()));
    coming.await.map_err(|_| HlsError::TimedOut)?.map(|_| ()).map_err(|_| HlsError::NotLive)
}

/// The presentation once it has whole segments; where these are long, once it has something to play.
async fn begun(snapshots: &mut Snapshots) -> Result<Arc<Presentation>, HlsError> {
    if snapshots.borrow().renditions.is_empty() {
        return Err(HlsError::NotLive);
    }
    let is_complete = |now: &Arc<Presentation>| now.has_segments() || now.renditions.is_empty();
    let waited = timeout(BEGIN_TIMEOUT, snapshots.wait_for(is_complete)).await.map(|now| now.map(drop));
    let presentation = Arc::clone(&snapshots.borrow());
    match waited {
        _ if presentation.renditions.is_empty() => Err(HlsError::NotLive),
        Ok(Err(_)) => Err(HlsError::NotLive),
        Err(_) if !presentation.has_begun() => Err(HlsError::TimedOut),
        Ok(Ok(())) | Err(_) => Ok(presentation),
    }
}

/// The presentation once the track has what the directives ask for.
async fn reached(
    snapshots: &mut Snapshots,
    presentation: Arc<Presentation>,
    track: TrackId,
    directives: &Directives,
) -> Result<Arc<Presentation>, HlsError> {
    let Some(segment) = directives.segment else {
        return if directives.part.is_some() { Err(HlsError::PartWithoutSegment) } else { Ok(presentation) };
    };
    let rendition = presentation.rendition(track).ok_or(HlsError::NoSuchFile)?;
    let newest = rendition.open().number;
    if segment > newest + ADVANCE_SEGMENT_LIMIT
        || directives.part.is_some_and(|part| part > advance_limit(rendition))
    {
        return Err(HlsError::TooFarAhead(newest));
    }
    let limit = Duration::from_secs(playlist::target_duration(rendition) * BLOCK_TARGET_DURATIONS);
    let has_it =
        |now: &Presentation| now.rendition(track).is_none_or(|it| has_reached(it, segment, directives.part));
    // Off air there is nothing to wait for but the sender's return, and an old playlist is better than an error.
    let off_air = async {
        let is_off = snapshots.clone().wait_for(|now| !now.is_live).await.is_ok();
        if is_off { sleep(OFF_AIR_PAUSE).await } else { std::future::pending().await }
    };
    let mut waiting = snapshots.clone();
    tokio::select! {
        reached = waiting.wait_for(|now| has_it(now)) => reached.map(|_| ()).map_err(|_| HlsError::NotLive)?,
        () = off_air => {}
        () = sleep(limit) => return Err(HlsError::TimedOut),
    }
    begun(snapshots).await
}

/// Parts that one segment can be asked to have: those there are, and as many as three target durations hold.
fn advance_limit(rendition: &Rendition) -> usize {
    let part_us = rendition.longest_part().as_micros().max(1);
    let span_us = rendition.longest_segment().as_micros() * u128::from(BLOCK_TARGET_DURATIONS);
    rendition.open().parts.len() + usize::try_from(span_us / part_us).unwrap_or(usize::MAX)
}

/// Whether the playlist has this part of a segment, or the whole segment. A part past a segment's end is the first of
/// the next.
fn has_reached(rendition: &Rendition, segment: u64, part: Option<usize>) -> bool {
    let open = rendition.open();
    match part {
        None => open.number > segment,
        Some(part) if open.number == segment => open.parts.len() > part,
        Some(_) => open.number > segment && !open.parts.is_empty(),
    }
}

async fn file(
    State(hls): State<Hls>,
    Path((channel, track, epoch, name)): Path<(String, u8, u32, String)>,
) -> Result<Response, HlsError> {
    let (_, mut snapshots) = hls.snapshots(&channel).await?;
    let presentation = Arc::clone(&snapshots.borrow());
    let (track, epoch) = (TrackId(track), Epoch(epoch));
    let rendition = presentation.rendition(track).ok_or(HlsError::Gone)?;
    let kind = rendition.track.kind;
    if name == "init.mp4" {
        return hls.media(kind, vec![rendition.init(epoch).ok_or(HlsError::Gone)?.clone()]);
    }
    let number = |prefix: &str| name.strip_prefix(prefix)?.strip_suffix(".m4s")?.parse::<u64>().ok();
    if let Some(number) = number("segment-") {
        let segment = rendition.segment(number).ok_or(HlsError::Gone)?;
        return hls.media(kind, segment.chunks());
    }
    let sequence =
        number("part-").and_then(|number| u32::try_from(number).ok()).ok_or(HlsError::NoSuchFile)?;
    let find = |now: &Presentation| Some(now.rendition(track)?.part(epoch, sequence)?.cut.bytes.clone());
    if let Some(part) = find(&presentation) {
        return hls.media(kind, vec![part]);
    }
    // The next part is on its way: it was hinted at.
    let is_next = |now: &Presentation| {
        let rendition = now.rendition(track);
        rendition.is_some_and(|it| it.open().broadcast.epoch == epoch && it.next_sequence() == sequence)
    };
    let limit = Duration::from_secs(playlist::target_duration(rendition) * BLOCK_TARGET_DURATIONS);
    let come =
        timeout(limit, snapshots.wait_for(|now| !is_next(now))).await.map_err(|_| HlsError::TimedOut)?;
    let part = come.ok().and_then(|now| find(&now)).ok_or(HlsError::Gone)?;
    hls.media(kind, vec![part])
}
