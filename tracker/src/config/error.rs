//! What can be wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

/// Why a configuration is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key or value in the file is wrong.
    #[error("in {origin}: {reason}")]
    Toml {
        /// The file.
        origin: String,
        /// What is wrong, with line and column.
        reason: Box<toml::de::Error>,
    },
    /// An environment variable is wrong.
    #[error("{0}")]
    Value(confique::Error),
    /// Two channels have one id.
    #[error("channel {0:?} is defined twice")]
    DuplicateChannel(String),
    /// Two channels have one stream key, so that it would not say which is meant.
    #[error("channels {first:?} and {second:?} have the same stream key; give each its own")]
    DuplicateKey {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A channel's value is out of its range.
    #[error("channel {channel:?}: {reason}")]
    Channel {
        /// Its id.
        channel: String,
        /// What is wrong.
        reason: String,
    },
    /// More channels than a tracker takes.
    #[error("{n} channels are defined; a tracker takes at most {limit}")]
    TooManyChannels {
        /// As many.
        n: usize,
        /// As many may be.
        limit: usize,
    },
    /// A public URL that is none.
    #[error("public_url {0:?} must begin with http:// or https://")]
    PublicUrl(String),
    /// HTTPS as it cannot be.
    #[error("{0}")]
    Tls(String),
    /// A relay without its port.
    #[error("the relay needs the port of STUN: set stun to an address, or relay to false")]
    RelayWithoutStun,
    /// A filter of the log that is none.
    #[error(
        "log {filter:?} is no filter: {reason}; write it like \"info\" or \"info,cardume::signal=debug\""
    )]
    Log {
        /// What was written.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A secret that is too easily guessed.
    #[error("metrics_token must be at least {0} characters, so that nobody guesses it")]
    MetricsToken(usize),
}

/// All that is wrong with a configuration; not empty.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// These, which are not none.
    pub(super) fn new(errors: Vec<ConfigError>) -> Self {
        Self(errors)
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}", error.to_string().trim_end())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
