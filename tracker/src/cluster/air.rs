//! Who is on air: one node for each channel, by a key in the bucket that only who lives can hold.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cardume_wire::{ChannelId, Epoch, TrackId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::agreement::air_key;
use super::bucket::Row;
use super::{Shared, inquiry, parcel, subject};
use crate::channel::Referee;
use crate::clock::{unix_seconds, wall_time};
use crate::node::NodeId;
use crate::store::StoreError;

/// How often the key is tried while others write it.
const TRY_LIMIT: usize = 4;
/// A broadcast begins without the others' consent when that takes longer: NATS is slow or away, and the encoder is here.
const TAKE_LIMIT: Duration = Duration::from_secs(4);
/// How long after it last asked another node counts as wanting a channel's media: it asks each second.
const WANTED_FOR: Duration = Duration::from_secs(5);

/// Why a broadcast does not begin.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// Another node has one.
    #[error("another node has the channel on air")]
    Busy,
    /// The store has no number for it.
    #[error(transparent)]
    Store(StoreError),
    /// The tracker goes down.
    #[error("the tracker is shutting down")]
    ShuttingDown,
}

/// What the bucket says of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    /// Who had it on air last.
    node: NodeId,
    /// The number of that broadcast.
    epoch: Epoch,
    /// Whether it has ended, as that node says.
    is_free: bool,
}

/// A channel's way to the other nodes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Outlet {
    shared: Arc<Shared>,
    channel: ChannelId,
}

impl Outlet {
    pub(super) fn new(shared: Arc<Shared>, channel: ChannelId) -> Self {
        Self { shared, channel }
    }

    /// The right to begin a broadcast, and its number: higher than that of any before it, at whichever node. While NATS is away
    /// it is given, as high as can be known; of two broadcasts the newer one lasts when it is back.
    ///
    /// # Errors
    /// When a living node is on air.
    pub async fn take_air(&self) -> Result<Epoch, TakeError> {
        if let Ok(Some(taken)) = timeout(TAKE_LIMIT, self.take_lease()).await {
            return taken;
        }
        tracing::warn!(channel = %self.channel, "on air without the cluster's consent: NATS is away or slow");
        let heard = self.shared.nodes().on_air(&self.channel).map(|(_, epoch)| epoch);
        self.next_epoch(heard).await
    }

    /// A broadcast has begun.
    pub fn began(&self, epoch: Epoch) {
        self.shared.mine().insert(self.channel.clone(), epoch);
        self.shared.taking().remove(&self.channel);
        self.shared.beat.notify_one();
    }

    /// What [`Outlet::take_air`] gave is not used.
    pub fn forgo(&self) {
        self.shared.taking().remove(&self.channel);
    }

    /// It has ended.
    pub fn left(&self) {
        let Some(epoch) = self.shared.mine().remove(&self.channel) else { return };
        self.shared.beat.notify_one();
        let this = self.clone();
        // When it fails, our beats say that the channel is free.
        tokio::spawn(async move { this.free(epoch).await });
    }

    /// Whether another node wants its parts.
    pub fn is_wanted(&self) -> bool {
        self.shared.wanted().get(&self.channel).is_some_and(|at| at.elapsed() < WANTED_FOR)
    }

    /// Sends the link messages of a new part to the nodes that want it.
    pub fn spread(&self, track: TrackId, messages: &[Bytes]) {
        for parcel in parcel::pack(messages) {
            self.shared.media.send(subject::media(&self.channel, track), parcel);
        }
    }

    /// `None` when the bucket cannot be asked.
    async fn take_lease(&self) -> Option<Result<Epoch, TakeError>> {
        let key = air_key(&self.channel);
        for _ in 0..TRY_LIMIT {
            let row = self.shared.bucket.read(&key).await.ok()?;
            let lease = read(&row);
            if let Some(lease) = lease
                && self.is_held(lease).await
            {
                return Some(Err(TakeError::Busy));
            }
            let epoch = match self.next_epoch(lease.map(|lease| lease.epoch)).await {
                Ok(epoch) => epoch,
                Err(error) => return Some(Err(error)),
            };
            let ours = Lease { node: self.shared.me, epoch, is_free: false };
            // From the moment that others can read it.
            self.shared.taking().insert(self.channel.clone());
            match self.shared.bucket.replace(&key, &row, ours.to_json()).await {
                Ok(true) => return Some(Ok(epoch)),
                Ok(false) => self.forgo(),
                Err(_) => {
                    self.forgo();
                    return None;
                }
            }
        }
        None
    }

    /// Whether the node that the lease names lives and is on air, or about to be.
    async fn is_held(&self, lease: Lease) -> bool {
        !lease.is_free && inquiry::has_on_air(&self.shared, lease.node, &self.channel).await
    }

    /// Above that of the last broadcast anybody knows of.
    async fn next_epoch(&self, last: Option<Epoch>) -> Result<Epoch, TakeError> {
        let (store, channel) = (Arc::clone(&self.shared.store), self.channel.clone());
        let after = last.map_or(0, |last| last.0.saturating_add(1));
        let seconds = unix_seconds(wall_time()).max(after);
        let next = tokio::task::spawn_blocking(move || store.next_epoch(&channel, seconds)).await;
        next.map_err(|_| TakeError::ShuttingDown)?.map_err(TakeError::Store)
    }

    async fn free(&self, epoch: Epoch) {
        let key = air_key(&self.channel);
        let Ok(row) = self.shared.bucket.read(&key).await else { return };
        let ours = Lease { node: self.shared.me, epoch, is_free: false };
        if read(&row) == Some(ours) {
            // Whoever took it meanwhile has it.
            let _ = self.shared.bucket.replace(&key, &row, Lease { is_free: true, ..ours }.to_json()).await;
        }
    }

    /// Writes down a broadcast that began while NATS was away, unless there is a newer one.
    pub(super) async fn assert(&self, epoch: Epoch) {
        let key = air_key(&self.channel);
        let Ok(row) = self.shared.bucket.read(&key).await else { return };
        if read(&row).is_none_or(|lease| lease.epoch < epoch) {
            let ours = Lease { node: self.shared.me, epoch, is_free: false };
            // Whoever wrote meanwhile is heard by its beats.
            let _ = self.shared.bucket.replace(&key, &row, ours.to_json()).await;
        }
    }
}

impl Referee for Outlet {
    fn is_held(&self) -> BoxFuture<'_, bool> {
        async {
            // Who is said to have it changes while we ask.
            for _ in 0..TRY_LIMIT {
                let Some((node, _)) = self.shared.nodes().on_air(&self.channel) else { return false };
                if inquiry::has_on_air(&self.shared, node, &self.channel).await {
                    return true;
                }
            }
            true
        }
        .boxed()
    }
}

impl Lease {
    fn to_json(self) -> Bytes {
        // Numbers and strings: nothing in it fails to serialise.
        serde_json::to_vec(&self).unwrap_or_default().into()
    }
}

fn read(row: &Row) -> Option<Lease> {
    serde_json::from_slice(row.value.as_ref()?).ok()
}
