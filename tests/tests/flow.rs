//! Exact counts of store calls, syncs, seals and journal records: speed that cannot rot unseen. A change that alters a
//! number here says why in its message.
#![allow(clippy::unwrap_used, missing_docs)]

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_host::sim::{Counts as DiskCounts, SimEntropy};
use strongroom_store::over::{Call, Over};
use strongroom_store::{Binder, Body, FolderStore, Key, Later, Mode as StoreMode, Store, Uploaded};
use strongroom_tests::harness::files::OPEN;
use strongroom_tests::harness::runner::{CALLER, done};
use strongroom_tests::harness::world::{STATE, STORE, Setting, World, keys, new_disk};
use strongroom_workspace::door::{
    Core, HandleId, Ino, RenameMode, SyncLevel, SyncScope, WriteMode,
};
use strongroom_workspace::{Mode, Options, Services, Tuning, Workspace};

#[derive(Default)]
struct Calls {
    gets: AtomicU64,
    got_bytes: AtomicU64,
    puts: AtomicU64,
    commits: AtomicU64,
    deletes: AtomicU64,
    /// Under way now, and at most.
    deleting: [AtomicU64; 2],
    lists: AtomicU64,
}

struct Counting {
    inner: Arc<dyn Store>,
    calls: Arc<Calls>,
    is_far: bool,
}

fn add(count: &AtomicU64, by: u64) {
    count.fetch_add(by, Ordering::Relaxed);
}

impl Over for Counting {
    fn below(&self) -> &dyn Store {
        &*self.inner
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        let calls = &self.calls;
        let count = match call {
            Call::Get(_) => &calls.gets,
            Call::Put(_) => &calls.puts,
            Call::PutIfAbsent(_) => &calls.commits,
            Call::List(_) => &calls.lists,
            Call::Delete(_) => &calls.deletes,
        };
        add(count, 1);
        Ok(())
    }

    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        Box::pin(async move {
            let bytes = self.inner.get(key, range).await?;
            add(&self.calls.got_bytes, bytes.len() as u64);
            Ok(bytes)
        })
    }

    fn put_many<'a>(&'a self, bodies: Vec<(Key, Body)>) -> Later<'a, Vec<Uploaded>> {
        add(&self.calls.puts, bodies.len() as u64);
        self.inner.put_many(bodies)
    }

    fn is_far(&self) -> bool {
        self.is_far
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        let [now, most] = &self.calls.deleting;
        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Box::pin(async move {
            let done = self.inner.delete(key).await;
            now.fetch_sub(1, Ordering::Relaxed);
            done
        })
    }
}

struct Bench {
    world: World,
    calls: Arc<Calls>,
}

/// What an act cost.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    gets: u64,
    puts: u64,
    commits: u64,
    deletes: u64,
    file_syncs: u64,
    folder_syncs: u64,
    /// Writes to local files: journal records, staged blocks, …
    writes: u64,
}

const NOTHING: Cost =
    Cost { gets: 0, puts: 0, commits: 0, deletes: 0, file_syncs: 0, folder_syncs: 0, writes: 0 };

impl Bench {
    fn new() -> Self {
        Self::over(Tuning::default(), false)
    }

    fn with(tuning: Tuning) -> Self {
        Self::over(tuning, false)
    }

    /// With a store over a network.
    fn far() -> Self {
        Self::over(Tuning::default(), true)
    }

    fn over(tuning: Tuning, is_far: bool) -> Self {
        let calls = Arc::new(Calls::default());
        let counted = calls.clone();
        let wrap = move |inner| -> Arc<dyn Store> {
            Arc::new(Counting { inner, calls: counted.clone(), is_far })
        };
        let setting = Setting { wrap: Some(Arc::new(wrap)), ..Setting::new(tuning) };
        let world = World::open(new_disk(), 1, setting, None).unwrap();
        Bench { world, calls }
    }

    fn core(&self) -> &dyn Core {
        self.world.workspace()
    }

    fn cost(&self, act: impl FnOnce()) -> Cost {
        let store = || {
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let calls = &self.calls;
            (of(&calls.gets), of(&calls.puts), of(&calls.commits), of(&calls.deletes))
        };
        let (before, disk_before) = (store(), self.world.disk.counts());
        act();
        let (after, disk) = (store(), self.world.disk.counts());
        let of = |count: fn(&DiskCounts) -> u64| count(&disk) - count(&disk_before);
        Cost {
            gets: after.0 - before.0,
            puts: after.1 - before.1,
            commits: after.2 - before.2,
            deletes: after.3 - before.3,
            file_syncs: of(|counts| counts.syncs),
            folder_syncs: of(|counts| counts.folder_syncs),
            writes: of(|counts| counts.writes),
        }
    }

    fn create(&self, name: &str) -> (Ino, HandleId) {
        let made = self.core().create_open(CALLER, Ino::ROOT, name.as_bytes(), 0o644, OPEN);
        let (attributes, opened) = done(made).unwrap();
        (attributes.ino, opened.handle)
    }

    fn write(&self, handle: HandleId, offset: u64, len: usize) {
        let data = vec![7; len];
        let written = done(self.core().write(handle, offset, &data, WriteMode::At, true));
        assert_eq!(written.unwrap() as usize, len);
    }

    fn read(&self, handle: HandleId, offset: u64, len: u32) -> usize {
        done(self.core().read(handle, offset, len)).unwrap().len()
    }

    fn fsync(&self, ino: Ino) {
        done(self.core().sync(SyncScope::Inode(ino), SyncLevel::Local)).unwrap();
    }

    fn commit(&self) {
        self.world.workspace().commit().unwrap();
    }

    /// A file of this size, committed, in a workspace opened anew: nothing of it is in memory.
    fn with_cold_file(len: usize) -> (Bench, HandleId) {
        let mut bench = Bench::new();
        let (ino, handle) = bench.create("cold");
        for at in (0..len).step_by(1 << 20) {
            bench.write(handle, at as u64, (len - at).min(1 << 20));
        }
        bench.core().release(handle);
        bench.world.reopen().unwrap();
        let opened = done(bench.core().open(ino, OPEN)).unwrap();
        (bench, opened.handle)
    }
}

/// A store that notes what one thread asks of it.
struct Noting {
    inner: Arc<dyn Store>,
    thread: ThreadId,
    asked: Arc<Mutex<Vec<Call>>>,
}

impl Over for Noting {
    fn below(&self) -> &dyn Store {
        &*self.inner
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        if std::thread::current().id() == self.thread {
            self.asked.lock().push(call);
        }
        Ok(())
    }
}

#[test]
fn opening_asks_for_nothing_that_was_asked_while_the_passphrase_was_tried() {
    let bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.create(name);
        bench.commit();
    }
    bench.world.workspace().close().unwrap();
    let (asked, thread) = (Arc::<Mutex<Vec<Call>>>::default(), std::thread::current().id());
    let (disk, noted) = (bench.world.disk.kill(), asked.clone());
    let wrap = move |inner| -> Arc<dyn Store> {
        let noting = Arc::new(Noting { inner, thread, asked: noted.clone() });
        let binder = Binder::open(noting, Arc::new(new_disk()), PathBuf::from("/binder")).unwrap();
        binder.ask_ahead();
        binder.ask_ends();
        Arc::new(binder)
    };
    let setting = Setting { wrap: Some(Arc::new(wrap)), ..Setting::new(Tuning::default()) };
    let world = World::open(disk, 2, setting, None).unwrap();
    let head = Key::Log(world.workspace().status().head_seq);
    let mut asked = std::mem::take(&mut *asked.lock());
    asked.retain(|call| !matches!(call, Call::Get(Key::Object(_))));
    // A folder is told to make the newest commit durable.
    let expected = [Call::Get(Key::Workspace), Call::Get(head), Call::PutIfAbsent(head)];
    assert_eq!(asked, expected);
}

#[test]
fn what_another_process_of_this_home_wrote_since_it_was_asked_ahead_makes_no_older_store() {
    let bench = Bench::new();
    bench.create("a");
    bench.commit();
    let services = Services {
        disk: Arc::new(bench.world.disk.clone()),
        clock: bench.world.clock.clone(),
        entropy: Arc::new(SimEntropy::new(3)),
    };
    let store = FolderStore::open(services.disk.clone(), STORE.into(), StoreMode::ReadOnly);
    let kept = PathBuf::from("/binder");
    let binder = Binder::open(Arc::new(store.unwrap()), Arc::new(new_disk()), kept).unwrap();
    binder.ask_ahead();
    binder.ask_ends();
    // Waits until all answers are there.
    assert!(strongroom_store::wait(binder.get(Key::Log(999), None)).is_err());
    bench.create("b");
    bench.commit();
    let options = Options {
        state_folder: STATE.into(),
        mode: Mode::ReadOnly,
        owner: (CALLER.uid, CALLER.gid),
        tuning: Tuning::default(),
    };
    let reading = Workspace::open(options, Arc::new(binder), keys(), services).unwrap();
    assert_eq!(reading.status().head_seq, bench.world.workspace().status().head_seq);
}

#[test]
fn create_write_close_is_two_journal_records() {
    let bench = Bench::new();
    let cost = bench.cost(|| {
        let (_, handle) = bench.create("a");
        bench.write(handle, 0, 4096);
        bench.core().release(handle);
    });
    assert_eq!(cost, Cost { writes: 2, ..NOTHING });
}

#[test]
fn each_further_write_is_one_journal_record() {
    let bench = Bench::new();
    let (_, handle) = bench.create("a");
    let cost = bench.cost(|| (0..10).for_each(|at| bench.write(handle, at * 100, 100)));
    assert_eq!(cost, Cost { writes: 10, ..NOTHING });
}

#[test]
fn stat_and_reading_back_what_was_written_cost_nothing() {
    let bench = Bench::new();
    let (ino, handle) = bench.create("a");
    bench.write(handle, 0, 4096);
    let cost = bench.cost(|| {
        done(bench.core().attributes(ino)).unwrap();
        assert_eq!(bench.read(handle, 0, 4096), 4096);
    });
    assert_eq!(cost, NOTHING);
}

#[test]
fn fsync_is_one_sync_of_the_journal() {
    let bench = Bench::new();
    let (ino, handle) = bench.create("a");
    bench.write(handle, 0, 4096);
    assert_eq!(bench.cost(|| bench.fsync(ino)), Cost { file_syncs: 1, ..NOTHING });
    assert_eq!(bench.cost(|| bench.fsync(ino)), NOTHING, "nothing is left to sync");
}

#[test]
fn save_pattern_is_at_most_two_syncs() {
    let bench = Bench::new();
    let (_, handle) = bench.create("document");
    bench.write(handle, 0, 10_000);
    bench.core().release(handle);
    bench.fsync(Ino::ROOT);
    let cost = bench.cost(|| {
        let (ino, handle) = bench.create("document.new");
        bench.write(handle, 0, 10_000);
        bench.fsync(ino);
        bench.core().release(handle);
        let (from, to) = ((Ino::ROOT, &b"document.new"[..]), (Ino::ROOT, &b"document"[..]));
        done(bench.core().rename(from, to, RenameMode::Replace)).unwrap();
        bench.fsync(Ino::ROOT);
    });
    assert_eq!(cost, Cost { file_syncs: 2, writes: 3, ..NOTHING });
}

#[test]
fn sixty_four_mebibytes_are_eight_puts_and_one_commit() {
    let bench = Bench::new();
    let (_, handle) = bench.create("large");
    let cost = bench.cost(|| (0..64).for_each(|mib| bench.write(handle, mib << 20, 1 << 20)));
    // One block and one record that names it for each; nothing goes to the store before the batch is cut.
    assert_eq!(cost, Cost { writes: 128, ..NOTHING });
    let cost = bench.cost(|| bench.world.tick(0).unwrap());
    // The get is the look whether a device was removed.
    assert_eq!((cost.puts, cost.commits, cost.gets), (8, 1, 1));
    // The one before gave this home its writer slot.
    assert_eq!(bench.world.workspace().status().commits, 2);
}

#[test]
fn over_a_network_objects_are_put_while_more_is_written() {
    let bench = Bench::far();
    let (_, handle) = bench.create("large");
    let cost = bench.cost(|| {
        (0..24).for_each(|mib| bench.write(handle, mib << 20, 1 << 20));
        bench.world.tick(1).unwrap();
    });
    assert_eq!((cost.puts, cost.commits), (2, 0), "the third is not known to be full");
    let cost = bench.cost(|| bench.commit());
    assert_eq!((cost.puts, cost.commits, cost.gets, cost.deletes), (1, 1, 1, 0));
    assert_eq!(bench.read(handle, 5 << 20, 4096), 4096);
}

#[test]
fn over_a_network_an_object_is_put_as_soon_as_it_is_full() {
    // Nobody looks by himself.
    let tuning = Tuning { look_interval: Duration::from_secs(3600), ..Tuning::default() };
    let bench = Bench::over(tuning, true);
    bench.world.workspace().run_background().unwrap();
    let (_, handle) = bench.create("large");
    (0..9).for_each(|mib| bench.write(handle, mib << 20, 1 << 20));
    let deadline = Instant::now() + Duration::from_secs(20);
    while bench.calls.puts.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < deadline, "it waits for somebody to look");
        std::thread::yield_now();
    }
    bench.world.workspace().stop_background();
}

#[test]
fn over_a_network_what_was_put_and_then_overwritten_goes_with_the_next_commit() {
    let bench = Bench::far();
    let (_, handle) = bench.create("large");
    (0..9).for_each(|mib| bench.write(handle, mib << 20, 1 << 20));
    bench.world.tick(1).unwrap();
    (0..8).for_each(|mib| bench.write(handle, mib << 20, 1 << 20));
    let cost = bench.cost(|| bench.commit());
    assert_eq!((cost.puts, cost.commits, cost.deletes), (2, 1, 1), "one of three was put before");
}

#[test]
fn thousand_files_of_ten_kibibytes_are_two_puts_and_one_commit() {
    let bench = Bench::new();
    let cost = bench.cost(|| {
        for at in 0..1000 {
            let (_, handle) = bench.create(&format!("file {at}"));
            bench.write(handle, 0, 10 << 10);
            bench.core().release(handle);
        }
    });
    assert_eq!(cost, Cost { writes: 2000, ..NOTHING });
    let cost = bench.cost(|| bench.commit());
    assert_eq!((cost.puts, cost.commits, cost.gets, cost.deletes), (2, 1, 1, 0));
}

#[test]
fn much_that_goes_goes_side_by_side_and_holds_up_no_commit() {
    let tuning = Tuning { object_plain_bytes: 64 << 10, deleted_count: 50, ..Tuning::default() };
    let bench = Bench::with(tuning);
    for at in 0..120 {
        let (_, handle) = bench.create(&format!("file {at}"));
        bench.write(handle, 0, 64 << 10);
        bench.core().release(handle);
    }
    bench.commit();
    for at in 0..120 {
        done(bench.core().unlink(Ino::ROOT, format!("file {at}").as_bytes())).unwrap();
    }
    assert_eq!(bench.cost(|| bench.commit()).deletes, 50);
    assert_eq!(bench.calls.deleting[1].load(Ordering::Relaxed), 32);
    bench.create("other");
    let cost = bench.cost(|| bench.commit());
    assert_eq!((cost.commits, cost.deletes), (1, 50));
    // The rest goes without being asked for.
    assert_eq!(bench.cost(|| bench.world.tick(0).unwrap()).deletes, 20);
    assert_eq!(bench.cost(|| bench.world.tick(0).unwrap()), NOTHING);
}

#[test]
fn a_checkpoint_asks_the_store_as_often_however_many_snapshots_there_are() {
    let bench = Bench::with(Tuning { checkpoint_log_bytes: 1, ..Tuning::default() });
    let mut number = 0;
    let mut act = |count: u32| {
        for _ in 0..count {
            number += 1;
            bench.create(&format!("file {number}"));
            bench.world.workspace().make_snapshot(&format!("s{number}")).unwrap();
        }
        // The first checkpoint after a snapshot was made may read it.
        for name in ["first", "second"] {
            bench.create(&format!("{name} of {number}"));
            bench.commit();
        }
        bench.create(&format!("third of {number}"));
        let before = bench.world.workspace().status().checkpoints;
        let cost = bench.cost(|| bench.commit());
        assert_eq!(bench.world.workspace().status().checkpoints, before + 1);
        (cost.gets, cost.puts, cost.deletes)
    };
    let few = act(2);
    assert_eq!(act(20), few);
}

#[test]
fn commit_of_one_small_file_is_one_commit_and_no_put() {
    let bench = Bench::new();
    let (_, handle) = bench.create("small");
    bench.write(handle, 0, 1000);
    let cost = bench.cost(|| bench.commit());
    let cost = (cost.puts, cost.commits, cost.gets, cost.deletes);
    assert_eq!(cost, (0, 1, 1, 0), "the get is the look whether a device was removed");
    assert_eq!(bench.cost(|| bench.commit()), NOTHING, "nothing is left to commit");
}

#[test]
fn cold_small_read_is_one_get_at_the_start_of_a_block_and_two_inside() {
    let (bench, handle) = Bench::with_cold_file(4 << 20);
    let cost = bench.cost(|| assert_eq!(bench.read(handle, 0, 4096), 4096));
    assert_eq!(cost, Cost { gets: 1, ..NOTHING }, "header part and segment lie side by side");
    let cost = bench.cost(|| assert_eq!(bench.read(handle, (2 << 20) + 300_000, 4096), 4096));
    assert_eq!(cost, Cost { gets: 2, ..NOTHING });
    let cost = bench.cost(|| assert_eq!(bench.read(handle, (2 << 20) + 600_000, 4096), 4096));
    assert_eq!(cost, Cost { gets: 1, ..NOTHING }, "the header part is known");
    let cost = bench.cost(|| assert_eq!(bench.read(handle, (2 << 20) + 601_000, 4096), 4096));
    assert_eq!(cost, NOTHING, "the segment is known");
}

#[test]
fn cold_small_read_fetches_one_segment() {
    let (bench, handle) = Bench::with_cold_file(4 << 20);
    let before = bench.calls.got_bytes.load(Ordering::Relaxed);
    assert_eq!(bench.read(handle, (1 << 20) + 300_000, 4096), 4096);
    let got = bench.calls.got_bytes.load(Ordering::Relaxed) - before;
    assert_eq!(got, 16_400 + 2_104, "a segment of 16 KiB and the header part of its block");
}

#[test]
fn cold_sequential_read_of_sixty_four_mebibytes_is_one_get_a_read() {
    let (bench, handle) = Bench::with_cold_file(64 << 20);
    let cost = bench.cost(|| {
        for mib in 0..64 {
            assert_eq!(bench.read(handle, mib << 20, 1 << 20), 1 << 20);
        }
    });
    assert_eq!(cost, Cost { gets: 64, ..NOTHING });
}
