//! Files that have several names, or had.

use strongroom_tests::harness::files::{find, make, save};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::tree::read_tree;
use strongroom_tests::harness::world::small_tuning;
use strongroom_workspace::door::{Core, Kind};
use strongroom_workspace::error::ErrorKind;

use super::{Scene, secret};

/// A secret in a folder `vault/tmp`, named here as well.
fn scene_with_links(links: &[&str]) -> Scene {
    let mut scene = Scene::new(1, &small_tuning(), 6);
    let core = &scene.workspace;
    for folder in ["vault/tmp", "vault/new"] {
        make(core, folder, Kind::Folder).unwrap();
    }
    save(core, "vault/tmp/m", &secret(8)).unwrap();
    let ino = find(core, "vault/tmp/m").unwrap();
    for link in links {
        let (folder, name) = link.rsplit_once('/').unwrap();
        done(core.link(ino, find(core, folder).unwrap(), name.as_bytes())).unwrap();
    }
    core.commit().unwrap();
    scene.inos.insert(ino);
    scene.look();
    scene
}

/// Nothing of it is left once the purge says that it is done.
fn purge_all(scene: &Scene) {
    let present = read_tree(&scene.workspace).unwrap();
    let purged = scene.workspace.purge(&[b"vault".to_vec()]).unwrap();
    assert!(!purged.goes_on && purged.moved == 0, "{purged:?}");
    let gone = find(&scene.workspace, "vault").map_err(|error| error.kind());
    assert_eq!(gone, Err(ErrorKind::NotFound));
    scene.check(&present);
}

#[test]
fn a_file_that_lost_the_name_it_was_made_under_is_purged_under_the_other() {
    let scene = scene_with_links(&["vault/new/m"]);
    let folder = find(&scene.workspace, "vault/tmp").unwrap();
    done(scene.workspace.unlink(folder, b"m")).unwrap();
    purge_all(&scene);
}

#[test]
fn a_file_with_two_names_in_one_folder_is_purged_with_both() {
    purge_all(&scene_with_links(&["vault/tmp/again"]));
}

#[test]
fn a_file_with_names_in_several_folders_is_purged_with_all_of_them() {
    purge_all(&scene_with_links(&["vault/new/m", "vault/second", "vault/new/again"]));
}
