//! What passes between viewers of different nodes: letters from one to another, and news for all.

use std::sync::Arc;

use async_nats::StatusCode;
use bytes::Bytes;
use cardume_wire::ChannelId;
use cardume_wire::signal::{FromTracker, MESSAGE_LEN_LIMIT};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::nodes::BEAT_INTERVAL;
use super::outbox::Post;
use super::subject::Back;
use super::{ClusterError, Shared, inquiry, subject};
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
pub(super) async fn send(
    shared: Arc<Shared>,
    (abroad, mut outward): (Abroad, mpsc::Receiver<Outward>),
    registry: Arc<Registry>,
) {
    let mut changes = shared.connection.changes();
    loop {
        let is_up = shared.connection.is_up();
        if abroad.set_open(is_up) && !is_up {
            // Nobody answers them now.
            registry.return_offers();
        }
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
            let back = letter.offerer().map(|from| Back { to, channel: channel.clone(), from, peer });
            let reply = back.map(|back| subject::offer_back(node, &back));
            let payload = to_json(&Envelope { channel, node, letter });
            shared.small.post(Post { subject: subject::peer(to, peer), reply, payload });
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
        if deliver(&registry, &message.subject, &message.payload).is_some() {
            shared.received.count_small();
        }
    }
    Ok(())
}

/// Tells those whose offers went to a node that is not there, until the client is gone: NATS says so at once, long before the node
/// is silent for long.
pub(super) async fn take_back(shared: Arc<Shared>, registry: Arc<Registry>) -> Result<(), ClusterError> {
    let mut returned = shared.subscribe(subject::offers_back(shared.me)).await?;
    while let Some(message) = returned.next().await {
        let Some(back) = Back::read(&message.subject) else { continue };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            let letter = Letter::Tell { message: FromTracker::Gone { peer: back.peer } };
            registry.receive(&back.channel, back.to, back.from, letter);
            if shared.doubted().insert(back.to) {
                tokio::spawn(inquiry::look_after(Arc::clone(&shared), back.to));
            }
        }
    }
    Ok(())
}

/// The same for news.
pub(super) async fn hear(shared: Arc<Shared>, registry: Arc<Registry>) -> Result<(), ClusterError> {
    let mut notices = shared.subscribe(subject::ALL_SWARMS.to_owned()).await?;
    while let Some(message) = notices.next().await {
        if note(&registry, &message.subject, &message.payload).is_some() {
            shared.received.count_small();
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

/// Hands a letter over; `None` when it is none.
pub(super) fn deliver(registry: &Registry, subject: &str, payload: &[u8]) -> Option<()> {
    let (to, Envelope { channel, node, letter }) = open(subject, payload)?;
    registry.receive(&channel, node, to, letter);
    Some(())
}

/// The same with news.
pub(super) fn note(registry: &Registry, subject: &str, payload: &[u8]) -> Option<()> {
    let (channel, Notice { node, news }) = open(subject, payload)?;
    registry.hear(&channel, node, &news);
    Some(())
}

fn open<S: std::str::FromStr, T: serde::de::DeserializeOwned>(
    subject: &str,
    payload: &[u8],
) -> Option<(S, T)> {
    if payload.len() > LETTER_LEN_LIMIT {
        return None;
    }
    subject::last(subject).zip(serde_json::from_slice(payload).ok())
}

fn to_json(value: &impl Serialize) -> Bytes {
    // Strings, numbers and lists of them: nothing in these types fails to serialise.
    serde_json::to_vec(value).unwrap_or_default().into()
}
