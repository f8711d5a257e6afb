//! The oracle: cases whose best plan is known by hand, and what holds of every plan.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use cardume_sim::Scenario;
use cardume_sim::oracle::{Beside, Delays, Impossible, Oracle, Place, Planned, Setting, USED_PERCENT};
use cardume_swarm::BitsPerSec;
use proptest::prelude::*;

/// 10,000 bits: 10 ms of a stream of 1 Mbit/s.
const BLOCK_LEN: u64 = 1_250;
const RATE: u64 = 1_000_000;
const INTERVAL_US: u64 = 10_000;

/// An uplink of which so many hundredths of the stream's rate are used.
fn used(percent: u64) -> BitsPerSec {
    BitsPerSec((RATE * percent).div_ceil(USED_PERCENT))
}

fn setting(server_percent: u64, uplinks: &[BitsPerSec]) -> Setting<'_> {
    let server = BitsPerSec(RATE * server_percent / 100);
    Setting { uplinks, server, rate: BitsPerSec(RATE), block_len: BLOCK_LEN, seed: 1 }
}

/// Everybody is 10 ms from everybody.
fn ten_ms(_: Place, _: Place) -> u64 {
    20_000
}

/// Plans ten blocks and checks that viewer `i` has each of them `expect[i]` milliseconds after its publication.
#[track_caller]
fn check(setting: &Setting<'_>, round_trip: impl Fn(Place, Place) -> u64, expect: &[u64]) {
    let mut oracle = Oracle::new(setting, round_trip).unwrap();
    for block in 0..10 {
        let mut delays = vec![0; setting.uplinks.len()];
        oracle.plan_block(|copy| delays[copy.to - 1] = copy.arrives_at - block * INTERVAL_US);
        let in_ms: Vec<u64> = delays.iter().map(|delay| delay / 1000).collect();
        assert_eq!(in_ms, expect, "block {block}");
    }
}

#[test]
fn one_viewer_is_served_by_the_server() {
    check(&setting(1_000, &[BitsPerSec(0)]), ten_ms, &[1 + 10]);
}

#[test]
fn in_a_chain_the_viewer_with_an_uplink_comes_first() {
    // The other one is nearer to the server, but sends nothing.
    let round_trip = |a: Place, b: Place| if a.min(b) == 0 && a.max(b) == 2 { 2_000 } else { 20_000 };
    check(&setting(100, &[used(100), BitsPerSec(0)]), round_trip, &[20, 20 + 20]);
}

#[test]
fn in_a_star_the_server_sends_one_copy_after_the_other() {
    let nearest_first = |a: Place, b: Place| 2_000 * (a + b) as u64;
    let nobody_sends = [BitsPerSec(0); 4];
    check(&setting(400, &nobody_sends), nearest_first, &[2 + 1, 5 + 2, 7 + 3, 10 + 4]);
}

#[test]
fn a_tree_of_two_levels_is_found() {
    // Viewers 3 and 4 are at 1's door, 5 and 6 at 2's; neighbours are 2 ms apart, the others 50 ms.
    let is_near = |a, b| matches!((a, b), (0, 1 | 2) | (1, 3 | 4) | (2, 5 | 6));
    let round_trip = |a: Place, b: Place| if is_near(a.min(b), a.max(b)) { 4_000 } else { 100_000 };
    let uplinks = [used(200), used(200), BitsPerSec(0), BitsPerSec(0), BitsPerSec(0), BitsPerSec(0)];
    check(&setting(200, &uplinks), round_trip, &[7, 12, 14, 19, 19, 24]);
}

#[test]
fn what_cannot_be_carried_is_an_error_that_says_why() {
    let fail = |setting: &Setting<'_>| Oracle::new(setting, ten_ms).err();
    assert_eq!(fail(&setting(1_000, &[])), Some(Impossible::NoViewers));
    assert_eq!(fail(&setting(99, &[used(100)])), Some(Impossible::Server { server: 990_000, rate: RATE }));
    let uplinks = [used(50), used(49)];
    let impossible = fail(&setting(100, &uplinks));
    assert_eq!(impossible, Some(Impossible::Uplinks { carried: 1_990_000, needed: 2 * RATE }));
    let no_blocks = Setting { block_len: 0, ..setting(100, &uplinks) };
    assert_eq!(fail(&no_blocks), Some(Impossible::NoStream(RATE, 0)));
}

#[test]
fn delays_do_not_grow_at_a_resource_index_of_1_2() {
    let uplinks = [BitsPerSec(RATE * 12 / 10); 150];
    let places = places(7, uplinks.len() + 1);
    let mut oracle = Oracle::new(&setting(200, &uplinks), between(&places)).unwrap();
    let longest = |oracle: &mut Oracle<_>, blocks: core::ops::Range<u64>| {
        let mut longest = 0;
        for block in blocks {
            let published_at = oracle.published_at(block);
            oracle.plan_block(|copy| longest = longest.max(copy.arrives_at - published_at));
        }
        longest
    };
    let soon = longest(&mut oracle, 0..200);
    let late = longest(&mut oracle, 200..600);
    assert!(late < soon * 5 / 4, "{soon} us at most in the first blocks, then {late}");
}

#[test]
fn percentiles_are_those_of_the_delays() {
    // Nobody sends, so the server's hundred copies of 0.1 ms come one after the other.
    let uplinks = [BitsPerSec(0); 100];
    let delays = Oracle::new(&setting(10_000, &uplinks), |_, _| 0).unwrap().delays(|_, _| {});
    assert_eq!(delays, Delays { p50: 5_000, p95: 9_500, p99: 9_900 });
}

/// Points on a plane of 100 ms by 100 ms, microseconds.
fn places(seed: u64, n_places: usize) -> Vec<(u64, u64)> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 100_000
    };
    (0..n_places).map(|_| (next(), next())).collect()
}

fn between(places: &[(u64, u64)]) -> impl Fn(Place, Place) -> u64 {
    |a, b| places[a].0.abs_diff(places[b].0) + places[a].1.abs_diff(places[b].1)
}

/// How soon a block can be at each place if everybody sends nothing else: the shortest way over any others.
fn shortest_ways(setting: &Setting<'_>, round_trip: impl Fn(Place, Place) -> u64) -> Vec<u64> {
    let n_places = setting.uplinks.len() + 1;
    let mut soonest = vec![u64::MAX; n_places];
    soonest[0] = 0;
    for _ in 0..n_places {
        for (from, to) in (0..n_places).flat_map(|from| (0..n_places).map(move |to| (from, to))) {
            let rate =
                if from == 0 { setting.server.0 } else { setting.uplinks[from - 1].0 * USED_PERCENT / 100 };
            if rate > 0 && soonest[from] < u64::MAX {
                let copy = BLOCK_LEN * 8 * 1_000_000 / rate;
                soonest[to] = soonest[to].min(soonest[from] + copy + round_trip(from, to) / 2);
            }
        }
    }
    soonest
}

/// All copies of some blocks.
fn plan(setting: &Setting<'_>, round_trip: impl Fn(Place, Place) -> u64, n_blocks: u64) -> Vec<Vec<Planned>> {
    let mut oracle = Oracle::new(setting, round_trip).unwrap();
    let block = |_| {
        let mut copies = Vec::new();
        oracle.plan_block(|copy| copies.push(copy));
        copies
    };
    (0..n_blocks).map(block).collect()
}

/// Uplinks in hundredths of the stream's rate, what is missing added to the last, and a server.
fn swarms() -> impl Strategy<Value = (Vec<BitsPerSec>, u64, u64)> {
    let uplinks = prop::collection::vec(0..300u64, 1..50);
    (uplinks, 100..500u64, any::<u64>()).prop_map(|(mut percents, server, seed)| {
        let (sum, needed) = (percents.iter().sum::<u64>(), 100 * percents.len() as u64);
        let missing = (needed * 115 / 100).saturating_sub(sum);
        *percents.last_mut().unwrap() += missing;
        (percents.into_iter().map(used).collect(), server, seed)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_plan_can_be_carried_out((uplinks, server, seed) in swarms()) {
        let setting = setting(server, &uplinks);
        let places = places(seed, uplinks.len() + 1);
        let blocks = plan(&setting, between(&places), 40);
        let soonest = shortest_ways(&setting, between(&places));
        let mut sent: Vec<Vec<(u64, u64)>> = vec![Vec::new(); uplinks.len() + 1];
        for (block, copies) in (0..).zip(&blocks) {
            let published_at = block * INTERVAL_US;
            let mut held_since = vec![u64::MAX; uplinks.len() + 1];
            held_since[0] = published_at;
            for copy in copies {
                prop_assert_eq!(held_since[copy.to], u64::MAX, "nobody gets a block twice");
                held_since[copy.to] = copy.arrives_at;
                sent[copy.from].push((copy.begins_at, copy.ends_at));
                prop_assert!(copy.arrives_at - published_at >= soonest[copy.to], "too soon: {:?}", copy);
            }
            prop_assert!(held_since.iter().all(|at| *at < u64::MAX), "everybody gets every block");
            for copy in copies {
                prop_assert!(copy.begins_at >= held_since[copy.from], "sends what it lacks: {:?}", copy);
            }
        }
        for (from, times) in sent.iter_mut().enumerate() {
            times.sort_unstable();
            prop_assert!(times.windows(2).all(|two| two[0].1 <= two[1].0), "two copies at once from {from}");
            let (Some(first), Some(last)) = (times.first(), times.last()) else { continue };
            let limit = if from == 0 { setting.server.0 } else { uplinks[from - 1].0 * USED_PERCENT / 100 };
            let bits = times.len() as u64 * BLOCK_LEN * 8;
            prop_assert!(bits * 1_000_000 <= limit * (last.1 - first.0), "{from} sends more than it may");
        }
    }
}

#[test]
fn beside_a_run_it_plans_for_the_same_viewers_and_rich_uplinks_are_sooner() {
    let beside = |name| {
        let scenario = Scenario::load(name).unwrap().with_viewers(100);
        Beside::of(&scenario, 1, |_, _| {}).unwrap()
    };
    let [rich, scarce, homogeneous] = ["oracle-rich", "oracle-scarce", "oracle-homogeneous"].map(beside);
    assert_eq!(rich.n_viewers, 100);
    assert!(rich.delay_us.p99 < scarce.delay_us.p99, "{rich:?} {scarce:?}");
    assert!(rich.delay_us.p99 < homogeneous.delay_us.p99, "{rich:?} {homogeneous:?}");
}

#[test]
fn beside_a_run_whose_viewers_have_too_little_it_says_so() {
    let scenario = Scenario::load("capacity").unwrap();
    let impossible = Beside::of(&scenario, 1, |_, _| {}).unwrap_err();
    assert!(matches!(impossible, Impossible::Uplinks { .. }), "{impossible}");
}
