//! Chance as a function: numbers that depend on a seed and on what they are for, and on nothing that happened before.
#![expect(clippy::cast_precision_loss, reason = "shares and quantiles need no more than 52 bits")]

/// 64 random bits for each pair of numbers: the finaliser of `SplitMix64` (Steele, Lea, Flood 2014) over a weighted sum.
pub(crate) fn bits(seed: u64, a: u64, b: u64) -> u64 {
    mix(mix(seed ^ a.wrapping_mul(0x9e37_79b9_7f4a_7c15)) ^ b.wrapping_mul(0xd1b5_4a32_d192_ed03))
}

fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Random bits as a number from 0 up to, not including, 1.
pub(crate) fn share(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// A distribution given by five points: linear between them, flat beyond.
pub(crate) struct Quantiles {
    places: [f64; 5],
    values: [f64; 5],
}

impl Quantiles {
    /// From the 5th, 25th, 50th, 75th and 95th percentile.
    pub(crate) fn fives(values: [u64; 5]) -> Self {
        Self { places: [0.05, 0.25, 0.5, 0.75, 0.95], values: values.map(|value| value as f64) }
    }

    /// From the 10th, 25th, 50th, 75th and 90th percentile.
    pub(crate) fn tens(values: [u64; 5]) -> Self {
        Self { places: [0.1, 0.25, 0.5, 0.75, 0.9], values: values.map(|value| value as f64) }
    }

    /// The value below which this share lies.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let share = share.clamp(self.places[0], self.places[4]);
        let upper = self.places.iter().position(|place| share <= *place).unwrap_or(4).max(1);
        let (from, to) = (self.places[upper - 1], self.places[upper]);
        let (low, high) = (self.values[upper - 1], self.values[upper]);
        low + (high - low) * (share - from) / (to - from)
    }

    /// The mean.
    pub(crate) fn mean(&self) -> f64 {
        let ends = self.places[0] * self.values[0] + (1.0 - self.places[4]) * self.values[4];
        let between = self.places.windows(2).zip(self.values.windows(2));
        ends + between.map(|(place, value)| (place[1] - place[0]) * (value[0] + value[1]) / 2.0).sum::<f64>()
    }
}
