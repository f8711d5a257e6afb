//! One channel, as the file has it.

use std::time::Duration;

use cardume_wire::ChannelId;
use serde::{Deserialize, Serialize};

use super::{ConfigError, RESERVED_CHANNEL, TARGET_LATENCY_DEFAULT};

const TARGET_LATENCY_MS: std::ops::RangeInclusive<u32> = 500..=30_000;
const TITLE_LEN_LIMIT: usize = 200;
const STREAM_KEY_LEN: std::ops::RangeInclusive<usize> = 8..=128;

/// One `[[channel]]` of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {
    /// In addresses.
    pub id: ChannelId,
    /// For people; the id when left out.
    pub title: Option<String>,
    /// Stream key, 8 to 128 characters of `A-Z a-z 0-9 - _`; generated when left out.
    pub key: Option<String>,
    /// From capture to screen, 500 to 30,000.
    pub target_latency_ms: Option<u32>,
}

impl ChannelConfig {
    /// A channel of ours, with a key to be generated.
    pub(super) fn new(id: &str, title: &str) -> Self {
        let Ok(id) = id.parse() else { unreachable!("the ids in this file are valid") };
        Self { id, title: Some(title.to_owned()), key: None, target_latency_ms: None }
    }

    /// For people.
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or_else(|| self.id.as_str())
    }

    /// From capture to screen.
    pub fn target_latency(&self) -> Duration {
        self.target_latency_ms.map_or(TARGET_LATENCY_DEFAULT, |ms| Duration::from_millis(u64::from(ms)))
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |reason: String| Err(ConfigError::Channel { channel: self.id.to_string(), reason });
        if self.id.as_str() == RESERVED_CHANNEL {
            return refuse("this id is reserved; choose another".to_owned());
        }
        if self.title.as_ref().is_some_and(|title| title.trim().is_empty() || title.len() > TITLE_LEN_LIMIT) {
            return refuse(format!("title must be 1 to {TITLE_LEN_LIMIT} bytes"));
        }
        if let Some(ms) = self.target_latency_ms.filter(|ms| !TARGET_LATENCY_MS.contains(ms)) {
            let (low, high) = (TARGET_LATENCY_MS.start(), TARGET_LATENCY_MS.end());
            return refuse(format!("target_latency_ms is {ms}; it must be {low} to {high}"));
        }
        if self.key.as_ref().is_some_and(|key| !is_stream_key(key)) {
            let (low, high) = (STREAM_KEY_LEN.start(), STREAM_KEY_LEN.end());
            return refuse(format!("key must be {low} to {high} characters of A-Z, a-z, 0-9, '-' and '_'"));
        }
        Ok(())
    }
}

/// Stream keys stand in addresses (`/ingest/KEY`, `rtmp://…/KEY`), so they keep to what needs no escaping.
fn is_stream_key(key: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    STREAM_KEY_LEN.contains(&key.len()) && key.bytes().all(is_allowed)
}
