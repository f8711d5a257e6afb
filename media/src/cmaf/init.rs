//! The movie header (`moov`): its tracks, each with an init segment of its own.

use bytes::Bytes;

use super::codec::SampleEntry;
use super::edits::EmptyEdits;
use crate::boxes::{BoxError, FourCc, Mp4Box, boxes, find, write_box};
use crate::cut::{CutError, TrackInit};
use crate::read::Reader;
use crate::{INIT_LEN_LIMIT, TRACK_LIMIT, TrackKind};

/// What samples of a track have where a fragment does not say (`trex`, ISO/IEC 14496-12, section 8.8.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SampleDefaults {
    pub(crate) duration: u32,
    pub(crate) size: u32,
    pub(crate) flags: u32,
}

/// A track, and what its fragments leave out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InitTrack {
    pub(crate) init: TrackInit,
    pub(crate) defaults: SampleDefaults,
    /// Ticks to add to the decode time of each fragment, for the empty edits that were taken out.
    pub(crate) time_offset: u64,
}

/// The video and audio tracks of a movie header, in its order; others are left out. `ftyp` is the whole box, or empty.
pub(crate) fn parse_init(ftyp: &[u8], moov: &[u8]) -> Result<Vec<InitTrack>, CutError> {
    let broken = |error| CutError::Malformed("moov", error);
    let moov_body = find(moov, *b"moov").map_err(broken)?.map_or(&[][..], |found| found.body);
    let mvex = find(moov_body, *b"mvex").map_err(broken)?.ok_or(CutError::NotFragmented)?;
    let mut tracks = Vec::new();
    let sources =
        boxes(moov_body).filter(|item| item.is_err() || item.is_ok_and(|found| &found.kind.0 == b"trak"));
    let sources = sources.take(TRACK_LIMIT + 1).collect::<Result<Vec<_>, _>>().map_err(broken)?;
    if sources.len() > TRACK_LIMIT {
        return Err(CutError::TooManyTracks);
    }
    for trak in &sources {
        let Some(facts) = Trak::parse(trak).map_err(broken)? else { continue };
        let bytes = if sources.len() == 1 && facts.empty_edits == EmptyEdits::default() {
            [ftyp, moov].concat()
        } else {
            single_track_init(ftyp, moov_body, mvex.body, (trak, &facts))
        };
        let time_offset = facts.time_offset(moov_body).map_err(broken)?;
        tracks.push(facts.into_track(mvex.body, bytes, time_offset)?);
    }
    if tracks.is_empty() { Err(CutError::NoTracks) } else { Ok(tracks) }
}

/// What a `trak` says; the sample entry is left unread.
struct Trak<'a> {
    id: u32,
    kind: TrackKind,
    timescale: u32,
    entry: Mp4Box<'a>,
    empty_edits: EmptyEdits,
}

impl<'a> Trak<'a> {
    /// `None` for a track that is neither video nor audio.
    fn parse(trak: &Mp4Box<'a>) -> Result<Option<Self>, BoxError> {
        let broken = BoxError::Length(trak.kind);
        let mdia = child(trak, *b"mdia")?;
        let handler: [u8; 4] = field(&child(&mdia, *b"hdlr")?, 8)?;
        let kind = match &handler {
            b"vide" => TrackKind::Video,
            b"soun" => TrackKind::Audio,
            _ => return Ok(None),
        };
        let stbl = child(&child(&mdia, *b"minf")?, *b"stbl")?;
        let stsd = child(&stbl, *b"stsd")?;
        let entries = stsd.body.get(8..).ok_or(broken)?;
        let entry = boxes(entries).next().ok_or(broken)??;
        let id = versioned_field(&child(trak, *b"tkhd")?)?;
        let timescale = versioned_field(&child(&mdia, *b"mdhd")?)?;
        Ok(Some(Self { id, kind, timescale, entry, empty_edits: EmptyEdits::parse(trak) }))
    }

    /// The duration of the empty edits in the track's own ticks.
    fn time_offset(&self, moov: &[u8]) -> Result<u64, BoxError> {
        let broken = BoxError::Length(FourCc(*b"mvhd"));
        let movie_timescale = versioned_field(&find(moov, *b"mvhd")?.ok_or(broken)?)?.max(1);
        let ticks = u128::from(self.empty_edits.duration) * u128::from(self.timescale);
        u64::try_from(ticks / u128::from(movie_timescale)).map_err(|_| broken)
    }

    fn into_track(self, mvex: &[u8], bytes: Vec<u8>, time_offset: u64) -> Result<InitTrack, CutError> {
        let entry = SampleEntry::parse(&self.entry, self.kind)?;
        if bytes.len() > INIT_LEN_LIMIT {
            return Err(CutError::TooLong {
                what: "init segment",
                len: bytes.len() as u64,
                limit: INIT_LEN_LIMIT,
            });
        }
        if self.timescale == 0 {
            return Err(CutError::Malformed("moov", BoxError::Length(self.entry.kind)));
        }
        let init = TrackInit {
            container_id: self.id,
            kind: self.kind,
            codec: entry.codec,
            timescale: self.timescale,
            bitrate: entry.bitrate,
            width: entry.width,
            height: entry.height,
            bytes: Bytes::from(bytes),
        };
        Ok(InitTrack { init, defaults: sample_defaults(mvex, self.id), time_offset })
    }
}

fn child<'a>(parent: &Mp4Box<'a>, kind: [u8; 4]) -> Result<Mp4Box<'a>, BoxError> {
    find(parent.body, kind)?.ok_or(BoxError::Length(parent.kind))
}

fn field<const N: usize>(parent: &Mp4Box<'_>, at: usize) -> Result<[u8; N], BoxError> {
    let bytes = parent.body.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().ok_or(BoxError::Length(parent.kind))
}

/// The number after creation and modification time: `track_ID` in `tkhd`, `timescale` in `mdhd` and `mvhd`. In version 1 the
/// times have 64 bits.
fn versioned_field(parent: &Mp4Box<'_>) -> Result<u32, BoxError> {
    let [version] = field(parent, 0)?;
    field(parent, if version == 0 { 12 } else { 20 }).map(u32::from_be_bytes)
}

fn sample_defaults(mvex: &[u8], id: u32) -> SampleDefaults {
    let defaults = trexes(mvex).find_map(|trex| {
        let mut reader = Reader::new(trex.body);
        reader.skip(4)?;
        (reader.u32()? == id).then_some(())?;
        reader.skip(4)?;
        Some(SampleDefaults { duration: reader.u32()?, size: reader.u32()?, flags: reader.u32()? })
    });
    defaults.unwrap_or_default()
}

fn trexes(mvex: &[u8]) -> impl Iterator<Item = Mp4Box<'_>> {
    boxes(mvex).map_while(Result::ok).filter(|found| &found.kind.0 == b"trex")
}

/// `ftyp` and a `moov` with one track.
fn single_track_init(
    ftyp: &[u8],
    moov: &[u8],
    mvex: &[u8],
    (trak, facts): (&Mp4Box<'_>, &Trak<'_>),
) -> Vec<u8> {
    let mut out = ftyp.to_vec();
    write_box(&mut out, *b"moov", |out| {
        if let Ok(Some(mvhd)) = find(moov, *b"mvhd") {
            out.extend_from_slice(mvhd.bytes);
        }
        facts.empty_edits.write_without(out, trak);
        write_box(out, *b"mvex", |out| {
            let is_own =
                |trex: &Mp4Box<'_>| field(trex, 4).is_ok_and(|bytes| u32::from_be_bytes(bytes) == facts.id);
            trexes(mvex).filter(is_own).for_each(|trex| out.extend_from_slice(trex.bytes));
        });
    });
    out
}
