//! The cluster's channels as they change: what one node's operator adds, or somebody writes into the bucket, all nodes take over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{ClusterError, Shared, agreement, subject};
use crate::config::{ChannelConfig, Config};

/// How often the list is read without an occasion: a word of its change may be lost.
const REVIEW_INTERVAL: Duration = Duration::from_secs(5);
/// The word that somebody writes the list comes before it is written.
const WRITE_TIME: Duration = Duration::from_millis(100);

/// Takes the channels over.
pub type Adopt = Box<dyn Fn(Vec<ChannelConfig>) + Send + Sync>;

/// Keeps the node to the cluster's list, until the client is gone.
pub(super) async fn keep(shared: Arc<Shared>, config: Config, adopt: Adopt) -> Result<(), ClusterError> {
    let mut writes = shared.subscribe(subject::CHANNELS_WRITTEN.to_owned()).await?;
    let mut ticks = interval(REVIEW_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            write = writes.next() => match write {
                Some(_) => sleep(WRITE_TIME).await,
                None => return Ok(()),
            },
            _ = ticks.tick() => {}
            () = shared.proposed.notified() => {}
        }
        if shared.connection.is_up()
            && let Err(error) = review(&shared, &config, &adopt).await
        {
            tracing::warn!("the cluster's channels: {error}");
        }
    }
}

async fn review(shared: &Shared, config: &Config, adopt: &Adopt) -> Result<(), ClusterError> {
    let known = shared.channels().clone();
    let proposal = shared.proposal().clone();
    let ours = Config { channel: proposal.clone().unwrap_or_else(|| known.clone()), ..config.clone() };
    let listed = if proposal.is_some() {
        Some(agreement::agree_on_channels(&shared.bucket, &ours).await?)
    } else {
        // What NATS lost is put there by whoever heals it.
        agreement::listed(&shared.bucket, &ours).await?
    };
    // Another one may have come meanwhile.
    drop(shared.proposal().take_if(|waiting| proposal.as_ref() == Some(&*waiting)));
    if let Some(channels) = listed.filter(|channels| *channels != known) {
        agreement::settle(&shared.bucket, &shared.store, &channels).await?;
        shared.channels().clone_from(&channels);
        adopt(channels);
    }
    Ok(())
}
