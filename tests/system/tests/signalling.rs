//! Viewers introduce themselves and each other over real WebSockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use cardume_system_tests::{SignalClient, TestTracker, get, refused_upgrade, tracks};
use cardume_wire::signal::{ErrorCode, FromTracker, FromViewer, Join, MESSAGE_LEN_LIMIT, SIGNAL_PATH};
use cardume_wire::{PROTOCOL_VERSION, PeerId};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn two_viewers_exchange_offer_answer_and_candidates() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (mut first, first_welcome) = SignalClient::join(tracker.http(), "live").await;
    let (mut second, second_welcome) = SignalClient::join(tracker.http(), "live").await;
    let (first_id, second_id) = (first_welcome.peer_id, second_welcome.peer_id);
    assert_eq!(first_welcome.neighbours, [], "nobody was there");
    assert_eq!(second_welcome.neighbours, [first_id], "only the joiner is told, so only the joiner offers");

    second.say(&FromViewer::Offer { to: first_id, sdp: "v=0 offer".to_owned() }).await;
    assert_eq!(first.hear().await, FromTracker::Offer { from: second_id, sdp: "v=0 offer".to_owned() });
    first.say(&FromViewer::Answer { to: second_id, sdp: "v=0 answer".to_owned() }).await;
    assert_eq!(second.hear().await, FromTracker::Answer { from: first_id, sdp: "v=0 answer".to_owned() });
    let (candidate, expected) = SignalClient::candidate(first_id);
    first.say(&FromViewer::Candidate { to: second_id, candidate }).await;
    assert_eq!(second.hear().await, expected);
}

#[tokio::test]
async fn a_message_to_a_peer_that_is_not_here_is_answered_gone() {
    let (tracker, _directory) = TestTracker::start("[[channel]]\nid = \"a\"\n[[channel]]\nid = \"b\"").await;
    let (mut here, _) = SignalClient::join(tracker.http(), "a").await;
    let (_elsewhere, welcome) = SignalClient::join(tracker.http(), "b").await;
    for to in [PeerId::new(1234), PeerId::SERVER, welcome.peer_id] {
        here.say(&FromViewer::Offer { to, sdp: String::new() }).await;
        assert_eq!(here.hear().await, FromTracker::Gone { peer: to });
    }
}

#[tokio::test]
async fn those_to_whom_a_lost_viewer_offered_or_answered_are_told_and_nobody_else() {
    for says_goodbye in [false, true] {
        let (tracker, _directory) = TestTracker::start("").await;
        let (mut offered, offered_welcome) = SignalClient::join(tracker.http(), "live").await;
        let (mut lost, lost_welcome) = SignalClient::join(tracker.http(), "live").await;
        let (mut answered, answered_welcome) = SignalClient::join(tracker.http(), "live").await;
        let (mut stranger, stranger_welcome) = SignalClient::join(tracker.http(), "live").await;
        let (id, sdp) = (lost_welcome.peer_id, String::new());
        lost.say(&FromViewer::Offer { to: offered_welcome.peer_id, sdp: sdp.clone() }).await;
        assert_eq!(offered.hear().await, FromTracker::Offer { from: id, sdp: sdp.clone() });
        lost.say(&FromViewer::Answer { to: answered_welcome.peer_id, sdp: sdp.clone() }).await;
        assert_eq!(answered.hear().await, FromTracker::Answer { from: id, sdp: sdp.clone() });

        if says_goodbye {
            lost.say(&FromViewer::Leave).await;
        }
        drop(lost);
        assert_eq!(offered.hear().await, FromTracker::Lost { peer: id });
        assert_eq!(answered.hear().await, FromTracker::Lost { peer: id });
        // What others tell a viewer comes in order, so nothing was told before this.
        offered.say(&FromViewer::Offer { to: stranger_welcome.peer_id, sdp: sdp.clone() }).await;
        assert_eq!(stranger.hear().await, FromTracker::Offer { from: offered_welcome.peer_id, sdp });
    }
}

#[tokio::test]
async fn a_viewer_is_told_when_its_channel_goes_on_and_off_air() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (mut viewer, welcome) = SignalClient::join(tracker.http(), "live").await;
    assert!(!welcome.channel.is_live);
    let broadcast = tracker.channel("live").broadcast(tracks()).unwrap();
    hear_live(&mut viewer, true).await;
    drop(broadcast);
    hear_live(&mut viewer, false).await;
}

async fn hear_live(viewer: &mut SignalClient, expected: bool) {
    loop {
        if let FromTracker::Channel { channel } = viewer.hear_any().await
            && channel.is_live == expected
        {
            return;
        }
    }
}

#[tokio::test]
async fn a_viewer_keeps_its_id_across_a_restart_of_the_tracker() {
    let directory = tempfile::tempdir().unwrap();
    let tracker = TestTracker::start_in(directory.path(), "").await;
    let (viewer, before) = SignalClient::join(tracker.http(), "live").await;
    drop(viewer);
    assert!(tracker.tracker.shutdown().await);

    let tracker = TestTracker::start_in(directory.path(), "").await;
    let (_viewer, after) =
        SignalClient::join_again(tracker.http(), "live", Some(before.resume.clone())).await;
    assert_eq!(after.peer_id, before.peer_id);
    assert_eq!(after.channel.public_key, before.channel.public_key, "the channel is the same as well");
}

#[tokio::test]
async fn a_token_of_another_channel_gives_a_new_id() {
    let (tracker, _directory) = TestTracker::start("[[channel]]\nid = \"a\"\n[[channel]]\nid = \"b\"").await;
    let (_first, welcome) = SignalClient::join(tracker.http(), "a").await;
    let (_second, other) = SignalClient::join_again(tracker.http(), "b", Some(welcome.resume.clone())).await;
    assert_ne!(other.peer_id, welcome.peer_id);
}

#[tokio::test]
async fn a_resumed_viewer_replaces_its_older_socket_and_is_counted_once() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (mut old, welcome) = SignalClient::join(tracker.http(), "live").await;
    let (_new, again) = SignalClient::join_again(tracker.http(), "live", Some(welcome.resume.clone())).await;
    assert_eq!(again.peer_id, welcome.peer_id);
    assert!(old.hear_close().await.is_some());
    assert_eq!(get(tracker.http(), "/v1/channels/live").await.json()["n_viewers"], 1);
}

#[tokio::test]
async fn more_neighbours_are_others_than_those_named() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (mut viewer, _) = SignalClient::join(tracker.http(), "live").await;
    let (_second, second) = SignalClient::join(tracker.http(), "live").await;
    let (_third, third) = SignalClient::join(tracker.http(), "live").await;
    viewer.say(&FromViewer::Neighbours { without: vec![second.peer_id] }).await;
    assert_eq!(viewer.hear().await, FromTracker::Neighbours { neighbours: vec![third.peer_id] });
    viewer.say(&FromViewer::Neighbours { without: vec![second.peer_id; 17] }).await;
    viewer.hear_error(ErrorCode::TooLarge).await;
}

#[tokio::test]
async fn the_clock_is_told_with_the_question() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (mut viewer, _) = SignalClient::join(tracker.http(), "live").await;
    let before = cardume::clock::wall_time();
    viewer.say(&FromViewer::Clock { sent_at: 77 }).await;
    let FromTracker::Clock { sent_at: 77, time } = viewer.hear().await else { panic!("no clock") };
    assert!(before <= time && time <= cardume::clock::wall_time());
}

#[tokio::test]
async fn bad_messages_are_answered_by_what_is_wrong_and_the_talk_goes_on() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (mut viewer, _) = SignalClient::join(tracker.http(), "live").await;
    let cases = [
        ("not json", ErrorCode::Malformed),
        ("{}", ErrorCode::Malformed),
        (r#"{"type":"offer","to":"xyz","sdp":""}"#, ErrorCode::Malformed),
        (r#"{"type":"offer","sdp":""}"#, ErrorCode::Malformed),
        (r#"{"type":"sing","song":"la"}"#, ErrorCode::UnknownType),
        (r#"{"type":"join","version":1,"channel":"live"}"#, ErrorCode::UnknownType),
    ];
    for (text, code) in cases {
        viewer.say_text(text).await;
        let message = viewer.hear_error(code).await;
        assert!(!message.is_empty(), "{text}");
    }
    let unknown_fields = r#"{"type":"clock","sent_at":1,"colour":"blue"}"#;
    viewer.say_text(unknown_fields).await;
    assert!(matches!(viewer.hear().await, FromTracker::Clock { sent_at: 1, .. }));
}

#[tokio::test]
async fn an_oversized_message_is_refused_by_name_and_ends_the_talk() {
    let (tracker, _directory) = TestTracker::start("").await;
    for len in [MESSAGE_LEN_LIMIT + 1, 10 * MESSAGE_LEN_LIMIT] {
        let (mut viewer, _) = SignalClient::join(tracker.http(), "live").await;
        viewer.say_text(&" ".repeat(len)).await;
        let message = viewer.hear_error(ErrorCode::TooLarge).await;
        assert!(message.contains("16384"), "{message}");
        viewer.hear_close().await;
    }
}

#[tokio::test]
async fn who_asks_for_what_there_is_not_is_told_why() {
    let (tracker, _directory) = TestTracker::start("").await;
    let mut stranger = SignalClient::ask(tracker.http(), &SignalClient::wish("nowhere", None)).await;
    assert!(stranger.hear_error(ErrorCode::UnknownChannel).await.contains("nowhere"));
    stranger.hear_close().await;

    let join = Join { version: PROTOCOL_VERSION + 1, ..SignalClient::wish("live", None) };
    let mut stranger = SignalClient::ask(tracker.http(), &join).await;
    stranger.hear_error(ErrorCode::Version).await;
    stranger.hear_close().await;
}

#[tokio::test]
async fn an_address_that_is_no_join_is_refused_by_name() {
    let (tracker, _directory) = TestTracker::start("").await;
    for query in
        ["", "?version=2", "?channel=live", "?version=2&channel=Not%20A%20Channel", "?version=x&channel=live"]
    {
        let (status, body) = refused_upgrade(tracker.http(), &format!("{SIGNAL_PATH}{query}")).await;
        assert_eq!((status, body.contains("version")), (400, true), "{query}: {body}");
    }
}

#[tokio::test]
async fn a_forged_token_gives_a_new_id() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (_viewer, welcome) = SignalClient::join(tracker.http(), "live").await;
    let mut forged = welcome.resume.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(last);
    for token in [forged, "AAAA".to_owned(), String::new(), "x".repeat(5_000)] {
        let (_other, other) = SignalClient::join_again(tracker.http(), "live", Some(token)).await;
        assert_ne!(other.peer_id, welcome.peer_id);
    }
}

#[tokio::test]
async fn a_full_channel_takes_nobody_but_those_who_come_back() {
    let (tracker, _directory) = TestTracker::start("viewer_limit = 1").await;
    let (_viewer, welcome) = SignalClient::join(tracker.http(), "live").await;
    let mut late = SignalClient::ask(tracker.http(), &SignalClient::wish("live", None)).await;
    late.hear_error(ErrorCode::TooMany).await;
    let (_back, again) = SignalClient::join_again(tracker.http(), "live", Some(welcome.resume.clone())).await;
    assert_eq!(again.peer_id, welcome.peer_id);
}

#[tokio::test]
async fn a_flood_ends_the_talk() {
    let (tracker, _directory) = TestTracker::start("").await;
    let (mut viewer, _) = SignalClient::join(tracker.http(), "live").await;
    let report = serde_json::to_string(&FromViewer::Report(cardume_wire::signal::Report::default())).unwrap();
    // The limits are a burst of 500 and 50 a second; sending may fail once the tracker has closed.
    for _ in 0..2000 {
        if viewer.send(Message::text(report.clone())).await.is_err() {
            break;
        }
    }
    viewer.hear_error(ErrorCode::TooMany).await;
    viewer.hear_close().await;
}
