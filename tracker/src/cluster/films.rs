//! Films of other nodes: a node shows its own alone, and says who has the others.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use cardume_wire::ChannelId;
use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{ClusterError, Shared, subject};
use crate::channel::Channels;
use crate::door::Door;

/// An answer that takes longer is none: a round trip and a busy machine.
const REPLY_LIMIT: Duration = Duration::from_millis(250);
/// Questions at a time, since strangers ask for what is nowhere: each is a message to all nodes, so that these are 64 a second. (Wild
/// guess.)
const QUESTION_LIMIT: usize = 16;
/// Bytes of an address at most: browsers take as much.
const URL_LEN_LIMIT: usize = 2048;

/// Who has a film.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Another node, which the public reaches here, if it says so.
    Node(Option<String>),
    /// No node that answers.
    Nobody,
    /// That cannot be said now.
    Unknown,
}

/// Knows who has a film; cheap to clone.
#[derive(Debug, Clone)]
pub struct Films {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
}

impl Films {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, places: Arc::new(Semaphore::new(QUESTION_LIMIT)) }
    }

    /// Asks the other nodes.
    pub async fn holder(&self, film: &ChannelId) -> Holder {
        let Ok(_place) = self.places.try_acquire() else { return Holder::Unknown };
        if !self.shared.connection.is_up() {
            return Holder::Unknown;
        }
        let asking = self.shared.connection.client.request(subject::film(film), bytes::Bytes::new());
        match timeout(REPLY_LIMIT, asking).await {
            Ok(Ok(answer)) => Holder::Node(read(&answer.payload)),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Holder::Nobody,
            Err(_) => Holder::Nobody,
            Ok(Err(_)) => Holder::Unknown,
        }
    }
}

/// Answers for our own films, until the client is gone.
pub(super) async fn answer(shared: Arc<Shared>, channels: Channels, door: Door) -> Result<(), ClusterError> {
    let mut questions = shared.subscribe(subject::ALL_FILMS.to_owned()).await?;
    while let Some(message) = questions.next().await {
        let Some(reply) = message.reply.filter(|reply| subject::is_inbox(reply)) else { continue };
        let channel = subject::last::<ChannelId>(&message.subject).and_then(|id| channels.find(&id));
        if channel.is_some_and(|channel| !channel.is_for_senders() && !channel.is_void()) {
            shared.small.send(reply.to_string(), door.public_url().unwrap_or_default().into());
        }
    }
    Ok(())
}

/// An address that the public can be sent to.
pub(super) fn read(payload: &[u8]) -> Option<String> {
    let url = std::str::from_utf8(payload).ok().filter(|url| url.len() <= URL_LEN_LIMIT)?;
    let uri: axum::http::Uri = url.parse().ok()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_plain = uri.query().is_none() && uri.authority().is_some_and(|host| !host.as_str().contains('@'));
    (is_web && is_plain).then(|| url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_sent_to_web_addresses_alone() {
        let read = |text: &str| read(text.as_bytes());
        assert_eq!(read("https://films.example/").as_deref(), Some("https://films.example"));
        assert_eq!(read("http://10.0.0.5:8080/tv").as_deref(), Some("http://10.0.0.5:8080/tv"));
        let long = format!("https://{}.example", "a".repeat(URL_LEN_LIMIT));
        for text in
            ["", "/x", "films.example", "javascript:x", "https://a@b", "https://a/?x", "http://a\r\nx", &long]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
