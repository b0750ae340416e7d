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
    write(&workspace, 3);
    make(&workspace, "folder", Kind::Folder).unwrap();
    drop(workspace);
    if moment == Moment::WhenTheNextHasWritten {
        fleet.homes[0].arrives(Arrival::Now);
    }
    let told = format!("{moment:?} with {homes} after {last}");
    let trees = fleet.settle().unwrap_or_else(|error| panic!("{told}: {error}"));
    assert!(trees.iter().all(|tree| difference(&trees[0], tree, Times::Compared).is_none()));
    let found = marks_in(&trees[0]);
    assert!((1..=3).all(|number| found.contains(&mark(number))), "{told}");
    // The root, folders and each file once.
    assert_eq!(trees[0].len(), 9, "{told}: {:?}", trees[0].keys());
    assert!(examine(&fleet).is_clean(), "{told}");
    let all: Vec<usize> = (0..homes).collect();
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
