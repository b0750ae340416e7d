//! What is pinned can be read while the store cannot be reached, also what it became, and after a restart.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_format::ids::ObjectId;
use strongroom_store::over::{Call, Over};
use strongroom_store::{
    Error as StoreError, ErrorKind as StoreErrorKind, Family, Key, Later, Listed, Store, now,
};
use strongroom_tests::harness::files::{load, make, save};
use strongroom_tests::harness::world::{Setting, World, new_disk, small_tuning};
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{Core, Kind};
use strongroom_workspace::error::{ErrorKind, Result};

/// A store far away that keeps what it is told to hold, and nothing else, near.
#[derive(Default)]
struct Near {
    held: BTreeMap<ObjectId, Vec<(Range<u64>, Bytes)>>,
    dropped: BTreeSet<ObjectId>,
    is_cut: bool,
    /// Lists asked for since each began anew whatever it was to go on after.
    repeated: Option<u32>,
    bytes_max: usize,
}

impl Near {
    fn bytes(&self) -> usize {
        self.held.values().flatten().map(|(_, bytes)| bytes.len()).sum()
    }

    fn find(&self, object: ObjectId, range: &Range<u64>) -> Option<Bytes> {
        let pieces = self.held.get(&object)?;
        let (at, bytes) =
            pieces.iter().find(|(at, _)| at.start <= range.start && range.end <= at.end)?;
        let from = (range.start - at.start) as usize;
        Some(bytes.slice(from..from + (range.end - range.start) as usize))
    }
}

struct Far {
    inner: Arc<dyn Store>,
    near: Arc<Mutex<Near>>,
}

impl Far {
    fn reach(&self) -> strongroom_store::Result<()> {
        match self.near.lock().is_cut {
            true => {
                Err(StoreError::new(StoreErrorKind::Unavailable, "the store cannot be reached"))
            }
            false => Ok(()),
        }
    }
}

impl Over for Far {
    fn below(&self) -> &dyn Store {
        &*self.inner
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        match call {
            // It may be near.
            Call::Get(_) => Ok(()),
            _ => self.reach(),
        }
    }

    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        if let (Key::Object(object), Some(range)) = (key, &range)
            && let Some(bytes) = self.near.lock().find(object, range)
        {
            return Box::pin(std::future::ready(Ok(bytes)));
        }
        match self.reach() {
            Ok(()) => self.inner.get(key, range),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>> {
        let mut near = self.near.lock();
        let after = match &mut near.repeated {
            Some(count) => {
                *count += 1;
                assert!(*count < 1000, "it is asked without end");
                None
            }
            None => after,
        };
        drop(near);
        self.inner.list(family, after)
    }

    fn hold<'a>(&'a self, key: Key, range: Range<u64>) -> Later<'a, ()> {
        let Key::Object(object) = key else { return Box::pin(std::future::ready(Ok(()))) };
        if self.near.lock().find(object, &range).is_some() {
            return Box::pin(std::future::ready(Ok(())));
        }
        Box::pin(async move {
            self.reach()?;
            let bytes = now(self.inner.get(key, Some(range.clone())))?;
            let mut near = self.near.lock();
            if near.bytes() + bytes.len() > near.bytes_max {
                return Err(StoreError::new(StoreErrorKind::Full, "it does not fit"));
            }
            near.held.entry(object).or_default().push((range, bytes));
            Ok(())
        })
    }

    fn let_go(&self, key: Key) {
        if let Key::Object(object) = key {
            self.near.lock().held.remove(&object);
        }
    }

    fn held(&self) -> Vec<Key> {
        self.near.lock().held.keys().copied().map(Key::Object).collect()
    }

    fn drop_copy(&self, key: Key) {
        if let Key::Object(object) = key {
            let mut near = self.near.lock();
            if !near.held.contains_key(&object) {
                near.dropped.insert(object);
            }
        }
    }
}

/// Nothing but what is held is near: no page and no segment stays in memory.
fn world(near: &Arc<Mutex<Near>>) -> World {
    let tuning = Tuning { page_cache_bytes: 1, segment_cache_bytes: 1, ..small_tuning() };
    let near = near.clone();
    let wrap = move |inner| Arc::new(Far { inner, near: near.clone() }) as Arc<dyn Store>;
    let setting = Setting { wrap: Some(Arc::new(wrap)), ..Setting::new(tuning) };
    World::open(new_disk(), 1, setting, None).unwrap()
}

fn near(bytes_max: usize) -> Arc<Mutex<Near>> {
    Arc::new(Mutex::new(Near { bytes_max, ..Near::default() }))
}

fn content(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(1 + (number as usize % 7) * 9000)
}

/// Files in two folders, over some checkpoints.
fn fill(world: &World) {
    let core = world.workspace();
    for folder in ["pinned", "pinned/deep", "other"] {
        make(core, folder, Kind::Folder).unwrap();
    }
    for number in 0..40 {
        let folder = ["pinned", "other", "pinned/deep"][number as usize % 3];
        save(core, &format!("{folder}/{number}"), &content(number)).unwrap();
        world.tick(1100).unwrap();
    }
    core.commit().unwrap();
}

fn all_pinned(core: &dyn Core) -> Result<()> {
    for number in (0..40).filter(|number| number % 3 != 1) {
        let folder = ["pinned", "other", "pinned/deep"][number as usize % 3];
        assert_eq!(load(core, &format!("{folder}/{number}"))?, content(number), "{number}");
    }
    Ok(())
}

#[test]
fn every_byte_that_is_pinned_is_read_while_the_store_is_away_also_after_a_restart() {
    let near = near(usize::MAX);
    let mut world = world(&near);
    fill(&world);
    world.workspace().pin(b"pinned").unwrap();
    assert_eq!(world.workspace().pins().unwrap(), [b"pinned".to_vec()]);
    for _ in 0..2 {
        near.lock().is_cut = true;
        all_pinned(world.workspace()).unwrap();
        let other = load(world.workspace(), "other/1").map_err(|error| error.kind());
        assert_eq!(other, Err(ErrorKind::Unavailable), "nothing else is near");
        near.lock().is_cut = false;
        world.reopen().unwrap();
        world.tick(3000).unwrap();
    }
    assert_eq!(world.workspace().pins().unwrap(), [b"pinned".to_vec()]);
}

#[test]
fn what_a_pinned_file_becomes_is_here_too_and_what_it_was_goes() {
    let near = near(usize::MAX);
    let world = world(&near);
    fill(&world);
    world.workspace().pin(b"pinned/0").unwrap();
    let before = near.lock().bytes();
    for number in 100..110 {
        save(world.workspace(), "pinned/0", &content(number)).unwrap();
        world.workspace().commit().unwrap();
        world.tick(1100).unwrap();
    }
    let newest = content(109);
    near.lock().is_cut = true;
    assert_eq!(load(world.workspace(), "pinned/0").unwrap()[..newest.len()], newest[..]);
    near.lock().is_cut = false;
    assert!(near.lock().bytes() < before + 900_000, "what was replaced is let go");
    world.workspace().unpin(b"pinned/0").unwrap();
    assert_eq!((near.lock().bytes(), world.workspace().pins().unwrap().len()), (0, 0));
    let again = world.workspace().unpin(b"pinned/0").map_err(|error| error.kind());
    assert_eq!(again, Err(ErrorKind::NotFound));
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_other_pins_whole() {
    let near = near(usize::MAX);
    let world = world(&near);
    fill(&world);
    world.workspace().pin(b"pinned/deep").unwrap();
    let full = near.lock().bytes() + 10_000;
    near.lock().bytes_max = full;
    let refused = world.workspace().pin(b"other").map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::Full));
    assert_eq!(world.workspace().pins().unwrap(), [b"pinned/deep".to_vec()]);
    near.lock().is_cut = true;
    assert_eq!(load(world.workspace(), "pinned/deep/5").unwrap(), content(5));
}

#[test]
fn free_drops_copies_but_none_that_is_pinned_or_not_yet_in_the_store() {
    let near = near(usize::MAX);
    let world = world(&near);
    fill(&world);
    world.workspace().pin(b"pinned").unwrap();
    save(world.workspace(), "other/new", &[7; 300_000]).unwrap();
    world.workspace().free(b"other").unwrap();
    let dropped = near.lock().dropped.len();
    assert!(dropped > 0);
    world.workspace().free(b"pinned").unwrap();
    near.lock().is_cut = true;
    all_pinned(world.workspace()).unwrap();
    assert_eq!(load(world.workspace(), "other/new").unwrap(), vec![7; 300_000]);
    near.lock().is_cut = false;
    assert_eq!(load(world.workspace(), "other/1").unwrap(), content(1));
}

#[test]
fn a_store_whose_list_begins_anew_each_time_is_not_asked_without_end() {
    let near = near(usize::MAX);
    let world = world(&near);
    let core = world.workspace();
    near.lock().repeated = Some(0);
    for number in 0..40 {
        save(core, "file", &content(number)).unwrap();
        // What is committed is committed, and the log is cut: nothing is asked behind what stays.
        world.tick(1100).unwrap();
    }
    let status = core.status();
    assert!(status.commits > 30 && status.checkpoints > 0, "{}", status.to_json());
    assert_eq!(status.trouble, None);
    assert_eq!(core.usage().unwrap_err().kind(), ErrorKind::Corrupt);
    near.lock().repeated = None;
    core.commit().unwrap();
    world.tick(60_000).unwrap();
    assert_eq!(core.status().trouble, None);
}
