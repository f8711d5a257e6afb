//! Scenario files: those built in, and any other.

use std::fs;
use std::path::Path;

use super::{Scenario, check};

/// Longest file that is read, bytes: many times the longest built in.
const FILE_LEN_LIMIT: u64 = 64 * 1024;

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*]
    };
}

/// The built-in scenarios by name.
const FILES: [(&str, &str); 32] = built_in![
    "first-light",
    "kill-feeder",
    "budget",
    "direct",
    "tracker-restart",
    "cut-off",
    "flash",
    "e1-churn",
    "e1-flash",
    "e1-catastrophe",
    "e2-join",
    "e2-churn",
    "e2-flash",
    "e3",
    "e3-0.1",
    "e3-0.01",
    "oracle-rich",
    "oracle-scarce",
    "oracle-homogeneous",
    "realistic",
    "capacity",
    "load-90",
    "offload",
    "relayed",
    "half-dies",
    "polluters",
    "freeriders",
    "flash-10k",
    "freezes",
    "vod",
    "vod-flash",
    "abr",
];

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Neither a built-in name nor a file.
    #[error("there is no scenario {name:?} and no file of this name; built in are {}", names().join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("cannot read the scenario {path}")]
    Read {
        /// Which.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is longer than any scenario.
    #[error("the scenario {path} has {len} bytes, more than {FILE_LEN_LIMIT}")]
    TooLong {
        /// Which.
        path: String,
        /// Its length.
        len: u64,
    },
    /// The file does not have the form of a scenario.
    #[error("in the scenario {name}:\n{problem}")]
    Form {
        /// Which.
        name: String,
        /// Where and why not.
        problem: toml::de::Error,
    },
    /// A value that no run can have.
    #[error("in the scenario {name}: {field} {problem}")]
    Value {
        /// Which.
        name: String,
        /// The field by its path.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The names of the built-in scenarios.
pub fn names() -> Vec<&'static str> {
    FILES.iter().map(|(name, _)| *name).collect()
}

impl Scenario {
    /// The built-in scenario of this name, or the one in the file at this path.
    ///
    /// # Errors
    /// There is none, or what stands there is not a scenario; the error says what is wrong and where.
    pub fn load(name: &str) -> Result<Self, ScenarioError> {
        if let Some((name, text)) = FILES.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        if !path.is_file() {
            return Err(ScenarioError::Unknown { name: name.to_owned() });
        }
        let failed = |source| ScenarioError::Read { path: name.to_owned(), source };
        let len = fs::metadata(path).map_err(failed)?.len();
        if len > FILE_LEN_LIMIT {
            return Err(ScenarioError::TooLong { path: name.to_owned(), len });
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let stem = path.file_stem().map_or_else(|| name.into(), |stem| stem.to_string_lossy());
        Self::parse(&stem, &text)
    }

    /// The scenario that the text describes.
    ///
    /// # Errors
    /// The text is not a scenario; the error says what is wrong and where.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        let mut scenario: Self =
            toml::from_str(text).map_err(|problem| ScenarioError::Form { name: name.to_owned(), problem })?;
        name.clone_into(&mut scenario.name);
        check::check(&scenario).map_err(|check::Problem { field, problem }| ScenarioError::Value {
            name: name.to_owned(),
            field,
            problem,
        })?;
        Ok(scenario)
    }
}
