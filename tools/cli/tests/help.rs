//! Everything the program says about itself, as one snapshot; and the manual pages in `docs/man`.
//!
//! `cargo xtask docs` writes both anew.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::path::Path;

use common::Place;

/// A verb and those below it, in the order told, each with its help.
fn helps(place: &Place, verb: &str) -> Vec<(String, String)> {
    let help = place.run(&format!("{verb} --help")).expect_done();
    let told = help.split_once("\nCommands:\n").map_or("", |(_, told)| told);
    let lines = told.lines().take_while(|line| !line.is_empty());
    // What goes on in a second line stands further right.
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let below: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(|name| format!("{verb} {name}").trim_start().to_owned())
        .collect();
    let mut all = vec![(verb.to_owned(), help)];
    all.extend(below.iter().flat_map(|verb| helps(place, verb)));
    all
}

fn compare(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        return;
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(kept, text, "{} is out of date: `cargo xtask docs` writes it anew", path.display());
}

#[test]
fn all_help_is_as_in_the_snapshot() {
    let mut text = String::new();
    for (verb, help) in helps(&Place::new(), "") {
        if !verb.is_empty() {
            text += &format!("\n──── strongroom {verb} --help\n\n");
        }
        text += &help;
    }
    compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/help.txt"), &text);
}

#[test]
fn manual_pages_are_those_of_this_command_line() {
    let place = Place::new();
    place.run("man --folder HERE").expect_done();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man");
    let mut pages: Vec<String> = helps(&place, "")
        .iter()
        .map(|(verb, _)| format!("strongroom {verb}").trim_end().replace(' ', "-") + ".1")
        .collect();
    pages.sort();
    for name in &pages {
        let page = fs::read_to_string(place.path(name)).unwrap();
        assert!(page.contains(".TH"), "{name} is no manual page");
        compare(&kept.join(name), &page);
    }
    let names = |entry: Result<fs::DirEntry, _>| entry.unwrap().file_name().into_string().unwrap();
    let mut there: Vec<String> = fs::read_dir(&kept).unwrap().map(names).collect();
    there.sort();
    assert_eq!(there, pages, "a page for each verb, and no other");
}

#[test]
fn completions_are_made_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = place.run(&format!("completions {shell}")).expect_done();
        assert!(text.contains("strongroom") && text.contains("passphrase-file"), "{shell}");
    }
}

#[test]
fn version_is_an_answer() {
    let out = Place::new().run("--version").expect_done();
    assert_eq!(out, format!("strongroom {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let place = Place::new();
    let mut command = place.command("completions zsh");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = command.stdout(writer).status().unwrap();
    assert_eq!(ended.code(), Some(0));
}
