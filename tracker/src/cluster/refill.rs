//! What the node on air sends to one that comes late, or lost something.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cardume_wire::{ChannelId, TrackId};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{ClusterError, Shared, parcel, subject};
use crate::channel::Channels;
use crate::server_peer::ServerPeers;

/// Bytes of an ask at most: 32 tracks.
const ASK_LEN_LIMIT: usize = 4096;
/// What is sent beyond what viewers still have to see, so that it begins early enough for whoever is late.
const SPAN_MARGIN: Duration = Duration::from_secs(1);

/// What one node wants of a broadcast that another has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ask {
    /// By track, the first part that is missing; of a track that is not named, what a newcomer needs. `None` when nothing is
    /// missing, and only what is published from now on is wanted.
    next: Option<Vec<(TrackId, u32)>>,
}

impl Ask {
    pub(super) fn keep() -> Self {
        Self { next: None }
    }

    pub(super) fn since(next: &BTreeMap<TrackId, u32>) -> Self {
        Self { next: Some(next.iter().map(|(track, sequence)| (*track, *sequence)).collect()) }
    }

    pub(super) fn is_keep(&self) -> bool {
        self.next.is_none()
    }

    pub(super) fn to_json(&self) -> Bytes {
        // Numbers: nothing in it fails to serialise.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// Answers other nodes one after the other, until the client is gone.
pub(super) async fn answer(
    shared: Arc<Shared>,
    channels: Channels,
    servers: Arc<ServerPeers>,
) -> Result<(), ClusterError> {
    let mut asks = shared.subscribe(subject::asks_of(shared.me)).await?;
    while let Some(message) = asks.next().await {
        let Some(channel) = subject::last::<ChannelId>(&message.subject).and_then(|id| channels.find(&id))
        else {
            continue;
        };
        shared.wanted().insert(channel.id().clone(), Instant::now());
        let span = channel.target_latency() + SPAN_MARGIN;
        if let Some(next) = read(&message.payload)
            && let Some(reply) = message.reply.as_deref().filter(|reply| subject::is_refill(reply))
            && let Some(server) = servers.find(channel.id())
            && let Some(messages) = server.held(next, span).await
        {
            send(&shared, reply, &messages).await;
        }
    }
    Ok(())
}

/// What is missing.
pub(super) fn read(payload: &[u8]) -> Option<BTreeMap<TrackId, u32>> {
    if payload.len() > ASK_LEN_LIMIT {
        return None;
    }
    let ask: Ask = serde_json::from_slice(payload).ok()?;
    Some(ask.next?.into_iter().collect())
}

/// Sends all of it, and an empty message behind it. As fast as NATS takes it: this is all in one go.
async fn send(shared: &Shared, reply: &str, messages: &[Bytes]) {
    for payload in parcel::pack(messages).into_iter().chain([Bytes::new()]) {
        if !shared.connection.is_up() {
            return;
        }
        // Whoever misses it asks again.
        if shared.connection.client.publish(reply.to_owned(), payload).await.is_ok() {
            shared.media.count_sent();
        }
    }
}
