//! A store with copies: conformance, what is fetched how often, damage, limits.

#![allow(clippy::unwrap_used)]

mod common;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use common::{Conditions, Mood, Server};
use strongroom_format::ids::ObjectId;
use strongroom_host::real_disk::RealDisk;
use strongroom_remote::{CachedStore, Limits, RemoteStore};
use strongroom_store::conformance::conformance;
use strongroom_store::over::Over;
use strongroom_store::{Body, ErrorKind, Key, Later, Store, wait};
use tokio::sync::Semaphore;

const OBJECT: Key = Key::Object(ObjectId([9; 16]));
const MIB: usize = 1 << 20;

fn cached(server: &Server, folder: &Path) -> CachedStore {
    cached_over(Arc::new(server.store()), folder)
}

fn cached_over(store: Arc<dyn Store>, folder: &Path) -> CachedStore {
    let limits = Limits { bytes_max: 64 << 20, held_bytes_max: 64 << 20, free_bytes_min: 0 };
    // A task of the one before may still have the folder: it ends by itself.
    for _ in 0..3000 {
        match CachedStore::open(store.clone(), Arc::new(RealDisk), folder.to_path_buf(), limits) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("the folder is never free");
}

fn fill(server: &Server, len: usize) -> Bytes {
    let bytes: Bytes = (0..len).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>().into();
    wait(server.store().put(OBJECT, Body::Bytes(bytes.clone()))).unwrap();
    bytes
}

fn range(store: &CachedStore, start: usize, end: usize) -> Bytes {
    wait(store.get(OBJECT, Some(start as u64..end as u64))).unwrap()
}

/// Pieces are put away behind the answer.
fn settle(store: &CachedStore, wanted: u64) {
    let kept = || store.counters().into_iter().find(|(name, _)| *name == "cache_bytes").unwrap().1;
    for _ in 0..500 {
        if kept() >= wanted {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    panic!("{} bytes kept, {wanted} expected", kept());
}

#[test]
fn a_cached_store_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let store: Arc<dyn Store> = Arc::new(cached(&server, folder.path()));
    conformance(&store, wait);
}

#[test]
fn what_was_read_is_not_fetched_again_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let bytes = fill(&server, MIB);
    {
        let store = cached(&server, folder.path());
        assert_eq!(range(&store, 1000, 70_000), bytes.slice(1000..70_000));
        settle(&store, 69_000);
    }
    server.behave(|_, _, _| Mood::Says(403));
    let store = cached(&server, folder.path());
    assert_eq!(range(&store, 5000, 69_000), bytes.slice(5000..69_000));
    assert_eq!(server.count(), 0);
}

#[test]
fn a_file_that_was_put_is_kept_when_it_is_offered_and_not_fetched_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let store = cached(&server, folder.path());
    let staged = folder.path().join("staged");
    std::fs::write(&staged, vec![5; 100_000]).unwrap();
    wait(store.put(OBJECT, Body::File(staged.clone()))).unwrap();
    assert!(staged.exists() && count(&store, "cache_bytes") == 0);
    assert!(store.adopt(OBJECT, &staged, 100_000) && !staged.exists());
    server.behave(|_, _, _| Mood::Says(403));
    assert_eq!(range(&store, 90_000, 100_000), vec![5; 10_000]);
    assert_eq!(server.count(), 0);
}

#[test]
fn what_is_confirmed_is_asked_of_the_store_and_not_of_the_copies() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let bytes = fill(&server, 100_000);
    let store = cached(&server, folder.path());
    assert_eq!(range(&store, 0, 100_000), bytes);
    settle(&store, 100_000);
    wait(store.confirm(OBJECT, 100_000)).unwrap();
    let cut = wait(store.confirm(OBJECT, 100_001)).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::Corrupt);
    wait(server.store().delete(OBJECT)).unwrap();
    assert_eq!(range(&store, 99_999, 100_000), bytes.slice(99_999..));
    let gone = wait(store.confirm(OBJECT, 100_000)).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[test]
fn small_things_read_in_order_cost_few_requests() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let bytes = fill(&server, 8 * MIB);
    let store = cached(&server, folder.path());
    server.behave(|_, _, _| Mood::Well);
    for start in (0..8 * MIB).step_by(8192) {
        assert_eq!(range(&store, start, start + 8192), bytes.slice(start..start + 8192));
    }
    // 1,024 things: 8 KiB, then windows of 64 KiB doubling to 4 MiB.
    assert!(server.count() <= 9, "{} requests", server.count());
}

#[test]
fn what_was_announced_is_there_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let bytes = fill(&server, 3 * MIB);
    let store = cached(&server, folder.path());
    server.behave(|_, _, _| Mood::Well);
    store.will_read(OBJECT, 0..MIB as u64);
    assert_eq!(range(&store, 10, MIB), bytes.slice(10..MIB));
    assert_eq!(server.count(), 1);
}

#[test]
fn what_was_fetched_ahead_is_used_where_no_copies_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let bytes = fill(&server, 6 * MIB);
    let limits = Limits { bytes_max: 0, held_bytes_max: 0, free_bytes_min: 0 };
    let kept = folder.path().to_path_buf();
    let below = Arc::new(server.store());
    let store = CachedStore::open(below, Arc::new(RealDisk), kept, limits).unwrap();
    server.behave(|_, _, _| Mood::Well);
    store.will_read(OBJECT, 0..4 * MIB as u64);
    for start in (0..6 * MIB).step_by(MIB / 8) {
        assert_eq!(range(&store, start, start + MIB / 8), bytes.slice(start..start + MIB / 8));
    }
    assert!(server.count() <= 2, "{} requests", server.count());
}

#[test]
fn several_readers_of_one_place_cost_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let bytes = fill(&server, MIB);
    let store = cached(&server, folder.path());
    server.behave(|_, _, _| Mood::Well);
    let readers: Vec<_> = (0..20).map(|_| store.get(OBJECT, Some(100..300))).collect();
    for reader in readers {
        assert_eq!(wait(reader).unwrap(), bytes.slice(100..300));
    }
    assert_eq!(server.count(), 1);
}

#[test]
fn a_copy_that_is_not_trusted_is_fetched_anew() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    fill(&server, 1000);
    let store = cached(&server, folder.path());
    range(&store, 0, 1000);
    settle(&store, 1000);
    assert!(store.distrust(OBJECT));
    assert!(!store.distrust(OBJECT));
    server.behave(|_, _, _| Mood::Well);
    range(&store, 0, 1000);
    assert_eq!(server.count(), 1);
}

#[test]
fn a_range_beyond_the_end_is_damage_and_a_missing_object_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    fill(&server, 1000);
    let store = cached(&server, folder.path());
    let kind = |key, range| wait(store.get(key, Some(range))).unwrap_err().kind();
    assert_eq!(kind(OBJECT, 900..1001), ErrorKind::Corrupt);
    assert_eq!(kind(Key::Object(ObjectId([1; 16])), 0..1), ErrorKind::NotFound);
}

fn count(store: &CachedStore, name: &str) -> u64 {
    store.counters().into_iter().find(|(other, _)| *other == name).unwrap().1
}

#[test]
fn what_is_held_is_read_while_the_server_is_gone_also_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let bytes = fill(&server, 6 * MIB);
    {
        let store = cached(&server, folder.path());
        wait(store.hold(OBJECT, 100..5 << 20)).unwrap();
        wait(store.hold(OBJECT, 100..5 << 20)).unwrap();
        assert_eq!(store.held(), [OBJECT]);
    }
    server.behave(|_, _, _| Mood::Says(500));
    let store = cached(&server, folder.path());
    assert_eq!(range(&store, 100, 5 << 20), bytes.slice(100..5 << 20));
    store.drop_copy(OBJECT);
    assert_eq!(range(&store, 4 << 20, 5 << 20), bytes.slice(4 << 20..5 << 20));
    store.let_go(OBJECT);
    assert!(store.held().is_empty());
    store.drop_copy(OBJECT);
    assert_eq!((count(&store, "cache_bytes"), count(&store, "pinned_bytes")), (0, 0));
}

#[test]
fn what_does_not_fit_to_be_held_is_not_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    fill(&server, MIB);
    let limits = Limits { bytes_max: 64 << 20, held_bytes_max: 100_000, free_bytes_min: 0 };
    let (below, kept) = (Arc::new(server.store()), folder.path().to_path_buf());
    let store = CachedStore::open(below, Arc::new(RealDisk), kept, limits).unwrap();
    server.behave(|_, _, _| Mood::Well);
    let refused = wait(store.hold(OBJECT, 0..MIB as u64)).unwrap_err();
    assert_eq!((refused.kind(), server.count()), (ErrorKind::Full, 0));
    range(&store, 0, 60_000);
    settle(&store, 60_000);
    // What is here of it counts as well once it is held.
    let refused = wait(store.hold(OBJECT, 60_000..110_000)).unwrap_err();
    assert_eq!((refused.kind(), server.count()), (ErrorKind::Full, 1));
    wait(store.hold(OBJECT, 60_000..90_000)).unwrap();
    assert_eq!(server.count(), 2);
}

#[test]
fn a_small_piece_inside_a_large_one_hides_nothing_of_it_also_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let bytes = fill(&server, 3 * MIB);
    {
        let store = cached(&server, folder.path());
        range(&store, MIB + 100, MIB + 200);
        settle(&store, 100);
        wait(store.hold(OBJECT, 0..3 << 20)).unwrap();
        server.behave(|_, _, _| Mood::Says(500));
        assert_eq!(range(&store, MIB + 150, 2 * MIB), bytes.slice(MIB + 150..2 * MIB));
    }
    let store = cached(&server, folder.path());
    assert_eq!(range(&store, MIB + 150, 2 * MIB), bytes.slice(MIB + 150..2 * MIB));
}

#[test]
fn an_object_read_in_its_readers_own_order_is_not_fetched_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let bytes = fill(&server, 8 * MIB);
    let store = cached(&server, folder.path());
    server.behave(|_, _, _| Mood::Well);
    for _ in 0..2 {
        for index in 0..1000 {
            let at = index * 611 % 1000 * 8000;
            assert_eq!(range(&store, at, at + 8000), bytes.slice(at..at + 8000));
        }
    }
    assert!(server.count() <= 16, "{} requests", server.count());
    let kept = count(&store, "cache_bytes");
    assert!(kept <= 17 << 20, "{kept} bytes in {} requests", server.count());
}

#[test]
fn the_limits_hold_at_every_sample_while_many_read_and_hold_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    let id = |number: u8| Key::Object(ObjectId([number; 16]));
    for number in 0..40 {
        wait(server.store().put(id(number), Body::Bytes(vec![number; MIB / 2].into()))).unwrap();
    }
    let (bytes_max, held_bytes_max) = (4 << 20, 2 << 20);
    let limits = Limits { bytes_max, held_bytes_max, free_bytes_min: 0 };
    let disk = Arc::new(RealDisk);
    let store =
        CachedStore::open(Arc::new(server.store()), disk, folder.path().to_path_buf(), limits);
    let store = store.unwrap();
    // Readers go on until enough was sampled, however busy the machine is.
    let sampled = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4_u64)
            .map(|reader| {
                let (store, sampled) = (&store, &sampled);
                scope.spawn(move || {
                    for step in 0..100_000_u64 {
                        if step >= 120 && sampled.load(Ordering::Relaxed) > 10 {
                            break;
                        }
                        let number = (step * 7 + reader * 11) % 40;
                        let start = (step * 37 + reader) % 400 * 1024;
                        let range = start..start + 40 * 1024;
                        let key = Key::Object(ObjectId([number as u8; 16]));
                        if step % 9 == 0 {
                            // What does not fit says so.
                            let held = wait(store.hold(key, range)).map_err(|error| error.kind());
                            assert!(matches!(held, Ok(()) | Err(ErrorKind::Full)), "{held:?}");
                        } else {
                            assert_eq!(wait(store.get(key, Some(range))).unwrap()[0], number as u8);
                        }
                    }
                })
            })
            .collect();
        while readers.iter().any(|reader| !reader.is_finished()) {
            assert!(count(&store, "cache_bytes") <= bytes_max);
            assert!(count(&store, "pinned_bytes") <= held_bytes_max);
            sampled.fetch_add(1, Ordering::Relaxed);
            std::thread::yield_now();
        }
    });
    drop(store);
    let on_disk: u64 = std::fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .flat_map(|entry| std::fs::read_dir(entry.path()).unwrap().flatten())
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(on_disk <= bytes_max + held_bytes_max, "{on_disk}");
}

/// A store that counts gets, and answers them once the gate is open.
struct Gated {
    store: RemoteStore,
    asked: AtomicU64,
    gate: Semaphore,
}

impl Over for Gated {
    fn below(&self) -> &dyn Store {
        &self.store
    }

    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            self.store.get(key, range).await
        })
    }
}

#[test]
fn a_read_across_two_fetches_under_way_asks_for_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Conditions::Honoured);
    // As long as an object can be: a fetch that goes beyond its end is asked again for what there is.
    let bytes = fill(&server, 8 * MIB + (64 << 10));
    let (asked, gate) = (AtomicU64::new(0), Semaphore::new(0));
    let gated = Arc::new(Gated { store: server.store(), asked, gate });
    let store = cached_over(gated.clone(), folder.path());
    store.will_read(OBJECT, 0..4 * MIB as u64);
    store.will_read(OBJECT, 4 * MIB as u64..8 * MIB as u64);
    let across = store.get(OBJECT, Some(3 * MIB as u64..5 * MIB as u64));
    gated.gate.add_permits(10);
    assert_eq!(wait(across).unwrap(), bytes.slice(3 * MIB..5 * MIB));
    assert_eq!(gated.asked.load(Ordering::Relaxed), 2);
}
