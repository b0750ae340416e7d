//! Files that are open and have no name any more.

use std::collections::BTreeSet;
use std::time::Duration;

use strongroom_tests::harness::files::OPEN;
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::runner::{CALLER, done};
use strongroom_tests::harness::world::START_NS;
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{Core, Ino, WriteMode};

use super::{content, examine, mark, marks_of, tuning};

#[test]
fn a_file_without_a_name_goes_on_where_it_is_open_when_another_home_mounts() {
    let mut fleet = Fleet::new(8, 3, &tuning());
    for home in [0, 1] {
        fleet.homes[home].open().unwrap();
    }
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    let made = done(workspace.create_open(CALLER, Ino::ROOT, b"f", 0o600, OPEN)).unwrap();
    let (ino, handle) = (made.0.ino, made.1.handle);
    let write = |at: u64, bytes: &[u8]| {
        done(workspace.write(handle, at, bytes, WriteMode::At, false)).unwrap();
    };
    write(0, &content(1, 70_000));
    done(workspace.unlink(Ino::ROOT, b"f")).unwrap();
    workspace.commit().unwrap();
    write(70_000, &mark(2));
    // One mounts that never did, one mounts again.
    fleet.homes[2].open().unwrap();
    fleet.homes[1].down(Down::Closed).unwrap();
    fleet.homes[1].open().unwrap();
    for home in [1, 2, 0] {
        fleet.homes[home].workspace().unwrap().commit().unwrap();
        fleet.tick(home, 3_000).unwrap();
    }
    write(70_024, &mark(3));
    let bytes = done(workspace.read(handle, 0, 1 << 20)).unwrap();
    assert_eq!(marks_of(&bytes), BTreeSet::from([mark(1), mark(2), mark(3)]));
    drop(workspace);
    // Its own home takes it away, however it ended.
    fleet.homes[0].workspace().unwrap().commit().unwrap();
    assert_eq!(examine(&fleet).counts.orphans, 1);
    fleet.homes[0].down(Down::PowerLost(5)).unwrap();
    fleet.settle().unwrap();
    let report = examine(&fleet);
    assert!(report.is_clean());
    assert_eq!(report.counts.orphans, 0, "{ino:?}");
}

#[test]
fn a_file_without_a_name_goes_on_where_it_is_open_whatever_clocks_show() {
    let grace = Duration::from_secs(30_000);
    for wrong in 0..2 {
        let mut fleet = Fleet::new(8, 2, &Tuning { unnamed_grace: grace, ..tuning() });
        // One that begins without a battery, and is set right later.
        fleet.homes[wrong].set_now_ns(5_000_000_000);
        for home in [1, 0] {
            fleet.homes[home].open().unwrap();
            fleet.homes[home].workspace().unwrap().commit().unwrap();
        }
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        let made = done(workspace.create_open(CALLER, Ino::ROOT, b"f", 0o600, OPEN)).unwrap();
        let handle = made.1.handle;
        done(workspace.write(handle, 0, &content(1, 70_000), WriteMode::At, false)).unwrap();
        done(workspace.unlink(Ino::ROOT, b"f")).unwrap();
        workspace.commit().unwrap();
        for _ in 0..2 {
            fleet.homes[1].down(Down::Closed).unwrap();
            fleet.homes[1].open().unwrap();
            fleet.homes[1].workspace().unwrap().commit().unwrap();
            if wrong == 1 {
                fleet.homes[1].set_now_ns(START_NS);
            }
        }
        fleet.tick(0, 3_000).unwrap();
        let bytes = done(workspace.read(handle, 0, 1 << 20)).unwrap();
        assert!(bytes == content(1, 70_000), "home {wrong}");
    }
}

#[test]
fn a_file_without_a_name_goes_when_its_home_opens_again_wherever_in_its_commit_that_was_killed() {
    let mut committed = 0;
    for requests in 0..12 {
        let mut fleet = Fleet::new(8, 2, &tuning());
        for home in [1, 0] {
            fleet.homes[home].open().unwrap();
            fleet.homes[home].workspace().unwrap().commit().unwrap();
        }
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        done(workspace.create_open(CALLER, Ino::ROOT, b"f", 0o600, OPEN)).unwrap();
        done(workspace.unlink(Ino::ROOT, b"f")).unwrap();
        fleet.homes[0].ends_after(Some(requests));
        let before = workspace.status().head_seq;
        // How far it comes is seen in the store.
        let _ = workspace.commit();
        drop(workspace);
        fleet.homes[0].down(Down::Killed).unwrap();
        fleet.homes[0].ends_after(None);
        fleet.homes[1].open().unwrap();
        fleet.tick(1, 2500).unwrap();
        committed += u64::from(fleet.homes[1].workspace().unwrap().status().head_seq > before);
        fleet.settle().unwrap();
        assert_eq!(examine(&fleet).counts.orphans, 0, "{requests} requests");
    }
    assert!((4..12).contains(&committed));
}

#[test]
fn a_file_without_a_name_whose_home_never_came_back_goes_in_the_end() {
    let mut fleet =
        Fleet::new(9, 2, &Tuning { unnamed_grace: Duration::from_secs(30_000), ..tuning() });
    fleet.homes[0].open().unwrap();
    let workspace = fleet.homes[0].workspace().unwrap().clone();
    done(workspace.create_open(CALLER, Ino::ROOT, b"f", 0o600, OPEN)).unwrap();
    done(workspace.unlink(Ino::ROOT, b"f")).unwrap();
    workspace.commit().unwrap();
    drop(workspace);
    fleet.homes[0].down(Down::Killed).unwrap();
    // Clocks differ by hours.
    for (millis, left) in [(0, 1), (60_000_000, 0)] {
        fleet.tick(1, millis).unwrap();
        fleet.homes[1].open().unwrap();
        fleet.homes[1].down(Down::Closed).unwrap();
        assert_eq!(examine(&fleet).counts.orphans, left);
    }
}
