//! Rules of the house that neither the compiler nor clippy knows: arrows between rooms, headers, sizes, words that belong to
//! one room, promises that name their tests.

mod arrows;
mod promises;
mod source;
mod words;

use std::path::{Path, PathBuf};

use crate::{Outcome, machine};

/// One broken rule.
pub struct Finding {
    /// File, below the repository.
    pub file: PathBuf,
    /// Line from 1; 0 for the whole file.
    pub line: usize,
    /// What is wrong and what the rule is.
    pub message: String,
}

impl Finding {
    /// Makes one.
    pub fn new(file: &Path, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_path_buf(), line, message: message.into() }
    }
}

/// Checks the whole repository and prints every finding.
pub fn run() -> Outcome {
    let root = machine::root();
    let mut findings = Vec::new();
    for manifest in files(&root, "Cargo.toml") {
        findings.extend(arrows::check(&root, &manifest));
    }
    for file in files(&root, ".rs") {
        let Ok(text) = std::fs::read_to_string(root.join(&file)) else { continue };
        findings.extend(source::check(&file, &text));
        findings.extend(words::check(&file, &text));
    }
    findings.extend(promises::check(&root));
    for finding in &findings {
        println!("{}:{}: {}", finding.file.display(), finding.line, finding.message);
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("tidy: {count} findings")),
    }
}

/// Files of the repository whose path ends so, below the root; build output and hidden folders excepted.
pub fn files(root: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            if name.starts_with('.') || name.starts_with("target") {
                continue;
            }
            if entry.path().is_dir() {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
