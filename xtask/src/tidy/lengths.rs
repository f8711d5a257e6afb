//! Files that are too long to be read in one sitting. (Functions are counted by Clippy.)

use super::Source;

/// The style guide's limit, without tests.
const LINE_LIMIT: usize = 500;

pub(super) fn check(source: &Source) -> Option<String> {
    let is_code = matches!(source.extension(), "rs" | "ts" | "js" | "mjs");
    let n_lines = source.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
    let is_long = is_code && !source.is_test() && n_lines > LINE_LIMIT;
    is_long.then(|| source.finding(n_lines, format_args!("{n_lines} lines without tests, over {LINE_LIMIT}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, is_fine: bool) {
        assert_eq!(super::check(&Source { path, text }).is_none(), is_fine);
    }

    #[test]
    fn code_over_the_limit_is_found() {
        check("a/src/b.rs", &"x\n".repeat(500), true);
        check("a/src/b.rs", &"x\n".repeat(501), false);
        check("web/src/b.ts", &"x\n".repeat(501), false);
    }

    #[test]
    fn tests_and_prose_do_not_count() {
        check("a/src/b.rs", &("x\n#[cfg(test)]\n".to_owned() + &"x\n".repeat(600)), true);
        check("a/tests/b.rs", &"x\n".repeat(501), true);
        check("web/src/b.test.ts", &"x\n".repeat(501), true);
        check("docs/b.md", &"x\n".repeat(501), true);
    }
}
