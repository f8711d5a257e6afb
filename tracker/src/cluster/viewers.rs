//! What passes between viewers of different nodes: letters from one to another, and news for all.

use std::sync::Arc;

use async_nats::Message;
use bytes::Bytes;
use cardume_wire::signal::MESSAGE_LEN_LIMIT;
use cardume_wire::{ChannelId, PeerId};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::nodes::BEAT_INTERVAL;
use super::{ClusterError, Shared, subject};
use crate::node::NodeId;
use crate::signal::{Abroad, Letter, NodeNews, Outward, Registry};

/// Bytes of a letter at most: a viewer's message, each byte of which JSON may write as six, and some.
const LETTER_LEN_LIMIT: usize = 6 * MESSAGE_LEN_LIMIT + 512;

/// A letter as it travels; whom it is for, the subject says.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    channel: ChannelId,
    node: NodeId,
    letter: Letter,
}

/// News as they travel; of which channel, the subject says.
#[derive(Debug, Serialize, Deserialize)]
struct Notice {
    node: NodeId,
    news: NodeNews,
}

/// Sends what signalling has for other nodes, and tells it whether they can be reached; until it has no more.
pub(super) async fn send(shared: Arc<Shared>, abroad: Abroad, mut outward: mpsc::Receiver<Outward>) {
    let mut changes = shared.connection.changes();
    loop {
        abroad.set_open(shared.connection.is_up());
        tokio::select! {
            outward = outward.recv() => match outward {
                Some(outward) => post(&shared, outward),
                None => return,
            },
            // The client lives as long as we do.
            _ = changes.changed() => {}
        }
    }
}

fn post(shared: &Shared, outward: Outward) {
    let node = shared.me;
    match outward {
        Outward::Letter { node: to, peer, channel, letter } => {
            let payload = to_json(&Envelope { channel, node, letter });
            shared.small.send(subject::peer(to, peer), payload);
        }
        Outward::News { channel, news } => {
            shared.small.send(subject::swarm(&channel), to_json(&Notice { node, news }));
        }
    }
}

/// Hands letters of other nodes to signalling, until the client is gone.
pub(super) async fn receive(shared: Arc<Shared>, registry: Arc<Registry>) -> Result<(), ClusterError> {
    let mut letters = shared.subscribe(subject::peers_of(shared.me)).await?;
    while let Some(message) = letters.next().await {
        if let Some((to, envelope)) = open::<PeerId, Envelope>(&message) {
            registry.receive(&envelope.channel, envelope.node, to, envelope.letter);
        }
    }
    Ok(())
}

/// The same for news.
pub(super) async fn hear(shared: Arc<Shared>, registry: Arc<Registry>) -> Result<(), ClusterError> {
    let mut notices = shared.subscribe(subject::ALL_SWARMS.to_owned()).await?;
    while let Some(message) = notices.next().await {
        if let Some((channel, notice)) = open::<ChannelId, Notice>(&message) {
            registry.hear(&channel, notice.node, &notice.news);
        }
    }
    Ok(())
}

/// Tells the others each second of our viewers, for ever.
pub(super) async fn tell(registry: Arc<Registry>) {
    let mut ticks = interval(BEAT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        registry.exchange_samples();
    }
}

fn open<S: std::str::FromStr, T: serde::de::DeserializeOwned>(message: &Message) -> Option<(S, T)> {
    if message.payload.len() > LETTER_LEN_LIMIT {
        return None;
    }
    subject::last(&message.subject).zip(serde_json::from_slice(&message.payload).ok())
}

fn to_json(value: &impl Serialize) -> Bytes {
    // Strings, numbers and lists of them: nothing in these types fails to serialise.
    serde_json::to_vec(value).unwrap_or_default().into()
}
