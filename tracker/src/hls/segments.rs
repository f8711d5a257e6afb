//! The segments of a broadcast, made from the parts of the live window as they come.
//!
//! A broadcast that follows another while that is still shown goes on in its playlists, after a discontinuity: players
//! play through. Any other begins with the number of its epoch, which is in seconds, and a segment lasts a second or
//! more: so numbers grow for whoever reads on, across restarts of the tracker too.

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
    epoch: Option<Epoch>,
    /// Whether a broadcast is on now.
    pub(super) is_live: bool,
    /// Broadcasts shown so far, without the one on now.
    ordinal: u64,
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
    /// The segment under way; has a part at least, unless it is the very first or follows a gap.
    open: Segment,
    /// The longest part so far, in microseconds.
    longest_part_us: u64,
    /// The longest segment so far, in microseconds.
    longest_segment_us: u64,
    /// What players are told that its busiest segment takes, in bits per second; 0 while nothing is known.
    told_bitrate: u64,
    next_sequence: u32,
}

/// Parts from one key frame to another, of one broadcast.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// The media sequence number.
    pub(super) number: u64,
    /// Its broadcast.
    pub(super) broadcast: BroadcastName,
    /// As that broadcast had it.
    pub(super) track: Arc<Track>,
    pub(super) parts: Vec<WindowPart>,
}

/// Which broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BroadcastName {
    pub(super) epoch: Epoch,
    /// How many the playlists had before it.
    pub(super) ordinal: u64,
}

impl Segment {
    /// How long it lasts.
    pub(super) fn duration_us(&self) -> u64 {
        let ticks = self.parts.iter().map(|part| u64::from(part.cut.duration)).sum();
        ticks_to_micros(ticks, self.track.timescale)
    }

    /// When it was captured.
    pub(super) fn captured_at(&self) -> Option<WallTime> {
        self.parts.first().map(|part| part.cut.captured_at)
    }

    /// Its bytes, part after part.
    pub(super) fn chunks(&self) -> Vec<Bytes> {
        self.parts.iter().map(|part| part.cut.bytes.clone()).collect()
    }

    /// Bits per second.
    fn bitrate(&self) -> u64 {
        self.len() * 8 * 1_000_000 / self.duration_us().max(SEGMENT_MIN_US)
    }

    /// Bytes.
    fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.cut.bytes.len() as u64).sum()
    }

    fn start_us(&self) -> Option<u64> {
        self.parts.first().map(|part| part.cut.start.to_micros(self.track.timescale))
    }

    /// The one that follows, with nothing in it yet.
    fn next(&self) -> Self {
        let (broadcast, track) = (self.broadcast, Arc::clone(&self.track));
        Self { number: self.number + 1, broadcast, track, parts: Vec::new() }
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

    /// Whether every rendition has a whole segment: hls.js takes a playlist without one for an error (`levelEmptyError`), asks anew
    /// a second later, and gives up after the third.
    pub(super) fn has_segments(&self) -> bool {
        !self.renditions.is_empty() && self.renditions.iter().all(|it| !it.closed.is_empty())
    }

    /// Whether every rendition has something to play, and a bitrate to tell.
    pub(super) fn has_begun(&self) -> bool {
        let has_begun = |it: &Rendition| !it.open.parts.is_empty() && it.told_bitrate > 0;
        !self.renditions.is_empty() && self.renditions.iter().all(has_begun)
    }

    fn begin(&mut self, window: &Window) {
        let Some(epoch) = window.epoch else { return };
        if self.epoch.is_some() {
            self.ordinal += 1;
        }
        self.epoch = Some(epoch);
        let broadcast = BroadcastName { epoch, ordinal: self.ordinal };
        let number = self.next_number().max(u64::from(epoch.0));
        let mut before = std::mem::take(&mut self.renditions);
        for track in &window.tracks {
            let track = Arc::clone(&track.track);
            let is_same = |old: &Rendition| old.track.id == track.id && old.track.kind == track.kind;
            let old = before.iter().position(is_same).map(|index| before.swap_remove(index));
            let open = Segment { number, broadcast, track, parts: Vec::new() };
            self.renditions.push(Rendition::new(open, old));
        }
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
        let of_now = |segment: &&Segment| segment.broadcast == video.open.broadcast;
        Some(video.all().filter(of_now).filter_map(Segment::start_us).collect())
    }
}

impl Rendition {
    /// A rendition that begins with `open`, after what there is of an older broadcast.
    fn new(mut open: Segment, old: Option<Self>) -> Self {
        let track = Arc::clone(&open.track);
        let mut closed = VecDeque::new();
        // The targets that players were told hold as long as the old segments are listed.
        let (mut longest_part_us, mut longest_segment_us, mut told_bitrate) = (0, 0, 0);
        if let Some(old) = old {
            open.number = old.open.number;
            closed = old.closed;
            (longest_part_us, longest_segment_us) = (old.longest_part_us, old.longest_segment_us);
            told_bitrate = old.told_bitrate;
            if !old.open.parts.is_empty() {
                open.number += 1;
                closed.push_back(Arc::new(old.open));
            }
        }
        let nominal = track.bitrate.into();
        let mut rendition =
            Self { track, closed, open, longest_part_us, longest_segment_us, told_bitrate, next_sequence: 0 };
        rendition.tell_bitrate(nominal);
        rendition
    }

    /// The whole segments that a playlist lists, oldest first.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Segment> {
        let durations = self.closed.iter().rev().map(|segment| segment.duration_us());
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
        Duration::from_micros(self.longest_part_us)
    }

    /// The longest segment so far, or a second.
    pub(super) fn longest_segment(&self) -> Duration {
        Duration::from_micros(self.longest_segment_us.max(SEGMENT_MIN_US))
    }

    /// The whole segment of this number.
    pub(super) fn segment(&self, number: u64) -> Option<&Segment> {
        self.closed.iter().find(|segment| segment.number == number).map(AsRef::as_ref)
    }

    /// The header of that broadcast.
    pub(super) fn init(&self, epoch: Epoch) -> Option<&Bytes> {
        self.of(epoch).next().map(|segment| &segment.track.init)
    }

    /// The part of this number in that broadcast.
    pub(super) fn part(&self, epoch: Epoch, sequence: u32) -> Option<&WindowPart> {
        self.of(epoch).flat_map(|segment| &segment.parts).find(|part| part.sequence == sequence)
    }

    fn of(&self, epoch: Epoch) -> impl Iterator<Item = &Segment> {
        self.all().filter(move |segment| segment.broadcast.epoch == epoch)
    }

    /// Bits per second that its busiest segment takes at most, as far as can be known: from the nominal bitrate or the first
    /// second, with room, so that it seldom changes. P2P Media Loader finds its swarm by this number, and whoever reads it at
    /// different times shall be in one.
    pub(super) fn told_bitrate(&self) -> u64 {
        self.told_bitrate
    }

    /// Bits per second of what there is of it; `None` without any.
    pub(super) fn average_bitrate(&self) -> Option<u64> {
        let len: u64 = self.all().map(Segment::len).sum();
        let duration_us: u64 = self.all().map(Segment::duration_us).sum();
        (len * 8 * 1_000_000).checked_div(duration_us)
    }

    /// Takes a bitrate for what players are told.
    fn tell_bitrate(&mut self, bitrate: u64) {
        if bitrate > self.told_bitrate {
            self.told_bitrate = round_up(bitrate + bitrate / 4);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Segment> {
        self.closed.iter().map(AsRef::as_ref).chain([&self.open])
    }

    fn push(&mut self, part: WindowPart, boundaries: Option<&[u64]>) {
        let follows = part.sequence == self.next_sequence;
        self.next_sequence = part.sequence.saturating_add(1);
        if !follows && !self.open.parts.is_empty() {
            // What was lost on the way from another node: a segment has no hole, so the next begins where decoding can.
            self.close();
        }
        if self.open.parts.is_empty() && !part.cut.is_independent {
            // Nothing can be played from here.
            return;
        }
        if part.cut.is_independent && self.ends_before(&part, boundaries) {
            self.close();
        }
        let part_us = ticks_to_micros(part.cut.duration.into(), self.track.timescale);
        self.longest_part_us = self.longest_part_us.max(part_us);
        self.open.parts.push(part);
        self.longest_segment_us = self.longest_segment_us.max(self.open.duration_us());
        if self.told_bitrate == 0 && self.open.duration_us() >= SEGMENT_MIN_US {
            self.tell_bitrate(self.open.bitrate());
        }
    }

    fn ends_before(&self, part: &WindowPart, boundaries: Option<&[u64]>) -> bool {
        let timescale = self.track.timescale;
        let Some(start) = self.open.start_us() else { return false };
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
        self.tell_bitrate(self.open.bitrate());
        let next = self.open.next();
        self.closed.push_back(Arc::new(std::mem::replace(&mut self.open, next)));
        let n_kept = self.listed().count() + UNLISTED;
        while self.closed.len() > n_kept {
            self.closed.pop_front();
        }
    }
}

/// Bits per second, rounded up to a round number, at most half as much again.
fn round_up(bitrate: u64) -> u64 {
    const STEPS: [u64; 7] = [10, 15, 20, 30, 40, 60, 80];
    let mut unit = 1;
    loop {
        if let Some(step) =
            STEPS.iter().find_map(|step| step.checked_mul(unit).filter(|step| *step >= bitrate))
        {
            return step;
        }
        match unit.checked_mul(10) {
            Some(next) => unit = next,
            None => return bitrate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitrate_is_rounded_to_steps_that_are_no_less_than_it() {
        let check = |bitrate, rounded| assert_eq!(round_up(bitrate), rounded, "{bitrate}");
        check(0, 10);
        check(96_000, 100_000);
        check(700_001, 800_000);
        check(1_000_000, 1_000_000);
        check(1_000_001, 1_500_000);
        check(8_000_001, 10_000_000);
        check(u64::MAX, u64::MAX);
    }
}
