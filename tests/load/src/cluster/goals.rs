//! What a cluster is held to, and by how much it misses that.

use std::time::Duration;

use serde_json::{Value, json};

/// The target latency of a channel that names none: what viewers have in their buffers.
pub(super) const BUFFER: Duration = Duration::from_secs(2);
/// "Within seconds."
const RETURN_LIMIT: Duration = Duration::from_secs(5);

/// A figure of each row, what it is called, and how much it may be.
const EVERYWHERE: [(&str, &str, Duration); 3] = [
    ("/return_p99_ms", "viewers are back (99 of 100)", RETURN_LIMIT),
    ("/healed_ms", "all see something again", BUFFER),
    ("/full/longest_stall_ms", "a full peer's longest stall", BUFFER),
];
/// Counts that must be nothing.
const NOTHING: [(&str, &str); 2] = [("/offers_lost", "offers lost"), ("/wrong", "wrong media or errors")];

/// Each goal of these rows: `by` is how much it is missed by, 0 when it is met.
pub(super) fn judge(rows: &[Value]) -> Vec<Value> {
    rows.iter().flat_map(of_row).collect()
}

fn of_row(row: &Value) -> Vec<Value> {
    let figure = |path: &str| row.pointer(path).and_then(Value::as_u64);
    let ms = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let goal = |name: &str, value: u64, limit: u64| {
        let by = value.saturating_sub(limit);
        json!({ "phase": row["phase"], "goal": name, "value": value, "limit": limit, "by": by })
    };
    let times =
        EVERYWHERE.iter().filter_map(|(path, name, limit)| Some(goal(name, figure(path)?, ms(*limit))));
    let counts = NOTHING.iter().filter_map(|(path, name)| Some(goal(name, figure(path)?, 0)));
    // Who has the server's link alone has nobody else to play from while the server has nothing.
    let can_be_fed = row["is_cut_off"] != true;
    let gap = figure("/gap_max_ms").filter(|_| can_be_fed);
    let away = figure("/encoder_away_ms").unwrap_or(0);
    let gap = gap
        .map(|gap| goal("without media, less the encoder's absence", gap.saturating_sub(away), ms(BUFFER)));
    times.chain(counts).chain(gap).collect()
}

/// For people: those that are missed, or that none is.
pub(super) fn told(goals: &[Value]) -> String {
    let missed = goals.iter().filter(|goal| goal["by"] != 0);
    let line = |goal: &Value| {
        let text = |key: &str| goal[key].as_str().unwrap_or_default().to_owned();
        let (value, limit, by) = (&goal["value"], &goal["limit"], &goal["by"]);
        format!("MISSED by {by}: {} ({}): {value}, and {limit} are allowed\n", text("goal"), text("phase"))
    };
    let lines: String = missed.map(line).collect();
    let n_met = goals.iter().filter(|goal| goal["by"] == 0).count();
    format!("{lines}{n_met} of {} goals met\n", goals.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_told_with_by_how_much() {
        let row = json!({
            "phase": "a node killed", "return_p99_ms": 5250, "offers_lost": 3, "wrong": 0, "gap_max_ms": 2900,
            "encoder_away_ms": 800, "full": { "longest_stall_ms": 100 },
        });
        let goals = judge(std::slice::from_ref(&row));
        let by: Vec<u64> = goals.iter().filter_map(|goal| goal["by"].as_u64()).collect();
        assert_eq!(by, [250, 0, 3, 0, 100]);
        assert!(told(&goals).contains("MISSED by 3: offers lost (a node killed): 3, and 0 are allowed"));
        assert!(told(&goals).ends_with("2 of 5 goals met\n"));
        let cut_off = json!({ "is_cut_off": true, "gap_max_ms": 10_000 });
        assert_eq!(judge(&[cut_off]), [] as [Value; 0]);
        assert_eq!(judge(&[json!({ "healed_ms": 4456 })])[0]["by"], 2456);
    }
}
