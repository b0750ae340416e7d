//! A mirror of three folders: conformance with one that fails, one that is deleted while in use, healing, scrub.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "mirror/copies.rs"]
mod copies;
#[path = "mirror/hanging.rs"]
mod hanging;
#[path = "mirror/healed.rs"]
mod healed;
#[path = "mirror/removed.rs"]
mod removed;
#[path = "mirror/replaced.rs"]
mod replaced;
#[path = "mirror/scrub.rs"]
mod scrub;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::machine;
use strongroom_format::ids::ObjectId;
use strongroom_host::real_disk::RealDisk;
use strongroom_remote::mirror::{Member, MirrorStore};
use strongroom_store::conformance::{conformance, conformance_with_one_writer};
use strongroom_store::over::{Call, Over};
use strongroom_store::{
    Body, DiskSpace, Error, ErrorKind, Family, FolderStore, Key, Later, Put, Result, Store,
    Uploaded, wait,
};

/// A member that can be told to fail, to take nothing more, or to go away at a put.
#[derive(Clone)]
struct Moody {
    store: Arc<dyn Store>,
    is_far: bool,
    /// What it says to everything; none while it is well.
    refuses: Arc<Mutex<Option<ErrorKind>>>,
    /// What it holds and cannot read, until it is removed.
    unreadable: Arc<Mutex<Option<Key>>>,
    is_full: Arc<AtomicBool>,
    leaving: Arc<Mutex<Option<Leaving>>>,
    /// What happens while the next put is under way.
    meanwhile: Meanwhile,
    gate: Arc<hanging::Gate>,
}

type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// How a member goes away at its next put or removal.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    takes_it: bool,
    stays_away: bool,
}

impl Moody {
    /// Goes away at something, which it may have done.
    fn leave<'a, T: Send + 'a>(
        &self,
        leaving: Leaving,
        take: impl FnOnce() -> Later<'a, T>,
    ) -> Later<'a, T> {
        assert!(!leaving.takes_it || wait(take()).is_ok());
        *self.refuses.lock().unwrap() = leaving.stays_away.then_some(ErrorKind::Unavailable);
        let error = Error::new(ErrorKind::Unavailable, "this member went away");
        Box::pin(std::future::ready(Err(error)))
    }
}

impl Over for Moody {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, _: Call) -> Result<()> {
        self.gate.pass();
        match *self.refuses.lock().unwrap() {
            None => Ok(()),
            Some(kind) => Err(Error::new(kind, "this member is not well")),
        }
    }

    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        if *self.unreadable.lock().unwrap() == Some(key) {
            let error = Error::new(ErrorKind::Corrupt, "this copy cannot be read");
            return Box::pin(std::future::ready(Err(error)));
        }
        self.store.get(key, range)
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        if self.is_full.load(Ordering::Relaxed) {
            let error = Error::new(ErrorKind::Full, "this member is full");
            return Box::pin(std::future::ready(Err(error)));
        }
        if let Some(leaving) = self.leaving.lock().unwrap().take() {
            return self.leave(leaving, || self.store.put(key, body));
        }
        if let Some(meanwhile) = self.meanwhile.lock().unwrap().take() {
            meanwhile();
        }
        self.store.put(key, body)
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        self.unreadable.lock().unwrap().take_if(|unreadable| *unreadable == key);
        match self.leaving.lock().unwrap().take() {
            Some(leaving) => self.leave(leaving, || self.store.delete(key)),
            None => self.store.delete(key),
        }
    }

    fn is_far(&self) -> bool {
        self.is_far
    }

    fn space(&self) -> Option<DiskSpace> {
        self.gate.pass();
        self.store.space()
    }
}

/// Three folders in a temporary one.
struct Three {
    _folder: tempfile::TempDir,
    roots: Vec<PathBuf>,
    members: Vec<Arc<dyn Store>>,
    moods: Vec<Moody>,
    mirror: Arc<MirrorStore>,
}

impl Three {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots: Vec<PathBuf> = (0..3).map(|n| folder.path().join(n.to_string())).collect();
        let members: Vec<Arc<dyn Store>> = roots.iter().map(|root| create(root)).collect();
        let moody = |(n, store): (usize, &Arc<dyn Store>)| Moody {
            store: store.clone(),
            is_far: n == 2,
            refuses: Arc::default(),
            unreadable: Arc::default(),
            is_full: Arc::default(),
            leaving: Arc::default(),
            meanwhile: Arc::default(),
            gate: Arc::default(),
        };
        let moods: Vec<Moody> = members.iter().enumerate().map(moody).collect();
        let mirror = Arc::new(mirror_of(&moods));
        Self { _folder: folder, roots, members, moods, mirror }
    }

    /// Another mirror, of the first two alone, that remembers nothing.
    fn first_two(&self) -> MirrorStore {
        mirror_of(&self.moods[..2])
    }

    /// Another mirror of all, that remembers nothing.
    fn again(&self) -> MirrorStore {
        mirror_of(&self.moods)
    }

    fn is_away(&self, member: usize, is_away: bool) {
        self.refuses(member, is_away.then_some(ErrorKind::Unavailable));
    }

    fn refuses(&self, member: usize, refuses: Option<ErrorKind>) {
        *self.moods[member].refuses.lock().unwrap() = refuses;
    }

    fn is_unreadable(&self, member: usize, key: Key) {
        *self.moods[member].unreadable.lock().unwrap() = Some(key);
    }

    fn is_full(&self, member: usize, is_full: bool) {
        self.moods[member].is_full.store(is_full, Ordering::Relaxed);
    }

    fn leaves(&self, member: usize, leaving: Leaving) {
        *self.moods[member].leaving.lock().unwrap() = Some(leaving);
    }

    /// All members with their moods.
    fn moody(&self) -> Vec<Member> {
        members_of(&self.moods)
    }

    fn plain(&self) -> Vec<Member> {
        let member = |(n, store): (usize, &Arc<dyn Store>)| Member {
            name: n.to_string(),
            store: store.clone(),
        };
        self.members.iter().enumerate().map(member).collect()
    }

    fn put(&self, key: Key, bytes: &[u8]) {
        wait(self.mirror.put(key, Body::Bytes(Bytes::copy_from_slice(bytes)))).unwrap();
    }

    fn get(&self, key: Key) -> Bytes {
        wait(self.mirror.get(key, None)).unwrap()
    }

    /// Waits until nothing is missed any more.
    fn healed(&self) {
        let began = Instant::now();
        while self.mirror.heal() > 0 {
            assert!(began.elapsed() < Duration::from_secs(120), "members never caught up");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn holds(&self, member: usize, key: Key) -> Option<Bytes> {
        wait(self.members[member].get(key, None)).ok()
    }
}

fn mirror_of(moods: &[Moody]) -> MirrorStore {
    MirrorStore::new(members_of(moods), &machine()).unwrap()
}

fn members_of(moods: &[Moody]) -> Vec<Member> {
    let member = |(n, moody): (usize, &Moody)| Member {
        name: n.to_string(),
        store: Arc::new(moody.clone()),
    };
    moods.iter().enumerate().map(member).collect()
}

fn create(root: &Path) -> Arc<dyn Store> {
    Arc::new(FolderStore::create(Arc::new(RealDisk), root.to_path_buf()).unwrap())
}

fn object(seed: u8) -> Key {
    Key::Object(ObjectId([seed; 16]))
}

fn counter(store: &dyn Store, name: &str) -> u64 {
    store.counters().into_iter().find(|(known, _)| *known == name).unwrap().1
}

fn until_it_reaches_all(mirror: &MirrorStore) {
    let began = Instant::now();
    while !mirror.reaches_all() {
        assert!(began.elapsed() < Duration::from_secs(120), "a member never caught up");
        mirror.heal();
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_mirror_of_three_folders_conforms() {
    let three = Three::new();
    let store: Arc<dyn Store> = three.mirror.clone();
    conformance(&store, wait);
}

#[test]
fn a_mirror_conforms_whichever_member_is_away() {
    // The first one is the one that decides. The others in the long form.
    let count = if std::env::var_os("STRONGROOM_LONG").is_some() { 3 } else { 1 };
    for away in 0..count {
        let three = Three::new();
        three.is_away(away, true);
        let store: Arc<dyn Store> = three.mirror.clone();
        conformance_with_one_writer(&store, wait);
        assert!(counter(&*store, "mirror_missed") > 0);
    }
}

#[test]
fn with_two_of_three_away_nothing_is_claimed() {
    let three = Three::new();
    three.put(object(1), b"there");
    three.is_away(0, true);
    three.is_away(2, true);
    let put = wait(three.mirror.put(object(2), Body::Bytes(Bytes::from_static(b"x"))));
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Unavailable);
    // What is there can be read; what is not there may be elsewhere.
    assert_eq!(three.get(object(1)), &b"there"[..]);
    let missing = wait(three.mirror.get(object(3), None));
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::Unavailable);
    let listed = wait(three.mirror.list(Family::Object, None));
    assert_eq!(listed.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// Asks a mirror for what every commit needs, and more.
fn commits_and_lists(three: &Three) {
    for seq in 2..4 {
        let missing = wait(three.mirror.get(Key::Organisation(seq), None)).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let put = wait(three.mirror.put_if_absent(Key::Log(seq), Bytes::from_static(b"commit")));
        assert!(matches!(put.unwrap(), Put::Created(_)));
    }
    three.put(object(2), b"more");
    assert_eq!(three.get(object(1)), &b"there"[..]);
    let ahead = wait(three.mirror.read_ahead(object(2), 0..9)).unwrap();
    assert_eq!(ahead, &b"more"[..]);
    assert_eq!(wait(three.mirror.list(Family::Log, None)).unwrap().len(), 2);
}

/// As a bucket that is gone, and a server that answers 400 because of keys that ran out.
#[test]
fn a_member_that_takes_every_request_for_invalid_stops_nothing() {
    for ill in 0..3 {
        let three = Three::new();
        three.put(object(1), b"there");
        three.refuses(ill, Some(ErrorKind::Invalid));
        commits_and_lists(&three);
        assert_eq!(counter(&*three.mirror, "mirror_away"), 1, "it is left alone");
        assert!(!three.mirror.reaches_all());
    }
}

#[cfg(unix)]
#[test]
fn a_member_whose_disk_fails_at_everything_stops_nothing() {
    for ill in 0..3 {
        let three = Three::new();
        three.put(object(1), b"there");
        // The nearest to a dead disk: nothing in it can be opened.
        std::fs::remove_dir_all(&three.roots[ill]).unwrap();
        std::os::unix::fs::symlink(&three.roots[ill], &three.roots[ill]).unwrap();
        commits_and_lists(&three);
        assert_eq!(counter(&*three.mirror, "mirror_away"), 1, "it is left alone");
    }
}

/// What is journaled here is then durable before it is committed there.
#[test]
fn a_mirror_is_far_if_one_member_is() {
    let three = Three::new();
    assert!(three.mirror.is_far());
    assert!(!three.first_two().is_far());
}
