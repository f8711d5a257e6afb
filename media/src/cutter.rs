//! Cuts fragmented MP4 into init segments and parts as its bytes arrive.

use bytes::Bytes;
use cardume_wire::{TrackId, WallTime};

use crate::{CutPart, MediaTime, Track, TrackKind};

/// The init segment of one track, alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackInit {
    /// `track_ID` in the container.
    pub container_id: u32,
    /// Video or audio.
    pub kind: TrackKind,
    /// As in RFC 6381.
    pub codec: String,
    /// Ticks per second; not 0.
    pub timescale: u32,
    /// Bits per second from the `btrt` box; 0 when unknown.
    pub bitrate: u32,
    /// Pixels; 0 for audio.
    pub width: u16,
    /// Pixels; 0 for audio.
    pub height: u16,
    /// `ftyp` and `moov` with this track alone; at most [`crate::INIT_LEN_LIMIT`] bytes.
    pub bytes: Bytes,
}

impl TrackInit {
    /// The catalog's track with this init segment.
    pub fn track(&self, id: TrackId) -> Track {
        Track {
            id,
            kind: self.kind,
            codec: self.codec.clone(),
            timescale: self.timescale,
            bitrate: self.bitrate,
            width: self.width,
            height: self.height,
            init: self.bytes.clone(),
        }
    }
}

/// `moof` and `mdat` of one track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Index of its track in the last [`Cut::Init`].
    pub track_index: usize,
    /// Decode time of its first sample (`tfdt`), in ticks.
    pub start: MediaTime,
    /// In ticks.
    pub duration: u32,
    /// Whether its first sample is a sync sample.
    pub is_independent: bool,
    /// When its first sample was produced by the encoder's clock, where the encoder says (`prft`).
    pub produced_at: Option<WallTime>,
    /// At most [`crate::PART_LEN_LIMIT`] bytes.
    pub bytes: Bytes,
}

impl Chunk {
    /// The part of this track, captured then.
    pub fn into_part(self, track: TrackId, captured_at: WallTime) -> CutPart {
        let Self { start, duration, is_independent, bytes, .. } = self;
        CutPart { track, start, duration, is_independent, captured_at, bytes }
    }
}

/// What a [`Cutter`] gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cut {
    /// The tracks, one init segment each; given again only when they change.
    Init(Vec<TrackInit>),
    /// A chunk of one of them.
    Chunk(Chunk),
}

/// What is wrong with the bytes; for the sender to read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// The body does not begin with a box of fragmented MP4.
    #[error("not fragmented MP4: starts with {0:?}")]
    NotMp4(String),
    /// The body ended inside a box.
    #[error("truncated: the body ended inside a box")]
    Truncated,
}

/// Cuts fragmented MP4 into init segments and parts as its bytes arrive, in whatever pieces.
///
/// One cutter sees one track or one set of muxed tracks: an init segment first, then media, be it one endless body or
/// a body for each segment. A file with several tracks is taken apart: each gets its own init segment and chunks.
#[derive(Debug, Default)]
pub struct Cutter {
    _buffer: bytes::BytesMut,
}

impl Cutter {
    /// A cutter that waits for an init segment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of a body; [`Cutter::poll`] gives what they complete.
    ///
    /// # Errors
    /// When the bytes are not fragmented MP4 or beyond a limit; refuse the body and say why. The rest of this body is
    /// ignored; what was cut before is still given.
    pub fn push(&mut self, _bytes: &[u8]) -> Result<(), CutError> {
        Ok(())
    }

    /// The next init segments or chunk that are complete.
    pub fn poll(&mut self) -> Option<Cut> {
        None
    }

    /// Ends a body. The next [`Cutter::push`] starts another one, of the same tracks.
    ///
    /// # Errors
    /// [`CutError::Truncated`] when the body ended inside a box or between `moof` and `mdat`; what was cut stands.
    pub fn finish(&mut self) -> Result<(), CutError> {
        Ok(())
    }
}
