//! The report, for people.

use serde_json::Value;

/// Heads, and where a row has what is under them.
type Columns<'a> = &'a [(&'a str, &'a str)];

const SIGNALLING: Columns<'static> = &[
    ("back", "/n_returned"),
    ("p50 ms", "/return_p50_ms"),
    ("p99 ms", "/return_p99_ms"),
    ("gap p50", "/gap_p50_ms"),
    ("gap p99", "/gap_p99_ms"),
    ("gap max", "/gap_max_ms"),
    ("over 2 s", "/n_over_buffer"),
    ("healed", "/healed_ms"),
    ("offers", "/offers"),
    ("returned", "/offers_returned"),
    ("void", "/offers_void"),
    ("lost", "/offers_lost"),
    ("wrong", "/wrong"),
    ("enc. away", "/encoder_away_ms"),
    ("taken", "/handed_over_ms"),
];
const FULL: Columns<'static> = &[
    ("peers", "/full/n"),
    ("playing", "/full/n_playing"),
    ("stalled", "/full/n_stalled"),
    ("sum, s", "/full/stalled_s"),
    ("p50 ms", "/full/longest_stall_p50_ms"),
    ("longest", "/full/longest_stall_ms"),
    ("late p50", "/full/latency_p50_ms"),
    ("late p95", "/full/latency_p95_ms"),
    ("offload %", "/full/offload_percent"),
    ("met", "/full/neighbours"),
];

/// All rows: of those who have signalling and the server's link, and of full peers.
pub(super) fn all(rows: &[Value]) -> String {
    let has_full = rows.iter().any(|row| row.get("full").is_some());
    let full = if has_full { format!("\n{}", table("full peers", FULL, rows)) } else { String::new() };
    format!("{}{full}", table("signalling and the server's link", SIGNALLING, rows))
}

fn table(title: &str, columns: Columns<'_>, rows: &[Value]) -> String {
    let row = |first: &str, cells: Vec<String>| {
        let cells = cells.iter().fold(String::new(), |line, cell| line + &format!("{cell:>10}"));
        format!("{first:47}{cells}\n")
    };
    let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let line = |seen: &Value| {
        let cell = |(_, path): &(&str, &str)| {
            let value = seen.pointer(path).filter(|value| !value.is_null());
            value.map_or_else(|| "-".to_owned(), Value::to_string)
        };
        row(seen["phase"].as_str().unwrap_or_default(), columns.iter().map(cell).collect())
    };
    core::iter::once(row(title, heads)).chain(rows.iter().map(line)).collect()
}
