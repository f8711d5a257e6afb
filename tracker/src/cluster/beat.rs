//! That we live and what we have on air, and the same of others.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::nodes::{BEAT_INTERVAL, BEAT_LEN_LIMIT, Beat};
use super::{ClusterError, Shared, subject};
use crate::node::NodeId;
use crate::signal::Registry;

/// How long the last beat may take to leave.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);

/// Beats each second, and at once when something went on or off air, until `stop`.
pub(super) async fn send(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = interval(BEAT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
            () = shared.beat.notified() => {}
        }
        let beat = Beat { on_air: shared.mine().clone(), is_last: false };
        shared.small.send(subject::node(shared.me), to_json(&beat));
    }
    let last = Beat { on_air: std::collections::BTreeMap::new(), is_last: true };
    let farewell = async {
        let client = &shared.connection.client;
        // Who does not hear it hears that we are silent.
        let _ = client.publish(subject::node(shared.me), to_json(&last)).await;
        let _ = client.flush().await;
    };
    if shared.connection.is_up() {
        let _ = timeout(FAREWELL_LIMIT, farewell).await;
    }
}

/// Takes the beats of others, until the client is gone.
pub(super) async fn hear(shared: Arc<Shared>) -> Result<(), ClusterError> {
    let mut beats = shared.subscribe(subject::ALL_NODES.to_owned()).await?;
    while let Some(message) = beats.next().await {
        let Some((node, beat)) = read(&message.subject, &message.payload) else { continue };
        shared.received.count_small();
        let is_news = shared.nodes().hear(node, beat, Instant::now());
        if is_news {
            shared.news.notify_one();
        }
    }
    Ok(())
}

/// Whose beat it is, and the beat.
pub(super) fn read(subject: &str, payload: &[u8]) -> Option<(NodeId, Beat)> {
    let beat = serde_json::from_slice(payload).ok().filter(|_| payload.len() <= BEAT_LEN_LIMIT);
    subject::last(subject).zip(beat)
}

/// Buries the silent, while they could be heard; until `stop`.
pub(super) async fn watch(shared: Arc<Shared>, registry: Arc<Registry>) {
    let mut changes = shared.connection.changes();
    let mut ticks = interval(BEAT_INTERVAL / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.condemned.notified() => {}
            // The client lives as long as we do.
            _ = changes.changed() => shared.nodes().excuse(Instant::now()),
        }
        if !shared.connection.is_up() {
            continue;
        }
        let dead = shared.nodes().bury(Instant::now());
        for node in &dead {
            tracing::warn!(%node, "a node is silent, or gone: it counts as dead");
            registry.forget_node(*node);
        }
        if !dead.is_empty() {
            shared.news.notify_one();
        }
    }
}

fn to_json(beat: &Beat) -> bytes::Bytes {
    // Strings and numbers: nothing in it fails to serialise.
    serde_json::to_vec(beat).unwrap_or_default().into()
}
