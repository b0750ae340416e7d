//! Where configuration, state, cache and runtime files are, and what the configuration says.
//!
//! `config.toml` is a small subset of TOML:
//!
//! ```text
//! # names for stores
//! [stores]
//! work = "/srv/work.strongroom"
//! ```
//!
//! A line that is neither empty, a comment, a `[section]` nor `name = "text"` is refused with its number.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;

use strongroom_host::directories::Directories;

use crate::exit::{Exit, Failure, Result};

/// LIMIT: a configuration is a page of text, not a database.
const CONFIG_LEN_MAX: u64 = 1 << 20;

/// Where this program keeps things on the machine.
#[derive(Clone, Debug)]
pub struct Home {
    directories: Directories,
}

impl Home {
    /// Finds it. A relative `STRONGROOM_HOME` counts from the present folder, as anybody who types one expects.
    ///
    /// # Errors
    /// Neither `STRONGROOM_HOME` nor `HOME` is set.
    pub fn find() -> Result<Self> {
        let variable = |name: &str| {
            let value = env::var_os(name).filter(|value| !value.is_empty())?;
            match name {
                "STRONGROOM_HOME" => std::path::absolute(&value).ok().map(PathBuf::into_os_string),
                _ => Some(value),
            }
        };
        let directories = Directories::from_variables(&variable).map_err(|_| {
            Failure::new(
                Exit::Failed,
                "no place for local state: neither HOME nor STRONGROOM_HOME is set",
            )
            .hint("set STRONGROOM_HOME to a folder on a local disk")
        })?;
        Ok(Self { directories })
    }

    /// The folders themselves.
    pub fn directories(&self) -> &Directories {
        &self.directories
    }

    /// Where running mounts leave a note about themselves.
    pub fn run(&self) -> PathBuf {
        self.directories.run.clone()
    }

    /// Where mounts in the background write what they would say on a terminal.
    pub fn log_file(&self) -> PathBuf {
        self.directories.state.join("log").join("mount.log")
    }

    /// Names of stores from `config.toml`; none when there is no such file.
    ///
    /// # Errors
    /// The file cannot be read or does not parse.
    pub fn stores(&self) -> Result<BTreeMap<String, String>> {
        let path = &self.directories.config_file;
        let shown = format!("reading `{}`", path.display());
        match fs::metadata(path) {
            Ok(found) if found.len() > CONFIG_LEN_MAX => {
                return Err(Failure::new(Exit::Failed, format!("{shown}: larger than 1 MiB")));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(Failure::io(shown, &error)),
        }
        let text = fs::read_to_string(path).map_err(|error| Failure::io(&shown, &error))?;
        parse_stores(&text).map_err(|line| {
            Failure::new(Exit::Failed, format!("{shown}: line {line} makes no sense"))
                .hint("lines look like `[stores]` and `name = \"/folder/or/url\"`")
        })
    }
}

/// Parses the `[stores]` section; the error is the number of the line that does not parse.
fn parse_stores(text: &str) -> std::result::Result<BTreeMap<String, String>, usize> {
    let mut stores = BTreeMap::new();
    let mut section = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let number = index + 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']').ok_or(number)?.trim().to_owned();
            continue;
        }
        let (name, value) = line.split_once('=').ok_or(number)?;
        let value = parse_text(value.trim()).ok_or(number)?;
        let name = name.trim().trim_matches('"');
        if section == "stores" {
            stores.insert(name.to_owned(), value);
        }
    }
    Ok(stores)
}

/// Parses `"text"` or `'text'`, optionally followed by a comment.
fn parse_text(value: &str) -> Option<String> {
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut out = String::new();
    let mut chars = value[1..].chars();
    loop {
        match chars.next()? {
            c if c == quote => break,
            '\\' if quote == '"' => match chars.next()? {
                c @ ('"' | '\\') => out.push(c),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    let rest = chars.as_str().trim();
    (rest.is_empty() || rest.starts_with('#')).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_stores_come_from_the_stores_section_only() {
        let text =
            "# mine\n[stores]\nwork = \"/srv/work\"  # yes\n'odd' = 'x'\n[other]\nwork = \"/no\"\n";
        let stores = parse_stores(text).unwrap();
        assert_eq!(stores.get("work").map(String::as_str), Some("/srv/work"));
        assert_eq!(stores.len(), 2);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        assert_eq!(parse_stores("[stores]\nwork = /srv/work\n"), Err(2));
        assert_eq!(parse_stores("[stores\n"), Err(1));
        assert_eq!(parse_stores("\nwork\n"), Err(2));
        assert_eq!(parse_stores("a = \"x\" y\n"), Err(1));
    }

    #[test]
    fn escapes_of_basic_text_are_undone() {
        assert_eq!(parse_text(r#""a\"b\\c""#), Some("a\"b\\c".to_owned()));
        assert_eq!(parse_text(r#"'a\b'"#), Some("a\\b".to_owned()));
        assert_eq!(parse_text("\"open"), None);
    }
}
