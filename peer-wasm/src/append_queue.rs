//! What waits for one `SourceBuffer`, which takes one operation at a time. Pure: no DOM.

use std::collections::VecDeque;

use bytes::Bytes;

/// Seconds of played media kept behind the playhead: the house's choice, for a jump back by hand.
const KEEP_BEHIND: f64 = 30.0;
/// What is kept instead after the browser said that its quota is exceeded, once and twice. Wild guess.
const KEEP_BEHIND_FULL: [f64; 2] = [10.0, 2.0];
/// Played media beyond what is kept goes in pieces of this many seconds, so that removing is rare.
const EVICT_STEP: f64 = 10.0;
/// Seconds ahead of the playhead that a film has appended at most (30, and a part): what lies beyond was left there by a
/// viewer who went elsewhere, and goes when the quota is exceeded.
const KEEP_AHEAD: f64 = 40.0;
/// Seconds that the playhead of a film has to move before a part for which there was no room is tried again: a part.
const ROOM_STEP: f64 = 2.0;
/// Bytes of a live channel that may wait: as long as the browser's own quota for one audio track (12 MiB in Chromium) and a little.
const WAITING_LIMIT: usize = 16 * 1024 * 1024;
/// Bytes that wait at most because a `ManagedMediaSource` has said that it wants nothing: some 10 s of 3 Mbit/s.
const HELD_LIMIT: usize = 4 * 1024 * 1024;

/// One operation for the `SourceBuffer`.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Append these bytes, in order, as one.
    Append(Vec<Bytes>),
    /// What is appended from now on is of this MIME type.
    ChangeType(String),
    /// Remove everything before this second of the media timeline.
    RemoveBefore(f64),
    /// Remove everything from this second on.
    RemoveFrom(f64),
}

/// What becomes of parts for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endurance {
    /// The oldest is dropped: it would be late.
    Live,
    /// They wait until the playhead has made room. Who gives them does not give more than some seconds ahead.
    Film,
}

/// What the queue has to know of the player to choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Situation {
    /// Media time on screen, in seconds.
    pub playhead: f64,
    /// Start of the oldest buffered media, in seconds; `None` when there is none.
    pub buffered_from: Option<f64>,
    /// End of the newest buffered media.
    pub buffered_to: Option<f64>,
    /// Whether the source wants media now; false only between a `ManagedMediaSource`'s `endstreaming` and `startstreaming`.
    pub is_streaming: bool,
}

/// What waits.
#[derive(Debug)]
enum Waiting {
    Part(Vec<Bytes>),
    Type(String),
}

/// Appends in order, with eviction where the browser's quota or the time behind the playhead asks for it.
#[derive(Debug)]
pub struct AppendQueue {
    endurance: Endurance,
    /// Where the playhead was when there was no room.
    full_at: Option<f64>,
    waiting: VecDeque<Waiting>,
    waiting_len: usize,
    in_flight: Option<Vec<Bytes>>,
    n_quota_errors: usize,
    n_dropped: u32,
}

impl AppendQueue {
    /// With nothing in it.
    pub fn new(endurance: Endurance) -> Self {
        Self {
            endurance,
            full_at: None,
            waiting: VecDeque::new(),
            waiting_len: 0,
            in_flight: None,
            n_quota_errors: 0,
            n_dropped: 0,
        }
    }

    /// Adds one part at the end. Past [`WAITING_LIMIT`] the oldest part of a live channel that waits is dropped.
    pub fn push(&mut self, part: Vec<Bytes>) {
        self.waiting_len += len(&part);
        self.waiting.push_back(Waiting::Part(part));
        while self.endurance == Endurance::Live && self.waiting_len > WAITING_LIMIT {
            self.drop_oldest();
        }
    }

    /// No part that waits is wanted any more.
    pub fn clear_parts(&mut self) {
        self.waiting.retain(|waiting| matches!(waiting, Waiting::Type(_)));
        self.waiting_len = 0;
        self.full_at = None;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What is pushed from now on is of this MIME type.
    pub fn push_type(&mut self, mime: String) {
        self.waiting.push_back(Waiting::Type(mime));
    }

    /// What to do next, when the `SourceBuffer` is idle; `None` when there is nothing to do.
    pub fn next_step(&mut self, situation: Situation) -> Option<Step> {
        if let Some(step) = self.eviction(situation) {
            return Some(step);
        }
        if self.full_at.is_some_and(|at| (situation.playhead - at).abs() < ROOM_STEP) {
            return None;
        }
        if !situation.is_streaming && self.waiting_len < HELD_LIMIT {
            return None;
        }
        let part = match self.waiting.pop_front()? {
            Waiting::Part(part) => part,
            Waiting::Type(mime) => return Some(Step::ChangeType(mime)),
        };
        self.waiting_len -= len(&part);
        self.in_flight = Some(part.clone());
        Some(Step::Append(part))
    }

    /// The append was taken.
    pub fn handle_done(&mut self) {
        self.in_flight = None;
        self.full_at = None;
    }

    /// The browser refused the append because its quota is full. The part is tried again after an eviction of media
    /// behind the playhead, or far ahead of it; false when there is nothing left to evict, and the part is dropped, if live.
    pub fn handle_quota_exceeded(&mut self, situation: Situation) -> bool {
        let Some(part) = self.in_flight.take() else { return false };
        while self.n_quota_errors < KEEP_BEHIND_FULL.len() {
            self.n_quota_errors += 1;
            if self.eviction(situation).is_some() {
                self.put_back(part);
                return true;
            }
        }
        if self.endurance == Endurance::Film {
            self.full_at = Some(situation.playhead);
            self.put_back(part);
            return true;
        }
        self.n_dropped = self.n_dropped.saturating_add(1);
        false
    }

    /// Parts that were dropped because there was no room for them.
    pub fn n_dropped(&self) -> u32 {
        self.n_dropped
    }

    fn keep_behind(&self) -> f64 {
        match self.n_quota_errors {
            0 => KEEP_BEHIND,
            n => KEEP_BEHIND_FULL.get(n - 1).copied().unwrap_or(0.0),
        }
    }

    /// What to remove, when enough has gathered behind the playhead, or there is no room for what lies far ahead.
    fn eviction(&self, situation: Situation) -> Option<Step> {
        let before = situation.playhead - self.keep_behind();
        let step = if self.n_quota_errors == 0 { EVICT_STEP } else { EVICT_STEP / 10.0 };
        let (from, to) = (situation.buffered_from?, situation.buffered_to?);
        let ahead = situation.playhead + KEEP_AHEAD;
        if before > 0.0 && before - from >= step {
            Some(Step::RemoveBefore(before))
        } else {
            (self.n_quota_errors > 0 && to - ahead >= step).then_some(Step::RemoveFrom(ahead))
        }
    }

    fn put_back(&mut self, part: Vec<Bytes>) {
        self.waiting_len += len(&part);
        self.waiting.push_front(Waiting::Part(part));
    }

    fn drop_oldest(&mut self) {
        let oldest = self.waiting.iter().position(|waiting| matches!(waiting, Waiting::Part(_)));
        if let Some(Waiting::Part(part)) = oldest.and_then(|oldest| self.waiting.remove(oldest)) {
            self.waiting_len -= len(&part);
            self.n_dropped = self.n_dropped.saturating_add(1);
        }
    }
}

fn len(part: &[Bytes]) -> usize {
    part.iter().map(Bytes::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: u8, len: usize) -> Vec<Bytes> {
        vec![Bytes::from(vec![name; len])]
    }

    fn at(playhead: f64, buffered_from: f64) -> Situation {
        Situation {
            playhead,
            buffered_from: Some(buffered_from),
            buffered_to: Some(playhead + 2.0),
            is_streaming: true,
        }
    }

    fn append(queue: &mut AppendQueue, situation: Situation) -> Option<u8> {
        let Step::Append(part) = queue.next_step(situation)? else { panic!("an eviction came instead") };
        queue.handle_done();
        Some(part[0][0])
    }

    #[test]
    fn parts_leave_in_the_order_they_came() {
        let mut queue = AppendQueue::new(Endurance::Live);
        for name in 1..=3 {
            queue.push(part(name, 100));
        }
        let names: Vec<u8> = std::iter::from_fn(|| append(&mut queue, at(0.0, 0.0))).collect();
        assert_eq!(names, [1, 2, 3]);
    }

    #[test]
    fn a_change_of_type_keeps_its_place() {
        let mut queue = AppendQueue::new(Endurance::Live);
        queue.push(part(1, 100));
        queue.push_type("video/mp4".into());
        queue.push(part(2, 100));
        assert_eq!(append(&mut queue, at(0.0, 0.0)), Some(1));
        assert_eq!(queue.next_step(at(0.0, 0.0)), Some(Step::ChangeType("video/mp4".into())));
        assert_eq!(append(&mut queue, at(0.0, 0.0)), Some(2));
    }

    #[test]
    fn media_thirty_seconds_behind_the_playhead_is_removed_in_steps() {
        let mut queue = AppendQueue::new(Endurance::Live);
        assert_eq!(queue.next_step(at(39.0, 0.0)), None);
        assert_eq!(queue.next_step(at(40.0, 0.0)), Some(Step::RemoveBefore(10.0)));
        assert_eq!(queue.next_step(at(41.0, 10.0)), None);
    }

    #[test]
    fn a_refused_part_is_tried_again_after_an_eviction() {
        let mut queue = AppendQueue::new(Endurance::Live);
        queue.push(part(1, 100));
        queue.push(part(2, 100));
        let now = at(25.0, 0.0);
        assert!(matches!(queue.next_step(now), Some(Step::Append(_))));
        assert!(queue.handle_quota_exceeded(now));
        assert_eq!(queue.next_step(now), Some(Step::RemoveBefore(15.0)));
        let after = at(25.0, 15.0);
        assert_eq!(append(&mut queue, after), Some(1));
        assert_eq!(append(&mut queue, after), Some(2));
        assert_eq!(queue.n_dropped(), 0);
    }

    #[test]
    fn a_part_is_dropped_when_nothing_is_left_to_evict() {
        let mut queue = AppendQueue::new(Endurance::Live);
        queue.push(part(1, 100));
        queue.push(part(2, 100));
        let now = at(1.0, 0.0);
        assert!(matches!(queue.next_step(now), Some(Step::Append(_))));
        assert!(!queue.handle_quota_exceeded(now));
        assert_eq!(queue.n_dropped(), 1);
        assert_eq!(append(&mut queue, now), Some(2));
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let mut queue = AppendQueue::new(Endurance::Live);
        for name in 1..=4 {
            queue.push(part(name, WAITING_LIMIT / 3));
        }
        assert_eq!(queue.n_dropped(), 1);
        assert_eq!(append(&mut queue, at(0.0, 0.0)), Some(2));
    }

    #[test]
    fn a_source_that_wants_nothing_gets_nothing_until_too_much_waits() {
        let mut queue = AppendQueue::new(Endurance::Live);
        let full = Situation { is_streaming: false, ..at(0.0, 0.0) };
        queue.push(part(1, HELD_LIMIT / 2));
        assert_eq!(queue.next_step(full), None);
        queue.push(part(2, HELD_LIMIT / 2));
        assert_eq!(append(&mut queue, full), Some(1));
        assert_eq!(append(&mut queue, full), None);
    }

    #[test]
    fn a_part_of_a_film_waits_until_the_playhead_has_made_room() {
        let mut queue = AppendQueue::new(Endurance::Film);
        queue.push(part(1, 100));
        queue.push(part(2, 100));
        let now = at(1.0, 0.0);
        assert!(matches!(queue.next_step(now), Some(Step::Append(_))));
        assert!(queue.handle_quota_exceeded(now));
        assert_eq!(queue.next_step(now), None);
        assert_eq!(append(&mut queue, at(1.0 + ROOM_STEP, 1.0)), Some(1));
        assert_eq!(append(&mut queue, at(1.0 + ROOM_STEP, 1.0)), Some(2));
        assert_eq!(queue.n_dropped(), 0);
    }

    #[test]
    fn what_was_left_far_ahead_goes_only_when_there_is_no_room() {
        let mut queue = AppendQueue::new(Endurance::Film);
        queue.push(part(1, 100));
        let now = Situation { buffered_to: Some(500.0), ..at(1.0, 0.0) };
        assert!(matches!(queue.next_step(now), Some(Step::Append(_))));
        assert!(queue.handle_quota_exceeded(now));
        assert_eq!(queue.next_step(now), Some(Step::RemoveFrom(1.0 + KEEP_AHEAD)));
        assert_eq!(append(&mut queue, at(1.0, 0.0)), Some(1));
    }

    #[test]
    fn all_of_a_film_may_wait_and_none_of_it_after_a_jump() {
        let mut queue = AppendQueue::new(Endurance::Film);
        for name in 1..=4 {
            queue.push(part(name, WAITING_LIMIT / 3));
        }
        assert_eq!(append(&mut queue, at(0.0, 0.0)), Some(1));
        queue.clear_parts();
        assert!(queue.is_empty() && queue.next_step(at(0.0, 0.0)).is_none());
        queue.push(part(9, 100));
        assert_eq!(append(&mut queue, at(0.0, 0.0)), Some(9));
    }
}
