//! The server peer's links: who may have one, and what travels over it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use cardume_system_tests::{
    LinkViewer, PART_DURATION, SignalClient, TestTracker, cut_part, get, media_of, tracks, within,
};
use cardume_wire::link::{self, Control};
use cardume_wire::signal::{FromTracker, FromViewer};
use tokio_tungstenite::tungstenite::Message;

/// Five parts a second of this size are 1 Mbit/s.
const PART_LEN: usize = 25_000;

#[tokio::test]
async fn the_server_speaks_first_and_the_first_picture_comes_unasked() {
    let (tracker, _directory) = TestTracker::start("").await;
    let mut broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    broadcast.publish(cut_part(0, PART_LEN)).await.unwrap();
    // Publishing only queues: the part is there when somebody has got it.
    let (signal, welcome) = SignalClient::join(tracker.http(), "live").await;
    let mut earlier = LinkViewer::over(signal, &welcome);
    earlier.watch_until("the first part", |viewer| !viewer.appended.is_empty()).await;
    let (mut signal, welcome) = SignalClient::join(tracker.http(), "live").await;
    assert!(welcome.is_linked);
    let mut said = Vec::new();
    let mut media_len = 0;
    while media_len < PART_LEN {
        let bytes = signal.hear_server().await;
        said.push(match link::Message::decode(&bytes).unwrap() {
            link::Message::Control(Control::Hello { .. }) => "hello",
            link::Message::Control(_) => "control",
            link::Message::Catalog(_) => "catalog",
            link::Message::Descriptor(_) => "descriptor",
            link::Message::Index(_) => "index",
            link::Message::Block { payload, .. } => {
                media_len += payload.len();
                "block"
            }
        });
    }
    said.dedup();
    assert_eq!(said, ["hello", "catalog", "descriptor", "block"]);
}

#[tokio::test]
async fn signalling_goes_on_beside_media() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (mut signal, welcome) = SignalClient::join(tracker.http(), "live").await;
    let (mut other, other_welcome) = SignalClient::join(tracker.http(), "live").await;
    other.say(&FromViewer::Offer { to: welcome.peer_id, sdp: "v=0".to_owned() }).await;
    let offer = FromTracker::Offer { from: other_welcome.peer_id, sdp: "v=0".to_owned() };
    assert_eq!(signal.hear().await, offer);
    signal.say(&FromViewer::Offer { to: other_welcome.peer_id, sdp: String::new() }).await;
    let mut viewer = LinkViewer::over(other, &other_welcome);
    let _broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    viewer.watch_until("the catalog", |viewer| viewer.attached.len() == 1).await;
    let answered =
        |viewer: &LinkViewer| viewer.told.iter().any(|said| matches!(said, FromTracker::Offer { .. }));
    viewer.watch_until("the offer", answered).await;
}

#[tokio::test]
async fn what_is_published_arrives_whole_and_in_order() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (signal, welcome) = SignalClient::join(tracker.http(), "live").await;
    let mut viewer = LinkViewer::over(signal, &welcome);
    let mut broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    let sender = tokio::spawn(async move {
        let mut beat = tokio::time::interval(PART_DURATION);
        for index in 0.. {
            beat.tick().await;
            if broadcast.publish(cut_part(index, PART_LEN)).await.is_err() {
                break;
            }
        }
    });
    viewer.watch_until("two seconds of media", |viewer| viewer.appended.len() >= 10).await;
    sender.abort();

    assert_eq!(viewer.attached.len(), 1);
    assert_eq!(viewer.attached[0].tracks(), tracks());
    let part_us = u64::try_from(PART_DURATION.as_micros()).unwrap();
    let first = viewer.appended[0].0 / part_us;
    for (index, (start_us, bytes)) in (first..).zip(&viewer.appended) {
        assert_eq!(*start_us, index * part_us);
        assert_eq!(*bytes, media_of(u32::try_from(index).unwrap(), PART_LEN));
    }
}

#[tokio::test]
async fn a_new_broadcast_is_a_new_epoch_for_those_who_stayed() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (signal, welcome) = SignalClient::join(tracker.http(), "live").await;
    let mut viewer = LinkViewer::over(signal, &welcome);
    let first = tracker.channel("live").broadcast(tracks()).unwrap();
    viewer.watch_until("the first catalog", |viewer| viewer.attached.len() == 1).await;
    drop(first);
    let _second = tracker.channel("live").broadcast(tracks()).unwrap();
    viewer.watch_until("the second catalog", |viewer| viewer.attached.len() == 2).await;
    assert!(viewer.attached[1].epoch() > viewer.attached[0].epoch());
}

#[tokio::test]
async fn a_peer_that_comes_back_is_linked_anew_and_loses_its_older_socket() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (signal, welcome) = SignalClient::join(tracker.http(), "live").await;
    let mut first = LinkViewer::over(signal, &welcome);
    let (signal, again) =
        SignalClient::join_again(tracker.http(), "live", Some(welcome.resume.clone())).await;
    assert_eq!(again.peer_id, welcome.peer_id);
    let mut second = LinkViewer::over(signal, &again);
    first.watch_until("the end of the first link", |viewer| viewer.is_closed).await;
    let _broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    second.watch_until("the catalog on the second", |viewer| viewer.attached.len() == 1).await;
}

#[tokio::test]
async fn a_peer_that_its_neighbours_blame_loses_the_server_as_well() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (mut polluter, welcome) = SignalClient::join(tracker.http(), "live").await;
    let mut accusers = Vec::new();
    for _ in 0..2 {
        let (mut accuser, accuser_welcome) = SignalClient::join(tracker.http(), "live").await;
        let offer = FromViewer::Offer { to: accuser_welcome.peer_id, sdp: String::new() };
        polluter.say(&offer).await;
        assert!(matches!(accuser.hear().await, FromTracker::Offer { .. }));
        accusers.push((accuser, accuser_welcome));
    }
    for (accuser, _) in &mut accusers {
        accuser.say(&FromViewer::Blame { peer: welcome.peer_id }).await;
    }
    let mut polluter = LinkViewer::over(polluter, &welcome);
    polluter.watch_until("the end of the polluter's socket", |viewer| viewer.is_closed).await;
    let (_polluter, again) = SignalClient::join_again(tracker.http(), "live", Some(welcome.resume)).await;
    assert!(!again.is_linked && again.neighbours.is_empty(), "{again:?}");
    let (accuser, accuser_welcome) = accusers.remove(0);
    let mut accuser = LinkViewer::over(accuser, &accuser_welcome);
    let _broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    accuser.watch_until("the catalog at an accuser", |viewer| viewer.attached.len() == 1).await;
}

#[tokio::test]
async fn bad_messages_end_only_the_socket_they_came_over() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (other_signal, other_welcome) = SignalClient::join(tracker.http(), "live").await;
    let mut other = LinkViewer::over(other_signal, &other_welcome);
    for message in [Message::binary(vec![4, 255]), Message::binary(vec![4; link::MESSAGE_LEN_LIMIT + 1])] {
        let (signal, welcome) = SignalClient::join(tracker.http(), "live").await;
        let mut viewer = LinkViewer::over(signal, &welcome);
        viewer.send_raw(message).await;
        viewer.watch_until("the end of the link", |viewer| viewer.is_closed).await;
    }
    let _broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    other.watch_until("the catalog on the other link", |viewer| viewer.attached.len() == 1).await;
}

#[tokio::test]
async fn the_egress_budget_holds_when_more_viewers_want_more() {
    // 1 Mbit/s of media for four viewers who cannot reach each other, over 2.5 Mbit/s.
    let budget = 2_500_000;
    let (tracker, _directory) = TestTracker::start("egress_limit = \"2500 kbit/s\"").await;
    let mut viewers = Vec::new();
    for _ in 0..4 {
        let (signal, welcome) = SignalClient::join(tracker.http(), "live").await;
        let mut viewer = LinkViewer::over(signal, &welcome);
        viewers.push(tokio::spawn(async move {
            // Ends with the broadcast's last part or with the test.
            viewer.watch_until("the whole broadcast", |viewer| viewer.appended.len() >= 1000).await;
        }));
    }
    let mut broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    let mut beat = tokio::time::interval(PART_DURATION);
    for index in 0..25 {
        beat.tick().await;
        broadcast.publish(cut_part(index, PART_LEN)).await.unwrap();
    }
    let stats = within("statistics", get(tracker.http(), "/v1/channels/live/stats")).await.json();
    viewers.iter().for_each(tokio::task::JoinHandle::abort);
    let max = stats["egress"]["max_bits_per_second"].as_u64().unwrap();
    let total = stats["egress"]["total_len"].as_u64().unwrap();
    assert_eq!(stats["budget_bits_per_second"], budget);
    assert_eq!(stats["n_links"], 4);
    assert!(max <= budget, "{max} bit/s in the busiest second; the budget is {budget}");
    // Not because nothing flows: five seconds of at least one copy.
    assert!(total > 5 * 1_000_000 / 8, "{total} bytes in all");
}

#[tokio::test]
async fn a_channel_that_nobody_sends_to_sends_no_media() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (signal, welcome) = SignalClient::join(tracker.http(), "live").await;
    assert!(!welcome.channel.is_live);
    let _viewer = LinkViewer::over(signal, &welcome);
    let stats = within("statistics", get(tracker.http(), "/v1/channels/live/stats")).await.json();
    assert_eq!((&stats["sent_len"], &stats["n_parts"]), (&0.into(), &0.into()));
}
