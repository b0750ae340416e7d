//! A purge goes on in a thread of its own.

use std::time::{Duration, Instant};

use strongroom_store::{Family, now};
use strongroom_tests::harness::files::{load, save};
use strongroom_tests::harness::tree::read_tree;
use strongroom_tests::harness::world::small_tuning;

use super::{Scene, plain};

/// Looks again and again, while time goes by for everybody, until it is so.
fn until(scene: &Scene, what: &str, is_so: impl Fn(&Scene) -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so(scene) {
        assert!(Instant::now() < end, "{what}");
        scene.fleet.tick(1, 300).unwrap();
        std::thread::yield_now();
    }
}

#[test]
fn what_is_written_is_committed_and_followed_while_a_purge_takes_long() {
    let mut scene = Scene::new(2, &small_tuning(), 9);
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    scene.fleet.tick(1, 2500).unwrap();
    assert!(scene.workspace.purge(&[b"vault".to_vec()]).unwrap().goes_on);
    let first = now(scene.fleet.store().list(Family::Log, None)).unwrap()[0].key;
    let (reached, go_on) = scene.fleet.homes[0].stops_before_put(first);
    scene.workspace.run_background().unwrap();
    until(&scene, "the log is never stripped", |_| reached.try_recv().is_ok());
    save(&scene.workspace, "alice", &plain(1, 1)).unwrap();
    save(&bob, "bob", &plain(2, 2)).unwrap();
    until(&scene, "nothing is committed or followed", |scene| {
        load(&bob, "alice").is_ok() && load(&scene.workspace, "bob").is_ok()
    });
    assert!(scene.workspace.is_purging().unwrap());
    go_on.send(()).unwrap();
    until(&scene, "it never ends", |scene| !scene.workspace.is_purging().unwrap());
    scene.workspace.stop_background();
    drop(bob);
    scene.fleet.settle().unwrap();
    let present = read_tree(&scene.workspace).unwrap();
    scene.check(&present);
}
