//! Pages and API as other programs see them.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use cardume::channel::BroadcastError;
use cardume_system_tests::{SignalClient, Stream, TestTracker, get, tracks, try_get, within};

const CHANNELS: &str = "[[channel]]\nid = \"news\"\ntitle = \"The news\"\n[[channel]]\nid = \"sport\"\n";

#[tokio::test]
async fn the_list_names_every_channel_and_whether_it_is_on_air() {
    let (tracker, _directory) = TestTracker::start(CHANNELS).await;
    let list = get(tracker.http(), "/v1/channels").await;
    assert!(list.head.contains("access-control-allow-origin: *"), "{}", list.head);
    let channels = list.json()["channels"].clone();
    let of = |index: usize, key: &str| channels[index][key].clone();
    assert_eq!((of(0, "id"), of(0, "title")), ("news".into(), "The news".into()));
    assert_eq!((of(1, "id"), of(1, "is_live"), of(1, "n_viewers")), ("sport".into(), false.into(), 0.into()));
    assert_eq!(of(0, "public_key").as_str().unwrap().len(), 64);
    assert_ne!(of(0, "public_key"), of(1, "public_key"));
}

#[tokio::test]
async fn the_event_stream_tells_of_viewers_and_broadcasts() {
    let (tracker, _directory) = TestTracker::start("").await;
    let mut events = Stream::open(tracker.http(), "/v1/channels/events").await;
    events.read_until("content-type: text/event-stream").await;
    events.read_until("\"is_live\":false,\"n_viewers\":0").await;
    let (_viewer, _) = SignalClient::join(tracker.http(), "live").await;
    events.read_until("\"is_live\":false,\"n_viewers\":1").await;
    let _broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    events.read_until("\"is_live\":true,\"n_viewers\":1").await;
}

#[tokio::test]
async fn health_says_how_much_is_on_air() {
    let (tracker, _directory) = TestTracker::start(CHANNELS).await;
    let health = get(tracker.http(), "/healthz").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &"ok".into()));
    assert_eq!((&health.json()["n_channels"], &health.json()["n_live"]), (&2.into(), &0.into()));
}

#[tokio::test]
async fn unknown_addresses_are_answered_in_the_asker_s_language() {
    let (tracker, _directory) = TestTracker::start("").await;
    for path in ["/v1/channels/nowhere", "/v1/channels/No%20Id/stats", "/v1/what", "/v1"] {
        let reply = get(tracker.http(), path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.json()["error"].is_string(), "{path}: {}", reply.body);
    }
    let page = get(tracker.http(), "/no/such/page").await;
    assert_eq!(page.status, 404);
    assert!(page.head.contains("content-type: text/html") && page.body.contains("nothing here"));
    assert_eq!(get(tracker.http(), "/v1/signal").await.status, 400, "not a WebSocket");
}

#[tokio::test]
async fn the_front_page_is_a_page_whether_or_not_the_site_is_built_in() {
    let (tracker, _directory) = TestTracker::start("").await;
    let page = get(tracker.http(), "/").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html"), "{}", page.head);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away_until_one_closes() {
    let (tracker, _directory) = TestTracker::start("connection_limit = 1").await;
    let (mut viewer, _) = SignalClient::join(tracker.http(), "live").await;
    let refused = tokio::net::TcpStream::connect(tracker.http()).await.unwrap();
    let mut byte = [0];
    let closed = tokio::io::AsyncReadExt::read(&mut { refused }, &mut byte).await;
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    viewer.say(&cardume_wire::signal::FromViewer::Leave).await;
    viewer.hear_close().await;
    drop(viewer);
    // The slot is free when the tracker has seen the socket close; until then it turns us away.
    let reply = within("a free slot", async {
        loop {
            if let Some(reply) = try_get(tracker.http(), "/healthz").await {
                return reply;
            }
        }
    });
    assert_eq!(reply.await.status, 200);
}

#[tokio::test]
async fn a_second_sender_is_refused_until_the_first_has_gone() {
    let (tracker, _directory) = TestTracker::start("").await;
    let channel = tracker.channel("live");
    let first = channel.broadcast(tracks()).unwrap();
    let refusal = channel.reserve().unwrap_err();
    assert_eq!(refusal, BroadcastError::Busy);
    assert!(refusal.to_string().contains("somebody is sending"), "{refusal}");
    drop(first);
    channel.broadcast(tracks()).unwrap();
}

#[tokio::test]
async fn tracks_that_make_no_catalog_are_refused_at_the_door() {
    let (tracker, _directory) = TestTracker::start("").await;
    let channel = tracker.channel("live");
    assert!(matches!(channel.broadcast(Vec::new()), Err(BroadcastError::Tracks(_))));
    let mut tracks = tracks();
    tracks[0].timescale = 0;
    assert!(matches!(channel.broadcast(tracks), Err(BroadcastError::Tracks(_))));
}
