//! The form of a source file: header, length of files and functions.

use std::path::Path;

use super::Finding;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const TEST_LINES_MAX: usize = 150;

/// Files that are one thing which cannot be cut, with how many lines they may have.
const LONG_FILES: &[(&str, usize)] = &[
    // One trait of fuser's, some forty methods of a few lines.
    ("platform/mount/src/fuse/adapter.rs", 800),
];

/// Files and functions that are one table or one exhaustive match, longer than the limit on purpose.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// Checks one file.
pub fn check(file: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Unit tests that moved out are described where they came from.
    let is_moved_out = file.file_name().is_some_and(|name| name == "tests.rs");
    if !has_header(text) && !is_moved_out {
        findings.push(Finding::new(
            file,
            1,
            "no header: say in `//!` lines what lives here and what does not",
        ));
    }
    let lines: Vec<&str> = text.lines().collect();
    let tests_at = tests_start(&lines).unwrap_or(lines.len());
    if is_test_file(file) {
        return findings;
    }
    let listed = LONG_FILES.iter().find(|(path, _)| file == Path::new(path));
    let lines_max = listed.map_or(FILE_LINES_MAX, |(_, lines_max)| *lines_max);
    if tests_at > lines_max {
        let message = format!(
            "{tests_at} lines without tests; {lines_max} at most: make it a folder of modules"
        );
        findings.push(Finding::new(file, 0, message));
    }
    let test_lines = lines.len() - tests_at;
    if test_lines > 2 * TEST_LINES_MAX {
        let message = format!(
            "{test_lines} lines of tests: over {TEST_LINES_MAX} they move to a file of their own"
        );
        findings.push(Finding::new(file, tests_at + 1, message));
    }
    findings.extend(long_functions(file, &lines[..tests_at]));
    findings
}

/// Whether a file is only tests.
pub fn is_test_file(file: &Path) -> bool {
    const NAMES: [&str; 4] = ["tests.rs", "conformance.rs", "testing.rs", "vectors.rs"];
    let is_name = |name: &&str| file.file_name().is_some_and(|n| n == *name);
    NAMES.iter().any(is_name) || file.components().any(|part| part.as_os_str() == "tests")
}

/// Index of the line that starts the unit tests.
pub fn tests_start(lines: &[&str]) -> Option<usize> {
    lines
        .iter()
        .position(|line| line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test"))
        .filter(|&at| {
            lines[at + 1..].iter().take(3).any(|line| line.contains("mod ") && line.ends_with('{'))
        })
}

fn has_header(text: &str) -> bool {
    text.lines()
        .find(|line| !line.is_empty() && !line.starts_with("#!"))
        .is_some_and(|line| line.starts_with("//!"))
}

fn long_functions(file: &Path, lines: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut start: Option<(usize, usize, &str)> = None;
    for (index, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match start {
            None => start = function_name(line).map(|name| (index, indent, name)),
            Some((from, depth, name)) => {
                let is_end =
                    indent == depth && (line.trim_start().starts_with('}') || line.ends_with(';'));
                if is_end || (index == from + 1 && lines[from].ends_with('}')) {
                    let len = index - from + 1;
                    if len > FUNCTION_LINES_MAX && !is_listed(file, name) {
                        let message =
                            format!("`{name}` has {len} lines; {FUNCTION_LINES_MAX} at most");
                        findings.push(Finding::new(file, from + 1, message));
                    }
                    start = None;
                }
            }
        }
    }
    findings
}

fn is_listed(file: &Path, function: &str) -> bool {
    LONG_FUNCTIONS.iter().any(|(path, name)| file == Path::new(path) && *name == function)
}

/// The name of a function that starts on this line and goes on.
fn function_name(line: &str) -> Option<&str> {
    let words = line.trim_start();
    if words.starts_with("//") || line.trim_end().ends_with([';', '}']) {
        return None;
    }
    let rest = words.strip_prefix("fn ").or_else(|| {
        let at = words.find(" fn ")?;
        let before = &words[..at];
        let is_modifier = |word: &str| {
            word.starts_with("pub")
                || word.starts_with("extern")
                || word.starts_with('"')
                || matches!(word, "const" | "async" | "unsafe" | "in" | "crate)" | "super)")
        };
        before.split(' ').all(is_modifier).then(|| &words[at + 4..])
    })?;
    rest.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_needs_a_header() {
        assert!(has_header("#![cfg(test)]\n\n//! Things.\n"));
        assert!(!has_header("use std::io;\n//! Things.\n"));
    }

    #[test]
    fn a_long_function_is_found_and_named() {
        let body = "    x();\n".repeat(70);
        let text = format!(
            "//! H.\npub(crate) fn long<T>(\n    a: T,\n) {{\n{body}}}\nfn short() {{\n}}\n"
        );
        let findings = check(Path::new("a.rs"), &text);
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].line, findings[0].message.as_str()),
            (2, "`long` has 74 lines; 70 at most")
        );
    }

    #[test]
    fn unit_tests_do_not_count_as_lines_of_a_file() {
        let text = format!("//! H.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "    // x\n".repeat(250));
        assert!(check(Path::new("a.rs"), &text).is_empty());
    }
}
