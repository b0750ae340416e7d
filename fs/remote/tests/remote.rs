//! The store over a server in memory: conformance, faults, the probe.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Conditions, Mood, Server, machine};
use strongroom_format::ids::ObjectId;
use strongroom_host::real_disk::RealDisk;
use strongroom_remote::{Access, CachedStore, Limits, RemoteStore, Writers, probe};
use strongroom_store::conformance::conformance;
use strongroom_store::{Binder, Body, ErrorKind, Family, Key, PolicyKey, Put, Shelf, Store, wait};

const OBJECT: Key = Key::Object(ObjectId([9; 16]));

fn put(store: &RemoteStore, key: Key, bytes: &'static [u8]) {
    wait(store.put(key, Body::Bytes(Bytes::from_static(bytes)))).unwrap();
}

#[test]
fn a_network_store_conforms() {
    let store: Arc<dyn Store> = Arc::new(Server::new(Conditions::Honoured).store());
    conformance(&store, wait);
}

#[test]
fn a_network_store_conforms_while_every_third_request_fails() {
    let server = Server::new(Conditions::Honoured);
    server.behave(|_, _, number| if number % 3 == 1 { Mood::Says(503) } else { Mood::Well });
    let store: Arc<dyn Store> = Arc::new(server.store());
    conformance(&store, wait);
}

/// A request that was given up, and that the server comes to after all.
#[test]
fn a_cell_that_was_put_too_late_takes_nothing_back() {
    let server = Server::new(Conditions::Honoured);
    let store = server.store();
    let cell = PolicyKey { application: [1; 16], shelf: Shelf::Cell, name: 7 };
    for key in [cell, PolicyKey { name: 8, ..cell }].map(Key::Policy) {
        let read = || wait(store.get(key, None)).unwrap();
        // Of the one nothing was there, over the other one is put.
        if key != Key::Policy(cell) {
            put(&store, key, b"refused");
        }
        server.behave(|method, _, number| match (method, number) {
            ("PUT", 0 | 1) => Mood::Late,
            _ => Mood::Well,
        });
        put(&store, key, b"given");
        put(&store, key, b"withdrawn");
        assert!(server.come_to_it() >= 1);
        assert_eq!(read(), "withdrawn");
        server.behave(|_, _, _| Mood::Well);
    }
}

#[test]
fn a_cell_that_somebody_else_has_changed_is_not_written_over_unseen() {
    let server = Server::new(Conditions::Honoured);
    let [own, other] = [0; 2].map(|_| server.store());
    let cell = PolicyKey { application: [1; 16], shelf: Shelf::Cell, name: 7 };
    let key = Key::Policy(cell);
    put(&own, key, b"one");
    put(&other, key, b"two");
    let body = || Body::Bytes(Bytes::from_static(b"three"));
    assert_eq!(wait(own.put(key, body())).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(wait(own.get(key, None)).unwrap(), "two");
    // It is known by now.
    wait(own.put(key, body())).unwrap();
    // What is there already needs no further put, whoever put it.
    put(&other, key, b"three");
    // Without an answer it is known as ours all the same.
    server.behave(|_, _, number| if number == 0 { Mood::LosesAnswer } else { Mood::Well });
    put(&other, key, b"four");
    // A server that ignores conditions, or does not know them, takes every put.
    for conditions in [Conditions::Ignored, Conditions::Unknown] {
        let server = Server::new(conditions);
        let [own, other] = [0; 2].map(|_| server.store());
        put(&own, key, b"one");
        put(&other, key, b"two");
        put(&own, key, b"three");
        assert_eq!(wait(own.get(key, None)).unwrap(), "three");
    }
}

#[test]
fn a_commit_whose_answer_was_lost_is_known_as_ours() {
    let server = Server::new(Conditions::Honoured);
    server.behave(|method, _, number| match (method, number) {
        ("PUT", 0) => Mood::LosesAnswer,
        _ => Mood::Well,
    });
    let store = server.store();
    let put = wait(store.put_if_absent(Key::Log(1), Bytes::from_static(b"ours"))).unwrap();
    assert!(matches!(put, Put::Created(_)));
    assert_eq!(server.count(), 3);
}

#[test]
fn a_commit_that_somebody_else_won_is_not_taken_for_ours_after_a_lost_answer() {
    let server = Server::new(Conditions::Honoured);
    let store = server.store();
    put(&store, Key::Log(1), b"theirs");
    server.behave(|_, _, number| if number == 0 { Mood::LosesAnswer } else { Mood::Well });
    let put = wait(store.put_if_absent(Key::Log(1), Bytes::from_static(b"ours"))).unwrap();
    assert_eq!(put, Put::Exists);
}

#[test]
fn a_server_that_never_answers_ends_in_unavailable_by_the_deadline() {
    let server = Server::new(Conditions::Honoured);
    server.behave(|_, _, _| Mood::Silent);
    let store = server.store();
    let began = Instant::now();
    // More than may go at once: those that wait for their turn have a deadline too.
    let all: Vec<_> = (0..50).map(|_| store.get(OBJECT, Some(0..10))).collect();
    for one in all {
        assert_eq!(wait(one).unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[test]
fn a_refusal_is_told_at_once() {
    let server = Server::new(Conditions::Honoured);
    server.behave(|_, _, _| Mood::Says(403));
    let store = server.store();
    assert_eq!(wait(store.get(OBJECT, None)).unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(server.count(), 1);
}

#[test]
fn a_staged_file_stays_whether_it_is_stored_or_not() {
    let server = Server::new(Conditions::Honoured);
    let store = server.store();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("staged");
    std::fs::write(&path, b"sealed").unwrap();
    server.behave(|_, _, _| Mood::Says(403));
    wait(store.put(OBJECT, Body::File(path.clone()))).unwrap_err();
    assert!(path.exists());
    server.behave(|_, _, _| Mood::Well);
    assert_eq!(wait(store.put(OBJECT, Body::File(path.clone()))).unwrap().len(), 6);
    assert!(path.exists());
    assert_eq!(wait(store.get(OBJECT, None)).unwrap(), &b"sealed"[..]);
}

#[test]
fn what_is_asked_at_once_is_served_side_by_side() {
    let server = Server::new(Conditions::Honoured);
    server.behave(|_, _, _| Mood::Meets);
    let store = server.store();
    let bodies = (0..u8::try_from(common::MEETING).unwrap())
        .map(|seed| (Key::Object(ObjectId([seed; 16])), Body::Bytes(Bytes::from_static(b"x"))));
    // None is answered before all are there.
    wait(store.put_many(bodies.collect())).unwrap();
    assert_eq!(server.count(), 8);
}

#[test]
fn a_store_open_for_reading_refuses_changes_without_asking() {
    let server = Server::new(Conditions::Honoured);
    let access = Access::ReadOnly;
    let store =
        RemoteStore::new(Box::new(server.clone()), &machine(), common::QUICK, access).unwrap();
    let body = Body::Bytes(Bytes::new());
    assert_eq!(wait(store.put(OBJECT, body)).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(wait(store.delete(OBJECT)).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert!(wait(store.list(Family::Log, None)).unwrap().is_empty());
    assert_eq!(server.count(), 1);
}

#[test]
fn the_probe_tells_servers_apart_and_leaves_nothing_behind() {
    for (conditions, expected) in [
        (Conditions::Honoured, Writers::Many),
        (Conditions::Ignored, Writers::OneRacy),
        (Conditions::Racy, Writers::OneRacy),
        (Conditions::Unknown, Writers::OneUnsupported),
    ] {
        let server = Server::new(conditions);
        let store = server.store();
        let writers = probe(&store, &*machine().entropy).unwrap();
        assert_eq!(writers, expected, "{conditions:?}");
        assert!(server.paths().is_empty());
    }
}

#[test]
fn the_probe_of_a_server_that_fails_now_and_then_still_tells() {
    let server = Server::new(Conditions::Honoured);
    server.behave(|_, _, number| match number % 5 {
        1 => Mood::Says(503),
        2 => Mood::LosesAnswer,
        _ => Mood::Well,
    });
    assert_eq!(probe(&server.store(), &*machine().entropy).unwrap(), Writers::Many);
}

#[test]
fn requests_and_bytes_are_counted() {
    let server = Server::new(Conditions::Honoured);
    let store = server.store();
    put(&store, OBJECT, b"12345");
    wait(store.get(OBJECT, Some(1..3))).unwrap();
    let counters = store.counters();
    for expected in
        [("store_puts", 1), ("store_gets", 1), ("store_written_bytes", 5), ("store_read_bytes", 2)]
    {
        assert!(counters.contains(&expected), "{expected:?} in {counters:?}");
    }
}

#[test]
fn which_workspace_it_is_is_asked_once_until_the_store_is_changed() {
    let server = Server::new(Conditions::Honoured);
    put(&server.store(), Key::Workspace, b"a workspace");
    let store = server.store();
    server.behave(|_, _, _| Mood::Well);
    for _ in 0..3 {
        assert_eq!(wait(store.get(Key::Workspace, None)).unwrap(), &b"a workspace"[..]);
    }
    assert!(store.has_workspace().unwrap());
    assert_eq!(server.count(), 1);
    put(&store, Key::Workspace, b"another one");
    assert_eq!(wait(store.get(Key::Workspace, None)).unwrap(), &b"another one"[..]);
}

#[test]
fn a_list_that_does_not_go_on_ends() {
    let server = Server::new(Conditions::Honoured);
    let store = server.store();
    for names in [0, 3] {
        for number in 0..names {
            let key = Key::Object(ObjectId([number; 16]));
            wait(store.put(key, Body::Bytes(Bytes::from_static(b"x")))).unwrap();
        }
        server.lists_in_circles();
        let listed = wait(store.list(Family::Object, None));
        assert_eq!(listed.unwrap_err().kind(), ErrorKind::Unavailable, "{names} names");
    }
}

#[test]
fn a_probe_whose_traces_cannot_be_taken_away_ends_all_the_same() {
    let server = Server::new(Conditions::Honoured);
    let store = server.store();
    server.behave(|method, _, _| if method == "DELETE" { Mood::Silent } else { Mood::Well });
    assert_eq!(probe(&store, &*machine().entropy).unwrap(), Writers::Many);
}

#[test]
fn what_a_server_shows_is_durable_and_costs_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    wait(server.store().put_if_absent(Key::Log(1), Bytes::from_static(b"a commit"))).unwrap();
    let limits = Limits { bytes_max: 0, held_bytes_max: 0, free_bytes_min: 0 };
    let (disk, kept) = (Arc::new(RealDisk), folder.path().join("binder"));
    let binder = Arc::new(Binder::open(Arc::new(server.store()), disk.clone(), kept).unwrap());
    let cached = CachedStore::open(binder, disk, folder.path().join("copies"), limits).unwrap();
    server.behave(|_, _, _| Mood::Well);
    wait(cached.make_durable(Key::Log(1))).unwrap();
    assert_eq!(server.count(), 0);
}
