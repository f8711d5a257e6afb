//! Names that say nothing: the style guide's list of words.

use super::Source;

/// What follows one of these is a name that is given here.
const DECLARATIONS: [&str; 12] = [
    "fn",
    "struct",
    "enum",
    "trait",
    "mod",
    "type",
    "const",
    "static",
    "function",
    "class",
    "interface",
    "let",
];
/// As any word of a name.
const EMPTY_WORDS: [&str; 5] = ["manager", "helper", "helpers", "util", "utils"];
/// As a whole name.
const EMPTY_NAMES: [&str; 3] = ["data", "info", "process"];
/// As the first word.
const EMPTY_VERB: &str = "get";
/// As the standard library and JavaScript name them.
const GIVEN: [&str; 2] = ["get_mut", "constructor"];

pub(super) fn check(source: &Source) -> Vec<String> {
    if !matches!(source.extension(), "rs" | "ts" | "js" | "mjs") {
        return Vec::new();
    }
    let lines = source.text.lines().enumerate();
    let found = lines.flat_map(|(index, line)| declared(line).map(move |name| (index + 1, name)));
    found
        .filter(|(_, name)| is_empty(name))
        .map(|(line, name)| source.finding(line, format_args!("{name} is a name that says nothing")))
        .collect()
}

/// The name that `line` declares, if it does.
fn declared(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().and_then(|code| code.split('"').next()).unwrap_or_default();
    let mut words = code.split_whitespace().skip_while(|word| !DECLARATIONS.contains(word)).skip(1);
    let name = words.find(|word| *word != "mut").and_then(|word| word.split(|c| !is_in_name(c)).next());
    name.filter(|name| !GIVEN.contains(name)).into_iter()
}

fn is_in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_empty(name: &str) -> bool {
    let words = words(name);
    EMPTY_NAMES.contains(&name)
        || words.iter().any(|word| EMPTY_WORDS.contains(&word.as_str()))
        || (words.len() > 1 && words[0] == EMPTY_VERB)
}

/// The words of a name in `snake_case` or CamelCase, in small letters.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        let starts_word = letter == '_' || letter.is_uppercase();
        if starts_word && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter != '_') {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, n_findings: usize) {
        assert_eq!(super::check(&Source { path: "a.rs", text: line }).len(), n_findings, "{line}");
    }

    #[test]
    fn empty_words_are_found_in_declarations() {
        check("pub struct PeerManager;", 1);
        check("mod utils;", 1);
        check("    pub(crate) fn get_peer(&self) {}", 1);
        check("    let data = 3;", 1);
        check("    let mut info: Vec<u8> = vec![];", 1);
        check("export class StreamHelper {", 1);
    }

    #[test]
    fn good_names_and_uses_of_others_are_left_alone() {
        check("pub struct DataChannel;", 0);
        check("    let channel = map.get_mut(key);", 0);
        check("// fn get_peer would be a bad name", 0);
        check("fn target() {}", 0);
        check("  const { data } = context.getImageData();", 0);
    }
}
