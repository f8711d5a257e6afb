//! What the system tests share: a tracker in this process on ports of its own, and clients that speak to it over real
//! sockets.
//!
//! Waiting is always for an event, with [`PATIENCE`] as the bound after which a test fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a failed step is a failed test"
)]

pub mod authority;
mod balancer;
mod broadcast;
mod http;
pub mod https;
mod link;
mod nats;
mod node;
mod signal;
mod turn;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cardume::app::{Reloaded, Tracker};
use cardume::config::Config;
use tempfile::TempDir;

pub use balancer::Balancer;
pub use broadcast::{PART_DURATION, cut_part, media_of, send_for_ever, tracks};
pub use http::{Reply, Stream, fetch_with, get, try_get};
pub use link::{LinkViewer, WATCHER_BUFFER};
pub use nats::NatsServer;
pub use node::TestNode;
pub use signal::{SignalClient, refused_upgrade, upgrade_with};
pub use turn::{TurnClient, mapped_address};

/// After this long without the expected event a test fails. Far above what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for an event of a test.
///
/// # Panics
/// When it takes longer than [`PATIENCE`].
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, event).await else {
        panic!("{what} did not happen within {PATIENCE:?}");
    };
    value
}

/// Asks until the answer is yes.
///
/// # Panics
/// When it takes longer than [`PATIENCE`].
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        while !is_so().await {
            beat.tick().await;
        }
    };
    within(what, asking).await;
}

fn config(directory: &Path, toml: &str) -> Config {
    let mut head = format!(
        "http = \"127.0.0.1:0\"\nrtmp = \"127.0.0.1:0\"\ndata_dir = {:?}\n",
        directory.display().to_string()
    );
    if !toml.contains("stun =") {
        head += "stun = \"off\"\n";
    }
    Config::from_toml(&format!("{head}{toml}")).unwrap()
}

/// A tracker in this process, with a data directory that may outlive it.
#[derive(Debug)]
pub struct TestTracker {
    /// The tracker.
    pub tracker: Tracker,
}

impl TestTracker {
    /// Starts one with these lines in its configuration, and its data here.
    pub async fn start_in(directory: &Path, toml: &str) -> Self {
        Self { tracker: Tracker::start(config(directory, toml)).await.unwrap() }
    }

    /// Gives it these lines instead of those that it has.
    pub fn reload(&self, directory: &TempDir, toml: &str) -> Reloaded {
        self.tracker.reload(&config(directory.path(), toml)).unwrap()
    }

    /// Starts one with a data directory of its own, which goes with the returned guard.
    pub async fn start(toml: &str) -> (Self, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        (Self::start_in(directory.path(), toml).await, directory)
    }

    /// Where HTTP is served.
    pub fn http(&self) -> SocketAddr {
        self.tracker.http_address()
    }

    /// Where STUN is served.
    ///
    /// # Panics
    /// When it is off, as it is when nothing is said of it.
    pub fn stun(&self) -> SocketAddr {
        self.tracker.stun_address().expect("STUN is off")
    }

    /// A channel of the tracker.
    pub fn channel(&self, id: &str) -> std::sync::Arc<cardume::channel::Channel> {
        self.tracker.channels().find(&id.parse().unwrap()).unwrap()
    }
}
