//! From the frames of one RTMP connection to broadcasts of parts: no I/O, no clock.

use std::collections::VecDeque;

use bytes::Bytes;
use cardume_media::{CutPart, MediaTime, PART_LEN_LIMIT, Track, TrackKind, ticks_to_micros};
use cardume_wire::{TrackId, WallTime};

use super::clock::CaptureClock;
use super::flv::{AudioCodec, Picture, VideoCodec};
use super::fmp4::{ConfigError, Sample, TrackConfig, write_part};
use super::timestamp::Unwrapper;

/// Media time of a part: 200 ms, the project's default (media design).
const PART_MS: u64 = 200;
/// How long a broadcast waits for its second track's configuration. Encoders send both before the first frame.
const TRACK_WAIT_US: u64 = 1_000_000;
/// Frames that may wait for the broadcast to start: above 5 s of 60 pictures and 47 AAC frames a second.
const WAITING_LIMIT: usize = 600;
/// A timestamp further back, or further ahead, than this begins a new broadcast; one less far back is dropped.
/// Encoders that lose frames or resume after a hiccup stay within. (Wild guess.)
const JUMP_BACK_LIMIT_MS: i64 = 1_000;
const JUMP_AHEAD_LIMIT_MS: i64 = 10_000;
/// RTMP's clock has 1 ms, so that the time of a frame is known to within one; two for an encoder that rounds its
/// differences instead of its times.
const ROUNDING_MS: u64 = 2;
/// What a decode time may be at least: room for the composition offsets of B-frames never to be negative.
const TIME_ORIGIN_MS: i64 = 0;

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// A broadcast with these tracks begins.
    Start(Vec<Track>),
    /// Its next part.
    Part(CutPart),
    /// It is over.
    End,
}

/// Why the sender's media cannot be carried; the text is for the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RemuxError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("a frame of {0} bytes, where a part holds at most {PART_LEN_LIMIT}")]
    FrameTooLong(usize),
    #[error("a part cannot be written: {0}")]
    Unwritable(String),
}

/// A decoder configuration as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Config {
    Video(VideoCodec, Bytes),
    Audio(AudioCodec, Bytes),
}

/// One frame as it was sent.
#[derive(Debug, Clone)]
struct Frame {
    kind: TrackKind,
    /// Decode time in milliseconds, unwrapped.
    time_ms: i64,
    composition_ms: i32,
    is_sync: bool,
    data: Bytes,
}

/// What the sender's metadata says; 0 when it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StreamFacts {
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// Bits per second.
    pub(crate) video_bitrate: u32,
    /// Bits per second.
    pub(crate) audio_bitrate: u32,
    /// It names the codec of one track, and of no other.
    pub(crate) has_one_track: bool,
}

/// Makes broadcasts of what one connection sends.
///
/// A broadcast begins when both tracks' configurations are there, or one and there is no other or a second has passed, and with a
/// key frame if there is video. Another configuration, or a jump in time, ends it and begins another.
#[derive(Debug, Default)]
pub(crate) struct Remuxer {
    facts: StreamFacts,
    video: Option<Config>,
    audio: Option<Config>,
    state: State,
    unwrapper: Unwrapper,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    /// Frames that wait for the start, and when the first configuration or frame came.
    Waiting {
        frames: VecDeque<Frame>,
        since: Option<WallTime>,
    },
    OnAir(OnAir),
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting { frames: VecDeque::new(), since: None }
    }
}

#[derive(Debug)]
struct OnAir {
    clock: CaptureClock,
    start_ms: i64,
    video: Option<TrackWriter>,
    audio: Option<TrackWriter>,
}

impl Remuxer {
    /// Nothing is on air yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// What the sender's metadata says; used by the next broadcast.
    pub(crate) fn set_facts(&mut self, facts: StreamFacts) {
        self.facts = facts;
    }

    /// A video decoder configuration.
    ///
    /// # Errors
    /// When the part that was being gathered cannot be written.
    pub(crate) fn configure_video(
        &mut self,
        codec: VideoCodec,
        config: Bytes,
        now: WallTime,
    ) -> Result<(), RemuxError> {
        let config = Config::Video(codec, config);
        if self.video.as_ref() != Some(&config) {
            self.end(now)?;
            self.video = Some(config);
        }
        Ok(())
    }

    /// An audio decoder configuration.
    ///
    /// # Errors
    /// As [`Remuxer::configure_video`].
    pub(crate) fn configure_audio(
        &mut self,
        codec: AudioCodec,
        config: Bytes,
        now: WallTime,
    ) -> Result<(), RemuxError> {
        let config = Config::Audio(codec, config);
        if self.audio.as_ref() != Some(&config) {
            self.end(now)?;
            self.audio = Some(config);
        }
        Ok(())
    }

    /// A picture, with RTMP's timestamp (milliseconds, wrapping) as its decode time.
    ///
    /// # Errors
    /// See [`RemuxError`]: the connection is of no more use.
    pub(crate) fn push_video(
        &mut self,
        timestamp: u32,
        picture: Picture,
        now: WallTime,
    ) -> Result<(), RemuxError> {
        let time_ms = self.unwrapper.unwrap(timestamp);
        let Picture { is_key: is_sync, composition_ms, data } = picture;
        self.push(Frame { kind: TrackKind::Video, time_ms, composition_ms, is_sync, data }, now)
    }

    /// A frame of sound.
    ///
    /// # Errors
    /// As [`Remuxer::push_video`].
    pub(crate) fn push_audio(
        &mut self,
        timestamp: u32,
        data: Bytes,
        now: WallTime,
    ) -> Result<(), RemuxError> {
        let time_ms = self.unwrapper.unwrap(timestamp);
        self.push(Frame { kind: TrackKind::Audio, time_ms, composition_ms: 0, is_sync: true, data }, now)
    }

    /// Ends the broadcast, giving all that was gathered: the sender has stopped, or is gone.
    ///
    /// # Errors
    /// When the last part cannot be written.
    pub(crate) fn end(&mut self, now: WallTime) -> Result<(), RemuxError> {
        let State::OnAir(mut on_air) = std::mem::take(&mut self.state) else { return Ok(()) };
        for is_video in [true, false] {
            if let Some(writer) = on_air.writer(is_video)
                && let Some(part) = writer.flush()?
            {
                self.outputs.push_back(Output::Part(on_air.stamp(part, now)));
            }
        }
        self.outputs.push_back(Output::End);
        Ok(())
    }

    /// What comes next.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn push(&mut self, frame: Frame, now: WallTime) -> Result<(), RemuxError> {
        if frame.data.len() > PART_LEN_LIMIT / 2 {
            return Err(RemuxError::FrameTooLong(frame.data.len()));
        }
        if matches!(&self.state, State::OnAir(on_air) if on_air.is_jump(&frame)) {
            tracing::warn!(time_ms = frame.time_ms, "the sender's timestamps jumped: a new broadcast begins");
            self.end(now)?;
        }
        match &mut self.state {
            State::OnAir(on_air) => {
                if let Some(part) = on_air.push(frame)? {
                    self.outputs.push_back(Output::Part(on_air.stamp(part, now)));
                }
                Ok(())
            }
            State::Waiting { .. } => self.wait_or_start(frame, now),
        }
    }

    fn wait_or_start(&mut self, frame: Frame, now: WallTime) -> Result<(), RemuxError> {
        let State::Waiting { frames, since } = &mut self.state else { return Ok(()) };
        let since = *since.get_or_insert(now);
        hold(frames, frame, self.video.is_some());
        let has_waited = now.0.saturating_sub(since.0) >= TRACK_WAIT_US || frames.len() >= WAITING_LIMIT;
        let has_tracks = match (&self.video, &self.audio) {
            (Some(_), Some(_)) => true,
            (None, None) => false,
            _ => self.facts.has_one_track || has_waited,
        };
        let starts_well = self.video.is_none() || frames.front().is_some_and(Frame::is_key);
        if has_tracks && starts_well {
            let frames = std::mem::take(frames);
            self.start(frames, now)?;
        }
        Ok(())
    }

    fn start(&mut self, frames: VecDeque<Frame>, now: WallTime) -> Result<(), RemuxError> {
        let (video, audio) = (self.video_config()?, self.audio_config()?);
        let mut tracks = Vec::new();
        let mut writer = |config: Option<TrackConfig>, kind, bitrate| -> Result<_, RemuxError> {
            let Some(config) = config else { return Ok(None) };
            let id = TrackId(u8::try_from(tracks.len()).unwrap_or(0));
            tracks.push(config.track(id, bitrate)?);
            Ok(Some(TrackWriter::new(id, kind, &config)))
        };
        let video = writer(video, TrackKind::Video, self.facts.video_bitrate)?;
        let audio = writer(audio, TrackKind::Audio, self.facts.audio_bitrate)?;
        let mut clock = CaptureClock::new();
        if let Some(newest) = frames.iter().map(|frame| frame.time_ms).max() {
            // What waited arrived earlier than now: the newest tells the time of all.
            clock.observe_arrival(now, newest.max(TIME_ORIGIN_MS).unsigned_abs().saturating_mul(1000));
        }
        let start_ms = frames.front().map_or(0, |frame| frame.time_ms);
        self.state = State::OnAir(OnAir { clock, start_ms, video, audio });
        self.outputs.push_back(Output::Start(tracks));
        for frame in frames {
            self.push(frame, now)?;
        }
        Ok(())
    }

    fn video_config(&self) -> Result<Option<TrackConfig>, ConfigError> {
        let Some(Config::Video(codec, config)) = &self.video else { return Ok(None) };
        let size = (self.facts.width, self.facts.height);
        TrackConfig::video(*codec, config, size).map(Some)
    }

    fn audio_config(&self) -> Result<Option<TrackConfig>, ConfigError> {
        let Some(Config::Audio(codec, config)) = &self.audio else { return Ok(None) };
        TrackConfig::audio(*codec, config).map(Some)
    }
}

/// Keeps a frame for the start: from the newest key frame on where there is video, the last
/// [`WAITING_LIMIT`] frames else.
fn hold(frames: &mut VecDeque<Frame>, frame: Frame, has_video: bool) {
    let is_key = frame.is_key();
    if has_video && is_key {
        frames.clear();
    }
    if !has_video || is_key || frames.front().is_some_and(|first| first.is_key() && frame.follows(first)) {
        frames.push_back(frame);
    }
    if frames.len() > WAITING_LIMIT {
        frames.pop_front();
    }
}

impl Frame {
    fn is_key(&self) -> bool {
        self.kind == TrackKind::Video && self.is_sync
    }

    /// Not a leftover from before a jump in time.
    fn follows(&self, first: &Self) -> bool {
        (0..JUMP_AHEAD_LIMIT_MS).contains(&self.time_ms.saturating_sub(first.time_ms))
    }
}

impl OnAir {
    fn writer(&mut self, is_video: bool) -> Option<&mut TrackWriter> {
        if is_video { self.video.as_mut() } else { self.audio.as_mut() }
    }

    /// Whether the frame is too far from the one before it on its track to belong to the same timeline.
    fn is_jump(&self, frame: &Frame) -> bool {
        let writer = if frame.kind == TrackKind::Video { &self.video } else { &self.audio };
        let (last, back_limit) = match writer.as_ref().and_then(|writer| writer.latest_ms) {
            Some(latest) => (latest, JUMP_BACK_LIMIT_MS),
            None => (self.start_ms, JUMP_AHEAD_LIMIT_MS),
        };
        !(-back_limit..=JUMP_AHEAD_LIMIT_MS).contains(&frame.time_ms.saturating_sub(last))
    }

    fn push(&mut self, frame: Frame) -> Result<Option<FinishedPart>, RemuxError> {
        let Some(writer) = self.writer(frame.kind == TrackKind::Video) else { return Ok(None) };
        writer.push(frame)
    }

    fn stamp(&mut self, part: FinishedPart, now: WallTime) -> CutPart {
        let FinishedPart { track, timescale, start, duration, is_independent, bytes } = part;
        let end = MediaTime(start).saturating_add(duration);
        self.clock.observe_arrival(now, end.to_micros(timescale));
        let captured_at = self.clock.captured_at(ticks_to_micros(start, timescale)).unwrap_or(now);
        CutPart { track, start: MediaTime(start), duration, is_independent, captured_at, bytes }
    }
}

/// A part without the time of its capture.
#[derive(Debug)]
struct FinishedPart {
    track: TrackId,
    timescale: u32,
    start: u64,
    duration: u32,
    is_independent: bool,
    bytes: Bytes,
}

/// Gathers the samples of one track until they are a part. The last sample is held back: how long it lasts is known
/// when the next one comes.
#[derive(Debug)]
struct TrackWriter {
    id: TrackId,
    kind: TrackKind,
    timescale: u32,
    frame_duration: Option<u32>,
    pending: Vec<Sample>,
    pending_len: usize,
    n_parts: u32,
    last_duration: u32,
    latest_ms: Option<i64>,
}

impl TrackWriter {
    fn new(id: TrackId, kind: TrackKind, config: &TrackConfig) -> Self {
        let &TrackConfig { timescale, frame_duration, .. } = config;
        Self {
            id,
            kind,
            timescale,
            frame_duration,
            pending: Vec::new(),
            pending_len: 0,
            n_parts: 0,
            // Only for a broadcast of one single frame: a tenth of a second.
            last_duration: frame_duration.unwrap_or(timescale / 10),
            latest_ms: None,
        }
    }

    fn push(&mut self, frame: Frame) -> Result<Option<FinishedPart>, RemuxError> {
        let decode_time = self.decode_time(frame.time_ms);
        if let Some(last) = self.pending.last() {
            let Some(duration) = decode_time
                .checked_sub(last.decode_time)
                .filter(|&ticks| ticks > 0)
                .and_then(|ticks| u32::try_from(ticks).ok())
            else {
                tracing::debug!(
                    track = self.id.0,
                    "a frame that is not later than the one before it is dropped"
                );
                return Ok(None);
            };
            self.last_duration = duration;
        }
        let is_key = frame.is_key();
        let part =
            if self.is_part_full(decode_time, is_key, frame.data.len()) { self.take_part()? } else { None };
        self.latest_ms = Some(frame.time_ms);
        self.pending_len += frame.data.len();
        self.pending.push(Sample {
            decode_time,
            composition_offset: self.ticks(frame.composition_ms),
            is_sync: frame.is_sync,
            data: frame.data,
        });
        Ok(part)
    }

    /// All that is left; the last sample lasts as long as the one before it.
    fn flush(&mut self) -> Result<Option<FinishedPart>, RemuxError> {
        self.take_part()
    }

    /// The frame's decode time in ticks: its timestamp, or where that is the same within rounding, the end of the
    /// frame before it, which is exact.
    fn decode_time(&self, time_ms: i64) -> u64 {
        let scale = u64::from(self.timescale);
        let stamped = time_ms.max(TIME_ORIGIN_MS).unsigned_abs().saturating_mul(scale) / 1000;
        let Some((last, duration)) = self.pending.last().zip(self.frame_duration) else { return stamped };
        let expected = last.decode_time + u64::from(duration);
        if expected.abs_diff(stamped) <= ROUNDING_MS * scale / 1000 { expected } else { stamped }
    }

    fn ticks(&self, ms: i32) -> i32 {
        let ticks = i64::from(ms) * i64::from(self.timescale) / 1000;
        i32::try_from(ticks).unwrap_or(0)
    }

    /// Whether a part ends before a frame of this time: before each key frame, and when half a frame more would bring
    /// it past its length.
    fn is_part_full(&self, next_time: u64, next_is_key: bool, next_len: usize) -> bool {
        let Some(first) = self.pending.first() else { return false };
        let duration = next_time.saturating_sub(first.decode_time);
        let target = PART_MS * u64::from(self.timescale) / 1000;
        let is_long = duration * 2 + u64::from(self.last_duration) > target * 2;
        next_is_key || is_long || self.pending_len + next_len > PART_LEN_LIMIT / 2
    }

    fn take_part(&mut self) -> Result<Option<FinishedPart>, RemuxError> {
        let samples = std::mem::take(&mut self.pending);
        self.pending_len = 0;
        let Some(first) = samples.first() else { return Ok(None) };
        let (start, is_sync) = (first.decode_time, first.is_sync);
        let mut ends: Vec<u64> = samples.iter().skip(1).map(|sample| sample.decode_time).collect();
        let last_time = samples.last().map_or(start, |sample| sample.decode_time);
        let end = last_time + u64::from(self.last_duration);
        ends.push(end);
        let timed: Vec<(Sample, u32)> = samples
            .into_iter()
            .zip(ends)
            .map(|(sample, end)| {
                let duration = u32::try_from(end.saturating_sub(sample.decode_time)).unwrap_or(u32::MAX);
                (sample, duration)
            })
            .collect();
        self.n_parts = self.n_parts.wrapping_add(1);
        let bytes =
            write_part(self.n_parts, &timed).map_err(|error| RemuxError::Unwritable(error.to_string()))?;
        Ok(Some(FinishedPart {
            track: self.id,
            timescale: self.timescale,
            start,
            duration: u32::try_from(end - start).unwrap_or(u32::MAX),
            is_independent: self.kind == TrackKind::Audio || is_sync,
            bytes,
        }))
    }
}

#[cfg(test)]
mod tests;
