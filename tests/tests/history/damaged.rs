//! Collection and reading beside an older checkpoint in which a bit is different.

use std::time::Duration;

use strongroom_store::{Body, Family, Key as StoreKey, now};
use strongroom_tests::harness::files::save;
use strongroom_tests::harness::fleet::{Down, Fleet};
use strongroom_tests::harness::tree::read_tree;
use strongroom_tests::harness::world::small_tuning;
use strongroom_workspace::error::ErrorKind;
use strongroom_workspace::{At, Keep, Tuning, Workspace};

use super::{DAY_MS, assert_same, content, examine, kind_of, live_on, one_home, snapshot, tree_at};

/// Many checkpoints, and what is unnamed goes at the second look of the sweep.
fn sweeping() -> Tuning {
    let unnamed_grace = Duration::from_secs(60);
    Tuning { unnamed_grace, checkpoint_log_bytes: 3 << 10, ..small_tuning() }
}

fn checkpoints(fleet: &Fleet) -> Vec<u64> {
    let listed = now(fleet.store().list(Family::Checkpoint, None)).unwrap();
    let seq = |key| if let StoreKey::Checkpoint(seq) = key { Some(seq) } else { None };
    listed.into_iter().filter_map(|listed| seq(listed.key)).collect()
}

/// Flips a bit of a checkpoint's signature or part, and opens the workspace anew: nothing of it is remembered.
fn damage(fleet: &mut Fleet, workspace: Workspace, seq: u64) -> Workspace {
    drop(workspace);
    fleet.homes[0].down(Down::Killed).unwrap();
    let key = StoreKey::Checkpoint(seq);
    let mut bytes = now(fleet.store().get(key, None)).unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 0x10;
    now(fleet.store().put(key, Body::Bytes(bytes.into()))).unwrap();
    fleet.homes[0].open().unwrap();
    fleet.homes[0].workspace().unwrap().clone()
}

/// Two looks of the sweep, days apart, each after a checkpoint.
fn sweep(fleet: &Fleet, workspace: &Workspace) {
    for day in 0..4 {
        live_on(fleet, workspace, 1000 + day * 100, 15);
        fleet.tick(0, DAY_MS + 1).unwrap();
    }
}

/// A sweep leaves what is there sound, and nothing stays that nobody needs.
fn all_garbage_goes(fleet: &Fleet, workspace: &Workspace) {
    sweep(fleet, workspace);
    workspace.set_keep(Keep::default()).unwrap();
    live_on(fleet, workspace, 2000, 10);
    assert_eq!(workspace.usage().unwrap().garbage_bytes, 0);
    assert!(examine(fleet).is_clean());
}

#[test]
fn a_damaged_checkpoint_goes_with_its_time_and_what_only_it_names_is_swept() {
    for which in [0, 2] {
        let (mut fleet, workspace) = one_home(11, &sweeping());
        workspace.set_keep(Keep { days: Some(2), last: None }).unwrap();
        live_on(&fleet, &workspace, 0, 40);
        let before = checkpoints(&fleet);
        assert!(before.len() > 4, "{before:?}");
        let workspace = damage(&mut fleet, workspace, before[which]);
        fleet.tick(0, 3 * DAY_MS).unwrap();
        live_on(&fleet, &workspace, 100, 10);
        let left = checkpoints(&fleet);
        assert!(!left.contains(&before[2]) && !left.contains(&before[0]), "{before:?} {left:?}");
        assert_eq!(workspace.status().trouble, None);
        all_garbage_goes(&fleet, &workspace);
    }
}

#[test]
fn beside_a_damaged_snapshot_collection_goes_on_and_takes_nothing_that_another_needs() {
    let (mut fleet, workspace) = one_home(12, &sweeping());
    live_on(&fleet, &workspace, 0, 10);
    let mut kept = Vec::new();
    for name in ["one", "two", "three"] {
        save(&workspace, name, &content(kept.len() as u64, 70_000)).unwrap();
        workspace.make_snapshot(name).unwrap();
        kept.push((name, read_tree(&workspace).unwrap()));
        live_on(&fleet, &workspace, 100 * kept.len() as u64, 20);
    }
    for name in ["one", "two", "three"] {
        super::unlink(&workspace, name).unwrap();
    }
    let seqs: Vec<u64> = workspace.snapshots().unwrap().iter().map(|one| one.seq).collect();
    // The last: what goes with the log is looked for in it.
    let workspace = damage(&mut fleet, workspace, seqs[2]);
    for round in 1..4 {
        live_on(&fleet, &workspace, 1000 * round, 20);
        let left = checkpoints(&fleet);
        assert_eq!(left[..3], seqs, "they stay");
        assert_eq!(left.len(), 4, "and no other but the newest: {left:?}");
    }
    let present = read_tree(&workspace).unwrap();
    for (name, tree) in &kept[..2] {
        assert_same(tree, &tree_at(&workspace, snapshot(name)).unwrap());
    }
    assert_eq!(kind_of(workspace.at(&snapshot("three"))), Some(ErrorKind::Corrupt));
    workspace.usage().unwrap();
    workspace.drop_snapshot("three").unwrap();
    assert_eq!(checkpoints(&fleet)[..2], seqs[..2]);
    assert!(!checkpoints(&fleet).contains(&seqs[2]));
    assert_same(&present, &read_tree(&workspace).unwrap());
    for (name, tree) in &kept[..2] {
        assert_same(tree, &tree_at(&workspace, snapshot(name)).unwrap());
    }
    sweep(&fleet, &workspace);
    for (name, tree) in &kept[..2] {
        assert_same(tree, &tree_at(&workspace, snapshot(name)).unwrap());
    }
    assert!(examine(&fleet).is_clean());
    assert_eq!(workspace.usage().unwrap().garbage_bytes, 0);
}

#[test]
fn a_damaged_snapshot_that_heals_is_whole_whatever_was_collected_meanwhile() {
    let (mut fleet, workspace) = one_home(13, &sweeping());
    live_on(&fleet, &workspace, 0, 10);
    save(&workspace, "only then", &content(1, 70_000)).unwrap();
    workspace.make_snapshot("early").unwrap();
    let early = read_tree(&workspace).unwrap();
    let seq = workspace.snapshots().unwrap()[0].seq;
    let sound = now(fleet.store().get(StoreKey::Checkpoint(seq), None)).unwrap();
    live_on(&fleet, &workspace, 50, 20);
    let workspace = damage(&mut fleet, workspace, seq);
    super::unlink(&workspace, "only then").unwrap();
    let mut sweeps = 0;
    for day in 0..4 {
        for round in 0..15 {
            save(&workspace, &format!("file {round}"), &content(day, 4000)).unwrap();
            fleet.tick(0, 1100).unwrap();
            // A sweep tells that it cannot know.
            sweeps += u32::from(workspace.status().trouble.is_some());
        }
        fleet.tick(0, DAY_MS + 1).unwrap();
    }
    // Once a day, not with each checkpoint.
    assert_eq!(sweeps, 3);
    now(fleet.store().put(StoreKey::Checkpoint(seq), Body::Bytes(sound))).unwrap();
    assert_same(&early, &tree_at(&workspace, snapshot("early")).unwrap());
    assert!(examine(&fleet).is_clean());
}

#[test]
fn a_time_is_found_beside_a_damaged_checkpoint() {
    let (mut fleet, workspace) = one_home(14, &sweeping());
    workspace.set_keep(Keep { days: Some(30), last: None }).unwrap();
    live_on(&fleet, &workspace, 0, 40);
    workspace.commit().unwrap();
    let tree = read_tree(&workspace).unwrap();
    let time = fleet.now_ns();
    fleet.tick(0, DAY_MS).unwrap();
    live_on(&fleet, &workspace, 100, 40);
    let all = checkpoints(&fleet);
    let workspace = damage(&mut fleet, workspace, all[1]);
    assert_same(&tree, &tree_at(&workspace, At::Time(time)).unwrap());
    workspace.usage().unwrap();
}

#[test]
fn a_damaged_commit_goes_with_its_time_and_what_it_let_go_of_is_swept() {
    let (fleet, workspace) = one_home(15, &sweeping());
    workspace.set_keep(Keep { days: Some(2), last: None }).unwrap();
    live_on(&fleet, &workspace, 0, 40);
    let log = now(fleet.store().list(Family::Log, None)).unwrap();
    let cut = log[log.len() / 2].key;
    let bytes = now(fleet.store().get(cut, None)).unwrap();
    now(fleet.store().put(cut, Body::Bytes(bytes.slice(..40)))).unwrap();
    fleet.tick(0, 3 * DAY_MS).unwrap();
    live_on(&fleet, &workspace, 100, 10);
    let left = now(fleet.store().list(Family::Log, None)).unwrap();
    assert!(left.iter().all(|listed| listed.key > cut), "{cut} {left:?}");
    assert_eq!(workspace.status().trouble, None);
    all_garbage_goes(&fleet, &workspace);
}
