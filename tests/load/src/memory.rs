//! What a process takes.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::pace::pass;

/// Bytes of its resident memory.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("no such process")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no memory is told")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// The same once it does not change any more.
pub(crate) async fn settled(pid: u32) -> Result<u64> {
    let mut last = resident(pid)?;
    loop {
        pass(Duration::from_secs(2)).await;
        let now = resident(pid)?;
        if now.abs_diff(last) < 100_000 {
            return Ok(now);
        }
        last = now;
    }
}
