//! One running tracker: makes the rooms and introduces them to each other.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cardume_media::SigningKey;
use cardume_webtorrent::Swarms;
use cardume_wire::ChannelId;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::channel::{Channel, ChannelEnd, ChannelSetup, Channels, Programme};
use crate::cluster::{Cluster, ClusterError};
use crate::config::{ChannelConfig, Config, DEMO_CHANNEL, TARGET_LATENCY_DEFAULT};
use crate::demo;
use crate::egress::{self, Readers, Writer};
use crate::film::{self, Found};
use crate::http::{self, Addresses, Announces, Http};
use crate::ingest;
use crate::server_peer::{Common, ServerPeers, Ties};
use crate::signal::{Registry, Signalling};
use crate::site::{NoSite, Site};
use crate::store::{Store, StoreError};
use crate::token::Tokens;

/// Time for viewers to hear that the tracker goes down, and for requests to end. (Wild guess: several round trips.)
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// Viewers of one channel that wait for others to be told that they do not answer: a cable with a whole office behind it.
const DOUBT_LIMIT: usize = 256;

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
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
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
#[derive(Debug, Clone)]
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
    http_address: SocketAddr,
    rtmp_address: SocketAddr,
    channels: Channels,
    stream_keys: Vec<StreamKey>,
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
        let store = Arc::new(Store::open(&config.data_dir)?);
        let cluster = Cluster::join(&mut config, &store).await?;
        let site = config.site.as_deref().map_or_else(|| Ok(Site::embedded()), Site::directory)?;
        let http_listener = listen(config.http, "HTTP", "--http").await?;
        let rtmp_listener = listen(config.rtmp, "RTMP", "--rtmp").await?;
        let (http_address, rtmp_address) =
            (address_of(&http_listener, config.http), address_of(&rtmp_listener, config.rtmp));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());

        let stream_keys = stream_keys(&config, &store)?;
        let films = find_films(&config)?;
        let (channels, ends) = Channels::new(setups(&stream_keys, &films, &store)?);
        let (budget, egress_writer) =
            egress::open(config.egress_limit, config.egress_bytes_per_month, &store)?;
        let common = Common {
            store: Arc::clone(&store),
            budget: Arc::clone(&budget),
            link_limit: usize::try_from(config.viewer_limit).unwrap_or(usize::MAX),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        let abroad = cluster.as_ref().map(Cluster::abroad);
        let registry = Arc::new(Registry::new(&channels, config.viewer_limit, getrandom::u64()?, abroad));
        let servers = Arc::new(start_servers(ends, &registry, cluster.as_ref(), &common)?);
        if let Some(cluster) = cluster {
            cluster.run(&channels, &registry, &servers, (&stop, &tasks));
        }
        tasks.spawn(Arc::clone(&registry).announce_changes(channels.clone(), stop.clone()));
        let readers = Readers::new(budget);
        tasks.spawn(egress::govern(Arc::clone(&readers), stop.clone()));
        let reading = (channels.clone(), Arc::clone(&store), stop.clone());
        tasks.spawn_blocking(move || film::read_all(&films, &reading.0, &reading.1, &reading.2));
        let tokens = Tokens::new(store.resume_secret()?);
        let signalling =
            Signalling { registry, tokens, ice_servers: config.ice_servers.into(), stop: stop.clone() };
        let routes = http::router(Http {
            channels: channels.clone(),
            signalling,
            servers,
            readers,
            announces: config.webtorrent.then(|| announces(config.connection_limit)),
            viewers: Addresses::new(config.address_limit),
            rtmp_port: rtmp_address.port(),
            site,
            stop: stop.clone(),
            tasks: tasks.clone(),
        });
        let server = http::serve(http_listener, routes, config.connection_limit, stop.clone(), tasks.clone());
        tasks.spawn(server);
        if let Some(channel) =
            DEMO_CHANNEL.parse().ok().and_then(|id| channels.find(&id)).filter(|_| config.demo)
        {
            tasks.spawn(play_demo(channel, stop.clone()));
        }
        tasks.spawn(ingest::rtmp::serve(rtmp_listener, channels.clone(), stop.clone()));
        Ok(Self { http_address, rtmp_address, channels, stream_keys, egress_writer, stop, tasks })
    }

    /// Where HTTP is served.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where RTMP is accepted.
    pub fn rtmp_address(&self) -> SocketAddr {
        self.rtmp_address
    }

    /// The channel table.
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Who may send to what.
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

fn announces(connection_limit: u32) -> Announces {
    Announces::new(Swarms::new(cardume_webtorrent::INTERVAL_DEFAULT), connection_limit)
}

async fn play_demo(channel: Arc<Channel>, stop: CancellationToken) {
    if let Err(error) = demo::run(channel, stop).await {
        tracing::error!("there is no demo: {error}");
    }
}

async fn listen(
    address: SocketAddr,
    purpose: &'static str,
    flag: &'static str,
) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, purpose, flag, source })
}

/// With the port that the system chose for port 0.
fn address_of(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

fn stream_keys(config: &Config, store: &Store) -> Result<Vec<StreamKey>, StoreError> {
    let stream_key = |channel: &ChannelConfig| {
        let (key, is_generated) = match &channel.key {
            Some(key) => (key.clone(), false),
            None => (store.stream_key(&channel.id)?, true),
        };
        Ok(StreamKey { channel: channel.clone(), key, is_generated })
    };
    config.channel.iter().map(stream_key).collect()
}

fn find_films(config: &Config) -> Result<Vec<Found>, StartError> {
    let Some(folder) = &config.films else { return Ok(Vec::new()) };
    let taken = config.channel.iter().map(|channel| channel.id.clone()).collect();
    film::films_in(folder, &taken).map_err(|source| StartError::Films { path: folder.clone(), source })
}

fn setups(keys: &[StreamKey], films: &[Found], store: &Store) -> Result<Vec<ChannelSetup>, StoreError> {
    let signing_key = |id: &ChannelId| store.signing_seed(id).map(SigningKey::from_seed);
    let live = keys.iter().map(|StreamKey { channel, key, .. }| {
        Ok(ChannelSetup {
            id: channel.id.clone(),
            title: channel.title().to_owned(),
            programme: Programme::Live { stream_key: key.clone() },
            target_latency: channel.target_latency(),
            signing_key: signing_key(&channel.id)?,
        })
    });
    let films = films.iter().map(|film| {
        Ok(ChannelSetup {
            id: film.id.clone(),
            title: film.title.clone(),
            programme: Programme::Film,
            target_latency: TARGET_LATENCY_DEFAULT,
            signing_key: signing_key(&film.id)?,
        })
    });
    live.chain(films).collect()
}

fn start_servers(
    ends: Vec<ChannelEnd>,
    registry: &Registry,
    cluster: Option<&Cluster>,
    common: &Common,
) -> Result<ServerPeers, StartError> {
    let mut servers = ServerPeers::default();
    for end in ends {
        // Whom signalling has evicted, the server peer does not feed.
        let banned = registry.evicted(end.channel().id());
        let (doubted, doubts) = mpsc::channel(DOUBT_LIMIT);
        common.tasks.spawn(registry.spread_doubts(end.channel().id(), doubts));
        let is_shared = end.channel().is_for_senders();
        let outlet = cluster.filter(|_| is_shared).map(|cluster| cluster.outlet(end.channel().id()));
        servers.start(end, Ties { banned, doubted, outlet }, common)?;
    }
    Ok(servers)
}
