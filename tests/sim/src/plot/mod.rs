//! Pictures of runs, as SVG: what the tables say, for the eye.

mod axis;
mod chart;
mod pictures;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Report, Scenario, World};

/// Audiences of the series over the number of viewers, up to that of the run itself.
const AUDIENCES: [usize; 9] = [10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000];

/// One run of a series over the size of the audience.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    /// Viewers of the join phases.
    n_viewers: usize,
    /// Media that a viewer gets in time, bits per second, mean over all viewers.
    rate: f64,
    /// What the server sent, in copies of the stream.
    server_copies: f64,
    /// What it sent in its busiest second.
    server_copies_peak: f64,
}

/// A run and smaller ones of the same scenario.
#[derive(Debug)]
pub struct Album<'a> {
    scenario: &'a Scenario,
    seed: u64,
    report: &'a Report,
    points: Vec<Point>,
}

impl<'a> Album<'a> {
    /// Runs the scenario with smaller audiences, too; `progress` is told the size of each before it is run.
    pub fn new(scenario: &'a Scenario, seed: u64, report: &'a Report, progress: impl Fn(usize)) -> Self {
        let n_viewers = scenario.n_viewers();
        let smaller = AUDIENCES.into_iter().filter(|n| *n < n_viewers);
        let run = |n| {
            progress(n);
            let scenario = scenario.clone().with_viewers(n);
            Point::of(&scenario, &World::new(scenario.clone(), seed).run(|_| {}))
        };
        let points = smaller.map(run).chain([Point::of(scenario, report)]).collect();
        Self { scenario, seed, report, points }
    }

    /// Writes all pictures into a folder, which is made if it is not there; tells their paths.
    ///
    /// # Errors
    /// When the folder or a file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::create_dir_all(folder)?;
        let write = |(name, svg): (&str, String)| {
            let path = folder.join(name).with_extension("svg");
            fs::write(&path, svg).map(|()| path)
        };
        self.pictures().into_iter().map(write).collect()
    }

    /// The pictures' names and texts.
    fn pictures(&self) -> [(&'static str, String); 4] {
        let Self { scenario, seed, report, points } = self;
        let series = format!("{}, seed {seed}{}", scenario.name, budget(scenario));
        let run = format!("{series}, {} viewers", scenario.n_viewers());
        let copies = scenario.server.budget_copies;
        [
            ("rate", pictures::rate(&series, scenario.stream.rate, scenario.budget(), points).svg()),
            ("egress", pictures::egress(&series, copies, points).svg()),
            ("latency", pictures::distribution(&run, &latencies(report)).svg()),
            ("continuity", pictures::continuity(&run, &report.on_time_by_second).svg()),
        ]
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rates and numbers of viewers, drawn a few hundred pixels wide"
)]
impl Point {
    fn of(scenario: &Scenario, report: &Report) -> Self {
        Self {
            n_viewers: scenario.n_viewers(),
            rate: report.share_on_time() * scenario.stream.rate as f64,
            server_copies: report.server.copies,
            server_copies_peak: report.server.copies_peak,
        }
    }

    fn n(&self) -> f64 {
        self.n_viewers as f64
    }
}

fn budget(scenario: &Scenario) -> String {
    let copies = scenario.server.budget_copies;
    copies.map(|copies| format!(", server budget {copies} copies")).unwrap_or_default()
}

/// Over all viewers and time, and of each viewer the worst.
fn latencies(report: &Report) -> [(&'static str, Vec<u64>); 2] {
    let highest = report.viewers.iter().filter_map(|viewer| viewer.latency_max_ms).collect();
    [("capture to screen", report.latency_percentiles_ms.clone()), ("a viewer's highest", highest)]
}
