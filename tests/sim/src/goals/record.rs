//! What was reached: figures that may get better, not worse.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Size, list};

/// The file, at the time of the build.
const COMMITTED: &str = include_str!("../../goals.toml");

/// Why a record is none.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It does not have the form of one; the source says where and why.
    #[error("in goals.toml:\n{0}")]
    Form(#[from] toml::de::Error),
    /// There is no such goal.
    #[error("in goals.toml: there is no goal {0:?}; there are {names}", names = list::names().join(", "))]
    Unknown(String),
}

/// Figures by the size of the runs and the goals' names, and what is known of those that are missed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    #[serde(default)]
    short: BTreeMap<String, f64>,
    #[serde(default)]
    usual: BTreeMap<String, f64>,
    #[serde(default)]
    full: BTreeMap<String, f64>,
    /// By the goal's number: what bounds it, and what was tried.
    #[serde(default)]
    tried: BTreeMap<String, String>,
}

impl Record {
    /// The one in the repository.
    pub(super) fn committed() -> Result<Self, RecordError> {
        Self::parse(COMMITTED)
    }

    fn parse(text: &str) -> Result<Self, RecordError> {
        let record: Self = toml::from_str(text)?;
        let names = list::names();
        let mut recorded = record.short.keys().chain(record.usual.keys()).chain(record.full.keys());
        let numbers = list::numbers();
        let mut tried = record.tried.keys();
        let unknown = recorded
            .find(|name| !names.contains(&name.as_str()))
            .or_else(|| tried.find(|goal| !numbers.contains(*goal)));
        match unknown {
            Some(unknown) => Err(RecordError::Unknown(unknown.clone())),
            None => Ok(record),
        }
    }

    /// What a goal must still reach in runs of this size.
    pub(super) fn figure(&self, size: Size, id: &str) -> Option<f64> {
        let figures = match size {
            Size::Short => &self.short,
            Size::Usual => &self.usual,
            Size::Full => &self.full,
        };
        figures.get(id).copied()
    }

    /// What bounds a goal, and what was tried to reach it.
    pub(super) fn tried(&self, goal: u8) -> Option<&str> {
        self.tried.get(&goal.to_string()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_record_names_only_goals() {
        Record::committed().unwrap();
    }

    #[test]
    fn a_wrong_record_is_an_error_that_says_what_and_where() {
        let error = |text| Record::parse(text).unwrap_err().to_string();
        assert!(error("[short]\nno-such = 1.0").contains("\"no-such\""));
        assert!(error("[shrot]").contains("shrot"));
        assert!(error("[tried]\n10 = \"x\"").contains("\"10\""));
        assert!(error("[short]\n1-oracle-rich = \"x\"").contains("line 2"));
    }
}
