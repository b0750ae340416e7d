//! The past through the program: rule, snapshots, versions, restore, mount of an old state, space, pins.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;

use common::{Place, can_mount};

#[test]
fn history_is_kept_listed_mounted_and_restored() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    let drive = place.drive();
    place.mount();
    assert_eq!(place.run("keep DRIVE").expect_done(), "the present and snapshots only\n");
    let rule = place.run("keep DRIVE --days 30 --last 5").expect_done();
    assert_eq!(rule, "30 days, and at least 5 commits\n");
    fs::create_dir(drive.join("folder")).unwrap();
    fs::write(drive.join("folder/report"), "first").unwrap();
    place.run("snapshot create DRIVE before").expect_done();
    fs::write(drive.join("folder/report"), "second, longer").unwrap();
    place.run("sync --wait DRIVE").expect_done();
    fs::remove_file(drive.join("folder/report")).unwrap();
    place.run("sync --wait DRIVE").expect_done();
    let list = place.run("snapshot list DRIVE").expect_done();
    assert!(list.ends_with("  before\n") && list.lines().count() == 1, "{list}");
    let told = place.run("history drive/folder/report").expect_done();
    let shown: Vec<&str> = told.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(shown, ["nothing", "14 B", "5 B"], "{told}");
    assert!(told.lines().all(|line| line.contains("  first device  ")), "{told}");
    let commit = told.lines().nth(1).unwrap().split_whitespace().nth(2).unwrap();
    place.run(&format!("restore drive/folder/report --at {commit} --to drive/again")).expect_done();
    assert_eq!(fs::read_to_string(drive.join("again")).unwrap(), "second, longer");
    place.run("restore drive/folder/report --at before").expect_done();
    assert_eq!(fs::read_to_string(drive.join("folder/report")).unwrap(), "first");
    place
        .run("restore drive/none --at before")
        .expect_refused(1, "strongroom: asking `DRIVE`: no such name\n");
    let space = place.run("space DRIVE --json").expect_done();
    assert!(
        space.contains(r#""name":"before""#) && space.contains(r#""garbage_bytes":0"#),
        "{space}"
    );
    fs::create_dir(place.path("then")).unwrap();
    place.run("mount STORE then --at before --background --passphrase-file PASS").expect_done();
    assert_eq!(fs::read_to_string(place.path("then/folder/report")).unwrap(), "first");
    assert!(!place.path("then/again").exists());
    let refused = fs::write(place.path("then/new"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    place.run("unmount then").expect_done();
    // A folder store is on this machine already; pins are kept and listed all the same.
    place.run("pin drive/folder").expect_done();
    assert_eq!(place.run("pin --list drive").expect_done(), "DRIVE/folder\n");
    place.run("free drive/folder").expect_done();
    place.run("unpin drive/folder").expect_done();
    place.unmount();
    let list = place.run("snapshot list STORE --passphrase-file PASS --json").expect_done();
    assert!(list.contains(r#""name":"before""#), "{list}");
    place.run("snapshot delete STORE before --passphrase-file PASS").expect_done();
    place.run("check STORE --passphrase-file PASS").expect_sound();
}

#[test]
fn a_mount_shows_at_once_what_was_restored_and_not_what_was_purged() {
    if !can_mount() {
        return;
    }
    let place = Place::with_workspace();
    place.mount();
    let report = place.drive().join("report");
    fs::write(&report, "first").unwrap();
    place.run("snapshot create DRIVE before").expect_done();
    fs::write(&report, "second").unwrap();
    // The kernel remembers what it has looked at, and what it has not found.
    assert_eq!(fs::read_to_string(&report).unwrap(), "second");
    place.run("restore drive/report --at before").expect_done();
    assert_eq!(fs::read_to_string(&report).unwrap(), "first");
    let free = place.drive().join("free");
    assert!(!free.exists());
    place.run("restore drive/report --at before --to drive/free").expect_done();
    assert_eq!(fs::read_to_string(&free).unwrap(), "first");
    place.run("snapshot delete DRIVE before").expect_done();
    assert!(report.exists());
    place.run("purge drive/report --yes").expect_done();
    assert!(!report.exists());
    place.unmount();
}
