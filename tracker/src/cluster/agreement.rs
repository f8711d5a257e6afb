//! What all nodes have in common: the secret of resume tokens, and the channels with their keys.
//!
//! The bucket wins. What it lacks a node puts there from its own store and configuration, and what it has the node takes into its
//! own store, so that it can start while NATS is away.

use bytes::Bytes;
use cardume_wire::ChannelId;

use super::ClusterError;
use super::bucket::Bucket;
use crate::config::{ChannelConfig, Config};
use crate::store::{SecretName, Store, StoreError};

const CHANNELS_KEY: &str = "channels";
/// How often a write is tried while other nodes write the same key: they do so at their start alone.
const TRY_LIMIT: usize = 16;

/// Agrees with the cluster on everything, and gives its channels.
pub(super) async fn agree(
    bucket: &Bucket,
    store: &Store,
    config: &Config,
) -> Result<Vec<ChannelConfig>, ClusterError> {
    let channels = agree_on_channels(bucket, config).await?;
    settle(bucket, store, &channels).await?;
    Ok(channels)
}

/// Agrees on the keys of these channels of the cluster, and remembers them.
pub(super) async fn settle(
    bucket: &Bucket,
    store: &Store,
    channels: &[ChannelConfig],
) -> Result<(), ClusterError> {
    agree_on_secrets(bucket, store, channels).await?;
    Ok(store.keep_cluster(&to_json(channels))?)
}

/// The cluster's channels as the bucket has them; `None` when it has none.
pub(super) async fn listed(
    bucket: &Bucket,
    config: &Config,
) -> Result<Option<Vec<ChannelConfig>>, ClusterError> {
    let Some(value) = bucket.read(CHANNELS_KEY).await?.value else { return Ok(None) };
    Ok(Some(config.with_channels(parse(&value)?)?))
}

/// Puts into the bucket what it lost of all that; channels that were taken out of the list stay out. True when secrets of ours had
/// to give way, so that the node runs with others than the cluster has.
pub(super) async fn restore(bucket: &Bucket, store: &Store, config: &Config) -> Result<bool, ClusterError> {
    if bucket.read(CHANNELS_KEY).await?.value.is_none() {
        agree_on_channels(bucket, config).await?;
    }
    agree_on_secrets(bucket, store, &config.channel).await
}

/// The channels as they were when the cluster was last in reach; `None` if it never was.
pub(super) fn remembered(store: &Store) -> Result<Option<Vec<ChannelConfig>>, StoreError> {
    Ok(store.cluster()?.and_then(|json| serde_json::from_slice(&json).ok()))
}

/// True when one of ours was another one.
async fn agree_on_secrets(
    bucket: &Bucket,
    store: &Store,
    channels: &[ChannelConfig],
) -> Result<bool, ClusterError> {
    let mut gave_way = agree_on_secret(bucket, store, SecretName::Resume).await?;
    for ChannelConfig { id, key, .. } in channels {
        gave_way |= agree_on_secret(bucket, store, SecretName::Signing(id)).await?;
        if key.is_none() {
            gave_way |= agree_on_secret(bucket, store, SecretName::StreamKey(id)).await?;
        }
    }
    Ok(gave_way)
}

/// True when ours was another one.
async fn agree_on_secret(bucket: &Bucket, store: &Store, name: SecretName<'_>) -> Result<bool, ClusterError> {
    let key = format!("secret/{name}");
    for _ in 0..TRY_LIMIT {
        let row = bucket.read(&key).await?;
        let ours = store.secret_of(name)?;
        if let Some(value) = &row.value {
            let theirs = <[u8; 32]>::try_from(&value[..]).map_err(|_| ClusterError::Damaged(key.clone()))?;
            if theirs != ours {
                store.adopt_secret(name, &theirs)?;
            }
            return Ok(theirs != ours);
        }
        if bucket.replace(&key, &row, Bytes::copy_from_slice(&ours)).await? {
            return Ok(false);
        }
    }
    Err(ClusterError::Contended(key))
}

/// The cluster's channels, and those of this configuration that it did not have.
pub(super) async fn agree_on_channels(
    bucket: &Bucket,
    config: &Config,
) -> Result<Vec<ChannelConfig>, ClusterError> {
    for _ in 0..TRY_LIMIT {
        let row = bucket.read(CHANNELS_KEY).await?;
        let known = row.value.as_ref().map_or_else(|| Ok(Vec::new()), |value| parse(value))?;
        let channels = config.with_channels(merge(&known, &config.channel))?;
        if channels.len() == known.len()
            || bucket.replace(CHANNELS_KEY, &row, to_json(&channels).into()).await?
        {
            warn_of_differences(&channels, &config.channel);
            return Ok(channels);
        }
    }
    Err(ClusterError::Contended(CHANNELS_KEY.to_owned()))
}

/// The cluster's channels, and behind them those of ours that it does not have.
fn merge(known: &[ChannelConfig], ours: &[ChannelConfig]) -> Vec<ChannelConfig> {
    let is_new = |channel: &&ChannelConfig| known.iter().all(|other| other.id != channel.id);
    known.iter().chain(ours.iter().filter(is_new)).cloned().collect()
}

fn warn_of_differences(channels: &[ChannelConfig], ours: &[ChannelConfig]) {
    let differs = |mine: &&ChannelConfig| channels.iter().any(|other| other.id == mine.id && other != *mine);
    for ChannelConfig { id, .. } in ours.iter().filter(differs) {
        tracing::warn!(
            channel = %id,
            "the cluster has this channel with another title, key or latency, and that counts; see \"Several machines\" in the manual"
        );
    }
}

pub(super) fn parse(value: &[u8]) -> Result<Vec<ChannelConfig>, ClusterError> {
    serde_json::from_slice(value).map_err(|_| ClusterError::Damaged(CHANNELS_KEY.to_owned()))
}

fn to_json(channels: &[ChannelConfig]) -> Vec<u8> {
    // Strings and numbers: nothing in it fails to serialise.
    serde_json::to_vec(channels).unwrap_or_default()
}

/// Under which key it stands who has a channel on air.
pub(super) fn air_key(channel: &ChannelId) -> String {
    format!("air/{channel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(text: &str) -> Vec<ChannelConfig> {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_cluster_wins_and_what_it_lacks_is_added() {
        let known = channels(r#"[{"id":"news","title":"The news","key":"first-key"}]"#);
        let ours = channels(r#"[{"id":"news","title":"My news","key":"other-key"},{"id":"sport"}]"#);
        let merged = merge(&known, &ours);
        assert_eq!(merged, [known[0].clone(), ours[1].clone()]);
        assert_eq!(channels(std::str::from_utf8(&to_json(&merged)).unwrap()), merged);
    }

    #[test]
    fn what_is_no_list_of_channels_is_refused() {
        for text in ["", "{}", r#"[{"id":"No Spaces"}]"#, r#"[{"id":"a","keey":"x"}]"#] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
