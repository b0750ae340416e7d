//! A snapshot whose making is interrupted.

use std::time::Duration;

use strongroom_tests::harness::files::save;
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::world::small_tuning;
use strongroom_workspace::Tuning;
use strongroom_workspace::error::ErrorKind;

use super::{content, kind_of, snapshot};

#[test]
fn a_snapshot_that_others_hear_of_when_its_state_is_gone_is_none() {
    let (retention, renew_interval) = (Duration::from_secs(60), Duration::from_secs(5));
    let mut fleet = Fleet::new(5, 2, &Tuning { retention, renew_interval, ..small_tuning() });
    fleet.mount_again();
    fleet.homes.iter_mut().for_each(|home| home.open().unwrap());
    let alice = fleet.homes[0].workspace().unwrap().clone();
    save(&alice, "file", &content(1, 20_000)).unwrap();
    // As many requests as its state takes; the commit that says that it is a snapshot does not get through.
    for requests in 0.. {
        fleet.homes[0].ends_after(Some(requests));
        assert!(alice.make_snapshot("early").is_err(), "it was not interrupted there");
        fleet.homes[0].ends_after(None);
        if !alice.snapshots().unwrap().is_empty() {
            break;
        }
    }
    drop(alice);
    fleet.homes[0].down(Down::Killed).unwrap();
    let bob = fleet.homes[1].workspace().unwrap().clone();
    for round in 0..100 {
        save(&bob, "file", &content(round, 30_000)).unwrap();
        fleet.tick(1, 1_000_000).unwrap();
    }
    drop(bob);
    fleet.settle().unwrap();
    for workspace in fleet.homes.iter().filter_map(|home| home.workspace()) {
        assert_eq!(kind_of(workspace.at(&snapshot("early"))), Some(ErrorKind::NotFound));
        assert_eq!(workspace.snapshots().unwrap(), []);
    }
}
