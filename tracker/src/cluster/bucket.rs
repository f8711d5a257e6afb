//! The cluster's key-value bucket in `JetStream`: secrets, channels, and who is on air.

use std::time::Duration;

use async_nats::jetstream::{self, kv, stream};
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::ClusterError;
use super::connection::Connection;

/// The bucket's name.
pub(super) const NAME: &str = "cardume";
/// How long one question to the bucket takes at most.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of a value at most: a thousand channels with long titles.
const VALUE_LEN_LIMIT: usize = 1024 * 1024;

/// The bucket; opened, or made, when it is first asked for something.
#[derive(Debug)]
pub(super) struct Bucket {
    connection: Connection,
    opened: Mutex<Option<kv::Store>>,
}

/// A key's value with its version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// `None` when there is none, or it was deleted.
    pub(super) value: Option<Bytes>,
    /// 0 for a key that was never written.
    revision: u64,
}

impl Bucket {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, opened: Mutex::default() }
    }

    /// Forgets that it was there: NATS may have lost it.
    pub(super) async fn reopen(&self) {
        *self.opened.lock().await = None;
    }

    pub(super) async fn read(&self, key: &str) -> Result<Row, ClusterError> {
        let entry = self.ask(async |bucket| bucket.entry(key).await.map_err(failed)).await?;
        let Some(entry) = entry else { return Ok(Row::default()) };
        let is_there = entry.operation == kv::Operation::Put && entry.value.len() <= VALUE_LEN_LIMIT;
        Ok(Row { value: is_there.then_some(entry.value), revision: entry.revision })
    }

    /// Writes a value if the key's is still the one that was read; false when somebody else wrote meanwhile.
    pub(super) async fn replace(&self, key: &str, read: &Row, value: Bytes) -> Result<bool, ClusterError> {
        let revision = read.revision;
        self.ask(async |bucket| match bucket.update(key, value.clone(), revision).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => Err(failed(error)),
        })
        .await
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&kv::Store) -> Result<T, ClusterError>,
    ) -> Result<T, ClusterError> {
        if !self.connection.is_up() {
            return Err(ClusterError::Bucket("NATS is out of reach".to_owned()));
        }
        let asking = async {
            let bucket = self.open().await?;
            question(&bucket).await
        };
        let late =
            || ClusterError::Bucket("no answer in time; is JetStream enabled (nats-server -js)?".to_owned());
        timeout(TIME_LIMIT, asking).await.map_err(|_| late())?
    }

    async fn open(&self) -> Result<kv::Store, ClusterError> {
        let mut opened = self.opened.lock().await;
        if let Some(bucket) = &*opened {
            return Ok(bucket.clone());
        }
        let context = jetstream::new(self.connection.client.clone());
        // One that is there keeps its settings: the operator may have given it replicas.
        let bucket = if let Ok(bucket) = context.get_key_value(NAME).await {
            bucket
        } else {
            context.create_stream(stream()).await.map_err(failed)?;
            context.get_key_value(NAME).await.map_err(failed)?
        };
        *opened = Some(bucket.clone());
        Ok(bucket)
    }
}

/// The stream that a bucket of one version per key is (ADR-8 of NATS). The client's own way to make it does not understand the
/// servers of version 2.9 that Debian has.
fn stream() -> stream::Config {
    stream::Config {
        name: format!("KV_{NAME}"),
        description: Some("Cardume: secrets, channels, and who is on air".to_owned()),
        subjects: vec![format!("$KV.{NAME}.>")],
        max_messages_per_subject: 1,
        discard: stream::DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        num_replicas: 1,
        ..stream::Config::default()
    }
}

fn failed(error: impl std::error::Error) -> ClusterError {
    let source = error.source().map_or_else(String::new, |source| format!(": {source}"));
    ClusterError::Bucket(format!("{error}{source}"))
}
