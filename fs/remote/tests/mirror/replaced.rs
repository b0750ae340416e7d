//! What is replaced in place, on members of which one does not take it.

use bytes::Bytes;
use strongroom_format::ids::DeviceId;
use strongroom_remote::mirror::MirrorStore;
use strongroom_store::{Body, ErrorKind, Key, Store, wait};

use super::{Leaving, Three, object, until_it_reaches_all};

#[test]
fn with_one_of_two_away_nothing_is_replaced() {
    for away in 0..2 {
        let three = Three::new();
        let two = three.first_two();
        let device = Key::Device(DeviceId([5; 16]));
        let put = |bytes| wait(two.put(device, Body::Bytes(Bytes::from_static(bytes))));
        put(b"old").unwrap();
        // Nothing was asked of it since.
        three.is_away(away, true);
        assert_eq!(put(b"new").unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(three.holds(1 - away, device).unwrap(), &b"old"[..]);
        if away == 1 {
            continue;
        }
        // What is new is taken by the other one alone.
        wait(two.put(object(1), Body::Bytes(Bytes::from_static(b"new")))).unwrap();
        assert!(!two.reaches_all(), "a deletion would miss a member");
        assert_eq!(put(b"new").unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(three.holds(1 - away, device).unwrap(), &b"old"[..]);
        three.is_away(away, false);
        until_it_reaches_all(&two);
        put(b"new").unwrap();
        assert_eq!(three.holds(away, device).unwrap(), &b"new"[..]);
    }
}

#[test]
fn what_one_of_two_does_not_take_is_not_replaced() {
    for full in 0..2 {
        let three = Three::new();
        let device = Key::Device(DeviceId([5; 16]));
        let put = |two: &MirrorStore, bytes| {
            wait(two.put(device, Body::Bytes(Bytes::from_static(bytes))))
        };
        let two = three.first_two();
        put(&two, b"old").unwrap();
        three.is_full(full, true);
        assert_eq!(put(&two, b"new").unwrap_err().kind(), ErrorKind::Full, "{full}");
        drop(two);
        // Who comes next knows nothing of it, and finds what was not replaced.
        three.is_full(full, false);
        let two = three.first_two();
        assert_eq!(wait(two.get(device, None)).unwrap(), &b"old"[..], "{full}");
        until_it_reaches_all(&two);
        for member in 0..2 {
            assert_eq!(three.holds(member, device).unwrap(), &b"old"[..], "{full} {member}");
        }
        put(&two, b"new").unwrap();
        drop(two);
        assert_eq!(wait(three.first_two().get(device, None)).unwrap(), &b"new"[..]);
    }
}

#[test]
fn what_one_of_two_goes_away_at_is_put_back_where_somebody_answers() {
    let ways = [(true, true), (true, false), (false, true), (false, false)];
    for (gone, (takes_it, stays_away)) in (0..2).flat_map(|gone| ways.map(|way| (gone, way))) {
        let three = Three::new();
        let device = Key::Device(DeviceId([5; 16]));
        let leaving = Leaving { takes_it, stays_away };
        let two = three.first_two();
        let put = |bytes| wait(two.put(device, Body::Bytes(Bytes::from_static(bytes))));
        put(b"old").unwrap();
        three.leaves(gone, leaving);
        let error = put(b"new").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{gone} {leaving:?}");
        drop(two);
        // Who comes next while it is away finds what was there before, and so does everybody if it answered again at once.
        let found = wait(three.first_two().get(device, None)).unwrap();
        assert_eq!(found, &b"old"[..], "{gone} {leaving:?}");
        assert_eq!(three.holds(1 - gone, device).unwrap(), &b"old"[..], "{gone} {leaving:?}");
        let is_left = takes_it && stays_away;
        let there: &[u8] = if is_left { b"new" } else { b"old" };
        assert_eq!(three.holds(gone, device).unwrap(), there, "{gone} {leaving:?}");
        assert!(error.to_string().contains("either may count"), "{error}");
    }
}

#[test]
fn what_was_not_there_is_not_there_where_one_of_two_does_not_take_it() {
    let three = Three::new();
    let device = Key::Device(DeviceId([5; 16]));
    three.is_full(0, true);
    let error = wait(three.first_two().put(device, Body::Bytes(Bytes::from_static(b"new"))));
    // Nobody is in doubt: it was refused, and the other one gave it up.
    assert_eq!(error.unwrap_err().to_string(), "this member is full");
    let missing = wait(three.first_two().get(device, None)).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn where_most_of_three_do_not_take_it_either_may_count_and_it_is_said() {
    let three = Three::new();
    let device = Key::Device(DeviceId([5; 16]));
    three.put(device, b"old");
    for member in [1, 2] {
        three.leaves(member, Leaving { takes_it: false, stays_away: true });
    }
    let put = wait(three.mirror.put(device, Body::Bytes(Bytes::from_static(b"new"))));
    let error = put.unwrap_err();
    assert!(error.to_string().contains("either may count"), "{error}");
}

#[test]
fn what_one_of_three_missed_never_counts_and_is_not_copied_whoever_is_away_then() {
    let device = Key::Device(DeviceId([5; 16]));
    for (missed, away) in [(0, 2), (1, 0), (2, 1)] {
        let three = Three::new();
        three.put(device, b"old");
        three.is_away(missed, true);
        wait(three.again().put(device, Body::Bytes(Bytes::from_static(b"new")))).unwrap();
        three.is_away(missed, false);
        // Who comes next knows nothing of it.
        three.is_away(away, true);
        let mirror = three.again();
        let unknown = wait(mirror.get(device, None)).map_err(|error| error.kind());
        assert_eq!(unknown, Err(ErrorKind::Unavailable), "{missed} {away}");
        assert_eq!(mirror.heal(), 0, "nobody knows who missed it");
        three.is_away(away, false);
        assert_eq!(wait(mirror.get(device, None)).unwrap(), &b"new"[..], "{missed} {away}");
        drop(mirror);
        for other in (0..3).filter(|other| *other != missed) {
            assert_eq!(three.holds(other, device).unwrap(), &b"new"[..], "{missed} {away}");
        }
    }
}

#[test]
fn what_one_of_three_missed_does_not_count_where_another_holds_nothing_any_more() {
    let device = Key::Device(DeviceId([5; 16]));
    for (missed, empty) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        let three = Three::new();
        three.put(device, b"old");
        three.is_away(missed, true);
        wait(three.again().put(device, Body::Bytes(Bytes::from_static(b"new")))).unwrap();
        three.is_away(missed, false);
        // Another disk in its place, before anybody compared the members.
        wait(three.members[empty].delete(device)).unwrap();
        let mirror = three.again();
        let error = wait(mirror.get(device, None)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{missed} {empty}");
        assert!(error.to_string().contains("nobody can tell which is newer"), "{error}");
        assert_eq!(mirror.heal(), 0, "nothing is copied to the empty one");
    }
}
