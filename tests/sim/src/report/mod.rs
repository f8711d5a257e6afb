//! How a run went.
#![expect(clippy::cast_precision_loss, reason = "shares and rates for people")]

mod goals;
mod table;
mod totals;

use serde::Serialize;
use serde_json::{Value, json};

pub use goals::Goal;
use totals::Totals;

use crate::Manners;
use crate::measure::{Histogram, Sent};
use crate::world::World;

/// One viewer's run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViewerReport {
    /// Its number.
    pub id: u64,
    /// How it behaved.
    pub manners: Manners,
    /// Seconds it was there.
    pub seconds: f64,
    /// From joining to the first moving picture, milliseconds.
    pub startup_ms: Option<u64>,
    /// From joining to the first picture, moving or not, milliseconds.
    pub first_frame_ms: Option<u64>,
    /// How long the first picture stood still, milliseconds.
    pub still_ms: Option<u64>,
    /// Stalls after the start.
    pub n_stalls: usize,
    /// All of them together, milliseconds.
    pub stalled_ms: u64,
    /// The longest, milliseconds.
    pub longest_stall_ms: u64,
    /// When each began and how long it was, milliseconds of the run.
    pub stalls_ms: Vec<(u64, u64)>,
    /// Share of the time since the start that it played.
    pub continuity: f64,
    /// Share of the blocks that were there by capture end and target latency, of those whose deadline lay between the
    /// first moving picture and the end; `None` when there were none.
    pub on_time: Option<f64>,
    /// Median latency, milliseconds.
    pub latency_ms: Option<u64>,
    /// Highest latency, milliseconds.
    pub latency_max_ms: Option<u64>,
    /// Share of the media that came from viewers.
    pub share_from_peers: f64,
    /// Share of the pictures that were of the best rendition that its downlink bore then; `None` when there were none.
    pub share_of_best: Option<f64>,
    /// How often one rendition took the place of another.
    pub n_switches: usize,
    /// Its downlink at the end, bits per second.
    pub downlink: u64,
    /// Its uplink, bits per second.
    pub uplink: u64,
    /// Share of the uplink that it used while it was there.
    pub uplink_used: f64,
}

/// Shares of viewers by their blocks on time: of those that started and for whom at least one block was due, and of those
/// that waited in vain, as if they had none on time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnTime {
    /// Of all blocks that were due.
    pub blocks: f64,
    /// Viewers with at least 99 % of theirs.
    pub viewers_at_99: f64,
    /// Viewers with at least 99.5 % of theirs.
    pub viewers_at_99_5: f64,
    /// Of the survivors of a mass death, those with at least 99 % of the blocks that were due 5 to 10 s after it;
    /// `None` without one.
    pub survivors_at_99: Option<f64>,
}

impl ViewerReport {
    /// Whether it was there for more than 5 s and never saw a picture.
    fn waited_in_vain(&self) -> bool {
        self.startup_ms.is_none() && self.seconds > 5.0
    }
}

/// What the server sent, in copies of the stream and headers included, while viewers were there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerReport {
    /// On average.
    pub copies: f64,
    /// In its busiest second.
    pub copies_peak: f64,
    /// In each second of the run.
    pub copies_by_second: Vec<f64>,
    /// Of the mean: blocks pushed to viewers that see the picture.
    pub pushed: f64,
    /// Of the mean: blocks that were asked for.
    pub repair: f64,
    /// Of the mean: blocks to viewers that do not see the picture yet.
    pub startup: f64,
    /// Of the mean: descriptors, catalogs and control.
    pub other: f64,
    /// Of the mean: what its relay passed on.
    pub relayed: f64,
    /// The mean as a share of what all viewers demand.
    pub share_of_demand: f64,
}

/// Which renditions the viewers showed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Renditions {
    /// Of each, by falling rate: bits per second of the picture, and its share of the time shown.
    pub shares: Vec<(u64, f64)>,
    /// Share of the time that viewers showed the best one that their downlinks bore then.
    pub best: f64,
    /// Viewers that showed that one most of the time, as a share.
    pub mostly_best: f64,
    /// Switches in an hour of viewing.
    pub switches_per_hour: f64,
    /// Viewers that ever switched, as a share.
    pub switchers: f64,
    /// The most that one viewer switched.
    pub most_switches: usize,
    /// Of those that switched: stalled seconds in an hour.
    pub switchers_stalled_s_per_hour: f64,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Whether it was of a film, where latency and deadlines say nothing.
    pub is_film: bool,
    /// Every viewer that was there.
    pub viewers: Vec<ViewerReport>,
    /// Uplinks of those who upload what is right and the server's budget, divided by what the viewers demanded; by the
    /// time they were there.
    pub resource_index: f64,
    /// Mean of the viewers' continuity in time played; 0 for those that waited in vain.
    pub continuity: f64,
    /// Share of the viewers with a continuity of at least 99 % in time played.
    pub viewers_at_99: f64,
    /// Blocks on time.
    pub on_time: OnTime,
    /// Share of the blocks due in each second of the run that were there in time; `None` when none were.
    pub on_time_by_second: Vec<Option<f64>>,
    /// Stalled seconds in an hour of viewing.
    pub stalled_s_per_hour: f64,
    /// The longest stall of anyone, milliseconds.
    pub longest_stall_ms: u64,
    /// From capture to screen over all viewers and time, milliseconds: p50, p95, p99, highest.
    pub latency_ms: [u64; 4],
    /// The same at 0, 1, …, 100 %.
    pub latency_percentiles_ms: Vec<u64>,
    /// From publication to arrival over all blocks and viewers after their start, milliseconds: p50, p95, p99.
    pub delay_ms: [f64; 3],
    /// From joining to the first moving picture, milliseconds: p50, p95, highest.
    pub startup_ms: [u64; 3],
    /// From joining to the first picture, moving or not, milliseconds: p50, p95, highest.
    pub first_frame_ms: [u64; 3],
    /// From the first picture to one that moves, p50, p95 and max, milliseconds.
    pub still_ms: [u64; 3],
    /// Viewers that waited in vain: they were there for more than 5 s and never saw a picture.
    pub n_never_started: usize,
    /// From a viewer's seek in a film to the picture moving there, milliseconds: p50, p95, highest; `None` without seeks.
    pub seek_ms: Option<[u64; 3]>,
    /// The server's egress.
    pub server: ServerReport,
    /// Share of the media that came from viewers.
    pub offload: f64,
    /// Control that anybody sent as a share of media, headers included.
    pub control_share: f64,
    /// Descriptors and catalogs that anybody sent as a share of media, headers included.
    pub integrity_share: f64,
    /// Blocks that came twice or late as a share of media.
    pub waste: f64,
    /// Blocks asked for by repair, for each viewer and minute.
    pub pulls_per_minute: f64,
    /// From a provider's silent death to new providers of all stripes, milliseconds: p50, p99.
    pub recovery_ms: [u64; 2],
    /// From a provider's silent death to the next block of that stripe from anybody, milliseconds: p50, p99, highest.
    pub gap_ms: [u64; 3],
    /// Share of the bytes between viewers that crossed the border of a network; `None` where there are no networks.
    pub across_borders: Option<f64>,
    /// Jain's index of the share of its uplink that each contributor used, of those there for 10 s; 1 is fair.
    pub fairness: f64,
    /// Blocks that came wrong; none of them was kept, played or forwarded.
    pub n_wrong_blocks: u64,
    /// Different viewers that got a wrong block from one polluter: median and most of all polluters.
    pub harmed_by_polluter: Option<[usize; 2]>,
    /// What was shown of a broadcast with several renditions; `None` of one.
    pub renditions: Option<Renditions>,
    /// Events of the simulation.
    pub n_events: u64,
    /// What must never happen and did.
    pub violations: Vec<String>,
}

impl Report {
    pub(crate) fn of(world: &mut World, end: u64) -> Self {
        let mut totals = Totals::default();
        let mut latencies = Histogram::default();
        let mut viewers = Vec::new();
        for index in 1..world.nodes.len() {
            viewers.push(totals.add(world, index, end));
            world.nodes[index].latencies.iter().for_each(|latency| latencies.add(u64::from(*latency)));
        }
        world.recoveries.sort_unstable();
        // Who waited long and saw nothing counts as having had nothing, not as nobody.
        let judged: Vec<&ViewerReport> =
            viewers.iter().filter(|viewer| viewer.startup_ms.is_some() || viewer.waited_in_vain()).collect();
        let media = totals.from_peers + totals.from_server;
        let Sent { blocks, descriptors, catalogs, control } = world.measures.sent;
        let watched = (totals.played + totals.stalled) as f64;
        let percentiles: Vec<u64> = (0..=100).map(|n| latencies.at(f64::from(n) / 100.0) / 1000).collect();
        Self {
            scenario: world.scenario.name.clone(),
            seed: world.seed(),
            is_film: world.scenario.film.is_some(),
            resource_index: totals.resource_index(world),
            continuity: mean(&judged, |viewer| Some(viewer.continuity)),
            viewers_at_99: mean(&judged, |viewer| Some(f64::from(u8::from(viewer.continuity >= 0.99)))),
            on_time: totals.on_time(&judged),
            on_time_by_second: totals::by_second(world),
            stalled_s_per_hour: ratio(totals.stalled as f64 * 3600.0, watched),
            longest_stall_ms: viewers.iter().map(|viewer| viewer.longest_stall_ms).max().unwrap_or(0),
            latency_ms: latencies.at_all([0.5, 0.95, 0.99, 1.0]).map(|micros| micros / 1000),
            latency_percentiles_ms: percentiles,
            delay_ms: world.measures.delays.at_all([0.5, 0.95, 0.99]).map(|micros| micros as f64 / 1000.0),
            startup_ms: percentiles_of(&viewers, |viewer| viewer.startup_ms),
            first_frame_ms: percentiles_of(&viewers, |viewer| viewer.first_frame_ms),
            still_ms: percentiles_of(&viewers, |viewer| viewer.still_ms),
            n_never_started: viewers.iter().filter(|viewer| viewer.waited_in_vain()).count(),
            seek_ms: totals.seek_ms(),
            server: totals.server(world, end),
            offload: ratio(totals.from_peers as f64, media as f64),
            control_share: ratio(control as f64, blocks as f64),
            integrity_share: ratio((descriptors + catalogs) as f64, blocks as f64),
            waste: ratio(totals.wasted as f64, media as f64),
            pulls_per_minute: ratio(totals.requested as f64 * 60e6, watched),
            recovery_ms: [at(&world.recoveries, 50), at(&world.recoveries, 99)].map(|micros| micros / 1000),
            gap_ms: world.measures.gaps.at_all([0.5, 0.99, 1.0]).map(|micros| micros / 1000),
            across_borders: world.across_borders(),
            fairness: totals.fairness(),
            n_wrong_blocks: world.measures.n_wrong_blocks,
            harmed_by_polluter: totals.harmed(),
            renditions: totals.renditions(world),
            n_events: world.n_events(),
            violations: world.violations.clone(),
            viewers,
        }
    }

    /// For programs: one line.
    pub fn json(&self, run: &Value) -> String {
        let bench = format!("sim/{}", self.scenario);
        json!({ "bench": bench, "rows": [self], "goals": self.goals(), "run": run }).to_string()
    }
}

/// The value below which so many hundredths lie; 0 of nothing.
fn at<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

/// p50, p95 and the highest of what there is.
fn percentiles_of(viewers: &[ViewerReport], value: impl Fn(&ViewerReport) -> Option<u64>) -> [u64; 3] {
    let mut values: Vec<u64> = viewers.iter().filter_map(value).collect();
    values.sort_unstable();
    [at(&values, 50), at(&values, 95), at(&values, 100)]
}

/// The mean of what there is.
fn mean(viewers: &[&ViewerReport], value: impl Fn(&ViewerReport) -> Option<f64>) -> f64 {
    let values: Vec<f64> = viewers.iter().filter_map(|viewer| value(viewer)).collect();
    ratio(values.iter().sum(), values.len() as f64)
}

fn ratio(part: f64, all: f64) -> f64 {
    if all == 0.0 { 0.0 } else { part / all }
}
