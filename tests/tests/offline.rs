//! What is pinned can be read while the store cannot be reached, also what it became, and after a restart.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_format::ids::ObjectId;
use strongroom_host::disk::read_all;
use strongroom_store::over::{Call, Over};
use strongroom_store::{
    Error as StoreError, ErrorKind as StoreErrorKind, Family, Key, Later, Listed, Store, now,
};
use strongroom_tests::harness::files::{find, load, make, place_of, save};
use strongroom_tests::harness::runner::done;
use strongroom_tests::harness::world::{Setting, World, new_disk, small_tuning};
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{Access, Core, Kind, OpenOptions, RenameMode};
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
    /// Ranges that were to be held, fetched or not.
    asked: usize,
    /// The next range to be held says so here, and waits.
    stop: Option<(Sender<()>, Receiver<()>)>,
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
        let mut near = self.near.lock();
        near.asked += 1;
        if let Some((reached, go_on)) = near.stop.take() {
            drop(near);
            reached.send(()).unwrap();
            // Nobody sends when the test has failed.
            let _ = go_on.recv();
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

    fn distrust(&self, key: Key) -> bool {
        matches!(key, Key::Object(object) if self.near.lock().held.remove(&object).is_some())
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

/// The next range to be held says so, and waits until it is told to go on.
fn stops_before_hold(near: &Mutex<Near>) -> (Receiver<()>, Sender<()>) {
    let ((reached, is_reached), (go_on, goes_on)) = (channel(), channel());
    near.lock().stop = Some((reached, goes_on));
    (is_reached, go_on)
}

/// Looks again and again, while time goes by, until it is so.
fn until(world: &World, what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        world.clock.advance(Duration::from_millis(300));
        std::thread::yield_now();
    }
}

/// Writes something and waits until it is committed.
fn commits_go_on(world: &World) {
    save(world.workspace(), "other/new", &[7; 1000]).unwrap();
    until(world, "nothing is committed", || world.workspace().status().is_clean());
}

fn remove(world: &World, path: &str) {
    let (folder, name) = place_of(world.workspace(), path).unwrap();
    done(world.workspace().unlink(folder, name.as_bytes())).unwrap();
}

/// How many the file with the pins names: eight bytes each, and a sum.
fn pins_on_disk(world: &World) -> usize {
    let bytes = read_all(&world.disk, Path::new("/state/pins")).unwrap();
    (bytes.len() - 32) / 8
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
fn what_is_written_is_committed_while_a_pin_takes_long_and_unpin_ends_it() {
    let near = near(usize::MAX);
    let world = world(&near);
    fill(&world);
    world.workspace().pin(b"pinned/0").unwrap();
    let before = near.lock().bytes();
    let (reached, go_on) = stops_before_hold(&near);
    let workspace = world.workspace().clone();
    let pinning = std::thread::spawn(move || workspace.pin(b"pinned/deep"));
    reached.recv_timeout(Duration::from_secs(30)).unwrap();
    world.workspace().run_background().unwrap();
    commits_go_on(&world);
    commits_go_on(&world);
    world.workspace().unpin(b"pinned/deep").unwrap();
    go_on.send(()).unwrap();
    let ended = pinning.join().unwrap().map_err(|error| error.kind());
    assert_eq!(ended, Err(ErrorKind::Busy));
    assert_eq!(world.workspace().pins().unwrap(), [b"pinned/0".to_vec()]);
    // The pages that lead there may be others by now.
    assert!(near.lock().bytes() < before + 100_000, "what was fetched for it is let go");
    world.workspace().stop_background();
}

#[test]
fn what_is_written_is_committed_while_pinned_content_is_brought_in_and_unpin_ends_that() {
    let near = near(usize::MAX);
    let world = world(&near);
    fill(&world);
    world.workspace().pin(b"pinned").unwrap();
    let (reached, go_on) = stops_before_hold(&near);
    world.workspace().run_background().unwrap();
    save(world.workspace(), "pinned/0", &content(6)).unwrap();
    until(&world, "it is never brought in", || reached.try_recv().is_ok());
    commits_go_on(&world);
    commits_go_on(&world);
    world.workspace().unpin(b"pinned").unwrap();
    go_on.send(()).unwrap();
    until(&world, "it is never let go", || near.lock().bytes() == 0);
    world.workspace().stop_background();
}

#[test]
fn pinned_content_that_no_longer_fits_is_told_and_tried_later_each_time() {
    let near = near(usize::MAX);
    let world = world(&near);
    fill(&world);
    world.workspace().pin(b"pinned/0").unwrap();
    near.lock().bytes_max = 1000;
    save(world.workspace(), "pinned/0", &content(6)).unwrap();
    world.tick(1100).unwrap();
    let asked = near.lock().asked;
    for _ in 0..480 {
        world.tick(250).unwrap();
    }
    let tries = near.lock().asked - asked;
    assert!((3..10).contains(&tries), "{tries} tries in two minutes");
    assert_eq!(world.workspace().status().trouble.as_deref(), Some("it does not fit"));
    near.lock().bytes_max = usize::MAX;
    for _ in 0..31 {
        world.tick(1000).unwrap();
    }
    assert_eq!(world.workspace().status().trouble, None);
    near.lock().is_cut = true;
    let newest = content(6);
    assert_eq!(load(world.workspace(), "pinned/0").unwrap()[..newest.len()], newest[..]);
}

#[test]
fn pins_of_what_is_gone_go_too() {
    let near = near(usize::MAX);
    let mut world = world(&near);
    fill(&world);
    for number in [0, 3, 6] {
        world.workspace().pin(format!("pinned/{number}").as_bytes()).unwrap();
    }
    // Nobody knows the files by number any more.
    world.reopen().unwrap();
    assert_eq!(pins_on_disk(&world), 3);
    remove(&world, "pinned/0");
    world.tick(1100).unwrap();
    assert_eq!(pins_on_disk(&world), 2, "brought up to date");
    remove(&world, "pinned/3");
    world.workspace().pin(b"pinned/9").unwrap();
    assert_eq!(pins_on_disk(&world), 2, "pinned another");
}

/// Saves as editors do: under another name, then over the old one.
fn save_over(world: &World, path: &str, bytes: &[u8]) {
    save(world.workspace(), &format!("{path}.new"), bytes).unwrap();
    let (folder, name) = place_of(world.workspace(), path).unwrap();
    let from = format!("{name}.new");
    let places = ((folder, from.as_bytes()), (folder, name.as_bytes()));
    done(world.workspace().rename(places.0, places.1, RenameMode::Replace)).unwrap();
}

fn is_kept_alone(world: &World, near: &Mutex<Near>, bytes: &[u8]) {
    assert_eq!(world.workspace().pins().unwrap(), [b"pinned/0".to_vec()]);
    near.lock().is_cut = true;
    assert_eq!(load(world.workspace(), "pinned/0").unwrap(), bytes);
    near.lock().is_cut = false;
}

#[test]
fn a_pin_goes_over_to_the_file_that_is_saved_in_place_of_the_pinned_one() {
    let near = near(usize::MAX);
    let mut world = world(&near);
    fill(&world);
    world.workspace().pin(b"pinned/0").unwrap();
    for number in [6, 5] {
        save_over(&world, "pinned/0", &content(number));
        world.tick(1100).unwrap();
        world.tick(1100).unwrap();
        is_kept_alone(&world, &near, &content(number));
    }
    // Nobody knows the file by number any more.
    world.reopen().unwrap();
    save_over(&world, "pinned/0", &content(4));
    world.tick(1100).unwrap();
    world.tick(1100).unwrap();
    is_kept_alone(&world, &near, &content(4));
    // While it is open it is there without a name, and the pin of it is no reason to pin the other again.
    let (access, truncate) = (Access::Read, false);
    let open = OpenOptions { access, truncate, synchronous: false, drop_set_id: false };
    let ino = find(world.workspace(), "pinned/0").unwrap();
    let handle = done(world.workspace().open(ino, open)).unwrap().handle;
    save_over(&world, "pinned/0", &content(3));
    world.tick(1100).unwrap();
    world.workspace().unpin(b"pinned/0").unwrap();
    save(world.workspace(), "other/new", &content(2)).unwrap();
    world.tick(1100).unwrap();
    assert_eq!(world.workspace().pins().unwrap().len(), 0);
    world.workspace().release(handle);
    // Also before anything was brought up to date.
    world.workspace().pin(b"pinned/0").unwrap();
    save_over(&world, "pinned/0", &content(6));
    world.workspace().unpin(b"pinned/0").unwrap();
    assert_eq!(world.workspace().pins().unwrap().len(), 0);
}

#[test]
fn a_pin_goes_over_to_the_file_that_another_home_saves_in_place_of_the_pinned_one() {
    let near = near(usize::MAX);
    let world = world(&near);
    fill(&world);
    world.workspace().pin(b"pinned/0").unwrap();
    let setting = Setting { state: "/state2", ..world.setting().clone() };
    let other = World::open(world.disk.clone(), 2, setting, Some(world.clock.clone())).unwrap();
    save_over(&other, "pinned/0", &content(6));
    other.workspace().commit().unwrap();
    for _ in 0..10 {
        world.tick(1100).unwrap();
    }
    is_kept_alone(&world, &near, &content(6));
}

#[test]
fn a_pinned_copy_that_does_not_verify_is_fetched_again() {
    let near = near(usize::MAX);
    let world = world(&near);
    fill(&world);
    world.workspace().pin(b"pinned").unwrap();
    world.tick(1100).unwrap();
    for (_, bytes) in near.lock().held.values_mut().flatten() {
        *bytes = bytes.iter().map(|byte| byte ^ 1).collect();
    }
    all_pinned(world.workspace()).unwrap();
    world.tick(1100).unwrap();
    near.lock().is_cut = true;
    all_pinned(world.workspace()).unwrap();
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
