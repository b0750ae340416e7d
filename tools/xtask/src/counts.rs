//! How many tests passed, failed and were skipped, read from what the runners print.

use std::fmt;
use std::ops::AddAssign;

/// Counts of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Not run, each for a reason that was printed.
    pub skipped: u64,
}

impl Counts {
    /// Reads the closing line of `cargo test` or `cargo nextest run`; any other line counts nothing.
    pub fn from_line(line: &str) -> Self {
        // Indented it is what nextest repeats of a failed try, which its own summary counts.
        if let Some(rest) = line.strip_prefix("test result: ") {
            let count = |word| count_before(rest, word);
            return Self {
                passed: count("passed"),
                failed: count("failed"),
                skipped: count("ignored"),
            };
        }
        let Some((_, rest)) =
            line.trim_start().strip_prefix("Summary [").and_then(|rest| rest.split_once("run: "))
        else {
            return Self::default();
        };
        let count = |word| count_before(rest, word);
        Self {
            passed: count("passed"),
            failed: count("failed") + count("timed") + count("exec"),
            skipped: count("skipped"),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The number that stands right before `word`; 0 if there is none.
fn count_before(text: &str, word: &str) -> u64 {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || ",;().".contains(c))
        .filter(|w| !w.is_empty())
        .collect();
    words
        .windows(2)
        .find(|pair| pair[1] == word)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_both_runners_are_counted() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out";
        assert_eq!(Counts::from_line(line), Counts { passed: 3, failed: 1, skipped: 2 });
        let line = "     Summary [   1.234s] 12 tests run: 10 passed (1 slow), 1 failed, 1 timed out, 4 skipped";
        assert_eq!(Counts::from_line(line), Counts { passed: 10, failed: 2, skipped: 4 });
        assert_eq!(Counts::from_line("test reading ... ok"), Counts::default());
    }

    #[test]
    fn what_nextest_repeats_of_a_failed_try_counts_nothing() {
        let line =
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 13 filtered out";
        assert_eq!(Counts::from_line(line), Counts::default());
    }

    #[test]
    fn counts_are_shown_as_scripts_expect() {
        let mut counts = Counts { passed: 1, failed: 0, skipped: 2 };
        counts += Counts { passed: 2, failed: 1, skipped: 0 };
        assert_eq!(counts.to_string(), "3 passed, 1 failed, 2 skipped");
    }
}
