//! Packages from a Debian or Ubuntu machine's own package manager.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::{place, say, task::Task};

/// Long enough for 400 MB on a slow line (wild guess).
const LIMIT: Duration = Duration::from_mins(15);

/// Installs `packages`; `purpose` completes "needed …".
///
/// # Errors
/// When it cannot be done; the error names the command that would.
pub(super) fn install(packages: &[&str], purpose: &str) -> Result<()> {
    let command = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if place::program(&["apt-get"]).is_none() {
        bail!("needed {purpose}; on Debian or Ubuntu this installs it: {command}");
    }
    if !is_root() {
        bail!("needed {purpose}; install it with: sudo {command}");
    }
    say!("installing with apt-get, {purpose}: {}", packages.join(" "));
    let install = || apt_get("install").args(["-y", "--no-install-recommends"]).args(packages).run();
    // A fresh image has no package lists, an old one lists versions that are gone: both are cured by an update.
    install()
        .or_else(|_| apt_get("update").run().and_then(|()| install()))
        .map_err(|error| error.context(format!("needed {purpose}; this failed: {command}")))
}

fn apt_get(subcommand: &str) -> Task {
    Task::new("apt-get").args(["-q", subcommand]).env("DEBIAN_FRONTEND", "noninteractive").limit(LIMIT)
}

#[cfg(unix)]
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}
