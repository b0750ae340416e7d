//! A commit whose process was killed while it was under way to the store, and which arrives when the next one is there.

use strongroom_tests::harness::files::{make, save};
use strongroom_tests::harness::fleet::{Arrival, Down, Fleet};
use strongroom_tests::harness::tree::{Times, difference};
use strongroom_workspace::Workspace;
use strongroom_workspace::door::Kind;

use super::{content, examine, mark, marks_in, tuning, write_for_long};

/// When it arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    BeforeTheNextOpens,
    WhileTheNextOpens,
    WhenTheNextIsOpen,
    WhenTheNextHasWritten,
    Never,
}

const MOMENTS: [Moment; 5] = [
    Moment::BeforeTheNextOpens,
    Moment::WhileTheNextOpens,
    Moment::WhenTheNextIsOpen,
    Moment::WhenTheNextHasWritten,
    Moment::Never,
];

fn write(workspace: &Workspace, number: u64) {
    save(workspace, &format!("little {number}"), &content(number, 300)).unwrap();
    save(workspace, &format!("large {number}"), &content(number, 70_000)).unwrap();
}

/// `last` is who committed before.
fn arrives_at(moment: Moment, homes: usize, last: usize) {
    let mut fleet = Fleet::new(21, homes, &tuning());
    fleet.mount_again();
    fleet.settle().unwrap();
    let workspace = fleet.homes[last].workspace().unwrap().clone();
    make(&workspace, "first", Kind::Folder).unwrap();
    workspace.commit().unwrap();
    drop(workspace);
    fleet.settle().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    write(&workspace, 1);
    fleet.homes[0].keeps_back();
    workspace.commit().unwrap_err();
    // After it, and before the end.
    write(&workspace, 2);
    drop(workspace);
    let told = format!("{moment:?} with {homes} after {last}");
    // The root, folders and each file once.
    goes_on(fleet, moment, (&told, 9, 3));
}

/// Home 0 has written up to mark `last - 1` with a commit under way; it ends and begins again, which leaves `len` names.
fn goes_on(mut fleet: Fleet, moment: Moment, (told, len, last): (&str, usize, u64)) {
    fleet.homes[0].down(Down::Killed).unwrap();
    match moment {
        Moment::BeforeTheNextOpens => fleet.homes[0].arrives(Arrival::Now),
        Moment::WhileTheNextOpens => fleet.homes[0].arrives(Arrival::BeforeNext),
        _ => {}
    }
    fleet.homes[0].open().unwrap();
    if moment == Moment::WhenTheNextIsOpen {
        fleet.homes[0].arrives(Arrival::Now);
    }
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    write(&workspace, last);
    make(&workspace, "folder", Kind::Folder).unwrap();
    drop(workspace);
    if moment == Moment::WhenTheNextHasWritten {
        fleet.homes[0].arrives(Arrival::Now);
    }
    let trees = fleet.settle().unwrap_or_else(|error| panic!("{told}: {error}"));
    assert!(trees.iter().all(|tree| difference(&trees[0], tree, Times::Compared).is_none()));
    let found = marks_in(&trees[0]);
    assert!((1..=last).all(|number| found.contains(&mark(number))), "{told}");
    assert_eq!(trees[0].len(), len, "{told}: {:?}", trees[0].keys());
    assert!(examine(&fleet).is_clean(), "{told}");
    let all: Vec<usize> = (0..fleet.homes.len()).collect();
    write_for_long(&mut fleet, &all, 3, 1100);
    fleet.homes[0].down(Down::Killed).unwrap();
    fleet.settle().unwrap_or_else(|error| panic!("{told}: {error}"));
}

#[test]
fn a_commit_that_arrives_when_its_process_is_gone_is_taken_for_what_it_is() {
    for moment in MOMENTS {
        for (homes, last) in [(1, 0), (2, 0), (2, 1)] {
            arrives_at(moment, homes, last);
        }
    }
}

#[test]
fn a_commit_that_arrives_on_top_of_an_empty_one_keeps_nobody_out() {
    for moment in MOMENTS {
        let mut fleet = Fleet::new(22, 3, &tuning());
        fleet.mount_again();
        // Who begins where several write says what its first change was done on top of.
        for home in [1, 2, 0] {
            fleet.homes[home].open().unwrap();
        }
        write(fleet.homes[0].workspace().unwrap(), 1);
        fleet.homes[0].down(Down::Killed).unwrap();
        // Takes a number by an empty commit; what the journal holds was done on top of the one before.
        fleet.homes[0].open().unwrap();
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        write(&workspace, 2);
        fleet.homes[0].keeps_back();
        workspace.commit().unwrap_err();
        write(&workspace, 3);
        drop(workspace);
        goes_on(fleet, moment, (&format!("{moment:?}"), 10, 4));
    }
}
