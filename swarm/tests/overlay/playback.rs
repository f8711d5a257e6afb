//! Where a timeline begins, and where it goes on.

use core::time::Duration;

use cardume_swarm::{Config, Input, Output};

use crate::stage::*;

/// The part that a joiner begins with, to whom 25 parts of the last 5 s come, the newest first.
fn begins_with(target: Duration) -> Option<u32> {
    let mut stage = Stage::new(Config::viewer(SELF));
    stage.greets(SERVER);
    stage.begin();
    stage.tell(Input::TargetLatency(target));
    stage.run(5_000);
    let from = Some(SERVER);
    for part in (0..25).rev().map(part) {
        stage.tell(Input::Descriptor { from, part });
    }
    stage.run(100);
    for block in (0..25).rev().flat_map(|sequence| part(sequence).blocks()) {
        stage.tell(Input::Block { from, block });
    }
    stage.outputs.iter().find_map(|(_, output)| match output {
        Output::Deliver { part } => Some(part.sequence),
        _ => None,
    })
}

#[test]
fn a_joiner_begins_half_its_target_latency_after_what_should_be_on_screen_but_not_more_than_a_second() {
    // On screen should be what is 3.1 and 1.1 s into the broadcast; groups begin each second.
    assert_eq!(begins_with(Duration::from_secs(2)), Some(4 * GROUP));
    assert_eq!(begins_with(Duration::from_secs(4)), Some(2 * GROUP));
}

#[test]
fn who_comes_back_from_an_outage_goes_on_with_the_first_that_comes() {
    let mut stage = Stage::viewer(0);
    // Nothing comes for ten seconds, and nobody knows what it was.
    stage.run(10_000);
    stage.n_parts += 50;
    let first = stage.stream(1);
    assert!(first.is_multiple_of(GROUP));
    let is_delivered =
        |(_, output): &(_, Output)| matches!(output, Output::Deliver { part } if part.sequence == first);
    stage.run(100);
    assert!(stage.outputs.iter().any(is_delivered));
}
