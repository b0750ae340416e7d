//! A home whose machine stood still while others wrote: its clocks say that it was never away.

use strongroom_store::Family;
use strongroom_tests::harness::files::save;
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::tree::{Times, difference};
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{Core, SyncLevel, SyncScope};
use strongroom_workspace::error::ErrorKind;

use super::{content, examine, keeping_for, mark, marks_in, stored, write_for_long};

/// Two homes of which the second stood still, with something that it has not committed, while the first wrote for longer than what
/// is superfluous stays.
fn stood_still() -> Fleet {
    // Nothing is moved: what the second lets go of the other may need.
    let mut fleet = Fleet::new(16, 2, &Tuning { compact_bytes: 0, ..keeping_for(100) });
    write_for_long(&mut fleet, &[0, 1], 9, 1100);
    fleet.settle().unwrap();
    let [first, second] = [0, 1].map(|home| fleet.homes[home].workspace().unwrap().clone());
    save(&second, "late", &content(900, 70_000)).unwrap();
    save(&second, "1-1", &content(901, 70_000)).unwrap();
    done(second.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    for round in 0..300 {
        save(&first, &format!("0-{}", round % 4), &content(round, 40_000)).unwrap();
        fleet.tick_alone(0, 1100).unwrap();
    }
    fleet
}

/// It is told, goes on after the next mount, and has lost nothing.
fn goes_on(fleet: Fleet) {
    let mut fleet = fleet;
    let told = fleet.tick(1, 3000).err().map(|error| error.kind());
    assert_eq!(told, Some(ErrorKind::Stale));
    fleet.homes[1].down(Down::Killed).unwrap();
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    let found = marks_in(&trees[0]);
    assert!([5, 900, 901].iter().all(|number| found.contains(&mark(*number))));
    assert!(examine(&fleet).is_clean());
    write_for_long(&mut fleet, &[1, 0], 3, 1100);
    fleet.homes[1].down(Down::Killed).unwrap();
    fleet.settle().unwrap();
}

#[test]
fn a_home_whose_clocks_stood_still_commits_nothing_under_a_number_that_was_collected() {
    let fleet = stood_still();
    let second = fleet.homes[1].workspace().unwrap().clone();
    let before = stored(&fleet, Family::Log);
    let refused = second.commit().err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Stale));
    assert_eq!(stored(&fleet, Family::Log), before);
    drop(second);
    goes_on(fleet);
}

#[test]
fn a_number_that_was_collected_is_not_believed_either_when_the_answer_to_the_commit_was_lost() {
    let before = stored(&stood_still(), Family::Log);
    let mut got_through = 0;
    for requests in 1..20 {
        let fleet = stood_still();
        let second = fleet.homes[1].workspace().unwrap().clone();
        fleet.homes[1].ends_untold_after(requests);
        second.commit().unwrap_err();
        got_through += u64::from(stored(&fleet, Family::Log) > before);
        fleet.homes[1].ends_after(None);
        let _ = fleet.tick(1, 3000);
        assert_eq!(stored(&fleet, Family::Log), before, "after {requests} requests");
        drop(second);
        goes_on(fleet);
    }
    assert!(got_through > 1, "{got_through}");
}

#[test]
fn what_a_home_let_go_of_under_a_number_that_was_collected_stays_also_if_it_was_killed_then() {
    let mut fleet = stood_still();
    let before = stored(&fleet, Family::Log);
    for requests in 1.. {
        fleet.homes[1].ends_after(Some(requests));
        fleet.homes[1].workspace().unwrap().commit().unwrap_err();
        if stored(&fleet, Family::Log) > before {
            break;
        }
    }
    fleet.homes[1].down(Down::Killed).unwrap();
    fleet.homes[1].ends_after(None);
    fleet.settle().unwrap();
    // It is collected with others.
    for round in 0..300 {
        let first = fleet.homes[0].workspace().unwrap().clone();
        save(&first, &format!("0-{}", round % 4), &content(round, 40_000)).unwrap();
        fleet.tick(0, 1100).unwrap();
        fleet.tick(1, 100).unwrap();
    }
    let trees = fleet.settle().unwrap();
    assert_eq!(difference(&trees[0], &trees[1], Times::Compared), None);
    let found = marks_in(&trees[0]);
    assert!([5, 900, 901].iter().all(|number| found.contains(&mark(*number))));
    assert!(examine(&fleet).is_clean());
}

#[test]
fn a_home_whose_clocks_stood_still_is_told_though_it_writes_nothing() {
    let fleet = stood_still();
    // Its next look for checkpoints of others is a while away.
    let told = (0..4).find_map(|_| fleet.tick_alone(1, 3000).err().map(|error| error.kind()));
    assert_eq!(told, Some(ErrorKind::Stale));
}
