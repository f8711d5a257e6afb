//! Several trackers that are one: nodes that find each other over NATS.
//!
//! Everything a node knows is its own connections' state, which dies with them, or stands in the store. What nodes have in common
//! is in one bucket of `JetStream` ([`agreement`], [`air`]); everything else is told and forgotten: who lives ([`beat`]), parts of
//! broadcasts ([`follow`], [`refill`]), and what viewers say to each other ([`viewers`]). There is no consensus, gossip or
//! replication of our own. Nothing waits for NATS: while it is away each node serves what it has.
//!
//! Who can write to NATS can be any node, and who can read the bucket can sign media: that is the operator's to guard. What comes
//! is held to limits and verified all the same.

mod agreement;
mod air;
mod beat;
mod bucket;
mod channels;
mod connection;
mod films;
mod follow;
pub mod fuzzing;
mod inquiry;
mod meter;
mod nodes;
mod outbox;
mod parcel;
mod refill;
mod subject;
mod viewers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cardume_wire::{ChannelId, Epoch};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::channel::Channels;
use crate::config::{ChannelConfig, Config, ConfigErrors};
use crate::door::Door;
use crate::node::NodeId;
use crate::server_peer::ServerPeers;
use crate::signal::{Abroad, Outward, Registry};
use crate::store::{Store, StoreError};
pub use air::{Outlet, TakeError};
use bucket::Bucket;
pub use channels::Adopt;
use connection::{Connection, LinkState};
pub use films::{Films, Holder};
use follow::Followers;
pub use meter::{Figures, Meter, Traffic};
use nodes::Nodes;
use outbox::{Outbox, Postman};

/// Why a node does not join its cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// An address that is none.
    #[error(
        "nats must be addresses such as \"nats://10.0.0.5:4222\" or \"tls://USER:PASSWORD@nats.example.org\", with commas between"
    )]
    Address,
    /// The credentials file cannot be read.
    #[error("cannot read the NATS credentials {path}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("the NATS credentials in {0} must be one line: a token, or USER:PASSWORD")]
    CredentialsForm(PathBuf),
    /// The client cannot be made.
    #[error("cannot use NATS: {0}")]
    Refused(String),
    /// Nobody answers, and there is no earlier agreement.
    #[error(
        "NATS cannot be reached; start nats-server with JetStream (-js), or correct --nats and its credentials. A node needs it \
         when it joins for the first time"
    )]
    Unreachable,
    /// `JetStream` does not do what is asked.
    #[error("the cluster's bucket in JetStream cannot be used: {0}")]
    Bucket(String),
    /// Something else is under a key of ours.
    #[error(
        "the key {0:?} in the cluster's bucket is damaged; restore it, or delete it so that a node puts it there anew"
    )]
    Damaged(String),
    /// Others write all the time.
    #[error("the key {0:?} in the cluster's bucket is written by others all the time; try again")]
    Contended(String),
    /// A subscription is refused.
    #[error("NATS refuses a subscription: {0}")]
    Subscription(String),
    /// The local store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cluster's channels and ours do not go together.
    #[error("the cluster's channels and those of this node do not go together: {0}")]
    Channels(#[from] ConfigErrors),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
}

/// What the parts of a cluster's membership share. No lock is held across an await.
#[derive(Debug)]
struct Shared {
    me: NodeId,
    connection: Connection,
    bucket: Bucket,
    store: Arc<Store>,
    /// For parts of broadcasts.
    media: Outbox,
    /// For everything else, which must not wait behind them.
    small: Outbox,
    received: meter::Received,
    nodes: Mutex<Nodes>,
    /// What we have on air.
    mine: Mutex<BTreeMap<ChannelId, Epoch>>,
    /// What we are about to have.
    taking: Mutex<BTreeSet<ChannelId>>,
    /// Nodes that somebody found missing, and that are asked.
    doubted: Mutex<BTreeSet<NodeId>>,
    /// When another node last asked for a channel's media.
    wanted: Mutex<BTreeMap<ChannelId, Instant>>,
    /// The cluster's, as this node has them.
    channels: Mutex<Vec<ChannelConfig>>,
    /// Those of the node's new configuration, which the cluster may lack.
    proposal: Mutex<Option<Vec<ChannelConfig>>>,
    proposed: Notify,
    /// A beat is due.
    beat: Notify,
    /// A node is known to be dead, and must be buried.
    condemned: Notify,
    /// Something changed at a node: the channels must be looked at.
    news: Notify,
}

/// A node's membership in a cluster.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    config: Config,
    abroad: Abroad,
    outward: mpsc::Receiver<Outward>,
    postmen: [Postman; 2],
}

impl Cluster {
    /// Joins the cluster that the configuration names, if it names one; the configuration's channels are the cluster's then. A node
    /// that has been in it before joins with what it remembers while NATS is away.
    ///
    /// # Errors
    /// When the addresses or credentials are none, or NATS cannot be used at a node's first start.
    pub async fn join(config: &mut Config, store: &Arc<Store>) -> Result<Option<Self>, ClusterError> {
        let Some(servers) = config.nats.clone() else { return Ok(None) };
        let connection = Connection::open(&servers, config.nats_credentials.as_deref()).await?;
        let (media, media_postman) = Outbox::new(connection.clone());
        let (small, small_postman) = Outbox::new(connection.clone());
        let (abroad, outward) = Abroad::new();
        let shared = Shared {
            me: NodeId::new(getrandom::u64()?),
            bucket: Bucket::new(connection.clone()),
            connection,
            store: Arc::clone(store),
            media,
            small,
            received: meter::Received::default(),
            nodes: Mutex::default(),
            mine: Mutex::default(),
            taking: Mutex::default(),
            doubted: Mutex::default(),
            wanted: Mutex::default(),
            channels: Mutex::default(),
            proposal: Mutex::default(),
            proposed: Notify::new(),
            beat: Notify::new(),
            condemned: Notify::new(),
            news: Notify::new(),
        };
        config.channel = shared.common_channels(config).await?;
        shared.channels().clone_from(&config.channel);
        tracing::info!(node = %shared.me, n_channels = config.channel.len(), "in the cluster");
        let (shared, config) = (Arc::new(shared), config.clone());
        Ok(Some(Self { shared, config, abroad, outward, postmen: [media_postman, small_postman] }))
    }

    /// Where signalling leaves what is for other nodes.
    pub fn abroad(&self) -> &Abroad {
        &self.abroad
    }

    /// What `/metrics` tells of it.
    pub fn meter(&self) -> Meter {
        Meter::new(Arc::clone(&self.shared), self.abroad.clone())
    }

    /// Who has the films that are not here.
    pub fn films(&self) -> Films {
        Films::new(Arc::clone(&self.shared))
    }

    /// The ways of channels to the other nodes.
    pub fn outlets(&self) -> Outlets {
        Outlets(Arc::clone(&self.shared))
    }

    /// Does its part until `stop`.
    pub fn run(self, rooms: Rooms, (stop, tasks): (&CancellationToken, &TaskTracker)) {
        let Rooms { channels, registry, servers, door, adopt } = rooms;
        let Self { shared, config, abroad, outward, postmen } = self;
        let until = |work: futures_util::future::BoxFuture<'static, Result<(), ClusterError>>| {
            let stop = stop.clone();
            tasks.spawn(async move {
                if let Some(Err(error)) = stop.run_until_cancelled(work).await {
                    tracing::error!("the cluster: {error}");
                }
            });
        };
        tasks.spawn(beat::send(Arc::clone(&shared), stop.clone()));
        for postman in postmen {
            until(endless(postman.run()));
        }
        until(Box::pin(beat::hear(Arc::clone(&shared))));
        until(endless(beat::watch(Arc::clone(&shared), Arc::clone(&registry))));
        until(Box::pin(inquiry::answer(Arc::clone(&shared))));
        until(endless(viewers::send(Arc::clone(&shared), (abroad, outward), Arc::clone(&registry))));
        until(Box::pin(viewers::take_back(Arc::clone(&shared), Arc::clone(&registry))));
        until(Box::pin(viewers::receive(Arc::clone(&shared), Arc::clone(&registry))));
        until(Box::pin(viewers::hear(Arc::clone(&shared), Arc::clone(&registry))));
        until(endless(viewers::tell(registry)));
        until(Box::pin(refill::answer(Arc::clone(&shared), channels.clone(), Arc::clone(&servers))));
        until(Box::pin(films::answer(Arc::clone(&shared), channels.clone(), door)));
        until(endless(Followers::new(Arc::clone(&shared), channels, servers).run()));
        until(Box::pin(channels::keep(Arc::clone(&shared), config.clone(), adopt)));
        until(endless(shared.heal(config)));
    }
}

/// What of a tracker is the cluster's as well.
pub struct Rooms {
    /// The channel table.
    pub channels: Channels,
    /// Who watches what.
    pub registry: Arc<Registry>,
    /// The server peers.
    pub servers: Arc<ServerPeers>,
    /// Which knows where the public reaches us.
    pub door: Door,
    /// Takes the cluster's channels over when they change.
    pub adopt: Adopt,
}

/// The ways of channels to the other nodes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Outlets(Arc<Shared>);

impl Outlets {
    /// That of one channel.
    pub fn of(&self, channel: &ChannelId) -> Outlet {
        Outlet::new(Arc::clone(&self.0), channel.clone())
    }

    /// Adds to the cluster's channels what it lacks of these, as soon as NATS is there.
    pub fn propose(&self, channels: Vec<ChannelConfig>) {
        *self.0.proposal() = Some(channels);
        self.0.proposed.notify_one();
    }
}

impl Shared {
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mine(&self) -> MutexGuard<'_, BTreeMap<ChannelId, Epoch>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channels(&self) -> MutexGuard<'_, Vec<ChannelConfig>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn proposal(&self) -> MutexGuard<'_, Option<Vec<ChannelConfig>>> {
        self.proposal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taking(&self) -> MutexGuard<'_, BTreeSet<ChannelId>> {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubted(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether we have it on air, or are about to.
    fn is_ours(&self, channel: &ChannelId) -> bool {
        self.mine().contains_key(channel) || self.taking().contains(channel)
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeMap<ChannelId, Instant>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn subscribe(&self, subject: String) -> Result<async_nats::Subscriber, ClusterError> {
        let subscription = self.connection.client.subscribe(subject).await;
        subscription.map_err(|error| ClusterError::Subscription(error.to_string()))
    }

    async fn common_channels(&self, config: &Config) -> Result<Vec<ChannelConfig>, ClusterError> {
        if self.connection.is_up_in_time().await {
            return agreement::agree(&self.bucket, &self.store, config).await;
        }
        let channels = agreement::remembered(&self.store)?.ok_or(ClusterError::Unreachable)?;
        tracing::warn!("NATS is out of reach: this node starts with what it knew of the cluster last");
        Ok(channels)
    }

    /// Whenever NATS is back: puts into the bucket what it may have lost, and what went on air meanwhile.
    async fn heal(self: Arc<Self>, config: Config) {
        let mut changes = self.connection.changes();
        while changes.changed().await.is_ok() {
            if !matches!(*changes.borrow_and_update(), LinkState::Up(_)) {
                continue;
            }
            self.beat.notify_one();
            self.news.notify_one();
            self.bucket.reopen().await;
            let config = Config { channel: self.channels().clone(), ..config.clone() };
            match agreement::restore(&self.bucket, &self.store, &config).await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::error!("the cluster's secrets are others than this node runs with: restart it");
                }
                Err(error) => tracing::warn!("NATS is back, and not in order: {error}"),
            }
            let mine = self.mine().clone();
            for (channel, epoch) in mine {
                Outlet::new(Arc::clone(&self), channel).assert(epoch).await;
            }
        }
    }
}

/// Work that ends only when it is dropped, or has no more to do.
fn endless(
    work: impl Future<Output = ()> + Send + 'static,
) -> futures_util::future::BoxFuture<'static, Result<(), ClusterError>> {
    Box::pin(async {
        work.await;
        Ok(())
    })
}
