//! What a running tracker can be told anew, without a connection being dropped for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cardume_webtorrent::Swarms;
use cardume_wire::ChannelId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::keys::{Effect, KEYS};
use super::{StreamKey, live_setup, stream_key};
use crate::channel::{ChannelEnd, ChannelSetup, Channels};
use crate::cluster::Outlets;
use crate::config::{ChannelConfig, Config, DEMO_CHANNEL};
use crate::door::Door;
use crate::http::{Addresses, Announces, Entrance};
use crate::metrics::Refusals;
use crate::relay::IceServers;
use crate::server_peer::{Common, ServerPeers, Ties};
use crate::signal::{Abroad, Registry};
use crate::store::StoreError;

/// Viewers of one channel that wait for others to be told that they do not answer: a cable with a whole office behind it.
const DOUBT_LIMIT: usize = 256;

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys whose new value holds now.
    pub applied: Vec<String>,
    /// Keys whose new value waits for a restart.
    pub waiting: Vec<String>,
    /// Channels that are new.
    pub added: Vec<StreamKey>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The keys of a new channel.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A new channel has the id of a film.
    #[error("channel {0:?} cannot be added: a film has this id; rename one of them")]
    Film(String),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
}

/// The rooms of a running tracker, as far as the configuration changes them.
#[derive(Debug)]
pub(super) struct Live {
    /// In force.
    pub(super) config: Mutex<Config>,
    pub(super) channels: Channels,
    pub(super) registry: Arc<Registry>,
    pub(super) servers: Arc<ServerPeers>,
    pub(super) common: Common,
    pub(super) door: Door,
    pub(super) refusals: Refusals,
    pub(super) entrance: Entrance,
    pub(super) viewers: Addresses,
    pub(super) announces: Option<Announces>,
    pub(super) ice_servers: IceServers,
    /// Ends what belongs to one channel.
    pub(super) stops: Mutex<BTreeMap<ChannelId, CancellationToken>>,
    /// Empty without other nodes.
    outlets: OnceLock<Outlets>,
}

/// What is to be done about the channels.
#[derive(Debug, Default)]
struct ChannelPlan {
    added: Vec<(StreamKey, ChannelSetup)>,
    removed: Vec<ChannelId>,
    /// Title or key.
    changed: Vec<StreamKey>,
    /// For people: what needs a restart.
    waiting: Vec<String>,
}

impl ChannelPlan {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// What is in force when it is done.
    fn outcome(&self, before: &[ChannelConfig]) -> Vec<ChannelConfig> {
        let kept = before.iter().filter(|channel| !self.removed.contains(&channel.id)).map(|channel| {
            let changed = self.changed.iter().find(|changed| changed.channel.id == channel.id);
            let target_latency_ms = channel.target_latency_ms;
            changed.map_or_else(
                || channel.clone(),
                |changed| ChannelConfig { target_latency_ms, ..changed.channel.clone() },
            )
        });
        kept.chain(self.added.iter().map(|(key, _)| key.channel.clone())).collect()
    }
}

impl Live {
    /// Without any channel open.
    pub(super) fn new(
        config: &Config,
        channels: Channels,
        common: Common,
        ice_servers: &IceServers,
        abroad: Option<&Abroad>,
    ) -> Result<Self, getrandom::Error> {
        let (connections, sockets) = (config.connection_limit, config.address_limit);
        let (door, refusals) = (Door::new(config), Refusals::default());
        let swarms = || Swarms::new(cardume_webtorrent::INTERVAL_DEFAULT);
        Ok(Self {
            registry: Arc::new(Registry::new(&channels, config.viewer_limit, getrandom::u64()?, abroad)),
            entrance: Entrance::new(connections, sockets, door.clone(), refusals.clone()),
            viewers: Addresses::new(sockets),
            announces: config.webtorrent.then(|| Announces::new(swarms(), connections)),
            ice_servers: ice_servers.clone(),
            config: Mutex::new(config.clone()),
            servers: Arc::default(),
            stops: Mutex::default(),
            outlets: OnceLock::new(),
            channels,
            common,
            door,
            refusals,
        })
    }

    /// There are other nodes, for channels that are opened from now on.
    pub(super) fn join_cluster(&self, outlets: Outlets) {
        self.outlets.get_or_init(|| outlets);
    }

    /// Starts what a channel of the table needs; with a way to other nodes, if there are any.
    pub(super) fn open(&self, end: ChannelEnd) -> Result<(), getrandom::Error> {
        let id = end.channel().id().clone();
        let outlets = self.outlets.get().filter(|_| end.channel().is_for_senders());
        let outlet = outlets.map(|outlets| outlets.of(&id));
        if let Some(outlet) = &outlet {
            end.channel().set_referee(Arc::new(outlet.clone()));
        }
        let common = Common { stop: self.common.stop.child_token(), ..self.common.clone() };
        // Whom signalling has evicted, the server peer does not feed.
        let banned = self.registry.evicted(&id);
        let (doubted, doubts) = mpsc::channel(DOUBT_LIMIT);
        common.tasks.spawn(self.registry.spread_doubts(&id, doubts));
        self.servers.start(end, Ties { banned, doubted, outlet }, &common)?;
        let stop = common.stop.clone();
        common.tasks.spawn(self.registry.announce_changes(&id, self.channels.clone(), stop));
        lock(&self.stops).insert(id, common.stop);
        Ok(())
    }

    /// Takes over what can be changed now.
    pub(super) fn reload(&self, new: &Config) -> Result<Reloaded, ReloadError> {
        let mut old = lock(&self.config);
        if let Some(outlets) = self.outlets.get() {
            outlets.propose(new.channel.clone());
        }
        // Which of its channels a cluster's nodes take over, and when, they agree on.
        let agreed = old.nats.is_some().then(|| Config { channel: old.channel.clone(), ..new.clone() });
        let new = agreed.as_ref().unwrap_or(new);
        // All that can fail comes first.
        let plan = self.plan_channels(&old, new)?;
        let names = |effect: Effect| -> Vec<String> {
            let changed = KEYS.iter().filter(|key| key.effect == effect && (key.differs)(&old, new));
            changed.map(|key| key.name.to_owned()).collect()
        };
        let (mut applied, mut waiting) = (names(Effect::AtOnce), names(Effect::AtRestart));
        applied.retain(|name| name != "channel" || !plan.is_empty());
        waiting.extend(plan.waiting.iter().cloned());
        self.adopt(new);
        let added = plan.added.iter().map(|(key, _)| key.clone()).collect();
        let channel = plan.outcome(&old.channel);
        self.change_channels(plan)?;
        for key in KEYS.iter().filter(|key| key.effect == Effect::AtOnce) {
            (key.copy)(&mut old, new);
        }
        // What waits for a restart is named again the next time.
        old.channel = channel;
        Ok(Reloaded { applied, waiting, added })
    }

    /// Takes over the channels that a cluster agreed on.
    pub(super) fn adopt_channels(&self, channels: Vec<ChannelConfig>) -> Result<Reloaded, ReloadError> {
        let mut old = lock(&self.config);
        let new = Config { channel: channels, ..old.clone() };
        let plan = self.plan_channels(&old, &new)?;
        let (waiting, added) =
            (plan.waiting.clone(), plan.added.iter().map(|(key, _)| key.clone()).collect());
        let channel = plan.outcome(&old.channel);
        self.change_channels(plan)?;
        old.channel = channel;
        Ok(Reloaded { applied: Vec::new(), waiting, added })
    }

    fn adopt(&self, new: &Config) {
        self.door.adopt(new);
        self.entrance.set_limits(new.connection_limit, new.address_limit);
        self.viewers.set_limit(new.address_limit);
        self.registry.set_viewer_limit(new.viewer_limit);
        self.common.budget.set_limit(new.egress_limit);
        self.ice_servers.adopt(new);
        if let Some(announces) = &self.announces {
            announces.set_connection_limit(new.connection_limit);
        }
    }

    fn plan_channels(&self, old: &Config, new: &Config) -> Result<ChannelPlan, ReloadError> {
        let mut plan = ChannelPlan::default();
        // Whether there is a demo changes with a restart.
        let is_planned =
            |channel: &&ChannelConfig| old.demo == new.demo || channel.id.as_str() != DEMO_CHANNEL;
        let find = |config: &'_ Config, id: &ChannelId| {
            config.channel.iter().find(|channel| channel.id == *id).cloned()
        };
        for channel in new.channel.iter().filter(is_planned) {
            let key = stream_key(channel, &self.common.store)?;
            match find(old, &channel.id) {
                None if self.channels.find(&channel.id).is_some() => {
                    return Err(ReloadError::Film(channel.id.to_string()));
                }
                None => {
                    let setup = live_setup(&key, &self.common.store)?;
                    plan.added.push((key, setup));
                }
                Some(before) => {
                    if before.target_latency() != channel.target_latency() {
                        plan.waiting.push(format!("target_latency_ms of channel \"{}\"", channel.id));
                    }
                    if before.title() != channel.title() || before.key != channel.key {
                        plan.changed.push(key);
                    }
                }
            }
        }
        let gone = old.channel.iter().filter(is_planned).filter(|channel| find(new, &channel.id).is_none());
        plan.removed = gone.map(|channel| channel.id.clone()).collect();
        Ok(plan)
    }

    fn change_channels(&self, plan: ChannelPlan) -> Result<(), ReloadError> {
        for id in &plan.removed {
            self.channels.remove(id);
            self.registry.remove(id);
            self.servers.remove(id);
            if let Some(stop) = lock(&self.stops).remove(id) {
                stop.cancel();
            }
        }
        for changed in &plan.changed {
            if let Some(channel) = self.channels.find(&changed.channel.id) {
                channel.set_title(changed.channel.title());
                channel.set_key(&changed.key);
            }
        }
        for (_, setup) in plan.added {
            let end = self.channels.add(setup);
            self.registry.add(end.channel());
            self.open(end)?;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
