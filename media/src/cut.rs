//! What cutting gives: init segments, chunks, and errors for the sender.

use bytes::Bytes;
use cardume_wire::{TrackId, WallTime};

use crate::boxes::{BoxError, FourCc};
use crate::{CutPart, MediaTime, TRACK_LIMIT, Track, TrackKind};

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
    #[error("not fragmented MP4: starts with \"{}\"{}", .0.escape_ascii(), hint(*.0))]
    NotMp4([u8; 8]),
    /// An MP4 whose media is not in fragments.
    #[error("the MP4 is not fragmented: with ffmpeg, add -movflags +cmaf+empty_moov+default_base_moof")]
    NotFragmented,
    /// Media before `moov`.
    #[error("media came before the init segment (ftyp, moov): send that first")]
    NoInit,
    /// The body ended inside a box.
    #[error("truncated: the body ended inside a box or between moof and mdat")]
    Truncated,
    /// A `moof` and something other than its `mdat`.
    #[error("box {0} stands where the mdat of a moof was expected")]
    NoMdat(FourCc),
    /// Bytes where a box should be.
    #[error("not a box: {0}")]
    NotABox(BoxError),
    /// A box of the container that cannot be read.
    #[error("{0} is malformed: {1}")]
    Malformed(&'static str, BoxError),
    /// Longer than a limit.
    #[error(
        "the {what} has {len} bytes, and the limit is {limit}: send shorter segments, or parts (-frag_duration)"
    )]
    TooLong {
        /// Which box or segment.
        what: &'static str,
        /// Its bytes.
        len: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// Longer in time than 2^32 ticks.
    #[error("a part is longer than 2^32 ticks")]
    Duration,
    /// Neither video nor audio.
    #[error("the init segment has no video and no audio track")]
    NoTracks,
    /// More tracks than a catalog holds.
    #[error("the init segment has more than {TRACK_LIMIT} tracks")]
    TooManyTracks,
    /// A sample entry that is not known here, or encrypted.
    #[error(
        "codec {0} is not supported: send H.264, H.265, AV1 or VP9 with AAC, Opus, FLAC or (E-)AC-3, not encrypted"
    )]
    UnknownCodec(FourCc),
    /// A sample entry whose decoder configuration is missing or broken: the encoder wrote `moov` before it knew.
    #[error("the decoder configuration of {0} is missing or broken: with ffmpeg, add -movflags +delay_moov")]
    NoDecoderConfiguration(FourCc),
    /// A `moof` that points out of its `mdat`.
    #[error("a moof places samples outside of the mdat that follows it")]
    DataOutside,
}

/// What to do about the wrong container, for those that are sent by mistake most.
fn hint(start: [u8; 8]) -> &'static str {
    match start {
        [b'F', b'L', b'V', ..] => " (FLV: send it to the RTMP address)",
        [0x47, ..] => " (MPEG-TS: with ffmpeg's HLS output, add -hls_segment_type fmp4)",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => " (Matroska or WebM: with ffmpeg, use -f dash or -f mp4)",
        [b'#', b'E', b'X', b'T', ..] => " (an HLS playlist)",
        [b'<', ..] => " (XML: an MPD?)",
        _ => "",
    }
}
