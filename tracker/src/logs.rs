//! The log: what goes into it, in which form, and how that changes while the tracker runs.

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

/// The variable that goes before the configuration, as in other Rust programs.
const VARIABLE: &str = "RUST_LOG";

/// How lines of the log look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line, for programs.
    Json,
}

/// Text that is no [`LogFormat`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no form of the log: it is \"text\" or \"json\"")]
pub struct InvalidLogFormat(String);

impl FromStr for LogFormat {
    type Err = InvalidLogFormat;

    fn from_str(text: &str) -> Result<Self, InvalidLogFormat> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(InvalidLogFormat(text.to_owned())),
        }
    }
}

impl TryFrom<String> for LogFormat {
    type Error = InvalidLogFormat;

    fn try_from(text: String) -> Result<Self, InvalidLogFormat> {
        text.parse()
    }
}

/// Whether this is a filter.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(filter).map_err(|error| error.to_string())
}

/// The running log.
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    /// Whether the environment says what is logged, and the configuration does not.
    is_fixed: bool,
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").field("is_fixed", &self.is_fixed).finish_non_exhaustive()
    }
}

impl Logs {
    /// Begins to log to standard error; once in a process. `RUST_LOG` goes before the filter.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn begin(filter: &str, format: LogFormat) -> Result<Self, String> {
        let variable = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
        let is_fixed = variable.is_some();
        let filter = match variable {
            Some(text) => parse(&text).map_err(|reason| format!("{VARIABLE} {text:?}: {reason}"))?,
            None => parse(filter)?,
        };
        let (filter, handle) = reload::Layer::new(filter);
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = match format {
            LogFormat::Text => lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry().with(filter).with(lines).init();
        Ok(Self { filter: handle, is_fixed })
    }

    /// Logs by another filter from now on, unless `RUST_LOG` says by which.
    pub fn adopt(&self, filter: &str) {
        if self.is_fixed {
            return;
        }
        // The configuration has checked it, and the log lives as long as the process.
        if let Ok(filter) = parse(filter) {
            let _ = self.filter.reload(filter);
        }
    }
}
