//! A mirror of three folders: conformance with one that fails, one that is deleted while in use, healing, scrub.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "mirror/copies.rs"]
mod copies;
#[path = "mirror/healed.rs"]
mod healed;
#[path = "mirror/removed.rs"]
mod removed;
#[path = "mirror/replaced.rs"]
mod replaced;
#[path = "mirror/scrub.rs"]
mod scrub;

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
    Body, Error, ErrorKind, Family, FolderStore, Key, Later, Result, Store, Uploaded, wait,
};

/// A member that can be told to fail, to take nothing more, or to go away at a put.
#[derive(Clone)]
struct Moody {
    store: Arc<dyn Store>,
    is_far: bool,
    is_away: Arc<AtomicBool>,
    is_full: Arc<AtomicBool>,
    leaving: Arc<Mutex<Option<Leaving>>>,
    /// What happens while the next put is under way.
    meanwhile: Meanwhile,
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
        self.is_away.store(leaving.stays_away, Ordering::Relaxed);
        let error = Error::new(ErrorKind::Unavailable, "this member went away");
        Box::pin(std::future::ready(Err(error)))
    }
}

impl Over for Moody {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, _: Call) -> Result<()> {
        match self.is_away.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Unavailable, "this member is away")),
        }
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
        match self.leaving.lock().unwrap().take() {
            Some(leaving) => self.leave(leaving, || self.store.delete(key)),
            None => self.store.delete(key),
        }
    }

    fn is_far(&self) -> bool {
        self.is_far
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
            is_away: Arc::default(),
            is_full: Arc::default(),
            leaving: Arc::default(),
            meanwhile: Arc::default(),
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
        self.moods[member].is_away.store(is_away, Ordering::Relaxed);
    }

    fn is_full(&self, member: usize, is_full: bool) {
        self.moods[member].is_full.store(is_full, Ordering::Relaxed);
    }

    fn leaves(&self, member: usize, leaving: Leaving) {
        *self.moods[member].leaving.lock().unwrap() = Some(leaving);
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
    let member = |(n, moody): (usize, &Moody)| Member {
        name: n.to_string(),
        store: Arc::new(moody.clone()),
    };
    MirrorStore::new(moods.iter().enumerate().map(member).collect(), &machine()).unwrap()
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

/// What is journaled here is then durable before it is committed there.
#[test]
fn a_mirror_is_far_if_one_member_is() {
    let three = Three::new();
    assert!(three.mirror.is_far());
    assert!(!three.first_two().is_far());
}
