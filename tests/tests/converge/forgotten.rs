//! Homes that a loss of power made forget what they had committed.

use std::path::Path;

use strongroom_host::disk::{Disk, OpenMode, read_all};
use strongroom_store::{Family, Key as StoreKey};
use strongroom_tests::harness::files::save;
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::tree::{Times, difference};
use strongroom_tests::harness::world::STATE;
use strongroom_workspace::Workspace;
use strongroom_workspace::door::{Core, Ino, RenameMode};
use strongroom_workspace::error::ErrorKind;

use super::away::{copy_of, is_untold, open_at_its_own, open_at_its_own_with};
use super::{content, examine, keeping_for, mark, marks_in, stored, tuning, write_for_long};

/// The first home commits, is cut off, and loses its power: of what it wrote last some is kept, and neither what says where its log
/// stands nor its copy of that commit.
fn commits_and_forgets(fleet: &mut Fleet) {
    let first = fleet.homes[0].workspace().unwrap().clone();
    let (disk, head) = (fleet.homes[0].disk().clone(), Path::new(STATE).join("head"));
    let before = read_all(&disk, &head).unwrap();
    fleet.homes[0].cut(false);
    first.commit().unwrap();
    let newest = StoreKey::Log(first.status().head_seq);
    drop(first);
    fleet.homes[0].cut(true);
    fleet.homes[0].down(Down::Killed).unwrap();
    disk.open(&head, OpenMode::Create).unwrap().write_at(&before, 0).unwrap();
    disk.remove(&copy_of(newest)).unwrap();
}

/// The first is killed and opened again: an empty commit takes the next number. What it did before is in the one after it, which it is
/// not told of, for so many requests before the line is cut.
fn commits_twice(requests: u64) -> Option<Fleet> {
    let mut fleet = open_at_its_own(9);
    save(fleet.homes[0].workspace().unwrap(), "waits", &content(900, 500)).unwrap();
    fleet.homes[0].down(Down::Killed).unwrap();
    let before = stored(&fleet, Family::Log);
    fleet.homes[0].open().unwrap();
    assert_eq!(stored(&fleet, Family::Log), before + 1);
    is_untold(&mut fleet, requests, Workspace::commit).then_some(fleet)
}

#[test]
fn commits_that_a_loss_of_power_made_this_home_forget_are_told_as_its_own() {
    let requests = (0..40).find(|requests| commits_twice(*requests).is_some()).unwrap();
    let mut forgot = 0;
    for seed in 0..16 {
        let mut fleet = commits_twice(requests).unwrap();
        fleet.homes[0].down(Down::PowerLost(seed)).unwrap();
        if let Err(error) = fleet.homes[0].open() {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "seed {seed}: {error}");
            continue;
        }
        fleet.homes[0].cut(false);
        if let Err(error) = fleet.tick(0, 2500) {
            assert_eq!(error.kind(), ErrorKind::Stale, "seed {seed}: {error}");
            forgot += 1;
        }
        let trees = fleet.settle().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None, "seed {seed}");
        assert!(marks_in(&trees[1]).contains(&mark(900)), "seed {seed}: it is lost");
        assert!(examine(&fleet).is_clean(), "seed {seed}");
    }
    assert!(forgot > 0, "it always knew them");
}

#[test]
fn who_forgot_a_commit_of_which_others_let_go_long_ago_is_told_to_mount_again() {
    let mut fleet = open_at_its_own_with(9, &keeping_for(60));
    save(fleet.homes[0].workspace().unwrap(), "g", &content(900, 70_000)).unwrap();
    commits_and_forgets(&mut fleet);
    fleet.homes[0].open().unwrap();
    fleet.tick(1, 2500).unwrap();
    save(fleet.homes[1].workspace().unwrap(), "g", &content(901, 5000)).unwrap();
    write_for_long(&mut fleet, &[1], 300, 1100);
    fleet.homes[0].cut(false);
    for _ in 0..2 {
        let told = fleet.tick(0, 2500).map_err(|error| error.kind());
        assert_eq!(told, Err(ErrorKind::Stale));
    }
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    assert!(marks_in(&trees[0]).contains(&mark(901)));
    assert!(examine(&fleet).is_clean());
}

#[test]
fn who_forgot_its_first_commit_and_the_records_in_it_does_not_begin_without_them() {
    let mut fleet = Fleet::new(19, 2, &tuning());
    fleet.keep_copies();
    fleet.settle().unwrap();
    fleet.homes[0].cut(true);
    save(fleet.homes[0].workspace().unwrap(), "f", &content(1, 500)).unwrap();
    // The next process goes on from that without the store: its records are in a file of their own.
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.homes[0].open().unwrap();
    save(fleet.homes[0].workspace().unwrap(), "more", &content(2, 500)).unwrap();
    commits_and_forgets(&mut fleet);
    let refused = fleet.homes[0].open().map_err(|error| error.kind());
    if let Some(first) = fleet.homes[0].workspace() {
        save(first, "tmp", &content(3, 500)).unwrap();
        let places = ((Ino::ROOT, &b"tmp"[..]), (Ino::ROOT, &b"f"[..]));
        done(first.rename(places.0, places.1, RenameMode::Replace)).unwrap();
    }
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    let found = marks_in(&trees[0]);
    assert!(found.contains(&mark(1)) && found.contains(&mark(2)), "one is lost");
    assert!(examine(&fleet).is_clean());
    assert_eq!(refused, Err(ErrorKind::Unavailable));
}
