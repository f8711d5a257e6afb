//! Links in the documents that lead nowhere in the repository.

use std::path::Path;

use super::Source;
use crate::place;

pub(super) fn check(source: &Source) -> Vec<String> {
    if source.extension() != "md" {
        return Vec::new();
    }
    let lines = source.text.lines().enumerate();
    let found = lines.flat_map(|(index, line)| targets(line).map(move |target| (index + 1, target)));
    let dir = Path::new(source.path).parent().unwrap_or(Path::new(""));
    found
        .filter(|(_, target)| !place::root().join(dir).join(target).exists())
        .map(|(line, target)| source.finding(line, format_args!("{target} does not exist")))
        .collect()
}

/// The files that `line` links to.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let links = line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    let files = links.map(|target| target.split('#').next().unwrap_or_default());
    files.filter(|target| !target.is_empty() && !target.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_missing_files_are_found() {
        let text =
            "[a](Cargo.toml) [b](https://example.org/x) [c](#d)\n![e](missing.png) [f](xtask/src/main.rs#L1)";
        assert_eq!(check(&Source { path: "a.md", text }), ["a.md:2: missing.png does not exist"]);
    }

    #[test]
    fn links_are_relative_to_their_file() {
        assert_eq!(check(&Source { path: "docs/a.md", text: "[a](../Cargo.toml)" }), Vec::<String>::new());
    }
}
