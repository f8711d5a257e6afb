//! The scheduler's sources with mutations in them.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};

use super::{Mutation, SWITCH};
use crate::{place, task::Task};

/// What is copied: the scheduler and what it is built from.
const ROOMS: [&str; 3] = ["wire", "media", "swarm"];
const MANIFEST: &str = "Cargo.toml";
const CRATE: &str = "swarm/src/lib.rs";

/// Files by their path relative to the workspace's root.
pub(super) struct Sources(BTreeMap<String, Vec<u8>>);

impl Sources {
    /// As git knows them or would add them, in a workspace of their own.
    pub(super) fn of_scheduler() -> Result<Self> {
        let list = Task::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "--"]);
        let list = list.args(ROOMS).args([MANIFEST, "Cargo.lock"]).read()?;
        let mut sources = Self(BTreeMap::new());
        for path in list.lines() {
            // What is deleted, but not yet from the index, is not copied.
            if let Ok(bytes) = fs::read(place::root().join(path)) {
                sources.0.insert(path.to_owned(), bytes);
            }
        }
        sources.change(MANIFEST, of_their_own)?;
        sources.change(CRATE, |text| Ok(with_switch(text)))?;
        Ok(sources)
    }

    /// Puts a mutation beside what it changes; it is on when the switch names its number.
    pub(super) fn plant(&mut self, number: usize, mutation: &Mutation) -> Result<()> {
        let path = format!("swarm/src/{}", mutation.file);
        self.change(&path, |text| planted(text, number, mutation)).with_context(|| format!("in {path}"))
    }

    /// Writes what is not there yet, as what stays as it is need not be built again; removes what is left of older sources.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        for room in ROOMS {
            self.tidy(root, &root.join(room))?;
        }
        for (path, bytes) in &self.0 {
            let path = root.join(path);
            if fs::read(&path).is_ok_and(|old| old == *bytes) {
                continue;
            }
            let dir = path.parent().unwrap_or(root);
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn tidy(&self, root: &Path, dir: &Path) -> Result<()> {
        let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            if path.is_dir() {
                self.tidy(root, &path)?;
            } else if !self.0.contains_key(&name) {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn change(&mut self, path: &str, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
        let bytes = self.0.get_mut(path).with_context(|| format!("there is no {path}"))?;
        let text = str::from_utf8(bytes).with_context(|| format!("{path} is no text"))?;
        *bytes = change(text)?.into_bytes();
        Ok(())
    }
}

fn planted(text: &str, number: usize, Mutation { from, to, .. }: &Mutation) -> Result<String> {
    match text.matches(from).count() {
        1 => {
            Ok(text.replace(from, &format!("(if crate::is_mutated({number}) {{ {to} }} else {{ {from} }})")))
        }
        n => bail!("`{from}` stands there {n} times, not once; the list of mutations has to follow the code"),
    }
}

/// Another version, so that what is built from the copy is not taken for what is built from the original: cargo tells
/// packages apart by name, version, and place in their workspace.
fn of_their_own(manifest: &str) -> Result<String> {
    let manifest = manifest.replacen("version = \"", "version = \"999", 1);
    let (before, rest) = manifest.split_once("members = [").context("the workspace has no members")?;
    let (_, after) = rest.split_once(']').context("the workspace's members do not end")?;
    Ok(format!("{before}members = {ROOMS:?}{after}"))
}

fn with_switch(text: &str) -> String {
    format!(
        "#![allow(warnings, clippy::all)]\n{text}\n\
         fn is_mutated(number: usize) -> bool {{\n    \
             static ON: std::sync::LazyLock<Option<usize>> =\n        \
                 std::sync::LazyLock::new(|| std::env::var(\"{SWITCH}\").ok()?.parse().ok());\n    \
             *ON == Some(number)\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUTATION: Mutation =
        Mutation { what: "it lies", file: "a.rs", from: "1 + 1", to: "3", noticed_by: ("--lib", "sums") };

    #[test]
    fn a_mutation_stands_beside_what_it_changes() {
        let text = planted("let two = 1 + 1;", 7, &MUTATION).unwrap();
        assert_eq!(text, "let two = (if crate::is_mutated(7) { 3 } else { 1 + 1 });");
    }

    #[test]
    fn a_mutation_of_what_is_not_there_once_is_an_error() {
        for text in ["let two = 2;", "let four = (1 + 1) * (1 + 1);"] {
            assert!(planted(text, 7, &MUTATION).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_source_any_more_is_removed_from_the_copy() {
        let root = std::env::temp_dir().join(format!("cardume-mutate-{}", std::process::id()));
        let old = Sources(BTreeMap::from([("swarm/tests/a.rs".to_owned(), b"old".to_vec())]));
        let new = Sources(BTreeMap::from([("swarm/tests/a/main.rs".to_owned(), b"new".to_vec())]));
        old.write(&root).unwrap();
        new.write(&root).unwrap();
        let is_there = |path: &str| root.join(path).exists();
        assert!(!is_there("swarm/tests/a.rs") && is_there("swarm/tests/a/main.rs"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_copy_is_a_workspace_of_the_scheduler_alone_and_of_another_version() {
        let original =
            "[workspace]\nmembers = [\"wire\", \"web\"]\n[workspace.package]\nversion = \"0.1.0\"\n";
        let copy = "[workspace]\nmembers = [\"wire\", \"media\", \"swarm\"]\n[workspace.package]\nversion = \"9990.1.0\"\n";
        assert_eq!(of_their_own(original).unwrap(), copy);
    }
}
