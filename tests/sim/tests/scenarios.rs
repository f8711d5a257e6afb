//! The scenarios over a few seeds: what issue and overlay promise holds, and nothing happens that must not.
//! A failure names its seed; `cargo run -p cardume-sim -- NAME --seed N` replays it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use cardume_sim::{Manners, Report, Scenario, World};

const SEEDS: [u64; 3] = [1, 2, 3];

fn run(name: &str, seed: u64, n_viewers: Option<usize>) -> Report {
    let scenario = Scenario::load(name).unwrap();
    play(n_viewers.map_or(scenario.clone(), |n| scenario.with_viewers(n)), seed)
}

fn play(scenario: Scenario, seed: u64) -> Report {
    let name = scenario.name.clone();
    let report = World::new(scenario, seed).run(|_| {});
    assert_eq!(report.violations, [""; 0], "{name} seed {seed}");
    report
}

#[test]
fn equal_seeds_give_equal_reports() {
    assert_eq!(run("first-light", 5, Some(20)), run("first-light", 5, Some(20)));
    assert_ne!(run("first-light", 5, Some(20)), run("first-light", 6, Some(20)));
}

#[test]
fn six_tabs_play_on_a_budget_of_three_copies() {
    for seed in SEEDS {
        let report = run("budget", seed, None);
        assert_eq!(report.n_never_started, 0, "seed {seed}");
        assert!(report.longest_stall_ms <= 500, "seed {seed}: {}", report.table());
        assert!(report.latency_ms[3] <= 2500, "seed {seed}: {}", report.table());
        assert!(report.server.copies_peak <= 3.0, "seed {seed}: {}", report.table());
    }
}

#[test]
fn no_media_goes_over_the_relay_where_the_server_is_there_for_what_no_neighbour_can_send() {
    for seed in SEEDS {
        let report = run("relayed", seed, Some(80));
        assert_eq!(report.n_never_started, 0, "seed {seed}");
        // Media over a fifth of the links would be some copies; this is what neighbours tell each other.
        assert!(report.server.relayed < 0.2, "seed {seed}: {}", report.table());
        assert!(report.on_time.viewers_at_99 >= 0.95, "seed {seed}: {}", report.table());
    }
}

#[test]
fn nobody_stalls_long_when_the_tab_that_feeds_most_dies() {
    for seed in SEEDS {
        let report = run("kill-feeder", seed, None);
        assert_eq!(report.n_never_started, 0, "seed {seed}");
        assert!(report.longest_stall_ms <= 1000, "seed {seed}: {}", report.table());
    }
}

#[test]
fn the_server_serves_two_directly_and_viewers_move_into_the_swarm_and_back_without_a_stall() {
    for seed in SEEDS {
        let alone = run("budget", seed, Some(2));
        assert!(alone.offload < 0.05, "seed {seed}: {}", alone.table());
        let report = run("direct", seed, None);
        assert!(report.longest_stall_ms <= 250, "seed {seed}: {}", report.table());
        assert!(report.offload > 0.2, "seed {seed}: {}", report.table());
    }
}

#[test]
fn all_play_on_after_the_tracker_and_the_sender_are_back() {
    for seed in SEEDS {
        let report = run("tracker-restart", seed, None);
        for viewer in &report.viewers {
            // 5 s without a sender, less what was buffered, and the time to begin anew.
            assert!(viewer.longest_stall_ms < 6_000, "seed {seed}: {viewer:?}");
            let last = viewer.stalls_ms.last().copied().unwrap_or_default();
            assert!(last.0 + last.1 < 60_000, "seed {seed}: it plays at the end: {viewer:?}");
        }
    }
}

#[test]
fn a_swarm_that_lost_the_tracker_and_most_of_its_viewers_plays_on() {
    for seed in &SEEDS[..2] {
        let report = run("cut-off", *seed, None);
        let last = &report.on_time_by_second[80..90];
        let on_time = last.iter().flatten().sum::<f64>() / 10.0;
        // Who lost all neighbours at once has nobody to ask.
        assert!(on_time > 0.9, "seed {seed}: {last:?}");
    }
}

#[test]
fn a_swarm_on_real_access_links_with_churn_keeps_most_viewers_playing() {
    for seed in &SEEDS[..2] {
        let report = run("first-light", *seed, Some(40));
        assert!(report.continuity > 0.95, "seed {seed}: {}", report.table());
        assert!(report.server.copies_peak <= 10.0, "seed {seed}: {}", report.table());
    }
}

#[test]
fn a_crowd_of_free_riders_does_not_keep_those_who_pass_the_stream_on_from_playing() {
    for seed in SEEDS {
        let mut scenario = Scenario::load("freeriders").unwrap().with_viewers(60);
        scenario.server.budget_copies = Some(3.0);
        scenario.audience.free_riders_percent = 65;
        let report = play(scenario, seed);
        let contributors = report.viewers.iter().filter(|viewer| viewer.manners == Manners::Honest);
        let (well, badly): (Vec<_>, Vec<_>) = contributors.partition(|viewer| viewer.continuity > 0.9);
        assert!(well.len() > 3 * badly.len(), "seed {seed}: {}", report.table());
        assert!(report.n_never_started < 15, "seed {seed}: {}", report.table());
    }
}

#[test]
fn a_film_plays_from_anywhere_and_comes_from_other_viewers() {
    for seed in &SEEDS[..2] {
        let report = run("vod", *seed, Some(20));
        assert_eq!(report.n_never_started, 0, "seed {seed}");
        assert!(report.continuity > 0.99, "seed {seed}: {}", report.table());
        assert!(report.seek_ms.is_some_and(|[p50, ..]| p50 < 2_000), "seed {seed}: {}", report.table());
        assert!(report.offload > 0.5, "seed {seed}: {}", report.table());
        assert!(report.server.copies_peak <= 10.0, "seed {seed}: {}", report.table());
    }
}
