//! cargo-mutants, which breaks code on purpose to see whether the tests notice.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{place, say, task::Task};

/// Pinned, so that two runs differ only by the code. Built into the cache once (some three minutes on two cores).
const VERSION: &str = "27.1.0";

/// `cargo mutants`, to be given arguments; it works on a copy, and leaves its report in `target/mutants.out`.
pub(crate) fn find_or_install() -> Result<Task> {
    let root = place::cache().join(format!("cargo-mutants-{VERSION}"));
    let program = root.join("bin").join(format!("cargo-mutants{}", std::env::consts::EXE_SUFFIX));
    if !program.is_file() {
        install(&root)?;
    }
    let output = place::target();
    Ok(Task::new(program).args(["mutants", "--output"]).args([output]))
}

fn install(root: &Path) -> Result<()> {
    say!("building cargo-mutants {VERSION} into {}; this happens once", root.display());
    let install = Task::cargo("install")
        .args(["cargo-mutants", "--locked", "--version", &format!("={VERSION}"), "--root"])
        .args([root]);
    install.run().with_context(|| {
        format!("cargo-mutants is needed; install it with: cargo install cargo-mutants --locked --version ={VERSION}")
    })
}
