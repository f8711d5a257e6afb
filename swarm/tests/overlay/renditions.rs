//! Who watches one rendition and tries another one.

use cardume_media::TrackKind;
use cardume_swarm::{BitsPerSec, CatalogFacts, Config, Input, TrackFacts};
use cardume_wire::link::Control;
use cardume_wire::{PeerId, STRIPE_COUNT, Stripe, TrackId, TrackSet};

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

#[test]
fn who_pushes_what_is_watched_is_not_asked_for_what_is_to_come() {
    let dear = TrackId(2);
    let mut stage = Stage::new(Config::viewer(SELF));
    stage.greets(SERVER);
    let cheap = TrackFacts { id: TRACK, is_video: true, bitrate: BitsPerSec(1_310_720) };
    let tracks = vec![cheap, TrackFacts { id: dear, bitrate: BitsPerSec(5_000_000), ..cheap }];
    stage.tell(Input::Catalog(CatalogFacts { epoch: EPOCH, tracks, len: CATALOG_LEN, reels: Vec::new() }));
    stage.greets(A);
    let (ages, tracks) = ([300; STRIPE_COUNT as usize], Some(TrackSet::from_iter([TRACK, dear])));
    stage.hears(A, Control::Status { slots: 4, free: 4, ages, yields: 0, wait: 0, idle: 0, tracks });
    stage.hears(SERVER, Control::Refuse { stripe: home(), hints: vec![A] });
    stage.run(100);
    stage.hears(A, Control::Accept { stripe: home(), path: vec![A] });
    for _ in 0..15 {
        let sequence = stage.stream_without(1, &|block| block.number.stripe() == home());
        stage.tell(Input::Block { from: Some(A), block: block(sequence, home()) });
    }
    assert_eq!(stage.provider(home()), Some(A));
    let before = stage.outputs.len();
    stage.tell(Input::Select { kind: TrackKind::Video, track: Some(dear) });
    stage.stream(2);
    assert_eq!(stage.n_asked_since(before, A, home()), 0, "it would be asked for both");
    assert_eq!(stage.n_asked_since(before, SERVER, home()), 1);
}
