//! Takes a `moof` and its `mdat` apart into chunks of one track each.

use bytes::Bytes;

use super::fragment::{
    Run, TFHD_BASE_DATA_OFFSET, TFHD_DEFAULT_BASE_IS_MOOF, TRUN_DATA_OFFSET, TrackFragment, track_fragments,
};
use super::init::InitTrack;
use crate::boxes::{Mp4Box, boxes, put_u32, write_box};
use crate::cut::{Chunk, CutError};
use crate::{MediaTime, PART_LEN_LIMIT};

/// A `moof` and its `mdat`, as they stood in the body.
pub(crate) struct Fragment<'a> {
    /// Both, nothing between.
    pub(crate) bytes: &'a Bytes,
    pub(crate) moof: Mp4Box<'a>,
    /// Bytes of the `mdat`'s header.
    pub(crate) mdat_header_len: usize,
    /// Where the `moof` began in the body, which absolute data offsets count from.
    pub(crate) position: u64,
}

impl Fragment<'_> {
    /// One chunk for each known track that has samples here, in the order of the fragment. A fragment of a single
    /// track stays as it is when its data is addressed as browsers want it (ISO BMFF byte stream format, section 4).
    pub(crate) fn chunks(&self, tracks: &[InitTrack]) -> Result<Vec<Chunk>, CutError> {
        let broken = |error| CutError::Malformed("moof", error);
        let fragments = track_fragments(&self.moof).map_err(broken)?;
        let is_single = fragments.len() == 1;
        let mut chunks = Vec::new();
        let mut data_end = 0;
        for fragment in &fragments {
            let track_index =
                tracks.iter().position(|track| track.init.container_id == fragment.header.track_id);
            let track = track_index.and_then(|index| tracks.get(index));
            let runs =
                fragment.runs(track.map_or_else(Default::default, |track| track.defaults)).map_err(broken)?;
            let places = self.places(fragment, &runs, &mut data_end)?;
            let (Some(track_index), Some(track)) = (track_index, track) else { continue };
            if runs.iter().all(|run| run.n_samples == 0) {
                continue;
            }
            let start = fragment.start.checked_add(track.time_offset).ok_or(CutError::Duration)?;
            let is_untouched = is_single && track.time_offset == 0 && fragment.header.is_self_contained();
            let bytes = if is_untouched {
                self.bytes.clone()
            } else {
                self.extract(fragment, start, (&runs, &places))?
            };
            let duration = runs.iter().map(|run| run.duration).sum::<u64>();
            chunks.push(Chunk {
                track_index,
                start: MediaTime(start),
                duration: u32::try_from(duration).map_err(|_| CutError::Duration)?,
                is_independent: fragment.is_independent(&runs, track.defaults),
                produced_at: None,
                bytes,
            });
        }
        Ok(chunks)
    }

    /// The media of each run, checked to lie in the `mdat`. `data_end` is where the track fragment before ended its
    /// data, counted from the `moof`; old files address from there.
    fn places(
        &self,
        fragment: &TrackFragment<'_>,
        runs: &[Run<'_>],
        data_end: &mut i64,
    ) -> Result<Vec<&[u8]>, CutError> {
        let base = match fragment.header.base_data_offset {
            Some(offset) => offset.checked_signed_diff(self.position).ok_or(CutError::DataOutside)?,
            None if fragment.header.flags & TFHD_DEFAULT_BASE_IS_MOOF != 0 => 0,
            None => *data_end,
        };
        let media_start = self.moof.bytes.len() + self.mdat_header_len;
        let mut position = base;
        let mut total = 0;
        let mut places = Vec::with_capacity(runs.len());
        for run in runs {
            if let Some(offset) = run.data_offset {
                position = base.checked_add(i64::from(offset)).ok_or(CutError::DataOutside)?;
            }
            let start = usize::try_from(position).map_err(|_| CutError::DataOutside)?;
            let len = usize::try_from(run.len).map_err(|_| CutError::DataOutside)?;
            let end = start.checked_add(len).ok_or(CutError::DataOutside)?;
            if len > 0 && start < media_start {
                return Err(CutError::DataOutside);
            }
            let place = if len > 0 { self.bytes.get(start..end) } else { Some(&[][..]) };
            places.push(place.ok_or(CutError::DataOutside)?);
            total += len;
            position = i64::try_from(end).map_err(|_| CutError::DataOutside)?;
        }
        *data_end = position;
        // Runs that overlap would make the copy larger than the original.
        if total > self.bytes.len() { Err(CutError::DataOutside) } else { Ok(places) }
    }

    /// A fragment with this track alone: its boxes with offsets from the new `moof`, then its media in order.
    fn extract(
        &self,
        fragment: &TrackFragment<'_>,
        start: u64,
        (runs, places): (&[Run<'_>], &[&[u8]]),
    ) -> Result<Bytes, CutError> {
        let media_len: usize = places.iter().map(|place| place.len()).sum();
        let mut out = Vec::with_capacity(self.moof.bytes.len() + media_len + 64);
        let mut offsets_at = Vec::with_capacity(runs.len());
        write_box(&mut out, *b"moof", |out| {
            for child in boxes(self.moof.body).map_while(Result::ok) {
                if &child.kind.0 == b"mfhd" {
                    out.extend_from_slice(child.bytes);
                }
            }
            write_box(out, *b"traf", |out| {
                write_track_fragment(out, fragment, start, (runs, &mut offsets_at));
            });
        });
        let mut offset = out.len() + 8;
        for (at, place) in offsets_at.into_iter().zip(places) {
            put_u32(&mut out, at, u32::try_from(offset).map_err(|_| CutError::DataOutside)?);
            offset += place.len();
        }
        write_box(&mut out, *b"mdat", |out| places.iter().for_each(|place| out.extend_from_slice(place)));
        if out.len() > PART_LEN_LIMIT {
            return Err(CutError::TooLong { what: "part", len: out.len() as u64, limit: PART_LEN_LIMIT });
        }
        Ok(out.into())
    }
}

/// The body of a `traf` that addresses its data from its own `moof`. Where the data offsets have to be written is
/// noted in `offsets_at`. Places of auxiliary data (`saio`) would be wrong now, so they and what they are for go.
fn write_track_fragment(
    out: &mut Vec<u8>,
    fragment: &TrackFragment<'_>,
    start: u64,
    (runs, offsets_at): (&[Run<'_>], &mut Vec<usize>),
) {
    let mut runs = runs.iter();
    for child in boxes(fragment.traf.body).map_while(Result::ok) {
        match &child.kind.0 {
            b"tfhd" => write_header(out, fragment),
            b"tfdt" => write_decode_time(out, start),
            b"trun" => {
                if let Some(run) = runs.next() {
                    write_run(out, run, offsets_at);
                }
            }
            b"saio" | b"saiz" | b"senc" | b"uuid" => {}
            _ => out.extend_from_slice(child.bytes),
        }
    }
}

fn write_header(out: &mut Vec<u8>, fragment: &TrackFragment<'_>) {
    let header = &fragment.header;
    let flags = header.flags & !TFHD_BASE_DATA_OFFSET | TFHD_DEFAULT_BASE_IS_MOOF;
    write_box(out, *b"tfhd", |out| {
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&header.track_id.to_be_bytes());
        out.extend_from_slice(header.rest);
    });
}

/// Always in version 1, with 64 bits.
fn write_decode_time(out: &mut Vec<u8>, start: u64) {
    write_box(out, *b"tfdt", |out| {
        out.extend_from_slice(&[1, 0, 0, 0]);
        out.extend_from_slice(&start.to_be_bytes());
    });
}

fn write_run(out: &mut Vec<u8>, run: &Run<'_>, offsets_at: &mut Vec<usize>) {
    write_box(out, *b"trun", |out| {
        out.extend_from_slice(&(run.head | TRUN_DATA_OFFSET).to_be_bytes());
        out.extend_from_slice(&run.n_samples.to_be_bytes());
        offsets_at.push(out.len());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(run.rest);
    });
}
