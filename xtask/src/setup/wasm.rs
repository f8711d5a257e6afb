//! The compiler for WebAssembly.

use std::{env, fmt, path::Path, time::Duration};

use anyhow::{Result, bail};

use super::debian;
use crate::{place, say, task::Task};

const TARGET: &str = "wasm32-unknown-unknown";
/// Where the peer is built; apart from the host's, since the compiler may be another one.
const TARGET_DIR: &str = "target-wasm";
/// Forces a choice, `rustup` or `debian`, where the usual order would take the other one.
const CHOICE: &str = "CARDUME_WASM_TOOLCHAIN";
/// `rustup target add` fetches 20 MB; where it cannot, some networks swallow the request instead of refusing it.
const RUSTUP_LIMIT: Duration = Duration::from_mins(3);

const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-19";
const DEBIAN_STD: &str = "lib/rustlib/src/rust/library/std/Cargo.toml";

/// A compiler that can build the browser peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The one that builds everything else, with the target's standard library installed.
    Host,
    /// Debian's compiler for web browsers, which builds the standard library from source: needs no download but
    /// packages.
    Debian,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the installed wasm32 target",
            Self::Debian => "Debian's rustc-web, with the standard library built from source",
        })
    }
}

impl Toolchain {
    /// The first that works of: the installed target, `rustup target add`, Debian's compiler. Says which.
    pub(crate) fn find_or_install() -> Result<Self> {
        let choice = env::var(CHOICE).unwrap_or_default();
        let toolchain = match choice.as_str() {
            "" => Self::host().or_else(|_| Self::debian()),
            "rustup" => Self::host(),
            "debian" => Self::debian(),
            other => bail!("{CHOICE} is {other:?}, but must be rustup or debian"),
        }?;
        say!("compiling to WebAssembly with {toolchain}");
        Ok(toolchain)
    }

    fn host() -> Result<Self> {
        if has_target()? {
            return Ok(Self::Host);
        }
        say!("installing the target {TARGET} with rustup");
        let add = Task::new("rustup").args(["target", "add", TARGET]).limit(RUSTUP_LIMIT).run();
        match add {
            Ok(()) if has_target()? => Ok(Self::Host),
            Ok(()) => bail!("rustup added {TARGET} to another toolchain than the one in use"),
            Err(error) => {
                say!("that did not work: {error:#}");
                Err(error.context(format!("needed to build the browser peer: rustup target add {TARGET}")))
            }
        }
    }

    fn debian() -> Result<Self> {
        if !has_debian() {
            debian::install(
                &DEBIAN_PACKAGES,
                "to build the browser peer (or use: rustup target add \
                wasm32-unknown-unknown)",
            )?;
        }
        if !has_debian() {
            bail!(
                "the packages {} are installed, but not where they were expected",
                DEBIAN_PACKAGES.join(" ")
            );
        }
        Ok(Self::Debian)
    }

    /// `cargo subcommand`, to be given arguments, that compiles for the browser.
    pub(crate) fn cargo(self, subcommand: &str) -> Task {
        let cargo = match self {
            Self::Host => Task::cargo(subcommand),
            Self::Debian => Task::new(DEBIAN_CARGO)
                .args([subcommand, "-Z", "build-std=std,panic_abort"])
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
                .without_env("CARGO")
                .without_env("RUSTUP_TOOLCHAIN"),
        };
        cargo.args(["--target", TARGET]).env("CARGO_TARGET_DIR", place::root().join(TARGET_DIR))
    }
}

/// Where cargo leaves what it builds with `profile`.
pub(crate) fn output_dir(profile: &str) -> std::path::PathBuf {
    place::root().join(TARGET_DIR).join(TARGET).join(profile)
}

fn has_target() -> Result<bool> {
    let print = ["--print", "target-libdir", "--target", TARGET];
    let dir = Task::new("rustc").args(print).read()?;
    Ok(Path::new(dir.trim()).is_dir())
}

fn has_debian() -> bool {
    let programs = [DEBIAN_CARGO, DEBIAN_RUSTC, DEBIAN_LINKER];
    let has_std = || {
        let sysroot = Task::new(DEBIAN_RUSTC).args(["--print", "sysroot"]).read();
        sysroot.is_ok_and(|dir| Path::new(dir.trim()).join(DEBIAN_STD).is_file())
    };
    programs.iter().all(|program| Path::new(program).is_file()) && has_std()
}
