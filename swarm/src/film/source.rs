//! A neighbour that parts of a film can be asked of.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::Instant;

/// Blocks asked of a neighbour at a time, at first: some 0.1 s of the median uplink and a round trip.
const WINDOW_FIRST: u32 = 3;
/// The same at most: a fast neighbour's second, and little to ask anew when it leaves.
const WINDOW_LIMIT: u32 = 16;
/// What a block takes before any came: 16 KiB on a third of the median uplink of measured WebRTC viewers.
const PACE_GUESS: Duration = Duration::from_millis(150);
/// Who declined is not asked for so long: a few blocks' time. Twice as long each time, up to [`BUSY_LIMIT`]: words to who
/// has too much to do are what it has to do.
const BUSY_FOR: Duration = Duration::from_millis(400);
/// See [`BUSY_FOR`].
const BUSY_LIMIT: Duration = Duration::from_millis(6400);
/// What is needed soon may be asked for beyond the window, which holds what is not: so many blocks.
const URGENT_ROOM: u32 = 3;
/// Single blocks remembered of a neighbour and track at most: 8 MiB, far more than anybody fetches at a time.
const BLOCK_LIMIT: usize = 512;

/// What one neighbour holds, and how it answers.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// By track: its whole parts.
    whole: Vec<Parts>,
    /// By track: blocks that it holds of parts that are not whole.
    blocks: Vec<BTreeSet<u32>>,
    /// Whether it was told what we hold.
    pub(crate) is_told: bool,
    /// When it was last told who holds what it asks for.
    pub(crate) hinted_at: Option<Instant>,
    n_asked: u32,
    /// How many may be asked at a time: grows with each answer, halves when one does not come.
    window: u32,
    /// Between two of its blocks while some are owed, smoothed.
    pace: Duration,
    answered_at: Instant,
    busy_until: Instant,
    /// For how long it is left alone when it declines once more.
    busy_for: Duration,
}

/// Bits by sequence; no longer than the track.
#[derive(Clone, Debug)]
struct Parts {
    words: Vec<u64>,
    n_parts: u32,
}

impl Source {
    /// One that holds nothing of tracks with so many parts.
    pub(crate) fn new(n_parts: impl Iterator<Item = u32>) -> Self {
        let whole: Vec<Parts> = n_parts.map(|n_parts| Parts { words: Vec::new(), n_parts }).collect();
        Self {
            blocks: vec![BTreeSet::new(); whole.len()],
            whole,
            is_told: false,
            hinted_at: None,
            n_asked: 0,
            window: WINDOW_FIRST,
            pace: PACE_GUESS,
            answered_at: Instant::default(),
            busy_until: Instant::default(),
            busy_for: BUSY_FOR,
        }
    }

    /// It holds the part, or holds it no longer; a part that is not in the track is ignored.
    pub(crate) fn set_whole(&mut self, place: usize, sequence: u32, is_held: bool) {
        let Some(parts) = self.whole.get_mut(place).filter(|parts| sequence < parts.n_parts) else { return };
        let (word, bit) = (sequence as usize / 64, 1 << (sequence % 64));
        if parts.words.len() <= word {
            parts.words.resize(word + 1, 0);
        }
        if is_held {
            parts.words[word] |= bit;
        } else {
            parts.words[word] &= !bit;
        }
    }

    pub(crate) fn has_whole(&self, place: usize, sequence: u32) -> bool {
        let word = self.whole.get(place).and_then(|parts| parts.words.get(sequence as usize / 64));
        word.is_some_and(|word| word >> (sequence % 64) & 1 == 1)
    }

    /// It holds a block of a part that is not whole; of too many, those farthest back are forgotten.
    pub(crate) fn set_block(&mut self, place: usize, number: u32) {
        if let Some(blocks) = self.blocks.get_mut(place) {
            blocks.insert(number);
            if blocks.len() > BLOCK_LIMIT {
                blocks.pop_first();
            }
        }
    }

    pub(crate) fn has_block(&self, place: usize, number: u32) -> bool {
        self.blocks.get(place).is_some_and(|blocks| blocks.contains(&number))
    }

    /// Whether it holds one of these blocks of a part that is not whole.
    pub(crate) fn has_any(&self, place: usize, numbers: core::ops::Range<u32>) -> bool {
        self.blocks.get(place).is_some_and(|blocks| blocks.range(numbers).next().is_some())
    }

    /// Its part with these blocks is whole, or gone.
    pub(crate) fn forget_blocks(&mut self, place: usize, numbers: core::ops::Range<u32>) {
        if let Some(blocks) = self.blocks.get_mut(place) {
            blocks.retain(|number| !numbers.contains(number));
        }
    }

    pub(crate) fn is_ready(&self, is_urgent: bool, now: Instant) -> bool {
        let room = if is_urgent { URGENT_ROOM } else { 0 };
        self.n_asked < self.window + room && self.is_patient(now)
    }

    /// Whether it did not decline a moment ago.
    pub(crate) fn is_patient(&self, now: Instant) -> bool {
        self.busy_until <= now
    }

    pub(crate) const fn n_asked(&self) -> u32 {
        self.n_asked
    }

    /// How long one more block would take, a round trip included.
    pub(crate) fn expected(&self, rtt: Duration) -> Duration {
        rtt + self.pace * (self.n_asked + 1)
    }

    pub(crate) fn asked(&mut self) {
        self.n_asked += 1;
    }

    /// A block came that was asked for then.
    pub(crate) fn answered(&mut self, asked_at: Instant, rtt: Duration, now: Instant) {
        let is_full = self.n_asked >= self.window;
        self.released();
        let sample = now.since((asked_at + rtt).max(self.answered_at));
        self.pace = (self.pace * 3 + sample) / 4;
        self.answered_at = now;
        self.busy_for = BUSY_FOR;
        self.window = (self.window + u32::from(is_full)).min(WINDOW_LIMIT);
    }

    /// It does not have it, or too much to do.
    pub(crate) fn declined(&mut self, now: Instant) {
        self.late();
        if self.is_patient(now) {
            self.busy_until = now + self.busy_for;
            self.busy_for = (self.busy_for * 2).min(BUSY_LIMIT);
        }
    }

    /// It took too long.
    pub(crate) fn late(&mut self) {
        self.released();
        self.window = (self.window / 2).max(1);
    }

    /// It owes one less.
    pub(crate) fn released(&mut self) {
        self.n_asked = self.n_asked.saturating_sub(1);
    }
}
