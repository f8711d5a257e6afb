//! The numbers that a scenario is to reach.

use serde::Serialize;

use super::Report;

/// A number to reach.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// What is meant.
    pub name: &'static str,
    /// What was reached.
    pub value: f64,
    /// What is wanted, as text with its direction.
    pub target: String,
    /// Whether it is.
    pub ok: bool,
}

impl Goal {
    fn at_least(name: &'static str, value: f64, target: f64) -> Self {
        Self { name, value, target: format!(">= {target}"), ok: value >= target }
    }

    fn at_most(name: &'static str, value: f64, target: f64) -> Self {
        Self { name, value, target: format!("<= {target}"), ok: value <= target }
    }
}

impl Report {
    /// The goals of issue and overlay that this scenario speaks to.
    pub fn goals(&self) -> Vec<Goal> {
        if self.is_film {
            return self.film_goals();
        }
        let longest_limit = if self.scenario == "kill-feeder" { 1000.0 } else { 500.0 };
        let mut goals = vec![
            Goal::at_least("viewers with 99 % continuity", self.viewers_at_99, 0.99),
            Goal::at_least("viewers with 99.5 % of blocks on time", self.on_time.viewers_at_99_5, 0.99),
            Goal::at_most("latency p99, ms", self.latency_ms[2] as f64, 2500.0),
            Goal::at_most("first frame p50, ms", self.first_frame_ms[0] as f64, 1000.0),
            Goal::at_most("first frame p95, ms", self.first_frame_ms[1] as f64, 2000.0),
            Goal::at_most("moving picture p50, ms", self.startup_ms[0] as f64, 1000.0),
            Goal::at_most("moving picture p95, ms", self.startup_ms[1] as f64, 2000.0),
            Goal::at_most("control as a share of media", self.control_share, 0.01),
            Goal::at_most("violations", self.violations.len() as f64, 0.0),
        ];
        if self.scenario != "tracker-restart" {
            goals.push(Goal::at_most("longest stall, ms", self.longest_stall_ms as f64, longest_limit));
        }
        if self.gap_ms[1] > 0 {
            goals.push(Goal::at_most("no data after silent death p99, ms", self.gap_ms[1] as f64, 500.0));
        }
        if let Some(survivors) = self.on_time.survivors_at_99 {
            goals.push(Goal::at_least("survivors with 99 % on time after 5 s", survivors, 0.99));
        }
        goals
    }

    /// Our own: nobody publishes figures for films that are watched this way.
    fn film_goals(&self) -> Vec<Goal> {
        let mut goals = vec![
            Goal::at_least("viewers with 99 % continuity", self.viewers_at_99, 0.99),
            Goal::at_most("first frame p50, ms", self.first_frame_ms[0] as f64, 1000.0),
            Goal::at_most("first frame p95, ms", self.first_frame_ms[1] as f64, 2000.0),
            Goal::at_least("media that came from viewers", self.offload, 0.95),
            Goal::at_most("control as a share of media", self.control_share, 0.01),
            Goal::at_most("violations", self.violations.len() as f64, 0.0),
        ];
        if let Some([p50, p95, _]) = self.seek_ms {
            goals.push(Goal::at_most("seek p50, ms", p50 as f64, 1000.0));
            goals.push(Goal::at_most("seek p95, ms", p95 as f64, 2000.0));
        }
        goals
    }
}
