//! All members compared, and repaired.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use strongroom_format::ids::DeviceId;
use strongroom_remote::mirror::scrub::scrub;
use strongroom_store::over::Over;
use strongroom_store::{Body, ErrorKind, Family, Key, Later, Listed, Store, wait};

use super::{Three, create, object};

#[test]
fn a_member_that_is_deleted_whole_is_not_noticed_and_scrub_fills_a_fresh_one() {
    let three = Three::new();
    for seed in 1..40 {
        three.put(object(seed), &[seed; 3000]);
        wait(three.mirror.put_if_absent(Key::Log(seed.into()), Bytes::from(vec![seed; 100])))
            .unwrap();
    }
    std::fs::remove_dir_all(&three.roots[0]).unwrap();
    for seed in 40..60 {
        three.put(object(seed), &[seed; 3000]);
        wait(three.mirror.put_if_absent(Key::Log(seed.into()), Bytes::from(vec![seed; 100])))
            .unwrap();
    }
    for seed in 1..60 {
        assert_eq!(three.get(object(seed)), vec![seed; 3000]);
    }
    assert_eq!(wait(three.mirror.list(Family::Log, None)).unwrap().len(), 59);
    let mut members = three.plain();
    // A fresh disk in its place.
    let _ = std::fs::remove_dir_all(&three.roots[0]);
    members[0].store = create(&three.roots[0]);
    let scrubbed = scrub(&members, None, &mut |_| ()).unwrap();
    // The mirror may have healed some of it before.
    assert!((1..=118).contains(&scrubbed.repaired) && scrubbed.unresolved.is_empty());
    assert_eq!(scrubbed.count, 119, "and the key that says what workspace it is, which nobody put");
    for seed in 1..60 {
        let there = wait(members[0].store.get(object(seed), None)).unwrap();
        assert_eq!(there, vec![seed; 3000]);
    }
    assert_eq!(scrub(&members, None, &mut |_| ()).unwrap().repaired, 0);
}

#[test]
fn scrub_repairs_what_the_majority_has_otherwise_and_names_what_nobody_can_tell() {
    let three = Three::new();
    for seed in 1..4 {
        three.put(object(seed), b"right");
    }
    let spoil = |member: usize, key: Key, bytes: &'static [u8]| {
        wait(three.members[member].delete(key)).unwrap();
        wait(three.members[member].put(key, Body::Bytes(Bytes::from_static(bytes)))).unwrap();
    };
    spoil(0, object(1), b"wrong");
    spoil(0, object(2), b"short");
    wait(three.members[1].delete(object(2))).unwrap();
    let scrubbed = scrub(&three.plain(), None, &mut |_| ()).unwrap();
    assert_eq!((scrubbed.repaired, scrubbed.unresolved), (1, vec![object(2)]));
    assert_eq!(three.holds(0, object(1)).unwrap(), &b"right"[..]);
    assert_eq!(three.holds(0, object(2)).unwrap(), &b"short"[..], "left as it was");
}

#[test]
fn scrub_copies_what_is_replaced_in_place_from_the_preferred_member_where_nobody_can_tell() {
    let three = Three::new();
    let device = |seed| Key::Device(DeviceId([seed; 16]));
    let hold = |key: Key, all: [&'static [u8]; 3]| {
        for (member, bytes) in all.into_iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
            let body = Body::Bytes(Bytes::from_static(bytes));
            wait(three.members[member].put(key, body)).unwrap();
        }
    };
    hold(device(1), [b"old", b"new", b""]);
    hold(device(2), [b"right", b"wrong", b"right"]);
    hold(device(3), [b"old", b"", b"new"]);
    hold(object(1), [b"short", b"right", b""]);
    let scrubbed = scrub(&three.plain(), Some(1), &mut |_| ()).unwrap();
    assert_eq!((scrubbed.repaired, scrubbed.unresolved), (3, vec![device(3), object(1)]));
    for member in 0..3 {
        assert_eq!(three.holds(member, device(1)).unwrap(), &b"new"[..]);
        assert_eq!(three.holds(member, device(2)).unwrap(), &b"right"[..], "most have it");
    }
    assert_eq!(three.holds(1, device(3)), None, "what is preferred says nothing of it");
    assert_eq!(three.holds(0, object(1)).unwrap(), &b"short"[..], "one of them is damaged");
}

#[test]
fn scrub_puts_another_copy_in_the_place_of_one_that_cannot_be_read() {
    for key in [object(1), Key::Log(1), Key::Device(DeviceId([5; 16]))] {
        let three = Three::new();
        three.put(key, b"right");
        three.put(object(2), b"right as well");
        three.is_unreadable(0, key);
        wait(three.members[2].delete(object(2))).unwrap();
        let scrubbed = scrub(&three.moody(), None, &mut |_| ()).unwrap();
        assert_eq!((scrubbed.repaired, scrubbed.unresolved), (2, vec![]));
        assert_eq!(wait(Store::get(&three.moods[0], key, None)).unwrap(), &b"right"[..]);
        assert!(three.holds(2, object(2)).is_some());
    }
}

/// A member whose list of objects begins anew each time.
struct Anew(Arc<dyn Store>, AtomicU64);

impl Over for Anew {
    fn below(&self) -> &dyn Store {
        &*self.0
    }

    fn list<'a>(&'a self, family: Family, _: Option<Key>) -> Later<'a, Vec<Listed>> {
        assert!(self.1.fetch_add(1, Ordering::Relaxed) < 50, "it is asked without end");
        self.0.list(family, None)
    }
}

#[test]
fn scrub_ends_where_a_list_begins_anew_each_time() {
    let three = Three::new();
    three.put(object(1), b"right");
    let mut members = three.plain();
    for member in &mut members {
        member.store = Arc::new(Anew(member.store.clone(), AtomicU64::new(0)));
    }
    let error = scrub(&members, None, &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
