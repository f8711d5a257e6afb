//! Sessions with real bytes on a small virtual network: what comes out is what was broadcast, whoever lies.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod adopted;
mod net;

use std::collections::BTreeSet;
use std::time::Duration;

use cardume_swarm::{Event, Instant, PlayerState, Session};
use cardume_wire::link::{Control, Message};
use cardume_wire::{Epoch, PROTOCOL_VERSION, PeerId};
use net::*;

/// What goes over a link from one to another, by the first byte of each message and the kind of control.
fn kinds(net: &Net, from: PeerId, to: PeerId) -> Vec<&'static str> {
    let sent = net.wire.iter().filter(|(_, sender, receiver, _)| (*sender, *receiver) == (from, to));
    let kinds = sent.map(|(.., bytes)| match Message::decode(bytes).unwrap() {
        Message::Control(Control::Hello { .. }) => "hello",
        Message::Control(Control::Status { .. }) => "status",
        Message::Control(Control::Request { .. }) => "request",
        Message::Control(_) => "control",
        Message::Catalog(_) => "catalog",
        Message::Descriptor(_) => "descriptor",
        Message::Block { .. } => "block",
        Message::Index(_) => "index",
    });
    let mut kinds: Vec<_> = kinds.collect();
    kinds.dedup();
    kinds
}

#[test]
fn the_server_sends_the_first_picture_to_who_has_said_nothing_yet() {
    let mut net = Net::new();
    net.broadcast(1);
    net.publish(0, 7);
    net.viewer(A);
    net.act(SERVER, |session, now| session.link_opened(A, now));
    assert_eq!(kinds(&net, SERVER, A), ["hello", "catalog", "descriptor", "block"]);
    let blocks = net.wire.iter().filter_map(|(_, _, to, bytes)| match Message::decode(bytes).unwrap() {
        Message::Block { payload, .. } if *to == A => Some(payload.len()),
        _ => None,
    });
    assert_eq!(blocks.sum::<usize>(), 70_000 + 3_000, "one key frame's part and its sound, and no more");
}

#[test]
fn a_first_picture_that_the_server_does_not_send_is_asked_of_the_first_neighbour_with_the_greeting() {
    let mut net = Net::new();
    net.broadcast(1);
    net.viewer(A);
    net.link(A, SERVER);
    net.publish(0, 7);
    net.viewer(B);
    net.withheld_from = Some(B);
    net.link(B, SERVER);
    net.run(Duration::from_millis(100));
    assert_eq!(net.video(B).len(), 0);
    net.link(B, A);
    assert!(kinds(&net, B, A).contains(&"request"), "{:?}", kinds(&net, B, A));
    net.run(Duration::from_millis(300));
    assert!(!net.video(B).is_empty(), "it came over the neighbour");
}

#[test]
fn the_first_picture_is_shown_standing_still_as_soon_as_it_is_whole() {
    let mut net = Net::new();
    net.broadcast(1);
    net.viewer(A);
    net.link(A, SERVER);
    net.publish(0, 1);
    assert_eq!(net.seen[&A].moved, [(Moved::Rate(0.0), 1), (Moved::To(0), 1)]);
    net.publish(1, 3);
    assert_eq!(net.seen[&A].moved.len(), 2, "once");
}

#[test]
fn a_viewer_appends_what_was_broadcast_in_order() {
    let mut net = Net::new();
    net.broadcast(1);
    net.viewer(A);
    net.link(A, SERVER);
    let published = net.publish(0, 20);
    net.run(Duration::from_millis(200));
    let video = net.video(A);
    assert_eq!(net.seen[&A].attached, [Epoch(1)]);
    assert!(video.len() >= 19, "{} parts", video.len());
    assert!(published.iter().map(Vec::as_slice).collect::<Vec<_>>().ends_with(&video[1..]));
}

#[test]
fn a_viewer_without_the_server_is_fed_by_its_neighbour() {
    let mut net = Net::new();
    net.broadcast(1);
    net.viewer(A);
    net.link(A, SERVER);
    net.viewer(B);
    net.link(A, B);
    let published = net.publish(0, 25);
    net.run(Duration::from_millis(500));
    let video = net.video(B);
    assert!(video.len() >= 15, "{} parts", video.len());
    assert!(video.iter().all(|part| published.iter().any(|whole| whole == part)));
    let stats = net.sessions[&B].stats(net.instant());
    assert!((stats.share_from_peers() - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_polluter_is_dropped_and_nothing_wrong_is_appended() {
    let mut net = Net::new();
    net.polluter = Some(A);
    net.broadcast(1);
    net.viewer(A);
    net.link(A, SERVER);
    net.viewer(B);
    net.link(A, B);
    let mut published = net.publish(0, 15);
    assert_eq!(net.seen[&B].blamed, [A]);
    assert!(net.seen[&B].disconnected.contains(&A));
    net.link(B, SERVER);
    published.extend(net.publish(15, 15));
    let video = net.video(B);
    assert!(video.len() > 5, "the server feeds it instead");
    assert!(video.iter().all(|part| published.iter().any(|whole| whole == part)));
    // It comes back and is not taken.
    net.link(A, B);
    assert!(!net.links.contains(&(B, A)));
}

/// A and B have greeted each other, and nothing is on.
fn two_that_greeted() -> Net {
    let mut net = Net::new();
    net.viewer(A);
    net.viewer(B);
    net.link(A, B);
    net.run(Duration::from_millis(50));
    net
}

#[test]
fn a_neighbour_that_talks_nonsense_is_dropped() {
    let mut net = two_that_greeted();
    net.act(B, |session, now| session.receive(A, &[4, 0xff, 0xff], now));
    assert_eq!(net.seen[&B].disconnected, [A]);
}

#[test]
fn nothing_is_taken_from_a_suspect_for_a_while_and_what_came_before_counts_more() {
    let mut net = Net::new();
    net.broadcast(1);
    for id in [A, B] {
        net.viewer(id);
    }
    net.link(A, SERVER);
    net.act(B, |session, now| session.blame(A, false, now));
    net.link(A, B);
    net.publish(0, 5);
    assert_eq!(net.video(B), [] as [&[u8]; 0]);
    net.run(Duration::from_secs(6));
    net.link(A, B);
    let published = net.publish(5, 15);
    assert_eq!(net.video(B).last(), published.last().map(Vec::as_slice).as_ref());
    net.act(B, |session, now| session.blame(A, true, now));
    let published = net.publish(20, 5);
    assert_eq!(net.video(B).last(), published.last().map(Vec::as_slice).as_ref());
}

#[test]
fn who_is_evicted_for_wrong_media_is_let_in_no_more() {
    let mut net = Net::new();
    net.broadcast(1);
    for id in [A, B] {
        net.viewer(id);
    }
    net.act(B, |session, now| session.blame(A, true, now));
    net.run(Duration::from_mins(1));
    net.link(A, B);
    net.run(Duration::from_secs(1));
    assert_eq!(net.seen[&B].disconnected, [A]);
}

#[test]
fn a_neighbour_of_another_version_is_dropped_without_blame() {
    let mut net = Net::new();
    net.viewer(B);
    net.sessions.get_mut(&B).unwrap().link_opened(A, Instant::from_micros(1_000_000));
    let hello = Message::Control(Control::Hello { version: PROTOCOL_VERSION + 1, epoch: None }).encode();
    net.viewer(A);
    net.act(B, |session, now| session.receive(A, &hello, now));
    assert_eq!(net.seen[&B].disconnected, [A]);
    assert!(net.seen[&B].blamed.is_empty());
}

#[test]
fn a_message_of_a_newer_type_is_skipped() {
    let mut net = two_that_greeted();
    net.act(B, |session, now| session.receive(A, &[200, 1, 2, 3], now));
    assert!(net.seen[&B].disconnected.is_empty());
}

#[test]
fn a_catalog_of_another_key_ends_the_link() {
    let mut net = two_that_greeted();
    net.act(B, |session, now| session.receive(A, &Message::Catalog(&[1; 200]).encode(), now));
    assert_eq!(net.seen[&B].disconnected, [A]);
    assert!(net.seen[&B].attached.is_empty());
}

#[test]
fn a_new_epoch_begins_a_new_timeline_for_all() {
    let mut net = Net::new();
    net.broadcast(1);
    net.viewer(A);
    net.link(A, SERVER);
    net.viewer(B);
    net.link(A, B);
    net.publish(0, 10);
    net.broadcast(2);
    let second = net.publish(0, 20);
    net.run(Duration::from_millis(500));
    for id in [A, B] {
        assert_eq!(net.seen[&id].attached, [Epoch(1), Epoch(2)], "{id}");
        assert!(second.iter().any(|part| net.video(id).last() == Some(&part.as_slice())), "{id}");
    }
}

#[test]
fn viewers_go_on_among_themselves_with_what_they_have_and_come_back() {
    let mut net = Net::new();
    net.broadcast(1);
    net.viewer(A);
    net.viewer(B);
    net.link(A, SERVER);
    net.link(B, SERVER);
    net.link(A, B);
    net.publish(0, 10);
    net.unlink(SERVER, A);
    net.act(SERVER, |session, now| session.link_closed(A, now));
    let published = net.publish(10, 15);
    net.run(Duration::from_millis(500));
    assert_eq!(net.video(A).last(), published.last().map(Vec::as_slice).as_ref(), "through its neighbour");
    net.link(A, SERVER);
    net.publish(25, 10);
    let provided = net.sessions[&A].stats(net.instant()).paths;
    assert!(
        provided.iter().any(|path| path.provider == SERVER),
        "the server's room is used again: {provided:?}"
    );
}

/// A feeds B, and C, which could as well, is a neighbour too.
fn fed_by_a_neighbour() -> Net {
    let mut net = Net::new();
    net.broadcast(1);
    for id in [A, B, C] {
        net.viewer(id);
    }
    net.link(A, SERVER);
    net.link(C, SERVER);
    net.link(A, B);
    net.publish(0, 15);
    net.link(B, C);
    net.publish(15, 5);
    assert!(net.providers(B).contains(&A), "{:?}", net.providers(B));
    net
}

#[test]
fn a_neighbour_that_the_tracker_lost_keeps_its_link_when_it_answers() {
    let mut net = fed_by_a_neighbour();
    net.act(B, |session, now| session.doubt(A, now));
    net.publish(20, 5);
    assert_eq!(net.seen[&B].disconnected, []);
    assert!(net.providers(B).contains(&A), "{:?}", net.providers(B));
}

#[test]
fn a_neighbour_that_the_tracker_lost_and_that_does_not_answer_is_replaced_at_once() {
    let mut net = fed_by_a_neighbour();
    net.cut(A, B);
    net.act(B, |session, now| session.doubt(A, now));
    net.run(Duration::from_millis(200));
    assert_eq!(net.seen[&B].disconnected, [A], "ten round trips, and far from the seconds of mere silence");
    let published = net.publish(20, 10);
    net.run(Duration::from_millis(500));
    assert_eq!(net.providers(B), BTreeSet::from([C]));
    assert_eq!(net.video(B).last(), published.last().map(Vec::as_slice).as_ref());
}

/// A and B are neighbours of C, and there is no tracker.
fn introduced_by_c() -> Net {
    let mut net = Net::new();
    for id in [A, B, C] {
        net.viewer(id);
    }
    net.link(A, C);
    net.link(B, C);
    net.run(Duration::from_secs(5));
    net
}

#[test]
fn without_a_tracker_neighbours_of_neighbours_find_each_other() {
    let net = introduced_by_c();
    assert!(net.links.contains(&(A, B)), "{:?}", net.links);
}

#[test]
fn who_was_introduced_by_a_neighbour_is_not_blamed_at_the_tracker() {
    let mut net = introduced_by_c();
    let forged = [2; 200];
    net.act(B, |session, now| session.receive(A, &forged, now));
    assert_eq!(net.seen[&B].disconnected, [A]);
    assert_eq!(net.seen[&B].blamed, [], "somebody may only have called himself so");
}

#[test]
fn who_leaves_says_so_and_closes() {
    let mut net = two_that_greeted();
    net.act(A, Session::leave);
    let goodbye = Message::Control(Control::Goodbye).encode();
    assert!(net.wire.iter().any(|(_, from, _, bytes)| *from == A && *bytes == goodbye));
    assert_eq!(net.seen[&A].disconnected, [B]);
}

#[test]
fn no_upload_is_no_upload() {
    let mut net = Net::new();
    net.broadcast(1);
    net.viewer(A);
    net.act(A, |session, now| session.set_uplink_limit(Some(cardume_swarm::BitsPerSec(0)), now));
    net.link(A, SERVER);
    net.viewer(B);
    net.link(A, B);
    net.publish(0, 20);
    assert!(!net.video(A).is_empty());
    assert_eq!(net.sessions[&A].stats(net.instant()).sent_len, 0);
}

#[test]
fn playback_starts_at_the_target_latency() {
    let mut net = Net::new();
    net.broadcast(1);
    net.publish(0, 20);
    net.viewer(A);
    net.link(A, SERVER);
    net.run(Duration::from_millis(100));
    let (_, first, _) = net.seen[&A].appended[0];
    let (_, last, _) = *net.seen[&A].appended.last().unwrap();
    let state = PlayerState { playhead_us: 0, buffered: vec![(first, last)], ..PlayerState::default() };
    // Media that is younger than the target latency is waited for.
    let seek = (0..10).find_map(|_| {
        net.run(Duration::from_millis(100));
        let now = net.instant();
        let session = net.sessions.get_mut(&A).unwrap();
        session.set_player(state.clone(), now);
        std::iter::from_fn(|| session.poll_event()).find_map(|event| match event {
            Event::Seek { to_us } => Some(to_us),
            _ => None,
        })
    });
    // The first part began 200 ms before it was published, at the net's first second.
    let latency = net.now - 1_000_000 + PART_MS * 1000 - seek.unwrap();
    assert!((1_750_000..=2_150_000).contains(&latency), "{latency}");
}
