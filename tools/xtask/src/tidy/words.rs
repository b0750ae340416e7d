//! Words that belong to one room, and names nobody wants.

use std::path::Path;

use super::{Finding, source};

/// What may be written only below certain folders.
struct Confined {
    word: &'static str,
    folders: &'static [&'static str],
    why: &'static str,
}

const CONFINED: &[Confined] = &[
    Confined {
        word: "std::fs",
        folders: &["platform/", "tools/", "tests/"],
        why: "files are the business of `platform/host` and the tools: use its `Disk`",
    },
    Confined { word: "SystemTime::now", folders: CLOCKS, why: "ask `host::clock`" },
    Confined { word: "Instant::now", folders: CLOCKS, why: "ask `host::clock`" },
    Confined { word: "std::thread::sleep", folders: CLOCKS, why: "ask `host::clock`" },
    Confined { word: "std::thread::spawn", folders: CLOCKS, why: "use `host::thread`" },
    Confined { word: "thread::Builder", folders: CLOCKS, why: "use `host::thread`" },
    Confined { word: "use std::thread;", folders: CLOCKS, why: "use `host::thread`" },
    Confined {
        word: "getrandom::",
        folders: &["platform/host/", "tests/"],
        why: "ask `host::entropy`",
    },
    Confined { word: "unsafe {", folders: &["platform/"], why: UNSAFE },
    Confined { word: "unsafe fn", folders: &["platform/"], why: UNSAFE },
    Confined { word: "unsafe impl", folders: &["platform/"], why: UNSAFE },
    Confined {
        word: "ed25519_dalek",
        folders: &["keystore/crypto/"],
        why: "its `verify` accepts small-order keys: go through `crypto::sign`",
    },
    Confined {
        word: ".verify_batch(",
        folders: &[],
        why: "signatures are verified strictly, one by one",
    },
    Confined { word: "println!", folders: &["tools/", "tests/"], why: "only tools print" },
    Confined { word: "to_ne_bytes", folders: &[], why: "formats name their byte order" },
    Confined { word: "from_ne_bytes", folders: &[], why: "formats name their byte order" },
];

/// Doors to the kernel live with its clocks and threads; everything above gets them handed in.
const CLOCKS: &[&str] = &["platform/", "tools/xtask/", "tests/"];

const UNSAFE: &str = "`unsafe` lives in `platform/` only";

const SUFFIXES: &[&str] =
    &["Manager", "Service", "Helper", "Util", "Utils", "Handler", "Data", "Info", "Base", "Common"];

/// Checks one file; unit tests and test files are free.
pub fn check(file: &Path, text: &str) -> Vec<Finding> {
    if is_this_room(file) {
        return Vec::new();
    }
    let lines: Vec<&str> = text.lines().collect();
    let end = if source::is_test_file(file) {
        0
    } else {
        source::tests_start(&lines).unwrap_or(lines.len())
    };
    let mut findings = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let number = index + 1;
        if let Some(message) = open_task(line) {
            findings.push(Finding::new(file, number, message));
        }
        if index < end {
            findings.extend(check_code(file, number, code_of(line)));
        }
    }
    findings
}

fn check_code(file: &Path, number: usize, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for confined in CONFINED.iter().filter(|confined| code.contains(confined.word)) {
        if !confined.folders.iter().any(|folder| file.starts_with(folder)) {
            findings.push(Finding::new(
                file,
                number,
                format!("`{}`: {}", confined.word, confined.why),
            ));
        }
    }
    if let Some(name) = declared_type(code)
        && let Some(suffix) = SUFFIXES.iter().find(|suffix| name.ends_with(**suffix))
    {
        findings.push(Finding::new(
            file,
            number,
            format!("`{name}`: `{suffix}` says nothing; name the thing"),
        ));
    }
    let is_getter =
        |rest: &str| !["with", "mut", "or_", "many"].iter().any(|end| rest.starts_with(end));
    if code.split_once("fn get_").is_some_and(|(_, rest)| is_getter(rest)) {
        findings.push(Finding::new(file, number, "no `get_`: name what is returned"));
    }
    findings
}

/// These very tables.
fn is_this_room(file: &Path) -> bool {
    file.starts_with("tools/xtask/src/tidy")
}

/// The line without its comment. A `//` inside a text is rare and costs only a finding.
fn code_of(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

fn open_task(line: &str) -> Option<&'static str> {
    let (_, comment) = line.split_once("//")?;
    let is_open = ["TODO", "FIXME", "XXX"]
        .iter()
        .any(|word| comment.contains(&format!("{word}:")) || comment.contains(&format!("{word} ")));
    let has_number =
        comment.split('#').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    (is_open && !has_number).then_some("an open task names its issue: `#123`")
}

const WORDS: [&str; 4] = ["struct ", "enum ", "trait ", "type "];

fn declared_type(code: &str) -> Option<&str> {
    // An associated type has the name that its trait gave it, which may be somebody else's.
    let is_inside = code.starts_with(' ');
    let words = if is_inside { &WORDS[..3] } else { &WORDS[..] };
    let at = words.iter().find_map(|word| {
        let at = code.find(word)?;
        let is_start = code[..at].trim().is_empty() || code[..at].trim_start().starts_with("pub");
        is_start.then_some(at + word.len())
    })?;
    let name = code[at..].split(|c: char| !c.is_alphanumeric()).next()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(file: &str, text: &str) -> usize {
        check(Path::new(file), text).len()
    }

    #[test]
    fn a_word_outside_its_room_is_found() {
        assert_eq!(messages("fs/workspace/src/a.rs", "let t = Instant::now();\n"), 1);
        assert_eq!(messages("platform/host/src/clock.rs", "let t = Instant::now();\n"), 0);
        assert_eq!(messages("fs/workspace/src/a.rs", "// not Instant::now here\n"), 0);
        assert_eq!(
            messages("fs/workspace/src/a.rs", "#[cfg(test)]\nmod tests {\nInstant::now();\n}\n"),
            0
        );
        assert_eq!(messages("keystore/keyring/src/a.rs", "use ed25519_dalek::VerifyingKey;\n"), 1);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        assert_eq!(messages("fs/store/src/a.rs", "pub struct BlockManager {\n"), 1);
        assert_eq!(messages("fs/store/src/a.rs", "type Data = Bytes;\n"), 1);
        assert_eq!(messages("fs/store/src/a.rs", "    type Data = Bytes;\n"), 0);
        assert_eq!(messages("fs/store/src/a.rs", "pub struct Metadata;\n"), 0);
        assert_eq!(messages("fs/store/src/a.rs", "pub fn get_block() {\n"), 1);
    }

    #[test]
    fn an_open_task_needs_an_issue() {
        assert_eq!(messages("a.rs", &format!("// {}: later\n", "TODO")), 1);
        assert_eq!(messages("a.rs", &format!("// {}: later, #12\n", "TODO")), 0);
    }
}
