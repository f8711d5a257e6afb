//! A node of a cluster that can be killed: a tracker in a runtime of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use cardume::channel::Channel;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{NatsServer, TestTracker};

/// A node. Dropped, it is killed: its sockets close, and nobody is told.
#[derive(Debug)]
pub struct TestNode {
    tracker: Option<TestTracker>,
    runtime: Option<Runtime>,
    directory: TempDir,
    nats: String,
}

impl TestNode {
    /// Starts one in the cluster of this NATS, with these lines in its configuration.
    pub async fn start(nats: &NatsServer, toml: &str) -> Self {
        Self::start_by(nats.address(), toml).await
    }

    /// The same, with its NATS at this address.
    pub async fn start_by(nats: SocketAddr, toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let nats = format!("nats = \"nats://{nats}\"");
        let (path, toml) = (directory.path().to_owned(), format!("{nats}\n{toml}"));
        let starting = runtime.spawn(async move { TestTracker::start_in(&path, &toml).await });
        let tracker = Some(starting.await.unwrap());
        Self { tracker, runtime: Some(runtime), directory, nats }
    }

    /// Gives it these lines instead of those that it has.
    pub fn reload(&self, toml: &str) {
        self.tracker().reload(&self.directory, &format!("{}\n{toml}", self.nats));
    }

    /// Where HTTP is served.
    pub fn http(&self) -> SocketAddr {
        self.tracker().http()
    }

    /// A channel of the node.
    pub fn channel(&self, id: &str) -> Arc<Channel> {
        self.tracker().channel(id)
    }

    /// The tracker.
    pub fn tracker(&self) -> &TestTracker {
        self.tracker.as_ref().unwrap()
    }

    /// Lets it go down as an operator would.
    pub async fn shut_down(mut self) {
        let tracker = self.tracker.take().unwrap().tracker;
        let runtime = self.runtime.as_ref().unwrap();
        runtime.spawn(async move { tracker.shutdown().await }).await.unwrap();
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
