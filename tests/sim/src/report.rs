//! How a run went.
#![expect(clippy::cast_precision_loss, reason = "shares and rates for people")]

use core::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use crate::world::World;

/// One viewer's run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViewerReport {
    /// Its number.
    pub id: u64,
    /// Seconds it was there.
    pub seconds: f64,
    /// From joining to the first picture, milliseconds.
    pub startup_ms: Option<u64>,
    /// Stalls after the start.
    pub n_stalls: usize,
    /// All of them together, milliseconds.
    pub stalled_ms: u64,
    /// The longest, milliseconds.
    pub longest_stall_ms: u64,
    /// When each began and how long it was, milliseconds of the run.
    pub stalls_ms: Vec<(u64, u64)>,
    /// Share of the time since the start that it played.
    pub continuity: f64,
    /// Median latency, milliseconds.
    pub latency_ms: Option<u64>,
    /// Highest latency, milliseconds.
    pub latency_max_ms: Option<u64>,
    /// Share of the media that came from viewers.
    pub share_from_peers: f64,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Every viewer that was there.
    pub viewers: Vec<ViewerReport>,
    /// Mean of the viewers' continuity.
    pub continuity: f64,
    /// Share of the viewers with a continuity of at least 99 %.
    pub viewers_at_99: f64,
    /// Stalled seconds in an hour of viewing.
    pub stalled_s_per_hour: f64,
    /// The longest stall of anyone, milliseconds.
    pub longest_stall_ms: u64,
    /// Latency over all viewers and time, milliseconds: p50, p95, p99, highest.
    pub latency_ms: [u64; 4],
    /// From joining to the first picture, milliseconds: p50, p95, highest.
    pub startup_ms: [u64; 3],
    /// Viewers that were there for 5 s and never saw a picture.
    pub n_never_started: usize,
    /// What the server sent, in copies of the stream.
    pub server_copies: f64,
    /// What the server sent in its busiest second, in copies.
    pub server_copies_peak: f64,
    /// Share of the media that came from viewers.
    pub offload: f64,
    /// Viewers' control as a share of media.
    pub control_share: f64,
    /// Blocks that came twice or late as a share of media.
    pub waste: f64,
    /// Blocks asked for by repair, for each viewer and minute.
    pub pulls_per_minute: f64,
    /// From a provider's silent death to a new provider, milliseconds: p50, p99.
    pub recovery_ms: [u64; 2],
    /// Events of the simulation.
    pub n_events: u64,
    /// What must never happen and did.
    pub violations: Vec<String>,
}

/// A number to reach.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// What is meant.
    pub name: &'static str,
    /// What was reached.
    pub value: f64,
    /// What is wanted, as text with its direction.
    pub target: String,
    /// Whether it is.
    pub ok: bool,
}

impl Report {
    pub(crate) fn of(world: &mut World, end: u64) -> Self {
        let mut totals = Totals::default();
        let mut latencies = Vec::new();
        let mut viewers = Vec::new();
        for index in 1..world.nodes.len() {
            let viewer = totals.add(world, index, end);
            latencies.extend_from_slice(&world.nodes[index].latencies);
            viewers.push(viewer);
        }
        latencies.sort_unstable();
        let mut startups: Vec<u64> = viewers.iter().filter_map(|viewer| viewer.startup_ms).collect();
        startups.sort_unstable();
        world.recoveries.sort_unstable();
        let rate = world.scenario.stream.rate as f64;
        let started: Vec<&ViewerReport> =
            viewers.iter().filter(|viewer| viewer.startup_ms.is_some()).collect();
        let n_good = started.iter().filter(|viewer| viewer.continuity >= 0.99).count();
        let media = totals.from_peers + totals.from_server;
        let on_air = world.scenario.length.saturating_sub(world.scenario.audience.join_at);
        Self {
            scenario: world.scenario.name.clone(),
            seed: world.seed(),
            continuity: ratio(started.iter().map(|viewer| viewer.continuity).sum(), started.len() as f64),
            viewers_at_99: ratio(n_good as f64, started.len() as f64),
            stalled_s_per_hour: ratio(
                totals.stalled as f64 * 3600.0,
                (totals.played + totals.stalled) as f64,
            ),
            longest_stall_ms: viewers.iter().map(|viewer| viewer.longest_stall_ms).max().unwrap_or(0),
            latency_ms: [at(&latencies, 50), at(&latencies, 95), at(&latencies, 99), at(&latencies, 100)]
                .map(|micros| micros / 1000),
            startup_ms: [at(&startups, 50), at(&startups, 95), at(&startups, 100)],
            n_never_started: viewers.iter().filter(|v| v.startup_ms.is_none() && v.seconds > 5.0).count(),
            server_copies: ratio(world.server_len as f64 * 8.0, rate * on_air.as_secs_f64()),
            server_copies_peak: world.busiest_second as f64 * 8.0 / rate,
            offload: ratio(totals.from_peers as f64, media as f64),
            control_share: ratio(totals.control as f64, media as f64),
            waste: ratio(totals.wasted as f64, media as f64),
            pulls_per_minute: ratio(totals.requested as f64 * 60e6, (totals.played + totals.stalled) as f64),
            recovery_ms: [at(&world.recoveries, 50), at(&world.recoveries, 99)].map(|micros| micros / 1000),
            n_events: world.n_events(),
            violations: world.violations.clone(),
            viewers,
        }
    }

    /// The goals of issue and overlay that this scenario speaks to.
    pub fn goals(&self) -> Vec<Goal> {
        let longest_limit = if self.scenario == "kill-feeder" { 1000.0 } else { 500.0 };
        let at_least = |name, value: f64, target: f64| Goal {
            name,
            value,
            target: format!(">= {target}"),
            ok: value >= target,
        };
        let at_most = |name, value: f64, target: f64| Goal {
            name,
            value,
            target: format!("<= {target}"),
            ok: value <= target,
        };
        let mut goals = vec![
            at_least("viewers with 99 % continuity", self.viewers_at_99, 0.99),
            at_most("latency p99, ms", self.latency_ms[2] as f64, 2500.0),
            at_most("start-up p50, ms", self.startup_ms[0] as f64, 1000.0),
            at_most("start-up p95, ms", self.startup_ms[1] as f64, 2000.0),
            at_most("violations", self.violations.len() as f64, 0.0),
        ];
        if self.scenario != "tracker-restart" {
            goals.push(at_most("longest stall, ms", self.longest_stall_ms as f64, longest_limit));
        }
        if self.recovery_ms[1] > 0 {
            goals.push(at_most(
                "provider replaced after silent death p99, ms",
                self.recovery_ms[1] as f64,
                1000.0,
            ));
        }
        goals
    }

    /// For people.
    pub fn table(&self) -> String {
        let [l50, l95, l99, l100] = self.latency_ms;
        let [s50, s95, s100] = self.startup_ms;
        let [r50, r99] = self.recovery_ms;
        let rows = [
            ("viewers", format!("{} ({} never started)", self.viewers.len(), self.n_never_started)),
            (
                "continuity",
                format!("{:.4} mean, {:.3} of viewers at 99 %", self.continuity, self.viewers_at_99),
            ),
            ("stalls", format!("{:.1} s/h, longest {} ms", self.stalled_s_per_hour, self.longest_stall_ms)),
            ("latency", format!("p50 {l50}  p95 {l95}  p99 {l99}  max {l100} ms")),
            ("start-up", format!("p50 {s50}  p95 {s95}  max {s100} ms")),
            ("server", format!("{:.2} copies, peak {:.2}", self.server_copies, self.server_copies_peak)),
            ("offload", format!("{:.3}", self.offload)),
            ("control", format!("{:.4} of media, waste {:.4}", self.control_share, self.waste)),
            ("pulls", format!("{:.1} per viewer-minute", self.pulls_per_minute)),
            ("recovery", format!("p50 {r50}  p99 {r99} ms")),
        ];
        let mut text = format!("sim {} seed {}\n", self.scenario, self.seed);
        for (name, value) in rows {
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

    /// For programs: one line.
    pub fn json(&self, run: &Value) -> String {
        let bench = format!("sim/{}", self.scenario);
        json!({ "bench": bench, "rows": [self], "goals": self.goals(), "run": run }).to_string()
    }
}

/// Sums over all viewers.
#[derive(Default)]
struct Totals {
    played: u64,
    stalled: u64,
    from_peers: u64,
    from_server: u64,
    control: u64,
    wasted: u64,
    requested: u64,
}

impl Totals {
    fn add(&mut self, world: &mut World, index: usize, end: u64) -> ViewerReport {
        let node = &mut world.nodes[index];
        let until = node.left_at.unwrap_or(end).min(end);
        if node.is_alive {
            node.player.state(until);
        }
        let stats = node.peer.stats(node.instant(until));
        let stalls = node.player.stalls(until);
        let stalled: u64 = stalls.iter().map(|(from, to)| to - from).sum();
        let played = node.player.played;
        self.played += played;
        self.stalled += stalled;
        self.from_peers += stats.from_peers_len;
        self.from_server += stats.from_server_len;
        self.control += stats.control_sent_len;
        self.wasted += stats.duplicate_len;
        self.requested += stats.n_requested;
        let mut latencies = node.latencies.clone();
        latencies.sort_unstable();
        let latency = |percent| (!latencies.is_empty()).then(|| at(&latencies, percent) / 1000);
        ViewerReport {
            id: node.id.number(),
            seconds: (until - node.joined_at) as f64 / 1e6,
            startup_ms: node.player.started_at().map(|at| (at - node.joined_at) / 1000),
            n_stalls: stalls.len(),
            stalled_ms: stalled / 1000,
            longest_stall_ms: stalls.iter().map(|(from, to)| to - from).max().unwrap_or(0) / 1000,
            stalls_ms: stalls.iter().map(|(from, to)| (from / 1000, (to - from) / 1000)).collect(),
            continuity: ratio(played as f64, (played + stalled) as f64),
            latency_ms: latency(50),
            latency_max_ms: latency(100),
            share_from_peers: stats.share_from_peers(),
        }
    }
}

/// The value below which so many hundredths lie; 0 of nothing.
fn at(sorted: &[u64], percent: usize) -> u64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(0)
}

fn ratio(part: f64, all: f64) -> f64 {
    if all == 0.0 { 0.0 } else { part / all }
}
