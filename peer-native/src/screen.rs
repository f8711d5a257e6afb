//! An imagined media element: it plays what is buffered and stops where that ends, as a browser's does; nobody sees it.

use std::collections::BTreeMap;

use cardume_media::{Catalog, TrackKind};
use cardume_swarm::{BUFFERED_LIMIT, Instant, PlayerState};
use cardume_wire::TrackId;

/// Media kept behind the playhead, microseconds: nobody goes back there.
const KEPT_BEHIND_US: u64 = 10_000_000;
/// After it stopped for lack of media, it goes on once this much is ahead, microseconds; measured in browsers.
const RESUME_AHEAD_US: u64 = 60_000;

/// The element.
#[derive(Debug)]
pub(crate) struct Screen {
    kinds: BTreeMap<TrackId, TrackKind>,
    /// What is buffered of each kind of track that there is, rising, apart.
    buffered: BTreeMap<TrackKind, Vec<(u64, u64)>>,
    playhead_us: f64,
    rate: f64,
    /// Until when it has played.
    at: Instant,
    is_waiting: bool,
}

impl Screen {
    /// Nothing is attached.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            kinds: BTreeMap::new(),
            buffered: BTreeMap::new(),
            playhead_us: 0.0,
            rate: 1.0,
            at: now,
            is_waiting: true,
        }
    }

    /// A new broadcast, from the begin of its timeline.
    pub(crate) fn attach(&mut self, catalog: &Catalog, now: Instant) {
        let kinds: BTreeMap<_, _> = catalog.tracks().iter().map(|track| (track.id, track.kind)).collect();
        let buffered = kinds.values().map(|kind| (*kind, Vec::new())).collect();
        *self = Self { kinds, buffered, rate: self.rate, ..Self::new(now) };
    }

    /// A part of a track; an unknown one is ignored.
    pub(crate) fn append(&mut self, track: TrackId, (start_us, end_us): (u64, u64), now: Instant) {
        self.play(now);
        let kept_from = self.position().saturating_sub(KEPT_BEHIND_US);
        let ranges = self.kinds.get(&track).and_then(|kind| self.buffered.get_mut(kind));
        if let Some(ranges) = ranges {
            ranges.retain(|(_, end)| *end > kept_from);
            add(ranges, (start_us, end_us));
        }
    }

    /// Plays at this rate, 0 to stand still.
    pub(crate) fn set_rate(&mut self, rate: f64, now: Instant) {
        self.play(now);
        self.rate = rate;
    }

    /// Moves the playhead.
    #[expect(clippy::cast_precision_loss, reason = "exact for the 285 years below 2^53 microseconds")]
    pub(crate) fn seek(&mut self, to_us: u64, now: Instant) {
        self.play(now);
        self.playhead_us = to_us as f64;
        self.is_waiting = true;
    }

    /// The element as it is now.
    pub(crate) fn state(&mut self, now: Instant) -> PlayerState {
        self.play(now);
        let playhead_us = self.position();
        let ahead = self.playable().into_iter().filter(|(_, end)| *end >= playhead_us);
        PlayerState {
            playhead_us,
            buffered: ahead.take(BUFFERED_LIMIT).collect(),
            is_paused: false,
            is_seeking: false,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "exact for the 285 years below 2^53 microseconds")]
    fn play(&mut self, now: Instant) {
        let elapsed_us = now.since(self.at).as_micros() as f64;
        self.at = now;
        let position = self.position();
        let range = self.playable().into_iter().find(|(start, end)| (*start..*end).contains(&position));
        let ahead_us = range.map_or(0, |(_, end)| end - position);
        let needed_us = if self.is_waiting { RESUME_AHEAD_US } else { 1 };
        self.is_waiting = ahead_us < needed_us;
        if !self.is_waiting {
            self.playhead_us += (elapsed_us * self.rate).min(ahead_us as f64);
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to integer saturates")]
    fn position(&self) -> u64 {
        self.playhead_us as u64
    }

    /// Where there is media of every kind.
    fn playable(&self) -> Vec<(u64, u64)> {
        let mut kinds = self.buffered.values();
        let first = kinds.next().cloned().unwrap_or_default();
        kinds.fold(first, |common, ranges| intersection(&common, ranges))
    }
}

/// Adds a stretch, and joins what then touches.
fn add(ranges: &mut Vec<(u64, u64)>, (start, end): (u64, u64)) {
    let is_apart = |range: &(u64, u64)| range.1 < start || end < range.0;
    let joined = ranges.iter().filter(|range| !is_apart(range));
    let joined = joined.fold((start, end), |all, range| (all.0.min(range.0), all.1.max(range.1)));
    ranges.retain(is_apart);
    let place = ranges.partition_point(|range| range.0 < joined.0);
    ranges.insert(place, joined);
}

fn intersection(a: &[(u64, u64)], b: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a.0.max(b.0), a.1.min(b.1))));
    pairs.filter(|(start, end)| start < end).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cardume_media::Track;
    use cardume_wire::Epoch;

    use super::*;

    const VIDEO: TrackId = TrackId(0);
    const AUDIO: TrackId = TrackId(1);

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn ms(start: u64, end: u64) -> (u64, u64) {
        (start * 1000, end * 1000)
    }

    fn screen() -> Screen {
        let track = |id, kind| Track {
            id,
            kind,
            codec: "avc1.42C01E".to_owned(),
            timescale: 1000,
            bitrate: 0,
            width: 0,
            height: 0,
            init: Bytes::from_static(b"init"),
        };
        let tracks = vec![track(VIDEO, TrackKind::Video), track(AUDIO, TrackKind::Audio)];
        let mut screen = Screen::new(at(0));
        screen.attach(&Catalog::new(Epoch(1), tracks).unwrap(), at(0));
        screen
    }

    #[test]
    fn it_plays_where_picture_and_sound_are_and_stops_at_their_end() {
        let mut screen = screen();
        screen.append(VIDEO, ms(1000, 1200), at(0));
        screen.seek(1_000_000, at(0));
        assert_eq!(screen.state(at(50)).buffered, [], "there is no sound yet");
        screen.append(AUDIO, ms(1000, 1100), at(100));
        let state = screen.state(at(150));
        assert_eq!((state.playhead_us, state.buffered), (1_050_000, vec![ms(1000, 1100)]));
        assert_eq!(screen.state(at(900)).playhead_us, 1_100_000);
        screen.append(AUDIO, ms(1100, 1130), at(900));
        assert_eq!(screen.state(at(950)).playhead_us, 1_100_000, "too little to go on");
        screen.append(AUDIO, ms(1130, 1200), at(950));
        assert_eq!(screen.state(at(1000)).playhead_us, 1_150_000);
    }

    #[test]
    fn it_plays_at_the_rate_that_it_is_told() {
        let mut screen = screen();
        for track in [VIDEO, AUDIO] {
            screen.append(track, ms(0, 5000), at(0));
        }
        screen.set_rate(0.0, at(1000));
        assert_eq!(screen.state(at(2000)).playhead_us, 1_000_000);
        screen.set_rate(1.5, at(2000));
        assert_eq!(screen.state(at(3000)).playhead_us, 2_500_000);
    }

    #[test]
    fn stretches_that_touch_are_one() {
        let mut ranges = Vec::new();
        for range in [(10, 20), (30, 40), (50, 60), (20, 30), (5, 10)] {
            add(&mut ranges, range);
        }
        assert_eq!(ranges, [(5, 40), (50, 60)]);
    }
}
