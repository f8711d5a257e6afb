//! What an idle connection costs the tracker.

use std::rc::Rc;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::memory::settled;
use crate::socket::{Socket, Target};
use crate::viewers;

/// Opened at once.
const BATCH: usize = 100;

/// Options of `load idle`.
#[derive(Args)]
pub(crate) struct Options {
    /// A tracker, such as `ws://127.0.0.1:8080/announce`, or `ws://127.0.0.1:8080` for viewers.
    url: String,
    /// The tracker's process, whose memory is read.
    #[arg(long)]
    pid: u32,
    /// What is opened.
    #[arg(long, value_enum, default_value = "torrent")]
    kind: Kind,
    /// The channel that viewers watch.
    #[arg(long, default_value = "live")]
    channel: String,
    /// How many.
    #[arg(long, default_value_t = 19_000)]
    connections: usize,
    /// Swarms that torrent peers are dealt to.
    #[arg(long, default_value_t = 100)]
    swarms: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Torrent,
    Viewer,
}

impl Options {
    pub(crate) fn torrents(url: String, pid: u32, connections: usize) -> Self {
        Self { url, pid, kind: Kind::Torrent, channel: String::new(), connections, swarms: 100 }
    }

    pub(crate) fn viewers(url: String, pid: u32, connections: usize) -> Self {
        Self { url, pid, kind: Kind::Viewer, channel: "live".into(), connections, swarms: 1 }
    }
}

/// Measures.
pub(crate) async fn run(options: Options) -> Result<Value> {
    let Options { kind, connections, pid, .. } = options;
    LocalSet::new()
        .run_until(async move {
            // What the first ones need once is not theirs.
            let warm = open(&options, 0, connections / 100).await?;
            let before = settled(pid).await?;
            let sockets = open(&options, warm.len(), connections).await?;
            let after = settled(pid).await?;
            let n = connections - warm.len();
            anyhow::ensure!(sockets.len() == n, "only {} connections stand", sockets.len());
            let each = after.saturating_sub(before) / n as u64;
            Ok(json!({ "what": format!("{n} idle, {kind:?}").to_lowercase(), "bytes_each": each, "rss_bytes": after }))
        })
        .await
}

async fn open(options: &Options, from: usize, to: usize) -> Result<Vec<Rc<Socket>>> {
    let target = Target::parse(&options.url)?;
    let mut sockets = Vec::new();
    for index in from..to {
        let socket = Rc::new(match options.kind {
            Kind::Torrent => target.open(index).await?,
            Kind::Viewer => target.with_path(viewers::path(&options.channel)).open(index).await?,
        });
        if matches!(options.kind, Kind::Torrent) {
            let swarm = index % options.swarms;
            socket.send(&format!(
                r#"{{"action":"announce","info_hash":"idle{swarm:016}","peer_id":"-CL0002-{index:012}","event":"started","left":1}}"#
            ));
        }
        // Reads what comes, so that nothing piles up at the tracker.
        let reader = Rc::clone(&socket);
        tokio::task::spawn_local(async move { reader.listen(|_| {}).await });
        sockets.push(socket);
        if index % BATCH == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(sockets)
}
