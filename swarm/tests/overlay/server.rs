//! The server: its budget, whom it links itself to, whom it lets rest, and what it answers.

use core::time::Duration;

use cardume_swarm::{Config, Input, Instant, Outgoing, Output};
use cardume_wire::link::{Control, Message};
use cardume_wire::{PeerId, STRIPE_COUNT, Stripe};

use crate::stage::*;

/// Bytes of a message on its way, with the frame that the budget counts.
fn len_of(message: &Outgoing) -> usize {
    let frame = 32;
    frame
        + match message {
            Outgoing::Catalog => CATALOG_LEN,
            Outgoing::Descriptor(_) => DESCRIPTOR_LEN,
            Outgoing::Block(block) => {
                part(block.number.0 / u32::from(STRIPE_COUNT)).message_len(block.number)
            }
            Outgoing::Control(control) => Message::Control(control.clone()).encode().len(),
            Outgoing::Index(_) => 0,
        }
}

#[test]
fn no_second_of_a_servers_egress_exceeds_its_budget_however_many_ask() {
    const BUDGET: u64 = 3_000_000;
    let mut stage = Stage::server(BUDGET);
    stage.stream(10);
    for n in 1..40 {
        let viewer = PeerId::new(n);
        stage.greets(viewer);
        for stripe in Stripe::all() {
            stage.subscribes(viewer, stripe, u16::try_from(n % 5).expect("small"));
        }
        stage.stream(1);
        let blocks = part(stage.n_parts - 1).blocks().collect();
        stage.hears(viewer, Control::Request { blocks, within_ms: None });
    }
    stage.stream(10);
    let sent: Vec<(Instant, usize)> = stage
        .outputs
        .iter()
        .filter_map(|(at, output)| match output {
            Output::Send { message, .. } => Some((*at, len_of(message))),
            _ => None,
        })
        .collect();
    let seconds = sent.iter().map(|(from, _)| {
        let within = sent.iter().filter(|(at, _)| at >= from && at.since(*from) < Duration::from_secs(1));
        within.map(|(_, len)| *len as u64 * 8).sum::<u64>()
    });
    let busiest = seconds.max().expect("something was sent");
    assert!(busiest <= BUDGET, "{busiest} bits in a second");
    assert!(busiest > BUDGET / 2, "and it is used: {busiest}");
}

/// How many viewers the server links itself to, one each so many milliseconds.
fn n_linked(stage: &mut Stage, interval: u64) -> usize {
    let mut viewers = (1..1_000).map(PeerId::new);
    let mut is_linked = |viewer| {
        let is_taken = stage.peer.takes_link(stage.now);
        if is_taken {
            stage.greets(viewer);
            stage.run(interval);
        }
        is_taken
    };
    viewers.position(|viewer| !is_linked(viewer)).unwrap_or(999)
}

#[test]
fn a_server_takes_as_many_links_as_its_budget_bears() {
    assert_eq!(n_linked(&mut Stage::server(3_000_000), 50), 300, "one for each 10 kbit/s");
    assert_eq!(n_linked(&mut Stage::server(100_000), 0), 64, "a small swarm as a whole");
    assert_eq!(n_linked(&mut Stage::new(Config::server(None)), 0), 999, "all without a budget");
}

#[test]
fn a_rush_is_linked_no_faster_than_control_leaves_room_for_media() {
    let mut stage = Stage::server(3_000_000);
    let n_at_once = n_linked(&mut stage, 0);
    assert!((64..300).contains(&n_at_once), "{n_at_once}");
    assert!(!stage.peer.takes_link(stage.now));
    stage.run(2_000);
    assert!(stage.peer.takes_link(stage.now));
}

#[test]
fn a_jammed_link_does_not_keep_the_server_from_answering_others() {
    let mut stage = Stage::server(30_000_000);
    for viewer in [A, B] {
        stage.greets(viewer);
    }
    stage.stream(10);
    stage.tell(Input::Backlog { peer: A, len: 300_000 });
    let (before, wanted) = (stage.outputs.len(), block(stage.n_parts - 1, home()));
    for viewer in [A, B] {
        stage.hears(viewer, Control::Request { blocks: vec![wanted], within_ms: None });
    }
    stage.run(200);
    let is_sent = |viewer| stage.sent_since(before, viewer).contains(&&Outgoing::Block(wanted));
    assert_eq!((is_sent(A), is_sent(B)), (false, true));
}

/// A server that pushes all stripes to [`A`], which then says nothing any more.
fn with_a_dead_root() -> Stage {
    let stripe_rate = u64::from(PART_LEN) * 8 * 1_000_000 / PART_US / u64::from(STRIPE_COUNT);
    // Eight slots, and a fifth more that is kept back.
    let mut stage = Stage::server(stripe_rate * 11);
    for viewer in [A, B] {
        stage.greets(viewer);
    }
    for stripe in Stripe::all() {
        stage.subscribes(A, stripe, 8);
    }
    stage.stream(10);
    assert!(Stripe::all().all(|stripe| stage.is_fed(A, stripe)));
    stage.mute = Some(A);
    stage
}

#[test]
fn the_place_of_a_viewer_that_does_not_answer_goes_to_another() {
    let mut stage = with_a_dead_root();
    stage.subscribes(B, home(), 4);
    assert!(!stage.accepts(B), "there is no room");
    stage.stream(20);
    stage.subscribes(B, home(), 4);
    assert!(stage.accepts(B));
    assert!(Stripe::all().all(|stripe| !stage.is_fed(A, stripe)), "and should it live, it knows");
    let before = stage.outputs.len();
    stage.stream(5);
    let sent = stage.sent_since(before, A);
    assert!(!sent.iter().any(|message| matches!(message, Outgoing::Block(_))), "{sent:?}");
}

#[test]
fn who_has_much_on_its_link_before_the_question_is_given_time_for_the_answer() {
    let lost_after = |backlog| {
        let mut stage = with_a_dead_root();
        stage.tell(Input::Backlog { peer: A, len: backlog });
        let began = stage.now;
        while stage.is_fed(A, home()) {
            stage.run(50);
        }
        stage.now.since(began)
    };
    let (at_once, later) = (lost_after(0), lost_after(40_000));
    let waiting = Duration::from_micros(40_000 * PART_US / u64::from(PART_LEN));
    assert!(
        later.abs_diff(at_once + waiting) <= Duration::from_millis(100),
        "{at_once:?} {later:?} {waiting:?}"
    );
}

#[test]
fn the_neighbours_of_a_viewer_that_is_silent_for_long_are_told_once() {
    let mut stage = with_a_dead_root();
    let doubts = |stage: &Stage| {
        let of = |output: &Output| if let Output::Doubt { peer } = output { Some(*peer) } else { None };
        stage.outputs.iter().filter_map(|(_, output)| of(output)).collect::<Vec<PeerId>>()
    };
    stage.run(1_000);
    assert_eq!(doubts(&stage), [], "a tab may stand still for a moment");
    stage.run(20_000);
    assert_eq!(doubts(&stage), [A]);
    stage.mute = None;
    stage.run(20_000);
    stage.mute = Some(A);
    stage.run(20_000);
    assert_eq!(doubts(&stage), [A, A], "it was there again, and is not any more");
}

#[test]
fn who_did_not_answer_for_a_while_is_named_to_others_again_when_it_does() {
    let (root, mut stage) = (PeerId::new(32), Stage::server(1));
    stage.greets(root);
    stage.subscribes(root, home(), 0);
    stage.greets_with_room(A, 100);
    stage.greets(B);
    let is_named = |stage: &mut Stage| {
        stage.subscribes(B, home(), 0);
        matches!(stage.answer(B), Some(Control::Refuse { hints, .. }) if hints.contains(&A))
    };
    assert!(is_named(&mut stage));
    stage.mute = Some(A);
    stage.run(9_000);
    assert!(is_named(&mut stage), "it need not say anything all the time");
    stage.hears(B, Control::Doubt { peer: A });
    stage.run(1_000);
    assert!(!is_named(&mut stage), "somebody said that it does not answer, and it does not");
    stage.mute = None;
    stage.run(10_000);
    assert!(is_named(&mut stage));
}

#[test]
fn where_slots_are_too_few_who_has_none_rests_until_somebody_with_many_comes() {
    let stripe_rate = u64::from(PART_LEN) * 8 * 1_000_000 / PART_US / u64::from(STRIPE_COUNT);
    // Ten slots, and a fifth more that is kept back; two viewers take sixteen.
    let mut stage = Stage::server(stripe_rate * 13);
    let says = |stage: &mut Stage, peer, slots| {
        stage.greets(peer);
        let ages = [100; STRIPE_COUNT as usize];
        stage.hears(
            peer,
            Control::Status { slots, free: slots, ages, yields: 0, wait: 0, idle: 0, tracks: None },
        );
    };
    says(&mut stage, A, 4);
    says(&mut stage, B, 0);
    stage.run(5_000);
    let told = |stage: &Stage, peer| {
        let sent = stage.sent_since(0, peer);
        let rests = controls(&sent).into_iter().filter_map(|control| match control {
            Control::Rest { rests } => Some(*rests),
            _ => None,
        });
        rests.collect::<Vec<bool>>()
    };
    assert_eq!((told(&stage, A), told(&stage, B)), (vec![], vec![true]));
    says(&mut stage, PeerId::new(32), 30);
    stage.run(5_000);
    assert_eq!((told(&stage, A), told(&stage, B)), (vec![], vec![true, false]));
}

#[test]
fn a_server_without_its_source_sends_viewers_away_until_it_has_it_again() {
    let mut stage = Stage::server(30_000_000);
    for viewer in [A, B] {
        stage.greets(viewer);
    }
    stage.subscribes(A, home(), 8);
    stage.stream(5);
    assert!(stage.is_fed(A, home()));
    let before = stage.outputs.len();
    stage.tell(Input::CutOff);
    stage.subscribes(B, home(), 8);
    stage.run(3_000);
    let said =
        |stage: &Stage, to| controls(&stage.sent_since(before, to)).into_iter().cloned().collect::<Vec<_>>();
    let is_sent_away =
        |said: &[Control]| said.iter().any(|control| matches!(control, Control::Refuse { .. }));
    let knows_of_room =
        |said: &[Control]| said.iter().any(|control| matches!(control, Control::Status { .. }));
    for viewer in [A, B] {
        let said = said(&stage, viewer);
        assert!(is_sent_away(&said) && !knows_of_room(&said) && !stage.is_fed(viewer, home()), "{said:?}");
    }
    stage.stream(1);
    assert!([A, B].into_iter().all(|viewer| knows_of_room(&said(&stage, viewer))));
    stage.subscribes(A, home(), 8);
    stage.stream(1);
    assert!(stage.is_fed(A, home()));
}
