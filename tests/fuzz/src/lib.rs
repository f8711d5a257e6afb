//! Fuzz targets as plain functions, their seeds, and a seeded mutator.
//!
//! A target takes any bytes and panics when the code under it breaks a promise. `libfuzzer/` runs them guided by
//! coverage; `tests/smoke.rs` runs them briefly, the same way each time.

#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a fuzz target fails by panicking")]

pub mod film;
mod mutator;
pub mod seeds;
pub mod session;
pub mod targets;

pub use mutator::Mutator;

/// A target by its name, with inputs to start from.
pub struct Target {
    /// As in `libfuzzer/targets/`.
    pub name: &'static str,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Valid inputs, and some that are refused.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [Target; 11] = [
    Target { name: "link", run: targets::link, seeds: seeds::link },
    Target { name: "signal", run: targets::signal, seeds: seeds::signal },
    Target { name: "cutter", run: targets::cutter, seeds: seeds::cutter },
    Target { name: "catalog", run: targets::catalog, seeds: seeds::catalog },
    Target { name: "descriptor", run: targets::descriptor, seeds: seeds::descriptor },
    Target { name: "index", run: targets::index, seeds: seeds::index },
    Target { name: "session", run: session::session, seeds: session::scripts },
    Target { name: "film", run: film::film, seeds: film::scripts },
    Target { name: "webtorrent", run: targets::webtorrent, seeds: seeds::webtorrent },
    Target { name: "relay", run: targets::relay, seeds: cardume::relay::fuzzing::seeds },
    Target { name: "cluster", run: targets::cluster, seeds: cardume::cluster::fuzzing::seeds },
];
