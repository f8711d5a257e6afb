//! How one peer treats its neighbours, which are the script: whom it takes, refuses, asks, leaves and sends to.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod playback;
mod relayed;
mod renditions;
mod server;
mod stage;

use core::time::Duration;

use cardume_swarm::{Config, Input, Instant, Outgoing, Output, Phase};
use cardume_wire::link::Control;
use cardume_wire::{BlockId, PROTOCOL_VERSION, PeerId, Stripe};
use stage::*;

#[test]
fn as_many_are_fed_as_the_uplink_bears_and_the_next_is_refused_at_once() {
    let mut stage = Stage::viewer(4);
    let askers: Vec<PeerId> = (2..10).map(|n| PeerId::new(n * 8)).collect();
    for &asker in &askers {
        stage.greets(asker);
        let now = stage.outputs.len();
        stage.subscribes(asker, home(), 0);
        assert!(!controls(&stage.sent_since(now, asker)).is_empty(), "an answer comes at once");
        let stats = stage.peer.stats(stage.now);
        assert!(stats.n_children <= stats.n_slots, "{} of {}", stats.n_children, stats.n_slots);
        stage.stream(10);
    }
    let n_fed = askers.iter().filter(|asker| stage.accepts(**asker)).count();
    assert!((3..=5).contains(&n_fed), "{n_fed} of some 4");
}

#[test]
fn who_has_not_greeted_is_not_listened_to() {
    let mut stage = Stage::viewer(4);
    stage.tell(Input::LinkOpened { peer: A });
    stage.subscribes(A, home(), 4);
    assert_eq!(stage.answer(A), None);
    stage.hears(A, Control::Hello { version: PROTOCOL_VERSION, epoch: Some(EPOCH) });
    stage.subscribes(A, home(), 4);
    assert!(stage.accepts(A));
}

#[test]
fn who_feeds_us_is_not_fed_by_us_in_the_same_stripe() {
    let mut stage = Stage::viewer(4);
    for asker in [A, B] {
        stage.greets(asker);
    }
    stage.hears(SERVER, Control::Accept { stripe: home(), path: vec![A] });
    stage.subscribes(A, home(), 8);
    assert!(!stage.accepts(A), "it is above us");
    stage.subscribes(B, home(), 8);
    let path = vec![A, SELF];
    assert_eq!(stage.answer(B), Some(&Control::Accept { stripe: home(), path }), "through whom it comes");
}

#[test]
fn a_child_is_let_go_when_it_turns_up_above_us() {
    let mut stage = Stage::viewer(4);
    stage.greets(A);
    stage.subscribes(A, home(), 8);
    assert!(stage.accepts(A));
    stage.hears(SERVER, Control::Accept { stripe: home(), path: vec![A] });
    assert!(!stage.accepts(A));
    assert_eq!(stage.peer.stats(stage.now).n_children, 0);
}

#[test]
fn a_path_that_leads_through_ourselves_is_not_taken() {
    let mut stage = Stage::viewer(4);
    stage.hears(SERVER, Control::Accept { stripe: home(), path: vec![A, SELF] });
    assert_ne!(stage.provider(home()), Some(SERVER));
    let goodbye = Control::Unsubscribe { stripe: home() };
    assert!(controls(&stage.sent_since(0, SERVER)).contains(&&goodbye));
}

/// [`A`] and [`B`] get our home stripe from us.
fn with_two_children() -> Stage {
    let mut stage = Stage::viewer(8);
    for child in [A, B] {
        stage.greets(child);
        stage.subscribes(child, home(), 4);
        stage.stream(10);
    }
    stage
}

#[test]
fn a_block_goes_once_to_each_child_of_its_stripe_and_to_nobody_else() {
    let mut stage = with_two_children();
    stage.greets(PeerId::new(32));
    let (before, first) = (stage.outputs.len(), stage.stream(5));
    stage.run(200);
    for sequence in first..first + 5 {
        let forwarded = Outgoing::Block(block(sequence, home()));
        for (peer, n) in [(A, 1), (B, 1), (PeerId::new(32), 0), (SERVER, 0)] {
            let sent = stage.sent_since(before, peer);
            assert_eq!(sent.iter().filter(|message| ***message == forwarded).count(), n, "{peer}");
        }
    }
    let other = Outgoing::Block(block(first, stripe(1)));
    assert!(!stage.sent_since(before, A).contains(&&other), "it has that stripe from somebody else");
}

#[test]
fn who_is_at_home_in_a_stripe_gets_descriptors_with_it_and_a_leaf_has_them_from_elsewhere() {
    let (leaf, mut stage) = (PeerId::new(17), with_two_children());
    stage.greets(leaf);
    stage.subscribes(leaf, home(), 4);
    stage.stream(10);
    let (before, first) = (stage.outputs.len(), stage.stream(3));
    for sequence in first..first + 3 {
        let described = Outgoing::Descriptor(part(sequence).id);
        for (peer, n) in [(A, 1), (B, 1), (leaf, 0), (SERVER, 0)] {
            let sent = stage.sent_since(before, peer);
            assert_eq!(sent.iter().filter(|message| ***message == described).count(), n, "{peer}");
        }
        let sent = stage.sent_since(before, A);
        let [described, block] = [described, Outgoing::Block(block(sequence, home()))]
            .map(|wanted| sent.iter().position(|message| **message == wanted));
        assert!(described < block, "it can be verified at once");
        assert!(stage.sent_since(before, leaf).contains(&&Outgoing::Block(self::block(sequence, home()))));
    }
}

#[test]
fn a_child_that_has_a_block_by_now_is_not_sent_it() {
    let mut stage = Stage::viewer(8);
    stage.greets(A);
    stage.subscribes(A, home(), 4);
    stage.stream(10);
    let cancelled = block(stage.n_parts, home());
    stage.hears(A, Control::Cancel { blocks: vec![cancelled] });
    let (before, first) = (stage.outputs.len(), stage.stream(2));
    stage.run(200);
    let sent = stage.sent_since(before, A);
    assert!(!sent.contains(&&Outgoing::Block(cancelled)));
    assert!(sent.contains(&&Outgoing::Block(block(first + 1, home()))));
}

#[test]
fn what_was_just_sent_is_not_sent_again_to_who_asks_for_it_but_later_it_is() {
    let mut stage = with_two_children();
    let first = stage.stream(1);
    stage.run(200);
    let wanted = block(first, home());
    let n_sent = |stage: &Stage| {
        let sent = stage.sent_since(0, A);
        sent.into_iter().filter(|message| **message == Outgoing::Block(wanted)).count()
    };
    assert_eq!(n_sent(&stage), 1, "pushed");
    stage.hears(A, Control::Request { blocks: vec![wanted], within_ms: None });
    stage.run(300);
    assert_eq!(n_sent(&stage), 1, "it is on its way");
    let missing = Control::Missing { blocks: vec![wanted] };
    assert!(!controls(&stage.sent_since(0, A)).contains(&&missing));
    stage.stream(3);
    stage.hears(A, Control::Request { blocks: vec![wanted], within_ms: None });
    stage.run(300);
    assert_eq!(n_sent(&stage), 2, "who asks after so long has lost it");
}

#[test]
fn who_needs_a_stripe_no_more_gets_no_more_of_it_and_the_rest_as_before() {
    let mut stage = Stage::viewer(4);
    stage.greets(A);
    for stripe in [home(), stripe(1)] {
        stage.subscribes(A, stripe, 4);
    }
    let before = stage.outputs.len();
    stage.hears(A, Control::Unsubscribe { stripe: home() });
    stage.run(2_000);
    let sent = stage.sent_since(before, A);
    let has = |sequence, stripe| sent.contains(&&Outgoing::Block(block(sequence, stripe)));
    let newest = stage.n_parts - 1;
    assert!(has(newest, stripe(1)) && !has(newest, home()));
}

#[test]
fn a_child_whose_link_is_jammed_is_sent_elsewhere_and_the_others_stay() {
    let mut stage = with_two_children();
    stage.tell(Input::Backlog { peer: A, len: 40 * 1024 });
    stage.stream(5);
    assert!(stage.accepts(A), "a key frame's blocks may wait");
    stage.tell(Input::Backlog { peer: A, len: 200 * 1024 });
    stage.stream(5);
    assert!(!stage.accepts(A) && stage.accepts(B));
}

#[test]
fn what_its_provider_went_on_without_is_asked_of_it() {
    let mut stage = Stage::viewer(4);
    let lost = block(stage.n_parts, stripe(3));
    stage.stream_without(2, &|block| block == lost);
    stage.run(50);
    assert!(controls(&stage.sent_since(0, SERVER)).iter().any(|control| asks_for(control, lost)));
}

#[test]
fn what_nobody_pushes_is_pulled_from_a_neighbour_that_has_it_before_it_plays() {
    let mut stage = Stage::viewer(4);
    stage.greets_with_room(A, 150);
    let lost = stage.n_parts;
    stage.stream_without(7, &|block| block.number.stripe() == stripe(3));
    let asked = stage.outputs.iter().find_map(|(at, output)| match output {
        Output::Send { to, message: Outgoing::Control(control) }
            if asks_for(control, block(lost, stripe(3))) =>
        {
            Some((*at, *to))
        }
        _ => None,
    });
    let plays_at = Instant::from_micros(part(lost).captured_at.0 - WALL_US) + Duration::from_secs(2);
    assert!(asked.is_some_and(|(at, of)| of == A && at < plays_at), "{asked:?}");
}

#[test]
fn who_does_not_answer_a_pull_is_not_the_only_one_that_is_asked() {
    let mut stage = Stage::viewer(4);
    stage.greets_with_room(A, 150);
    stage.greets_with_room(B, 150);
    let lost = block(stage.n_parts, stripe(3));
    stage.stream_without(10, &|block| block.number.stripe() == stripe(3));
    let asked = [A, B, SERVER].map(|peer| {
        controls(&stage.sent_since(0, peer)).iter().filter(|control| asks_for(control, lost)).count()
    });
    assert!(asked.iter().filter(|n| **n > 0).count() >= 2, "{asked:?}");
}

#[test]
fn who_lets_us_go_pushes_until_another_one_does() {
    let mut stage = Stage::viewer(4);
    stage.greets_with_room(A, 100);
    stage.hears(SERVER, Control::Refuse { stripe: home(), hints: vec![A] });
    stage.stream(1);
    assert_eq!(stage.provider(home()), Some(SERVER), "its grace is not over");
    let is_asked =
        |control: &&Control| matches!(control, Control::Subscribe { stripe, .. } if *stripe == home());
    assert!(controls(&stage.sent_since(0, A)).iter().any(is_asked), "whom the refusal names is asked");
    stage.hears(A, Control::Accept { stripe: home(), path: vec![SERVER] });
    assert_eq!(stage.provider(home()), Some(A));
    let farewell = Control::Unsubscribe { stripe: home() };
    assert!(controls(&stage.sent_since(0, SERVER)).contains(&&farewell));
}

/// Bytes of what we passed on to a neighbour.
fn forwarded_len(stage: &Stage, to: PeerId) -> usize {
    let sent = stage.sent_since(0, to);
    let texts = controls(&sent).into_iter().filter_map(|control| match control {
        Control::Forwarded { text, .. } => Some(text.len()),
        _ => None,
    });
    texts.sum()
}

#[test]
fn a_neighbour_has_little_forwarded_however_much_it_says() {
    let mut stage = Stage::viewer(4);
    for neighbour in [A, B] {
        stage.greets(neighbour);
    }
    stage.run(20_000);
    for _ in 0..1_000 {
        stage.hears(A, Control::Forward { to: B, text: "x".repeat(1_000) });
    }
    assert!((20_000..30_000).contains(&forwarded_len(&stage, B)), "{}", forwarded_len(&stage, B));
}

#[test]
fn strangers_that_a_neighbour_makes_up_take_no_more_than_the_neighbours_there_may_be() {
    let mut stage = Stage::viewer(4);
    stage.greets(A);
    stage.run(20_000);
    for number in 0..1_000 {
        stage.hears(A, Control::Forwarded { from: PeerId::new(1_000 + number), text: "offer".to_owned() });
    }
    let is_offer = |(_, output): &&(Instant, Output)| matches!(output, Output::Forwarded { .. });
    assert!((1..=32).contains(&stage.outputs.iter().filter(is_offer).count()));
    stage.hears(A, Control::Forwarded { from: SERVER, text: "offer".to_owned() });
    stage.hears(A, Control::Forwarded { from: A, text: "offer".to_owned() });
    let is_known = |(_, output): &&(Instant, Output)| matches!(output, Output::Forwarded { from, .. } if [SERVER, A].contains(from));
    assert_eq!(stage.outputs.iter().filter(is_known).count(), 0, "links that stand are not replaced");
}

/// Our home stripe comes from [`A`], all others from the server, which has no room for that one.
fn fed_by_a_neighbour() -> Stage {
    let mut stage = Stage::viewer(4);
    stage.greets_with_room(A, 100);
    stage.hears(SERVER, Control::Refuse { stripe: home(), hints: vec![A] });
    stage.stream(1);
    stage.hears(A, Control::Accept { stripe: home(), path: vec![B] });
    assert_eq!(stage.provider(home()), Some(A));
    stage.stream(20);
    stage.hears(SERVER, Control::Refuse { stripe: home(), hints: Vec::new() });
    stage
}

#[test]
fn whom_the_tracker_lost_a_standby_is_asked_for_before_it_is_proven_dead() {
    let mut stage = fed_by_a_neighbour();
    let standby = PeerId::new(32);
    stage.greets_with_room(standby, 100);
    stage.mute = Some(A);
    let before = stage.outputs.len();
    stage.tell(Input::Doubted { peer: A });
    assert_eq!(stage.n_asked_since(before, standby, home()), 1, "no round trip later");
    assert!(stage.peer.has_link(A), "it may live");
    stage.hears(standby, Control::Accept { stripe: home(), path: Vec::new() });
    assert_eq!(stage.provider(home()), Some(standby));
    let farewell = Control::Unsubscribe { stripe: home() };
    assert!(controls(&stage.sent_since(before, A)).contains(&&farewell));
}

#[test]
fn the_server_is_told_once_of_a_provider_that_does_not_answer() {
    let mut stage = fed_by_a_neighbour();
    let doubt = Control::Doubt { peer: A };
    let n_told =
        |stage: &Stage| controls(&stage.sent_since(0, SERVER)).iter().filter(|told| **told == &doubt).count();
    stage.run(3_000);
    assert_eq!(n_told(&stage), 0, "it answers");
    stage.mute = Some(A);
    stage.run(3_000);
    assert_eq!(n_told(&stage), 1);
}

#[test]
fn a_silent_provider_is_asked_soon_whether_it_lives_when_it_owes_a_block_and_at_a_mere_pause_later() {
    // The home stripe's blocks come from the server, so that its provider is silent but for its answers.
    let mut stage = fed_by_a_neighbour();
    let is_ping = |control: &&&Control| matches!(control, Control::Ping { .. });
    let n_pings = |stage: &Stage, since| controls(&stage.sent_since(since, A)).iter().filter(is_ping).count();
    let mut within_three_parts_of_an_answer = |is_lost: &dyn Fn(BlockId) -> bool| {
        let before = stage.outputs.len();
        while n_pings(&stage, before) == 0 {
            stage.stream(1);
        }
        let answered = stage.outputs.len();
        stage.stream_without(3, is_lost);
        n_pings(&stage, answered)
    };
    assert_eq!(within_three_parts_of_an_answer(&|_| false), 0);
    assert_eq!(within_three_parts_of_an_answer(&|block| block.number.stripe() == home()), 1);
}

#[test]
fn a_server_that_refused_a_shorter_path_is_asked_when_the_provider_dies() {
    let mut stage = fed_by_a_neighbour();
    let before = stage.outputs.len();
    stage.run(500);
    assert_eq!(stage.n_asked_since(before, SERVER, home()), 0, "it has no room for those who are fed");
    stage.tell(Input::LinkClosed { peer: A });
    assert_eq!(stage.n_asked_since(before, SERVER, home()), 1);
}

#[test]
fn a_server_that_knows_of_nothing_better_is_asked_ever_more_rarely() {
    let mut stage = fed_by_a_neighbour();
    let mut asked_at = Vec::new();
    while asked_at.len() < 6 {
        let before = stage.outputs.len();
        stage.stream(1);
        if stage.n_asked_since(before, SERVER, home()) > 0 {
            asked_at.push(stage.now);
            stage.hears(SERVER, Control::Refuse { stripe: home(), hints: Vec::new() });
        }
    }
    let waits: Vec<Duration> = asked_at.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(waits[4] > waits[0] * 2, "{waits:?}");
}

#[test]
fn who_refused_is_not_asked_again_for_a_second() {
    let mut stage = Stage::new(Config::viewer(SELF));
    stage.greets_with_room(A, 100);
    stage.begin();
    let n_asked = |stage: &Stage| {
        let sent = stage.sent_since(0, A);
        let is_ask =
            |control: &&&Control| matches!(control, Control::Subscribe { stripe, .. } if *stripe == home());
        controls(&sent).iter().filter(is_ask).count()
    };
    stage.run(100);
    assert_eq!(n_asked(&stage), 1);
    stage.hears(A, Control::Refuse { stripe: home(), hints: Vec::new() });
    stage.run(900);
    assert_eq!(n_asked(&stage), 1);
    stage.run(1500);
    assert_eq!(n_asked(&stage), 2);
}

#[test]
fn a_free_rider_gives_way_to_who_contributes_and_is_pushed_to_meanwhile() {
    let mut stage = Stage::viewer(3);
    let riders: Vec<PeerId> = (2..8).map(|n| PeerId::new(n * 8)).collect();
    for &rider in &riders {
        stage.greets(rider);
        stage.subscribes(rider, home(), 0);
        stage.stream(10);
    }
    let fed: Vec<PeerId> = riders.into_iter().filter(|rider| stage.accepts(*rider)).collect();
    let contributor = PeerId::new(80);
    stage.greets(contributor);
    stage.has_the_last_parts(contributor, 16);
    stage.subscribes(contributor, home(), 4);
    assert!(stage.accepts(contributor));
    let released: Vec<&PeerId> = fed.iter().filter(|rider| !stage.accepts(**rider)).collect();
    assert_eq!(released.len(), 1, "{released:?} of {fed:?}");
    let (before, first) = (stage.outputs.len(), stage.stream(2));
    stage.run(300);
    let forwarded = Outgoing::Block(block(first, home()));
    assert!(stage.sent_since(before, *released[0]).contains(&&forwarded));
    // Another free rider gets no such place.
    let rider = PeerId::new(88);
    stage.greets(rider);
    stage.subscribes(rider, home(), 0);
    assert!(!stage.accepts(rider));
}

#[test]
fn who_feeds_others_gets_a_block_before_who_does_not() {
    let mut stage = Stage::viewer(8);
    // The leaf's link is the older one, and its number the lower.
    let [leaf, feeder] = [(A, 0), (B, 4)].map(|(child, slots)| {
        stage.greets(child);
        stage.subscribes(child, home(), slots);
        stage.stream(15);
        assert!(stage.accepts(child));
        child
    });
    let (before, first) = (stage.outputs.len(), stage.stream(10));
    stage.run(200);
    let place = |peer, sequence| {
        let message = Outgoing::Block(block(sequence, home()));
        let sent = stage.outputs[before..].iter();
        sent.clone().position(|(_, output)| *output == Output::Send { to: peer, message: message.clone() })
    };
    for sequence in first..first + 10 {
        assert!(place(feeder, sequence) < place(leaf, sequence), "part {sequence}");
    }
}

#[test]
fn who_is_told_to_rest_takes_only_what_it_passes_on_until_it_is_called_back() {
    let mut stage = Stage::viewer(4);
    stage.greets_with_room(A, 100);
    stage.hears(A, Control::Rest { rests: true });
    assert_eq!(stage.peer.stats(stage.now).phase, Phase::Playing, "no neighbour may say so");
    let before = stage.outputs.len();
    stage.hears(SERVER, Control::Rest { rests: true });
    stage.stream_without(10, &|block| block.number.stripe() != home());
    let sent = stage.sent_since(before, SERVER);
    for stripe in Stripe::all() {
        let is_left = controls(&sent).contains(&&Control::Unsubscribe { stripe });
        assert_eq!(is_left, stripe != home(), "{stripe:?}");
        assert_eq!(stage.provider(stripe).is_some(), stripe == home(), "{stripe:?}");
        let n_asked = stage.n_asked_since(before, A, stripe) + stage.n_asked_since(before, SERVER, stripe);
        assert_eq!(n_asked, 0, "{stripe:?}");
    }
    let is_pull = |control: &&Control| matches!(control, Control::Request { .. });
    assert!(!controls(&stage.sent_since(before, A)).iter().chain(&controls(&sent)).any(is_pull));
    assert_eq!(stage.peer.stats(stage.now).phase, Phase::Resting);

    stage.hears(SERVER, Control::Rest { rests: false });
    stage.run(1000);
    let others = Stripe::all().filter(|stripe| *stripe != home());
    for stripe in others {
        let n_asked = stage.n_asked_since(before, A, stripe) + stage.n_asked_since(before, SERVER, stripe);
        assert!(n_asked > 0, "{stripe:?}");
    }
    assert_ne!(stage.peer.stats(stage.now).phase, Phase::Resting);
}
