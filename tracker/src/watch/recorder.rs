//! Writes what a viewer gets as one fragmented MP4, which players read while it grows.

use std::collections::VecDeque;
use std::str::FromStr;

use anyhow::bail;
use bytes::Bytes;
use cardume_media::{Catalog, Track, TrackKind};
use cardume_peer_native::Mux;
use cardume_wire::TrackId;

use super::sink::{Sink, Written};

/// Parts that wait until there is one of each track: some seconds. A sound that has not come by then does not come.
const WAITING_LIMIT: usize = 64;

/// A rendition as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// By the height of its picture.
    Height(u16),
    /// By its number in the catalog.
    Number(u8),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let choice = match text.strip_suffix('p') {
            Some(height) => height.parse().ok().map(Self::Height),
            None => text.parse().ok().map(Self::Number),
        };
        choice.ok_or_else(|| "write it like 720p, or give a track's number".to_owned())
    }
}

impl Choice {
    /// The track that is meant.
    ///
    /// # Errors
    /// When there is none; the message names those that there are.
    pub(super) fn find(self, catalog: &Catalog) -> anyhow::Result<TrackId> {
        let is_meant = |track: &&Track| match self {
            Self::Height(height) => track.height == height,
            Self::Number(number) => track.id.0 == number,
        };
        if let Some(track) = pictures(catalog).find(is_meant) {
            return Ok(track.id);
        }
        let offered: Vec<_> = pictures(catalog).map(|it| format!("{}p ({})", it.height, it.id.0)).collect();
        bail!("there is no such rendition; there is {}", offered.join(", "))
    }
}

/// The picture of the highest bitrate.
pub(super) fn dearest(catalog: &Catalog) -> Option<TrackId> {
    pictures(catalog).max_by_key(|track| (track.bitrate, track.height)).map(|track| track.id)
}

fn pictures(catalog: &Catalog) -> impl Iterator<Item = &Track> {
    catalog.tracks().iter().filter(|track| track.kind == TrackKind::Video)
}

/// Whether there is more to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There may be.
    On,
    /// The film is written whole, its broadcast ended, or nobody reads any more.
    Over,
}

/// Writes one broadcast.
pub(super) struct Recorder {
    sink: Sink,
    /// The only kind that is wanted.
    only: Option<TrackKind>,
    state: State,
}

enum State {
    /// No broadcast yet.
    Waiting,
    /// Until there is a part of each track that is to be written.
    Gathering(Gathering),
    /// The header is written.
    Writing(Movie),
}

struct Gathering {
    catalog: Catalog,
    picture: Option<TrackId>,
    parts: VecDeque<Part>,
}

struct Part {
    track: TrackId,
    chunks: Vec<Bytes>,
    is_last: bool,
}

struct Movie {
    mux: Mux,
    /// In the movie's order.
    tracks: Vec<TrackId>,
    n_ended: usize,
}

impl Recorder {
    /// Writes there, all or only one kind of track.
    pub(super) fn new(sink: Sink, only: Option<TrackKind>) -> Self {
        Self { sink, only, state: State::Waiting }
    }

    /// A broadcast begins, of which this picture is wanted. One movie has one broadcast: the next has other headers, and
    /// its time begins anew.
    pub(super) fn attach(&mut self, catalog: &Catalog, picture: Option<TrackId>) -> Progress {
        if matches!(self.state, State::Writing(_)) {
            return Progress::Over;
        }
        self.state =
            State::Gathering(Gathering { catalog: catalog.clone(), picture, parts: VecDeque::new() });
        Progress::On
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// When it cannot be written for another reason than that nobody reads.
    pub(super) async fn finish(&mut self) -> anyhow::Result<()> {
        self.sink.finish().await
    }

    /// Takes the next part of a track.
    ///
    /// # Errors
    /// When the media is broken, or cannot be written.
    pub(super) async fn take(
        &mut self,
        track: TrackId,
        chunks: Vec<Bytes>,
        is_last: bool,
    ) -> anyhow::Result<Progress> {
        let part = Part { track, chunks, is_last };
        match &mut self.state {
            State::Waiting => Ok(Progress::On),
            State::Writing(movie) => {
                let Some(bytes) = movie.add(&part)? else { return Ok(Progress::On) };
                self.write(bytes).await
            }
            State::Gathering(gathering) => {
                let Some((movie, bytes)) = gathering.take(part, self.only)? else { return Ok(Progress::On) };
                self.state = State::Writing(movie);
                self.write(bytes).await
            }
        }
    }

    async fn write(&mut self, bytes: Bytes) -> anyhow::Result<Progress> {
        let is_last = matches!(&self.state, State::Writing(movie) if movie.n_ended == movie.tracks.len());
        let written = self.sink.write(bytes).await?;
        // Whoever reads may have seen enough.
        Ok(if is_last || written == Written::Unread { Progress::Over } else { Progress::On })
    }
}

impl Gathering {
    /// The movie and its first bytes, once there is a part of the picture and one of the sound.
    fn take(&mut self, part: Part, only: Option<TrackKind>) -> anyhow::Result<Option<(Movie, Bytes)>> {
        let Some(track) = self.catalog.track(part.track) else { return Ok(None) };
        let is_wanted = only.is_none_or(|only| only == track.kind);
        let is_other_picture =
            track.kind == TrackKind::Video && self.picture.is_some_and(|id| id != track.id);
        if !is_wanted || is_other_picture {
            return Ok(None);
        }
        self.parts.push_back(part);
        let kinds = [TrackKind::Video, TrackKind::Audio]
            .into_iter()
            .filter(|kind| only.is_none_or(|only| only == *kind));
        let kinds: Vec<_> =
            kinds.filter(|kind| self.catalog.tracks().iter().any(|it| it.kind == *kind)).collect();
        let found: Vec<&Track> = kinds.iter().filter_map(|kind| self.first_of(*kind)).collect();
        if found.len() < kinds.len() && self.parts.len() < WAITING_LIMIT {
            return Ok(None);
        }
        let mux = Mux::new(found.iter().copied())?;
        let mut movie = Movie { tracks: found.iter().map(|track| track.id).collect(), mux, n_ended: 0 };
        let mut bytes = movie.mux.header().to_vec();
        for part in self.parts.drain(..) {
            bytes.extend(movie.add(&part)?.unwrap_or_default());
        }
        Ok(Some((movie, bytes.into())))
    }

    /// The track of the first part of this kind.
    fn first_of(&self, kind: TrackKind) -> Option<&Track> {
        self.parts.iter().filter_map(|part| self.catalog.track(part.track)).find(|track| track.kind == kind)
    }
}

impl Movie {
    /// The bytes of a part; none of a track that the movie does not have.
    fn add(&mut self, part: &Part) -> anyhow::Result<Option<Bytes>> {
        let Some(place) = self.tracks.iter().position(|track| *track == part.track) else { return Ok(None) };
        self.n_ended += usize::from(part.is_last);
        Ok(Some(self.mux.part(place, &part.chunks)?))
    }
}
