//! A map of the networks that viewers are in: what is near on it is near in time.
//!
//! Networks (autonomous systems) lie on a plane whose unit is a millisecond of round trip, in three regions; a viewer is
//! in one of them, large ones have more, and adds the round trip of its own access. So round trips keep the triangle
//! inequality, viewers of one network are close to each other, and nothing has to be remembered. The numbers below were
//! found by a random search for the measured quantiles of real viewers (19, 59, 135, 202 and 325 ms at p5, p25, p50, p75
//! and p95); the map is the same in every run, who lives where is the seed's. A test holds it to the quantiles within 15 %.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "network numbers are small, and round trips positive and far below 2^52"
)]

use crate::chance::{bits, share};

/// Networks: enough that most of the audience is in some dozens, as viewers of one country are.
const NETWORK_COUNT: u64 = 300;
/// Regions: share of the networks, centre, and half the width of the square in which they lie, milliseconds.
const REGIONS: [Region; 3] = [
    Region { share: 0.51, x: 0.0, y: 0.0, spread: 35.6 },
    Region { share: 0.25, x: 121.6, y: 0.0, spread: 18.3 },
    Region { share: 0.24, x: 83.2, y: 178.8, spread: 146.5 },
];
/// Round trip of an access link at least, milliseconds.
const ACCESS_MIN: f64 = 1.67;
/// What the slowest access links add to that, milliseconds; most add little.
const ACCESS_SPAN: f64 = 7.23;
/// Round trip of the tracker's access, milliseconds: it stands in a data centre.
const TRACKER_ACCESS: f64 = 0.5;
/// The golden ratio's fraction: its multiples fall into the regions as evenly as can be.
const GOLDEN: f64 = 0.618_033_988_749_894_9;
/// The map's own chance, the same in every run.
const MAP_SEED: u64 = 1;

struct Region {
    share: f64,
    x: f64,
    y: f64,
    spread: f64,
}

/// Where a participant is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Home {
    /// Its network; `None` for the tracker's data centre.
    pub(crate) network: Option<u64>,
    x: f64,
    y: f64,
    access: f64,
}

impl Home {
    /// The tracker's, in the middle of the largest region.
    pub(crate) fn tracker() -> Self {
        Self { network: None, x: REGIONS[0].x, y: REGIONS[0].y, access: TRACKER_ACCESS }
    }

    /// A viewer's, from random bits.
    pub(crate) fn of(chance: u64) -> Self {
        let network = network(share(bits(chance, 1, 0)));
        let (x, y) = place(network);
        let access = ACCESS_MIN + ACCESS_SPAN * share(bits(chance, 2, 0)).powi(2);
        Self { network: Some(network), x, y, access }
    }

    /// Round trip to another in microseconds.
    pub(crate) fn round_trip(&self, other: &Self) -> u64 {
        let (x, y) = (self.x - other.x, self.y - other.y);
        let distance = (x * x + y * y).sqrt();
        ((self.access + other.access + distance) * 1000.0) as u64
    }
}

/// The network at this place of all viewers: network k has a share of them that falls as k^-0.8.
fn network(place: f64) -> u64 {
    let last = (NETWORK_COUNT as f64).powf(0.2) - 1.0;
    ((place * last + 1.0).powi(5) as u64).saturating_sub(1).min(NETWORK_COUNT - 1)
}

/// Where a network lies.
fn place(network: u64) -> (f64, f64) {
    let mut place = (network as f64 * GOLDEN).fract();
    let mut region = &REGIONS[REGIONS.len() - 1];
    for candidate in &REGIONS {
        if place < candidate.share {
            region = candidate;
            break;
        }
        place -= candidate.share;
    }
    let offset = |axis| (2.0 * share(bits(MAP_SEED, network, axis)) - 1.0) * region.spread;
    (region.x + offset(1), region.y + offset(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_reach_the_measured_quantiles_to_15_percent_whatever_the_seed() {
        const WANTED: [(usize, u64); 5] = [(5, 19), (25, 59), (50, 135), (75, 202), (95, 325)];
        for seed in 0..10 {
            let homes: Vec<Home> = (0..2_000).map(|viewer| Home::of(bits(seed, viewer, 9))).collect();
            let pairs = homes.iter().enumerate().flat_map(|(index, a)| {
                let others = (1..=20).map(move |step| (index + step * 97) % 2_000);
                others.map(|other| a.round_trip(&homes[other])).collect::<Vec<_>>()
            });
            let mut round_trips: Vec<u64> = pairs.collect();
            round_trips.sort_unstable();
            for (percent, wanted) in WANTED {
                let found = round_trips[round_trips.len() * percent / 100];
                let error = found as f64 / (wanted * 1000) as f64 - 1.0;
                assert!(error.abs() < 0.15, "seed {seed}, p{percent}: {found} us, wanted {wanted} ms");
            }
        }
    }

    #[test]
    fn viewers_of_one_network_are_near_each_other() {
        let homes: Vec<Home> = (0..500).map(|viewer| Home::of(bits(3, viewer, 9))).collect();
        for a in &homes {
            for b in homes.iter().filter(|b| b.network == a.network) {
                assert!(a.round_trip(b) < 18_000);
            }
        }
    }
}
