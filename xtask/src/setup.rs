//! Installing what the commands need. What is installed is said; what cannot be is named with the command that would.

mod bindgen;
mod browser;
mod debian;
pub(crate) mod mutants;
mod node;
mod wasm;

pub(crate) use bindgen::Bindgen;
pub(crate) use browser::TestTools;
pub(crate) use node::{Packages, packages};
pub(crate) use wasm::{Toolchain, output_dir as wasm_output_dir};

use anyhow::{Context, Result};

use crate::{place, say, task::Task};

/// Everything for the other commands, so that they need no network afterwards.
pub(crate) fn all(tests: bool) -> Result<()> {
    Toolchain::find_or_install()?;
    Bindgen::find_or_install()?;
    packages(Packages::Web)?;
    if tests {
        lints()?;
        TestTools::find_or_install()?;
        packages(Packages::BrowserTests)?;
    }
    say!("set-up is complete");
    Ok(())
}

/// What network namespaces and NATs are made with; only root can make them.
pub(crate) fn network_tools() -> Result<()> {
    let tools = [("ip", "iproute2"), ("nft", "nftables")];
    let missing = tools.iter().filter(|(name, _)| place::program(&[name]).is_none());
    let missing: Vec<_> = missing.map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        debian::install(&missing, "by the laboratory of NATs")?;
    }
    Ok(())
}

/// rustfmt and Clippy, which rustup's minimal profile leaves out.
pub(crate) fn lints() -> Result<()> {
    if Task::cargo("fmt").args(["--version"]).succeeds()
        && Task::cargo("clippy").args(["--version"]).succeeds()
    {
        return Ok(());
    }
    say!("installing rustfmt and clippy with rustup");
    let add = Task::new("rustup").args(["component", "add", "rustfmt", "clippy"]);
    add.run()
        .context("rustfmt and clippy are missing; install them with: rustup component add rustfmt clippy")
}
