//! The oracle beside a run: the same viewers, uplinks, round trips and stream.
#![expect(clippy::cast_precision_loss, reason = "ratios and milliseconds for people")]

use cardume_swarm::BitsPerSec;
use cardume_wire::PeerId;
use cardume_wire::link::block_len;
use serde::Serialize;

use super::{Delays, Impossible, Oracle, PUBLISHED_BLOCK_LEN, Place, Setting, published};
use crate::broadcast::micros;
use crate::{Manners, Population, Scenario};

/// What the server may send where it has no budget, bits per second: the simulator's access link of a server.
const NO_BUDGET: u64 = 10_000_000_000;

/// What the oracle says to a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Beside {
    /// Viewers that it planned for: those of the join phases, all there from the begin.
    pub n_viewers: usize,
    /// From publication to arrival in the published oracle's blocks, microseconds.
    pub delay_us: Delays,
    /// The same in blocks like the run's, which are shorter: every copy is passed on sooner.
    pub own_blocks_us: Delays,
    /// What a greedy plan of the same kind is published to reach in this setting, seconds at p99.
    pub published_p99_s: Option<f64>,
}

impl Beside {
    /// Plans for the viewers of a scenario; `progress` is told how many blocks are planned, and of how many.
    ///
    /// # Errors
    /// When no plan can keep up with the stream.
    pub fn of(
        scenario: &Scenario,
        seed: u64,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self, Impossible> {
        if scenario.film.is_some() {
            return Err(Impossible::Film);
        }
        let population = Population::new(scenario, seed).surveyed(scenario.n_viewers());
        let uplinks: Vec<BitsPerSec> =
            (1..=scenario.n_viewers()).map(|place| BitsPerSec(used_uplink(&population, id(place)))).collect();
        let part_len = scenario.stream.rate * micros(scenario.stream.part) / 8_000_000;
        let mut delays = |block_len| {
            let setting = Setting {
                uplinks: &uplinks,
                server: BitsPerSec(scenario.budget().unwrap_or(NO_BUDGET)),
                rate: BitsPerSec(scenario.stream.rate),
                block_len,
                seed,
            };
            let oracle = Oracle::new(&setting, |a, b| population.round_trip(id(a), id(b)))?;
            Ok(oracle.delays(&mut progress))
        };
        let own_block_len = block_len(usize::try_from(part_len).unwrap_or(usize::MAX)) as u64;
        Ok(Self {
            n_viewers: uplinks.len(),
            delay_us: delays(part_len.min(PUBLISHED_BLOCK_LEN))?,
            own_blocks_us: delays(own_block_len)?,
            published_p99_s: published(&scenario.name, uplinks.len()),
        })
    }

    /// How many times as long as the oracle's a delay at p99 is, milliseconds.
    pub fn ratio(&self, p99_ms: f64) -> f64 {
        p99_ms * 1_000.0 / self.delay_us.p99.max(1) as f64
    }

    /// The same beside the oracle with blocks like the run's.
    pub fn ratio_in_own_blocks(&self, p99_ms: f64) -> f64 {
        p99_ms * 1_000.0 / self.own_blocks_us.p99.max(1) as f64
    }

    /// How a run with this delay at p99, milliseconds, stands beside the oracle; for people.
    pub fn verdict(&self, p99_ms: f64) -> String {
        let published = self.published_p99_s.map(|p99| p99_ms / 1_000.0 / p99);
        let published = published.map(|ratio| format!(", {ratio:.2} times the published"));
        let (ratio, in_own_blocks) = (self.ratio(p99_ms), self.ratio_in_own_blocks(p99_ms));
        format!(
            "the run: {ratio:.2} times p99{}, {in_own_blocks:.2} times in its blocks",
            published.unwrap_or_default()
        )
    }

    /// For people.
    pub fn line(&self) -> String {
        let row = |delays: Delays| {
            let [p50, p95, p99] = [delays.p50, delays.p95, delays.p99].map(|micros| micros / 1000);
            format!("p50 {p50}  p95 {p95}  p99 {p99} ms")
        };
        let published = self.published_p99_s.map(|p99| format!("; published p99 {:.0} ms", p99 * 1000.0));
        let (its, own) = (row(self.delay_us), row(self.own_blocks_us));
        format!("{its}{}; in the run's blocks {own}", published.unwrap_or_default())
    }
}

fn used_uplink(population: &Population<'_>, viewer: PeerId) -> u64 {
    if population.manners(viewer) == Manners::Honest { population.uplink(viewer) } else { 0 }
}

fn id(place: Place) -> PeerId {
    PeerId::new(place as u64)
}
