//! Members of which one holds something wrong, with and without copies before them.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_host::real_disk::RealDisk;
use strongroom_remote::{CachedStore, Limits};
use strongroom_store::{Body, Key, Store, wait};

use super::{Three, object};

#[test]
fn a_copy_that_is_not_trusted_is_passed_over() {
    let three = Three::new();
    three.put(object(1), b"right");
    for wrong in 0..2 {
        wait(three.members[wrong].delete(object(1))).unwrap();
        wait(three.members[wrong].put(object(1), Body::Bytes(Bytes::from_static(b"wrong"))))
            .unwrap();
    }
    let mut tries = 0;
    while three.get(object(1)) != b"right"[..] {
        assert!(three.mirror.distrust(object(1)));
        tries += 1;
        assert!(tries < 3);
    }
    assert!(!three.mirror.distrust(Key::Log(9)), "nobody served that");
}

#[test]
fn a_copy_that_is_cut_short_ends_nothing_for_who_reads_ahead() {
    let three = Three::new();
    let bytes: Vec<u8> = (0..=250).cycle().take(50_000).collect();
    three.put(object(1), &bytes);
    wait(three.members[0].delete(object(1))).unwrap();
    let cut = Bytes::copy_from_slice(&bytes[..20_000]);
    wait(three.members[0].put(object(1), Body::Bytes(cut))).unwrap();
    for range in [0..100_000, 10_000..60_000, 30_000..50_000] {
        let end = usize::try_from(range.end).unwrap().min(50_000);
        let expected = &bytes[usize::try_from(range.start).unwrap()..end];
        assert!(wait(three.mirror.read_ahead(object(1), range)).unwrap() == expected);
    }
}

#[test]
fn behind_copies_a_mirror_gives_the_ends_of_objects_and_passes_over_damage() {
    let three = Three::new();
    let bytes: Vec<u8> = (0..=250).cycle().take(700_000).collect();
    three.put(object(1), &bytes);
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes_max: 64 << 20, held_bytes_max: 0, free_bytes_min: 0 };
    let kept = folder.path().to_path_buf();
    let cached = CachedStore::open(three.mirror.clone(), Arc::new(RealDisk), kept, limits).unwrap();
    for start in (0..700_000_usize).step_by(50_000) {
        let range = start as u64..start as u64 + 50_000;
        let got = wait(cached.get(object(1), Some(range))).unwrap();
        assert!(got == bytes[start..start + 50_000], "{start}");
    }
    // Damage that came from a member is on the shelf as well: both are to be passed over.
    let wrong = Bytes::from(vec![9; 5000]);
    three.put(object(2), &[7; 5000]);
    wait(three.members[0].delete(object(2))).unwrap();
    wait(three.members[0].put(object(2), Body::Bytes(wrong))).unwrap();
    let mut tries = 0;
    while wait(cached.get(object(2), Some(0..5000))).unwrap() != vec![7; 5000] {
        assert!(cached.distrust(object(2)));
        tries += 1;
        assert!(tries < 2, "the same damage again");
    }
}
