//! Arrows between rooms point downward: a package uses packages of lower levels only.

use std::path::Path;

use super::Finding;

/// Every package and its level. Tests stand above all; `check` and `agent` are tools that the command links.
const LEVELS: &[(&str, u8)] = &[
    ("strongroom-host", 0),
    ("strongroom-crypto", 10),
    ("strongroom-format", 20),
    ("strongroom-store", 30),
    ("strongroom-journal", 30),
    ("strongroom-records", 25),
    ("strongroom-authorizer", 30),
    ("strongroom-authzen", 35),
    ("strongroom-cedar", 35),
    ("strongroom-remote", 35),
    ("strongroom-audit", 40),
    ("strongroom-keyring", 50),
    ("strongroom-custody", 50),
    ("strongroom-tree", 55),
    ("strongroom-workspace", 60),
    ("strongroom-steward", 60),
    ("strongroom-mount", 70),
    ("strongroom-view", 70),
    ("strongroom-check", 79),
    ("strongroom-agent", 79),
    ("strongroom", 80),
    ("strongroom-console", 80),
    ("strongroom-server", 80),
    ("xtask", 80),
    ("strongroom-tests", 90),
];

/// The kernel door sees the filesystem and the machine, nothing between.
const MOUNT_USES: &[&str] = &["strongroom-workspace", "strongroom-host"];

/// Checks one manifest.
pub fn check(root: &Path, manifest: &Path) -> Vec<Finding> {
    let Ok(text) = std::fs::read_to_string(root.join(manifest)) else { return Vec::new() };
    check_text(manifest, &text)
}

fn check_text(manifest: &Path, text: &str) -> Vec<Finding> {
    let Some(package) = value_of(text, "package", "name") else { return Vec::new() };
    let Some(own) = level(package) else {
        let message = format!("package `{package}` has no level: give it one in tidy/arrows.rs");
        return vec![Finding::new(manifest, 0, message)];
    };
    let mut findings = Vec::new();
    for (line, name) in dependencies(text) {
        let Some(other) = level(name) else { continue };
        if other >= own {
            let message = format!("arrow upward: `{package}` may not use `{name}`");
            findings.push(Finding::new(manifest, line, message));
        }
        if package == "strongroom-mount" && !MOUNT_USES.contains(&name) {
            let message = format!("`{package}` links workspace and host only, not `{name}`");
            findings.push(Finding::new(manifest, line, message));
        }
    }
    findings
}

fn level(package: &str) -> Option<u8> {
    LEVELS.iter().find(|(name, _)| *name == package).map(|(_, level)| *level)
}

fn value_of<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let mut inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            inside = name.strip_suffix(']') == Some(section);
        } else if inside
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            return Some(value.trim().trim_matches('"'));
        }
    }
    None
}

/// Names in `[dependencies]` and `[build-dependencies]`, with their lines. Tests of a room may use what they need.
fn dependencies(text: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies")
                && !section.contains("dev-")
                && !section.contains("workspace");
        } else if inside {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() && !name.starts_with('#') {
                found.push((index + 1, name));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        check_text(Path::new("Cargo.toml"), text).into_iter().map(|f| f.message).collect()
    }

    #[test]
    fn an_arrow_upward_is_found() {
        let text = "[package]\nname = \"strongroom-store\"\n[dependencies]\nstrongroom-keyring.workspace = true\n";
        assert_eq!(
            messages(text),
            ["arrow upward: `strongroom-store` may not use `strongroom-keyring`"]
        );
        let text = "[package]\nname = \"strongroom-store\"\n[dependencies]\nstrongroom-host.workspace = true\n\
                    [dev-dependencies]\nstrongroom-keyring.workspace = true\n";
        assert!(messages(text).is_empty());
    }

    #[test]
    fn an_unknown_package_needs_a_level() {
        assert_eq!(messages("[package]\nname = \"strongroom-new\"\n").len(), 1);
    }
}
