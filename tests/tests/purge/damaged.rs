//! Purges beside a checkpoint of the past in which a bit is different.

use std::time::Duration;

use strongroom_store::{Body, Family, Key, now};
use strongroom_tests::harness::files::{find, save};
use strongroom_tests::harness::fleet::Down;
use strongroom_tests::harness::tree::read_tree;
use strongroom_tests::harness::world::small_tuning;
use strongroom_workspace::Tuning;
use strongroom_workspace::error::ErrorKind;

use super::{Scene, other, plain, write_note};

/// Ends the process, flips a bit of a checkpoint, leaves a note of a purge where asked, and opens anew.
fn reopen(scene: &mut Scene, seq: u64, note: Note) {
    drop(std::mem::replace(&mut scene.workspace, other()));
    scene.fleet.homes[0].down(Down::Killed).unwrap();
    let key = Key::Checkpoint(seq);
    let mut bytes = now(scene.fleet.store().get(key, None)).unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 0x10;
    now(scene.fleet.store().put(key, Body::Bytes(bytes.into()))).unwrap();
    if note == Note::Left {
        write_note(&scene.fleet, scene.inos.iter().copied().collect());
    }
    scene.fleet.homes[0].open().unwrap();
    scene.workspace = scene.fleet.homes[0].workspace().unwrap().clone();
}

#[derive(PartialEq)]
enum Note {
    Left,
    None,
}

#[test]
fn a_purge_goes_through_beside_a_damaged_checkpoint_whose_own_pages_are_swept() {
    let unnamed_grace = Duration::from_secs(60);
    let tuning = Tuning { unnamed_grace, checkpoint_log_bytes: 3 << 10, ..small_tuning() };
    let mut scene = Scene::new(1, &tuning, 24);
    let present = read_tree(&scene.workspace).unwrap();
    let pinned: Vec<u64> = scene.workspace.snapshots().unwrap().iter().map(|one| one.seq).collect();
    let listed = now(scene.fleet.store().list(Family::Checkpoint, None)).unwrap();
    let between = listed.iter().rev().skip(1).find_map(|listed| match listed.key {
        Key::Checkpoint(seq) if !pinned.contains(&seq) => Some(seq),
        _ => None,
    });
    reopen(&mut scene, between.unwrap(), Note::None);
    assert!(!scene.workspace.purge(&[b"vault".to_vec()]).unwrap().goes_on);
    assert!(!scene.workspace.is_purging().unwrap());
    let left = now(scene.fleet.store().list(Family::Checkpoint, None)).unwrap();
    assert!(left.len() <= 3, "snapshots and the newest: {left:?}");
    let core = scene.workspace.clone();
    for day in 0..4 {
        for round in 0..30 {
            save(&core, &format!("new {round}"), &plain(day * 100 + round, 3)).unwrap();
            scene.fleet.tick(0, 1200).unwrap();
        }
        scene.fleet.tick(0, 24 * 3600 * 1000 + 1).unwrap();
    }
    for round in 0..30 {
        super::done(strongroom_workspace::door::Core::unlink(
            &core,
            super::Ino::ROOT,
            format!("new {round}").as_bytes(),
        ))
        .unwrap();
    }
    core.commit().unwrap();
    scene.check(&present);
}

#[test]
fn a_purge_that_a_damaged_snapshot_keeps_from_its_end_commits_no_more_and_ends_when_that_goes() {
    let mut scene = Scene::new(1, &small_tuning(), 12);
    let early = scene.workspace.snapshots().unwrap()[0].seq;
    reopen(&mut scene, early, Note::Left);
    let mut heads = Vec::new();
    for _ in 0..10 {
        scene.fleet.tick(0, 31_000).unwrap();
        heads.push(scene.workspace.status().head_seq);
    }
    assert!(scene.workspace.is_purging().unwrap());
    assert!(scene.workspace.status().trouble.unwrap().contains("does not verify"));
    // Large removals and compaction come to their end as well.
    assert!(heads[4..].iter().all(|head| *head == heads[4]), "each try commits: {heads:?}");
    scene.workspace.drop_snapshot("early").unwrap();
    scene.snapshots.remove("early");
    scene.fleet.tick(0, 31_000).unwrap();
    assert!(!scene.workspace.is_purging().unwrap());
}

#[test]
fn a_damaged_commit_is_told_and_keeps_a_purge_from_nothing_else() {
    let scene = Scene::new(1, &small_tuning(), 12);
    let log = now(scene.fleet.store().list(Family::Log, None)).unwrap();
    let damaged = log[log.len() / 2].key;
    let bytes = now(scene.fleet.store().get(damaged, None)).unwrap();
    now(scene.fleet.store().put(damaged, Body::Bytes(bytes.slice(..40)))).unwrap();
    for path in ["vault", "plain 0"] {
        let told = scene.workspace.purge(&[path.into()]).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Corrupt, "{told}");
        assert!(told.to_string().contains("commits are damaged"), "{told}");
        assert!(find(&scene.workspace, path).is_err());
    }
    assert!(!scene.workspace.is_purging().unwrap());
    assert_eq!(scene.watch.leaks(), [], "something secret is still stored");
    scene.fleet.tick(0, 31_000).unwrap();
    assert!(scene.workspace.status().trouble.unwrap().contains("commits are damaged"));
    now(scene.fleet.store().delete(damaged)).unwrap();
    scene.fleet.tick(0, 31_000).unwrap();
    assert_eq!(scene.workspace.status().trouble, None);
}
