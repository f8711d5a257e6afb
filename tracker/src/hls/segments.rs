//! The segments of a broadcast, made from the parts of the live window as they come.
//!
//! Numbers go on across broadcasts, and across restarts of the tracker: a broadcast's first segment has the number of
//! its epoch, which is in seconds, and a segment lasts a second or more. So whoever reads on sees numbers that grow.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cardume_media::{Track, TrackKind, ticks_to_micros};
use cardume_wire::{Epoch, TrackId, WallTime};

use crate::window::{Window, WindowPart};

/// A segment ends at the first key frame after this long: short, so that players begin and switch quickly, and not
/// below a second, which players take for the shortest target duration.
const SEGMENT_MIN_US: u64 = 1_000_000;
/// The length of segments where there is no video, so no key frames to end them.
const AUDIO_SEGMENT_US: u64 = 2_000_000;
/// A playlist lists whole segments of at least this length together, and not fewer than [`LISTED_MIN`].
const LISTED_US: u64 = 12_000_000;
/// Twice the three that VLC, ffmpeg and Safari want before they begin.
const LISTED_MIN: usize = 6;
/// Segments that can still be fetched after they left the playlist: RFC 8216, section 6.2.2 asks for the playlist's
/// length.
const UNLISTED: usize = LISTED_MIN;

/// A channel as HLS shows it. A snapshot; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Presentation {
    /// The broadcast; `None` before the first.
    pub(super) epoch: Option<Epoch>,
    /// Whether it is on now.
    pub(super) is_live: bool,
    /// Broadcasts before this one.
    pub(super) n_before: u64,
    /// In the catalog's order; none when nothing is on air.
    pub(super) renditions: Vec<Rendition>,
    /// What the next broadcast's segments may begin to count from.
    n_after: u64,
}

/// One track in segments.
#[derive(Debug, Clone)]
pub(super) struct Rendition {
    pub(super) track: Arc<Track>,
    /// Whole segments, oldest first, numbered without gaps.
    closed: VecDeque<Arc<Segment>>,
    /// The segment under way; has a part at least, unless it is the very first.
    open: Segment,
    /// The longest part so far, in ticks.
    longest_part: u32,
    /// The longest segment so far, in microseconds.
    longest_segment_us: u64,
    next_sequence: u32,
}

/// Parts from one key frame to another.
#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    /// The media sequence number.
    pub(super) number: u64,
    pub(super) parts: Vec<WindowPart>,
}

impl Segment {
    /// How long it lasts.
    pub(super) fn duration_us(&self, timescale: u32) -> u64 {
        ticks_to_micros(self.parts.iter().map(|part| u64::from(part.cut.duration)).sum(), timescale)
    }

    /// When it was captured.
    pub(super) fn captured_at(&self) -> Option<WallTime> {
        self.parts.first().map(|part| part.cut.captured_at)
    }

    /// Its bytes, part after part.
    pub(super) fn chunks(&self) -> Vec<Bytes> {
        self.parts.iter().map(|part| part.cut.bytes.clone()).collect()
    }

    fn start_us(&self, timescale: u32) -> Option<u64> {
        self.parts.first().map(|part| part.cut.start.to_micros(timescale))
    }
}

impl Presentation {
    /// Takes what is new in the live window.
    pub(super) fn update(&mut self, window: &Window) {
        if window.epoch != self.epoch {
            self.begin(window);
        }
        self.is_live = window.is_live;
        // Video first: its key frames end the segments of the audio too.
        for kind in [TrackKind::Video, TrackKind::Audio] {
            for track in window.tracks.iter().filter(|track| track.track.kind == kind) {
                let new =
                    |rendition: &Rendition, part: &&WindowPart| part.sequence >= rendition.next_sequence;
                let boundaries = self.boundaries(kind);
                let Some(rendition) = self.renditions.iter_mut().find(|it| it.track.id == track.track.id)
                else {
                    continue;
                };
                for part in
                    track.parts.iter().filter(|part| new(rendition, part)).cloned().collect::<Vec<_>>()
                {
                    rendition.push(part, boundaries.as_deref());
                }
            }
        }
    }

    /// Lets go of a broadcast that is over; its numbers are remembered.
    pub(super) fn clear(&mut self) {
        self.n_after = self.next_number();
        self.renditions.clear();
    }

    /// The rendition of this track.
    pub(super) fn rendition(&self, id: TrackId) -> Option<&Rendition> {
        self.renditions.iter().find(|rendition| rendition.track.id == id)
    }

    /// Whether every rendition has something to play.
    pub(super) fn has_begun(&self) -> bool {
        !self.renditions.is_empty()
            && self.renditions.iter().all(|rendition| !rendition.open.parts.is_empty())
    }

    fn begin(&mut self, window: &Window) {
        let first = u64::from(window.epoch.map_or(0, |epoch| epoch.0));
        let number = first.max(self.next_number());
        if self.epoch.is_some() {
            self.n_before += 1;
        }
        self.epoch = window.epoch;
        let rendition = |track: &Arc<Track>| Rendition::new(Arc::clone(track), number);
        self.renditions = window.tracks.iter().map(|track| rendition(&track.track)).collect();
    }

    /// A number that no segment has had.
    fn next_number(&self) -> u64 {
        let after = |rendition: &Rendition| rendition.open.number + 1;
        self.renditions.iter().map(after).max().unwrap_or(self.n_after)
    }

    /// Where the first video's segments begin, in microseconds, for audio to follow; `None` for video itself, or
    /// where there is none.
    fn boundaries(&self, kind: TrackKind) -> Option<Vec<u64>> {
        let video = self.renditions.iter().find(|rendition| rendition.track.kind == TrackKind::Video);
        let video = video.filter(|_| kind == TrackKind::Audio)?;
        Some(video.all().filter_map(|segment| segment.start_us(video.track.timescale)).collect())
    }
}

impl Rendition {
    fn new(track: Arc<Track>, number: u64) -> Self {
        let open = Segment { number, parts: Vec::new() };
        Self {
            track,
            closed: VecDeque::new(),
            open,
            longest_part: 0,
            longest_segment_us: 0,
            next_sequence: 0,
        }
    }

    /// The whole segments that a playlist lists, oldest first.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Segment> {
        let durations = self.closed.iter().rev().map(|segment| segment.duration_us(self.track.timescale));
        let mut total_us = 0;
        let n_listed = durations
            .take_while(|duration| {
                let is_short = total_us < LISTED_US;
                total_us += duration;
                is_short
            })
            .count()
            .max(LISTED_MIN);
        self.closed.iter().skip(self.closed.len().saturating_sub(n_listed)).map(AsRef::as_ref)
    }

    /// The segment under way.
    pub(super) fn open(&self) -> &Segment {
        &self.open
    }

    /// The number that the next part will have.
    pub(super) fn next_sequence(&self) -> u32 {
        self.next_sequence
    }

    /// The longest part so far.
    pub(super) fn longest_part(&self) -> Duration {
        Duration::from_micros(ticks_to_micros(self.longest_part.into(), self.track.timescale))
    }

    /// The longest segment so far, or a second.
    pub(super) fn longest_segment(&self) -> Duration {
        Duration::from_micros(self.longest_segment_us.max(SEGMENT_MIN_US))
    }

    /// The whole segment of this number.
    pub(super) fn segment(&self, number: u64) -> Option<&Segment> {
        self.closed.iter().find(|segment| segment.number == number).map(AsRef::as_ref)
    }

    /// The part of this number.
    pub(super) fn part(&self, sequence: u32) -> Option<&WindowPart> {
        self.all().flat_map(|segment| &segment.parts).find(|part| part.sequence == sequence)
    }

    /// Bits per second of the busiest of its segments; the nominal bitrate while there is none.
    pub(super) fn peak_bitrate(&self) -> u64 {
        let rate = |segment: &Segment| {
            let len: u64 = segment.parts.iter().map(|part| part.cut.bytes.len() as u64).sum();
            len * 8 * 1_000_000 / segment.duration_us(self.track.timescale).max(SEGMENT_MIN_US)
        };
        self.all().map(rate).chain([u64::from(self.track.bitrate)]).max().unwrap_or(0)
    }

    fn all(&self) -> impl Iterator<Item = &Segment> {
        self.closed.iter().map(AsRef::as_ref).chain([&self.open])
    }

    fn push(&mut self, part: WindowPart, boundaries: Option<&[u64]>) {
        self.next_sequence = part.sequence.saturating_add(1);
        if self.open.parts.is_empty() && !part.cut.is_independent {
            // Nothing can be played from here.
            return;
        }
        if part.cut.is_independent && self.ends_before(&part, boundaries) {
            self.close();
        }
        self.longest_part = self.longest_part.max(part.cut.duration);
        self.open.parts.push(part);
        self.longest_segment_us = self.longest_segment_us.max(self.open.duration_us(self.track.timescale));
    }

    fn ends_before(&self, part: &WindowPart, boundaries: Option<&[u64]>) -> bool {
        let timescale = self.track.timescale;
        let Some(start) = self.open.start_us(timescale) else { return false };
        let next = part.cut.start.to_micros(timescale);
        match (boundaries, self.track.kind) {
            // Within half a part: the one that begins nearest to the video's segment.
            (Some(boundaries), _) => {
                let half_part = ticks_to_micros(u64::from(part.cut.duration) / 2, timescale);
                boundaries
                    .iter()
                    .any(|&boundary| start + half_part < boundary && boundary <= next + half_part)
            }
            (None, TrackKind::Video) => next.saturating_sub(start) >= SEGMENT_MIN_US,
            (None, TrackKind::Audio) => next.saturating_sub(start) >= AUDIO_SEGMENT_US,
        }
    }

    fn close(&mut self) {
        let next = Segment { number: self.open.number + 1, parts: Vec::new() };
        self.closed.push_back(Arc::new(std::mem::replace(&mut self.open, next)));
        let n_kept = self.listed().count() + UNLISTED;
        while self.closed.len() > n_kept {
            self.closed.pop_front();
        }
    }
}
