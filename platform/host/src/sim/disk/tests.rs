use std::collections::BTreeSet;

use super::*;
use crate::disk::{read_all, replace_file};
use crate::real_disk::RealDisk;

fn disk_with_folder() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_folder(Path::new("/a")).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    disk
}

fn write(disk: &SimDisk, path: &str, data: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(Path::new(path), OpenMode::Create).unwrap();
    file.write_at(data, 0).unwrap();
    file
}

fn names(disk: &SimDisk, path: &str) -> Vec<String> {
    disk.list(Path::new(path)).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn what_was_synced_with_its_name_survives_every_crash() {
    let disk = disk_with_folder();
    write(&disk, "/a/f", b"hello").sync_data().unwrap();
    disk.sync_folder(Path::new("/a")).unwrap();
    for seed in 0..200 {
        assert_eq!(read_all(&disk.crash(seed), Path::new("/a/f")).unwrap(), b"hello");
    }
}

#[test]
fn a_synced_file_whose_folder_was_not_synced_may_be_gone() {
    let disk = disk_with_folder();
    write(&disk, "/a/f", b"hello").sync_data().unwrap();
    let found: BTreeSet<_> = (0..50).map(|seed| names(&disk.crash(seed), "/a").len()).collect();
    assert_eq!(found, BTreeSet::from([0, 1]));
}

#[test]
fn unsynced_bytes_survive_wholly_partly_or_not_at_all() {
    let disk = disk_with_folder();
    let file = write(&disk, "/a/f", b"");
    file.sync_data().unwrap();
    disk.sync_folder(Path::new("/a")).unwrap();
    file.write_at(b"abcdef", 0).unwrap();
    let found: BTreeSet<_> =
        (0..500).map(|seed| read_all(&disk.crash(seed), Path::new("/a/f")).unwrap()).collect();
    for expected in ["", "a", "abcde", "abcdef", "\0\0\0\0\0\0"] {
        assert!(found.contains(expected.as_bytes()), "{expected:?}");
    }
}

#[test]
fn a_later_write_may_survive_without_an_earlier_one() {
    let disk = disk_with_folder();
    let file = write(&disk, "/a/f", b"");
    disk.sync_folder(Path::new("/a")).unwrap();
    file.write_at(b"A", 0).unwrap();
    file.write_at(b"B", 1).unwrap();
    let found: BTreeSet<_> =
        (0..500).map(|seed| read_all(&disk.crash(seed), Path::new("/a/f")).unwrap()).collect();
    assert!(found.contains(&b"\0B"[..]) && found.contains(&b"A"[..]) && found.contains(&b"AB"[..]));
}

#[test]
fn a_rename_between_folders_happens_in_both_or_in_none() {
    let disk = disk_with_folder();
    disk.create_folder(Path::new("/b")).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    write(&disk, "/a/f", b"x");
    disk.sync_folder(Path::new("/a")).unwrap();
    write(&disk, "/b/other", b"y");
    disk.rename(Path::new("/a/f"), Path::new("/b/g")).unwrap();
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        let after = disk.crash(seed);
        found.insert((names(&after, "/a"), names(&after, "/b")));
    }
    let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        found,
        BTreeSet::from([
            (list(&["f"]), list(&[])),
            (list(&["f"]), list(&["other"])),
            (list(&[]), list(&["g", "other"])),
        ])
    );
    disk.sync_folder(Path::new("/a")).unwrap();
    for seed in 0..50 {
        assert_eq!(names(&disk.crash(seed), "/b"), ["g", "other"]);
    }
}

#[test]
fn the_end_of_the_process_alone_loses_nothing_and_frees_locks() {
    let disk = disk_with_folder();
    let lock = disk.lock(Path::new("/a/lock")).unwrap();
    let error = disk.lock(Path::new("/a/lock")).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    write(&disk, "/a/f", b"x");
    let after = disk.kill();
    assert_eq!(names(&after, "/a"), ["f", "lock"]);
    drop(after.lock(Path::new("/a/lock")).unwrap());
    drop(lock);
    disk.lock(Path::new("/a/lock")).unwrap();
    // What the dead process had not synced is still not durable.
    assert!((0..50).any(|seed| names(&after.crash(seed), "/a").is_empty()));
}

#[test]
fn one_seed_gives_one_image() {
    let disk = disk_with_folder();
    for n in 0..20 {
        write(&disk, &format!("/a/{n}"), &[7; 5000]);
    }
    for seed in 0..20 {
        let (first, second) = (disk.crash(seed), disk.crash(seed));
        assert_eq!(names(&first, "/a"), names(&second, "/a"));
        for name in names(&first, "/a") {
            let path = PathBuf::from("/a").join(name);
            assert_eq!(read_all(&first, &path).unwrap(), read_all(&second, &path).unwrap());
        }
    }
}

#[test]
fn a_failed_sync_loses_bytes_though_the_next_one_says_yes() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let file = write(&disk, "/f", b"x");
        disk.sync_folder(Path::new("/")).unwrap();
        disk.fail(Fault::new(Act::Sync, |path| path.ends_with("f")));
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(libc::EIO));
        file.sync_data().unwrap();
        assert_eq!(read_all(&disk, Path::new("/f")).unwrap(), b"x");
        lost += u32::from(read_all(&disk.crash(0), Path::new("/f")).unwrap().is_empty());
        file.drop_cache();
        let shown = read_all(&disk, Path::new("/f")).unwrap();
        assert_eq!(shown, read_all(&disk.crash(0), Path::new("/f")).unwrap());
    }
    assert!((10..40).contains(&lost), "{lost}");
}

#[test]
fn a_full_disk_refuses_to_reserve_and_tears_writes() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(16 * 4096));
    let file = write(&disk, "/f", b"");
    assert_eq!(file.allocate(1 << 20).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    file.allocate(8 * 4096).unwrap();
    file.write_at(&[1; 8 * 4096], 0).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().free_bytes, 8 * 4096);
    let error = file.write_at(&[2; 9 * 4096], 8 * 4096).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    disk.remove(Path::new("/f")).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().free_bytes, 16 * 4096);
}

#[test]
fn faults_strike_the_nth_time_once_or_for_ever() {
    let disk = SimDisk::new(1);
    let file = write(&disk, "/f", b"");
    disk.fail(Fault::new(Act::Write, |_| true).after(1));
    disk.fail(Fault::new(Act::SyncFolder, |_| true).for_ever().full());
    let results: Vec<bool> = (0..3).map(|_| file.write_at(b"x", 0).is_ok()).collect();
    assert_eq!(results, [true, false, true]);
    for _ in 0..3 {
        assert!(disk.sync_folder(Path::new("/")).is_err());
    }
    disk.heal();
    disk.sync_folder(Path::new("/")).unwrap();
}

#[test]
fn after_power_off_nothing_works() {
    let disk = SimDisk::new(1);
    disk.power_off_after(2);
    let file = write(&disk, "/f", b"x");
    assert!(file.write_at(b"y", 0).is_err());
    assert!(file.sync_data().is_err());
    assert!(disk.list(Path::new("/")).is_err());
    assert_eq!(disk.change_count(), 2);
}

#[test]
fn skipped_syncs_are_counted_and_do_nothing() {
    let disk = disk_with_folder();
    disk.skip_syncs(|path| path.ends_with("f"));
    write(&disk, "/a/f", b"x").sync_data().unwrap();
    disk.sync_folder(Path::new("/a")).unwrap();
    assert_eq!(disk.counts().syncs, 1);
    assert!((0..50).any(|seed| read_all(&disk.crash(seed), Path::new("/a/f")).unwrap().is_empty()));
}

#[test]
fn a_replaced_file_is_old_or_new_after_every_crash() {
    let disk = disk_with_folder();
    replace_file(&disk, Path::new("/a/f"), b"old").unwrap();
    let start = disk.change_count();
    replace_file(&disk.kill(), Path::new("/a/f"), b"new").unwrap();
    for stop in 0..8 {
        let run = disk.crash(0);
        run.power_off_after(stop);
        let done = replace_file(&run, Path::new("/a/f"), b"new");
        for seed in 0..50 {
            let found = read_all(&run.crash(seed), Path::new("/a/f")).unwrap();
            assert!(found == b"new" || (found == b"old" && done.is_err()), "{start} {stop} {seed}");
        }
    }
}

/// Both implementors answer the same to the same calls.
#[test]
fn the_simulated_disk_behaves_as_the_real_one() {
    let folder = tempfile::tempdir().unwrap();
    let sim = SimDisk::new(1);
    sim.create_folder(folder.path()).unwrap();
    let (real, sim) = (transcript(&RealDisk, folder.path()), transcript(&sim, folder.path()));
    for (real, sim) in real.iter().zip(&sim) {
        assert_eq!(real, sim);
    }
}

fn transcript(disk: &dyn Disk, root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut chance = Chance::new(7);
    let paths = ["a", "b", "d/a", "d/b", "missing/a", "d"];
    disk.create_folder(&root.join("d")).unwrap();
    let kind = |result: io::Result<String>| match result {
        Ok(text) => text,
        // Where a name is taken by the wrong kind of node, systems differ in what they say.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => "IsADirectory".into(),
        Err(error) => format!("{:?}", error.kind()),
    };
    for step in 0..3000 {
        let path = root.join(paths[chance.index(paths.len())]);
        let other = root.join(paths[chance.index(paths.len() - 1)]);
        let act = chance.below(12);
        let (offset, len) = (chance.below(9000), chance.index(5000));
        let modes = [OpenMode::Read, OpenMode::Write, OpenMode::Create, OpenMode::CreateNew];
        let mode = modes[chance.index(4)];
        let on_file = |f: &dyn Fn(&dyn DiskFile) -> io::Result<String>| {
            disk.open(&path, OpenMode::Write).and_then(|file| f(file.as_ref()))
        };
        // Opening a folder for reading works on a real disk and is of no use.
        if path.ends_with("d") && act < 7 {
            continue;
        }
        let result = match act {
            0 | 1 => disk.open(&path, mode).and_then(|file| Ok(format!("{}", file.len()?))),
            2 => on_file(&|file| file.write_at(&vec![7; len], offset).map(|()| "written".into())),
            3 => on_file(&|file| file.set_len(offset).map(|()| "cut".into())),
            4 => {
                on_file(&|file| file.allocate(offset).map(|()| format!("{}", file.len().unwrap())))
            }
            5 => on_file(&|file| {
                let mut out = vec![1; len];
                let read = file.read_at(&mut out, offset)?;
                Ok(format!("{read} {}", out[..read].iter().map(|b| u64::from(*b)).sum::<u64>()))
            }),
            6 => disk.rename(&other, &path).map(|()| "renamed".into()),
            7 if path != other && !path.ends_with("d") => {
                disk.rename_new(&other, &path).map(|()| "renamed".into())
            }
            8 if !path.ends_with("d") => disk.hard_link(&other, &path).map(|()| "linked".into()),
            9 => disk.remove(&path).map(|()| "removed".into()),
            10 => disk.remove_folder(&root.join("d")).map(|()| "removed".into()),
            _ => disk.create_folder(&root.join("d")).map(|()| "made".into()),
        };
        let list = disk.list(root).map(|entries| format!("{entries:?}"));
        lines.push(format!("{step} {act} {} {}", kind(result), kind(list)));
    }
    lines
}
