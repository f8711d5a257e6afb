//! What the system says of this process: memory, files, time. Nothing where it does not say it in Linux's way.

use std::fs;

/// Ticks of the system's clocks of a process in a second: fixed on Linux, where user space sees it.
const TICKS_PER_SECOND: f64 = 100.0;
/// Numbers of a line of `/proc/self/stat` behind the name of the process, which may have spaces in it.
const USER_TICKS_AT: usize = 11;
const SYSTEM_TICKS_AT: usize = 12;
const START_TICKS_AT: usize = 19;

/// This process now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) resident_len: Option<u64>,
    pub(crate) n_open_files: Option<usize>,
    pub(crate) open_file_limit: Option<u64>,
    pub(crate) cpu_seconds: Option<f64>,
    /// Since 1970.
    pub(crate) started_at_seconds: Option<f64>,
}

impl Usage {
    /// Reads some small files of `/proc`.
    pub(crate) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let ticks = |at| field(&stat, at);
        let cpu_ticks = ticks(USER_TICKS_AT).zip(ticks(SYSTEM_TICKS_AT));
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| number_after(&text, "btime"));
        let begun = boot.zip(ticks(START_TICKS_AT));
        let memory = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            resident_len: number_after(&memory, "VmRSS:").map(|kib: u64| kib * 1024),
            // One is the directory that is being read.
            n_open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1)),
            open_file_limit: open_file_limit(),
            cpu_seconds: cpu_ticks.map(|(user, system)| (user + system) / TICKS_PER_SECOND),
            started_at_seconds: begun.map(|(boot, ticks): (f64, f64)| boot + ticks / TICKS_PER_SECOND),
        }
    }
}

fn field(stat: &str, at: usize) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(at)?.parse().ok()
}

fn number_after<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(unix)]
fn open_file_limit() -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

#[cfg(not(unix))]
fn open_file_limit() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_a_past() {
        let usage = Usage::read();
        assert!(usage.resident_len.unwrap() > 1024 * 1024, "{usage:?}");
        assert!((3..10_000).contains(&usage.n_open_files.unwrap()), "{usage:?}");
        assert!(usage.open_file_limit.unwrap() >= usage.n_open_files.unwrap() as u64);
        assert!(usage.cpu_seconds.unwrap() >= 0.0);
        assert!(usage.started_at_seconds.unwrap() > 1_700_000_000.0, "{usage:?}");
    }
}
