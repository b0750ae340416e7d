//! Whoever waits for the store holds up nobody else: what is in memory is answered while the store hangs.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rustix::fs::{getxattr, statvfs};
use strongroom_host::thread;
use strongroom_mount::{MountOptions, RequestKind};
use strongroom_remote::retry::OPERATION_LIMIT;
use strongroom_store::over::{Call, Over};
use strongroom_store::{Body, Key, Later, Put, Store, Uploaded};
use strongroom_tests::harness::files::{find, load, options, save};
use strongroom_tests::harness::fleet::Fleet;
use strongroom_tests::harness::runner::{CALLER, done};
use strongroom_tests::harness::world::{Setting, World, new_disk, small_tuning};
use strongroom_tests::mounted::Mounted;
use strongroom_workspace::Tuning;
use strongroom_workspace::door::{Access, Answer, Core, HandleId, Ino, OpenOptions, WriteMode};

/// Far above what an answer from memory takes on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const STRIDE: u64 = 4096;
/// More than one manifest page holds.
const EXTENT_COUNT: u64 = 300;
const OPTIONS: OpenOptions = OpenOptions {
    access: Access::ReadWrite,
    truncate: false,
    synchronous: false,
    drop_set_id: false,
};

/// While it is shut, whatever is asked of the store blocks the thread that asks.
#[derive(Default)]
struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn shut(self: &Arc<Self>) -> Opening {
        self.state.lock().0 = true;
        Opening(self.clone())
    }

    fn open(&self) {
        self.state.lock().0 = false;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        state.1 += 1;
        self.changed.notify_all();
        while state.0 {
            self.changed.wait(&mut state);
        }
        state.1 -= 1;
    }

    fn until_somebody_waits(&self) {
        let mut state = self.state.lock();
        while state.1 == 0 {
            self.changed.wait(&mut state);
        }
    }
}

/// Opens it at the end, also when the test fails: nothing is unmounted while somebody waits.
struct Opening(Arc<Gate>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.open();
    }
}

struct Gated(Arc<dyn Store>, Arc<Gate>);

impl Over for Gated {
    fn below(&self) -> &dyn Store {
        &*self.0
    }

    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        Box::pin(async move {
            self.1.pass();
            self.0.get(key, range).await
        })
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        Box::pin(async move {
            self.1.pass();
            self.0.put(key, body).await
        })
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        Box::pin(async move {
            self.1.pass();
            self.0.put_if_absent(key, bytes).await
        })
    }
}

fn world(tuning: Tuning) -> (World, Arc<Gate>) {
    let gate = Arc::<Gate>::default();
    let shut = gate.clone();
    let wrap = move |inner| -> Arc<dyn Store> { Arc::new(Gated(inner, shut.clone())) };
    let setting = Setting { wrap: Some(Arc::new(wrap)), ..Setting::new(tuning) };
    (World::open(new_disk(), 1, setting, None).unwrap(), gate)
}

/// A file of many extents in a workspace opened anew: its inode is in memory, its extents are not.
fn cold() -> (World, Arc<Gate>, HandleId) {
    let (mut world, gate) = world(Tuning {
        checkpoint_log_bytes_at_close: 1,
        // Nothing but what a test asks for.
        compact_bytes: 0,
        ..Tuning::default()
    });
    let core: &dyn Core = world.workspace();
    let (made, opened) =
        done(core.create_open(CALLER, Ino::ROOT, b"scattered", 0o644, OPTIONS)).unwrap();
    for number in 0..EXTENT_COUNT {
        done(core.write(opened.handle, number * STRIDE, b"a block", WriteMode::At, false)).unwrap();
    }
    core.release(opened.handle);
    world.reopen().unwrap();
    let core: &dyn Core = world.workspace();
    let opened = done(core.open(made.ino, OPTIONS)).unwrap();
    done(core.attributes(Ino::ROOT)).unwrap();
    (world, gate, opened.handle)
}

/// Fails if `act` waits for what hangs.
fn at_once<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    thread::spawn("at-once", move || drop(sender.send(act()))).unwrap();
    receiver.recv_timeout(ANSWER_LIMIT).unwrap_or_else(|_| panic!("{what} waits for the store"))
}

fn until_asked(mounted: &Mounted, kind: RequestKind, count: u64) {
    let deadline = Instant::now() + ANSWER_LIMIT;
    while mounted.mount().counts().of(kind) < count {
        assert!(Instant::now() < deadline, "the kernel does not ask");
        std::thread::yield_now();
    }
}

/// `df`, and a name that the kernel has not asked for.
fn answers(mounted: &Mounted) {
    let (root, missing) = (mounted.root().to_owned(), mounted.path("missing"));
    at_once("df", move || statvfs(&root).map(drop)).unwrap();
    at_once("a lookup", move || fs::metadata(missing)).unwrap_err();
}

#[test]
fn four_who_wait_for_a_commit_hold_up_nobody_else() {
    let (world, gate) = world(Tuning::default());
    let Some(mounted) = Mounted::start(Arc::new(world.workspace().clone()), "") else { return };
    fs::write(mounted.path("a"), b"x").unwrap();
    let _opening = gate.shut();
    let asked = mounted.mount().counts().of(RequestKind::Getxattr);
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let root = mounted.root().to_owned();
            let sync = "user.strongroom.sync";
            let ask = move || getxattr(&root, sync, &mut [0; 16][..]);
            thread::spawn("sync", ask).unwrap()
        })
        .collect();
    until_asked(&mounted, RequestKind::Getxattr, asked + 4);
    gate.until_somebody_waits();
    answers(&mounted);
    gate.open();
    for each in waiting {
        assert_eq!(each.join().unwrap(), Ok(0));
    }
}

#[test]
fn four_who_wait_for_room_hold_up_nobody_else() {
    let (world, gate) = world(Tuning { staged_bytes: 0, ..Tuning::default() });
    let Some(mounted) = Mounted::start(Arc::new(world.workspace().clone()), "") else { return };
    let open = |number| File::create(mounted.path(&format!("f{number}"))).unwrap();
    let files: Vec<File> = (0..4).map(open).collect();
    // From here on there is something staged, and each further write needs room.
    files[0].write_all_at(&vec![1; 65536], 0).unwrap();
    let _opening = gate.shut();
    let asked = mounted.mount().counts().of(RequestKind::Write);
    let waiting: Vec<_> = files
        .into_iter()
        .map(|file| thread::spawn("write", move || file.write_all_at(&vec![2; 65536], 0)).unwrap())
        .collect();
    until_asked(&mounted, RequestKind::Write, asked + 4);
    gate.until_somebody_waits();
    answers(&mounted);
    gate.open();
    for each in waiting {
        each.join().unwrap().unwrap();
    }
    assert_eq!(fs::read(mounted.path("f3")).unwrap(), [2; 65536]);
}

/// While the gate is shut, whoever asks for a list waits.
struct Lists(Arc<dyn Store>, Arc<Gate>);

impl Over for Lists {
    fn below(&self) -> &dyn Store {
        &*self.0
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        if matches!(call, Call::List(_)) {
            self.1.pass();
        }
        Ok(())
    }
}

#[test]
fn readers_of_an_old_map_hold_up_nobody_while_they_wait_for_the_new_one() {
    let mut fleet = Fleet::new(11, 1, &Tuning { segment_cache_bytes: 1, ..small_tuning() });
    fleet.homes[0].open().unwrap();
    let writer = fleet.homes[0].workspace().unwrap().clone();
    for name in ["f", "g"] {
        save(&writer, name, &[1; 70_000]).unwrap();
    }
    writer.commit().unwrap();
    let reader = fleet.homes[0].reader().unwrap();
    let handles = ["f", "g"].map(|name| {
        assert_eq!(load(&reader, name).unwrap(), [1; 70_000]);
        done(reader.open(find(&reader, name).unwrap(), options(Access::Read, false)))
            .unwrap()
            .handle
    });
    for name in ["f", "g"] {
        save(&writer, name, &[2; 70_000]).unwrap();
    }
    // Until what the reader knows of is gone.
    for round in 0..60 {
        save(&writer, "other", &vec![round; 40_000]).unwrap();
        fleet.tick(0, 1100).unwrap();
    }
    let gate = Arc::<Gate>::default();
    fleet.homes[0].leads_to(Arc::new(Lists(fleet.store().clone(), gate.clone())));
    let _opening = gate.shut();
    let waiting = handles.map(|handle| {
        let Answer::Later(mut answer) = reader.read(handle, 0, 4096) else {
            panic!("what is gone is in memory")
        };
        at_once("a poll", move || {
            assert!(answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            answer
        })
    });
    gate.until_somebody_waits();
    done(reader.attributes(Ino::ROOT)).unwrap();
    gate.open();
    for answer in waiting {
        assert_eq!(strongroom_workspace::later::wait(answer).unwrap()[..], [2; 4096]);
    }
}

#[test]
fn a_write_that_waits_for_pages_holds_up_nobody_else() {
    let (world, gate, handle) = cold();
    let _opening = gate.shut();
    let (workspace, other) = (world.workspace().clone(), world.workspace().clone());
    let write = move || {
        done(workspace.write(handle, 200 * STRIDE, &[7; 65536], WriteMode::At, false)).unwrap()
    };
    let writing = thread::spawn("write", write).unwrap();
    gate.until_somebody_waits();
    at_once("stat", move || done(other.attributes(Ino::ROOT))).unwrap();
    gate.open();
    assert_eq!(writing.join().unwrap(), 65536);
    let core: &dyn Core = world.workspace();
    let read = done(core.read(handle, 200 * STRIDE - STRIDE, 65536 + 2 * 4096)).unwrap();
    assert_eq!(&read[..7], b"a block");
    assert_eq!(&read[4096..4096 + 65536], [7; 65536]);
    assert_eq!(&read[4096 + 65536..4096 + 65536 + 7], b"a block");
}

#[test]
fn a_commit_that_waits_for_pages_holds_up_nobody_else() {
    let (world, gate, handle) = cold();
    let core: &dyn Core = world.workspace();
    done(core.write(handle, 200 * STRIDE + 2, b"new", WriteMode::At, false)).unwrap();
    let _opening = gate.shut();
    let (workspace, other) = (world.workspace().clone(), world.workspace().clone());
    let committing = thread::spawn("commit", move || workspace.commit()).unwrap();
    gate.until_somebody_waits();
    at_once("a write, and stat", move || {
        done(other.write(handle, 10 * STRIDE, b"also new", WriteMode::At, false)).unwrap();
        done(other.attributes(Ino::ROOT)).unwrap();
    });
    gate.open();
    committing.join().unwrap().unwrap();
    assert_eq!(&done(core.read(handle, 200 * STRIDE, 7)).unwrap()[..], b"a newck");
    assert_eq!(&done(core.read(handle, 10 * STRIDE, 8)).unwrap()[..], b"also new");
}

#[test]
fn the_door_waits_as_long_as_a_request_to_the_store_may_take() {
    assert!(MountOptions::default().answer_limit >= OPERATION_LIMIT);
}
