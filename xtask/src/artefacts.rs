//! The artefacts, each built from the one before: the peer in WebAssembly, the web site, the tracker.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    fresh, place,
    setup::{Bindgen, Packages, Toolchain, packages, wasm_output_dir},
    task::Task,
};

/// The profile of the root Cargo.toml that optimises for size.
const PROFILE: &str = "wasm";
const MODULE: &str = "cardume_peer_wasm";
const PACKAGE: &str = "cardume-peer-wasm";
/// Generated: JavaScript, its types and the module; not in the repository.
const BUNDLE_DIR: &str = "web/src/wasm";

/// Builds everything; the path of the tracker.
pub(crate) fn build() -> Result<PathBuf> {
    peer()?;
    site()?;
    tracker()
}

/// Builds the peer and its JavaScript into `web/src/wasm`.
pub(crate) fn peer() -> Result<()> {
    let toolchain = Toolchain::find_or_install()?;
    let bindgen = Bindgen::find_or_install()?;
    packages(Packages::Web)?;
    toolchain.cargo("build").args(["--profile", PROFILE, "--lib", "--package", PACKAGE]).run()?;
    let module = wasm_output_dir(PROFILE).join(format!("{MODULE}.wasm"));
    let bundle = place::root().join(BUNDLE_DIR);
    let bundled = bundle.join(format!("{MODULE}_bg.wasm"));
    let packages = place::root().join("web/package-lock.json");
    fresh::if_changed("peer bundle", &[&module, &packages], &bundled, || {
        bindgen
            .bundle()
            .args(["--target", "web", "--remove-name-section", "--remove-producers-section", "--out-dir"])
            .args([&bundle, &module])
            .run()?;
        optimise(&bundled)
    })
}

/// Builds the pages, the element and the snippet into `web/dist`.
pub(crate) fn site() -> Result<()> {
    packages(Packages::Web)?;
    let web = place::root().join(Packages::Web.dir());
    fresh::if_changed("web site", &[&web], &web.join("dist/index.html"), || {
        Task::npm(Packages::Web.dir()).args(["run", "build"]).run()
    })
}

/// Builds the tracker with the site inside; its path.
pub(crate) fn tracker() -> Result<PathBuf> {
    // Named, so that a build from before the site was there is made anew: see tracker/build.rs.
    Task::cargo("build")
        .args(["--release", "--package", "cardume", "--bin", "cardume"])
        .env("CARDUME_WEB_DIST", place::root().join("web/dist"))
        .run()?;
    let tracker = tracker_path();
    ensure!(tracker.is_file(), "cargo built the tracker, but not as {}", tracker.display());
    Ok(tracker)
}

/// Where [`tracker`] leaves the tracker.
pub(crate) fn tracker_path() -> PathBuf {
    place::target().join("release").join(format!("cardume{}", env::consts::EXE_SUFFIX))
}

/// Makes the module smaller, in place.
fn optimise(module: &Path) -> Result<()> {
    let wasm_opt = place::root().join("web/node_modules/binaryen/bin/wasm-opt");
    Task::new("node")
        .args([&wasm_opt, module])
        .args(["-Os", "-o"])
        .args([module])
        .run()
        .context("wasm-opt comes with the npm packages of web/")
}
