//! Directions of import: the line in ARCHITECTURE.md against what `cargo metadata` says.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::read;
use crate::{place, task::Task};

const PLAN: &str = "ARCHITECTURE.md";
const LINE: &str = "Direction of imports: ";
/// May see every room, and no room sees them.
const OUTSIDE: [&str; 2] = ["tests/", "xtask"];

/// The findings, each naming the crate that looks the wrong way.
pub(super) fn check() -> Result<Vec<String>> {
    let rooms = Rooms::parse(&read(PLAN)?)?;
    let metadata =
        Task::cargo("metadata").args(["--format-version", "1", "--no-deps", "--offline"]).read()?;
    let metadata =
        serde_json::from_str(&metadata).context("cargo metadata wrote something else than JSON")?;
    Ok(rooms.check(&crates(&metadata)))
}

/// A crate of the workspace, by its directory.
struct Crate {
    dir: String,
    /// Directories of the crates of the workspace that it depends on, for any purpose.
    sees: Vec<String>,
}

fn crates(metadata: &Value) -> Vec<Crate> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |package: &Value| {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let sees = dependencies.filter_map(|dependency| room(dependency["path"].as_str()?)).collect();
        let dir = room(package["manifest_path"].as_str()?.strip_suffix("Cargo.toml")?)?;
        Some(Crate { dir, sees })
    };
    packages.iter().filter_map(of).collect()
}

/// `path` relative to the workspace's root.
fn room(path: &str) -> Option<String> {
    let room = std::path::Path::new(path).strip_prefix(place::root()).ok()?;
    Some(room.to_string_lossy().replace('\\', "/"))
}

/// How far each room is up the chain: it may see the rooms below its own level.
struct Rooms(BTreeMap<String, usize>);

impl Rooms {
    /// Reads the chains, such as `` `a <- b <- {c, d}` ``, of the sentence on directions.
    fn parse(plan: &str) -> Result<Self> {
        let (_, rest) = plan.split_once(LINE).with_context(|| format!("{PLAN} has no line {LINE:?}"))?;
        let sentence = rest.split(['\n', ';']).next().unwrap_or_default();
        let chains = sentence.split('`').skip(1).step_by(2);
        let mut levels = BTreeMap::new();
        for chain in chains {
            let mut level = 0;
            for rooms in chain.split("<-") {
                for room in
                    rooms.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|room| !room.is_empty())
                {
                    level = *levels.entry(room.to_owned()).or_insert(level);
                }
                level += 1;
            }
        }
        ensure!(!levels.is_empty(), "{PLAN} names no directions of import");
        Ok(Self(levels))
    }

    fn check(&self, crates: &[Crate]) -> Vec<String> {
        let pairs =
            crates.iter().flat_map(|from| from.sees.iter().map(move |to| (from.dir.as_str(), to.as_str())));
        let unknown =
            crates.iter().filter(|known| !is_outside(&known.dir) && !self.0.contains_key(&known.dir));
        let unknown =
            unknown.map(|room| format!("{PLAN}: the directions of import do not name {}", room.dir));
        let wrong = pairs.filter(|(from, to)| !self.allows(from, to));
        unknown.chain(wrong.map(|(from, to)| format!("{from} must not depend on {to} ({PLAN})"))).collect()
    }

    fn allows(&self, from: &str, to: &str) -> bool {
        match (is_outside(from), is_outside(to)) {
            (_, true) => false,
            (true, false) => true,
            (false, false) => self.0.get(to) < self.0.get(from),
        }
    }
}

fn is_outside(room: &str) -> bool {
    OUTSIDE.iter().any(|outside| room.starts_with(outside))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str =
        "Direction of imports: `wire <- media <- {tab, node}`, `tab <- web`; the tests see all\n";

    #[track_caller]
    fn check(from: &str, to: &str, is_allowed: bool) {
        let rooms = Rooms::parse(PLAN).unwrap();
        let crates = [Crate { dir: from.into(), sees: vec![to.into()] }];
        assert_eq!(rooms.check(&crates).is_empty(), is_allowed, "{from} sees {to}");
    }

    #[test]
    fn a_room_sees_what_is_below_it() {
        check("media", "wire", true);
        check("node", "wire", true);
        check("web", "tab", true);
    }

    #[test]
    fn a_room_does_not_see_what_is_above_or_beside_it() {
        check("wire", "media", false);
        check("tab", "node", false);
    }

    #[test]
    fn tests_see_all_and_nothing_sees_them() {
        check("tests/sim", "node", true);
        check("media", "tests/sim", false);
        check("xtask", "tests/sim", false);
    }

    #[test]
    fn a_room_that_the_plan_does_not_name_is_found() {
        let rooms = Rooms::parse(PLAN).unwrap();
        let findings = rooms.check(&[Crate { dir: "attic".into(), sees: vec![] }]);
        assert_eq!(findings, ["ARCHITECTURE.md: the directions of import do not name attic"]);
    }

    #[test]
    fn the_workspace_keeps_to_its_plan() {
        assert_eq!(super::check().unwrap(), Vec::<String>::new());
    }
}
