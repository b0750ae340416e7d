//! Everything the program says about itself, as one snapshot; and the manual pages in `docs/man`.
//!
//! `cargo xtask docs` writes both anew.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::path::Path;

use common::Place;

const VERBS: [&str; 86] = [
    "init",
    "mount",
    "run",
    "unmount",
    "status",
    "sync",
    "keep",
    "snapshot",
    "snapshot create",
    "snapshot list",
    "snapshot delete",
    "history",
    "restore",
    "purge",
    "space",
    "pin",
    "unpin",
    "free",
    "check",
    "scrub",
    "passwd",
    "conflict",
    "conflict list",
    "conflict resolve",
    "device",
    "device request",
    "device add",
    "device list",
    "device revoke",
    "app",
    "app create",
    "app list",
    "app rotate",
    "app disable",
    "app enable",
    "app schema",
    "app class",
    "app ledger",
    "app replay",
    "app requests",
    "app agree",
    "subject",
    "subject create",
    "subject find",
    "subject list",
    "subject show",
    "subject put",
    "subject get",
    "subject files",
    "subject report",
    "subject export",
    "subject erase",
    "subject merge",
    "subject hold",
    "subject restrict",
    "consumer",
    "consumer register",
    "consumer approve",
    "consumer suspend",
    "consumer end",
    "consumer show",
    "consumer list",
    "consent",
    "consent show",
    "consent grant",
    "consent deny",
    "consent withdraw",
    "consent object",
    "consent history",
    "policy",
    "policy set",
    "policy activate",
    "policy check",
    "policy show",
    "policy history",
    "policy test",
    "policy what-if",
    "policy point",
    "policy explain",
    "audit",
    "audit show",
    "audit verify",
    "audit export",
    "audit receipt",
    "completions",
    "man",
];

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
    let place = Place::new();
    let mut text = place.run("--help").expect_done();
    for verb in VERBS {
        text += &format!("\n──── strongroom {verb} --help\n\n");
        text += &place.run(&format!("{verb} --help")).expect_done();
    }
    compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/help.txt"), &text);
}

#[test]
fn manual_pages_are_those_of_this_command_line() {
    let place = Place::new();
    place.run("man --folder HERE").expect_done();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man");
    let mut count = 0;
    let names = VERBS.map(|verb| format!("strongroom-{}", verb.replace(' ', "-")));
    for name in std::iter::once("strongroom".to_owned()).chain(names) {
        let page = fs::read_to_string(place.path(&format!("{name}.1"))).unwrap();
        assert!(page.contains(".TH"), "{name} is no manual page");
        compare(&kept.join(format!("{name}.1")), &page);
        count += 1;
    }
    assert_eq!(count, VERBS.len() + 1);
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
