//! Which keys of the configuration a running tracker takes over, and which it cannot.

use crate::config::Config;

/// When a changed key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    AtOnce,
    AtRestart,
}

pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) effect: Effect,
    pub(super) differs: fn(&Config, &Config) -> bool,
    /// Gives the first one the value of the second.
    pub(super) copy: fn(&mut Config, &Config),
}

macro_rules! keys {
    ($($name:ident => $effect:ident),+ $(,)?) => {
        /// All keys. One that is missing here does not compile.
        pub(super) const KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            effect: Effect::$effect,
            differs: |old, new| old.$name != new.$name,
            copy: |to, from| to.$name.clone_from(&from.$name),
        }),+];

        const _: fn(Config) = |Config { $($name: _),+ }| {};
    };
}

keys! {
    http => AtRestart,
    https => AtRestart,
    tls_certificate => AtRestart,
    tls_key => AtRestart,
    acme_domains => AtRestart,
    acme_contact => AtRestart,
    acme_directory => AtRestart,
    acme_roots => AtRestart,
    rtmp => AtRestart,
    data_dir => AtRestart,
    films => AtRestart,
    public_url => AtOnce,
    egress_limit => AtOnce,
    egress_bytes_per_month => AtRestart,
    connection_limit => AtOnce,
    address_limit => AtOnce,
    viewer_limit => AtOnce,
    webtorrent => AtRestart,
    trusted_proxies => AtOnce,
    proxy_header => AtOnce,
    allowed_origins => AtOnce,
    metrics_token => AtOnce,
    log => AtOnce,
    log_format => AtRestart,
    site => AtRestart,
    demo => AtRestart,
    ice_servers => AtOnce,
    stun => AtRestart,
    relay => AtRestart,
    relay_address => AtRestart,
    relay_ports => AtRestart,
    relay_rate => AtRestart,
    relay_viewer_limit => AtRestart,
    relay_address_limit => AtRestart,
    relay_private => AtRestart,
    nats => AtRestart,
    nats_credentials => AtRestart,
    channel => AtOnce,
}

/// The keys that a running tracker takes over, in the order of the configuration.
pub fn reloaded_keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(|key| key.effect == Effect::AtOnce).map(|key| key.name)
}
