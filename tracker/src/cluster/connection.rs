//! The connection to NATS: made once, and made again by the client whenever it breaks.

use std::path::Path;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::ClusterError;

/// Messages of one subscription that may wait for us; more are lost, as the network loses some. Above what one read of the
/// client brings of the smallest; of parcels of media, the largest, it is 64 MiB.
pub(super) const SUBSCRIPTION_LIMIT: usize = 1024;
/// Commands that may wait in the client; what waits longer waits in our own queues, which have limits in bytes.
const COMMAND_LIMIT: usize = 256;
/// How long a start waits for NATS.
const START_LIMIT: Duration = Duration::from_secs(5);
/// Between two attempts to connect again: at first, and at most, times the attempts. Nodes are few, so that this is no storm, and
/// viewers of those that lack their source wait for it.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(250);
/// A silent connection is broken after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes of a credentials file at most.
const CREDENTIALS_LEN_LIMIT: usize = 4096;

/// A client, and whether it is connected.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    /// Since when it is, or is not.
    state: watch::Receiver<LinkState>,
}

/// Whether NATS can be reached.
#[derive(Debug, Clone, Copy)]
pub(super) enum LinkState {
    Up(Instant),
    Down(Instant),
}

impl Connection {
    /// Connects, now or as soon as NATS is there; `servers` are addresses with commas between.
    pub(super) async fn open(servers: &str, credentials: Option<&Path>) -> Result<Self, ClusterError> {
        let addresses = parse(servers)?;
        let (sender, state) = watch::channel(LinkState::Down(Instant::now()));
        let options = with_credentials(ConnectOptions::new(), credentials)?
            .name("cardume")
            .no_echo()
            .retry_on_initial_connect()
            .max_reconnects(None)
            .ping_interval(PING_INTERVAL)
            .subscription_capacity(SUBSCRIPTION_LIMIT)
            .client_capacity(COMMAND_LIMIT)
            .reconnect_delay_callback(|attempts| {
                RETRY_MIN.saturating_mul(u32::try_from(attempts).unwrap_or(u32::MAX)).min(RETRY_MAX)
            })
            .event_callback(move |event| {
                note(&sender, &event);
                std::future::ready(())
            });
        let client =
            options.connect(addresses).await.map_err(|error| ClusterError::Refused(error.to_string()))?;
        Ok(Self { client, state })
    }

    /// Waits until it is connected, for [`START_LIMIT`] at most; false if it is not.
    pub(super) async fn is_up_in_time(&self) -> bool {
        let mut state = self.state.clone();
        let up = state.wait_for(|state| matches!(state, LinkState::Up(_)));
        matches!(timeout(START_LIMIT, up).await, Ok(Ok(_)))
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state(), LinkState::Up(_))
    }

    pub(super) fn state(&self) -> LinkState {
        *self.state.borrow()
    }

    /// Wakes whenever it breaks or is made again.
    pub(super) fn changes(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }
}

impl LinkState {
    /// Whether it has been up for so long.
    pub(super) fn is_up_for(self, time: Duration) -> bool {
        matches!(self, Self::Up(since) if since.elapsed() >= time)
    }

    /// Whether it has been down for so long.
    pub(super) fn is_down_for(self, time: Duration) -> bool {
        matches!(self, Self::Down(since) if since.elapsed() >= time)
    }
}

fn note(state: &watch::Sender<LinkState>, event: &Event) {
    match event {
        Event::Connected => {
            tracing::info!("NATS: connected");
            state.send_replace(LinkState::Up(Instant::now()));
        }
        Event::Disconnected | Event::Closed => {
            tracing::warn!("NATS: out of reach; this node serves what it has, and tries again");
            state.send_replace(LinkState::Down(Instant::now()));
        }
        Event::SlowConsumer(_) => {
            tracing::warn!("NATS: more comes from other nodes than is taken; some is lost");
        }
        // While it is out of reach each attempt fails: said once above.
        Event::ClientError(error) => tracing::debug!("NATS: {error}"),
        Event::ServerError(error) => tracing::warn!("NATS: {error}"),
        Event::LameDuckMode | Event::Draining => tracing::info!("NATS: the server goes down"),
    }
}

fn parse(servers: &str) -> Result<Vec<ServerAddr>, ClusterError> {
    let address = |text: &str| {
        let has_scheme = text.starts_with("nats://") || text.starts_with("tls://");
        let address = text.parse().ok().filter(|_| has_scheme);
        address.filter(|address: &ServerAddr| !address.host().is_empty()).ok_or(ClusterError::Address)
    };
    servers.split(',').map(str::trim).map(address).collect()
}

/// A file with a token, or with `user:password`.
fn with_credentials(options: ConnectOptions, file: Option<&Path>) -> Result<ConnectOptions, ClusterError> {
    let Some(path) = file else { return Ok(options) };
    let text = std::fs::read_to_string(path)
        .map_err(|source| ClusterError::Credentials { path: path.to_owned(), source })?;
    let text = text.trim();
    if text.is_empty() || text.len() > CREDENTIALS_LEN_LIMIT || text.lines().count() > 1 {
        return Err(ClusterError::CredentialsForm(path.to_owned()));
    }
    Ok(match text.split_once(':') {
        Some((user, password)) => options.user_and_password(user.to_owned(), password.to_owned()),
        None => options.token(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_from_what_is_none() {
        assert_eq!(parse("nats://a:4222, tls://user:secret@b").unwrap().len(), 2);
        for text in ["", "a:4222", "http://a:4222", "nats://a:4222,", "nats://"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_credentials_file_is_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            with_credentials(ConnectOptions::new(), Some(&path)).is_ok()
        };
        assert!(read("a-token\n") && read("user:password"));
        assert!(!read("") && !read("one\ntwo"));
    }
}
