//! Many values in little memory.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a percentile of at most 2^52 values, each told to two digits"
)]

/// Buckets to a doubling of the value: a percentile is told to 1.6 %.
const PER_OCTAVE: u64 = 64;
/// Of the values that fall into buckets: up to 64 s in microseconds and far beyond.
const BUCKET_COUNT: usize = 40 * PER_OCTAVE as usize;

/// How often which value occurred: exact below 64, else to 1.6 %.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    n_values: u64,
}

impl Histogram {
    /// Takes one value in.
    pub(crate) fn add(&mut self, value: u64) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; BUCKET_COUNT];
        }
        self.buckets[bucket(value).min(BUCKET_COUNT - 1)] += 1;
        self.n_values += 1;
    }

    /// The value below which this share of all lies; 0 of nothing.
    pub(crate) fn at(&self, share: f64) -> u64 {
        // 7 % of 100 values are 7, not what a float's rounding makes of it.
        let wanted = ((self.n_values as f64 * share - 1e-6).ceil() as u64).max(1);
        let mut n_below = 0;
        for (index, n) in self.buckets.iter().enumerate() {
            n_below += n;
            if n_below >= wanted {
                return value(index);
            }
        }
        0
    }

    /// The values at these shares of all.
    pub(crate) fn at_all<const N: usize>(&self, shares: [f64; N]) -> [u64; N] {
        shares.map(|share| self.at(share))
    }
}

fn bucket(value: u64) -> usize {
    if value < PER_OCTAVE {
        return value as usize;
    }
    let octave = u64::from(value.ilog2()) - u64::from(PER_OCTAVE.ilog2());
    (octave * PER_OCTAVE + (value >> octave)) as usize
}

/// The middle of a bucket.
fn value(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PER_OCTAVE {
        return bucket;
    }
    let octave = bucket / PER_OCTAVE - 1;
    let low = (bucket - octave * PER_OCTAVE) << octave;
    low + (1 << octave) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn percentiles_are_right_to_two_digits(
            mut values in proptest::collection::vec(0u64..100_000_000, 1..300), percent in 1u32..=100
        ) {
            let mut histogram = Histogram::default();
            for value in &values {
                histogram.add(*value);
            }
            values.sort_unstable();
            let rank = (values.len() * percent as usize).div_ceil(100) - 1;
            let told = histogram.at(f64::from(percent) / 100.0);
            let error = told.abs_diff(values[rank]) as f64;
            prop_assert!(error <= 0.016 * values[rank] as f64, "{} told as {told}", values[rank]);
        }
    }
}
