//! What the documents promise exists: tests named in `docs/semantics.md`, dependencies explained in `docs/dependencies.md`, and
//! the files that links point to.

use std::collections::BTreeSet;
use std::path::Path;

use super::Finding;

/// Checks the documents against the sources.
pub fn check(root: &Path) -> Vec<Finding> {
    let mut findings = named_tests(root);
    findings.extend(explained_dependencies(root));
    for document in super::files(root, ".md") {
        findings.extend(links(root, &document));
    }
    findings
}

/// Each `P…` row of the semantics has a number of its own and names at least one test, by its function or its script.
fn named_tests(root: &Path) -> Vec<Finding> {
    let file = Path::new("docs/semantics.md");
    let Ok(text) = std::fs::read_to_string(root.join(file)) else {
        return vec![Finding::new(file, 0, "missing")];
    };
    let known = test_names(root);
    let (mut findings, mut numbers) = (Vec::new(), BTreeSet::new());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with("| P")) {
        if !numbers.insert(line.split('|').nth(1)) {
            findings.push(Finding::new(file, index + 1, "another promise has this number"));
        }
        let tests = line.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or_default();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            findings.push(Finding::new(file, index + 1, "a promise without a test"));
        }
        for name in
            names.iter().filter(|name| !known.contains(**name) && !root.join(name).is_file())
        {
            findings.push(Finding::new(file, index + 1, format!("there is no test `{name}`")));
        }
    }
    findings
}

fn test_names(root: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in super::files(root, ".rs") {
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            is_test |= line.starts_with("#[test]");
            if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test) {
                names.extend(rest.split('(').next().map(str::to_owned));
                is_test = false;
            }
        }
    }
    names
}

fn explained_dependencies(root: &Path) -> Vec<Finding> {
    let file = Path::new("docs/dependencies.md");
    let Ok(text) = std::fs::read_to_string(root.join(file)) else {
        return vec![Finding::new(file, 0, "missing")];
    };
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap_or_default();
    section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name.trim()))
        .filter(|name| {
            !name.is_empty() && !name.starts_with(['#', ' ']) && !name.starts_with("strongroom-")
        })
        .filter(|name| !text.contains(&format!("`{name}`")))
        .map(|name| Finding::new(file, 0, format!("dependency `{name}` is not explained")))
        .collect()
}

/// Links to files of the repository must lead somewhere.
fn links(root: &Path, document: &Path) -> Vec<Finding> {
    let Ok(text) = std::fs::read_to_string(root.join(document)) else { return Vec::new() };
    let folder = document.parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for part in line.split("](").skip(1) {
            let link = part.split([')', '#']).next().unwrap_or_default();
            let is_local =
                !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:");
            if is_local && !root.join(folder).join(link).exists() {
                findings.push(Finding::new(document, index + 1, format!("dead link `{link}`")));
            }
        }
    }
    findings
}
