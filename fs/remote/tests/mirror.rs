//! A mirror of three folders: conformance with one that fails, one that is deleted while in use, healing, scrub.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::machine;
use strongroom_format::ids::{DeviceId, ObjectId};
use strongroom_host::real_disk::RealDisk;
use strongroom_remote::mirror::scrub::scrub;
use strongroom_remote::mirror::{Member, MirrorStore};
use strongroom_remote::{CachedStore, Limits};
use strongroom_store::conformance::{conformance, conformance_with_one_writer};
use strongroom_store::over::{Call, Over};
use strongroom_store::{
    Body, Error, ErrorKind, Family, FolderStore, Key, Later, Listed, Put, Result, Store, Uploaded,
    wait,
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

fn numbered(number: u16) -> Key {
    let [high, low] = number.to_be_bytes();
    Key::Object(ObjectId([high, low, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]))
}

fn counter(store: &dyn Store, name: &str) -> u64 {
    store.counters().into_iter().find(|(known, _)| *known == name).unwrap().1
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

fn until_it_reaches_all(mirror: &MirrorStore) {
    let began = Instant::now();
    while !mirror.reaches_all() {
        assert!(began.elapsed() < Duration::from_secs(120), "a member never caught up");
        mirror.heal();
        std::thread::sleep(Duration::from_millis(50));
    }
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

/// Asks for something until a member that answers counts as well, and one that does not as away.
fn look(mirror: &MirrorStore, key: Key) {
    wait(mirror.get(key, None)).unwrap();
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
    let scrubbed = scrub(&members, &mut |_| ()).unwrap();
    // The mirror may have healed some of it before.
    assert!((1..=118).contains(&scrubbed.repaired) && scrubbed.unresolved.is_empty());
    assert_eq!(scrubbed.count, 119, "and the key that says what workspace it is, which nobody put");
    for seed in 1..60 {
        let there = wait(members[0].store.get(object(seed), None)).unwrap();
        assert_eq!(there, vec![seed; 3000]);
    }
    assert_eq!(scrub(&members, &mut |_| ()).unwrap().repaired, 0);
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
    let scrubbed = scrub(&three.plain(), &mut |_| ()).unwrap();
    assert_eq!((scrubbed.repaired, scrubbed.unresolved), (1, vec![object(2)]));
    assert_eq!(three.holds(0, object(1)).unwrap(), &b"right"[..]);
    assert_eq!(three.holds(0, object(2)).unwrap(), &b"short"[..], "left as it was");
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
    let error = scrub(&members, &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
