//! Text that must not be in code. The list with its reasons is `words.txt`.

use super::Source;

const LIST: &str = include_str!("words.txt");

struct Rule<'a> {
    is_for_tests: bool,
    text: &'a str,
    reason: &'a str,
    exempt: Option<&'a str>,
}

pub(super) fn check(source: &Source) -> Vec<String> {
    if !matches!(source.extension(), "rs" | "ts" | "js" | "mjs" | "sh" | "css" | "html") {
        return Vec::new();
    }
    let rules = rules().filter(|rule| rule.is_for(source));
    rules.flat_map(|rule| rule.find(source)).collect()
}

impl Rule<'_> {
    fn is_for(&self, source: &Source) -> bool {
        let is_exempt = self.exempt.is_some_and(|end| source.path.ends_with(end));
        !is_exempt && (!self.is_for_tests || source.is_test())
    }

    fn find(&self, source: &Source) -> Vec<String> {
        let lines = source.text.lines().enumerate().filter(|(_, line)| self.is_in(line));
        lines
            .map(|(index, _)| source.finding(index + 1, format_args!("{:?}: {}", self.text, self.reason)))
            .collect()
    }

    /// As a word of its own: no letter before or after, where the text begins or ends with a letter.
    fn is_in(&self, line: &str) -> bool {
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        line.match_indices(self.text).any(|(at, text)| {
            let before = is_letter(line[..at].chars().next_back()) && is_letter(text.chars().next());
            let after =
                is_letter(line[at + text.len()..].chars().next()) && is_letter(text.chars().next_back());
            !before && !after
        })
    }
}

fn rules() -> impl Iterator<Item = Rule<'static>> {
    LIST.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut columns = line.split('\t');
        let (place, text, reason) = (columns.next()?, columns.next()?, columns.next()?);
        Some(Rule { is_for_tests: place == "tests", text, reason, exempt: columns.next() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        super::check(&Source { path, text })
    }

    #[test]
    fn every_rule_finds_its_text_and_gives_its_reason() {
        assert_eq!(rules().count(), LIST.lines().filter(|line| !line.starts_with('#')).count());
        for rule in rules() {
            let findings = check("a/tests/b.rs", &format!("x\n({})\n", rule.text));
            assert!(
                findings
                    .iter()
                    .any(|finding| finding.starts_with("a/tests/b.rs:2: ") && finding.ends_with(rule.reason))
            );
        }
    }

    #[test]
    fn part_of_another_word_is_none() {
        let banned = rules().next().unwrap().text;
        assert_eq!(check("a.rs", &format!("a{banned}b")), Vec::<String>::new());
    }

    #[test]
    fn rules_for_tests_leave_code_alone() {
        let rule = rules().find(|rule| rule.is_for_tests).unwrap();
        assert_eq!(check("a/src/b.rs", rule.text), Vec::<String>::new());
        assert_eq!(check("a/tests/b.rs", rule.text).len(), 1);
    }

    #[test]
    fn a_file_that_a_tool_demands_is_exempt() {
        let rule = rules().find(|rule| rule.exempt.is_some()).unwrap();
        assert_eq!(check(&format!("web/a{}", rule.exempt.unwrap()), rule.text), Vec::<String>::new());
    }

    #[test]
    fn prose_may_use_any_word() {
        assert_eq!(check("docs/a.md", rules().next().unwrap().text), Vec::<String>::new());
    }
}
