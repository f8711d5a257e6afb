//! What the operator says: flags, environment variables and a TOML file, in this order of precedence.

#![allow(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    reason = "the comments on settings are also the help of flags and the text of the template, so they have no markup"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cardume_wire::{ChannelId, signal};
use confique::Config as _;
use serde::{Deserialize, Serialize};

use crate::rate::{ByteQuota, RateLimit};

/// Target latency of a channel that names none: what a browser holds with some margin over a home connection.
/// (Starting value of the design: "2.0 s playout".)
pub const TARGET_LATENCY_DEFAULT: Duration = Duration::from_secs(2);
const TARGET_LATENCY_MS: std::ops::RangeInclusive<u32> = 500..=30_000;
const TITLE_LEN_LIMIT: usize = 200;
const STREAM_KEY_LEN: std::ops::RangeInclusive<usize> = 8..=128;
/// Channels of one tracker at most; each has a task and a live window. (Wild guess.)
const CHANNEL_LIMIT: usize = 1_000;
/// The channel of a tracker that is configured with none.
pub const DEFAULT_CHANNEL: &str = "live";
/// The channel of [`Config::demo`].
pub const DEMO_CHANNEL: &str = "demo";
/// Would hide behind `/v1/channels/events`.
pub(crate) const RESERVED_CHANNEL: &str = "events";

/// What stands in the template for a channel.
const CHANNEL_EXAMPLE: &str = r#"#[[channel]]
#id = "news"               # in addresses: a-z, 0-9, '-' and '_'
#title = "The news"        # for people; the id when left out
#key = "choose-a-secret"   # whoever has it may send; generated, kept and printed at start when left out
#target_latency_ms = 2000  # from capture to screen, 500 to 30000
"#;

/// The configuration of `cardume serve`. Values may also come from the environment variables named below, or from
/// flags; a flag goes before the environment, and that before this file.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(derive(clap::Args, Clone, Debug)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Config {
    /// Address to serve the site, signalling, server links, HTTP push and HLS on.
    #[config(default = "0.0.0.0:8080", env = "CARDUME_HTTP")]
    #[config(layer_attr(arg(long, value_name = "ADDRESS")))]
    pub http: SocketAddr,

    /// Address to accept RTMP (OBS, ffmpeg) on.
    #[config(default = "0.0.0.0:1935", env = "CARDUME_RTMP")]
    #[config(layer_attr(arg(long, value_name = "ADDRESS")))]
    pub rtmp: SocketAddr,

    /// Directory for keys and secrets; made when missing. Back it up: channels are known by the keys in it.
    #[config(default = "cardume-data", env = "CARDUME_DATA_DIR")]
    #[config(layer_attr(arg(long, value_name = "DIR")))]
    pub data_dir: PathBuf,

    /// Directory with films (fragmented MP4), each of which viewers may watch at any time; read at start. None without it.
    #[config(env = "CARDUME_FILMS")]
    #[config(layer_attr(arg(long, value_name = "DIR")))]
    pub films: Option<PathBuf>,

    /// NATS servers (with JetStream) over which several trackers are one: "nats://10.0.0.5:4222", or "tls://…", with commas
    /// between. Nobody else may reach them: see "Several machines" in the manual.
    #[config(env = "CARDUME_NATS")]
    #[config(layer_attr(arg(long, value_name = "URL")))]
    pub nats: Option<String>,

    /// File with what NATS asks for: one line, a token or USER:PASSWORD. Both may stand in the URL as well.
    #[config(env = "CARDUME_NATS_CREDENTIALS")]
    #[config(layer_attr(arg(long, value_name = "FILE")))]
    pub nats_credentials: Option<PathBuf>,

    /// Address under which viewers reach this tracker, such as "https://tv.example.org"; used in what is printed.
    #[config(env = "CARDUME_PUBLIC_URL")]
    #[config(layer_attr(arg(long, value_name = "URL")))]
    pub public_url: Option<String>,

    /// What the server may send to viewers of all channels together, over server links and as HLS, such as "30 Mbit/s".
    /// Viewers beyond it are fed by each other.
    #[config(default = "unlimited", env = "CARDUME_EGRESS_LIMIT")]
    #[config(layer_attr(arg(long = "egress", value_name = "RATE")))]
    pub egress_limit: RateLimit,

    /// What the server may send in a calendar month (UTC), such as "2 TB": server links, HLS and the site's files. The
    /// last quarter is sent at the rate at which it lasts for the rest of the month.
    #[config(default = "unlimited", env = "CARDUME_EGRESS_BYTES_PER_MONTH")]
    #[config(layer_attr(arg(long = "egress-per-month", value_name = "BYTES")))]
    pub egress_bytes_per_month: ByteQuota,

    /// Connections open at once at most, WebSockets included; more are closed at once. Each costs some 50 KB.
    #[config(default = 20_000, env = "CARDUME_CONNECTION_LIMIT")]
    #[config(layer_attr(arg(long, value_name = "N")))]
    pub connection_limit: u32,

    /// Viewers from one network address (for IPv6 one /64) at most. Many share one behind a carrier's or a school's NAT.
    /// Loopback and private addresses are not limited: they may be those of a proxy.
    #[config(default = 256, env = "CARDUME_ADDRESS_LIMIT")]
    #[config(layer_attr(arg(long, value_name = "N")))]
    pub address_limit: u32,

    /// Viewers of one channel at most.
    #[config(default = 10_000, env = "CARDUME_VIEWER_LIMIT")]
    #[config(layer_attr(arg(long, value_name = "N")))]
    pub viewer_limit: u32,

    /// Whether to be a tracker for WebTorrent clients (P2P Media Loader, and others) too, at /announce. Everybody may use it for any
    /// torrent then; they get at most half of the connections.
    #[config(default = false, env = "CARDUME_WEBTORRENT")]
    #[config(layer_attr(arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)))]
    #[config(layer_attr(arg(default_missing_value = "true")))]
    pub webtorrent: bool,

    /// Serve the web site from this directory instead of the one built in (for work on the site).
    #[config(env = "CARDUME_SITE")]
    #[config(layer_attr(arg(long, value_name = "DIR")))]
    pub site: Option<PathBuf>,

    /// Whether to have a channel "demo" that shows a short sample for ever, without any encoder.
    #[config(default = false, env = "CARDUME_DEMO")]
    #[config(layer_attr(arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)))]
    #[config(layer_attr(arg(default_missing_value = "true")))]
    pub demo: bool,

    /// STUN and TURN servers that viewers use to reach each other through NATs, each such as
    /// { urls = ["stun:stun.example.org:3478"] }, for TURN with username and credential. Without any, viewers
    /// connect within one network only.
    #[config(default = [])]
    #[config(layer_attr(arg(skip)))]
    pub ice_servers: Vec<signal::IceServer>,

    /// The channels, each a table as below. Without any there is one, "live", with a generated stream key.
    #[config(default = [])]
    #[config(layer_attr(arg(skip)))]
    pub channel: Vec<ChannelConfig>,
}

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

/// What flags give: every value optional.
pub type Flags = <Config as confique::Config>::Layer;

/// Why a configuration is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}")]
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
    #[error(transparent)]
    Value(#[from] confique::Error),
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
    #[error("{0} channels are defined; a tracker takes at most {CHANNEL_LIMIT}")]
    TooManyChannels(usize),
    /// A public URL that is none.
    #[error("public_url {0:?} must begin with http:// or https://")]
    PublicUrl(String),
}

impl Config {
    /// Flags, then the environment, then the file, then defaults.
    ///
    /// # Errors
    /// When the file is missing or something in it, in the environment or in the flags is wrong.
    pub fn load(flags: Flags, file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut builder = Self::builder().preloaded(flags).env();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
            builder = builder.preloaded(parse(&text, &path.display().to_string())?);
        }
        builder.load()?.finish()
    }

    /// From the text of a file and defaults alone.
    ///
    /// # Errors
    /// When something in the text is wrong.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::builder().preloaded(parse(text, "the configuration")?).load()?.finish()
    }

    /// A commented file with every key and its default.
    pub fn template() -> String {
        let template = confique::toml::template::<Self>(confique::toml::FormatOptions::default());
        template.replace("#channel = []\n", CHANNEL_EXAMPLE)
    }

    /// These channels, checked as those of a file are; one, "live", when there are none.
    ///
    /// # Errors
    /// When they do not go together.
    pub(crate) fn with_channels(
        &self,
        channels: Vec<ChannelConfig>,
    ) -> Result<Vec<ChannelConfig>, ConfigError> {
        let config = Self { channel: channels, nats: None, ..self.clone() };
        config.finish().map(|config| config.channel)
    }

    fn finish(mut self) -> Result<Self, ConfigError> {
        self.check()?;
        // A node's cluster may have channels of which its own configuration says nothing.
        if self.channel.is_empty() && self.nats.is_none() {
            self.channel.push(ChannelConfig::new(DEFAULT_CHANNEL, "Live"));
        }
        if self.demo && self.channel.iter().all(|channel| channel.id.as_str() != DEMO_CHANNEL) {
            self.channel.push(ChannelConfig::new(DEMO_CHANNEL, "Demo"));
        }
        Ok(self)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let Some(url) = self.public_url.as_deref().filter(|url| !is_web_url(url)) {
            return Err(ConfigError::PublicUrl(url.to_owned()));
        }
        if self.channel.len() > CHANNEL_LIMIT {
            return Err(ConfigError::TooManyChannels(self.channel.len()));
        }
        let mut ids = BTreeSet::new();
        for (index, channel) in self.channel.iter().enumerate() {
            channel.check()?;
            if !ids.insert(&channel.id) {
                return Err(ConfigError::DuplicateChannel(channel.id.to_string()));
            }
            let has_same_key = |other: &&ChannelConfig| channel.key.is_some() && other.key == channel.key;
            if let Some(first) = self.channel.iter().take(index).find(has_same_key) {
                return Err(ConfigError::DuplicateKey {
                    first: first.id.to_string(),
                    second: channel.id.to_string(),
                });
            }
        }
        Ok(())
    }
}

impl ChannelConfig {
    /// A channel of ours, with a key to be generated.
    fn new(id: &str, title: &str) -> Self {
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

    fn check(&self) -> Result<(), ConfigError> {
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

fn parse(text: &str, origin: &str) -> Result<Flags, ConfigError> {
    toml::from_str(text)
        .map_err(|reason| ConfigError::Toml { origin: origin.to_owned(), reason: Box::new(reason) })
}

fn is_web_url(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

/// Stream keys stand in addresses (`/ingest/KEY`, `rtmp://…/KEY`), so they keep to what needs no escaping.
fn is_stream_key(key: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    STREAM_KEY_LEN.contains(&key.len()) && key.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        Config::from_toml(text).unwrap_err().to_string()
    }

    #[test]
    fn nothing_configured_gives_one_channel_with_a_key_to_be_generated() {
        let config = Config::from_toml("").unwrap();
        assert_eq!(config.http, "0.0.0.0:8080".parse().unwrap());
        assert_eq!(config.egress_limit, RateLimit::UNLIMITED);
        assert_eq!(config.egress_bytes_per_month, ByteQuota::UNLIMITED);
        let [channel] = config.channel.as_slice() else { panic!("{:?}", config.channel) };
        assert_eq!((channel.id.as_str(), &channel.key), ("live", &None));
        assert_eq!(channel.target_latency(), TARGET_LATENCY_DEFAULT);
    }

    #[test]
    fn a_file_says_channels_and_limits() {
        let text = "egress_limit = \"30 Mbit/s\"\negress_bytes_per_month = \"2 TB\"\n[[channel]]\nid = \"news\"\nkey = \"secret-key\"\n\
                    target_latency_ms = 1500\n[[channel]]\nid = \"sport\"\ntitle = \"Sport!\"";
        let config = Config::from_toml(text).unwrap();
        assert_eq!(config.egress_limit, RateLimit::new(30_000_000));
        assert_eq!(config.egress_bytes_per_month, ByteQuota::new(2_000_000_000_000));
        let titles: Vec<_> = config.channel.iter().map(ChannelConfig::title).collect();
        assert_eq!(titles, ["news", "Sport!"]);
        assert_eq!(config.channel[0].target_latency(), Duration::from_millis(1500));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = error_of("http = \"0.0.0.0:80\"\negres_limit = \"3 Mbit/s\"");
        assert!(error.contains("egres_limit") && error.contains("line 2"), "{error}");
        let error = error_of("[[channel]]\nid = \"a\"\nkeey = \"x\"");
        assert!(error.contains("keey") && error.contains("line 3"), "{error}");
    }

    #[test]
    fn a_bad_value_is_named_with_what_would_be_right() {
        let cases = [
            ("egress_limit = \"30\"", "30 Mbit/s"),
            ("egress_bytes_per_month = \"2 Tbit\"", "500 GB"),
            ("http = \"nowhere\"", "line 1"),
            ("public_url = \"tv.example.org\"", "https://"),
            ("[[channel]]\nid = \"No Spaces\"", "a channel id is"),
            ("[[channel]]\nid = \"events\"", "reserved"),
            ("[[channel]]\nid = \"a\"\nkey = \"short\"", "8 to 128 characters"),
            ("[[channel]]\nid = \"a\"\nkey = \"with/a/slash\"", "8 to 128 characters"),
            ("[[channel]]\nid = \"a\"\ntitle = \" \"", "title must be"),
            ("[[channel]]\nid = \"a\"\ntarget_latency_ms = 5", "500 to 30000"),
        ];
        for (text, expect) in cases {
            let error = error_of(text);
            assert!(error.contains(expect), "{text}: {error}");
        }
    }

    #[test]
    fn two_channels_of_one_id_or_one_key_are_refused() {
        let error = error_of("[[channel]]\nid = \"a\"\n[[channel]]\nid = \"a\"");
        assert!(error.contains("defined twice"), "{error}");
        let same_key = "[[channel]]\nid = \"a\"\nkey = \"secret-key\"\n\
                        [[channel]]\nid = \"b\"\nkey = \"secret-key\"";
        assert!(error_of(same_key).contains("same stream key"));
    }

    #[test]
    fn the_template_is_a_valid_file_once_its_channel_is_uncommented() {
        let template = Config::template();
        Config::from_toml(&template).unwrap();
        let mut uncommented = String::new();
        for line in template.lines() {
            let is_setting = line.starts_with('#') && !line.starts_with("# ") && line.contains(['=', '[']);
            uncommented += if is_setting { line.trim_start_matches('#') } else { line };
            uncommented += "\n";
        }
        // Optional values have no default to print.
        let settings: Vec<_> = uncommented.lines().filter(|line| !line.trim_end().ends_with('=')).collect();
        let config = Config::from_toml(&settings.join("\n")).unwrap();
        assert_eq!(config.channel[0].id.as_str(), "news");
    }
}
