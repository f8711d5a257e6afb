//! Doing a step again only when what it reads has changed.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{place, say};

/// Directories whose content is made, not written.
const MADE: [&str; 4] = ["node_modules", "dist", "results", "target"];

/// Runs `work` unless nothing below `inputs` has changed since the last time it went well, nor the `output` it left.
pub(crate) fn if_changed(
    step: &str,
    inputs: &[&Path],
    output: &Path,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stamp = place::target().join("xtask").join(step);
    let now = || Ok::<_, anyhow::Error>(format!("{} {}", digest(inputs)?, digest(&[output])?));
    let before = now()?;
    let is_fresh = output.exists() && fs::read_to_string(&stamp).is_ok_and(|then| then == before);
    if is_fresh {
        say!("{step}: up to date");
        return Ok(());
    }
    say!("{step}");
    work()?;
    let dir = stamp.parent().unwrap_or(&stamp);
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::write(&stamp, now()?).with_context(|| format!("cannot write {}", stamp.display()))
}

/// A digest of the names and contents of all files below `paths`. It tells changes, not attacks.
fn digest(paths: &[&Path]) -> Result<String> {
    let mut files = BTreeSet::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    let mut hasher = DefaultHasher::new();
    for file in &files {
        file.hash(&mut hasher);
        fs::read(file).with_context(|| format!("cannot read {}", file.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.insert(path.to_owned());
    }
    if !path.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        let entry = entry?;
        let is_made = MADE.iter().any(|made| entry.file_name() == *made);
        if !is_made && !entry.file_type()?.is_symlink() {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that ends with the test.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("xtask-fresh-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn digest(&self) -> String {
            digest(&[&self.0]).unwrap()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn content_names_and_new_files_change_the_digest() {
        let dir = Dir::new("changes");
        dir.write("a/b", "one");
        let first = dir.digest();
        assert_eq!(first, dir.digest());
        dir.write("a/b", "two");
        let second = dir.digest();
        dir.write("a/c", "");
        assert_ne!(first, second);
        assert_ne!(second, dir.digest());
    }

    #[test]
    fn made_directories_do_not_count() {
        let dir = Dir::new("made");
        dir.write("a", "one");
        let first = dir.digest();
        dir.write("node_modules/x/y", "");
        dir.write("dist/z", "");
        assert_eq!(first, dir.digest());
    }
}
