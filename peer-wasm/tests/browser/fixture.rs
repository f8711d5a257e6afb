//! Eight seconds of a test card with a tone, cut as at ingest.
//!
//! Made by `ffmpeg -f lavfi -i testsrc=size=96x54:rate=10:duration=8 -f lavfi -i sine=440:duration=8`, the video by
//! `-c:v libx264 -profile:v baseline -preset veryslow -crf 40 -g 10 -bf 0 -pix_fmt yuv420p`, the audio by
//! `-c:a aac -b:a 8k -ac 1 -ar 16000`, both `-movflags +cmaf+empty_moov+default_base_moof -frag_duration 200000`.

use cardume_media::{Catalog, Cut, CutPart, Cutter, SigningKey, Track};
use cardume_wire::{Epoch, TrackId, WallTime};

const VIDEO: &[u8] = include_bytes!("fixtures/video.mp4");
const AUDIO: &[u8] = include_bytes!("fixtures/audio.mp4");

/// A broadcast: its tracks, and its parts by the time they end at.
pub(crate) struct Broadcast {
    pub(crate) tracks: Vec<Track>,
    pub(crate) parts: Vec<CutPart>,
}

impl Broadcast {
    pub(crate) fn catalog(&self, epoch: u32) -> Catalog {
        Catalog::new(Epoch(epoch), self.tracks.clone()).unwrap()
    }

    /// Where a part ends on the media timeline, in microseconds.
    pub(crate) fn end_us(&self, part: &CutPart) -> u64 {
        let timescale = self.tracks[usize::from(part.track.0)].timescale;
        part.start.saturating_add(part.duration).to_micros(timescale)
    }

    /// Where a part begins.
    pub(crate) fn start_us(&self, part: &CutPart) -> u64 {
        part.start.to_micros(self.tracks[usize::from(part.track.0)].timescale)
    }

    /// Everything that may be appended to a `SourceBuffer`: init segments and parts.
    pub(crate) fn is_genuine(&self, bytes: &[u8]) -> bool {
        self.tracks.iter().any(|track| track.init == bytes)
            || self.parts.iter().any(|part| part.bytes == bytes)
    }
}

/// The channel's key.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

/// The fixture, cut.
pub(crate) fn broadcast() -> Broadcast {
    let mut broadcast = Broadcast { tracks: Vec::new(), parts: Vec::new() };
    for (id, bytes) in [(TrackId(0), VIDEO), (TrackId(1), AUDIO)] {
        let mut cutter = Cutter::new();
        cutter.push(bytes).unwrap();
        while let Some(cut) = cutter.poll() {
            match cut {
                Cut::Init(tracks) => broadcast.tracks.push(tracks[0].track(id)),
                Cut::Chunk(chunk) => broadcast.parts.push(chunk.into_part(id, WallTime(0))),
            }
        }
    }
    let mut parts = core::mem::take(&mut broadcast.parts);
    parts.sort_by_key(|part| broadcast.end_us(part));
    broadcast.parts = parts;
    broadcast
}
