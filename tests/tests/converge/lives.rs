//! Lives of several homes, whole and with a rule left out, and what such lives have found.

use std::collections::BTreeSet;

use strongroom_tests::harness::files::save;
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::seeds::{amount, repeat, seeds, seeds_after, trace};
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{Core, Ino};
use strongroom_workspace::error::ErrorKind;
use strongroom_workspace::limits::Broken;

use super::story::{Story, live, seen_in, tell};
use super::{content, examine, mark, marks_in, tuning, write_for_long};

/// Seeds whose lives once went wrong, of homes that begin while the store is away.
const FOUND_APART: [u64; 6] = [402_752, 444_576, 456_493, 515_417, 516_682, 527_440];

/// The same, of homes that are rolled back as well.
const FOUND_ROLLED_BACK: [u64; 8] =
    [615_016, 753_055, 759_045, 760_517, 860_005, 1_515_288, 1_525_055, 1_535_075];

#[test]
fn homes_that_write_at_once_converge_and_lose_nothing() {
    for seed in seeds(1, amount(200, 100_000)) {
        if let Err(what) = live(seed, &tuning()) {
            let again =
                repeat("converge", "homes_that_write_at_once_converge_and_lose_nothing", seed);
            panic!("seed {seed}: {what}\n{again}");
        }
    }
}

#[test]
fn homes_that_begin_while_the_store_is_away_converge_too() {
    for seed in seeds_after(&FOUND_APART, 400_000, amount(25, 100_000)) {
        let story = Story::new(seed, &tuning()).keeping_copies();
        if let Err(what) = tell(story) {
            let again =
                repeat("converge", "homes_that_begin_while_the_store_is_away_converge_too", seed);
            panic!("seed {seed}: {what}\n{again}");
        }
    }
}

#[test]
fn homes_that_are_rolled_back_and_begin_while_the_store_is_away_converge_too() {
    for seed in seeds_after(&FOUND_ROLLED_BACK, 600_000, amount(25, 100_000)) {
        let story = Story::new(seed, &tuning()).keeping_copies().rolling_back();
        if let Err(what) = tell(story) {
            let test = "homes_that_are_rolled_back_and_begin_while_the_store_is_away_converge_too";
            panic!("seed {seed}: {what}\n{}", repeat("converge", test, seed));
        }
    }
}

#[test]
fn what_is_saved_as_editors_do_is_there_or_what_was_there_before() {
    for seed in seeds(600_000, amount(25, 100_000)) {
        for story in [Story::new(seed, &tuning()), Story::new(seed, &tuning()).keeping_copies()] {
            if let Err(what) = tell(story.of_editors()) {
                let test = "what_is_saved_as_editors_do_is_there_or_what_was_there_before";
                panic!("seed {seed}: {what}\n{}", repeat("converge", test, seed));
            }
        }
    }
}

#[test]
fn what_was_synced_and_then_put_on_top_of_others_commits_survives_a_loss_of_power() {
    // A life in which the records that took the place of durable ones outlived the blocks that they name.
    live(2963, &tuning()).unwrap();
}

#[test]
fn a_commit_that_did_not_get_through_takes_nothing_away_that_the_journal_names() {
    // A life in which an object was deleted for a commit that the store never got; the journal still named it.
    live(1602, &tuning()).unwrap();
}

#[test]
fn a_conflict_copy_that_waited_names_nothing_that_others_let_go_of_meanwhile() {
    // A life in which a file was replaced between the making of its conflict copy and the commit with it.
    live(19_375, &tuning()).unwrap();
}

/// How many lives it takes to notice a rule that is left out.
fn lives_until_noticed(broken: Broken) -> u64 {
    let tuning = Tuning { broken: Some(broken), ..tuning() };
    (1..=200).find(|seed| live(*seed, &tuning).is_err()).unwrap_or(u64::MAX)
}

#[test]
fn rules_that_are_left_out_are_noticed() {
    for broken in [
        Broken::SecondEditReplacesFirst,
        Broken::DeletionBeatsEdit,
        Broken::BaseNotJournaled,
        Broken::TakenNameIsTakenOver,
    ] {
        let lives = lives_until_noticed(broken);
        trace(|| format!("{broken:?} is noticed in life {lives}"));
        assert!(lives <= 200, "{broken:?} was not noticed");
    }
}

#[test]
fn a_file_that_nobody_could_look_for_is_not_taken_for_missing() {
    // No page stays in memory: every look-up asks the store.
    let mut fleet = Fleet::new(15, 2, &Tuning { page_cache_bytes: 0, ..tuning() });
    fleet.homes[0].open().unwrap();
    save(fleet.homes[0].workspace().unwrap(), "f", &content(100, 50)).unwrap();
    write_for_long(&mut fleet, &[0], 20, 3000);
    fleet.homes[1].open().unwrap();
    let workspace = fleet.homes[1].workspace().unwrap();
    fleet.homes[1].cut(true);
    let unanswered = seen_in(workspace, Ino::ROOT, "f").map_err(|error| error.kind());
    assert_eq!(unanswered, Err(ErrorKind::Unavailable));
    fleet.homes[1].cut(false);
    assert_eq!(seen_in(workspace, Ino::ROOT, "f").unwrap(), BTreeSet::from([mark(100)]));
    assert_eq!(seen_in(workspace, Ino::ROOT, "none").unwrap(), BTreeSet::new());
}

#[test]
fn what_two_homes_bring_back_at_once_becomes_two_files() {
    let mut fleet = Fleet::new(14, 3, &tuning());
    fleet.homes[0].open().unwrap();
    save(fleet.homes[0].workspace().unwrap(), "f", &content(1, 20_000)).unwrap();
    fleet.settle().unwrap();
    for home in [1, 2] {
        fleet.homes[home].cut(true);
        let workspace = fleet.homes[home].workspace().unwrap();
        save(workspace, "f", &content(1 + home as u64, 3000)).unwrap();
        fleet.homes[home].down(Down::Killed).unwrap();
        fleet.homes[home].cut(false);
    }
    let first = fleet.homes[0].workspace().unwrap().clone();
    done(first.unlink(Ino::ROOT, b"f")).unwrap();
    first.commit().unwrap();
    drop(first);
    // Both bring it back before either of them commits.
    fleet.homes[1].open().unwrap();
    fleet.homes[2].open().unwrap();
    let trees = fleet.settle().unwrap();
    assert_eq!(marks_in(&trees[0]), BTreeSet::from([mark(2), mark(3)]));
    assert!(examine(&fleet).is_clean());
}
