//! A broadcaster: parts of realistic lengths, without media.

use core::time::Duration;

use cardume_media::PartId;
use cardume_swarm::{BitsPerSec, CatalogFacts, PartFacts, TrackFacts};
use cardume_wire::link::block_count;
use cardume_wire::{BlockNumber, Epoch, TrackId, WallTime};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::Stream;
use crate::library::TRACK_COUNT;

/// The tracker's clock when a run begins.
pub(crate) const WALL_AT_START: u64 = 1_800_000_000_000_000;
const VIDEO: TrackId = TrackId(0);
const AUDIO: TrackId = TrackId(1);
/// The first of the pictures with less than all the stream's rate.
pub(crate) const OTHERS: u8 = 2;

/// One broadcast.
#[derive(Debug)]
pub(crate) struct Broadcast {
    epoch: Epoch,
    /// Virtual time at which its media begins.
    begun_at: u64,
    stream: Stream,
    part_us: u64,
    sequence: u32,
    next_blocks: [u32; TRACK_COUNT],
}

impl Broadcast {
    pub(crate) fn new(stream: &Stream, epoch: u32, now: u64) -> Self {
        Self {
            epoch: Epoch(epoch),
            begun_at: now,
            stream: stream.clone(),
            part_us: micros(stream.part),
            sequence: 0,
            next_blocks: [0; TRACK_COUNT],
        }
    }

    pub(crate) fn catalog(&self) -> CatalogFacts {
        let track = |id, is_video, rate| TrackFacts { id, is_video, bitrate: BitsPerSec(rate) };
        let mut tracks = vec![track(VIDEO, true, self.stream.video_rate())];
        tracks.extend((self.stream.sound_rate > 0).then(|| track(AUDIO, false, self.stream.sound_rate)));
        tracks.extend(self.others().map(|(id, rate)| track(id, true, rate)));
        CatalogFacts { epoch: self.epoch, tracks, len: 1_800, reels: Vec::new() }
    }

    /// When the next parts leave the encoder.
    pub(crate) fn next_at(&self) -> u64 {
        self.begun_at + (u64::from(self.sequence) + 1) * self.part_us + micros(self.stream.encoding)
    }

    /// The next part of each track.
    pub(crate) fn next(&mut self, rng: &mut ChaCha8Rng) -> Vec<PartFacts> {
        let Stream { parts_per_group, key_weight, size_jitter_percent: jitter, sound_rate, .. } = self.stream;
        let is_key = self.sequence.is_multiple_of(parts_per_group);
        let video_len = self.stream.weighted_part(if is_key { key_weight } else { 1 });
        let video_len = video_len * (100 - jitter + rng.next_u64() % (2 * jitter + 1)) / 100;
        let audio_len = sound_rate * self.part_us / 8_000_000;
        let mut parts = vec![self.part(VIDEO, video_len, is_key)];
        if sound_rate > 0 {
            parts.push(self.part(AUDIO, audio_len, true));
        }
        for (track, rate) in self.others().collect::<Vec<_>>() {
            parts.push(self.part(track, video_len * rate / self.stream.video_rate(), is_key));
        }
        self.sequence += 1;
        parts
    }

    /// The best picture that a downlink bears together with the sound, or else the cheapest.
    pub(crate) fn best_within(&self, downlink: u64) -> TrackId {
        let left = downlink.saturating_sub(self.stream.sound_rate);
        let borne = self.pictures().filter(|(_, rate)| *rate <= left).max_by_key(|(_, rate)| *rate);
        let best = borne.or_else(|| self.pictures().min_by_key(|(_, rate)| *rate));
        best.map_or(VIDEO, |(track, _)| track)
    }

    fn pictures(&self) -> impl Iterator<Item = (TrackId, u64)> {
        core::iter::once((VIDEO, self.stream.video_rate())).chain(self.others())
    }

    /// The pictures with less than all the stream's rate.
    fn others(&self) -> impl Iterator<Item = (TrackId, u64)> {
        (OTHERS..).map(TrackId).zip(self.stream.renditions.iter().copied())
    }

    fn part(&mut self, track: TrackId, len: u64, is_independent: bool) -> PartFacts {
        let len = u32::try_from(len.max(1)).unwrap_or(u32::MAX);
        let n_blocks = u32::try_from(block_count(len as usize)).unwrap_or(u32::MAX);
        let first_block = self.next_blocks[usize::from(track.0)];
        self.next_blocks[usize::from(track.0)] += n_blocks;
        let start_us = u64::from(self.sequence) * self.part_us;
        PartFacts {
            id: PartId { epoch: self.epoch, track, sequence: self.sequence },
            first_block: BlockNumber(first_block),
            n_blocks,
            len,
            start_us,
            end_us: start_us + self.part_us,
            captured_at: WallTime(WALL_AT_START + self.begun_at + start_us),
            is_independent,
            descriptor_len: 104 + 16 * n_blocks as usize,
        }
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// When the end of a part was captured, microseconds of the run.
pub(crate) fn captured_end(part: &PartFacts) -> u64 {
    (part.captured_at.0 + part.end_us - part.start_us).saturating_sub(WALL_AT_START)
}
