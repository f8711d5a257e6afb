//! A broadcaster: parts of realistic lengths, without media.

use core::time::Duration;

use cardume_media::PartId;
use cardume_swarm::{BitsPerSec, CatalogFacts, PartFacts, TrackFacts};
use cardume_wire::link::BLOCK_LEN_LIMIT;
use cardume_wire::{BlockNumber, Epoch, TrackId, WallTime};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::Scenario;

/// The tracker's clock when a run begins.
pub(crate) const WALL_AT_START: u64 = 1_800_000_000_000_000;
/// Parts leave the encoder this long after their end was captured.
const ENCODING: Duration = Duration::from_millis(100);
/// A part with a key frame is as long as this many others.
const KEY_WEIGHT: u64 = 5;
const VIDEO: TrackId = TrackId(0);
const AUDIO: TrackId = TrackId(1);

/// One broadcast.
#[derive(Debug)]
pub(crate) struct Broadcast {
    epoch: Epoch,
    /// Virtual time at which its media begins.
    begun_at: u64,
    part_us: u64,
    parts_per_group: u32,
    video_rate: u64,
    audio_rate: u64,
    sequence: u32,
    next_blocks: [u32; 2],
}

impl Broadcast {
    pub(crate) fn new(scenario: &Scenario, epoch: u32, now: u64) -> Self {
        Self {
            epoch: Epoch(epoch),
            begun_at: now,
            part_us: micros(scenario.part),
            parts_per_group: scenario.parts_per_group,
            video_rate: scenario.video_rate,
            audio_rate: scenario.audio_rate,
            sequence: 0,
            next_blocks: [0; 2],
        }
    }

    pub(crate) fn catalog(&self) -> CatalogFacts {
        let track = |id, is_video, rate| TrackFacts { id, is_video, bitrate: BitsPerSec(rate) };
        let tracks = vec![track(VIDEO, true, self.video_rate), track(AUDIO, false, self.audio_rate)];
        CatalogFacts { epoch: self.epoch, tracks, len: 1_800 }
    }

    /// When the next parts leave the encoder.
    pub(crate) fn next_at(&self) -> u64 {
        self.begun_at + (u64::from(self.sequence) + 1) * self.part_us + micros(ENCODING)
    }

    /// The next part of each track.
    pub(crate) fn next(&mut self, rng: &mut ChaCha8Rng) -> [PartFacts; 2] {
        let group = u64::from(self.parts_per_group);
        let is_key = self.sequence.is_multiple_of(self.parts_per_group);
        let mean = self.video_rate * self.part_us / 8_000_000;
        let weight = if is_key { KEY_WEIGHT } else { 1 };
        let video_len = mean * weight * group / (group + KEY_WEIGHT - 1);
        // Lengths of parts vary by a quarter either way.
        let video_len = video_len * (75 + rng.next_u64() % 51) / 100;
        let audio_len = self.audio_rate * self.part_us / 8_000_000;
        let parts = [self.part(VIDEO, video_len, is_key), self.part(AUDIO, audio_len, true)];
        self.sequence += 1;
        parts
    }

    fn part(&mut self, track: TrackId, len: u64, is_independent: bool) -> PartFacts {
        let len = u32::try_from(len.max(1)).unwrap_or(u32::MAX);
        let n_blocks = len.div_ceil(u32::try_from(BLOCK_LEN_LIMIT).unwrap_or(u32::MAX));
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
