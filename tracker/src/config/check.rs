//! Whether what a configuration says goes together.

use std::collections::BTreeSet;

use super::{ChannelConfig, Config, ConfigError};
use crate::logs;

/// Below this many characters a token can be tried out.
const METRICS_TOKEN_LEN_MIN: usize = 16;
/// Channels of one tracker at most; each has a task and a live window. (Wild guess.)
const CHANNEL_LIMIT: usize = 1_000;

impl Config {
    pub(super) fn check(&self, errors: &mut Vec<ConfigError>) {
        if let Some(url) = self.public_url.as_deref().filter(|url| !is_web_url(url)) {
            errors.push(ConfigError::PublicUrl(url.to_owned()));
        }
        self.check_tls(errors);
        if self.relay && self.stun.address().is_none() {
            errors.push(ConfigError::RelayWithoutStun);
        }
        if let Err(reason) = logs::check(&self.log) {
            errors.push(ConfigError::Log { filter: self.log.clone(), reason });
        }
        let is_short = |token: &str| token.chars().count() < METRICS_TOKEN_LEN_MIN;
        if self.metrics_token.as_deref().is_some_and(is_short) {
            errors.push(ConfigError::MetricsToken(METRICS_TOKEN_LEN_MIN));
        }
        self.check_channels(errors);
    }

    fn check_channels(&self, errors: &mut Vec<ConfigError>) {
        if self.channel.len() > CHANNEL_LIMIT {
            errors.push(ConfigError::TooManyChannels { n: self.channel.len(), limit: CHANNEL_LIMIT });
            return;
        }
        let mut ids = BTreeSet::new();
        for (index, channel) in self.channel.iter().enumerate() {
            errors.extend(channel.check().err());
            if !ids.insert(&channel.id) {
                errors.push(ConfigError::DuplicateChannel(channel.id.to_string()));
            }
            let has_same_key = |other: &&ChannelConfig| channel.key.is_some() && other.key == channel.key;
            if let Some(first) = self.channel.iter().take(index).find(has_same_key) {
                let (first, second) = (first.id.to_string(), channel.id.to_string());
                errors.push(ConfigError::DuplicateKey { first, second });
            }
        }
    }
}

fn is_web_url(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}
