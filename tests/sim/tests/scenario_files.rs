//! Scenario files: those built in are sound, and an error says what is wrong and where.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use cardume_sim::{Population, Scenario, names};
use cardume_wire::PeerId;

const GOOD: &str = r#"
about = "a test"
length_ms = 10_000
[stream]
rate = 1_000_000
part_ms = 200
parts_per_group = 10
key_weight = 5
size_jitter_percent = 25
target_latency_ms = 2000
encoding_ms = 100
[access]
uplink = { constant = 2_000_000 }
is_known = true
downlink = 20_000_000
[network]
round_trip = { constant_ms = 20 }
[audience]
join_at_ms = 1000
[[audience.phases]]
n = 10
interval_ms = 100
"#;

/// The error for the good file with one change.
fn error(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from} is there to be changed");
    Scenario::parse("test", &GOOD.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn every_built_in_scenario_can_be_loaded_and_scaled() {
    for name in names() {
        let scenario = Scenario::load(name).unwrap();
        assert_eq!(scenario.name, name);
        assert_eq!(scenario.with_viewers(37).n_viewers(), 37, "{name}");
    }
}

#[test]
fn a_file_elsewhere_is_a_scenario_too() {
    let path = std::env::temp_dir().join(format!("cardume-sim-{}.toml", std::process::id()));
    std::fs::write(&path, GOOD).unwrap();
    let scenario = Scenario::load(path.to_str().unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(scenario.unwrap().n_viewers(), 10);
}

#[test]
fn what_is_wrong_is_named() {
    let unknown = Scenario::load("no-such").unwrap_err().to_string();
    assert!(unknown.contains("no-such") && unknown.contains("first-light"), "{unknown}");
    let cases = [
        ("rate = 1_000_000", "rate = 0", "stream.rate is 0, not from 8000"),
        ("rate = 1_000_000", "rate = \"fast\"", "line 5"),
        ("part_ms = 200", "part_msec = 200", "unknown field `part_msec`"),
        ("part_ms = 200", "", "missing field `part_ms`"),
        ("constant = 2_000_000", "quantiles = [5000, 4000, 6000, 7000, 8000]", "which do not rise"),
        ("constant = 2_000_000", "plenty = 1", "unknown variant `plenty`"),
        ("constant = 2_000_000", "classes = [{ percent = 90, min = 1, max = 2 }]", "90 percent together"),
        ("[audience]", "[audience]\nfree_riders_percent = 101", "audience.free_riders_percent is 101"),
        ("n = 10", "n = 0", "audience.phases.n is 0"),
        ("[access]", "[server]\nbudget_copies = nan\n[access]", "server.budget_copies is NaN"),
        ("n = 10", "n = -1", "line 21"),
        (
            "part_ms = 200",
            "part_ms = 200\nrenditions = [1_000_000]",
            "stream.renditions[0] is 1000000, not from 8000",
        ),
        (
            "part_ms = 200",
            "part_ms = 200\nrenditions = [1, 2, 3, 4, 5, 6, 7]",
            "the number of stream.renditions is 7",
        ),
        (
            "[access]",
            "[access]\nslow = [{ viewers_percent = 101, downlink = 9_000 }]",
            "access.slow[0].viewers_percent",
        ),
        (
            "[access]",
            "[access]\nslow = [{ viewers_percent = 9, downlink = 9 }]",
            "access.slow[0].downlink is 9",
        ),
        ("[access]", "[access]\ndips = { viewers_percent = 1 }", "missing field `downlink`"),
        ("[access]", "[film]\nlength_ms = 100\n[access]", "film.length_ms is 100, not from 200"),
    ];
    for (from, to, wanted) in cases {
        let error = error(from, to);
        assert!(error.contains(wanted), "{from} -> {to}: {error}");
    }
    let incidents =
        [("what = \"die\"", "needs either n or percent"), ("what = \"kill-feeder\"\nn = 1", "takes neither")];
    for (incident, wanted) in incidents {
        let text = format!("{GOOD}[[incidents]]\nat_ms = 1\n{incident}\n");
        let error = Scenario::parse("test", &text).unwrap_err().to_string();
        assert!(error.contains("incidents[0]") && error.contains(wanted), "{error}");
    }
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn a_fifth_of_the_pairs_cannot_connect_where_a_scenario_says_so() {
    let scenario = Scenario::load("realistic").unwrap();
    let population = Population::new(&scenario, 1);
    let pairs = (1..=300u64).flat_map(|a| (a + 1..=300).map(move |b| (PeerId::new(a), PeerId::new(b))));
    let (can, cannot): (Vec<_>, Vec<_>) = pairs.partition(|(a, b)| population.is_connectable(*a, *b));
    let share = cannot.len() as f64 / (can.len() + cannot.len()) as f64;
    assert!((0.16..0.24).contains(&share), "{share}");
    assert!(can.iter().all(|(a, b)| population.is_connectable(*b, *a)), "either way");
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "a mean")]
fn uplinks_are_scaled_to_the_resource_index_with_the_servers_budget_in_it() {
    for name in ["capacity", "load-90", "oracle-rich", "oracle-scarce", "freeriders", "polluters"] {
        let scenario = Scenario::load(name).unwrap().with_viewers(2000);
        let population = Population::new(&scenario, 3);
        let viewers = (1..=2000).map(PeerId::new);
        let uploading = viewers.filter(|id| population.manners(*id) == cardume_sim::Manners::Honest);
        let sum: u64 = uploading.map(|id| population.uplink(id)).sum();
        let index = (sum + scenario.budget().unwrap()) as f64 / (2000 * scenario.stream.rate) as f64;
        let wanted = scenario.access.resource_index.unwrap();
        assert!((index / wanted - 1.0).abs() < 0.07, "{name}: {index}, wanted {wanted}");
    }
}
