//! Links that run through the server's relay: what comes over them costs the server as much as what it sends itself.

use cardume_swarm::{BitsPerSec, Config, Input, Output, Route};
use cardume_wire::link::Control;
use cardume_wire::{PeerId, Stripe};

use crate::stage::*;

/// [`A`] has room, is relayed, and is named by the server, which has no room for our home stripe.
fn sent_to_a_relayed_neighbour() -> Stage {
    let mut stage = Stage::viewer(4);
    stage.greets_with_room(A, 100);
    stage.runs(A, Route::Relayed);
    stage.hears(SERVER, Control::Refuse { stripe: home(), hints: vec![A] });
    stage
}

fn n_requests(stage: &Stage, to: PeerId) -> usize {
    let sent = stage.sent_since(0, to);
    controls(&sent).iter().filter(|control| matches!(control, Control::Request { .. })).count()
}

/// What was said of our slots last.
fn told_slots(stage: &Stage) -> Option<u16> {
    let sent = stage.sent_since(0, SERVER);
    let mut slots = controls(&sent).into_iter().filter_map(|control| match control {
        Control::Status { slots, .. } => Some(*slots),
        _ => None,
    });
    slots.next_back()
}

#[test]
fn a_relayed_neighbour_is_asked_for_nothing_while_there_is_the_server() {
    let mut stage = sent_to_a_relayed_neighbour();
    let before = stage.outputs.len();
    // The grace of who refused is over, and blocks of the stripe are missing.
    stage.stream_without(30, &|block| block.number.stripe() == home());
    stage.has_the_last_parts(A, 5);
    stage.run(2_000);
    assert_eq!(stage.n_asked_since(0, A, home()), 0);
    assert_eq!(n_requests(&stage, A), 0, "not for single blocks either");
    assert!(stage.n_asked_since(before, SERVER, home()) > 0, "the server is asked again");
}

#[test]
fn without_the_server_a_relayed_neighbour_is_better_than_nobody_until_it_is_back() {
    let mut stage = sent_to_a_relayed_neighbour();
    stage.tell(Input::LinkClosed { peer: SERVER });
    stage.run(500);
    assert_eq!(stage.n_asked_since(0, A, home()), 1);
    stage.hears(A, Control::Accept { stripe: home(), path: vec![B] });
    assert_eq!(stage.provider(home()), Some(A));
    let before = stage.outputs.len();
    stage.greets(SERVER);
    stage.run(500);
    assert_eq!(stage.n_asked_since(before, SERVER, home()), 1);
    stage.hears(SERVER, Control::Accept { stripe: home(), path: Vec::new() });
    stage.stream(2);
    assert_eq!(stage.provider(home()), Some(SERVER));
}

#[test]
fn a_link_that_becomes_direct_is_as_good_as_any() {
    let mut stage = sent_to_a_relayed_neighbour();
    stage.run(500);
    stage.runs(A, Route::Direct);
    stage.hears(SERVER, Control::Refuse { stripe: home(), hints: vec![A] });
    stage.run(500);
    assert_eq!(stage.n_asked_since(0, A, home()), 1);
}

#[test]
fn nobody_is_asked_before_it_is_known_how_the_link_runs() {
    let mut stage = Stage::viewer(4);
    stage.hears(SERVER, Control::Refuse { stripe: home(), hints: vec![A] });
    stage.opens(A);
    stage.run(500);
    assert_eq!(stage.n_asked_since(0, A, home()), 0);
    stage.runs(A, Route::Direct);
    assert_eq!(stage.n_asked_since(0, A, home()), 1, "whom we were sent to is asked at once");
}

#[test]
fn who_is_reached_by_the_relay_alone_has_room_for_nobody() {
    let mut stage = Stage::viewer(4);
    stage.stream(5);
    assert!(told_slots(&stage) > Some(0));
    stage.greets(A);
    stage.runs(A, Route::Relayed);
    stage.stream(5);
    assert_eq!(told_slots(&stage), Some(0));
    stage.greets(B);
    stage.stream(5);
    assert!(told_slots(&stage) > Some(0), "it can feed one");
}

#[test]
fn relayed_links_are_few() {
    let mut stage = Stage::viewer(4);
    let peers: Vec<PeerId> = (2..8).map(|n| PeerId::new(n * 8)).collect();
    for &peer in &peers {
        stage.greets(peer);
        stage.runs(peer, Route::Relayed);
    }
    let is_kept: Vec<bool> = peers.iter().map(|peer| stage.peer.has_link(*peer)).collect();
    assert_eq!(is_kept, [true, true, true, true, false, false], "the first are as good as the last");
    stage.tell(Input::Suggested { peers: vec![peers[4]] });
    stage.run(3_000);
    let is_tried = |output: &Output| matches!(output, Output::Connect { peer } if *peer == peers[4]);
    assert!(!stage.outputs.iter().any(|(_, output)| is_tried(output)), "its NAT stays what it is");
}

#[test]
fn a_relayed_child_gives_way_to_any_that_contributes() {
    let mut stage = Stage::viewer(4);
    let children: Vec<PeerId> = (2..8).map(|n| PeerId::new(n * 8)).collect();
    for &child in &children {
        stage.greets(child);
        stage.subscribes(child, home(), 4);
        stage.stream(10);
    }
    let fed: Vec<PeerId> = children.iter().copied().filter(|child| stage.is_fed(*child, home())).collect();
    assert!(fed.len() < children.len(), "the uplink is full");
    let mut stage = Stage::viewer(4);
    for (index, &child) in children[..fed.len()].iter().enumerate() {
        stage.greets(child);
        if index == 1 {
            stage.runs(child, Route::Relayed);
        }
        stage.subscribes(child, home(), 4);
        stage.stream(10);
    }
    let newcomer = PeerId::new(17);
    stage.greets(newcomer);
    stage.subscribes(newcomer, home(), 4);
    let answers: Vec<bool> = children[..fed.len()].iter().map(|child| stage.is_fed(*child, home())).collect();
    assert!(stage.is_fed(newcomer, home()) && !answers[1], "{answers:?}");
    assert_eq!(answers.iter().filter(|is_fed| !**is_fed).count(), 1);
}

#[test]
fn who_is_full_lets_a_relayed_neighbour_go_first() {
    let uplink_guess = Some(BitsPerSec(10_000_000));
    let mut stage = Stage::new(Config { uplink_guess, neighbour_limit: 3, ..Config::viewer(SELF) });
    let peers: Vec<PeerId> = (2..6).map(|n| PeerId::new(n * 8)).collect();
    for &peer in &peers[..3] {
        stage.greets(peer);
        stage.run(1_000);
    }
    stage.runs(peers[1], Route::Relayed);
    stage.run(6_000);
    stage.greets(peers[3]);
    let is_kept: Vec<bool> = peers.iter().map(|peer| stage.peer.has_link(*peer)).collect();
    assert_eq!(is_kept, [true, false, true, true]);
    assert!(Stripe::all().all(|stripe| stage.provider(stripe).is_none()), "nobody has anything");
}
