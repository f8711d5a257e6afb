//! The laboratory of NATs: which two viewers connect how.

use anyhow::Result;

use crate::{
    artefacts,
    setup::{Packages, TestTools, network_tools, packages},
    task::Task,
};

/// Builds everything, and prints which pair of NATs connects how, with the relay and without; fails when one does worse than it can.
pub(crate) fn run() -> Result<()> {
    let tools = TestTools::find_or_install()?;
    network_tools()?;
    let tracker = artefacts::build()?;
    packages(Packages::BrowserTests)?;
    tools
        .named_in(Task::npm(Packages::BrowserTests.dir()))
        .env("CARDUME_BIN", tracker)
        .args(["run", "--silent", "nat"])
        .print()
}
