//! What a member missed is copied to it, from one that did not.

use std::time::{Duration, Instant};

use bytes::Bytes;
use strongroom_format::ids::{DeviceId, ObjectId};
use strongroom_remote::mirror::MirrorStore;
use strongroom_store::{Body, Key, Put, Store, wait};

use super::{Leaving, Three, object, until_it_reaches_all};

fn numbered(number: u16) -> Key {
    let [high, low] = number.to_be_bytes();
    Key::Object(ObjectId([high, low, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]))
}

/// Asks for something until a member that answers counts as well, and one that does not as away.
fn look(mirror: &MirrorStore, key: Key) {
    wait(mirror.get(key, None)).unwrap();
}

#[test]
fn what_a_member_missed_is_copied_to_it_when_it_is_back() {
    let three = Three::new();
    let device = Key::Device(DeviceId([5; 16]));
    three.put(device, b"old");
    three.is_away(1, true);
    three.put(object(1), b"while it was away");
    three.put(device, b"new");
    wait(three.mirror.put_if_absent(Key::Log(1), Bytes::from_static(b"commit"))).unwrap();
    assert_eq!(three.holds(1, device).unwrap(), &b"old"[..]);
    three.is_away(1, false);
    // What it holds of old is not what is read.
    assert_eq!(three.get(device), &b"new"[..]);
    three.healed();
    assert_eq!(three.holds(1, device).unwrap(), &b"new"[..]);
    assert_eq!(three.holds(1, object(1)).unwrap(), &b"while it was away"[..]);
    assert_eq!(three.holds(1, Key::Log(1)).unwrap(), &b"commit"[..]);
}

#[test]
fn what_a_member_missed_is_copied_to_it_where_it_holds_a_copy_that_it_cannot_read() {
    let three = Three::new();
    three.leaves(1, Leaving { takes_it: true, stays_away: false });
    three.put(object(1), b"right");
    three.is_unreadable(1, object(1));
    until_it_reaches_all(&three.mirror);
    assert_eq!(wait(Store::get(&three.moods[1], object(1), None)).unwrap(), &b"right"[..]);
}

#[test]
fn a_full_member_is_rid_of_what_it_kept_before_it_is_given_what_it_missed() {
    let three = Three::new();
    three.put(object(1), b"gone soon");
    three.is_away(2, true);
    three.put(object(2), b"missed");
    wait(three.mirror.delete(object(1))).unwrap();
    three.is_full(2, true);
    three.is_away(2, false);
    let began = Instant::now();
    while three.holds(2, object(1)).is_some() {
        assert!(began.elapsed() < Duration::from_secs(30), "it never had room");
        three.mirror.heal();
        std::thread::sleep(Duration::from_millis(50));
    }
    three.is_full(2, false);
    three.healed();
    assert_eq!(three.holds(2, object(2)).unwrap(), &b"missed"[..]);
}

#[test]
fn what_a_member_missed_is_not_copied_to_it_from_itself() {
    let three = Three::new();
    let two = three.first_two();
    let log = Key::Log(1);
    let put =
        |key, bytes: &'static [u8]| wait(two.put(key, Body::Bytes(Bytes::from_static(bytes))));
    put(log, b"full").unwrap();
    put(object(1), b"looked at").unwrap();
    three.is_away(1, true);
    put(log, b"bare").unwrap();
    three.is_away(0, true);
    three.is_away(1, false);
    look(&two, object(1));
    assert_eq!(two.heal(), 1, "nobody else has it");
    three.is_away(0, false);
    until_it_reaches_all(&two);
    assert!((0..2).all(|member| three.holds(member, log).unwrap() == b"bare"[..]));
}

#[test]
fn what_a_member_missed_is_not_copied_to_it_from_another_that_missed_it() {
    let three = Three::new();
    let log = Key::Log(1);
    three.put(log, b"full");
    three.put(object(1), b"looked at");
    three.is_away(1, true);
    three.is_away(2, true);
    let bare = Body::Bytes(Bytes::from_static(b"bare"));
    assert!(wait(three.mirror.put(log, bare)).is_err());
    assert_eq!(three.holds(0, log).unwrap(), &b"bare"[..]);
    three.is_away(0, true);
    three.is_away(1, false);
    three.is_away(2, false);
    look(&three.mirror, object(1));
    three.mirror.heal();
    three.is_away(0, false);
    until_it_reaches_all(&three.mirror);
    assert!((0..3).all(|member| three.holds(member, log).unwrap() == b"bare"[..]));
}

#[test]
fn what_a_member_missed_and_took_later_is_not_copied_to_it_from_one_that_missed_the_later() {
    let three = Three::new();
    let two = three.first_two();
    let log = Key::Log(1);
    let put =
        |key, bytes: &'static [u8]| wait(two.put(key, Body::Bytes(Bytes::from_static(bytes))));
    put(object(1), b"looked at").unwrap();
    three.is_away(0, true);
    put(log, b"full").unwrap();
    three.is_away(1, true);
    three.is_away(0, false);
    look(&two, object(1));
    put(log, b"bare").unwrap();
    three.is_away(1, false);
    until_it_reaches_all(&two);
    assert!((0..2).all(|member| three.holds(member, log).unwrap() == b"bare"[..]));
}

#[test]
fn what_a_member_kept_goes_from_it_while_another_that_kept_much_is_away() {
    let three = Three::new();
    let two = three.first_two();
    let many: Vec<Key> = (0..400u16).map(numbered).collect();
    let bodies = many.iter().map(|key| (*key, Body::Bytes(Bytes::from_static(b"1"))));
    wait(two.put_many(bodies.collect())).unwrap();
    let put = |key| wait(two.put(key, Body::Bytes(Bytes::from_static(b"1")))).unwrap();
    put(object(1));
    put(object(2));
    three.is_away(0, true);
    many.iter().for_each(|key| wait(two.delete(*key)).unwrap());
    three.is_away(1, true);
    three.is_away(0, false);
    look(&two, object(1));
    wait(two.delete(object(2))).unwrap();
    three.is_away(0, true);
    three.is_away(1, false);
    look(&two, object(1));
    two.heal();
    assert!(three.holds(1, object(2)).is_none());
    three.is_away(0, false);
    until_it_reaches_all(&two);
    assert!(many.iter().all(|key| three.holds(0, *key).is_none()));
}

#[test]
fn a_commit_that_the_first_member_missed_is_not_written_twice() {
    let three = Three::new();
    three.is_away(0, true);
    let put = |bytes: &'static [u8]| {
        wait(three.mirror.put_if_absent(Key::Log(1), Bytes::from_static(bytes))).unwrap()
    };
    assert!(matches!(put(b"first"), Put::Created(_)));
    three.is_away(0, false);
    // The first member decides again, and does not know.
    three.healed();
    wait(three.members[0].delete(Key::Log(1))).unwrap();
    assert_eq!(put(b"other"), Put::Exists);
    for member in 0..3 {
        assert_eq!(three.holds(member, Key::Log(1)).unwrap(), &b"first"[..], "{member}");
    }
}

#[test]
fn what_is_put_while_the_disk_of_a_member_is_not_mounted_goes_to_it_when_it_is_back() {
    let three = Three::new();
    three.put(Key::Workspace, b"workspace");
    let elsewhere = three.roots[1].with_extension("unplugged");
    std::fs::rename(&three.roots[1], &elsewhere).unwrap();
    // The place where it was mounted.
    std::fs::create_dir(&three.roots[1]).unwrap();
    three.put(object(1), b"put meanwhile");
    assert_eq!(three.roots[1].read_dir().unwrap().count(), 0, "nothing goes to another disk");
    std::fs::remove_dir(&three.roots[1]).unwrap();
    std::fs::rename(&elsewhere, &three.roots[1]).unwrap();
    three.healed();
    assert_eq!(three.holds(1, object(1)).unwrap(), &b"put meanwhile"[..]);
}
