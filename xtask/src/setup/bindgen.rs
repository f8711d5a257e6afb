//! wasm-bindgen's own program, which must be exactly as old as the library that is linked.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{place, say, task::Task};

/// `wasm-bindgen` and its test runner, of the version in Cargo.lock.
pub(crate) struct Bindgen {
    dir: PathBuf,
}

impl Bindgen {
    /// From the PATH, from the cache, or built from source into the cache (about five minutes on two cores).
    pub(crate) fn find_or_install() -> Result<Self> {
        let version = locked_version("wasm-bindgen")?;
        let on_path = place::program(&["wasm-bindgen"]).and_then(|path| path.parent().map(Path::to_owned));
        let root = place::cache().join(format!("wasm-bindgen-{version}"));
        let cached = Self { dir: root.join("bin") };
        let found = on_path.map(|dir| Self { dir }).filter(|found| found.is(&version));
        if let Some(found) = found {
            return Ok(found);
        }
        if !cached.is(&version) {
            install(&version, &root)?;
        }
        if !cached.is(&version) {
            bail!("wasm-bindgen-cli {version} was built, but {} does not run", cached.dir.display());
        }
        Ok(cached)
    }

    /// Turns a module into a browser package: `wasm-bindgen`.
    pub(crate) fn bundle(&self) -> Task {
        Task::new(self.dir.join("wasm-bindgen"))
    }

    /// Runs a test module in a browser: `wasm-bindgen-test-runner`.
    pub(crate) fn test_runner(&self) -> PathBuf {
        self.dir.join(format!("wasm-bindgen-test-runner{}", std::env::consts::EXE_SUFFIX))
    }

    fn is(&self, version: &str) -> bool {
        let runs = self.bundle().args(["--version"]).read();
        let is_right = runs.is_ok_and(|text| text.split_whitespace().nth(1) == Some(version));
        is_right && self.test_runner().is_file()
    }
}

/// Quick to build rather than quick to run: it handles one small module.
fn install(version: &str, root: &Path) -> Result<()> {
    say!("building wasm-bindgen {version} into {}; this happens once", root.display());
    let install = Task::cargo("install")
        .args(["wasm-bindgen-cli", "--debug", "--force", "--version", &format!("={version}"), "--root"])
        .args([root])
        .env("CARGO_TARGET_DIR", root.join("target"))
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    install.run().with_context(|| {
        format!(
            "wasm-bindgen is needed; install it with: cargo install wasm-bindgen-cli --version ={version}"
        )
    })?;
    fs::remove_dir_all(root.join("target")).context("cannot clean up after building wasm-bindgen")
}

/// The version of `package` in Cargo.lock.
fn locked_version(package: &str) -> Result<String> {
    let lock = fs::read_to_string(place::root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    find_version(&lock, package).with_context(|| format!("Cargo.lock does not name {package}"))
}

fn find_version(lock: &str, package: &str) -> Option<String> {
    let (_, rest) = lock.split_once(&format!("\nname = \"{package}\"\nversion = \""))?;
    rest.split_once('"').map(|(version, _)| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locked_version_is_of_the_package_itself() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.1\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\nsource = \"x\"\n";
        assert_eq!(find_version(lock, "wasm-bindgen").as_deref(), Some("0.2.130"));
        assert_eq!(find_version(lock, "wasm-bind"), None);
    }
}
