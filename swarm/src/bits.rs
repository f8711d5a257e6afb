//! A moving window of bits.

use cardume_wire::link::{HAVE_LEN_LIMIT, TrackBlocks};
use cardume_wire::{BlockNumber, TrackId};
use minicbor::bytes::ByteVec;

/// Numbers remembered below the highest: 26 s of 20 Mbit/s in blocks of 16 KiB, more than any live window.
pub(crate) const BIT_LIMIT: u32 = 4096;
const WORD_COUNT: usize = (BIT_LIMIT / 64) as usize;

/// The set of numbers said so far, as far as they lie within [`BIT_LIMIT`] of the highest.
#[derive(Clone, Debug, Default)]
pub(crate) struct BitWindow {
    words: Vec<u64>,
    /// One more than the highest number ever inserted.
    end: u32,
}

impl BitWindow {
    /// Adds a number; those too far below the highest are forgotten at once.
    pub(crate) fn insert(&mut self, number: u32) {
        if self.words.is_empty() {
            self.words = vec![0; WORD_COUNT];
        }
        if number >= self.end {
            self.advance(number);
        } else if self.end - number > BIT_LIMIT {
            return;
        }
        let (word, bit) = place(number);
        self.words[word] |= bit;
    }

    /// Removes a number.
    pub(crate) fn remove(&mut self, number: u32) {
        if self.contains(number) {
            let (word, bit) = place(number);
            self.words[word] &= !bit;
        }
    }

    /// Whether the number is in the set.
    pub(crate) fn contains(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        number < self.end
            && self.end - number <= BIT_LIMIT
            && self.words.get(word).is_some_and(|w| w & bit != 0)
    }

    fn advance(&mut self, number: u32) {
        if number - self.end >= BIT_LIMIT {
            self.words.fill(0);
        } else {
            for forgotten in self.end..number {
                let (word, bit) = place(forgotten);
                self.words[word] &= !bit;
            }
        }
        let (word, bit) = place(number);
        self.words[word] &= !bit;
        self.end = number.saturating_add(1);
    }
}

fn place(number: u32) -> (usize, u64) {
    let index = number % BIT_LIMIT;
    ((index / 64) as usize, 1 << (index % 64))
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
        fn bitmaps_name_exactly_the_numbers(numbers in proptest::collection::btree_set(any::<u32>(), 0..60)) {
            let numbers: Vec<u32> = numbers.into_iter().collect();
            let maps = bitmaps(TrackId(1), &numbers);
            prop_assert!(maps.iter().all(|map| map.bits.len() <= HAVE_LEN_LIMIT));
            let named: Vec<u32> = maps.iter().flat_map(TrackBlocks::numbers).map(|number| number.0).collect();
            prop_assert_eq!(named, numbers);
        }
    }
}
