//! What a viewer tells the tracker about how it goes.

use core::time::Duration;

use cardume_swarm::Stats;
use cardume_wire::signal::Report;

/// What happened between two looks, for the tracker.
pub(crate) fn report(before: &Stats, now: &Stats) -> Report {
    Report {
        latency_ms: whole_ms(now.latency.unwrap_or_default()),
        n_stalls: now.n_stalls.saturating_sub(before.n_stalls),
        stalled_ms: whole_ms(now.stalled.saturating_sub(before.stalled)),
        from_peers_len: now.from_peers_len.saturating_sub(before.from_peers_len),
        from_server_len: now.from_server_len.saturating_sub(before.from_server_len),
        sent_len: now.sent_len.saturating_sub(before.sent_len),
    }
}

fn whole_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_holds_what_happened_since_the_last_one() {
        let before =
            Stats { n_stalls: 1, stalled: Duration::from_millis(300), from_peers_len: 5, ..Stats::default() };
        let now = Stats {
            latency: Some(Duration::from_millis(1900)),
            n_stalls: 2,
            stalled: Duration::from_millis(800),
            from_peers_len: 9,
            ..Stats::default()
        };
        let expected =
            Report { latency_ms: 1900, n_stalls: 1, stalled_ms: 500, from_peers_len: 4, ..Report::default() };
        assert_eq!(report(&before, &now), expected);
    }
}
