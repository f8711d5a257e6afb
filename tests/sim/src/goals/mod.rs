//! The goals of the swarm, each as a scenario with its figure beside what is wanted and what others reach.
//!
//! A goal that is not reached is told with by how much, and fails nothing. A goal that was reached and is lost does: what
//! was reached is recorded in `goals.toml` beside this crate, for each size of the runs.

mod check;
mod list;
mod measures;
mod record;
mod runs;
mod table;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use check::Check;
use record::Record;
pub use record::RecordError;
use runs::Runs;

/// How large the runs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// Small swarms that show within minutes, all together, whether something was lost.
    Short,
    /// A thousand viewers, or as many as the setup has that is reproduced.
    Usual,
    /// As many as the goals name, up to ten thousand.
    Full,
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Order {
    /// How large the runs are.
    pub size: Size,
    /// Each scenario is run with each of them; the worst figure counts.
    pub seeds: Vec<u64>,
    /// Only these goals, by their number; all when empty.
    pub only: Vec<u8>,
}

/// One goal's figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The name under which it is recorded.
    pub id: &'static str,
    /// The goal's number.
    pub goal: u8,
    /// What is measured.
    pub what: &'static str,
    /// The scenario.
    pub scenario: &'static str,
    /// Viewers of its join phases.
    pub n_viewers: usize,
    /// The figure, the worst of all seeds; `None` when the run does not tell it.
    pub value: Option<f64>,
    /// What is wanted, with its direction.
    pub wanted: String,
    /// The same as a number.
    pub wanted_figure: f64,
    /// The figure over what is wanted.
    pub ratio: Option<f64>,
    /// What others reach, or the bound.
    pub reference: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What it must still reach, if it was recorded as reached.
    pub recorded: Option<f64>,
}

/// How a goal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// What is wanted is there.
    Reached,
    /// It is not.
    Missed,
    /// What was recorded as reached is not there any more.
    Lost,
}

/// All goals that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How large the runs were.
    pub size: Size,
    /// Their seeds.
    pub seeds: Vec<u64>,
    /// By goal.
    pub rows: Vec<Row>,
    /// What bounds the goals of which a side is missed, and what was tried to reach them.
    pub tried: BTreeMap<u8, String>,
    /// What must never happen and did, with the run in which it did.
    pub violations: Vec<String>,
}

/// Runs all that the goals need and judges it; `progress` is told of each run that is over, as a line for people.
///
/// # Errors
/// When the record of what was reached is no record.
pub fn judge(order: &Order, progress: &(impl Fn(&str) + Sync)) -> Result<Outcome, RecordError> {
    let record = Record::committed()?;
    let checks: Vec<&Check> = list::CHECKS.iter().filter(|check| order.covers(check)).collect();
    let runs = Runs::perform(order, &checks, progress);
    let row = |check: &&Check| check.row(order, &runs, record.figure(order.size, check.id));
    let rows: Vec<Row> = checks.iter().map(row).collect();
    let missed = rows.iter().filter(|row| row.standing == Standing::Missed);
    let tried = missed.filter_map(|row| Some((row.goal, record.tried(row.goal)?.to_owned()))).collect();
    Ok(Outcome { size: order.size, seeds: order.seeds.clone(), rows, tried, violations: runs.violations() })
}

impl Order {
    fn covers(&self, check: &Check) -> bool {
        self.only.is_empty() || self.only.contains(&check.goal)
    }
}

impl Outcome {
    /// Goals that were recorded as reached and are lost.
    pub fn lost(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.standing == Standing::Lost)
    }

    /// For people.
    pub fn table(&self) -> String {
        table::of(self)
    }

    /// For programs: one line, in the form of all measurements.
    pub fn json(&self, run: &Value) -> String {
        let goals: Vec<Value> = self.rows.iter().map(Row::as_goal).collect();
        let (size, seeds, violations) = (self.size, &self.seeds, &self.violations);
        json!({ "bench": "sim/goals", "rows": self.rows, "goals": goals, "size": size, "seeds": seeds,
            "violations": violations, "run": run })
        .to_string()
    }
}

impl Row {
    fn as_goal(&self) -> Value {
        let is_reached = self.standing == Standing::Reached;
        json!({ "name": self.id, "value": self.value, "target": self.wanted, "ok": is_reached })
    }
}
