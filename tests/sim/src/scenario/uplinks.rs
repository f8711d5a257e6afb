//! How fast viewers' uplinks are.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "rates are positive and far below 2^52"
)]

use serde::Deserialize;

use super::Scenario;
use crate::chance::{Quantiles, share};

/// A distribution of uplinks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Uplinks {
    /// Every viewer has so many bits per second.
    Constant(u64),
    /// Bits per second at the 5th, 25th, 50th, 75th and 95th percentile.
    Quantiles([u64; 5]),
    /// Slots of one rate; their number is uniform among `first`, `first + step`, …, `last`.
    Slots {
        /// Bits per second of one.
        rate: u64,
        /// The fewest.
        first: u64,
        /// The most.
        last: u64,
        /// From one number to the next.
        step: u64,
    },
    /// Classes of viewers whose shares make a hundred.
    Classes(Vec<UplinkClass>),
}

/// Some of the viewers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkClass {
    /// Their share in hundredths; fractions are fine.
    pub percent: f64,
    /// The slowest, in multiples of the stream's rate.
    pub min: f64,
    /// The fastest, in multiples of the stream's rate; uniform between.
    pub max: f64,
}

impl Uplinks {
    /// One uplink in bits per second, from 64 random bits.
    fn draw(&self, bits: u64, stream_rate: u64) -> f64 {
        match self {
            Self::Constant(rate) => *rate as f64,
            Self::Quantiles(points) => Quantiles::fives(*points).at(share(bits)),
            Self::Slots { rate, first, last, step } => {
                let n_choices = (last - first) / step + 1;
                (rate * (first + step * (bits % n_choices))) as f64
            }
            Self::Classes(classes) => draw_class(classes, share(bits)) * stream_rate as f64,
        }
    }

    /// The mean in bits per second.
    fn mean(&self, stream_rate: u64) -> f64 {
        match self {
            Self::Constant(rate) => *rate as f64,
            Self::Quantiles(points) => Quantiles::fives(*points).mean(),
            Self::Slots { rate, first, last, step } => {
                (rate * (2 * first + (last - first) / step * step)) as f64 / 2.0
            }
            Self::Classes(classes) => {
                let sum: f64 = classes.iter().map(|class| class.percent * (class.min + class.max)).sum();
                sum / 200.0 * stream_rate as f64
            }
        }
    }
}

impl Scenario {
    /// One uplink in bits per second, from 64 random bits; scaled to the resource index when there is one.
    pub(crate) fn uplink(&self, bits: u64) -> u64 {
        (self.access.uplink.draw(bits, self.stream.rate) * self.uplink_factor()) as u64
    }

    /// What uplinks are multiplied with.
    fn uplink_factor(&self) -> f64 {
        let Some(index) = self.access.resource_index else { return 1.0 };
        let n = self.n_viewers() as f64;
        let demand = n * self.stream.rate as f64;
        let useless = self.audience.free_riders_percent + self.audience.polluters_percent;
        let uploading = 1.0 - useless as f64 / 100.0;
        let drawn = n * uploading * self.access.uplink.mean(self.stream.rate);
        let wanted = index * demand - self.budget().unwrap_or(0) as f64;
        if drawn > 0.0 { (wanted / drawn).max(0.0) } else { 0.0 }
    }
}

fn draw_class(classes: &[UplinkClass], share: f64) -> f64 {
    let mut below = 0.0;
    for class in classes {
        let width = class.percent / 100.0;
        if share < below + width {
            return class.min + (class.max - class.min) * (share - below) / width;
        }
        below += width;
    }
    classes.last().map_or(0.0, |class| class.max)
}
