//! What a run cost: time and memory of this machine, which no report depends on.

use serde::Serialize;

use crate::Report;

/// What a run cost.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Seconds it took.
    pub wall_s: f64,
    /// Events of the simulation.
    pub n_events: u64,
    /// Of these, in each second.
    pub events_per_s: f64,
    /// The process's memory at its highest, where the system tells.
    pub peak_bytes: Option<u64>,
    /// What that is for each viewer.
    pub bytes_per_peer: Option<u64>,
}

impl Cost {
    /// The cost of a run that took so many seconds and is just over.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn of(report: &Report, wall_s: f64) -> Self {
        let peak_bytes = peak_bytes();
        Self {
            wall_s,
            n_events: report.n_events,
            events_per_s: report.n_events as f64 / wall_s,
            peak_bytes,
            bytes_per_peer: peak_bytes.map(|bytes| bytes / report.viewers.len().max(1) as u64),
        }
    }

    /// For people.
    pub fn line(&self) -> String {
        let memory = self.peak_bytes.zip(self.bytes_per_peer).map(|(peak, each)| {
            format!("; {} MiB of memory, {} KiB for each viewer", peak / 1024 / 1024, each / 1024)
        });
        let Self { wall_s, n_events, events_per_s, .. } = self;
        format!(
            "{n_events} events in {wall_s:.1} s, {events_per_s:.0} per second{}",
            memory.unwrap_or_default()
        )
    }
}

/// The highest resident memory of this process; `None` where there is no /proc.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
