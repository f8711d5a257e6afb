//! A channel that is on air by itself: eight seconds of picture and sound, for ever.
//!
//! The sample is in the binary. Each round its decode times are moved on by its exact length, and its parts are sent
//! when an encoder would have them: at their end.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cardume_media::{Chunk, Cut, CutError, CutPart, Cutter, MediaTime, TrackInit, ticks_to_micros};
use cardume_wire::{TrackId, WallTime};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::channel::{Broadcast, BroadcastError, Channel};
use crate::clock::wall_time;

const VIDEO: &[u8] = include_bytes!("../assets/demo-video.mp4");
const AUDIO: &[u8] = include_bytes!("../assets/demo-audio.mp4");

/// How often to look whether the channel is free, while somebody else sends to it.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// How far the wall clock may walk from the clock that paces us before the broadcast begins anew: a machine that
/// slept, or whose clock was set. Slewing clocks stay far below.
const CLOCK_STEP_LIMIT_US: u64 = 500_000;

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The sample cannot be cut.
    #[error("the demo's sample cannot be read: {0}")]
    Sample(#[from] CutError),
    /// The sample lacks something.
    #[error("the demo's sample has no {0}")]
    Missing(&'static str),
    /// The channel cannot be sent to.
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
}

/// Sends the sample to a channel until `stop`, whenever nobody else does.
///
/// # Errors
/// The sample is broken, or the tracker goes down.
pub async fn run(channel: Arc<Channel>, stop: CancellationToken) -> Result<(), DemoError> {
    let sample = Sample::read()?;
    stop.run_until_cancelled(sample.play_for_ever(&channel)).await.unwrap_or(Ok(()))
}

/// The sample, cut.
struct Sample {
    tracks: Vec<SampleTrack>,
    /// In the order of their ends: as they are sent.
    parts: Vec<SamplePart>,
}

struct SampleTrack {
    init: TrackInit,
    /// One round, in ticks.
    round: u64,
}

struct SamplePart {
    chunk: Chunk,
    /// Index of its track.
    track: usize,
    /// Where its decode time stands in its bytes.
    time_at: usize,
    /// In microseconds from the sample's beginning.
    end_us: u64,
}

impl Sample {
    fn read() -> Result<Self, DemoError> {
        let mut sample = Self { tracks: Vec::new(), parts: Vec::new() };
        for file in [VIDEO, AUDIO] {
            sample.read_track(file)?;
        }
        sample.parts.sort_by_key(|part| part.end_us);
        Ok(sample)
    }

    fn read_track(&mut self, file: &[u8]) -> Result<(), DemoError> {
        let mut cutter = Cutter::new();
        cutter.push(file)?;
        let mut init = None;
        let track = self.tracks.len();
        let mut round = 0;
        while let Some(cut) = cutter.poll() {
            match cut {
                Cut::Init(inits) => init = inits.into_iter().next(),
                Cut::Chunk(chunk) => {
                    let timescale = init.as_ref().ok_or(DemoError::Missing("header"))?.timescale;
                    let end = chunk.start.saturating_add(chunk.duration);
                    round = round.max(end.0);
                    let time_at = decode_time_at(&chunk.bytes).ok_or(DemoError::Missing("decode time"))?;
                    self.parts.push(SamplePart { chunk, track, time_at, end_us: end.to_micros(timescale) });
                }
            }
        }
        self.tracks.push(SampleTrack { init: init.ok_or(DemoError::Missing("track"))?, round });
        Ok(())
    }

    async fn play_for_ever(&self, channel: &Arc<Channel>) -> Result<(), DemoError> {
        loop {
            let tracks = (0u8..).zip(&self.tracks).map(|(id, track)| track.init.track(TrackId(id))).collect();
            match channel.broadcast(tracks) {
                Ok(broadcast) => self.play(broadcast).await?,
                Err(BroadcastError::Busy) => sleep(RETRY_INTERVAL).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Plays round after round, until the clocks have parted.
    async fn play(&self, mut broadcast: Broadcast) -> Result<(), DemoError> {
        let (begun_at, base) = (Instant::now(), wall_time());
        for round in 0.. {
            for part in &self.parts {
                let track = &self.tracks[part.track];
                let offset = track.round.saturating_mul(round);
                let end = part.chunk.start.saturating_add(part.chunk.duration).0.saturating_add(offset);
                let end_us = ticks_to_micros(end, track.init.timescale);
                sleep_until(begun_at + Duration::from_micros(end_us)).await;
                broadcast.publish(part.at(track, offset, base)).await?;
            }
            let elapsed_us = u64::try_from(begun_at.elapsed().as_micros()).unwrap_or(u64::MAX);
            if base.0.saturating_add(elapsed_us).abs_diff(wall_time().0) > CLOCK_STEP_LIMIT_US {
                break;
            }
        }
        Ok(())
    }
}

impl SamplePart {
    /// The part, `offset` ticks later, of a broadcast whose media time 0 was captured at `base`.
    fn at(&self, track: &SampleTrack, offset: u64, base: WallTime) -> CutPart {
        let start = MediaTime(self.chunk.start.0.saturating_add(offset));
        let captured_at = WallTime(base.0.saturating_add(start.to_micros(track.init.timescale)));
        let id = TrackId(u8::try_from(self.track).unwrap_or(u8::MAX));
        let chunk = Chunk {
            start,
            bytes: with_decode_time(&self.chunk.bytes, self.time_at, start),
            ..self.chunk.clone()
        };
        chunk.into_part(id, captured_at)
    }
}

fn with_decode_time(bytes: &[u8], at: usize, time: MediaTime) -> Bytes {
    let mut bytes = BytesMut::from(bytes);
    if let Some(field) = bytes.get_mut(at..at + 8) {
        field.copy_from_slice(&time.0.to_be_bytes());
    }
    bytes.freeze()
}

/// Where the 64-bit decode time of a part stands: in `moof`, `traf`, `tfdt` of version 1, after its flags.
fn decode_time_at(part: &[u8]) -> Option<usize> {
    const HEADER_LEN: usize = 8;
    let (moof_at, moof_len) = find(part, 0, part.len(), *b"moof")?;
    let (traf_at, traf_len) = find(part, moof_at + HEADER_LEN, moof_at + moof_len, *b"traf")?;
    let (tfdt_at, _) = find(part, traf_at + HEADER_LEN, traf_at + traf_len, *b"tfdt")?;
    let version_at = tfdt_at + HEADER_LEN;
    (part.get(version_at) == Some(&1)).then_some(version_at + 4)
}

/// Place and length of the first box of this type between two places.
fn find(bytes: &[u8], mut at: usize, end: usize, kind: [u8; 4]) -> Option<(usize, usize)> {
    while at < end {
        let (len, found) = bytes.get(at..at + 8)?.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        if found == kind.as_slice() {
            return Some((at, len));
        }
        at += len.max(8);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tracks_of_the_sample_last_exactly_as_long() {
        let sample = Sample::read().unwrap();
        let rounds: Vec<_> =
            sample.tracks.iter().map(|track| ticks_to_micros(track.round, track.init.timescale)).collect();
        assert_eq!(rounds, [8_000_000, 8_000_000]);
    }

    #[test]
    fn parts_follow_each_other_without_a_gap_over_the_end_of_a_round() {
        let sample = Sample::read().unwrap();
        for (index, track) in sample.tracks.iter().enumerate() {
            let mut cutter = Cutter::new();
            cutter.push(&track.init.bytes).unwrap();
            cutter.finish().unwrap();
            let mut expected = 0;
            for round in 0..3 {
                for part in sample.parts.iter().filter(|part| part.track == index) {
                    // What players see is what the bytes say.
                    let cut = part.at(track, round * track.round, WallTime(1_000));
                    cutter.push(&cut.bytes).unwrap();
                    let read = std::iter::from_fn(|| cutter.poll()).find_map(|cut| match cut {
                        Cut::Chunk(chunk) => Some(chunk),
                        Cut::Init(_) => None,
                    });
                    let read = read.unwrap();
                    assert_eq!(
                        (read.start.0, read.start, read.duration),
                        (expected, cut.start, cut.duration)
                    );
                    assert_eq!(cut.captured_at.0, 1_000 + cut.start.to_micros(track.init.timescale));
                    expected = read.start.0 + u64::from(read.duration);
                }
            }
            assert_eq!(expected, 3 * track.round);
        }
    }

    #[test]
    fn every_second_of_the_picture_begins_with_a_key_frame() {
        let sample = Sample::read().unwrap();
        let timescale = sample.tracks[0].init.timescale;
        let keys = sample.parts.iter().filter(|part| part.track == 0 && part.chunk.is_independent);
        let starts: Vec<_> = keys.map(|part| part.chunk.start.to_micros(timescale)).collect();
        assert_eq!(starts, (0..8).map(|second| second * 1_000_000).collect::<Vec<_>>());
    }
}
