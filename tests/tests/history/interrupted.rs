//! A snapshot whose making is interrupted.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_store::over::{Call, Over};
use strongroom_store::{Key, Store, now};
use strongroom_tests::harness::files::{load, save};
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::world::small_tuning;
use strongroom_workspace::error::ErrorKind;
use strongroom_workspace::{Tuning, Workspace};

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

/// A store where another home comes first with the commit behind a checkpoint, and what that checkpoint stands for is collected
/// before it is looked for then. Once.
struct Overtaken {
    store: Arc<dyn Store>,
    other: Workspace,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy)]
enum Progress {
    Begun,
    Frozen(Key),
    Overtaken(Key),
    Collected,
}

impl Over for Overtaken {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        let mut progress = self.progress.lock();
        *progress = match (*progress, call) {
            (Progress::Begun, Call::Put(key @ Key::Checkpoint(_))) => Progress::Frozen(key),
            (Progress::Frozen(key), Call::PutIfAbsent(Key::Log(_))) => {
                save(&self.other, "other", &content(2, 30_000)).unwrap();
                self.other.commit().unwrap();
                Progress::Overtaken(key)
            }
            (Progress::Overtaken(key), Call::Get(wanted)) if wanted == key => {
                now(self.store.delete(key)).unwrap();
                Progress::Collected
            }
            (same, _) => same,
        };
        Ok(())
    }
}

#[test]
fn a_snapshot_whose_state_goes_before_it_is_one_is_made_of_a_newer_state() {
    let mut fleet = Fleet::new(5, 2, &small_tuning());
    fleet.homes.iter_mut().for_each(|home| home.open().unwrap());
    let alice = fleet.homes[0].workspace().unwrap().clone();
    let bob = fleet.homes[1].workspace().unwrap().clone();
    save(&alice, "file", &content(1, 20_000)).unwrap();
    let (store, progress) = (fleet.store().clone(), Mutex::new(Progress::Begun));
    let overtaken = Arc::new(Overtaken { store, other: bob.clone(), progress });
    fleet.homes[0].leads_to(overtaken.clone());
    let made = alice.make_snapshot("early").unwrap();
    fleet.homes[0].leads_to(fleet.store().clone());
    assert!(matches!(*overtaken.progress.lock(), Progress::Collected));
    fleet.tick(1, 2500).unwrap();
    for workspace in [&alice, &bob] {
        assert_eq!(
            workspace.snapshots().unwrap(),
            std::slice::from_ref(&made),
            "it says that there is one"
        );
        let then = workspace.at(&snapshot("early")).unwrap();
        assert!(load(&then, "file").unwrap() == content(1, 20_000));
    }
}
