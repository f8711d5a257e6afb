//! Breaks valid inputs a little, the same way for the same seed.

/// Numbers at which code has its edges.
const EDGES: [u32; 10] = [0, 1, 7, 8, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFF_FFFF, u32::MAX];
/// Bytes of an input at most: more than any message, and most fixtures.
const LEN_LIMIT: usize = 100_000;

/// A small generator (`SplitMix64`: public domain, Vigna 2015) and the mutations drawn from it.
#[derive(Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// The mutator of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of the seeds, changed in one to five places.
    pub fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.pick(seeds);
        for _ in 0..=self.below(4) {
            self.change(&mut input, seeds);
        }
        input.truncate(LEN_LIMIT);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let (start, end) = self.range(input.len());
        match self.below(8) {
            0 => over(input, start, &[1 << self.below(8)], |old, new| old ^ new),
            1 => {
                let byte = self.next().to_be_bytes()[0];
                over(input, start, &[byte], |_, new| new);
            }
            2 => {
                let edge = EDGES[self.below(EDGES.len())].to_be_bytes();
                over(input, start, &edge, |_, new| new);
            }
            3 => drop(input.drain(start..end)),
            4 => input.truncate(start),
            5 => {
                let copy = input[start..end].to_vec();
                input.splice(start..start, copy);
            }
            6 => {
                let other = self.pick(seeds);
                let (from, to) = self.range(other.len());
                input.splice(start..end, other[from..to].iter().copied());
            }
            _ => {
                let noise = self.next().to_be_bytes();
                input.splice(start..start, noise);
            }
        }
    }

    fn pick(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let index = self.below(seeds.len());
        seeds.get(index).cloned().unwrap_or_default()
    }

    /// A range within `0..len`, short as a rule.
    fn range(&mut self, len: usize) -> (usize, usize) {
        let start = self.below(len + 1);
        let longest = if self.below(4) == 0 { len } else { 16 };
        (start, (start + self.below(longest + 1)).min(len))
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

fn over(input: &mut [u8], at: usize, bytes: &[u8], change: fn(u8, u8) -> u8) {
    for (old, new) in input.iter_mut().skip(at).zip(bytes) {
        *old = change(*old, *new);
    }
}
