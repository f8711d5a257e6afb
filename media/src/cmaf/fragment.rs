//! The movie fragment (`moof`): when its samples are, and where.

use super::init::SampleDefaults;
use crate::boxes::{BoxError, FourCc, Mp4Box, boxes, find};
use crate::read::Reader;

/// Samples of one track in one fragment at most: 10 minutes at 60 frames a second, several times what a part limit
/// of 4 MiB holds. Without it, a run of empty samples could claim 2^32.
const SAMPLE_LIMIT: u32 = 36_000;

/// Flags of `tfhd` (ISO/IEC 14496-12, section 8.8.7).
pub(crate) const TFHD_BASE_DATA_OFFSET: u32 = 0x1;
pub(crate) const TFHD_DEFAULT_BASE_IS_MOOF: u32 = 0x2_0000;
const TFHD_SAMPLE_DESCRIPTION: u32 = 0x2;
const TFHD_DURATION: u32 = 0x8;
const TFHD_SIZE: u32 = 0x10;
const TFHD_FLAGS: u32 = 0x20;
/// Flags of `trun` (section 8.8.8).
pub(crate) const TRUN_DATA_OFFSET: u32 = 0x1;
const TRUN_FIRST_FLAGS: u32 = 0x4;
const TRUN_DURATION: u32 = 0x100;
const TRUN_SIZE: u32 = 0x200;
const TRUN_FLAGS: u32 = 0x400;
const TRUN_COMPOSITION: u32 = 0x800;
/// Sample flags (section 8.8.3.1).
const SAMPLE_IS_NON_SYNC: u32 = 0x1_0000;

/// One track's share of a fragment.
#[derive(Debug)]
pub(crate) struct TrackFragment<'a> {
    /// The whole `traf`.
    pub(crate) traf: Mp4Box<'a>,
    pub(crate) header: Header<'a>,
    /// Decode time of the first sample, in ticks.
    pub(crate) start: u64,
}

/// `tfhd`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header<'a> {
    pub(crate) flags: u32,
    pub(crate) track_id: u32,
    pub(crate) base_data_offset: Option<u64>,
    /// The fields after the base data offset, as they are.
    pub(crate) rest: &'a [u8],
    duration: Option<u32>,
    size: Option<u32>,
    sample_flags: Option<u32>,
}

/// `trun`, with what it adds up to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    /// Version and flags.
    pub(crate) head: u32,
    pub(crate) n_samples: u32,
    pub(crate) data_offset: Option<i32>,
    /// The fields after the data offset, as they are.
    pub(crate) rest: &'a [u8],
    /// In ticks.
    pub(crate) duration: u64,
    /// Bytes of its samples.
    pub(crate) len: u64,
    first_flags: Option<u32>,
}

/// The track fragments of a `moof`, in order.
pub(crate) fn track_fragments<'a>(moof: &Mp4Box<'a>) -> Result<Vec<TrackFragment<'a>>, BoxError> {
    let trafs =
        boxes(moof.body).filter(|item| item.is_err() || item.is_ok_and(|found| &found.kind.0 == b"traf"));
    trafs.map(|traf| TrackFragment::parse(traf?)).collect()
}

impl<'a> TrackFragment<'a> {
    fn parse(traf: Mp4Box<'a>) -> Result<Self, BoxError> {
        let missing = |kind: [u8; 4]| BoxError::Length(FourCc(kind));
        let tfhd = find(traf.body, *b"tfhd")?.ok_or(missing(*b"tfhd"))?;
        let header = Header::parse(tfhd.body).ok_or(missing(*b"tfhd"))?;
        let tfdt = find(traf.body, *b"tfdt")?.ok_or(missing(*b"tfdt"))?;
        let start = parse_tfdt(tfdt.body).ok_or(missing(*b"tfdt"))?;
        Ok(Self { traf, header, start })
    }

    /// Its runs, in order; together at most [`SAMPLE_LIMIT`] samples.
    pub(crate) fn runs(&self, defaults: SampleDefaults) -> Result<Vec<Run<'a>>, BoxError> {
        let defaults = self.header.over(defaults);
        let mut runs = Vec::new();
        let mut n_samples: u32 = 0;
        for item in boxes(self.traf.body) {
            let found = item?;
            if &found.kind.0 != b"trun" {
                continue;
            }
            let run = Run::parse(found.body, defaults).ok_or(BoxError::Length(found.kind))?;
            n_samples = n_samples.saturating_add(run.n_samples);
            if n_samples > SAMPLE_LIMIT {
                return Err(BoxError::Length(found.kind));
            }
            runs.push(run);
        }
        Ok(runs)
    }

    /// Whether decoding can start at the first sample.
    pub(crate) fn is_independent(&self, runs: &[Run<'_>], defaults: SampleDefaults) -> bool {
        let first = runs.iter().find(|run| run.n_samples > 0);
        let flags = first.and_then(|run| run.first_flags).unwrap_or(self.header.over(defaults).flags);
        flags & SAMPLE_IS_NON_SYNC == 0
    }
}

impl<'a> Header<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let flags = reader.u32()? & 0xFF_FFFF;
        let track_id = reader.u32()?;
        let base_data_offset = if flags & TFHD_BASE_DATA_OFFSET == 0 { None } else { Some(reader.u64()?) };
        let rest = reader.rest();
        let mut optional = |flag| if flags & flag == 0 { Some(None) } else { reader.u32().map(Some) };
        optional(TFHD_SAMPLE_DESCRIPTION)?;
        let duration = optional(TFHD_DURATION)?;
        let size = optional(TFHD_SIZE)?;
        let sample_flags = optional(TFHD_FLAGS)?;
        Some(Self { flags, track_id, base_data_offset, rest, duration, size, sample_flags })
    }

    /// Whether its data is addressed from its own `moof`, as the ISO BMFF byte stream format of Media Source
    /// Extensions demands.
    pub(crate) const fn is_self_contained(&self) -> bool {
        self.flags & TFHD_DEFAULT_BASE_IS_MOOF != 0 && self.base_data_offset.is_none()
    }

    fn over(&self, defaults: SampleDefaults) -> SampleDefaults {
        SampleDefaults {
            duration: self.duration.unwrap_or(defaults.duration),
            size: self.size.unwrap_or(defaults.size),
            flags: self.sample_flags.unwrap_or(defaults.flags),
        }
    }
}

impl<'a> Run<'a> {
    fn parse(body: &'a [u8], defaults: SampleDefaults) -> Option<Self> {
        let mut reader = Reader::new(body);
        let head = reader.u32()?;
        let has = |flag: u32| head & flag != 0;
        let n_samples = reader.u32()?;
        (n_samples <= SAMPLE_LIMIT).then_some(())?;
        let data_offset = if has(TRUN_DATA_OFFSET) { Some(reader.u32()?.cast_signed()) } else { None };
        let rest = reader.rest();
        let mut first_flags = if has(TRUN_FIRST_FLAGS) { Some(reader.u32()?) } else { None };
        let (mut duration, mut len) = (0, 0);
        for _ in 0..n_samples {
            duration += u64::from(if has(TRUN_DURATION) { reader.u32()? } else { defaults.duration });
            len += u64::from(if has(TRUN_SIZE) { reader.u32()? } else { defaults.size });
            if has(TRUN_FLAGS) {
                let flags = reader.u32()?;
                first_flags.get_or_insert(flags);
            }
            if has(TRUN_COMPOSITION) {
                reader.skip(4)?;
            }
        }
        Some(Self { head, n_samples, data_offset, rest, duration, len, first_flags })
    }
}

fn parse_tfdt(body: &[u8]) -> Option<u64> {
    let mut reader = Reader::new(body);
    let version = reader.u32()? >> 24;
    if version == 0 { reader.u32().map(u64::from) } else { reader.u64() }
}
