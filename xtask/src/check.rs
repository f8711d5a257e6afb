//! What can be said about the code without running it.

use anyhow::Result;

use crate::{
    artefacts, say,
    setup::{self, Packages},
    task::Task,
    tidy,
};

/// Formatting, lints, types and the house's own rules; the quick ones first.
pub(crate) fn run() -> Result<()> {
    setup::lints()?;
    tidy::run()?;
    rust()?;
    typescript()?;
    say!("check: all is well");
    Ok(())
}

/// rustfmt and Clippy; a warning is an error.
fn rust() -> Result<()> {
    Task::cargo("fmt").args(["--all", "--check"]).run()?;
    Task::cargo("fmt").args(["--check"]).dir("tests/fuzz/libfuzzer".as_ref()).run()?;
    Task::cargo("clippy").args(["--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]).run()
}

/// Biome and the compiler, which needs the types of the bundled peer.
fn typescript() -> Result<()> {
    artefacts::peer()?;
    for packages in [Packages::Web, Packages::BrowserTests] {
        setup::packages(packages)?;
        Task::npm(packages.dir()).args(["run", "--silent", "check"]).run()?;
    }
    Ok(())
}
