//! The door that other nodes' messages come in by, for tests that send any.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cardume_media::SigningKey;
use cardume_wire::signal::{FromTracker, Join};
use cardume_wire::{PROTOCOL_VERSION, PeerId};
use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::nodes::{NODE_LIMIT, Nodes};
use super::subject::Back;
use super::{agreement, beat, films, parcel, refill, viewers};
use crate::channel::{ChannelSetup, Channels, Programme};
use crate::node::NodeId;
use crate::relay::IceServers;
use crate::signal::{Abroad, Letter, News, NodeNews, Registry, Signalling, Viewer};
use crate::token::Tokens;

/// Messages after each other, one in a line: the subject, a space, and what is in it. Then all of it as a parcel of media.
///
/// # Panics
/// When the code breaks a promise: there are limits, and viewers are told only what other nodes may tell them.
pub fn take(bytes: &[u8]) {
    let mut world = World::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(space) = line.iter().position(|byte| *byte == b' ') else { continue };
        let (subject, payload) = line.split_at(space);
        if let Ok(subject) = std::str::from_utf8(subject) {
            world.take(subject, payload.get(1..).unwrap_or_default());
        }
    }
    world.check();
    repack(&Bytes::copy_from_slice(bytes));
}

/// One message of each kind, and some in a row.
///
/// # Panics
/// Never.
pub fn seeds() -> Vec<Vec<u8>> {
    let world = World::new();
    let (ann, bob) = (world.viewers[0].0.peer(), world.viewers[1].0.peer());
    let (node, stranger) = (NodeId::new(7), PeerId::new(10_001));
    let letter = |to: PeerId, letter: &Letter| {
        let letter = serde_json::to_string(letter).unwrap_or_default();
        format!("cardume.peer.{node}.{to} {{\"channel\":\"live\",\"node\":\"{node}\",\"letter\":{letter}}}")
    };
    let news = |news: &NodeNews| {
        let news = serde_json::to_string(news).unwrap_or_default();
        format!("cardume.swarm.live {{\"node\":\"{node}\",\"news\":{news}}}")
    };
    let tell = |message| Letter::Tell { message };
    let lines = [
        format!("cardume.node.{node} {{\"on_air\":{{\"live\":7}},\"is_last\":false}}"),
        format!("cardume.node.{node} {{\"on_air\":{{}},\"is_last\":true}}"),
        "cardume.film.two-seconds https://films.example/".to_owned(),
        news(&NodeNews::Sample { n_viewers: 9, peers: vec![stranger] }),
        letter(ann, &tell(FromTracker::Offer { from: stranger, sdp: "v=0".to_owned() })),
        letter(ann, &tell(FromTracker::Answer { from: stranger, sdp: "v=0".to_owned() })),
        letter(bob, &tell(FromTracker::Gone { peer: stranger })),
        letter(bob, &tell(FromTracker::Drain { reconnect_within_ms: 1 })),
        letter(ann, &Letter::Blame { by: stranger }),
        news(&NodeNews::Resumed { peer: bob }),
        news(&NodeNews::Evicted { peer: ann }),
        format!("cardume.ask.{node}.live {{\"next\":[[0,5]]}}"),
        format!("cardume.back.{node}.{node}.live.{ann}.{stranger} "),
        "$KV.cardume.channels [{\"id\":\"live\",\"title\":\"Live\"}]".to_owned(),
    ];
    let parcel = parcel::pack(&[Bytes::from_static(b"one message"), Bytes::from_static(b"and another")]);
    let single = lines.iter().cloned().map(String::into_bytes);
    single.chain([lines.join("\n").into_bytes()]).chain(parcel.iter().map(|parcel| parcel.to_vec())).collect()
}

/// A node with two viewers.
struct World {
    registry: Arc<Registry>,
    nodes: Nodes,
    viewers: Vec<(Viewer, News)>,
}

impl World {
    fn new() -> Self {
        let setup = ChannelSetup {
            id: "live".parse().unwrap_or_else(|_| unreachable!("it is an id")),
            title: "Live".to_owned(),
            programme: Programme::Live { stream_key: "secret-key".to_owned() },
            target_latency: Duration::from_secs(2),
            signing_key: SigningKey::from_seed([1; 32]),
        };
        let channel = setup.id.clone();
        let (channels, _) = Channels::new(vec![setup]);
        // What goes out is lost: it has a limit, too.
        let (abroad, _) = Abroad::new();
        let registry = Arc::new(Registry::new(&channels, 10, 1, Some(&abroad)));
        let signalling = Signalling {
            registry: Arc::clone(&registry),
            tokens: Tokens::new([1; 32]),
            ice_servers: IceServers::default(),
            stop: CancellationToken::new(),
        };
        let join = Join { version: PROTOCOL_VERSION, channel, resume: None };
        let viewers = (0..2).filter_map(|_| signalling.enter(&join, None).ok()).collect();
        Self { registry, nodes: Nodes::default(), viewers }
    }

    /// As what subscribes to such subjects does.
    fn take(&mut self, subject: &str, payload: &[u8]) {
        match subject.split('.').nth(1) {
            Some("node") => {
                if let Some((node, beat)) = beat::read(subject, payload) {
                    self.nodes.hear(node, beat, Instant::now());
                }
            }
            Some("peer") => drop(viewers::deliver(&self.registry, subject, payload)),
            Some("swarm") => drop(viewers::note(&self.registry, subject, payload)),
            Some("ask") => drop(refill::read(payload)),
            Some("film") => drop(films::read(payload)),
            Some("back") => drop(Back::read(subject)),
            _ => drop(agreement::parse(payload)),
        }
    }

    fn check(&mut self) {
        assert!(self.nodes.len() <= NODE_LIMIT, "{} nodes", self.nodes.len());
        for (_, news) in &mut self.viewers {
            while let Some(Ok(text)) = news.next().now_or_never() {
                let message = serde_json::from_str::<FromTracker>(&text);
                let is_ours = message.map_or(true, |message| {
                    matches!(
                        message,
                        FromTracker::Welcome(_)
                            | FromTracker::Drain { .. }
                            | FromTracker::Error { .. }
                            | FromTracker::Neighbours { .. }
                    )
                });
                assert!(!is_ours, "a viewer was told {text}");
            }
        }
    }
}

/// What can be unpacked can be packed, and is the same.
fn repack(parcel: &Bytes) {
    let Some(messages) = parcel::unpack(parcel.clone()) else { return };
    let again = parcel::pack(&messages).into_iter().filter_map(parcel::unpack).flatten();
    assert!(again.eq(messages), "a parcel changes when it is packed again");
}
