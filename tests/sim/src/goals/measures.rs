//! The figures of a run that goals are about.
#![expect(clippy::cast_precision_loss, reason = "milliseconds and viewers as figures")]
#![expect(clippy::unnecessary_wraps, reason = "all are measures, and some runs do not tell some figures")]

use cardume_wire::PeerId;

use super::runs::Run;
use crate::{Manners, Population, Report, ViewerReport};

/// Viewers that were there for less and saw nothing say nothing, seconds.
const SAYS_NOTHING: f64 = 5.0;

impl Report {
    /// Share of the stream that viewers got in time, by the time they were there; who never saw a picture got nothing.
    pub fn share_on_time(&self) -> f64 {
        let told = || self.viewers.iter().filter(|viewer| says_something(viewer));
        let seconds: f64 = told().map(|viewer| viewer.seconds).sum();
        let got: f64 = told().map(|viewer| viewer.on_time.unwrap_or(0.0) * viewer.seconds).sum();
        if seconds > 0.0 { got / seconds } else { 0.0 }
    }
}

pub(super) fn over_oracle(run: &Run) -> Option<f64> {
    run.oracle.map(|oracle| oracle.ratio(run.report.delay_ms[2]))
}

pub(super) fn over_oracle_in_own_blocks(run: &Run) -> Option<f64> {
    run.oracle.map(|oracle| oracle.ratio_in_own_blocks(run.report.delay_ms[2]))
}

pub(super) fn delay_p99_ms(run: &Run) -> Option<f64> {
    Some(run.report.delay_ms[2])
}

/// Who never saw a picture counts with those that saw too little.
pub(super) fn viewers_at_99(run: &Run) -> Option<f64> {
    share_with(run, 0.99, |_| true)
}

pub(super) fn viewers_at_99_5(run: &Run) -> Option<f64> {
    share_with(run, 0.995, |_| true)
}

pub(super) fn contributors_at_99(run: &Run) -> Option<f64> {
    let population = Population::new(&run.scenario, run.report.seed);
    share_with(run, 0.99, |viewer| population.manners(PeerId::new(viewer.id)) == Manners::Honest)
}

pub(super) fn blocks_on_time(run: &Run) -> Option<f64> {
    Some(run.report.on_time.blocks)
}

pub(super) fn latency_p95_s(run: &Run) -> Option<f64> {
    Some(run.report.latency_ms[1] as f64 / 1_000.0)
}

pub(super) fn gap_p99_ms(run: &Run) -> Option<f64> {
    Some(run.report.gap_ms[1] as f64)
}

pub(super) fn longest_stall_ms(run: &Run) -> Option<f64> {
    Some(run.report.longest_stall_ms as f64)
}

pub(super) fn survivors_at_99(run: &Run) -> Option<f64> {
    run.report.on_time.survivors_at_99
}

/// Where the server can send the stream at least once, each viewer could get all uplinks and the budget divided by all
/// viewers: as many times the rate as the resource index.
pub(super) fn of_fluid_capacity(run: &Run) -> Option<f64> {
    let index = run.report.resource_index;
    (index > 0.0).then(|| run.report.share_on_time() / index)
}

pub(super) fn copies(run: &Run) -> Option<f64> {
    Some(run.report.server.copies_peak)
}

pub(super) fn offload(run: &Run) -> Option<f64> {
    Some(run.report.offload)
}

pub(super) fn server_share(run: &Run) -> Option<f64> {
    Some(run.report.server.share_of_demand)
}

pub(super) fn control(run: &Run) -> Option<f64> {
    Some(run.report.control_share)
}

pub(super) fn integrity(run: &Run) -> Option<f64> {
    Some(run.report.integrity_share)
}

pub(super) fn first_frame_p50_ms(run: &Run) -> Option<f64> {
    Some(run.report.first_frame_ms[0] as f64)
}

pub(super) fn first_frame_p95_ms(run: &Run) -> Option<f64> {
    Some(run.report.first_frame_ms[1] as f64)
}

pub(super) fn startup_p50_ms(run: &Run) -> Option<f64> {
    Some(run.report.startup_ms[0] as f64)
}

pub(super) fn startup_p95_ms(run: &Run) -> Option<f64> {
    Some(run.report.startup_ms[1] as f64)
}

pub(super) fn harmed_at_most(run: &Run) -> Option<f64> {
    run.report.harmed_by_polluter.map(|[_, most]| most as f64)
}

/// The simulator takes a wrong block that is kept, played or forwarded for a violation.
pub(super) fn violations(run: &Run) -> Option<f64> {
    Some(run.report.violations.len() as f64)
}

fn share_with(run: &Run, on_time: f64, is_counted: impl Fn(&ViewerReport) -> bool) -> Option<f64> {
    let viewers = run.report.viewers.iter().filter(|viewer| says_something(viewer) && is_counted(viewer));
    let shares: Vec<f64> = viewers.map(|viewer| viewer.on_time.unwrap_or(0.0)).collect();
    let n_good = shares.iter().filter(|share| **share >= on_time).count();
    (!shares.is_empty()).then(|| n_good as f64 / shares.len() as f64)
}

fn says_something(viewer: &ViewerReport) -> bool {
    viewer.on_time.is_some() || viewer.seconds > SAYS_NOTHING
}
