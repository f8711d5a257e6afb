//! What waits for one `SourceBuffer`, which takes one operation at a time. Pure: no DOM.

use std::collections::VecDeque;

use bytes::Bytes;

/// Seconds of played media kept behind the playhead: the house's choice, for a jump back by hand.
const KEEP_BEHIND: f64 = 30.0;
/// What is kept instead after the browser said that its quota is exceeded, once and twice. Wild guess.
const KEEP_BEHIND_FULL: [f64; 2] = [10.0, 2.0];
/// Played media beyond what is kept goes in pieces of this many seconds, so that removing is rare.
const EVICT_STEP: f64 = 10.0;
/// Bytes that may wait: as long as the browser's own quota for one audio track (12 MiB in Chromium) and a little.
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
}

/// What the queue has to know of the player to choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Situation {
    /// Media time on screen, in seconds.
    pub playhead: f64,
    /// Start of the oldest buffered media, in seconds; `None` when there is none.
    pub buffered_from: Option<f64>,
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
#[derive(Debug, Default)]
pub struct AppendQueue {
    waiting: VecDeque<Waiting>,
    waiting_len: usize,
    in_flight: Option<Vec<Bytes>>,
    n_quota_errors: usize,
    n_dropped: u32,
}

impl AppendQueue {
    /// Adds one part at the end. Past [`WAITING_LIMIT`] the oldest part that waits is dropped.
    pub fn push(&mut self, part: Vec<Bytes>) {
        self.waiting_len += len(&part);
        self.waiting.push_back(Waiting::Part(part));
        while self.waiting_len > WAITING_LIMIT {
            self.drop_oldest();
        }
    }

    /// What is pushed from now on is of this MIME type.
    pub fn push_type(&mut self, mime: String) {
        self.waiting.push_back(Waiting::Type(mime));
    }

    /// What to do next, when the `SourceBuffer` is idle; `None` when there is nothing to do.
    pub fn next_step(&mut self, situation: Situation) -> Option<Step> {
        if let Some(before) = self.eviction(situation) {
            return Some(Step::RemoveBefore(before));
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
    }

    /// The browser refused the append because its quota is full. The part is tried again after an eviction of media
    /// behind the playhead; false when there is nothing left to evict, and the part is dropped.
    pub fn handle_quota_exceeded(&mut self, situation: Situation) -> bool {
        let Some(part) = self.in_flight.take() else { return false };
        while self.n_quota_errors < KEEP_BEHIND_FULL.len() {
            self.n_quota_errors += 1;
            if self.eviction(situation).is_some() {
                self.waiting_len += len(&part);
                self.waiting.push_front(Waiting::Part(part));
                return true;
            }
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

    /// Until where to remove, when enough has gathered behind the playhead.
    fn eviction(&self, situation: Situation) -> Option<f64> {
        let before = situation.playhead - self.keep_behind();
        let step = if self.n_quota_errors == 0 { EVICT_STEP } else { EVICT_STEP / 10.0 };
        let from = situation.buffered_from?;
        (before > 0.0 && before - from >= step).then_some(before)
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
        Situation { playhead, buffered_from: Some(buffered_from), is_streaming: true }
    }

    fn append(queue: &mut AppendQueue, situation: Situation) -> Option<u8> {
        let Step::Append(part) = queue.next_step(situation)? else { panic!("an eviction came instead") };
        queue.handle_done();
        Some(part[0][0])
    }

    #[test]
    fn parts_leave_in_the_order_they_came() {
        let mut queue = AppendQueue::default();
        for name in 1..=3 {
            queue.push(part(name, 100));
        }
        let names: Vec<u8> = std::iter::from_fn(|| append(&mut queue, at(0.0, 0.0))).collect();
        assert_eq!(names, [1, 2, 3]);
    }

    #[test]
    fn a_change_of_type_keeps_its_place() {
        let mut queue = AppendQueue::default();
        queue.push(part(1, 100));
        queue.push_type("video/mp4".into());
        queue.push(part(2, 100));
        assert_eq!(append(&mut queue, at(0.0, 0.0)), Some(1));
        assert_eq!(queue.next_step(at(0.0, 0.0)), Some(Step::ChangeType("video/mp4".into())));
        assert_eq!(append(&mut queue, at(0.0, 0.0)), Some(2));
    }

    #[test]
    fn media_thirty_seconds_behind_the_playhead_is_removed_in_steps() {
        let mut queue = AppendQueue::default();
        assert_eq!(queue.next_step(at(39.0, 0.0)), None);
        assert_eq!(queue.next_step(at(40.0, 0.0)), Some(Step::RemoveBefore(10.0)));
        assert_eq!(queue.next_step(at(41.0, 10.0)), None);
    }

    #[test]
    fn a_refused_part_is_tried_again_after_an_eviction() {
        let mut queue = AppendQueue::default();
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
        let mut queue = AppendQueue::default();
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
        let mut queue = AppendQueue::default();
        for name in 1..=4 {
            queue.push(part(name, WAITING_LIMIT / 3));
        }
        assert_eq!(queue.n_dropped(), 1);
        assert_eq!(append(&mut queue, at(0.0, 0.0)), Some(2));
    }

    #[test]
    fn a_source_that_wants_nothing_gets_nothing_until_too_much_waits() {
        let mut queue = AppendQueue::default();
        let full = Situation { is_streaming: false, ..at(0.0, 0.0) };
        queue.push(part(1, HELD_LIMIT / 2));
        assert_eq!(queue.next_step(full), None);
        queue.push(part(2, HELD_LIMIT / 2));
        assert_eq!(append(&mut queue, full), Some(1));
        assert_eq!(append(&mut queue, full), None);
    }
}
