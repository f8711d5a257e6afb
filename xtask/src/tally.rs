//! How many tests passed and failed, read from what the test runners print.

/// The outcome of one or more test runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Counts what one line of a runner's output reports; other lines count nothing.
    ///
    /// Understood are the closing lines of `cargo test` and `wasm-bindgen-test` (`test result: ok. 3 passed; …`), of
    /// nextest (`Summary [1.0s] 3 tests run: 3 passed, …`), of Playwright (`  3 passed (1.0s)`, `  1 failed`) and of
    /// Vitest (`Tests  1 failed | 3 passed (4)`).
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colours(line);
        let line = line.trim();
        let is_total = line.starts_with("test result:")
            || line.starts_with("Summary [")
            || line.starts_with("Tests ")
            || is_playwright_total(line);
        if is_total {
            self.passed += number_before(line, "passed");
            self.failed += number_before(line, "failed");
        }
    }
}

/// Playwright gives each outcome a line of its own: a number, a word, and for the passed ones the time.
fn is_playwright_total(line: &str) -> bool {
    let mut words = line.split(' ');
    let starts_so = words.next().is_some_and(|word| word.parse::<u32>().is_ok())
        && matches!(words.next(), Some("passed" | "failed"));
    starts_so && words.next().is_none_or(|rest| rest.starts_with('('))
}

fn number_before(line: &str, outcome: &str) -> u32 {
    let words: Vec<&str> =
        line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let number = words.windows(2).find(|pair| pair[1] == outcome).and_then(|pair| pair[0].parse().ok());
    number.unwrap_or(0)
}

/// `line` without the ANSI sequences that set colours (ESC `[` … `m`).
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(output: &str, passed: u32, failed: u32) {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        assert_eq!(tally, Tally { passed, failed });
    }

    #[test]
    fn cargo_test_counts_each_binary() {
        check(
            "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            8,
            1,
        );
    }

    #[test]
    fn nextest_counts_its_summary_only() {
        check(
            "PASS [ 0.1s] a\n     Summary [   0.12s] 42 tests run: 40 passed (1 slow), 2 failed, 0 skipped",
            40,
            2,
        );
    }

    #[test]
    fn playwright_counts_its_lines() {
        check(
            "  ✓  1 a (1.0s)\n  1 failed\n    a.spec.ts:3:1 › first passed\n  1 skipped\n  11 passed (1.2m)",
            11,
            1,
        );
    }

    #[test]
    fn vitest_counts_in_colour() {
        check(
            " \u{1b}[2m      Tests \u{1b}[22m \u{1b}[31m1 failed\u{1b}[39m | \u{1b}[32m5 passed\u{1b}[39m (6)",
            5,
            1,
        );
    }

    #[test]
    fn prose_that_mentions_outcomes_counts_nothing() {
        check("the 3 passed blocks were kept, 2 failed\n3 passed blocks", 0, 0);
    }
}
