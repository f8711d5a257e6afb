//! One running tracker: makes the rooms and introduces them to each other.

mod keys;
mod live;
mod ports;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cardume_media::SigningKey;
use cardume_wire::ChannelId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::channel::{Channel, ChannelEnd, ChannelSetup, Channels, Programme};
use crate::cluster::{self, Cluster, ClusterError, Rooms};
use crate::config::{ChannelConfig, Config, DEMO_CHANNEL, TARGET_LATENCY_DEFAULT};
use crate::demo;
use crate::egress::{self, Readers, Relayed, Writer};
use crate::film::{self, Found};
use crate::http::tls::TlsError;
use crate::http::{self, Http};
use crate::ingest::rtmp::{self, Encoders};
use crate::relay::{self, Credentials, NoRelay, Relay};
use crate::server_peer::Common;
use crate::signal::Signalling;
use crate::site::{NoSite, Site};
use crate::store::{Store, StoreError};
use crate::token::Tokens;
use live::Live;
use ports::{Addresses, Ports};

pub use keys::reloaded_keys;
pub use live::{ReloadError, Reloaded};

/// Time for viewers to hear that the tracker goes down, and for requests to end. (Wild guess: several round trips.)
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// Links of one channel's server peer at most, where more viewers than that may not join anyway: each of them has joined.
const LINK_LIMIT_MIN: usize = 100_000;

/// Why a tracker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The site's directory.
    #[error(transparent)]
    Site(#[from] NoSite),
    /// The folder of films.
    #[error("cannot read the directory of films {path}; choose another with --films")]
    Films {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
    /// STUN, or the relay.
    #[error(transparent)]
    Relay(#[from] NoRelay),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}; choose another address with {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What it is for.
        purpose: &'static str,
        /// The flag that changes it.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// Who may send to a channel, for the operator's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamKey {
    /// The channel.
    pub channel: ChannelConfig,
    /// Its secret.
    pub key: String,
    /// Whether it was made by the tracker, so that nobody can know it from the configuration.
    pub is_generated: bool,
}

/// A tracker that runs until it is shut down.
#[derive(Debug)]
pub struct Tracker {
    addresses: Addresses,
    stun_address: Option<SocketAddr>,
    stream_keys: Vec<StreamKey>,
    live: Arc<Live>,
    /// `None` without a monthly quota.
    egress_writer: Option<Writer>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Tracker {
    /// Opens the store, listens, and serves.
    ///
    /// # Errors
    /// When the data directory, the site or an address cannot be used.
    pub async fn start(mut config: Config) -> Result<Self, StartError> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let store = Arc::new(Store::open(&config.data_dir)?);
        let cluster = Cluster::join(&mut config, &store).await?;
        let site = config.site.as_deref().map_or_else(|| Ok(Site::embedded()), Site::directory)?;
        let ports = Ports::open(&config, &stop, &tasks).await?;
        let addresses = ports.addresses;
        let stream_keys = stream_keys(&config, &store)?;
        let films = find_films(&config)?;
        let (channels, ends) = Channels::new(setups(&stream_keys, &films, &store)?);
        let (budget, egress_writer) =
            egress::open(config.egress_limit, config.egress_bytes_per_month, &store)?;
        let common = Common {
            store: Arc::clone(&store),
            budget: Arc::clone(&budget),
            link_limit: link_limit(&config),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        let (readers, relayed) = (Readers::new(Arc::clone(&budget)), Relayed::new(budget));
        let relay = start_relay(&config, &relayed, &common).await?;
        let (abroad, meter) = (cluster.as_ref().map(Cluster::abroad), cluster.as_ref().map(Cluster::meter));
        let films_abroad = cluster.as_ref().map(Cluster::films);
        let live = Arc::new(Live::new(&config, channels, common, relay.ice_servers(), abroad)?);
        open_channels(&live, ends, cluster)?;
        tasks.spawn(egress::govern(Arc::clone(&readers), stop.clone()));
        let reading = (live.channels.clone(), Arc::clone(&store), stop.clone());
        tasks.spawn_blocking(move || film::read_all(&films, &reading.0, &reading.1, &reading.2));
        let encoders = Encoders::new(live.refusals.clone());
        let http = Http {
            channels: live.channels.clone(),
            signalling: Signalling {
                registry: Arc::clone(&live.registry),
                tokens: Tokens::new(store.resume_secret()?),
                ice_servers: live.ice_servers.clone(),
                stop: stop.clone(),
            },
            servers: Arc::clone(&live.servers),
            cluster: meter,
            films: films_abroad,
            readers,
            relayed,
            announces: live.announces.clone(),
            door: live.door.clone(),
            refusals: live.refusals.clone(),
            viewers: live.viewers.clone(),
            connections: live.entrance.connections.clone(),
            encoders: encoders.places.clone(),
            rtmp_port: addresses.rtmp.port(),
            site,
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        let rtmp = ports.serve(http::router(http), &live.entrance, &stop, &tasks);
        if let Some(channel) = demo_channel(&config, &live.channels) {
            tasks.spawn(play_demo(channel, stop.clone()));
        }
        let channels = live.channels.clone();
        tasks.spawn(rtmp::serve(rtmp, channels, encoders, stop.clone()));
        let stun_address = relay.address();
        Ok(Self { addresses, stun_address, stream_keys, live, egress_writer, stop, tasks })
    }

    /// Takes over what of another configuration can hold without a connection being dropped. Only viewers of channels that
    /// are not in it any more lose theirs.
    ///
    /// # Errors
    /// When nothing was changed, and why.
    pub fn reload(&self, config: &Config) -> Result<Reloaded, ReloadError> {
        self.live.reload(config)
    }

    /// Where HTTP is served.
    pub fn http_address(&self) -> SocketAddr {
        self.addresses.http
    }

    /// Where HTTPS is served; `None` when it is not.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.addresses.https
    }

    /// Where RTMP is accepted.
    pub fn rtmp_address(&self) -> SocketAddr {
        self.addresses.rtmp
    }

    /// Where STUN is answered, and relayed from if it is; `None` when it is off.
    pub fn stun_address(&self) -> Option<SocketAddr> {
        self.stun_address
    }

    /// The channel table.
    pub fn channels(&self) -> &Channels {
        &self.live.channels
    }

    /// Who may send to what, as it was at the start.
    pub fn stream_keys(&self) -> &[StreamKey] {
        &self.stream_keys
    }

    /// Takes no more connections, tells viewers to come back, ends broadcasts and closes links. Takes
    /// [`SHUTDOWN_LIMIT`] at most; what is open then is cut off. True when nothing had to be.
    pub async fn shutdown(self) -> bool {
        self.stop.cancel();
        self.tasks.close();
        let is_clean = tokio::time::timeout(SHUTDOWN_LIMIT, self.tasks.wait()).await.is_ok();
        // Last, so that the farewells are counted too.
        if let Some(writer) = self.egress_writer {
            writer.settle().await;
        }
        is_clean
    }
}

async fn play_demo(channel: Arc<Channel>, stop: CancellationToken) {
    if let Err(error) = demo::run(channel, stop).await {
        tracing::error!("there is no demo: {error}");
    }
}

/// Links that one channel's server peer takes at most.
fn link_limit(config: &Config) -> usize {
    usize::try_from(config.viewer_limit).unwrap_or(usize::MAX).max(LINK_LIMIT_MIN)
}

async fn start_relay(config: &Config, egress: &Arc<Relayed>, common: &Common) -> Result<Relay, StartError> {
    let ties = relay::Ties {
        egress: Arc::clone(egress),
        credentials: Credentials::new(common.store.relay_secret()?),
        stop: common.stop.clone(),
        tasks: common.tasks.clone(),
    };
    Ok(Relay::start(config, ties).await?)
}

/// Starts what the channels need, and the node's part in its cluster, if it has one.
fn open_channels(
    live: &Arc<Live>,
    ends: Vec<ChannelEnd>,
    cluster: Option<Cluster>,
) -> Result<(), StartError> {
    if let Some(cluster) = &cluster {
        live.join_cluster(cluster.outlets());
    }
    for end in ends {
        live.open(end)?;
    }
    if let Some(cluster) = cluster {
        let Common { stop, tasks, .. } = &live.common;
        let rooms = Rooms {
            channels: live.channels.clone(),
            registry: Arc::clone(&live.registry),
            servers: Arc::clone(&live.servers),
            door: live.door.clone(),
            adopt: adopt_into(live),
        };
        cluster.run(rooms, (stop, tasks));
    }
    Ok(())
}

/// Keeps a running tracker to the cluster's channels, while there is one.
fn adopt_into(live: &Arc<Live>) -> cluster::Adopt {
    let live = Arc::downgrade(live);
    Box::new(move |channels| {
        let adopted = live.upgrade().map(|live| live.adopt_channels(channels));
        match adopted {
            Some(Ok(Reloaded { waiting, added, .. })) => {
                let added: Vec<_> = added.iter().map(|key| key.channel.id.as_str()).collect();
                tracing::info!(?added, ?waiting, "the cluster's channels changed");
            }
            Some(Err(error)) => tracing::error!("the cluster's channels cannot be taken over: {error}"),
            None => {}
        }
    })
}

fn demo_channel(config: &Config, channels: &Channels) -> Option<Arc<Channel>> {
    let id = DEMO_CHANNEL.parse().ok()?;
    channels.find(&id).filter(|_| config.demo)
}

fn stream_keys(config: &Config, store: &Store) -> Result<Vec<StreamKey>, StoreError> {
    config.channel.iter().map(|channel| stream_key(channel, store)).collect()
}

fn stream_key(channel: &ChannelConfig, store: &Store) -> Result<StreamKey, StoreError> {
    let (key, is_generated) = match &channel.key {
        Some(key) => (key.clone(), false),
        None => (store.stream_key(&channel.id)?, true),
    };
    Ok(StreamKey { channel: channel.clone(), key, is_generated })
}

fn find_films(config: &Config) -> Result<Vec<Found>, StartError> {
    let Some(folder) = &config.films else { return Ok(Vec::new()) };
    let taken = config.channel.iter().map(|channel| channel.id.clone()).collect();
    film::films_in(folder, &taken).map_err(|source| StartError::Films { path: folder.clone(), source })
}

fn setups(keys: &[StreamKey], films: &[Found], store: &Store) -> Result<Vec<ChannelSetup>, StoreError> {
    let live = keys.iter().map(|key| live_setup(key, store));
    let films = films.iter().map(|film| {
        Ok(ChannelSetup {
            id: film.id.clone(),
            title: film.title.clone(),
            programme: Programme::Film,
            target_latency: TARGET_LATENCY_DEFAULT,
            signing_key: signing_key(&film.id, store)?,
        })
    });
    live.chain(films).collect()
}

fn live_setup(StreamKey { channel, key, .. }: &StreamKey, store: &Store) -> Result<ChannelSetup, StoreError> {
    Ok(ChannelSetup {
        id: channel.id.clone(),
        title: channel.title().to_owned(),
        programme: Programme::Live { stream_key: key.clone() },
        target_latency: channel.target_latency(),
        signing_key: signing_key(&channel.id, store)?,
    })
}

fn signing_key(id: &ChannelId, store: &Store) -> Result<SigningKey, StoreError> {
    store.signing_seed(id).map(SigningKey::from_seed)
}
