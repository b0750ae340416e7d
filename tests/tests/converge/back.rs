//! Homes whose machine is rolled back to a backup, and that begin without the store.

use std::collections::BTreeSet;

use strongroom_tests::harness::files::{make, save};
use strongroom_tests::harness::fleet::{Down, Fleet};
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
