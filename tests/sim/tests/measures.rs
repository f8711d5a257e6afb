//! What the simulator models shows in what it measures: each case changes one thing and sees its effect.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use core::time::Duration;

use cardume_sim::{Freezes, Incident, Manners, Nats, Report, Scenario, What, World};

const SEED: u64 = 4;

fn run(scenario: Scenario) -> Report {
    let name = scenario.name.clone();
    let report = World::new(scenario, SEED).run(|_| {});
    assert_eq!(report.violations, [""; 0], "{name} seed {SEED}");
    report
}

/// Six tabs on one machine for half a minute, changed.
fn tabs(change: impl FnOnce(&mut Scenario)) -> Report {
    let mut scenario = Scenario::load("budget").unwrap();
    scenario.length = Duration::from_secs(35);
    change(&mut scenario);
    run(scenario)
}

#[test]
fn every_scenario_runs_with_a_few_viewers() {
    for name in cardume_sim::names() {
        let mut scenario = Scenario::load(name).unwrap().with_viewers(3);
        // Three viewers of a film come within two minutes.
        scenario.length = scenario.length.min(Duration::from_mins(2));
        let joined = scenario.audience.join_at < scenario.length;
        let report = run(scenario);
        assert!(joined && !report.viewers.is_empty(), "{}", report.table());
    }
}

#[test]
fn equal_seeds_give_equal_reports_with_everything_that_can_go_wrong() {
    let realistic = || {
        let mut scenario = Scenario::load("realistic").unwrap().with_viewers(25);
        scenario.length = Duration::from_secs(30);
        scenario
    };
    assert_eq!(run(realistic()), run(realistic()));
}

#[test]
fn blocks_are_on_time_up_to_capture_end_and_target_latency() {
    let good = tabs(|_| {});
    assert!(good.on_time.blocks > 0.99, "{}", good.table());
    assert!(good.on_time_by_second.iter().flatten().all(|share| (0.0..=1.0).contains(share)));
    // What leaves the encoder after its deadline is late, however it travels.
    let late = tabs(|scenario| {
        scenario.stream.target_latency = Duration::from_millis(500);
        scenario.stream.encoding = Duration::from_millis(600);
    });
    assert!(late.on_time.blocks == 0.0 && late.on_time.viewers_at_99 == 0.0, "{}", late.table());
    assert!(late.delay_ms[0] > 0.0, "they came all the same: {}", late.table());
}

#[test]
fn where_nobody_can_connect_the_server_sends_everything() {
    let nats = Nats { blocked_percent: 100, ..Nats::default() };
    let report = tabs(|scenario| scenario.network.nats = nats);
    assert!(report.offload == 0.0, "{}", report.table());
    assert!(tabs(|_| {}).offload > 0.3);
}

#[test]
fn who_has_nobody_but_over_the_relay_is_served_by_the_server_as_if_there_were_none() {
    let blocked = |has_relay| {
        tabs(|scenario| {
            scenario.network.nats = Nats { blocked_percent: 100, ..Nats::default() };
            scenario.network.has_relay = has_relay;
            scenario.server.budget_copies = Some(9.0);
        })
    };
    let (with, without) = (blocked(true), blocked(false));
    assert!(with.offload == 0.0 && without.offload == 0.0, "{}", with.table());
    assert!(with.server.relayed > 0.0, "they know each other: {}", with.table());
    assert!(with.on_time.viewers_at_99 >= without.on_time.viewers_at_99, "{}", with.table());
    assert_eq!(with.n_never_started, 0);
}

#[test]
fn of_two_that_only_the_server_reaches_one_plays_and_both_have_a_picture_when_it_bears_one() {
    for n in [1.6, 2.0] {
        let report = tabs(|scenario| {
            *scenario = scenario.clone().with_viewers(2);
            scenario.network.nats = Nats { blocked_percent: 100, ..Nats::default() };
            scenario.network.has_relay = true;
            scenario.server.budget_copies = Some(n);
        });
        assert!(report.viewers.iter().any(|viewer| viewer.continuity > 0.95), "{}", report.table());
        assert!(report.viewers.iter().all(|viewer| viewer.first_frame_ms.is_some()), "{}", report.table());
    }
}

#[test]
fn lost_packets_delay_what_follows_them() {
    let far = |loss| {
        tabs(|scenario| {
            scenario.network.round_trip = cardume_sim::RoundTrips::ConstantMs(100);
            scenario.network.loss_percent = loss;
        })
    };
    let (clean, lossy) = (far(0.0), far(2.0));
    assert!(lossy.delay_ms[1] > clean.delay_ms[1] + 50.0, "{}{}", clean.table(), lossy.table());
}

#[test]
fn free_riders_send_no_media_and_contributors_do() {
    let report = tabs(|scenario| {
        *scenario = scenario.clone().with_viewers(12);
        scenario.audience.free_riders_percent = 50;
    });
    let used = |manners| {
        let viewers = report.viewers.iter().filter(move |viewer| viewer.manners == manners);
        viewers.map(|viewer| viewer.uplink_used).reduce(f64::max).unwrap()
    };
    assert!(used(Manners::FreeRider) < 0.001, "{}", report.table());
    assert!(used(Manners::Honest) > 0.01, "{}", report.table());
}

#[test]
fn polluters_are_blamed_and_nobody_else_is() {
    let report = tabs(|scenario| {
        *scenario = scenario.clone().with_viewers(12);
        scenario.audience.polluters_percent = 40;
    });
    assert!(report.n_wrong_blocks > 0, "{}", report.table());
    assert!(report.harmed_by_polluter.unwrap()[1] >= 1, "{}", report.table());
}

#[test]
fn a_frozen_tab_handles_nothing_until_it_thaws() {
    let freezes = Freezes {
        viewers_percent: 100,
        interval: Duration::from_secs(5),
        min: Duration::from_millis(1500),
        max: Duration::from_secs(2),
    };
    let report = tabs(|scenario| scenario.freezes = Some(freezes));
    assert!(report.delay_ms[2] > 1000.0, "{}", report.table());
    assert!(tabs(|_| {}).delay_ms[2] < 1000.0);
}

#[test]
fn the_survivors_of_a_mass_death_are_judged_by_themselves() {
    let death = Incident {
        at: Duration::from_secs(20),
        what: What::Die,
        n: None,
        percent: Some(50),
        interval: Duration::ZERO,
    };
    let report = tabs(|scenario| scenario.incidents.push(death));
    assert!(report.on_time.survivors_at_99.is_some(), "{}", report.table());
    let there = report.viewers.iter().filter(|viewer| viewer.seconds < 16.0).count();
    assert!(there >= 3, "half of six are gone: {}", report.table());
    assert!(tabs(|_| {}).on_time.survivors_at_99.is_none());
}

#[test]
fn the_resource_index_is_what_the_scenario_asks_for() {
    let mut scenario = Scenario::load("load-90").unwrap().with_viewers(60);
    scenario.length = Duration::from_secs(12);
    scenario.audience.phases[0].interval = Duration::from_millis(10);
    let report = run(scenario);
    assert!((report.resource_index / 1.111 - 1.0).abs() < 0.1, "{}", report.table());
}

#[test]
fn what_the_server_sends_is_told_by_purpose_and_by_second() {
    let report = tabs(|_| {});
    let server = &report.server;
    let parts = server.pushed + server.repair + server.startup + server.other;
    assert!((parts - server.copies).abs() < 1e-6, "{}", report.table());
    assert!(server.startup > 0.0 && server.pushed > server.startup, "{}", report.table());
    let seconds: f64 = server.copies_by_second.iter().sum();
    assert!((seconds / 30.0 - server.copies).abs() < 0.1, "{}", report.table());
}

#[test]
fn who_waits_in_vain_counts_as_having_had_nothing() {
    // Less than a copy for everybody, and nobody can connect: the server has room for a few at most.
    let report = tabs(|scenario| {
        scenario.network.nats = Nats { blocked_percent: 100, ..Nats::default() };
        scenario.server.budget_copies = Some(1.5);
    });
    assert!(report.n_never_started >= 3, "{}", report.table());
    assert!(report.on_time.viewers_at_99 <= 0.5, "{}", report.table());
    assert!(report.continuity <= 0.5, "{}", report.table());
}
