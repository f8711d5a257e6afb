//! The producer's reference time (ISO/IEC 14496-12, section 8.16.5).

use cardume_wire::WallTime;

use crate::read::Reader;
use crate::ticks_to_micros;

/// Seconds from 1900, where NTP counts from (RFC 5905), to 1970.
const NTP_TO_UNIX_SECONDS: u64 = 2_208_988_800;
/// How far a reference may be from the chunk it stands before, in microseconds: no chunk is that long. A larger
/// distance means that the two count media time differently.
const DISTANCE_LIMIT: u64 = 10_000_000;

/// "At this wall time the media of this track was at that media time."
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reference {
    pub(crate) track_id: u32,
    at: WallTime,
    media_time: u64,
}

impl Reference {
    /// Reads a `prft` box's body.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let version = reader.u32()? >> 24;
        let track_id = reader.u32()?;
        let (seconds, fraction) = (u64::from(reader.u32()?), u64::from(reader.u32()?));
        let media_time = if version == 0 { u64::from(reader.u32()?) } else { reader.u64()? };
        let seconds = seconds.checked_sub(NTP_TO_UNIX_SECONDS)?;
        let at = WallTime(seconds * 1_000_000 + ((fraction * 1_000_000) >> 32));
        Some(Self { track_id, at, media_time })
    }

    /// The wall time of another media time nearby.
    pub(crate) fn at(&self, media_time: u64, timescale: u32) -> Option<WallTime> {
        let distance = ticks_to_micros(media_time.abs_diff(self.media_time), timescale);
        if distance > DISTANCE_LIMIT {
            return None;
        }
        let at = if media_time < self.media_time {
            self.at.0.checked_sub(distance)
        } else {
            self.at.0.checked_add(distance)
        };
        at.map(WallTime)
    }
}
