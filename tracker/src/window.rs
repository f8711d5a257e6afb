//! The live window as plain HTTP readers (HLS) need it: a snapshot that changes with each part.

use std::collections::VecDeque;
use std::sync::Arc;

use cardume_media::{CutPart, Track};
use cardume_wire::{Epoch, TrackId};

/// Media time that a [`Window`] keeps of each track, in seconds.
///
/// Ten segments of 3 s: more than the three whole segments that VLC and ffmpeg need before they begin, and room for
/// a reader that stays away for a while.
pub const WINDOW_SECONDS: u64 = 30;
/// Parts that a [`Window`] keeps of each track at most: [`WINDOW_SECONDS`] of 20 parts a second.
pub const WINDOW_PARTS_LIMIT: usize = 600;

/// The newest parts of a channel's broadcast. A snapshot: cheap to clone, never changed under its reader.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// The broadcast; `None` when nobody has sent to the channel since the tracker began.
    pub epoch: Option<Epoch>,
    /// Whether the broadcast is on now. The parts of an ended one stay until the next begins.
    pub is_live: bool,
    /// The broadcast's tracks with their newest parts, in the catalog's order.
    pub tracks: Vec<TrackWindow>,
}

/// The newest parts of one track.
#[derive(Clone, Debug)]
pub struct TrackWindow {
    /// The track, with its init segment.
    pub track: Arc<Track>,
    /// Oldest first, sequence numbers rising; without gaps, but for what was lost between two nodes of a cluster. At most
    /// [`WINDOW_PARTS_LIMIT`].
    pub parts: VecDeque<WindowPart>,
}

/// One part with the number under which it was published.
#[derive(Clone, Debug)]
pub struct WindowPart {
    /// Its number in the track, counted from 0 in each broadcast.
    pub sequence: u32,
    /// The part.
    pub cut: CutPart,
}

impl Window {
    /// The window of a broadcast that begins.
    pub fn new(epoch: Epoch, tracks: &[Track]) -> Self {
        let track_window =
            |track: &Track| TrackWindow { track: Arc::new(track.clone()), parts: VecDeque::new() };
        Self { epoch: Some(epoch), is_live: true, tracks: tracks.iter().map(track_window).collect() }
    }

    /// The track with this id.
    pub fn track(&self, id: TrackId) -> Option<&TrackWindow> {
        self.tracks.iter().find(|track| track.track.id == id)
    }

    /// Appends a part to its track and lets go of what is older than the window. A part of no track is ignored.
    pub fn push(&mut self, cut: CutPart) {
        if let Some(track) = self.tracks.iter_mut().find(|track| track.track.id == cut.track) {
            let sequence = track.parts.back().map_or(0, |last| last.sequence.saturating_add(1));
            track.push(sequence, cut);
        }
    }

    /// The same for a part that another node published under this number. Not for one below the newest.
    pub fn push_numbered(&mut self, sequence: u32, cut: CutPart) {
        if let Some(track) = self.tracks.iter_mut().find(|track| track.track.id == cut.track)
            && track.parts.back().is_none_or(|last| last.sequence < sequence)
        {
            track.push(sequence, cut);
        }
    }
}

impl TrackWindow {
    fn push(&mut self, sequence: u32, cut: CutPart) {
        let timescale = u64::from(self.track.timescale);
        let oldest = cut.start.0.saturating_sub(WINDOW_SECONDS * timescale);
        self.parts.push_back(WindowPart { sequence, cut });
        while self.parts.len() > WINDOW_PARTS_LIMIT
            || self.parts.front().is_some_and(|part| part.cut.start.0 < oldest)
        {
            self.parts.pop_front();
        }
    }
}
