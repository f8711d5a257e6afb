//! The house's own rules: what the style guide says and no other tool checks.

mod imports;
mod lengths;
mod links;
mod names;
mod words;

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{place, say, task::Task};

/// A file of the repository.
pub(crate) struct Source<'a> {
    /// Relative to the root, with `/` between directories.
    path: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn extension(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// Whether the whole file is tests.
    fn is_test(&self) -> bool {
        let mut folders = self.path.split('/');
        let name = folders.next_back().unwrap_or_default();
        folders.any(|folder| folder == "tests")
            || name == "tests.rs"
            || name.contains(".test.")
            || name.contains(".spec.")
    }

    fn finding(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// Checks every file that git knows or would add.
///
/// # Errors
/// When a rule is broken; the findings are printed.
pub(crate) fn run() -> Result<()> {
    let list = Task::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).read()?;
    let mut findings = imports::check()?;
    for path in list.lines() {
        // A file that is deleted but not yet from the index, or a picture, has no text.
        if let Ok(text) = fs::read_to_string(place::root().join(path)) {
            let source = Source { path, text: &text };
            findings.extend(lengths::check(&source));
            findings.extend(words::check(&source));
            findings.extend(names::check(&source));
            findings.extend(links::check(&source));
        }
    }
    for finding in &findings {
        say!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        n => bail!("the house's rules are broken in {n} places"),
    }
}

/// The text of a file of the workspace.
fn read(path: &str) -> Result<String> {
    fs::read_to_string(place::root().join(path)).with_context(|| format!("cannot read {path}"))
}
