//! One network address has only so many places.
//!
//! All viewers of a test come from the loopback address, which is not limited: the routes are told of another one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::ConnectInfo;
use cardume::channel::{ChannelSetup, Channels, Programme};
use cardume::door::Door;
use cardume::egress::{EgressBudget, Readers, Relayed};
use cardume::http::{self, Addresses, Entrance, Http, Port};
use cardume::metrics::Refusals;
use cardume::places::Places;
use cardume::rate::RateLimit;
use cardume::relay::IceServers;
use cardume::server_peer::{Common, ServerPeers, Ties};
use cardume::signal::{Registry, Signalling};
use cardume::site::Site;
use cardume::store::Store;
use cardume::token::Tokens;
use cardume_media::SigningKey;
use cardume_system_tests::{SignalClient, refused_upgrade, within};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Serves all routes of a tracker to viewers that seem to come from this address, two sockets at most.
async fn serve_to(address: &str, store: &Arc<Store>) -> SocketAddr {
    let setup = ChannelSetup {
        id: "live".parse().unwrap(),
        title: "Live".to_owned(),
        programme: Programme::Live { stream_key: "secret-key".to_owned() },
        target_latency: std::time::Duration::from_secs(2),
        signing_key: SigningKey::from_seed([1; 32]),
    };
    let (channels, ends) = Channels::new(vec![setup]);
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let budget = Arc::new(EgressBudget::new(RateLimit::UNLIMITED));
    let registry = Arc::new(Registry::new(&channels, 10, 1, None));
    let common = Common {
        store: Arc::clone(store),
        budget: Arc::clone(&budget),
        link_limit: 10,
        stop: stop.clone(),
        tasks: tasks.clone(),
    };
    let servers = ServerPeers::default();
    for end in ends {
        let banned = registry.evicted(end.channel().id());
        let (doubted, _) = mpsc::channel(1);
        servers.start(end, Ties { banned, doubted, outlet: None }, &common).unwrap();
    }
    let routes = http::router(Http {
        cluster: None,
        films: None,
        channels,
        signalling: Signalling {
            registry,
            tokens: Tokens::new([2; 32]),
            ice_servers: IceServers::default(),
            stop: stop.clone(),
        },
        servers: Arc::new(servers),
        relayed: Relayed::new(Arc::clone(&budget)),
        readers: Readers::new(budget),
        announces: None,
        door: Door::default(),
        refusals: Refusals::default(),
        connections: Places::new(100),
        encoders: Places::new(1),
        viewers: Addresses::new(2),
        rtmp_port: 0,
        site: Site::embedded(),
        stop: stop.clone(),
        tasks: tasks.clone(),
    });
    let seen_as = SocketAddr::new(address.parse().unwrap(), 1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let routes = routes.layer(Extension(ConnectInfo(seen_as)));
    let entrance = Entrance::new(100, 2, Door::default(), Refusals::default());
    tokio::spawn(http::serve(Port { listener, tls: None }, routes, entrance, stop, tasks));
    here
}

#[tokio::test]
async fn one_address_has_only_so_many_sockets_until_some_close() {
    let directory = tempfile::tempdir().unwrap();
    let tracker = serve_to("198.51.100.7", &Arc::new(Store::open(directory.path()).unwrap())).await;
    let (_first, _) = SignalClient::join(tracker, "live").await;
    let (second, _) = SignalClient::join(tracker, "live").await;
    let (status, body) = refused_upgrade(tracker, &SignalClient::wish("live", None).address()).await;
    assert_eq!((status, body.contains("too many")), (429, true), "{body}");

    drop(second);
    // The place is free when the tracker has seen the socket close.
    let joining = async {
        while !try_join(tracker).await {
            tokio::task::yield_now().await;
        }
    };
    Box::pin(within("a free place", joining)).await;
}

async fn try_join(tracker: SocketAddr) -> bool {
    tokio_tungstenite::connect_async(format!("ws://{tracker}{}", SignalClient::wish("live", None).address()))
        .await
        .is_ok()
}

#[tokio::test]
async fn a_proxy_beside_the_tracker_brings_as_many_as_come() {
    let directory = tempfile::tempdir().unwrap();
    let tracker = serve_to("10.0.0.1", &Arc::new(Store::open(directory.path()).unwrap())).await;
    let mut viewers = Vec::new();
    for _ in 0..5 {
        viewers.push(SignalClient::join(tracker, "live").await);
    }
    assert_eq!(viewers.len(), 5);
}
