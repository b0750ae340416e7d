use std::sync::Arc;

use strongroom_host::real_disk::RealDisk;
use strongroom_host::sim::{Act, Fault, SimDisk};

use super::*;

fn id(seed: u8) -> ObjectId {
    ObjectId([seed; 16])
}

fn shelf(folder: &Path, bytes_max: u64) -> Shelf {
    let limits = Limits { bytes_max, held_bytes_max: bytes_max, free_bytes_min: 0 };
    Shelf::open(Arc::new(RealDisk), folder.to_path_buf(), limits).unwrap()
}

fn on_disk(folder: &Path) -> u64 {
    let files = |folder: PathBuf| std::fs::read_dir(folder).unwrap().flatten();
    files(folder.to_path_buf())
        .filter(|entry| entry.path().is_dir())
        .flat_map(|entry| files(entry.path()))
        .map(|entry| entry.metadata().unwrap().len())
        .sum()
}

#[test]
fn pieces_are_found_alone_together_and_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Bytes::from((0..=255).collect::<Vec<u8>>());
    {
        let shelf = shelf(folder.path(), 1 << 20);
        shelf.insert(id(1), 100, &bytes.slice(100..200));
        shelf.insert(id(1), 50, &bytes.slice(50..100));
        assert_eq!(shelf.find(id(1), Some(&(60..150))).unwrap(), bytes.slice(60..150));
        for missing in [40..60, 150..201, 0..10] {
            assert!(shelf.find(id(1), Some(&missing)).is_none(), "{missing:?}");
        }
        assert!(shelf.find(id(2), Some(&(0..1))).is_none());
    }
    let shelf = shelf(folder.path(), 1 << 20);
    assert_eq!(shelf.find(id(1), Some(&(50..200))).unwrap(), bytes.slice(50..200));
    shelf.insert(id(1), 200, &bytes.slice(200..256));
    assert_eq!(shelf.find(id(1), Some(&(150..256))).unwrap(), bytes.slice(150..256));
    assert_eq!(shelf.bytes(), on_disk(folder.path()));
}

#[test]
fn what_is_held_stays_when_a_piece_cannot_be_written_or_its_file_opened() {
    let disk = SimDisk::new(7);
    let limits = Limits { bytes_max: 1 << 20, held_bytes_max: 1 << 20, free_bytes_min: 0 };
    let open = || Shelf::open(Arc::new(disk.clone()), "/copies".into(), limits).unwrap();
    let bytes = Bytes::from(vec![7; 100]);
    let shelf = open();
    assert!(shelf.insert_held(id(1), 0, &bytes).unwrap());
    let before = shelf.state.lock().held_bytes;
    disk.fail(Fault::new(Act::Write, |_| true).full());
    assert!(!shelf.insert_held(id(1), 100, &bytes).unwrap());
    disk.heal();
    assert_eq!((shelf.held(), shelf.state.lock().held_bytes), (vec![id(1)], before));
    assert!(shelf.insert_held(id(1), 100, &bytes).unwrap());
    assert!(shelf.has(id(1), &(0..200)));
    drop(shelf);
    let shelf = open();
    for act in [Act::Open, Act::Create] {
        disk.fail(Fault::new(act, |_| true).errno(24).for_ever());
    }
    assert!(shelf.find(id(1), Some(&(0..200))).is_none(), "too many files are open");
    disk.heal();
    assert!(shelf.held() == [id(1)] && shelf.find(id(1), Some(&(0..200))).is_some());
}

#[test]
fn a_file_cut_at_any_byte_gives_back_whole_pieces_only() {
    let folder = tempfile::tempdir().unwrap();
    drop(shelf(folder.path(), 1 << 20));
    let path = folder.path().join("01").join(format!("{}.part", id(1)));
    {
        let shelf = shelf(folder.path(), 1 << 20);
        shelf.insert(id(1), 0, &Bytes::from_static(b"first"));
        shelf.insert(id(1), 5, &Bytes::from_static(b"second"));
    }
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let shelf = shelf(folder.path(), 1 << 20);
        let first = shelf.find(id(1), Some(&(0..5)));
        assert_eq!(first.as_deref(), (len >= 21).then_some(&b"first"[..]), "{len}");
        assert!(shelf.find(id(1), Some(&(5..11))).is_none());
        assert!(shelf.insert(id(1), 5, &Bytes::from_static(b"second")));
        assert_eq!(shelf.bytes(), on_disk(folder.path()), "{len}");
        drop(shelf);
        let shelf = self::shelf(folder.path(), 1 << 20);
        assert_eq!(&shelf.find(id(1), Some(&(5..11))).unwrap()[..], b"second", "{len}");
    }
}

#[test]
fn pieces_over_one_another_hide_nothing_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Bytes::from((0..64).collect::<Vec<u8>>());
    let ranges = [10..15, 0..25, 0..12, 20..30, 7..32, 32..33, 2..5, 1..63];
    for turn in 0..ranges.len() {
        let number = id(turn as u8);
        let mut there = [false; 64];
        let shelf = shelf(folder.path(), 1 << 20);
        for step in 0..ranges.len() {
            let range = ranges[(turn * 3 + step * 5) % ranges.len()].clone();
            shelf.insert(number, range.start as u64, &bytes.slice(range.clone()));
            there[range].fill(true);
        }
        let is_there = |shelf: &Shelf| {
            for start in 0..64 {
                for end in start + 1..=64 {
                    let found = shelf.find(number, Some(&(start as u64..end as u64)));
                    let wanted = bytes.slice(start..end);
                    let all = there[start..end].iter().all(|there| *there);
                    assert_eq!(found, all.then_some(wanted), "{turn} {start}..{end}");
                }
            }
        };
        is_there(&shelf);
        drop(shelf);
        is_there(&self::shelf(folder.path(), 1 << 20));
    }
}

#[test]
fn the_limit_holds_at_every_moment_and_what_is_used_stays() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = shelf(folder.path(), 10_000);
    let bytes = Bytes::from(vec![7; 984]);
    shelf.insert(id(0), 0, &bytes);
    for seed in 1..=100 {
        shelf.find(id(0), Some(&(0..10))).unwrap();
        shelf.insert(id(seed), 0, &bytes);
        assert!(on_disk(folder.path()) <= 10_000, "after {seed}");
        assert_eq!(shelf.bytes(), on_disk(folder.path()));
    }
    assert!(shelf.has(id(0), &(0..984)) && shelf.has(id(100), &(0..984)));
    assert!(!shelf.has(id(50), &(0..984)));
    shelf.insert(id(200), 0, &Bytes::from(vec![1; 20_000]));
    assert!(!shelf.has(id(200), &(0..1)));
}

#[test]
fn a_whole_object_is_taken_over_and_replaces_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = shelf(folder.path(), 1 << 20);
    shelf.insert(id(1), 3, &Bytes::from_static(b"pie"));
    let staged = folder.path().join("staged");
    std::fs::write(&staged, b"complete").unwrap();
    assert!(shelf.adopt(id(1), &staged, 8));
    assert!(!staged.exists());
    assert_eq!(shelf.find(id(1), None).unwrap(), &b"complete"[..]);
    assert_eq!(shelf.find(id(1), Some(&(3..6))).unwrap(), &b"ple"[..]);
    assert!(shelf.find(id(1), Some(&(3..9))).is_none());
    assert_eq!((shelf.bytes(), on_disk(folder.path())), (8, 8));
    assert!(shelf.forget(id(1)) && !shelf.forget(id(1)));
    assert_eq!((shelf.bytes(), on_disk(folder.path())), (0, 0));
}

#[test]
fn a_disk_with_little_room_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes_max: 1 << 20, held_bytes_max: 0, free_bytes_min: u64::MAX };
    let shelf = Shelf::open(Arc::new(RealDisk), folder.path().to_path_buf(), limits).unwrap();
    shelf.insert(id(1), 0, &Bytes::from_static(b"x"));
    assert_eq!(on_disk(folder.path()), 0);
}

#[test]
fn what_is_held_stays_while_others_go_and_has_a_limit_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes_max: 3000, held_bytes_max: 2500, free_bytes_min: 0 };
    let open = || Shelf::open(Arc::new(RealDisk), folder.path().to_path_buf(), limits).unwrap();
    let bytes = Bytes::from(vec![7; 984]);
    {
        let shelf = open();
        shelf.insert(id(1), 0, &bytes);
        assert_eq!(shelf.hold(id(1)), Ok(true));
        assert_eq!(shelf.insert_held(id(2), 0, &bytes), Ok(true));
        assert_eq!(shelf.insert_held(id(3), 0, &bytes), Err(HeldFull { bytes_max: 2500 }));
        shelf.let_go(id(3));
        assert_eq!((shelf.bytes(), shelf.held_bytes()), (0, 2000));
        for seed in 10..30 {
            shelf.insert(id(seed), 0, &bytes);
            assert!(shelf.bytes() <= 3000 && on_disk(folder.path()) <= 5000);
        }
        // A piece that nobody holds takes no room from what is held.
        shelf.insert(id(1), 5000, &bytes);
        assert_eq!((shelf.held_bytes(), shelf.has(id(1), &(5000..5984))), (2000, false));
    }
    let shelf = open();
    assert_eq!(shelf.held_bytes(), 2000);
    assert_eq!(shelf.find(id(1), Some(&(0..984))).unwrap(), bytes);
    assert_eq!(shelf.find(id(2), Some(&(0..984))).unwrap(), bytes);
    shelf.let_go(id(1));
    assert_eq!(shelf.held(), [id(2)]);
    assert!(shelf.bytes() <= 3000);
    assert!(shelf.forget(id(2)));
    assert_eq!((shelf.held_bytes(), shelf.bytes()), (0, on_disk(folder.path())));
}

#[test]
fn reading_beside_what_is_held_takes_no_room_from_what_is_to_be_held() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes_max: 3000, held_bytes_max: 2500, free_bytes_min: 0 };
    let shelf = Shelf::open(Arc::new(RealDisk), folder.path().to_path_buf(), limits).unwrap();
    let bytes = Bytes::from(vec![7; 984]);
    assert_eq!(shelf.insert_held(id(1), 0, &bytes), Ok(true));
    // Somebody reads the rest of the object.
    assert!(!shelf.insert(id(1), 984, &bytes));
    assert_eq!(shelf.held_bytes(), 1000);
    assert_eq!(shelf.insert_held(id(2), 0, &bytes), Ok(true));
    assert_eq!(shelf.held_bytes(), 2000);
}

#[test]
fn what_is_held_beside_somebody_who_frees_it_stays() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = shelf(folder.path(), 1 << 20);
    let together = std::sync::Barrier::new(5);
    for round in 0..2000 {
        assert!(shelf.insert(id(1), 0, &Bytes::from_static(&[1; 100])));
        let hold = || {
            together.wait();
            shelf.hold(id(1)).unwrap()
        };
        let is_held = std::thread::scope(|scope| {
            let holders: Vec<_> = (0..4).map(|_| scope.spawn(hold)).collect();
            together.wait();
            shelf.forget_usual(id(1));
            holders.into_iter().any(|holder| holder.join().unwrap())
        });
        assert_eq!(shelf.has(id(1), &(0..100)), is_held, "{round}");
        shelf.forget(id(1));
    }
}

#[test]
fn a_folder_is_used_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let _first = shelf(folder.path(), 1);
    let limits = Limits { bytes_max: 1, held_bytes_max: 0, free_bytes_min: 0 };
    let second = Shelf::open(Arc::new(RealDisk), folder.path().to_path_buf(), limits);
    assert_eq!(second.err().unwrap().kind(), io::ErrorKind::WouldBlock);
}
