//! What is removed while a member is away, or goes away at it, or is copied to.

use std::time::Duration;

use bytes::Bytes;
use strongroom_format::ids::DeviceId;
use strongroom_remote::mirror::MirrorStore;
use strongroom_store::{Body, ErrorKind, Key, Result, Store, wait};

use super::{Leaving, Three, mirror_of, object};

#[test]
fn with_a_member_away_nothing_that_is_replaced_in_place_is_removed() {
    let keys = [Key::Device(DeviceId([5; 16])), Key::Request(DeviceId([6; 16]))];
    for (count, away) in [(2, 0), (2, 1), (3, 0), (3, 2)] {
        let three = Three::new();
        let anew = || mirror_of(&three.moods[..count]);
        let mirror = anew();
        for key in keys {
            wait(mirror.put(key, Body::Bytes(Bytes::from_static(b"there")))).unwrap();
        }
        three.is_away(away, true);
        for key in keys {
            let refused = wait(mirror.delete(key)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unavailable, "{count} {away}");
            // Nothing was asked of the others.
            let holds = (0..count).all(|member| three.holds(member, key).is_some());
            assert!(holds, "{count} {away}");
        }
        three.is_away(away, false);
        // Who comes next remembers nothing of it.
        let mirror = anew();
        keys.iter().for_each(|key| wait(mirror.delete(*key)).unwrap());
        let mirror = anew();
        for key in keys {
            let missing = wait(mirror.get(key, None)).unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound, "{count} {away}");
            assert_eq!(mirror.heal(), 0);
            assert!((0..count).all(|member| three.holds(member, key).is_none()));
        }
    }
}

#[test]
fn what_a_member_goes_away_at_is_removed_when_it_is_asked_again() {
    let ways = [(true, true), (true, false), (false, true), (false, false)];
    for (gone, (takes_it, stays_away)) in
        [0, 2].into_iter().flat_map(|gone| ways.map(|w| (gone, w)))
    {
        let three = Three::new();
        let device = Key::Device(DeviceId([5; 16]));
        three.put(device, b"there");
        three.leaves(gone, Leaving { takes_it, stays_away });
        let error = wait(three.mirror.delete(device)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{gone} {takes_it} {stays_away}");
        assert!(error.to_string().contains("it may come back"), "{error}");
        three.is_away(gone, false);
        let mirror = three.again();
        wait(mirror.delete(device)).unwrap();
        let missing = wait(mirror.get(device, None)).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!((0..3).all(|member| three.holds(member, device).is_none()));
    }
}

#[test]
fn what_is_removed_while_a_member_is_away_is_not_read_from_it_and_goes_when_it_is_back() {
    let three = Three::new();
    three.put(object(1), b"gone soon");
    three.is_away(0, true);
    wait(three.mirror.delete(object(1))).unwrap();
    three.is_away(0, false);
    // It is asked for before it is removed there.
    let missing = wait(three.mirror.get(object(1), None)).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    three.healed();
    assert!((0..3).all(|member| three.holds(member, object(1)).is_none()));
    three.is_away(0, true);
    wait(three.mirror.delete(object(1))).unwrap();
    three.put(object(1), b"put again");
    three.is_away(0, false);
    three.healed();
    assert!((0..3).all(|member| three.holds(member, object(1)).is_some()));
}

#[test]
fn a_full_member_takes_removals() {
    let three = Three::new();
    three.put(object(1), b"gone soon");
    three.is_full(2, true);
    three.put(object(2), b"more than it takes");
    assert_eq!(three.holds(2, object(2)), None);
    wait(three.mirror.delete(object(1))).unwrap();
    assert_eq!(three.holds(2, object(1)), None);
}

#[test]
fn a_full_member_takes_removals_of_what_is_replaced_in_place() {
    for (count, full) in [(2, 0), (2, 1), (3, 0), (3, 2)] {
        let three = Three::new();
        let mirror = mirror_of(&three.moods[..count]);
        let device = Key::Device(DeviceId([5; 16]));
        wait(mirror.put(device, Body::Bytes(Bytes::from_static(b"there")))).unwrap();
        three.is_full(full, true);
        wait(mirror.put(object(2), Body::Bytes(Bytes::from_static(b"more")))).unwrap();
        assert_eq!(three.holds(full, object(2)), None);
        wait(mirror.delete(device)).unwrap();
        assert!((0..count).all(|member| three.holds(member, device).is_none()), "{count} {full}");
    }
}

#[test]
fn what_is_removed_while_the_folder_of_a_member_is_gone_goes_when_it_is_back() {
    for stays in [false, true] {
        let three = Three::new();
        three.put(object(1), b"gone soon");
        let elsewhere = three.roots[2].with_extension("unplugged");
        std::fs::rename(&three.roots[2], &elsewhere).unwrap();
        if stays {
            // The place where it was mounted.
            std::fs::create_dir(&three.roots[2]).unwrap();
        }
        wait(three.mirror.delete(object(1))).unwrap();
        if stays {
            std::fs::remove_dir(&three.roots[2]).unwrap();
        }
        std::fs::rename(&elsewhere, &three.roots[2]).unwrap();
        let missing = wait(three.mirror.get(object(1), None)).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        three.healed();
        assert_eq!(three.holds(2, object(1)), None);
    }
}

#[test]
fn what_is_removed_or_replaced_while_it_is_copied_to_a_member_is_not_brought_back() {
    let removed = |mirror: &MirrorStore, key| wait(mirror.delete(key));
    let replaced = |mirror: &MirrorStore, key| {
        wait(mirror.put(key, Body::Bytes(Bytes::from_static(b"new")))).map(drop)
    };
    type Change = fn(&MirrorStore, Key) -> Result<()>;
    let (device, log) = (Key::Device(DeviceId([5; 16])), Key::Log(1));
    let cases: [(Key, Change, Option<&[u8]>); 6] = [
        (device, removed, None),
        (object(1), removed, None),
        (log, removed, None),
        (device, replaced, Some(b"new")),
        // As a purge does with commits and snapshots.
        (log, replaced, Some(b"new")),
        (Key::Checkpoint(1), replaced, Some(b"new")),
    ];
    for (key, change, after) in cases {
        let three = Three::new();
        three.put(key, b"old");
        // Nobody was ever asked: the first one is asked first.
        wait(three.members[0].delete(key)).unwrap();
        assert_eq!(three.get(key), &b"old"[..]);
        let (say, done) = std::sync::mpsc::channel();
        let mirror = three.mirror.clone();
        let meanwhile = move || {
            let (ended, end) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let changed = change(&mirror, key);
                let _ = ended.send(());
                say.send(changed).unwrap();
            });
            // As long as it takes where nothing waits for the copy; where it does, there is no end to wait for.
            let _ = end.recv_timeout(Duration::from_millis(300));
        };
        *three.moods[0].meanwhile.lock().unwrap() = Some(Box::new(meanwhile));
        three.healed();
        done.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
        three.healed();
        for member in 0..3 {
            assert_eq!(three.holds(member, key).as_deref(), after, "{key} {member}");
        }
    }
}
