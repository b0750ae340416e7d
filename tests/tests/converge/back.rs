//! Homes whose machine is rolled back to a backup, and that begin without the store.

use std::collections::BTreeSet;

use strongroom_tests::harness::files::{make, save};
use strongroom_tests::harness::fleet::{Backup, Down, Fleet};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::tree::{Times, difference};
use strongroom_workspace::door::{Core, Kind, SyncLevel, SyncScope};
use strongroom_workspace::error::ErrorKind;

use super::{bytes_of, content, examine, mark, marks_in, marks_of, tuning, write_for_long};

/// How many homes there are, and how many changes wait in the backup.
const WAYS: [(usize, u64); 4] = [(1, 0), (2, 0), (1, 3), (2, 3)];

/// Homes of which the first committed much after a backup of it, was rolled back to that, and wrote on, without the store. What it does
/// has numbers that what it committed had.
fn rolled_back(homes: usize, waiting: u64) -> Fleet {
    let mut fleet = Fleet::new(21, homes, &tuning());
    fleet.keep_copies();
    let all: Vec<usize> = (0..homes).collect();
    write_for_long(&mut fleet, &all, 3, 1100);
    save(fleet.homes[0].workspace().unwrap(), "shared", &content(100, 3000)).unwrap();
    fleet.settle().unwrap();
    // What waits in the backup was committed after it.
    for number in 0..waiting {
        let name = format!("waits {number}");
        save(fleet.homes[0].workspace().unwrap(), &name, &content(150 + number, 900)).unwrap();
    }
    fleet.homes[0].down(Down::Killed).unwrap();
    let backup = fleet.homes[0].back_up();
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    for number in 0..12 {
        save(&first, &format!("committed {number}"), &content(200 + number, 900)).unwrap();
    }
    save(&first, "shared", &content(300, 3000)).unwrap();
    make(&first, "folder committed", Kind::Folder).unwrap();
    save(&first, "folder committed/in", &content(301, 300)).unwrap();
    drop(first);
    fleet.homes[0].down(Down::Closed).unwrap();

    fleet.homes[0].roll_back(&backup);
    fleet.homes[0].cut(true);
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    make(&first, "folder", Kind::Folder).unwrap();
    save(&first, "folder/in", &content(401, 300)).unwrap();
    save(&first, "shared", &content(402, 3000)).unwrap();
    for number in 0..3 {
        save(&first, &format!("apart {number}"), &content(500 + number, 70_000)).unwrap();
    }
    done(first.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    fleet
}

/// What was done on both sides of the backup is there, each under its name.
fn everything_is_there(fleet: &mut Fleet, waiting: u64) {
    let trees = fleet.settle().unwrap();
    for tree in &trees {
        assert_eq!(difference(&trees[0], tree, Times::Compared), None);
    }
    let found = marks_in(&trees[0]);
    for number in (150..150 + waiting).chain(200..212).chain([300, 301, 401, 402]).chain(500..503) {
        assert!(found.contains(&mark(number)), "{number} is lost");
    }
    for (path, number) in [("/folder/in", 401), ("/folder committed/in", 301), ("/apart 2", 502)] {
        let node = trees[0].get(path.as_bytes()).unwrap_or_else(|| panic!("{path} is not there"));
        assert_eq!(marks_of(&bytes_of(node)), BTreeSet::from([mark(number)]), "{path}");
    }
    assert!(examine(fleet).is_clean());
}

#[test]
fn what_a_home_that_was_rolled_back_does_without_the_store_is_put_beside_what_it_had_committed() {
    for (homes, waiting) in WAYS {
        let mut fleet = rolled_back(homes, waiting);
        fleet.homes[0].cut(false);
        let told = fleet.tick(0, 2500).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Stale, "{told}");
        // Where nobody else writes, the log is gone that would show it.
        let tells = told.to_string().contains("older than what it committed");
        assert!(tells || homes == 1, "{told}");
        everything_is_there(&mut fleet, waiting);
    }
}

#[test]
fn a_home_that_was_rolled_back_keeps_what_it_did_without_the_store_if_it_ends_before_it_hears() {
    for (homes, waiting) in WAYS {
        for how in [Down::Killed, Down::PowerLost(3)] {
            let mut fleet = rolled_back(homes, waiting);
            fleet.homes[0].down(how).unwrap();
            fleet.homes[0].cut(false);
            fleet.homes[0].open().unwrap_or_else(|error| panic!("{homes} homes, {how:?}: {error}"));
            everything_is_there(&mut fleet, waiting);
        }
    }
}

/// The first of two homes, which knows nothing any more of all that it ever committed, nor has a record of it, as a loss of power may
/// leave it, and wrote without the store.
fn knows_of_none() -> Fleet {
    let mut fleet = Fleet::new(12, 2, &tuning());
    fleet.keep_copies();
    fleet.settle().unwrap();
    fleet.homes[0].down(Down::Killed).unwrap();
    let before = fleet.homes[0].back_up();
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    save(&first, "committed", &content(600, 900)).unwrap();
    save(&first, "both", &content(601, 900)).unwrap();
    first.commit().unwrap();
    drop(first);
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.homes[0].roll_back(&before);
    fleet.homes[0].cut(true);
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    save(&first, "apart", &content(602, 900)).unwrap();
    save(&first, "both", &content(603, 900)).unwrap();
    done(first.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    fleet
}

fn all_is_there_once(fleet: &mut Fleet, last: u64) {
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    let found = marks_in(&trees[1]);
    for number in 600..=last {
        assert!(found.contains(&mark(number)), "{number} is lost");
    }
    // The root, and each file once.
    assert_eq!(trees[0].len() as u64, 1 + last + 1 - 600, "{:?}", trees[0].keys());
    assert!(examine(fleet).is_clean());
    // And it goes on as any other.
    write_for_long(fleet, &[0, 1], 3, 1100);
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.settle().unwrap();
}

#[test]
fn a_home_that_knows_of_none_of_its_commits_and_hears_of_them_while_it_is_open_opens_again() {
    let mut fleet = knows_of_none();
    fleet.homes[0].cut(false);
    let told = fleet.tick(0, 2500).map_err(|error| error.kind());
    assert_eq!(told, Err(ErrorKind::Stale));
    all_is_there_once(&mut fleet, 603);
}

#[test]
fn a_home_that_knows_of_none_of_its_commits_and_ends_before_it_hears_of_them_opens_again() {
    let mut fleet = knows_of_none();
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    save(&first, "again", &content(604, 900)).unwrap();
    drop(first);
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.homes[0].cut(false);
    fleet.homes[0].open().unwrap();
    all_is_there_once(&mut fleet, 604);
}

/// The first of two homes begins without the store with changes that wait, makes `more`, is killed in a commit after so many requests, the
/// last of which it does not hear of, and goes on without the store. Says whether the commit was told.
fn killed_in_a_commit(more: u64, requests: u64) -> (Fleet, bool) {
    let mut fleet = Fleet::new(31, 2, &tuning());
    fleet.keep_copies();
    fleet.settle().unwrap();
    save(fleet.homes[0].workspace().unwrap(), "edited", &content(700, 900)).unwrap();
    fleet.settle().unwrap();
    fleet.homes[0].cut(true);
    save(fleet.homes[0].workspace().unwrap(), "waits", &content(701, 900)).unwrap();
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.homes[0].open().unwrap();
    for number in 0..more {
        save(fleet.homes[0].workspace().unwrap(), "more", &content(702 + number, 900)).unwrap();
    }
    fleet.homes[0].cut(false);
    fleet.homes[0].ends_untold_after(requests);
    let told = fleet.homes[0].workspace().unwrap().commit().is_ok();
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.homes[0].ends_after(None);
    fleet.homes[0].cut(true);
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    save(&first, "edited", &content(710, 900)).unwrap();
    save(&first, "apart", &content(711, 900)).unwrap();
    done(first.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    (fleet, told)
}

#[test]
fn a_home_that_is_killed_in_a_commit_and_goes_on_without_the_store_conflicts_with_nothing_of_its_own()
 {
    for (more, how) in [(0, None), (1, None), (0, Some(Down::Killed)), (1, Some(Down::Killed))] {
        let mut told = false;
        for requests in 0..40 {
            if told {
                break;
            }
            let (mut fleet, was_told) = killed_in_a_commit(more, requests);
            told = was_told;
            if let Some(how) = how {
                fleet.homes[0].down(how).unwrap();
            }
            let what = format!("{more} more, {how:?} after {requests} requests");
            let trees = fleet.settle().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None, "{what}");
            let names: Vec<_> = trees[0].keys().map(|path| String::from_utf8_lossy(path)).collect();
            assert_eq!(names.len() as u64, 4 + more, "{what}: {names:?}");
            let edited = marks_of(&bytes_of(&trees[0][b"/edited".as_slice()]));
            assert_eq!(edited, BTreeSet::from([mark(710)]), "{what}");
            assert!(examine(&fleet).is_clean(), "{what}");
        }
        assert!(told, "it never committed");
    }
}

#[test]
fn what_goes_on_from_a_backup_is_put_on_top_of_what_it_knew_and_not_of_a_later_empty_commit() {
    let mut fleet = Fleet::new(41, 2, &tuning());
    fleet.keep_copies();
    fleet.settle().unwrap();
    // What waits in the backup is committed after it.
    fleet.homes[0].cut(true);
    save(fleet.homes[0].workspace().unwrap(), "waits", &content(800, 900)).unwrap();
    fleet.homes[0].down(Down::Killed).unwrap();
    let backup = fleet.homes[0].back_up();
    fleet.homes[0].cut(false);
    fleet.homes[0].open().unwrap();
    fleet.homes[0].workspace().unwrap().commit().unwrap();
    // Then others write, and an empty commit lies on top of that.
    let second = fleet.homes[1].workspace().unwrap().clone();
    save(&second, "both", &content(801, 900)).unwrap();
    second.commit().unwrap();
    drop(second);
    fleet.tick(0, 2500).unwrap();
    fleet.homes[0].down(Down::Closed).unwrap();

    fleet.homes[0].roll_back(&backup);
    fleet.homes[0].cut(true);
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    save(&first, "both", &content(802, 900)).unwrap();
    done(first.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    drop(first);
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.homes[0].cut(false);
    let trees = fleet.settle().unwrap();
    let found = marks_in(&trees[0]);
    for number in 800..803 {
        assert!(found.contains(&mark(number)), "{number} is lost");
    }
    assert!(examine(&fleet).is_clean());
}

/// The first of two homes, rolled back to a backup: a folder is made without the store, then another backup is taken.
fn makes_a_folder_apart(fleet: &mut Fleet, from: &Backup) -> Backup {
    fleet.homes[0].roll_back(from);
    fleet.homes[0].cut(true);
    fleet.homes[0].open().unwrap();
    make(fleet.homes[0].workspace().unwrap(), "folder", Kind::Folder).unwrap();
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.homes[0].back_up()
}

#[test]
fn what_a_home_makes_without_the_store_after_it_was_rolled_back_has_no_number_of_what_it_had_committed()
 {
    let mut fleet = Fleet::new(43, 2, &tuning());
    fleet.keep_copies();
    fleet.settle().unwrap();
    fleet.homes[0].down(Down::Killed).unwrap();
    let first_backup = fleet.homes[0].back_up();
    fleet.homes[0].open().unwrap();
    save(fleet.homes[0].workspace().unwrap(), "file", &content(900, 900)).unwrap();
    fleet.homes[0].down(Down::Closed).unwrap();
    let second_backup = makes_a_folder_apart(&mut fleet, &first_backup);
    fleet.homes[0].cut(false);
    fleet.settle().unwrap();
    fleet.homes[0].down(Down::Closed).unwrap();

    // What is made in the folder says by number where it goes.
    fleet.homes[0].roll_back(&second_backup);
    fleet.homes[0].cut(true);
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    save(&first, "folder/in", &content(901, 900)).unwrap();
    done(first.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    drop(first);
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.homes[0].cut(false);
    let trees = fleet.settle().unwrap();
    let names: Vec<_> = trees[0].keys().map(|path| String::from_utf8_lossy(path)).collect();
    assert_eq!(names, ["", "/file", "/folder", "/folder/in"]);
    assert_eq!(marks_in(&trees[0]), BTreeSet::from([mark(900), mark(901)]));
    assert!(examine(&fleet).is_clean());
}

#[test]
fn a_home_that_was_rolled_back_and_meets_many_commits_of_others_before_its_own_opens_again() {
    let mut fleet = Fleet::new(51, 2, &tuning());
    fleet.keep_copies();
    fleet.settle().unwrap();
    save(fleet.homes[0].workspace().unwrap(), "both", &content(600, 900)).unwrap();
    fleet.settle().unwrap();
    fleet.homes[0].down(Down::Killed).unwrap();
    let backup = fleet.homes[0].back_up();
    // More than are taken in at once.
    let second = fleet.homes[1].workspace().unwrap().clone();
    for number in 0..70 {
        save(&second, &format!("second {number}"), &content(700 + number, 300)).unwrap();
        second.commit().unwrap();
    }
    drop(second);
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    save(&first, "committed", &content(601, 900)).unwrap();
    save(&first, "both", &content(602, 900)).unwrap();
    first.commit().unwrap();
    drop(first);
    fleet.homes[0].down(Down::Killed).unwrap();

    fleet.homes[0].roll_back(&backup);
    fleet.homes[0].cut(true);
    fleet.homes[0].open().unwrap();
    let first = fleet.homes[0].workspace().unwrap().clone();
    save(&first, "apart", &content(603, 900)).unwrap();
    save(&first, "both", &content(604, 900)).unwrap();
    done(first.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    drop(first);
    fleet.homes[0].cut(false);
    let told = fleet.tick(0, 2500).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Stale, "{told}");
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    let found = marks_in(&trees[0]);
    for number in (601..605).chain(700..770) {
        assert!(found.contains(&mark(number)), "{number} is lost");
    }
    assert!(examine(&fleet).is_clean());
}
