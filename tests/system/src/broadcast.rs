//! A made-up broadcast: the tracker does not look into the samples, so these are noise of the right size.

use std::time::Duration;

use bytes::Bytes;
use cardume::channel::{Broadcast, BroadcastError};
use cardume_media::{CutPart, MediaTime, Track, TrackKind};
use cardume_wire::{TrackId, WallTime};

/// Media time of each part.
pub const PART_DURATION: Duration = Duration::from_millis(200);
/// Parts from one key frame to the next: a second.
const KEY_FRAME_INTERVAL: u32 = 5;
const TIMESCALE: u32 = 90_000;

/// One video track.
pub fn tracks() -> Vec<Track> {
    vec![Track {
        id: TrackId(0),
        kind: TrackKind::Video,
        codec: "avc1.42C01E".to_owned(),
        timescale: TIMESCALE,
        bitrate: 1_000_000,
        width: 640,
        height: 360,
        init: Bytes::from_static(b"init segment"),
    }]
}

/// Part number `index` with this many bytes, captured now.
pub fn cut_part(index: u32, len: usize) -> CutPart {
    let duration = u32::try_from(PART_DURATION.as_millis()).unwrap() * (TIMESCALE / 1000);
    CutPart {
        track: TrackId(0),
        start: MediaTime(u64::from(index) * u64::from(duration)),
        duration,
        is_independent: index.is_multiple_of(KEY_FRAME_INTERVAL),
        captured_at: WallTime(cardume::clock::wall_time().0),
        bytes: media_of(index, len),
    }
}

/// The bytes of that part: different in each, and in each place.
pub fn media_of(index: u32, len: usize) -> Bytes {
    let mut state = index.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        // xorshift32
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// Sends parts of this many bytes in real time, until the broadcast is ended by the tracker; gives it back then.
pub async fn send_for_ever(mut broadcast: Broadcast, len: usize) -> (Broadcast, BroadcastError) {
    let mut beat = tokio::time::interval(PART_DURATION);
    for index in 0.. {
        beat.tick().await;
        if let Err(error) = broadcast.publish(cut_part(index, len)).await {
            return (broadcast, error);
        }
    }
    unreachable!("there are more numbers than a test has time for")
}
