//! Going down: everybody is told, and it does not take long.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use cardume::channel::BroadcastError;
use cardume_system_tests::{LinkViewer, SignalClient, Stream, TestTracker, cut_part, tracks, within};
use cardume_wire::signal::{FromTracker, FromViewer};
use tokio::net::TcpStream;

/// RFC 6455, section 7.4: the service is restarting.
const SERVICE_RESTART: u16 = 1012;

#[tokio::test]
async fn viewers_senders_and_readers_are_told_and_nothing_hangs() {
    let (tracker, _directory) = TestTracker::start("").await;
    let address = tracker.http();
    let (mut viewer, viewer_welcome) = SignalClient::join(address, "live").await;
    let (mut other, welcome) = SignalClient::join(address, "live").await;
    other.say(&FromViewer::Offer { to: viewer_welcome.peer_id, sdp: String::new() }).await;
    assert!(matches!(viewer.hear().await, FromTracker::Offer { .. }));
    let mut link = LinkViewer::over(other, &welcome);
    let mut events = Stream::open(address, "/v1/channels/events").await;
    events.read_until("data:").await;
    let channel = tracker.channel("live");
    let mut broadcast = channel.broadcast(tracks()).unwrap();
    broadcast.publish(cut_part(0, 1000)).await.unwrap();
    link.watch_until("the catalog", |link| link.attached.len() == 1).await;

    let shutdown = tokio::spawn(tracker.tracker.shutdown());
    let reconnect_within_ms = loop {
        match viewer.hear_any().await {
            FromTracker::Drain { reconnect_within_ms } => break reconnect_within_ms,
            FromTracker::Channel { .. } => {}
            other => panic!("no drain but {other:?}"),
        }
    };
    assert!((1..=10_000).contains(&reconnect_within_ms));
    assert_eq!(viewer.hear_close().await, Some(SERVICE_RESTART));
    link.watch_until("the end of the link", |link| link.is_closed).await;
    events.read_to_end().await;
    drop(viewer);
    drop(link);
    assert!(within("the shutdown", shutdown).await.unwrap(), "nothing had to be cut off");
    assert_eq!(broadcast.publish(cut_part(1, 1000)).await, Err(BroadcastError::ShuttingDown));
    assert!(!channel.is_live());
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn every_viewer_is_told_to_come_back_though_its_link_ends_too() {
    let (tracker, _directory) = TestTracker::start("").await;
    let mut viewers = Vec::new();
    for _ in 0..16 {
        let (viewer, welcome) = SignalClient::join(tracker.http(), "live").await;
        assert!(welcome.is_linked);
        viewers.push(viewer);
    }
    let shutdown = tokio::spawn(tracker.tracker.shutdown());
    for mut viewer in viewers {
        loop {
            match viewer.hear_any().await {
                FromTracker::Drain { .. } => break,
                FromTracker::Channel { .. } => {}
                other => panic!("no drain but {other:?}"),
            }
        }
        assert_eq!(viewer.hear_close().await, Some(SERVICE_RESTART));
    }
    assert!(within("the shutdown", shutdown).await.unwrap());
}
