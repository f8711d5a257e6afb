//! A report for people.

use core::fmt::Write;

use super::{OnTime, Renditions, Report, ServerReport};

impl Report {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!("sim {} seed {}\n", self.scenario, self.seed);
        for (name, value) in self.rows() {
            let _ = writeln!(text, "  {name:<12} {value}");
        }
        for goal in self.goals() {
            let mark = if goal.ok { "ok  " } else { "MISS" };
            let _ = writeln!(text, "  {mark} {} = {:.3} (wanted {})", goal.name, goal.value, goal.target);
        }
        for violation in &self.violations {
            let _ = writeln!(text, "  VIOLATION {violation}");
        }
        text
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let [l50, l95, l99, l100] = self.latency_ms;
        let [d50, d95, d99] = self.delay_ms;
        let [s50, s95, s100] = self.startup_ms;
        let [f50, f95, f100] = self.first_frame_ms;
        let [still50, still95, still100] = self.still_ms;
        let [r50, r99] = self.recovery_ms;
        let [g50, g99, g100] = self.gap_ms;
        let n = self.viewers.len();
        let mut rows = vec![
            (
                "viewers",
                format!(
                    "{n} ({} never started), resource index {:.3}",
                    self.n_never_started, self.resource_index
                ),
            ),
            ("on time", self.on_time.row()),
            ("played", format!("{:.4} mean, {:.3} of viewers at 99 %", self.continuity, self.viewers_at_99)),
            ("stalls", format!("{:.1} s/h, longest {} ms", self.stalled_s_per_hour, self.longest_stall_ms)),
            ("latency", format!("p50 {l50}  p95 {l95}  p99 {l99}  max {l100} ms from capture to screen")),
            ("delay", format!("p50 {d50:.0}  p95 {d95:.0}  p99 {d99:.0} ms from publication to arrival")),
            ("first frame", format!("p50 {f50}  p95 {f95}  max {f100} ms")),
            ("start-up", format!("p50 {s50}  p95 {s95}  max {s100} ms")),
            (
                "still",
                format!("p50 {still50}  p95 {still95}  max {still100} ms from a picture to a moving one"),
            ),
            ("server", self.server.row()),
            ("offload", format!("{:.3}", self.offload)),
            (
                "overhead",
                format!(
                    "control {:.4}, integrity {:.4}, waste {:.4} of media",
                    self.control_share, self.integrity_share, self.waste
                ),
            ),
            ("pulls", format!("{:.1} per viewer-minute", self.pulls_per_minute)),
            (
                "recovery",
                format!("new provider p50 {r50}  p99 {r99}, data p50 {g50}  p99 {g99}  max {g100} ms"),
            ),
            ("fairness", format!("{:.3} (Jain)", self.fairness)),
        ];
        if self.is_film {
            rows.retain(|(name, _)| !["on time", "latency", "delay", "recovery"].contains(name));
        }
        if let Some([k50, k95, k100]) = self.seek_ms {
            rows.push((
                "seeks",
                format!("p50 {k50}  p95 {k95}  max {k100} ms until the picture moves there"),
            ));
        }
        if let Some(renditions) = &self.renditions {
            rows.push(("renditions", renditions.row()));
            rows.push(("switches", renditions.switches_row()));
        }
        if let Some(share) = self.across_borders {
            rows.push(("networks", format!("{share:.3} of the bytes between viewers cross a border")));
        }
        if let Some([median, most]) = self.harmed_by_polluter {
            rows.push((
                "pollution",
                format!(
                    "{} wrong blocks; a polluter harmed {median} (median), {most} at most",
                    self.n_wrong_blocks
                ),
            ));
        }
        rows
    }
}

impl OnTime {
    fn row(&self) -> String {
        let survivors = self.survivors_at_99.map(|share| format!(", survivors at 99 % {share:.3}"));
        format!(
            "{:.5} of blocks; viewers at 99 % {:.3}, at 99.5 % {:.3}{}",
            self.blocks,
            self.viewers_at_99,
            self.viewers_at_99_5,
            survivors.unwrap_or_default()
        )
    }
}

impl Renditions {
    fn row(&self) -> String {
        let shares = self.shares.iter().map(|(rate, share)| format!("{} kbit/s {share:.3}", rate / 1000));
        let shares = shares.collect::<Vec<_>>().join(", ");
        format!(
            "{shares} of the time; the best that the downlink bears {:.3}, most of the time {:.3} of viewers",
            self.best, self.mostly_best
        )
    }

    fn switches_row(&self) -> String {
        format!(
            "{:.1} per viewer-hour; {:.3} of viewers, one {} times; these stalled {:.1} s/h",
            self.switches_per_hour, self.switchers, self.most_switches, self.switchers_stalled_s_per_hour
        )
    }
}

impl ServerReport {
    fn row(&self) -> String {
        format!(
            "{:.2} copies ({:.2} pushed, {:.2} repair, {:.2} start-up, {:.2} other, {:.2} relayed), peak {:.2}; {:.4} of demand",
            self.copies,
            self.pushed,
            self.repair,
            self.startup,
            self.other,
            self.relayed,
            self.copies_peak,
            self.share_of_demand
        )
    }
}
