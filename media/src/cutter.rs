//! Cuts fragmented MP4 into init segments and chunks as its bytes arrive.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::boxes::{BoxError, BoxHeader, Mp4Box, find};
use crate::cmaf::init::{InitTrack, parse_init};
use crate::cmaf::prft::Reference;
use crate::cmaf::split::Fragment;
use crate::cut::{Cut, CutError};
use crate::{PART_LEN_LIMIT, TRACK_LIMIT};

/// Bytes of an `ftyp` at most: encoders write 20 to 40, of four for each brand.
const FTYP_LEN_LIMIT: usize = 1024;
/// Bytes of a `moov` at most, before it is taken apart: eight tracks, and some metadata that is dropped.
const MOOV_LEN_LIMIT: usize = 128 * 1024;
/// Bytes of a `moof` at most: 10 s of 60 frames and 100 sound frames a second at 16 bytes each are 26 KB.
const MOOF_LEN_LIMIT: usize = 256 * 1024;
/// Bytes of a `prft` at most; version 1 has 32.
const PRFT_LEN_LIMIT: usize = 64;
/// What a body of fragmented MP4 may begin with.
const FIRST_BOXES: [&[u8; 4]; 10] =
    [b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"prft", b"emsg", b"free", b"skip", b"mdat"];

/// Cuts fragmented MP4 into init segments and chunks as its bytes arrive, in whatever pieces.
///
/// One cutter sees one track or one set of muxed tracks: an init segment first, then media, be it one endless body or
/// a body for each segment. A file with several tracks is taken apart: each gets its own init segment and chunks.
/// It holds at most one box, and what was given to [`Cutter::push`] since it was last polled dry.
#[derive(Clone, Debug, Default)]
pub struct Cutter {
    buffer: BytesMut,
    /// Where the buffer begins in the body.
    position: u64,
    /// Bytes of a box without interest that are still to come.
    skip_len: u64,
    /// When the buffer begins with a whole `moof`: its bytes.
    moof_len: Option<usize>,
    ftyp: Bytes,
    /// The last `moov`, to see when it changes.
    moov: Bytes,
    tracks: Vec<InitTrack>,
    references: Vec<Reference>,
    cuts: VecDeque<Cut>,
    failure: Option<CutError>,
}

impl Cutter {
    /// A cutter that waits for an init segment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another cutter of the same tracks, for bytes of the body from this one on, where a box begins.
    pub fn resume_at(&self, position: u64) -> Self {
        let Self { ftyp, moov, tracks, .. } = self.clone();
        Self { position, ftyp, moov, tracks, ..Self::default() }
    }

    /// Takes the next bytes of a body; [`Cutter::poll`] gives what they complete.
    ///
    /// # Errors
    /// When the bytes are not fragmented MP4 or beyond a limit: refuse the body and say why. The rest of the body gets
    /// the same error; what was cut before is still given.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), CutError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    self.buffer.clear();
                    self.failure = Some(error.clone());
                    return Err(error);
                }
            }
        }
    }

    /// The next init segments or chunk that are complete.
    pub fn poll(&mut self) -> Option<Cut> {
        self.cuts.pop_front()
    }

    /// Ends a body. The next [`Cutter::push`] starts another one, of the same tracks.
    ///
    /// # Errors
    /// [`CutError::Truncated`] when the body ended inside a box or between `moof` and `mdat`, or what was wrong with it
    /// before; what was cut stands.
    pub fn finish(&mut self) -> Result<(), CutError> {
        let is_truncated = self.skip_len > 0 || self.moof_len.is_some() || !self.buffer.is_empty();
        let failure = self.failure.take().or(is_truncated.then_some(CutError::Truncated));
        self.buffer.clear();
        self.position = 0;
        self.skip_len = 0;
        self.moof_len = None;
        self.references.clear();
        failure.map_or(Ok(()), Err)
    }

    /// Takes one box from the buffer; false when there is no whole one.
    fn step(&mut self) -> Result<bool, CutError> {
        if self.skip_len > 0 {
            return Ok(self.skip());
        }
        let box_at = self.moof_len.unwrap_or(0);
        let rest = self.buffer.get(box_at..).unwrap_or_default();
        if self.position == 0 && box_at == 0 {
            check_start(rest)?;
        }
        let Some(header) = BoxHeader::parse(rest).map_err(CutError::NotABox)? else { return Ok(false) };
        if self.moof_len.is_some() {
            return self.take_mdat(&header);
        }
        match &header.kind.0 {
            b"ftyp" => self.whole(&header, "ftyp", FTYP_LEN_LIMIT).map(|ftyp| self.keep_ftyp(ftyp)),
            b"moov" => match self.whole(&header, "moov", MOOV_LEN_LIMIT)? {
                Some(moov) => self.take_moov(&moov).map(|()| true),
                None => Ok(false),
            },
            b"prft" => self.whole(&header, "prft", PRFT_LEN_LIMIT).map(|prft| self.take_prft(prft)),
            b"moof" => self.see_moof(&header),
            b"mdat" => Err(CutError::NotFragmented),
            _ if !header.kind.is_plausible() => Err(CutError::NotABox(BoxError::Length(header.kind))),
            _ => {
                self.skip_len = header.len;
                Ok(true)
            }
        }
    }

    fn skip(&mut self) -> bool {
        let len = usize::try_from(self.skip_len).map_or(self.buffer.len(), |len| len.min(self.buffer.len()));
        self.buffer.advance(len);
        self.position += len as u64;
        self.skip_len -= len as u64;
        self.skip_len == 0
    }

    /// The box that the buffer begins with, when it is all there.
    fn whole(
        &mut self,
        header: &BoxHeader,
        what: &'static str,
        limit: usize,
    ) -> Result<Option<Bytes>, CutError> {
        let len = within(header.len, what, limit)?;
        if self.buffer.len() < len {
            return Ok(None);
        }
        self.position += len as u64;
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    fn keep_ftyp(&mut self, ftyp: Option<Bytes>) -> bool {
        ftyp.is_some_and(|ftyp| {
            // A copy, so that the buffer that it was read from can go.
            self.ftyp = Bytes::copy_from_slice(&ftyp);
            true
        })
    }

    fn take_moov(&mut self, moov: &Bytes) -> Result<(), CutError> {
        if *moov == self.moov && !self.tracks.is_empty() {
            return Ok(());
        }
        self.tracks = parse_init(&self.ftyp, moov)?;
        self.moov = Bytes::copy_from_slice(moov);
        self.cuts.push_back(Cut::Init(self.tracks.iter().map(|track| track.init.clone()).collect()));
        Ok(())
    }

    /// Keeps the newest reference of each track; an unreadable one is no harm.
    fn take_prft(&mut self, prft: Option<Bytes>) -> bool {
        let Some(prft) = prft else { return false };
        let body = find(&prft, *b"prft").ok().flatten().map(|found| found.body);
        if let Some(reference) = body.and_then(Reference::parse) {
            self.references.retain(|other| other.track_id != reference.track_id);
            self.references.truncate(TRACK_LIMIT - 1);
            self.references.push(reference);
        }
        true
    }

    fn see_moof(&mut self, header: &BoxHeader) -> Result<bool, CutError> {
        if self.tracks.is_empty() {
            return Err(CutError::NoInit);
        }
        let len = within(header.len, "moof", MOOF_LEN_LIMIT)?;
        if self.buffer.len() < len {
            return Ok(false);
        }
        self.moof_len = Some(len);
        Ok(true)
    }

    /// With a whole `moof` at the front of the buffer: its `mdat` comes next.
    fn take_mdat(&mut self, header: &BoxHeader) -> Result<bool, CutError> {
        if &header.kind.0 != b"mdat" {
            return Err(CutError::NoMdat(header.kind));
        }
        let moof_len = self.moof_len.unwrap_or(0);
        let len = within(header.len.saturating_add(moof_len as u64), "part", PART_LEN_LIMIT)?;
        if self.buffer.len() < len {
            return Ok(false);
        }
        let bytes = self.buffer.split_to(len).freeze();
        let position = self.position;
        self.position += len as u64;
        self.moof_len = None;
        self.take_fragment(&bytes, header.header_len, position)?;
        Ok(true)
    }

    fn take_fragment(
        &mut self,
        bytes: &Bytes,
        mdat_header_len: usize,
        position: u64,
    ) -> Result<(), CutError> {
        let broken = |error| CutError::Malformed("moof", error);
        let Some(moof): Option<Mp4Box<'_>> = find(bytes, *b"moof").map_err(broken)? else { return Ok(()) };
        let fragment = Fragment { bytes, moof, mdat_header_len, position };
        for mut chunk in fragment.chunks(&self.tracks)? {
            let Some(track) = self.tracks.get(chunk.track_index) else { continue };
            let id = track.init.container_id;
            let media_time = chunk.start.0.saturating_sub(track.time_offset);
            let reference = self.references.iter().find(|reference| reference.track_id == id);
            chunk.produced_at = reference.and_then(|r| r.at(media_time, track.init.timescale));
            self.references.retain(|reference| reference.track_id != id);
            self.cuts.push_back(Cut::Chunk(chunk));
        }
        Ok(())
    }
}

/// Whether a body may begin like this; fewer than eight bytes are not judged.
fn check_start(bytes: &[u8]) -> Result<(), CutError> {
    let Some(start) = bytes.first_chunk::<8>() else { return Ok(()) };
    let is_known = FIRST_BOXES.iter().any(|kind| start.ends_with(*kind));
    if is_known { Ok(()) } else { Err(CutError::NotMp4(*start)) }
}

fn within(len: u64, what: &'static str, limit: usize) -> Result<usize, CutError> {
    let too_long = CutError::TooLong { what, len, limit };
    usize::try_from(len).ok().filter(|&len| len <= limit).ok_or(too_long)
}
