//! Which of a catalog's tracks a viewer watches: one picture and one sound. Tracks of a kind are alternatives.

use cardume_media::TrackKind;
use cardume_wire::{TrackId, TrackSet};

use crate::TrackFacts;

/// Bits per second that the rendition to begin with has at most: half of real WebRTC viewers get 2.53 Mbit/s over a link
/// (the overlay's data). All begin with the same one: the server can send its first picture before it is asked, and a
/// joiner's neighbours most likely hold it.
const START_RATE: u64 = 2_530_000;
/// Of what comes in, as eighths, a rendition may have this much: below it a viewer catches up with what it lacks.
const USABLE_EIGHTHS: u64 = 6;

/// What the viewer chose itself, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pins {
    video: Option<TrackId>,
    audio: Option<TrackId>,
}

impl Pins {
    /// Notes the viewer's choice; `None` leaves it to the swarm again.
    pub(crate) fn set(&mut self, kind: TrackKind, track: Option<TrackId>) {
        *self.of_mut(kind) = track;
    }

    /// What the viewer chose of this kind, if there is such a track.
    pub(crate) fn of(self, kind: TrackKind, tracks: &[TrackFacts]) -> Option<TrackId> {
        let pin = match kind {
            TrackKind::Video => self.video,
            TrackKind::Audio => self.audio,
        };
        pin.filter(|pin| ladder(tracks, kind).iter().any(|track| track.id == *pin))
    }

    fn of_mut(&mut self, kind: TrackKind) -> &mut Option<TrackId> {
        match kind {
            TrackKind::Video => &mut self.video,
            TrackKind::Audio => &mut self.audio,
        }
    }
}

/// The tracks of a kind, the cheapest first.
pub(crate) fn ladder(tracks: &[TrackFacts], kind: TrackKind) -> Vec<TrackFacts> {
    let is_meant = |track: &&TrackFacts| track.is_video == (kind == TrackKind::Video);
    let mut ladder: Vec<TrackFacts> = tracks.iter().filter(is_meant).copied().collect();
    ladder.sort_by_key(|track| (track.bitrate.0, track.id));
    ladder
}

/// Whether there is anything to choose.
pub(crate) fn has_alternatives(tracks: &[TrackFacts]) -> bool {
    let n_videos = tracks.iter().filter(|track| track.is_video).count();
    n_videos > 1 || tracks.len() - n_videos > 1
}

/// What to begin with: what was chosen; else the best picture of a modest rate, and the catalog's first sound. All tracks
/// there can be where there is nothing to choose.
pub(crate) fn first_choice(tracks: &[TrackFacts], pins: Pins) -> TrackSet {
    if !has_alternatives(tracks) {
        return TrackSet::ALL;
    }
    let videos = ladder(tracks, TrackKind::Video);
    let modest = videos.iter().rfind(|track| track.bitrate.0 <= START_RATE).or(videos.first());
    let sound = tracks.iter().find(|track| !track.is_video);
    let video = pins.of(TrackKind::Video, tracks).or(modest.map(|track| track.id));
    let audio = pins.of(TrackKind::Audio, tracks).or(sound.map(|track| track.id));
    video.into_iter().chain(audio).collect()
}

/// The most expensive picture and sound together.
pub(crate) fn dearest_choice(tracks: &[TrackFacts]) -> TrackSet {
    if !has_alternatives(tracks) {
        return TrackSet::ALL;
    }
    let dearest = |kind| ladder(tracks, kind).last().map(|track| track.id);
    [TrackKind::Video, TrackKind::Audio].into_iter().filter_map(dearest).collect()
}

/// The rendition above this one.
pub(crate) fn above(ladder: &[TrackFacts], track: TrackId) -> Option<TrackId> {
    let place = ladder.iter().position(|facts| facts.id == track)?;
    ladder.get(place + 1).map(|facts| facts.id)
}

/// The best rendition below this one for which so many bits per second are enough, or the cheapest.
pub(crate) fn below(ladder: &[TrackFacts], track: TrackId, received: u64) -> Option<TrackId> {
    let place = ladder.iter().position(|facts| facts.id == track)?;
    let below = ladder.get(..place)?;
    let is_borne = |facts: &&TrackFacts| facts.bitrate.0 <= received / 8 * USABLE_EIGHTHS;
    below.iter().rfind(is_borne).or(below.first()).map(|facts| facts.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BitsPerSec;

    const SOUND: TrackId = TrackId(1);

    fn track(id: u8, is_video: bool, rate: u64) -> TrackFacts {
        TrackFacts { id: TrackId(id), is_video, bitrate: BitsPerSec(rate) }
    }

    /// Three pictures and two sounds.
    fn catalog() -> Vec<TrackFacts> {
        vec![
            track(0, true, 5_000_000),
            track(1, false, 128_000),
            track(2, true, 800_000),
            track(3, true, 2_000_000),
            track(4, false, 64_000),
        ]
    }

    fn set(ids: &[u8]) -> TrackSet {
        ids.iter().map(|id| TrackId(*id)).collect()
    }

    #[test]
    fn all_is_watched_where_there_is_nothing_to_choose() {
        let single = [track(0, true, 9_000_000), track(1, false, 128_000)];
        assert_eq!(first_choice(&single, Pins::default()), TrackSet::ALL);
        assert_eq!(dearest_choice(&single), TrackSet::ALL);
    }

    #[test]
    fn one_begins_with_the_best_modest_picture_and_the_first_sound() {
        assert_eq!(first_choice(&catalog(), Pins::default()), set(&[3, 1]));
        let dear = [track(0, true, 9_000_000), track(1, true, 6_000_000)];
        assert_eq!(first_choice(&dear, Pins::default()), set(&[1]));
    }

    #[test]
    fn what_the_viewer_chose_comes_first_unless_there_is_no_such_track_of_the_kind() {
        let mut pins = Pins::default();
        pins.set(TrackKind::Video, Some(TrackId(0)));
        pins.set(TrackKind::Audio, Some(TrackId(4)));
        assert_eq!(first_choice(&catalog(), pins), set(&[0, 4]));
        pins.set(TrackKind::Video, Some(SOUND));
        pins.set(TrackKind::Audio, Some(TrackId(77)));
        assert_eq!(first_choice(&catalog(), pins), set(&[3, 1]));
    }

    #[test]
    fn down_goes_to_what_the_downlink_bears_and_up_by_one() {
        let ladder = ladder(&catalog(), TrackKind::Video);
        assert_eq!(below(&ladder, TrackId(0), 3_000_000), Some(TrackId(3)));
        assert_eq!(below(&ladder, TrackId(0), 2_000_000), Some(TrackId(2)));
        assert_eq!(below(&ladder, TrackId(0), 0), Some(TrackId(2)));
        assert_eq!(below(&ladder, TrackId(2), 3_000_000), None);
        assert_eq!(above(&ladder, TrackId(2)), Some(TrackId(3)));
        assert_eq!(above(&ladder, TrackId(0)), None);
    }
}
