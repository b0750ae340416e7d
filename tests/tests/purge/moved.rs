//! Files that somebody moved out of what is purged just before their names went.

use std::sync::mpsc::channel;

use strongroom_tests::harness::files::{find, load, make, save};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::tree::read_tree;
use strongroom_tests::harness::world::{keys, small_tuning};
use strongroom_workspace::door::{Core, Ino, Kind, RenameMode};
use strongroom_workspace::error::ErrorKind;
use strongroom_workspace::{At, Workspace};

use super::meanwhile::{append, before_removal, begin_again, come_to_its_end, open};
use super::{Scene, examine};

fn rename(core: &Workspace, from: &str, (folder, name): (&str, &[u8])) {
    let (above, old) = from.rsplit_once('/').unwrap();
    let to = if folder.is_empty() { Ino::ROOT } else { find(core, folder).unwrap() };
    let from = (find(core, above).unwrap(), old.as_bytes());
    done(core.rename(from, (to, name), RenameMode::Replace)).unwrap();
}

/// A purge of `vault` begins, and another home does this just before the names go.
fn scene_with(homes: usize, act: impl FnOnce(&Workspace) + Send + 'static) -> (Scene, Workspace) {
    let scene = Scene::new(homes, &small_tuning(), 9);
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    make(&scene.workspace, "vault/deep", Kind::Folder).unwrap();
    scene.workspace.commit().unwrap();
    for home in 1..homes {
        scene.fleet.tick(home, 2500).unwrap();
    }
    let acting = bob.clone();
    before_removal(&scene.fleet, move || {
        act(&acting);
        acting.commit().unwrap();
    });
    (scene, bob)
}

/// What was moved is there in the present and in the snapshot, and nothing else of it is anywhere.
fn stays_with_all_it_held(scene: &Scene, bob: &Workspace, (path, held): (&str, &[u8])) {
    come_to_its_end(scene);
    for core in [&scene.workspace, bob] {
        assert!(load(core, path).unwrap() == held);
    }
    let early = scene.workspace.at(&At::Snapshot("early".to_owned())).unwrap();
    let diary = load(&early, "vault/diary").map(|bytes| !bytes.is_empty());
    assert_eq!(diary.map_err(|error| error.kind()), Ok(true), "nobody purged what it held");
    let letter = load(&early, "vault/letter").map_err(|error| error.kind());
    assert_eq!(letter, Err(ErrorKind::Purged));
    let report = examine(&scene.fleet);
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn a_file_that_is_moved_out_just_before_a_purge_takes_its_name_stays_with_all_it_held() {
    let (scene, bob) = scene_with(2, |bob| rename(bob, "vault/diary", ("", b"kept")));
    let held = load(&scene.workspace, "vault/diary").unwrap();
    let purged = scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    scene.fleet.homes[0].leads_to(scene.fleet.store().clone());
    assert_eq!(purged.moved, 1);
    stays_with_all_it_held(&scene, &bob, ("kept", &held));
}

#[test]
fn a_file_that_is_moved_out_just_before_a_purge_that_is_interrupted_stays_when_that_goes_on() {
    let (mut scene, bob) = scene_with(2, |bob| rename(bob, "vault/diary", ("", b"kept")));
    let held = load(&scene.workspace, "vault/diary").unwrap();
    // The store is away when the removal is to be committed; later it is committed like anything else.
    scene.fleet.homes[0].keeps_back();
    let told = scene.workspace.purge(&[b"vault".to_vec()]).map_err(|error| error.kind());
    assert_eq!(told.map(drop), Err(ErrorKind::Unavailable));
    scene.fleet.homes[0].leads_to(scene.fleet.store().clone());
    scene.workspace.commit().unwrap();
    begin_again(&mut scene);
    stays_with_all_it_held(&scene, &bob, ("kept", &held));
}

#[test]
fn a_conflict_copy_of_a_file_that_was_moved_out_of_a_purge_is_whole() {
    let (scene, bob) = scene_with(3, |bob| {
        rename(bob, "vault/diary", ("", b"kept"));
        append(bob, "kept", b"bob's words");
    });
    let held = load(&scene.workspace, "vault/diary").unwrap();
    let carol = scene.fleet.homes[2].workspace().unwrap().clone();
    append(&carol, "vault/diary", b"carol's words");
    scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    scene.fleet.homes[0].leads_to(scene.fleet.store().clone());
    carol.commit().unwrap();
    let with = |words: &[u8]| [&held[..], words].concat();
    stays_with_all_it_held(&scene, &bob, ("kept", &with(b"bob's words")));
    let copy = with(b"carol's words");
    let tree = read_tree(&scene.workspace).unwrap();
    let mut paths = tree.keys().filter_map(|path| std::str::from_utf8(path).ok());
    let is_there = paths.any(|path| load(&scene.workspace, path).is_ok_and(|held| held == copy));
    assert!(is_there, "what she added to lost what was there before");
}

#[test]
fn a_file_that_is_moved_within_what_is_purged_just_before_goes_as_well() {
    let (mut scene, bob) =
        scene_with(2, |bob| rename(bob, "vault/diary", ("vault/deep", b"diary")));
    let purged = scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    scene.fleet.homes[0].leads_to(scene.fleet.store().clone());
    assert_eq!(purged.moved, 0);
    come_to_its_end(&scene);
    let gone = find(&bob, "vault").map_err(|error| error.kind());
    assert_eq!(gone, Err(ErrorKind::NotFound));
    drop(bob);
    scene.settle_and_check();
}

#[test]
fn one_file_is_purged_with_all_the_names_that_were_given() {
    let mut scene = Scene::new(1, &small_tuning(), 6);
    let core = &scene.workspace;
    save(core, "a", &super::secret(8)).unwrap();
    let ino = find(core, "a").unwrap();
    for name in ["b", "c"] {
        done(core.link(ino, Ino::ROOT, name.as_bytes())).unwrap();
    }
    core.commit().unwrap();
    scene.inos = [ino].into();
    scene.watch.marks.clear();
    scene.look();
    let two = scene.workspace.purge(&[b"a".to_vec(), b"b".to_vec(), b"a".to_vec()]);
    assert_eq!(two.map(drop).map_err(|error| error.kind()), Err(ErrorKind::Invalid));
    let purged = scene.workspace.purge(&[b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]).unwrap();
    assert_eq!((purged.inodes, purged.moved), (1, 0));
    assert_eq!(scene.watch.leaks(), []);
}

#[test]
fn a_file_that_another_home_removed_and_has_open_is_told_with_its_device() {
    let scene = Scene::new(2, &small_tuning(), 9);
    let bob = scene.fleet.homes[1].workspace().unwrap().clone();
    scene.fleet.tick(1, 2500).unwrap();
    let handle = open(&bob, "vault/diary");
    done(bob.unlink(find(&bob, "vault").unwrap(), b"diary")).unwrap();
    bob.commit().unwrap();
    let purged = scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    let told = (purged.moved, purged.open, purged.open_on);
    assert_eq!(told, (0, 1, vec!["first device".to_owned()]));
    come_to_its_end(&scene);
    bob.release(handle);
    come_to_its_end(&scene);
    let purged = scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    assert_eq!((purged.moved, purged.open), (0, 0));
    come_to_its_end(&scene);
    assert_eq!(scene.watch.leaks(), []);
}

#[test]
fn a_file_that_another_home_removes_and_has_open_as_a_purge_begins_is_told_with_its_device() {
    let (tell, hear) = channel();
    let (scene, bob) = scene_with(2, move |bob| {
        tell.send(open(bob, "vault/diary")).unwrap();
        done(bob.unlink(find(bob, "vault").unwrap(), b"diary")).unwrap();
    });
    let told = scene.workspace.purge(&[b"vault".to_vec()]).unwrap_err();
    scene.fleet.homes[0].leads_to(scene.fleet.store().clone());
    let place = format!("is open on device {}", keys().device_id());
    assert!(told.kind() == ErrorKind::Busy && told.to_string().contains(&place), "{told}");
    bob.release(hear.recv().unwrap());
    bob.commit().unwrap();
    come_to_its_end(&scene);
    assert_eq!(scene.watch.leaks(), []);
}
