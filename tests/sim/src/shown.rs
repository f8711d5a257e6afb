//! Which rendition a viewer showed, and when.

use cardume_media::PartId;
use cardume_wire::TrackId;

use crate::library::{TRACK_COUNT, is_sound};

/// The pictures that went to a viewer's element.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// From which part of the broadcast on which track, rising.
    since: Vec<(u32, TrackId)>,
    /// Parts of each track that went to the element.
    pub(crate) n_parts: [u64; TRACK_COUNT],
    /// How often a rendition took the place of another.
    pub(crate) n_switches: usize,
    /// Parts of the best picture that the downlink bore then.
    pub(crate) n_best: u64,
}

impl Shown {
    /// A broadcast begins.
    pub(crate) fn begin(&mut self) {
        self.since.clear();
    }

    /// A part went to the element.
    pub(crate) fn add(&mut self, part: PartId) {
        if let Some(n_parts) = self.n_parts.get_mut(usize::from(part.track.0)) {
            *n_parts += 1;
        }
        let is_same =
            is_sound(part.track) || self.since.last().is_some_and(|(_, track)| *track == part.track);
        if !is_same {
            self.n_switches += usize::from(!self.since.is_empty());
            // What is appended over something takes its place.
            self.since.retain(|(sequence, _)| *sequence < part.sequence);
            self.since.push((part.sequence, part.track));
        }
    }

    /// Pictures that went to the element.
    pub(crate) fn n_pictures(&self) -> u64 {
        let tracks = (0..).map(TrackId).zip(self.n_parts);
        tracks.filter(|(track, _)| !is_sound(*track)).map(|(_, n)| n).sum()
    }

    /// Whether a part of the broadcast is of the track that was shown then; all sound is.
    pub(crate) fn contains(&self, part: PartId) -> bool {
        let after = self.since.partition_point(|(sequence, _)| *sequence <= part.sequence);
        let then = self.since.get(after.saturating_sub(1));
        is_sound(part.track) || then.is_none_or(|(_, track)| *track == part.track)
    }
}

#[cfg(test)]
mod tests {
    use cardume_wire::Epoch;

    use super::*;

    fn part(track: u8, sequence: u32) -> PartId {
        PartId { epoch: Epoch(1), track: TrackId(track), sequence }
    }

    #[test]
    fn what_is_appended_over_another_rendition_takes_its_place() {
        let mut shown = Shown::default();
        for (track, sequence) in [(0, 10), (1, 10), (0, 11), (0, 12), (0, 13), (2, 12), (2, 13)] {
            shown.add(part(track, sequence));
        }
        assert_eq!(shown.n_switches, 1);
        for (track, sequence) in [(0, 9), (0, 11), (1, 12), (2, 12), (2, 20)] {
            assert!(shown.contains(part(track, sequence)), "{track} {sequence}");
        }
        assert!(!shown.contains(part(2, 11)) && !shown.contains(part(0, 12)));
    }
}
