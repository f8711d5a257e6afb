//! What the operator says: flags, environment variables and a TOML file, in this order of precedence.

#![allow(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    reason = "the comments on settings are also the help of flags and the text of the template, so they have no markup"
)]

mod channel;
mod check;
mod error;
mod file;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cardume_wire::signal;
use confique::{Config as _, Layer as _};

use crate::door::{Origin, Proxy, ProxyHeader};
use crate::logs::LogFormat;
use crate::rate::{ByteQuota, RateLimit};
use crate::relay::{PortRange, StunAddress};

pub use channel::ChannelConfig;
pub use error::{ConfigError, ConfigErrors};

/// Target latency of a channel that names none: what a browser holds with some margin over a home connection.
/// (Starting value of the design: "2.0 s playout".)
pub const TARGET_LATENCY_DEFAULT: Duration = Duration::from_secs(2);
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
#[expect(clippy::struct_excessive_bools, reason = "switches that an operator sets one by one")]
#[config(layer_attr(derive(clap::Args, Clone, Debug)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Config {
    /// Address to serve the site, signalling, server links, HTTP push and HLS on.
    #[config(default = "0.0.0.0:8080", env = "CARDUME_HTTP")]
    #[config(layer_attr(arg(long, value_name = "ADDRESS")))]
    pub http: SocketAddr,

    /// Address to serve the same on by HTTPS, such as "0.0.0.0:443", with a certificate of tls_certificate or acme_domains. Pages that
    /// are opened by plain HTTP are sent there.
    #[config(env = "CARDUME_HTTPS")]
    #[config(layer_attr(arg(long, value_name = "ADDRESS")))]
    pub https: Option<SocketAddr>,

    /// The certificate for HTTPS, and behind it those between it and its authority (PEM). Read again when it changes.
    #[config(env = "CARDUME_TLS_CERTIFICATE")]
    #[config(layer_attr(arg(long, value_name = "FILE")))]
    pub tls_certificate: Option<PathBuf>,

    /// Its private key (PEM).
    #[config(env = "CARDUME_TLS_KEY")]
    #[config(layer_attr(arg(long, value_name = "FILE")))]
    pub tls_key: Option<PathBuf>,

    /// Names, such as ["tv.example.org"], for which an authority gives the certificate by itself (ACME, as Let's Encrypt does) and
    /// renews it, instead of tls_certificate. They must lead to this machine, and port 443 to https.
    #[config(default = [])]
    #[config(layer_attr(arg(skip)))]
    pub acme_domains: Vec<String>,

    /// Mail address to which the authority writes when something is wrong.
    #[config(env = "CARDUME_ACME_CONTACT")]
    #[config(layer_attr(arg(long, value_name = "ADDRESS")))]
    pub acme_contact: Option<String>,

    /// The authority.
    #[config(default = "https://acme-v02.api.letsencrypt.org/directory", env = "CARDUME_ACME_DIRECTORY")]
    #[config(layer_attr(arg(long, value_name = "URL")))]
    pub acme_directory: String,

    /// Roots by which the authority's own certificate is checked (PEM), for one of your own. The usual public ones without.
    #[config(env = "CARDUME_ACME_ROOTS")]
    #[config(layer_attr(arg(long, value_name = "FILE")))]
    pub acme_roots: Option<PathBuf>,

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
    /// Loopback and private addresses are not limited: they may be those of a proxy. It may have four times as many connections.
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

    /// Proxies in front of the tracker that are believed when they say whom they serve: addresses or networks, such as
    /// "10.0.0.5" or "10.0.0.0/8". Without any, limits by address see the proxy.
    #[config(default = [], env = "CARDUME_TRUSTED_PROXIES", parse_env = confique::env::parse::list_by_comma)]
    #[config(layer_attr(arg(long, value_name = "NETWORK", value_delimiter = ',')))]
    pub trusted_proxies: Vec<Proxy>,

    /// The header in which they say it: "x-forwarded-for" or "forwarded" (RFC 7239).
    #[config(default = "x-forwarded-for", env = "CARDUME_PROXY_HEADER")]
    #[config(layer_attr(arg(long, value_name = "HEADER")))]
    pub proxy_header: ProxyHeader,

    /// Origins of pages that may open sockets here, such as "https://tv.example.org" or "https://*.example.org"; "*" is all.
    /// The tracker's own pages always may, and so may programs that are no browsers.
    #[config(default = ["*"], env = "CARDUME_ALLOWED_ORIGINS", parse_env = confique::env::parse::list_by_comma)]
    #[config(layer_attr(arg(long, value_name = "ORIGIN", value_delimiter = ',')))]
    pub allowed_origins: Vec<Origin>,

    /// Whoever names this may read /metrics: "Authorization: Bearer TOKEN". Without one, loopback and private addresses may.
    #[config(env = "CARDUME_METRICS_TOKEN")]
    #[config(layer_attr(arg(skip)))]
    pub metrics_token: Option<String>,

    /// What is logged: error, warn, info, debug or trace, for all or by part, such as "info,cardume::signal=debug". RUST_LOG
    /// goes before it.
    #[config(default = "info", env = "CARDUME_LOG")]
    #[config(layer_attr(arg(long, value_name = "FILTER")))]
    pub log: String,

    /// How it is logged: "text", or "json", one object a line.
    #[config(default = "text", env = "CARDUME_LOG_FORMAT")]
    #[config(layer_attr(arg(long, value_name = "FORMAT")))]
    pub log_format: LogFormat,

    /// Serve the web site from this directory instead of the one built in (for work on the site).
    #[config(env = "CARDUME_SITE")]
    #[config(layer_attr(arg(long, value_name = "DIR")))]
    pub site: Option<PathBuf>,

    /// Whether to have a channel "demo" that shows a short sample for ever, without any encoder.
    #[config(default = false, env = "CARDUME_DEMO")]
    #[config(layer_attr(arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)))]
    #[config(layer_attr(arg(default_missing_value = "true")))]
    pub demo: bool,

    /// Address to answer STUN on (UDP), which tells viewers behind NATs how others reach them, or "off". Behind a proxy, set
    /// relay_address or public_url to where viewers reach it.
    #[config(default = "0.0.0.0:3478", env = "CARDUME_STUN")]
    #[config(layer_attr(arg(long, value_name = "ADDRESS")))]
    pub stun: StunAddress,

    /// Whether to relay between viewers that cannot reach each other (TURN), on the port of STUN, UDP and TCP. What is relayed
    /// counts in the egress limits; viewers that nobody reaches get all from the server otherwise.
    #[config(default = false, env = "CARDUME_RELAY")]
    #[config(layer_attr(arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)))]
    #[config(layer_attr(arg(default_missing_value = "true")))]
    pub relay: bool,

    /// Public address of this machine, where viewers reach STUN and the relay; found by itself when left out, from public_url or
    /// the network interface.
    #[config(env = "CARDUME_RELAY_ADDRESS")]
    #[config(layer_attr(arg(long, value_name = "IP")))]
    pub relay_address: Option<IpAddr>,

    /// UDP ports that are relayed from; each relayed connection takes one. Let them through the firewall.
    #[config(default = "49152-57343", env = "CARDUME_RELAY_PORTS")]
    #[config(layer_attr(arg(long, value_name = "PORTS")))]
    pub relay_ports: PortRange,

    /// What one relayed connection may carry, both directions together, such as "10 Mbit/s".
    #[config(default = "10 Mbit/s", env = "CARDUME_RELAY_RATE")]
    #[config(layer_attr(arg(long, value_name = "RATE")))]
    pub relay_rate: RateLimit,

    /// Relayed addresses that one viewer may have at once; a browser takes two or more for each neighbour.
    #[config(default = 64, env = "CARDUME_RELAY_VIEWER_LIMIT")]
    #[config(layer_attr(arg(long, value_name = "N")))]
    pub relay_viewer_limit: u32,

    /// Relayed addresses that one network address (for IPv6 one /64) may have at once.
    #[config(default = 1024, env = "CARDUME_RELAY_ADDRESS_LIMIT")]
    #[config(layer_attr(arg(long, value_name = "N")))]
    pub relay_address_limit: u32,

    /// Whether to relay to private addresses, too: for laboratories. Strangers reach your own network through the relay then.
    #[config(default = false, env = "CARDUME_RELAY_PRIVATE")]
    #[config(layer_attr(arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)))]
    #[config(layer_attr(arg(default_missing_value = "true")))]
    pub relay_private: bool,

    /// Further STUN and TURN servers that viewers use to reach each other through NATs, each such as
    /// { urls = ["stun:stun.example.org:3478"] }, for TURN with username and credential.
    #[config(default = [])]
    #[config(layer_attr(arg(skip)))]
    pub ice_servers: Vec<signal::IceServer>,

    /// The channels, each a table as below. Without any there is one, "live", with a generated stream key.
    #[config(default = [])]
    #[config(layer_attr(arg(skip)))]
    pub channel: Vec<ChannelConfig>,
}

/// What flags give: every value optional.
pub type Flags = <Config as confique::Config>::Layer;

impl Config {
    /// Flags, then the environment, then the file, then defaults.
    ///
    /// # Errors
    /// All that is wrong with the file, the environment and what they say together.
    pub fn load(flags: Flags, file: Option<&Path>) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let environment = Flags::from_env().unwrap_or_else(|error| {
            errors.push(ConfigError::Value(error));
            Flags::empty()
        });
        let mut builder = Self::builder().preloaded(flags).preloaded(environment);
        if let Some(path) = file {
            match std::fs::read_to_string(path) {
                Ok(text) => {
                    builder = builder.preloaded(file::parse(&text, &path.display().to_string(), &mut errors));
                }
                Err(source) => errors.push(ConfigError::Unreadable { path: path.to_owned(), source }),
            }
        }
        Self::finish(builder.load(), errors)
    }

    /// From the text of a file and defaults alone.
    ///
    /// # Errors
    /// All that is wrong with the text.
    pub fn from_toml(text: &str) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let said = file::parse(text, "the configuration", &mut errors);
        Self::finish(Self::builder().preloaded(said).load(), errors)
    }

    /// A commented file with every key and its default.
    pub fn template() -> String {
        let template = confique::toml::template::<Self>(confique::toml::FormatOptions::default());
        template.replace("#channel = []\n", CHANNEL_EXAMPLE)
    }

    /// The host of [`Config::public_url`], without scheme, port and path.
    pub fn public_host(&self) -> Option<&str> {
        self.public_url.as_deref().and_then(host_of)
    }

    /// These channels, checked as those of a file are; one, "live", when there are none.
    ///
    /// # Errors
    /// When they do not go together.
    pub(crate) fn with_channels(
        &self,
        channels: Vec<ChannelConfig>,
    ) -> Result<Vec<ChannelConfig>, ConfigErrors> {
        let config = Self { channel: channels, nats: None, ..self.clone() };
        Self::finish(Ok(config), Vec::new()).map(|config| config.channel)
    }

    /// What is left of it is looked at even where something was wrong already, so that all of it is said at once.
    fn finish(
        loaded: Result<Self, confique::Error>,
        mut errors: Vec<ConfigError>,
    ) -> Result<Self, ConfigErrors> {
        let mut config = match loaded {
            Ok(config) => config,
            Err(error) => {
                errors.push(ConfigError::Value(error));
                return Err(ConfigErrors::new(errors));
            }
        };
        config.check(&mut errors);
        if !errors.is_empty() {
            return Err(ConfigErrors::new(errors));
        }
        // A node's cluster may have channels of which its own configuration says nothing.
        if config.channel.is_empty() && config.nats.is_none() {
            config.channel.push(ChannelConfig::new(DEFAULT_CHANNEL, "Live"));
        }
        if config.demo && config.channel.iter().all(|channel| channel.id.as_str() != DEMO_CHANNEL) {
            config.channel.push(ChannelConfig::new(DEMO_CHANNEL, "Demo"));
        }
        Ok(config)
    }
}

/// The host of a web address, without scheme, port and path.
pub fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    authority_host(rest.split('/').next()?)
}

/// The host of an authority, with the brackets of an IPv6 address; `None` for what is none.
pub(crate) fn authority_host(authority: &str) -> Option<&str> {
    let end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let host = authority.get(..end)?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_allowed)).then_some(host)
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
    fn all_that_is_wrong_is_said_at_once() {
        let error = error_of(
            "http = \"nowhere\"\nnonsense = 1\npublic_url = \"tv\"\n[[channel]]\nid = \"a\"\nkeey = \"x\"\n[[channel]]\nid = \"b\"\nkey = \"short\"",
        );
        for part in ["line 1", "nonsense", "public_url", "keey", "line 6", "channel \"b\": key must be"] {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }

    #[test]
    fn a_bad_value_is_named_with_what_would_be_right() {
        let cases = [
            ("egress_limit = \"30\"", "30 Mbit/s"),
            ("egress_bytes_per_month = \"2 Tbit\"", "500 GB"),
            ("http = \"nowhere\"", "line 1"),
            ("public_url = \"tv.example.org\"", "https://"),
            ("trusted_proxies = [\"proxy\"]", "10.0.0.0/8"),
            ("proxy_header = \"x-real-ip\"", "x-forwarded-for"),
            ("allowed_origins = [\"https://a.example/path\"]", "without a path"),
            ("metrics_token = \"short\"", "at least 16"),
            ("log = \"cardume=loud\"", "info,cardume::signal=debug"),
            ("log_format = \"xml\"", "\"json\""),
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

    #[test]
    fn a_host_that_is_none_is_not_taken_for_one() {
        for authority in ["", ":80", "a b", "x?transport=tcp", "[::1", "a\"b"] {
            assert_eq!(authority_host(authority), None, "{authority}");
        }
    }
}
