//! Objects that go to a store over a network before a commit names them: what is refused there, given up or taken away again
//! holds up nobody and costs nothing.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_format::ids::ObjectId;
use strongroom_store::over::{Call, Over};
use strongroom_store::{
    Body, Error, ErrorKind, Family, Key, Later, Listed, Result, Store, Uploaded, wait,
};
use strongroom_tests::harness::files::{OPEN, find, make, save};
use strongroom_tests::harness::near::{Copies, Near};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::world::{Setting, World, new_disk, small_tuning};
use strongroom_workspace::door::{Core, Ino, Kind, WriteMode};

const PIECE_LEN: u64 = 100 << 10;

/// What the line does.
#[derive(Default)]
struct Line {
    refuses_objects: AtomicBool,
    refuses_commits: AtomicBool,
    /// Puts begin and do not end.
    holds_objects: AtomicBool,
    /// Pages are taken and not kept.
    loses_pages: AtomicBool,
}

struct Far {
    store: Arc<dyn Store>,
    line: Arc<Line>,
}

impl Over for Far {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, call: Call) -> Result<()> {
        let is_down = match call {
            Call::Put(_) => &self.line.refuses_objects,
            Call::PutIfAbsent(_) => &self.line.refuses_commits,
            Call::Get(_) | Call::List(_) | Call::Delete(_) => return Ok(()),
        };
        match is_down.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Unavailable, "the line is down")),
            false => Ok(()),
        }
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        if self.line.holds_objects.load(Ordering::Relaxed) {
            let mut polls = 0;
            return Box::pin(std::future::poll_fn(move |_| {
                polls += 1;
                assert_eq!(polls, 1, "somebody waits for {key}");
                std::task::Poll::Pending
            }));
        }
        if let (Key::Object(_), Body::Bytes(bytes)) = (key, &body)
            && self.line.loses_pages.load(Ordering::Relaxed)
        {
            return Box::pin(std::future::ready(Ok(Uploaded::attest(key, bytes.len() as u64))));
        }
        self.store.put(key, body)
    }

    fn is_far(&self) -> bool {
        true
    }
}

struct Bench {
    world: World,
    line: Arc<Line>,
    /// The store itself.
    store: Arc<parking_lot::Mutex<Option<Arc<dyn Store>>>>,
    /// Objects of a workspace that holds nothing.
    first: Vec<ObjectId>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|far| far)
    }

    /// With something between the workspace and the line.
    fn with(near: impl Fn(Arc<dyn Store>) -> Arc<dyn Store> + Send + Sync + 'static) -> Self {
        let (line, store) = (Arc::<Line>::default(), Arc::<parking_lot::Mutex<_>>::default());
        let (between, kept) = (line.clone(), store.clone());
        let wrap = move |store: Arc<dyn Store>| -> Arc<dyn Store> {
            *kept.lock() = Some(store.clone());
            near(Arc::new(Far { store, line: between.clone() }))
        };
        let setting = Setting { wrap: Some(Arc::new(wrap)), ..Setting::new(small_tuning()) };
        let world = World::open(new_disk(), 1, setting, None).unwrap();
        let mut bench = Self { world, line, store, first: Vec::new() };
        bench.first = bench.all_objects();
        bench
    }

    /// Saves what fills two objects, and begins to put them.
    fn save_large(&self) {
        let core = self.world.workspace();
        let ino = make(core, "large", Kind::File).unwrap();
        let handle = done(core.open(ino, OPEN)).unwrap().handle;
        for piece in 0..5 {
            let data = [piece as u8; PIECE_LEN as usize];
            done(core.write(handle, piece * PIECE_LEN, &data, WriteMode::At, false)).unwrap();
        }
        core.release(handle);
        self.world.tick(1).unwrap();
    }

    fn is_large_whole(&self) -> bool {
        let core = self.world.workspace();
        let ino = find(core, "large").unwrap();
        let handle = done(core.open(ino, OPEN)).unwrap().handle;
        let read =
            |piece: u64| done(core.read(handle, piece * PIECE_LEN, PIECE_LEN as u32)).unwrap();
        let whole = (0..5).all(|piece| read(piece)[..] == [piece as u8; PIECE_LEN as usize]);
        core.release(handle);
        whole
    }

    /// Those that came since the workspace was made.
    fn objects(&self) -> Vec<ObjectId> {
        self.all_objects().into_iter().filter(|id| !self.first.contains(id)).collect()
    }

    fn all_objects(&self) -> Vec<ObjectId> {
        let store = self.store.lock().clone().unwrap();
        let listed = wait(store.list(Family::Object, None)).unwrap();
        let id = |listed: Listed| match listed.key {
            Key::Object(id) => id,
            key => panic!("{key} is no object"),
        };
        listed.into_iter().map(id).collect()
    }

    /// As another home's collection does with what nobody names.
    fn delete_objects(&self) {
        let store = self.store.lock().clone().unwrap();
        self.objects().into_iter().for_each(|id| wait(store.delete(Key::Object(id))).unwrap());
    }

    fn kill(&mut self) {
        self.world.disk = self.world.disk.kill();
        self.world.open_again().unwrap();
    }

    fn commit(&self) -> bool {
        self.world.workspace().commit().is_ok()
    }
}

#[test]
fn what_a_store_refused_before_is_no_answer_of_a_later_commit() {
    let bench = Bench::new();
    bench.line.refuses_objects.store(true, Ordering::Relaxed);
    bench.save_large();
    bench.line.refuses_objects.store(false, Ordering::Relaxed);
    assert!(bench.commit());
    assert!(bench.is_large_whole());
}

#[test]
fn what_was_put_and_never_named_may_be_collected_and_is_put_again() {
    let mut bench = Bench::new();
    bench.line.refuses_commits.store(true, Ordering::Relaxed);
    bench.save_large();
    assert!(!bench.commit());
    assert!(!bench.objects().is_empty());
    bench.delete_objects();
    bench.line.refuses_commits.store(false, Ordering::Relaxed);
    bench.kill();
    assert!(bench.commit());
    assert!(bench.is_large_whole());
    bench.world.reopen().unwrap();
    assert!(bench.is_large_whole());
}

#[test]
fn what_a_store_lost_while_commits_were_refused_is_put_again() {
    let mut bench = Bench::new();
    bench.line.refuses_commits.store(true, Ordering::Relaxed);
    bench.save_large();
    assert!(!bench.commit());
    assert!(!bench.commit(), "and what was there at the last try is asked after again");
    assert!(!bench.objects().is_empty());
    bench.delete_objects();
    bench.line.refuses_commits.store(false, Ordering::Relaxed);
    assert!(bench.commit());
    assert!(bench.is_large_whole());
    bench.world.reopen().unwrap();
    assert!(bench.is_large_whole());
}

#[test]
fn what_a_store_has_still_after_commits_were_refused_is_not_put_twice() {
    let bench = Bench::new();
    bench.line.refuses_commits.store(true, Ordering::Relaxed);
    bench.save_large();
    assert!(!bench.commit());
    bench.line.refuses_commits.store(false, Ordering::Relaxed);
    bench.line.refuses_objects.store(true, Ordering::Relaxed);
    assert!(bench.commit());
    assert!(bench.is_large_whole());
}

#[test]
fn nobody_waits_for_what_is_on_its_way_and_not_wanted_any_more() {
    let bench = Bench::new();
    bench.line.holds_objects.store(true, Ordering::Relaxed);
    bench.save_large();
    bench.line.holds_objects.store(false, Ordering::Relaxed);
    let core = bench.world.workspace();
    done(core.unlink(Ino::ROOT, b"large")).unwrap();
    save(core, "small", b"1").unwrap();
    assert!(bench.commit());
    assert_eq!(bench.objects(), [], "what is small is in its inode");
}

/// A store that says it took pages and did not keep them; whatever was put can be read here all the same.
#[test]
fn pages_are_asked_of_the_store_before_a_checkpoint_names_them_though_copies_are_here() {
    let copies = Copies::default();
    let kept = copies.clone();
    let bench =
        Bench::with(move |far| Arc::new(Near::new(far, Arc::new(new_disk()), kept.clone())));
    let core = bench.world.workspace();
    let mut number = 0;
    let mut work = || {
        number += 1;
        save(core, &format!("file {number}"), &[1; 300]).unwrap();
        core.commit()
    };
    while core.status().checkpoints == 0 {
        work().unwrap();
    }
    let before = core.status().checkpoints;
    bench.line.loses_pages.store(true, Ordering::Relaxed);
    // Some are refused for it.
    (0..100).for_each(|_| _ = work());
    assert_eq!(core.status().checkpoints, before);
    bench.line.loses_pages.store(false, Ordering::Relaxed);
    while core.status().checkpoints == before {
        bench.world.clock.advance(std::time::Duration::from_secs(60));
        work().unwrap();
    }
    copies.lock().clear();
    let mut bench = bench;
    bench.kill();
    for file in 1..=number {
        find(bench.world.workspace(), &format!("file {file}")).unwrap();
    }
}
