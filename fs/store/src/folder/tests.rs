use strongroom_format::ids::ObjectId;
use strongroom_host::disk::read_all;
use strongroom_host::real_disk::RealDisk;
use strongroom_host::sim::{Act, Fault, SimDisk};

use super::*;
use crate::conformance::conformance;
use crate::now;

const ROOT: &str = "/mnt/store";

fn object(seed: u8) -> Key {
    Key::Object(ObjectId([seed; 16]))
}

fn sim() -> (SimDisk, FolderStore) {
    let disk = SimDisk::new(1);
    let store = FolderStore::create(Arc::new(disk.clone()), ROOT.into()).unwrap();
    put(&store, Key::Workspace, b"workspace").unwrap();
    (disk, store)
}

fn reopen(disk: &SimDisk, mode: Mode) -> Result<FolderStore> {
    FolderStore::open(Arc::new(disk.clone()), ROOT.into(), mode)
}

fn put(store: &FolderStore, key: Key, bytes: &[u8]) -> Result<Uploaded> {
    now(store.put(key, Body::Bytes(Bytes::copy_from_slice(bytes))))
}

fn get(store: &FolderStore, key: Key) -> Result<Bytes> {
    now(store.get(key, None))
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

fn temporary_count(disk: &SimDisk) -> usize {
    let entries = disk.list(Path::new(ROOT)).unwrap();
    entries.iter().filter(|entry| entry.name.starts_with(".tmp-")).count()
}

#[test]
fn a_folder_of_the_real_disk_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::create(Arc::new(RealDisk), folder.path().join("store")).unwrap();
    conformance(&(Arc::new(store) as Arc<dyn Store>), now);
}

#[test]
fn a_folder_of_the_simulated_disk_conforms() {
    let store = FolderStore::create(Arc::new(SimDisk::new(1)), ROOT.into()).unwrap();
    conformance(&(Arc::new(store) as Arc<dyn Store>), now);
}

#[test]
fn names_on_the_disk_are_the_documented_ones() {
    let (disk, store) = sim();
    put(&store, object(0xab), b"x").unwrap();
    put(&store, Key::Log(16), b"y").unwrap();
    let path = format!("{ROOT}/object/ab/{}", "ab".repeat(16));
    assert_eq!(read_all(&disk, Path::new(&path)).unwrap(), b"x");
    let path = format!("{ROOT}/log/0000000000000010");
    assert_eq!(read_all(&disk, Path::new(&path)).unwrap(), b"y");
}

#[test]
fn what_a_put_returned_for_survives_every_crash() {
    let (disk, store) = sim();
    put(&store, object(1), &[1; 9000]).unwrap();
    put(&store, Key::Checkpoint(4), b"checkpoint").unwrap();
    put(&store, Key::Checkpoint(4), b"replaced").unwrap();
    let created = now(store.put_if_absent(Key::Log(1), Bytes::from_static(b"commit"))).unwrap();
    assert!(matches!(created, Put::Created(_)));
    for seed in 0..100 {
        let store = reopen(&disk.crash(seed), Mode::ReadWrite).unwrap();
        assert_eq!(get(&store, object(1)).unwrap(), vec![1; 9000]);
        assert_eq!(get(&store, Key::Checkpoint(4)).unwrap(), &b"replaced"[..]);
        assert_eq!(get(&store, Key::Log(1)).unwrap(), &b"commit"[..]);
    }
}

#[test]
fn whatever_has_a_name_after_a_crash_is_whole_and_what_returned_is_there() {
    for stop in 0..60 {
        let (disk, store) = sim();
        disk.power_off_after(stop);
        let bodies = |seeds: std::ops::Range<u8>| {
            seeds.map(|s| (object(s), Body::Bytes(vec![s; 2000].into()))).collect::<Vec<_>>()
        };
        let many = now(store.put_many(bodies(1..5))).is_ok();
        let log = now(store.put_if_absent(Key::Log(1), vec![9; 2000].into())).is_ok();
        let device = put(&store, Key::Organisation(0), &[8; 2000]).is_ok();
        for seed in 0..20 {
            let disk = disk.crash(seed);
            let store = reopen(&disk, Mode::ReadWrite).unwrap();
            assert_eq!(temporary_count(&disk), 0);
            for (key, byte, must) in [
                (object(1), 1, many),
                (object(4), 4, many),
                (Key::Log(1), 9, log),
                (Key::Organisation(0), 8, device),
            ] {
                match get(&store, key) {
                    Ok(bytes) => assert_eq!(bytes, vec![byte; 2000], "{stop} {seed} {key}"),
                    Err(error) => {
                        assert!(
                            !must && error.kind() == ErrorKind::NotFound,
                            "{stop} {seed} {key}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_store_that_skips_syncs_is_caught() {
    type Broken = fn(&Path) -> bool;
    let files: Broken = |path| path.to_string_lossy().contains(".tmp-");
    let folders: Broken = |path| !path.to_string_lossy().contains(".tmp-");
    for broken in [files, folders] {
        let (disk, store) = sim();
        disk.skip_syncs(broken);
        put(&store, object(1), &[1; 9000]).unwrap();
        let lost = (0..50).filter(|seed| {
            let store = reopen(&disk.crash(*seed), Mode::ReadWrite);
            store.and_then(|store| get(&store, object(1))).is_ok_and(|b| b == vec![1; 9000])
        });
        assert!(lost.count() < 50);
    }
}

#[test]
fn a_staged_file_stays_and_is_not_copied() {
    let (disk, store) = sim();
    let staged = Path::new("/mnt/staged");
    disk.open(staged, OpenMode::CreateNew).unwrap().write_at(&[5; 70_000], 0).unwrap();
    let written = disk.counts().written_bytes;
    let uploaded = now(store.put(object(5), Body::File(staged.into()))).unwrap();
    assert_eq!((uploaded.len(), disk.counts().written_bytes), (70_000, written));
    assert_eq!(read_all(&disk, staged).unwrap(), vec![5; 70_000]);
    disk.remove(staged).unwrap();
    for seed in 0..50 {
        let store = reopen(&disk.crash(seed), Mode::ReadOnly).unwrap();
        assert_eq!(get(&store, object(5)).unwrap(), vec![5; 70_000]);
    }
}

#[test]
fn a_staged_file_of_another_file_system_or_one_where_files_have_one_name_is_copied() {
    const EPERM: i32 = 1;
    const EXDEV: i32 = 18;
    for errno in [EPERM, EXDEV] {
        let (disk, store) = sim();
        let staged = Path::new("/mnt/staged");
        disk.open(staged, OpenMode::CreateNew).unwrap().write_at(&[5; 3_000_000], 0).unwrap();
        disk.fail(Fault::new(Act::Create, is_object).errno(errno));
        now(store.put(object(5), Body::File(staged.into()))).unwrap();
        assert!(read_all(&disk, staged).unwrap() == vec![5; 3_000_000]);
        assert_eq!(temporary_count(&disk), 0);
        for seed in 0..20 {
            let store = reopen(&disk.crash(seed), Mode::ReadOnly).unwrap();
            assert!(get(&store, object(5)).unwrap() == vec![5; 3_000_000]);
        }
    }
}

fn is_object(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "object")
}

#[test]
fn a_staged_file_is_still_there_after_a_put_that_failed() {
    let (disk, store) = sim();
    let staged = Path::new("/mnt/staged");
    disk.open(staged, OpenMode::CreateNew).unwrap().write_at(&[5; 100], 0).unwrap();
    disk.fail(Fault::new(Act::Create, is_object));
    assert_eq!(kind(now(store.put(object(5), Body::File(staged.into())))), ErrorKind::Internal);
    assert_eq!(read_all(&disk, staged).unwrap(), vec![5; 100]);
    now(store.put(object(5), Body::File(staged.into()))).unwrap();
    assert_eq!(get(&store, object(5)).unwrap(), vec![5; 100]);
}

#[test]
fn putting_many_syncs_each_file_once_and_each_folder_once() {
    let (disk, store) = sim();
    let before = disk.counts();
    let mut id = [7; 16];
    let bodies = (0..8).map(|last| {
        id[15] = last;
        (Key::Object(ObjectId(id)), Body::Bytes(vec![1; 1000].into()))
    });
    now(store.put_many(bodies.collect())).unwrap();
    let after = disk.counts();
    assert_eq!(after.syncs - before.syncs, 8);
    assert_eq!(after.folder_syncs - before.folder_syncs, 1);
    assert_eq!(after.writes - before.writes, 8);
}

#[test]
fn an_object_is_opened_once_for_many_reads() {
    let (disk, store) = sim();
    put(&store, object(1), &[1; 9000]).unwrap();
    let before = disk.counts();
    for start in 0..50 {
        now(store.get(object(1), Some(start..start + 100))).unwrap();
    }
    let after = disk.counts();
    assert_eq!((after.opens - before.opens, after.reads - before.reads), (0, 50));
}

#[test]
fn no_more_than_256_objects_are_held_open() {
    let (disk, store) = sim();
    let keys: Vec<Key> = (0..300_u16)
        .map(|n| Key::Object(ObjectId(std::array::from_fn(|i| n.to_le_bytes()[i % 2]))))
        .collect();
    for key in &keys {
        put(&store, *key, b"x").unwrap();
    }
    let before = disk.counts().opens;
    // The first ones were put out by the last ones.
    keys[..44].iter().for_each(|key| drop(get(&store, *key).unwrap()));
    assert_eq!(disk.counts().opens - before, 44);
    keys[100..].iter().for_each(|key| drop(get(&store, *key).unwrap()));
    assert_eq!(disk.counts().opens - before, 44);
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_behind() {
    let (disk, store) = sim();
    put(&store, object(1), b"before").unwrap();
    disk.set_capacity(Some(8 * 4096));
    assert_eq!(kind(put(&store, object(2), &[1; 100_000])), ErrorKind::Full);
    assert_eq!(kind(get(&store, object(2))), ErrorKind::NotFound);
    let log = now(store.put_if_absent(Key::Log(1), vec![1; 100_000].into()));
    assert_eq!(kind(log), ErrorKind::Full);
    assert_eq!(temporary_count(&disk), 0);
    assert_eq!(get(&store, object(1)).unwrap(), &b"before"[..]);
    assert!(store.space().unwrap().total_bytes == 8 * 4096);
}

#[test]
fn a_failed_sync_fails_the_put_and_nothing_gets_the_name() {
    let (disk, store) = sim();
    disk.fail(Fault::new(Act::Sync, |_| true));
    assert_eq!(kind(put(&store, object(1), b"x")), ErrorKind::Internal);
    assert_eq!(kind(get(&store, object(1))), ErrorKind::NotFound);
    disk.fail(Fault::new(Act::Sync, |_| true));
    let log = now(store.put_if_absent(Key::Log(1), Bytes::from_static(b"x")));
    assert_eq!(kind(log), ErrorKind::Internal);
    assert_eq!(kind(get(&store, Key::Log(1))), ErrorKind::NotFound);
    disk.fail(Fault::new(Act::SyncFolder, |_| true));
    assert_eq!(kind(put(&store, object(1), b"x")), ErrorKind::Internal);
    assert_eq!(temporary_count(&disk), 0);
}

#[test]
fn an_unreadable_disk_is_damage() {
    let (disk, store) = sim();
    put(&store, object(1), b"x").unwrap();
    disk.fail(Fault::new(Act::Read, |_| true));
    assert_eq!(kind(get(&store, object(1))), ErrorKind::Corrupt);
}

#[test]
fn a_file_that_cannot_be_opened_is_damage_where_it_is_listed_and_else_the_disk_fails() {
    let (disk, store) = sim();
    put(&store, Key::Log(1), b"x").unwrap();
    disk.fail(Fault::new(Act::Open, |_| true).for_ever());
    assert_eq!(kind(get(&store, Key::Log(1))), ErrorKind::Corrupt);
    disk.fail(Fault::new(Act::List, |_| true).for_ever());
    assert_eq!(kind(get(&store, Key::Log(1))), ErrorKind::Internal, "nobody knows of it");
}

#[test]
fn nothing_is_said_to_be_removed_from_a_place_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (root, elsewhere) = (folder.path().join("store"), folder.path().join("elsewhere"));
    let store = FolderStore::create(Arc::new(RealDisk), root.clone()).unwrap();
    now(store.delete(object(1))).unwrap();
    put(&store, Key::Workspace, b"workspace").unwrap();
    std::fs::rename(&root, &elsewhere).unwrap();
    assert_eq!(kind(now(store.delete(object(1)))), ErrorKind::Unavailable);
    // The place where it was mounted.
    std::fs::create_dir(&root).unwrap();
    assert_eq!(kind(now(store.delete(object(1)))), ErrorKind::Unavailable);
    std::fs::remove_dir(&root).unwrap();
    std::fs::rename(&elsewhere, &root).unwrap();
    now(store.delete(object(1))).unwrap();
    // As a copy by tools that know files only.
    std::fs::remove_dir_all(root.join("object")).unwrap();
    now(store.delete(object(1))).unwrap();
}

#[test]
fn nothing_is_written_where_the_disk_of_the_store_is_not_mounted() {
    let folder = tempfile::tempdir().unwrap();
    let (root, elsewhere) = (folder.path().join("store"), folder.path().join("elsewhere"));
    let store = FolderStore::create(Arc::new(RealDisk), root.clone()).unwrap();
    put(&store, Key::Workspace, b"workspace").unwrap();
    put(&store, object(1), b"there").unwrap();
    std::fs::rename(&root, &elsewhere).unwrap();
    // What was written to the place before, by whoever did not look.
    std::fs::create_dir_all(root.join("object/02")).unwrap();
    std::fs::create_dir_all(root.join("log")).unwrap();
    let error = put(&store, object(2), b"lost").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("is its disk mounted?"), "{error}");
    let created = now(store.put_if_absent(Key::Log(1), Bytes::from_static(b"lost")));
    assert_eq!(kind(created), ErrorKind::Unavailable);
    let written = ["", "log", "object/02"].map(|path| root.join(path).read_dir().unwrap().count());
    assert_eq!(written, [2, 0, 0]);
    std::fs::remove_dir_all(&root).unwrap();
    assert_eq!(kind(put(&store, object(2), b"lost")), ErrorKind::Unavailable);
    assert!(!root.exists());
    std::fs::rename(&elsewhere, &root).unwrap();
    put(&store, object(2), b"there").unwrap();
    now(store.put_if_absent(Key::Log(1), Bytes::from_static(b"there"))).unwrap();
}

#[test]
fn a_store_open_read_only_changes_nothing() {
    let (disk, store) = sim();
    put(&store, object(1), b"x").unwrap();
    disk.open(&Path::new(ROOT).join(".tmp-1-1"), OpenMode::CreateNew).unwrap();
    let changes = disk.change_count();
    let store = reopen(&disk, Mode::ReadOnly).unwrap();
    assert_eq!(get(&store, object(1)).unwrap(), &b"x"[..]);
    assert_eq!(kind(put(&store, object(2), b"x")), ErrorKind::ReadOnly);
    assert_eq!(kind(now(store.put_if_absent(Key::Log(1), Bytes::new()))), ErrorKind::ReadOnly);
    assert_eq!(kind(now(store.delete(object(1)))), ErrorKind::ReadOnly);
    assert_eq!(disk.change_count(), changes);
    let store = reopen(&disk, Mode::ReadWrite).unwrap();
    assert_eq!(temporary_count(&disk), 0);
    drop(store);
}

#[test]
fn a_read_only_medium_is_refused_at_the_open_for_writing() {
    let (disk, _) = sim();
    disk.fail(Fault::new(Act::Create, |_| true).for_ever().errno(30));
    assert_eq!(kind(reopen(&disk, Mode::ReadWrite)), ErrorKind::ReadOnly);
    reopen(&disk, Mode::ReadOnly).unwrap();
    disk.heal();
    disk.fail(Fault::new(Act::Create, |_| true).for_ever().errno(13));
    assert_eq!(kind(reopen(&disk, Mode::ReadWrite)), ErrorKind::Denied);
}

#[test]
fn places_that_are_no_store_are_told_apart() {
    let disk = SimDisk::new(1);
    let open =
        |path: &str| kind(FolderStore::open(Arc::new(disk.clone()), path.into(), Mode::ReadWrite));
    let create = |path: &str| FolderStore::create(Arc::new(disk.clone()), path.into());
    assert_eq!(open("/missing"), ErrorKind::NotFound);
    disk.create_folder(Path::new("/other")).unwrap();
    assert_eq!(open("/other"), ErrorKind::NotFound);
    disk.open(Path::new("/other/file"), OpenMode::CreateNew).unwrap();
    assert_eq!(open("/other/file"), ErrorKind::Invalid);
    assert_eq!(kind(create("/other")), ErrorKind::Exists);
    assert_eq!(kind(create("/other/file")), ErrorKind::Invalid);
    let store = create("/new").unwrap();
    assert_eq!(open("/new"), ErrorKind::NotFound);
    // An interrupted start can be repeated, a finished one cannot.
    drop(create("/new").unwrap());
    put(&store, Key::Workspace, b"w").unwrap();
    assert_eq!(kind(create("/new")), ErrorKind::Exists);
}

#[test]
fn a_created_store_survives_every_crash() {
    let disk = SimDisk::new(1);
    let store = FolderStore::create(Arc::new(disk.clone()), "/a/b/store".into()).unwrap();
    put(&store, Key::Workspace, b"w").unwrap();
    for seed in 0..50 {
        let disk: Arc<dyn Disk> = Arc::new(disk.crash(seed));
        FolderStore::open(disk, "/a/b/store".into(), Mode::ReadWrite).unwrap();
    }
}

#[test]
fn folders_lost_by_a_copy_are_made_again() {
    let (disk, store) = sim();
    for folder in ["object/05", "log"] {
        disk.remove_folder(&Path::new(ROOT).join(folder)).unwrap();
    }
    assert_eq!(now(store.list(Family::Log, None)).unwrap(), []);
    put(&store, object(5), b"x").unwrap();
    now(store.put_if_absent(Key::Log(1), Bytes::from_static(b"y"))).unwrap();
    for seed in 0..20 {
        let store = reopen(&disk.crash(seed), Mode::ReadOnly).unwrap();
        assert_eq!(get(&store, object(5)).unwrap(), &b"x"[..]);
        assert_eq!(get(&store, Key::Log(1)).unwrap(), &b"y"[..]);
    }
}

#[test]
fn a_sweep_by_another_process_does_not_break_a_put() {
    let (disk, store) = sim();
    let body = store.stage_bytes(object(5), b"x").unwrap();
    sync(&body).unwrap();
    drop(reopen(&disk, Mode::ReadWrite).unwrap());
    assert_eq!(temporary_count(&disk), 0);
    store.place_all(&[body]).unwrap();
    let store = reopen(&disk.crash(1), Mode::ReadOnly).unwrap();
    assert_eq!(get(&store, object(5)).unwrap(), &b"x"[..]);
    assert_eq!(temporary_count(&disk), 0);
}

#[test]
fn a_sweep_by_another_process_does_not_break_an_open() {
    let (disk, _) = sim();
    // The file that an open for writing tries is gone before it takes it away itself.
    disk.fail(Fault::new(Act::Remove, |_| true).errno(2));
    let store = reopen(&disk, Mode::ReadWrite).unwrap();
    assert_eq!(temporary_count(&disk), 0);
    put(&store, object(5), b"x").unwrap();
}

#[test]
fn strange_names_are_not_listed() {
    let (disk, store) = sim();
    put(&store, Key::Log(3), b"x").unwrap();
    for name in ["log/notes.txt", "log/000000000000000A", "object/00/short"] {
        disk.open(&Path::new(ROOT).join(name), OpenMode::CreateNew).unwrap();
    }
    let keys: Vec<Key> =
        now(store.list(Family::Log, None)).unwrap().iter().map(|l| l.key).collect();
    assert_eq!(keys, [Key::Log(3)]);
    assert_eq!(now(store.list(Family::Object, None)).unwrap(), []);
}

/// A name that was seen may go with the power all the same, and whoever builds on it has lost more than it.
#[test]
fn a_record_whose_name_may_be_lost_is_made_durable_before_it_is_read() {
    let (disk, store) = sim();
    let commit = || Bytes::from_static(b"commit");
    disk.fail(Fault::new(Act::SyncFolder, |path| path.ends_with("log")));
    assert_eq!(kind(now(store.put_if_absent(Key::Log(1), commit()))), ErrorKind::Internal);
    let killed = disk.kill();
    // It failed once; and once more, so that nobody hears of the record; then the disk is well.
    disk.fail(Fault::new(Act::SyncFolder, |path| path.ends_with("log")));
    assert_eq!(kind(get(&store, Key::Log(1))), ErrorKind::Internal);
    assert_eq!(get(&store, Key::Log(1)).unwrap(), commit());
    // The next process knows nothing of the failure.
    let next = reopen(&killed, Mode::ReadWrite).unwrap();
    assert_eq!(get(&next, Key::Log(1)).unwrap(), commit());
    for seed in 0..50 {
        for disk in [&disk, &killed] {
            let store = reopen(&disk.crash(seed), Mode::ReadWrite).unwrap();
            assert_eq!(get(&store, Key::Log(1)).unwrap(), commit(), "{seed}");
        }
    }
}
