//! A short run of each fuzz target, the same each time.

#![allow(clippy::expect_used, reason = "tests may fail")]

use cardume_fuzz::{Mutator, TARGETS, Target};

/// Inputs for each target: a few seconds in all.
const RUNS: u64 = 3000;
const SEED: u64 = 1;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Shows the input when the target panics.
struct Input<'a>(&'a Target, &'a [u8]);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}, input b\"{}\"", self.0.name, self.1.escape_ascii());
        }
    }
}

fn smoke(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let seeds = (target.seeds)();
    assert!(seeds.len() > 2);
    let mut mutator = Mutator::new(setting("CARDUME_FUZZ_SEED", SEED));
    let run = |input: &[u8]| {
        let _shown = Input(target, input);
        (target.run)(input);
    };
    for seed in &seeds {
        run(seed);
    }
    (0..setting("CARDUME_FUZZ_RUNS", RUNS)).for_each(|_| run(&mutator.mutate(&seeds)));
}

#[test]
fn link_messages_keep_their_promises() {
    smoke("link");
}

#[test]
fn signal_messages_keep_their_promises() {
    smoke("signal");
}

#[test]
fn the_cutter_keeps_its_promises() {
    smoke("cutter");
}

#[test]
fn catalogs_keep_their_promises() {
    smoke("catalog");
}

#[test]
fn descriptors_keep_their_promises() {
    smoke("descriptor");
}

#[test]
fn indexes_keep_their_promises() {
    smoke("index");
}

#[test]
fn sessions_keep_their_promises() {
    smoke("session");
}

#[test]
fn a_server_with_a_film_keeps_its_promises() {
    smoke("film");
}

#[test]
fn what_webtorrent_clients_send_keeps_its_promises() {
    smoke("webtorrent");
}

#[test]
fn what_clients_of_the_relay_send_keeps_its_promises() {
    smoke("relay");
}

#[test]
fn what_other_nodes_send_keeps_its_promises() {
    smoke("cluster");
}

#[test]
fn seeds_get_past_the_first_check() {
    use cardume_media::{Cutter, Descriptor};
    let cut = |push: &Vec<u8>| Cutter::new().push(&push[1..]).is_ok();
    assert!(cardume_fuzz::seeds::cutter().iter().all(cut));
    assert!(cardume_fuzz::session::scripts().iter().all(|script| cardume_fuzz::session::play(script) > 2));
    assert!(cardume_fuzz::film::scripts().iter().all(|script| cardume_fuzz::film::play(script) > 20));
    let body = &cardume_fuzz::seeds::descriptor()[0];
    let key = cardume_fuzz::targets::signing_key();
    assert!(Descriptor::verify(body, &key.public()).is_err());
    assert!(Descriptor::verify(&cardume_fuzz::targets::signed_descriptor(body), &key.public()).is_ok());
}

#[test]
fn a_mutator_repeats_itself() {
    let seeds = (TARGETS[0].seeds)();
    let inputs = |seed| {
        let mut mutator = Mutator::new(seed);
        (0..50).map(|_| mutator.mutate(&seeds)).collect::<Vec<_>>()
    };
    assert_eq!(inputs(3), inputs(3));
    assert_ne!(inputs(3), inputs(4));
}
