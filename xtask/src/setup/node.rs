//! Node.js and the packages of the web site and the browser tests.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{fresh, place, task::Task};

/// The oldest Node.js that Vite runs on: major and minor version.
const OLDEST_NODE: (u32, u32) = (20, 19);

/// A directory with a package.json of its own.
#[derive(Clone, Copy)]
pub(crate) enum Packages {
    Web,
    BrowserTests,
}

impl Packages {
    pub(crate) fn dir(self) -> &'static Path {
        Path::new(match self {
            Self::Web => "web",
            Self::BrowserTests => "tests/browser",
        })
    }

    fn step(self) -> &'static str {
        match self {
            Self::Web => "npm packages of the web site",
            Self::BrowserTests => "npm packages of the browser tests",
        }
    }
}

/// Installs exactly what the lock file names, unless it is installed.
pub(crate) fn packages(packages: Packages) -> Result<()> {
    check_node()?;
    let dir = place::root().join(packages.dir());
    let lock = dir.join("package-lock.json");
    fresh::if_changed(packages.step(), &[&lock], &dir.join("node_modules/.package-lock.json"), || {
        // The tests use a browser of the system; Playwright's own would be 150 MB.
        Task::npm(packages.dir()).args(["ci"]).env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1").run()
    })
}

fn check_node() -> Result<()> {
    let install = "install Node.js 20.19 or newer, for example with your package manager or from nodejs.org";
    let version = Task::new("node").args(["--version"]).read().context(install)?;
    match number(&version) {
        Some(version) if version >= OLDEST_NODE => Ok(()),
        _ => bail!("Node.js is {}, which is too old; {install}", version.trim()),
    }
}

fn number(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim().strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        assert_eq!(number("v20.19.2\n"), Some((20, 19)));
        assert_eq!(number("command not found"), None);
    }
}
