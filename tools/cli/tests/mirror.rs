//! A workspace on three folders, one of which is deleted while it is mounted.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{Place, can_mount};
use serde_json::Value;
use strongroom_host::thread::within;

const MIRROR: &str = "mirror:one,two,three";

fn content(number: usize) -> Vec<u8> {
    (0..20_000 + number * 7).map(|at| (at * (number + 3) % 251) as u8).collect()
}

fn write(drive: &Path, numbers: std::ops::Range<usize>) {
    for number in numbers {
        fs::write(drive.join(format!("file{number}")), content(number)).unwrap();
    }
}

fn scrub(place: &Place) -> Value {
    let out = place.run(&format!("scrub {MIRROR} --json")).expect_done();
    serde_json::from_str(&out).unwrap()
}

/// Takes in a device with a home of its own, in a folder of its name.
fn take_in(place: &Place, name: &str) {
    let ask = format!("device request {MIRROR} --little-memory --passphrase-file PASS");
    let mut command = place.command(&ask);
    let asked = command.env("STRONGROOM_HOME", place.path(name)).output().unwrap();
    let code = place.said(asked).expect_done().trim_end().to_owned();
    let add = format!("device add {MIRROR} --passphrase-file PASS --code {code} --name {name}");
    place.run(&add).expect_done();
}

#[test]
fn one_of_three_is_deleted_whole_while_mounted_and_nobody_notices() {
    if !can_mount() {
        return;
    }
    let place = Place::new();
    let init = place.run(&format!("init {MIRROR} --little-memory --passphrase-file PASS --json"));
    let made: Value = serde_json::from_str(&init.expect_done()).unwrap();
    assert_eq!(made["writers"], "one");
    let mount = format!("mount {MIRROR} DRIVE --background --passphrase-file PASS");
    place.run(&mount).expect_done();
    write(&place.drive(), 0..20);
    place.run("sync --wait DRIVE").expect_done();
    fs::remove_dir_all(place.path("one")).unwrap();
    write(&place.drive(), 20..40);
    place.run("sync --wait DRIVE").expect_done();
    for number in 0..40 {
        assert_eq!(fs::read(place.drive().join(format!("file{number}"))).unwrap(), content(number));
    }
    place.unmount();
    // Two members are enough to mount again.
    place.run(&mount).expect_done();
    write(&place.drive(), 40..41);
    place.run("sync --wait DRIVE").expect_done();
    let refused = place.run("purge drive/file3 --yes");
    assert!(
        refused.code == 6 && refused.err.contains("a member of the mirror is away"),
        "{refused:?}"
    );
    place.unmount();
    let found = scrub(&place);
    assert!(found["repaired"].as_u64().unwrap() > 0);
    assert_eq!(found["unresolved"], Value::Array(Vec::new()));
    assert_eq!(scrub(&place)["repaired"], 0);
    // Every byte is on the fresh one: it stands alone.
    place.run("check one --passphrase-file PASS").expect_sound();
    place.run("mount one DRIVE --background --passphrase-file PASS").expect_done();
    for number in 0..41 {
        assert_eq!(fs::read(place.drive().join(format!("file{number}"))).unwrap(), content(number));
    }
    place.unmount();
}

/// As a folder of a server that is gone: opening anything in it never returns.
#[test]
fn a_member_that_never_answers_is_away_for_who_opens_the_mirror() {
    let place = Place::new();
    place.run(&format!("init {MIRROR} --little-memory --passphrase-file PASS")).expect_done();
    let (workspace, kept) = (place.path("one/workspace"), place.path("one/kept"));
    fs::rename(&workspace, &kept).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &workspace, rustix::fs::Mode::RWXU).unwrap();
    let mut check = place.command(&format!("check {MIRROR} --passphrase-file PASS"));
    let checked = within("check", Duration::from_secs(120), move || check.output().unwrap());
    // Whoever still waits there goes on.
    fs::OpenOptions::new().read(true).write(true).open(&workspace).unwrap();
    let checked = place.said(checked.expect("the mirror does not hang"));
    assert!(checked.code == 0 && checked.out.starts_with("sound"), "{checked:?}");
}

/// What one of two lacks the other may have: nobody can tell alone what is missing.
#[test]
fn where_one_of_two_is_away_the_other_goes_on_alone_and_scrub_makes_both_the_same() {
    if !can_mount() {
        return;
    }
    let place = Place::new();
    let both = "mirror:one,two";
    place.run(&format!("init {both} --little-memory --passphrase-file PASS")).expect_done();
    let there = "DRIVE --background --passphrase-file PASS";
    place.run(&format!("mount {both} {there}")).expect_done();
    write(&place.drive(), 0..3);
    place.run("sync --wait DRIVE").expect_done();
    place.unmount();
    for (round, (alone, away)) in [("one", "two"), ("two", "one")].into_iter().enumerate() {
        fs::rename(place.path(away), place.path("away")).unwrap();
        let refused = place.run(&format!("mount {both} {there}"));
        assert_eq!(refused.code, 6, "{refused:?}");
        assert!(refused.err.contains("both must answer"), "{}", refused.err);
        let hint = format!("{alone}` alone, and run `strongroom scrub mirror:");
        assert!(refused.err.contains(&hint), "{}", refused.err);
        place.run(&format!("mount {alone} {there}")).expect_done();
        write(&place.drive(), 3 + round..4 + round);
        place.run("sync --wait DRIVE").expect_done();
        place.unmount();
        fs::rename(place.path("away"), place.path(away)).unwrap();
        let behind = place.run(&format!("mount {away} {there}"));
        assert_eq!(behind.code, 7, "it lacks what the other has: {behind:?}");
        let scrubbed = place.run(&format!("scrub {both} --json")).expect_done();
        let scrubbed: Value = serde_json::from_str(&scrubbed).unwrap();
        assert!(scrubbed["repaired"].as_u64().unwrap() > 0, "{scrubbed}");
        assert_eq!(scrubbed["unresolved"], Value::Array(Vec::new()));
    }
    place.run(&format!("mount {both} {there}")).expect_done();
    for number in 0..5 {
        assert_eq!(fs::read(place.drive().join(format!("file{number}"))).unwrap(), content(number));
    }
    place.unmount();
}

#[test]
fn another_home_only_looks_where_the_store_cannot_arbitrate() {
    if !can_mount() {
        return;
    }
    let place = Place::new();
    place.run(&format!("init {MIRROR} --little-memory --passphrase-file PASS")).expect_done();
    let other = |line: &str| {
        let mut command = place.command(line);
        place.said(command.env("STRONGROOM_HOME", place.path("other")).output().unwrap())
    };
    let mount = format!("mount {MIRROR} DRIVE --background --passphrase-file PASS");
    let refused = other(&mount);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("another home writes to `mirror:"), "{}", refused.err);
    assert!(refused.err.contains("the members of a mirror do not arbitrate together\nhint: "));
    other(&format!("{mount} -o ro")).expect_done();
    other("unmount DRIVE").expect_done();
    other(&format!("{mount} --take-over")).expect_done();
    fs::write(place.drive().join("file"), "by the other").unwrap();
    other("unmount DRIVE").expect_done();
    // It is the one that writes from then on.
    other(&mount).expect_done();
    assert_eq!(fs::read(place.drive().join("file")).unwrap(), b"by the other");
    other("unmount DRIVE").expect_done();
}

#[test]
fn a_mount_that_was_taken_over_refuses_changes_and_says_why() {
    if !can_mount() {
        return;
    }
    let place = Place::new();
    place.run(&format!("init {MIRROR} --passphrase-file PASS")).expect_done();
    let second = |line: &str| {
        let mut command = place.command(line);
        place.said(command.env("STRONGROOM_HOME", place.path("second")).output().unwrap())
    };
    let (mount, there) = (format!("mount {MIRROR}"), "--background --passphrase-file PASS");
    place.run(&format!("{mount} DRIVE {there}")).expect_done();
    fs::write(place.drive().join("file"), "first").unwrap();
    // Else it may still wait for its commit when the other home takes over.
    place.run("sync --wait DRIVE").expect_done();
    fs::create_dir(place.path("elsewhere")).unwrap();
    second(&format!("{mount} elsewhere --take-over {there}")).expect_done();
    // At the latest its next commit finds out.
    let began = std::time::Instant::now();
    while fs::write(place.drive().join("file"), "again").is_ok() {
        assert!(began.elapsed().as_secs() < 60, "it goes on writing");
        std::thread::yield_now();
    }
    let status = place.run("status DRIVE").expect_done();
    assert!(status.contains("another home has taken over"), "{status}");
    // What it had not committed waits.
    let _ = place.run("unmount DRIVE");
    let refused = place.run(&format!("{mount} DRIVE {there}"));
    assert!(refused.err.contains("that one has taken over"), "{}", refused.err);
    assert_eq!(fs::read(place.path("elsewhere/file")).unwrap(), b"first");
    second("unmount elsewhere").expect_done();
}

#[test]
fn the_file_of_a_removed_device_goes_from_every_member_or_with_the_next_device() {
    let place = Place::new();
    place.run(&format!("init {MIRROR} --little-memory --passphrase-file PASS")).expect_done();
    let files = || {
        ["one/device", "two/device", "three/device", "one/request", "two/request", "three/request"]
            .map(|folder| fs::read_dir(place.path(folder)).map_or(0, Iterator::count))
    };
    take_in(&place, "laptop");
    assert_eq!(files(), [2, 2, 2, 0, 0, 0]);
    fs::rename(place.path("two"), place.path("elsewhere")).unwrap();
    let revoke = format!("device revoke {MIRROR} laptop --yes --passphrase-file PASS");
    let revoked = place.run(&revoke);
    assert!(
        revoked.code == 3 && revoked.err.contains("the device is out all the same"),
        "{revoked:?}"
    );
    fs::rename(place.path("elsewhere"), place.path("two")).unwrap();
    assert_eq!(files(), [2, 2, 2, 0, 0, 0], "it is on all, or one brings it back to the others");
    take_in(&place, "phone");
    assert_eq!(files(), [2, 2, 2, 0, 0, 0], "this one's and the new one's");
    let scrubbed = place.run(&format!("scrub {MIRROR} --json")).expect_done();
    assert!(scrubbed.contains("\"unresolved\""), "{scrubbed}");
    assert_eq!(files(), [2, 2, 2, 0, 0, 0]);
}

#[test]
fn a_passphrase_that_a_member_missed_is_told_and_the_old_one_never_counts_again() {
    let place = Place::new();
    place.run(&format!("init {MIRROR} --little-memory --passphrase-file PASS")).expect_done();
    fs::rename(place.path("one"), place.path("elsewhere")).unwrap();
    let change = "--little-memory --passphrase-file PASS --new-passphrase-file WRONG";
    let changed = place.run(&format!("passwd {MIRROR} {change}"));
    assert!(changed.code == 3 && changed.err.contains("strongroom scrub mirror:"), "{changed:?}");
    fs::rename(place.path("elsewhere"), place.path("one")).unwrap();
    // One of the two that are there has the old one.
    fs::rename(place.path("three"), place.path("elsewhere")).unwrap();
    for passphrase in ["PASS", "WRONG"] {
        let refused = place.run(&format!("check {MIRROR} --passphrase-file {passphrase}"));
        assert!(refused.code == 6 && refused.err.contains("differ"), "{refused:?}");
    }
    fs::rename(place.path("elsewhere"), place.path("three")).unwrap();
    scrub(&place);
    fs::rename(place.path("three"), place.path("elsewhere")).unwrap();
    place.run(&format!("check {MIRROR} --passphrase-file WRONG")).expect_sound();
    let refused = place.run(&format!("check {MIRROR} --passphrase-file PASS"));
    assert_eq!(refused.code, 5, "{refused:?}");
}

/// Changes the passphrase of a home's device while `one` is away, and puts another, empty disk in the place of `three`.
fn change_with_one_away_and_lose_three(place: &Place, home: &str) {
    fs::rename(place.path("one"), place.path("elsewhere")).unwrap();
    let change = "--little-memory --passphrase-file PASS --new-passphrase-file WRONG";
    let mut command = place.command(&format!("passwd {MIRROR} {change}"));
    let changed = command.env("STRONGROOM_HOME", place.path(home)).output().unwrap();
    assert_eq!(place.said(changed).code, 3);
    fs::rename(place.path("elsewhere"), place.path("one")).unwrap();
    fs::remove_dir_all(place.path("three")).unwrap();
    fs::create_dir(place.path("three")).unwrap();
}

#[test]
fn the_old_passphrase_does_not_count_where_a_member_with_the_new_one_is_replaced() {
    let place = Place::new();
    place.run(&format!("init {MIRROR} --little-memory --passphrase-file PASS")).expect_done();
    change_with_one_away_and_lose_three(&place, "home");
    let scrubbed = place.run(&format!("scrub {MIRROR}"));
    assert!(scrubbed.code == 3 && scrubbed.out.contains("--prefer MEMBER"), "{scrubbed:?}");
    for passphrase in ["PASS", "WRONG"] {
        let refused = place.run(&format!("check {MIRROR} --passphrase-file {passphrase}"));
        assert!(
            refused.code == 6 && refused.err.contains("strongroom scrub mirror:"),
            "{refused:?}"
        );
    }
    // Who holds the passphrase finds out which member took it.
    assert_eq!(place.run("check one --passphrase-file WRONG").code, 5);
    place.run("check two --passphrase-file WRONG").expect_sound();
    place.run(&format!("scrub {MIRROR} --prefer two")).expect_done();
    place.run(&format!("check {MIRROR} --passphrase-file WRONG")).expect_sound();
    for store in [MIRROR, "one", "three"] {
        let refused = place.run(&format!("check {store} --passphrase-file PASS"));
        assert_eq!(refused.code, 5, "{refused:?}");
    }
}

#[test]
fn a_device_whose_file_members_agree_in_opens_whatever_they_hold_of_another() {
    let place = Place::new();
    place.run(&format!("init {MIRROR} --little-memory --passphrase-file PASS")).expect_done();
    take_in(&place, "laptop");
    change_with_one_away_and_lose_three(&place, "laptop");
    assert_eq!(place.run(&format!("scrub {MIRROR}")).code, 3);
    let list = format!("device list {MIRROR} --passphrase-file PASS");
    assert!(place.run(&list).expect_done().contains("laptop"));
    // The one that it is about does not open, with a passphrase that opens another device or with its own.
    for passphrase in ["PASS", "WRONG"] {
        let list = format!("device list {MIRROR} --passphrase-file {passphrase}");
        let mut command = place.command(&list);
        let refused = command.env("STRONGROOM_HOME", place.path("laptop")).output().unwrap();
        let refused = place.said(refused);
        assert!(refused.code == 6 && refused.err.contains("differ"), "{refused:?}");
    }
}

#[test]
fn check_tells_of_a_device_whose_file_members_differ_in_and_goes_on() {
    let place = Place::new();
    place.run(&format!("init {MIRROR} --little-memory --passphrase-file PASS")).expect_done();
    take_in(&place, "laptop");
    change_with_one_away_and_lose_three(&place, "laptop");
    // All that has no other version.
    assert_eq!(place.run(&format!("scrub {MIRROR}")).code, 3);
    let found = place.run(&format!("check {MIRROR} --passphrase-file PASS"));
    assert_eq!(found.code, 7, "{found:?}");
    assert!(found.out.contains("differ in `device/"), "{found:?}");
    let found = place.run(&format!("check {MIRROR} --passphrase-file PASS --json"));
    let told: Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(told["findings"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["findings"][0]["area"], "device", "{told}");
    // A member that is away is no damage.
    fs::remove_dir_all(place.path("one")).unwrap();
    fs::remove_dir_all(place.path("two")).unwrap();
    let refused = place.run(&format!("check {MIRROR} --passphrase-file PASS"));
    assert_eq!(refused.code, 6, "{refused:?}");
}

#[test]
fn what_is_no_mirror_is_not_scrubbed() {
    let place = Place::new();
    place.run("scrub HERE").expect_refused(
        1,
        "strongroom: `HERE` is no mirror\nhint: `strongroom check` verifies a single store\n",
    );
    place.run("scrub mirror:one").expect_refused(
        2,
        "strongroom: `mirror:one`: a mirror has 2 to 8 members\nhint: give `mirror:PLACE,PLACE,PLACE` with folders or URLs\n",
    );
    let refused = place.run(&format!("scrub {MIRROR} --prefer four"));
    assert!(refused.code == 2 && refused.err.contains("four` is no member of"), "{refused:?}");
}
