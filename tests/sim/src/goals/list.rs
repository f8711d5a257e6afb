//! The goals, as the design of the overlay numbers them.

use std::collections::BTreeSet;

use super::check::Check;
use super::measures as of;

/// Audiences as published, with fewer in short runs.
const OF_500: [usize; 3] = [100, 500, 500];
const OF_1000: [usize; 3] = [200, 1_000, 1_000];
const OF_1100: [usize; 3] = [220, 1_100, 1_100];
const OF_1200: [usize; 3] = [240, 1_200, 1_200];
/// Offload is a goal from 1,000 viewers on. With fewer the same budget is more of the demand: in short runs, 2.5 %.
const FROM_1000: [usize; 3] = [400, 1_000, 10_000];
/// As few as a server can serve alone.
const FEW: [usize; 3] = [10, 10, 10];

const CATASTROPHE: &str = "GLive 100 %, Sepidar 64 %, new CoolStreaming 20 %";
const E1_LATENCY: &str = "GLive 13-14 s, Sepidar 16-23 s, new CoolStreaming 50-55 s";

/// Every goal, with all its sides.
pub(super) const CHECKS: &[Check] = &[
    over_the_oracle("1-rich", "oracle-rich"),
    over_the_oracle("1-scarce", "oracle-scarce"),
    over_the_oracle("1-homogeneous", "oracle-homogeneous"),
    in_own_blocks("1-rich-blocks", "oracle-rich"),
    in_own_blocks("1-scarce-blocks", "oracle-scarce"),
    in_own_blocks("1-homogeneous-blocks", "oracle-homogeneous"),
    growth("1-growth-rich", "oracle-rich"),
    growth("1-growth-scarce", "oracle-scarce"),
    growth("1-growth-homogeneous", "oracle-homogeneous"),
    Check::new("2-on-time", 2, "viewers with 99.5 % on time at 2 s", "load-90")
        .at_least(of::viewers_at_99_5, 0.99)
        .beside("PeerStreamer 6 s, BitTorrent Live 5 s, Zattoo 3 s"),
    e1_viewers("3-e1-churn", "e1-churn", "GLive 100 %, Sepidar 95 %, new CoolStreaming 46 %").viewers(OF_500),
    e1_latency("3-e1-churn-latency", "e1-churn").viewers(OF_500),
    e1_viewers("3-e1-flash", "e1-flash", "GLive 100 %, Sepidar 90 %, new CoolStreaming 81 %")
        .viewers(OF_1100),
    e1_latency("3-e1-flash-latency", "e1-flash").viewers(OF_1100),
    e1_viewers("3-e1-catastrophe", "e1-catastrophe", CATASTROPHE).viewers(OF_1000),
    e1_latency("3-e1-catastrophe-latency", "e1-catastrophe").viewers(OF_1000),
    e2_blocks("3-e2-join", "e2-join", "tuxStream 99.9, CoolStreaming 97.5, mTreebone 96.3 %")
        .viewers(OF_1200),
    e2_latency("3-e2-join-latency", "e2-join").viewers(OF_1200),
    e2_blocks("3-e2-churn", "e2-churn", "tuxStream 99.9, CoolStreaming 99.0, mTreebone 98.9 %")
        .viewers(OF_500),
    e2_latency("3-e2-churn-latency", "e2-churn").viewers(OF_500),
    e2_blocks("3-e2-flash", "e2-flash", "tuxStream 99.1, CoolStreaming 98.7, mTreebone 98.1 %")
        .viewers(OF_1100),
    e2_latency("3-e2-flash-latency", "e2-flash").viewers(OF_1100),
    Check::new("4-gap", 4, "no data after a silent death p99, ms", "e3")
        .viewers(OF_1000)
        .at_most(of::gap_p99_ms, 500.0),
    Check::new("4-stall", 4, "longest stall while 1 %/s die, ms", "e3")
        .viewers(OF_1000)
        .at_most(of::longest_stall_ms, 0.0),
    Check::new("4-half-dies", 4, "survivors with 99 % after 5 s", "half-dies")
        .at_least(of::survivors_at_99, 0.99)
        .beside(CATASTROPHE),
    Check::new("5-capacity", 5, "on time, of the fluid capacity", "capacity")
        .at_least(of::of_fluid_capacity, 0.95)
        .beside("random useful packets lose 3.3 % at 1.11"),
    Check::new("5-egress-few", 5, "server's busiest second, copies", "realistic")
        .viewers(FEW)
        .at_most(of::copies, 10.0),
    Check::new("5-egress", 5, "server's busiest second, copies", "realistic").at_most(of::copies, 10.0),
    Check::new("6-offload", 6, "media that came from viewers", "offload")
        .viewers(FROM_1000)
        .at_least(of::offload, 0.95)
        .beside("NetSession 70-80 %"),
    Check::new("6-e3-server", 6, "server's share of the demand", "e3")
        .viewers(OF_1000)
        .at_most(of::server_share, 0.1)
        .beside("CLIVE about 29 %"),
    Check::new("6-e3-viewers", 6, "viewers with 99 % on time", "e3")
        .viewers(OF_1000)
        .at_least(of::viewers_at_99, 0.99)
        .beside("CLIVE about 99 %, 2 % without helpers"),
    Check::new("7-control", 7, "control over media", "realistic")
        .at_most(of::control, 0.01)
        .beside("DONet about 2 %"),
    Check::new("7-integrity", 7, "descriptors and catalogs over media", "realistic")
        .at_most(of::integrity, 0.005),
    Check::new("8-first-frame-p50", 8, "first frame p50, ms", "realistic")
        .at_most(of::first_frame_p50_ms, 1_000.0)
        .beside("Zattoo 2-5 s"),
    Check::new("8-first-frame-p95", 8, "first frame p95, ms", "realistic")
        .at_most(of::first_frame_p95_ms, 2_000.0),
    // Our own: what stands still is not yet what the viewer came for.
    Check::new("8-moving-p50", 8, "moving picture p50, ms", "realistic").at_most(of::startup_p50_ms, 1_000.0),
    Check::new("8-moving-p95", 8, "moving picture p95, ms", "realistic").at_most(of::startup_p95_ms, 2_000.0),
    Check::new("8-flash", 8, "viewers with 99 % on time", "flash-10k").at_least(of::viewers_at_99, 0.99),
    Check::new("9-polluters", 9, "most viewers that one polluter harmed", "polluters")
        .at_most(of::harmed_at_most, 2.0)
        .beside("one polluter spoils PPLive"),
    Check::new("9-wrong-blocks", 9, "wrong blocks kept, played or forwarded", "polluters")
        .at_most(of::violations, 0.0),
    Check::new("9-free-riders", 9, "contributors with 99 % on time", "freeriders")
        .at_least(of::contributors_at_99, 0.99),
];

/// The names under which goals are recorded.
pub(super) fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.id).collect()
}

/// The numbers of the goals, as text.
pub(super) fn numbers() -> BTreeSet<String> {
    CHECKS.iter().map(|check| check.goal.to_string()).collect()
}

const fn over_the_oracle(id: &'static str, scenario: &'static str) -> Check {
    Check::new(id, 1, "delay p99 over the oracle's", scenario)
        .at_most(of::over_oracle, 2.0)
        .beside("the oracle: 1")
}

/// Our own: an oracle whose blocks are as short as the swarm's is sooner than the published one.
const fn in_own_blocks(id: &'static str, scenario: &'static str) -> Check {
    Check::new(id, 1, "the same with blocks like the swarm's", scenario)
        .at_most(of::over_oracle_in_own_blocks, 2.0)
}

/// The goal compares 10^5 viewers with 10^3; two decades lower, it is harder, since the server feeds a tenth directly.
const fn growth(id: &'static str, scenario: &'static str) -> Check {
    Check::new(id, 1, "delay p99 over that of 100 viewers", scenario)
        .against([100; 3])
        .at_most(of::delay_p99_ms, 2.0)
}

const fn e1_viewers(id: &'static str, scenario: &'static str, reference: &'static str) -> Check {
    Check::new(id, 3, "viewers with 99 % on time", scenario)
        .at_least(of::viewers_at_99, 0.999)
        .beside(reference)
}

const fn e1_latency(id: &'static str, scenario: &'static str) -> Check {
    Check::new(id, 3, "latency p95, s", scenario).at_most(of::latency_p95_s, 3.0).beside(E1_LATENCY)
}

const fn e2_blocks(id: &'static str, scenario: &'static str, reference: &'static str) -> Check {
    Check::new(id, 3, "blocks on time", scenario).at_least(of::blocks_on_time, 0.9995).beside(reference)
}

const fn e2_latency(id: &'static str, scenario: &'static str) -> Check {
    Check::new(id, 3, "latency p95, s", scenario)
        .at_most(of::latency_p95_s, 1.0)
        .beside("tuxStream 8.9 s, CoolStreaming 17 s, mTreebone 13 s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;

    #[test]
    fn every_goal_has_a_check_and_every_check_a_name_of_its_own() {
        let goals: BTreeSet<u8> = CHECKS.iter().map(|check| check.goal).collect();
        assert_eq!(goals, (1..=9).collect());
        assert_eq!(names().iter().collect::<BTreeSet<_>>().len(), CHECKS.len());
    }

    #[test]
    fn every_check_has_a_scenario_that_can_be_run() {
        for check in CHECKS {
            assert!(Scenario::load(check.scenario).is_ok(), "{}", check.id);
        }
    }
}
