//! A moving window of bits.

use std::collections::VecDeque;

use cardume_wire::link::{HAVE_LEN_LIMIT, TrackBlocks};
use cardume_wire::{BlockNumber, TrackId};
use minicbor::bytes::ByteVec;

/// Numbers remembered below the highest: 26 s of 20 Mbit/s in blocks of 16 KiB, more than any live window.
pub(crate) const BIT_LIMIT: u32 = 4096;
const WORD_BITS: u32 = u64::BITS;
const WORD_LIMIT: usize = (BIT_LIMIT / WORD_BITS) as usize + 1;

/// The set of numbers said so far, as far as they lie within [`BIT_LIMIT`] of the highest.
///
/// It takes memory for the stretch between its lowest and its highest number only: a peer has some dozens of these.
#[derive(Clone, Debug, Default)]
pub(crate) struct BitWindow {
    /// The words from `first_word` on; at most [`WORD_LIMIT`].
    words: VecDeque<u64>,
    /// The numbers of the first word begin at this times [`WORD_BITS`].
    first_word: u32,
    /// One more than the highest number ever inserted.
    end: u32,
}

impl BitWindow {
    /// Adds a number; those too far below the highest are forgotten at once.
    pub(crate) fn insert(&mut self, number: u32) {
        if number >= self.end {
            self.end = number.saturating_add(1);
        } else if self.end - number > BIT_LIMIT {
            return;
        }
        let word = number / WORD_BITS;
        self.reach(word);
        let index = word.checked_sub(self.first_word);
        if let Some(bits) = index.and_then(|index| self.words.get_mut(index as usize)) {
            *bits |= bit(number);
        }
    }

    /// Removes a number.
    pub(crate) fn remove(&mut self, number: u32) {
        let word = (number / WORD_BITS).checked_sub(self.first_word);
        if let Some(bits) = word.and_then(|word| self.words.get_mut(word as usize)) {
            *bits &= !bit(number);
        }
    }

    /// Whether the number is in the set.
    pub(crate) fn contains(&self, number: u32) -> bool {
        let word = (number / WORD_BITS).checked_sub(self.first_word);
        let bits = word.and_then(|word| self.words.get(word as usize));
        bits.is_some_and(|bits| bits & bit(number) != 0) && self.end - number <= BIT_LIMIT
    }

    /// Makes place for a word within the limit, and forgets those too far below it.
    fn reach(&mut self, word: u32) {
        let n_words = |words: &VecDeque<u64>| u32::try_from(words.len()).unwrap_or(u32::MAX);
        let after = self.first_word.saturating_add(n_words(&self.words));
        if self.words.is_empty() || word >= after.saturating_add(BIT_LIMIT / WORD_BITS) {
            self.words.clear();
            self.first_word = word;
        }
        while word < self.first_word {
            self.words.push_front(0);
            self.first_word -= 1;
        }
        while word - self.first_word >= n_words(&self.words) {
            self.words.push_back(0);
        }
        while self.words.len() > WORD_LIMIT {
            self.words.pop_front();
            self.first_word += 1;
        }
    }
}

fn bit(number: u32) -> u64 {
    1 << (number % WORD_BITS)
}

/// Numbers as the bitmaps that travel: rising, each as long as allowed.
pub(crate) fn bitmaps(track: TrackId, numbers: &[u32]) -> Vec<TrackBlocks> {
    let mut maps: Vec<TrackBlocks> = Vec::new();
    for &number in numbers {
        let offset =
            maps.last().and_then(|map| number.checked_sub(map.first.0)).map(|offset| offset as usize);
        match (maps.last_mut(), offset) {
            (Some(map), Some(offset)) if offset < HAVE_LEN_LIMIT * 8 => set(&mut map.bits, offset),
            _ => {
                maps.push(TrackBlocks { track, first: BlockNumber(number), bits: ByteVec::from(vec![1]) });
            }
        }
    }
    maps
}

fn set(bits: &mut ByteVec, offset: usize) {
    if bits.len() <= offset / 8 {
        bits.resize(offset / 8 + 1, 0);
    }
    bits[offset / 8] |= 1 << (offset % 8);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holds_what_a_set_holds_within_its_limit(
            steps in proptest::collection::vec((0u32..20_000, any::<bool>()), 1..200)
        ) {
            let mut window = BitWindow::default();
            let mut model = BTreeSet::new();
            let mut end = 0;
            for (number, is_insert) in steps {
                if is_insert {
                    window.insert(number);
                    end = end.max(number + 1);
                    model.insert(number);
                } else {
                    window.remove(number);
                    model.remove(&number);
                }
                model.retain(|held| end - held <= BIT_LIMIT);
                for probe in [number, number + 1, number.saturating_sub(1), end.saturating_sub(BIT_LIMIT)] {
                    prop_assert_eq!(window.contains(probe), model.contains(&probe), "{}", probe);
                }
            }
        }

        #[test]
        fn bitmaps_name_exactly_the_numbers(
            numbers in proptest::collection::btree_set(prop_oneof![0u32..2_000, any::<u32>()], 0..60)
        ) {
            let numbers: Vec<u32> = numbers.into_iter().collect();
            let maps = bitmaps(TrackId(1), &numbers);
            prop_assert!(maps.iter().all(|map| map.bits.len() <= HAVE_LEN_LIMIT));
            let reach = |map: &TrackBlocks| u64::from(map.first.0) + 8 * HAVE_LEN_LIMIT as u64;
            prop_assert!(maps.windows(2).all(|two| reach(&two[0]) <= two[1].first.0.into()), "as few as will do");
            let named: Vec<u32> = maps.iter().flat_map(TrackBlocks::numbers).map(|number| number.0).collect();
            prop_assert_eq!(named, numbers);
        }
    }
}
