//! Who watches one rendition and tries another one.

use cardume_swarm::Input;
use cardume_wire::link::Control;
use cardume_wire::{PeerId, Stripe, TrackSet};

use crate::stage::*;

/// Asks for a stripe of something else than what the asker watches.
fn tries(stage: &mut Stage, asker: PeerId, stripe: Stripe) {
    let (tracks, from_us) = (TrackSet::ALL, Some(MEDIA_BEGINS_US));
    let ask = Control::Subscribe { stripe, tracks, slots: 4, is_starving: false, from_us };
    stage.hears(asker, ask);
}

fn is_fed(stage: &Stage, peer: PeerId, stripe: Stripe) -> bool {
    let stats = stage.peer.stats(stage.now);
    let neighbour = stats.neighbours.iter().find(|neighbour| neighbour.peer == peer);
    neighbour.is_some_and(|neighbour| neighbour.child_in.contains(&stripe))
}

#[test]
fn the_server_lets_one_after_the_other_try_another_rendition_and_each_have_all_stripes() {
    let mut stage = Stage::server(50_000_000);
    stage.greets(A);
    stage.greets(B);
    for stripe in Stripe::all() {
        tries(&mut stage, A, stripe);
        tries(&mut stage, B, stripe);
    }
    assert!(Stripe::all().all(|stripe| is_fed(&stage, A, stripe)));
    assert!(!Stripe::all().any(|stripe| is_fed(&stage, B, stripe)), "half of the stripes are of no use");
    stage.run(600);
    Stripe::all().for_each(|stripe| tries(&mut stage, B, stripe));
    assert!(Stripe::all().all(|stripe| is_fed(&stage, B, stripe)));
}

#[test]
fn who_tries_another_rendition_takes_nobodys_place() {
    let mut stage = Stage::viewer(2);
    let idle = PeerId::new(32);
    for peer in [idle, A] {
        stage.greets(peer);
    }
    while stage.peer.stats(stage.now).n_children < stage.peer.stats(stage.now).n_slots {
        let asker = PeerId::new(40 + 8 * u64::from(stage.peer.stats(stage.now).n_children));
        stage.greets(asker);
        stage.subscribes(asker, stripe(1), 4);
    }
    stage.stream(10);
    tries(&mut stage, A, stripe(1));
    assert!(!stage.accepts(A));
    stage.tell(Input::LinkClosed { peer: PeerId::new(40) });
    tries(&mut stage, A, stripe(1));
    assert!(stage.accepts(A), "there is a free one");
}
