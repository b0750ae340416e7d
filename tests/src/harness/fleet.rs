//! Several homes that write to one store, each with a disk, a clock and a line to the store of its own.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_host::clock::Clock;
use strongroom_host::disk::{Disk, DiskSpace};
use strongroom_host::sim::{Chance, SimClock, SimDisk, SimEntropy};
use strongroom_store::{
    Binder, Body, Error as StoreError, ErrorKind as StoreErrorKind, Family, FolderStore, Key,
    Later, Listed, Mode as StoreMode, Put, Store, Uploaded, wait,
};
use strongroom_workspace::error::{Error, ErrorKind, Result};
use strongroom_workspace::{Mode, Options, Services, Status, Tuning, Workspace};

use super::near::{Copies, Kept, Near};
use super::runner::{CALLER, Runner, Seen, Slots, Taker};
use super::step::Step;
use super::tree::{Tree, read_tree};
use super::world::{START_NS, STATE, STORE, keys, new_disk};

/// Where copies of what opening reads are.
const BINDER: &str = "/cache/binder";

/// A home's way to the store: it can be cut, and lose what is asked or what is answered.
pub struct Line {
    store: Mutex<Arc<dyn Store>>,
    disk: Mutex<Arc<dyn Disk>>,
    cut: AtomicBool,
    /// One in so many requests is lost, half of them after they were carried out; 0: none.
    lossy: AtomicU64,
    /// Requests that are still carried out; the line is cut after them.
    left: AtomicU64,
    /// Whether the answer to the last of them is lost.
    untold: AtomicBool,
    stop: Mutex<Option<Stop>>,
    late: Mutex<Late>,
    chance: Mutex<Chance>,
}

/// A commit that is under way while its process ends.
enum Late {
    None,
    /// The next one is.
    Next,
    UnderWay(Key, Bytes),
    /// It arrives before the next one.
    BeforeNext(Key, Bytes),
}

/// What waits before it is put: says when it is reached, and is told when to go on.
struct Stop {
    at: Key,
    reached: mpsc::Sender<()>,
    go: mpsc::Receiver<()>,
}

impl Line {
    fn new(store: Arc<dyn Store>, disk: &SimDisk, seed: u64) -> Self {
        Self {
            store: Mutex::new(store),
            disk: Mutex::new(Arc::new(disk.clone())),
            cut: AtomicBool::new(false),
            lossy: AtomicU64::new(0),
            left: AtomicU64::new(u64::MAX),
            untold: AtomicBool::new(false),
            stop: Mutex::new(None),
            late: Mutex::new(Late::None),
            chance: Mutex::new(Chance::new(seed)),
        }
    }

    /// Whether a request is lost: before or after it is carried out.
    fn lost(&self) -> Option<Lost> {
        if self.cut.load(Ordering::Relaxed) {
            return Some(Lost::Request);
        }
        if self.left.load(Ordering::Relaxed) == 0 {
            return Some(Lost::Request);
        }
        if self.left.load(Ordering::Relaxed) != u64::MAX
            && self.left.fetch_sub(1, Ordering::Relaxed) == 1
            && self.untold.load(Ordering::Relaxed)
        {
            return Some(Lost::Answer);
        }
        let mut chance = self.chance.lock();
        match self.lossy.load(Ordering::Relaxed) {
            0 => None,
            rate if !chance.one_in(rate) => None,
            _ if chance.one_in(2) => Some(Lost::Answer),
            _ => Some(Lost::Request),
        }
    }

    fn pass<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Store) -> strongroom_store::Result<T>,
    ) -> Later<'_, T> {
        let lost = self.lost();
        let store = self.store.lock().clone();
        let answer = match lost {
            Some(Lost::Request) => Err(away()),
            Some(Lost::Answer) => ask(&*store).and(Err(away())),
            None => ask(&*store),
        };
        Box::pin(std::future::ready(answer))
    }
}

#[derive(Clone, Copy)]
enum Lost {
    Request,
    Answer,
}

fn away() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the line is cut")
}

impl Store for Line {
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        self.pass(|store| wait(store.get(key, range)))
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        let stop = self.stop.lock().take_if(|stop| stop.at == key);
        if let Some(stop) = stop {
            // Who gave up waiting lets it go on.
            let _ = stop.reached.send(()).map(|()| stop.go.recv());
        }
        let bytes = match body {
            Body::Bytes(bytes) => bytes,
            Body::File(path) => {
                let read = strongroom_host::disk::read_all(&**self.disk.lock(), &path);
                match read {
                    Ok(bytes) => Bytes::from(bytes),
                    Err(error) => {
                        let message = format!("a staged file: {error}");
                        let error = StoreError::new(StoreErrorKind::Internal, message);
                        return Box::pin(std::future::ready(Err(error)));
                    }
                }
            }
        };
        self.pass(|store| wait(store.put(key, Body::Bytes(bytes))))
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        if key.family() == Some(Family::Log) {
            let mut late = self.late.lock();
            match std::mem::replace(&mut *late, Late::None) {
                Late::Next => {
                    *late = Late::UnderWay(key, bytes);
                    return Box::pin(std::future::ready(Err(away())));
                }
                Late::BeforeNext(key, bytes) => {
                    let arrived = wait(self.store.lock().put_if_absent(key, bytes));
                    assert!(matches!(arrived, Ok(Put::Created(_))), "its number is free");
                }
                other => *late = other,
            }
        }
        self.pass(|store| wait(store.put_if_absent(key, bytes)))
    }

    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>> {
        self.pass(|store| wait(store.list(family, after)))
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        self.pass(|store| wait(store.delete(key)))
    }

    fn space(&self) -> Option<DiskSpace> {
        None
    }

    fn reaches_all(&self) -> bool {
        self.store.lock().reaches_all()
    }

    fn is_mirrored(&self) -> bool {
        self.store.lock().is_mirrored()
    }
}

/// One of them.
pub struct Home {
    disk: SimDisk,
    clock: Arc<SimClock>,
    entropy: Arc<SimEntropy>,
    line: Arc<Line>,
    tuning: Tuning,
    workspace: Option<Workspace>,
    slots: Slots,
    /// What it keeps near, if it keeps anything.
    copies: Option<Copies>,
}

/// A home as it once was.
pub struct Backup {
    disk: SimDisk,
    copies: Option<Kept>,
}

/// How a home goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// Everything is committed first, if the store can be reached.
    Closed,
    /// The process ends.
    Killed,
    /// The machine loses power.
    PowerLost(u64),
}

impl Home {
    /// The workspace, if it is open.
    pub fn workspace(&self) -> Option<&Workspace> {
        self.workspace.as_ref()
    }

    /// Its disk.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Opens it if it is not open.
    ///
    /// # Errors
    /// Those of opening.
    pub fn open(&mut self) -> Result<()> {
        if self.workspace.is_some() {
            return Ok(());
        }
        let opened = self.open_as(Mode::ReadWrite);
        let is_away = |error: &Error| error.kind() == ErrorKind::Unavailable;
        self.workspace = Some(match opened {
            Err(error) if self.copies.is_some() && is_away(&error) => self.open_apart()?,
            opened => opened?,
        });
        Ok(())
    }

    /// Another opening beside it, for reading.
    ///
    /// # Errors
    /// Those of opening.
    pub fn reader(&self) -> Result<Workspace> {
        self.open_as(Mode::ReadOnly)
    }

    fn open_as(&self, mode: Mode) -> Result<Workspace> {
        let (options, services) = self.setting(mode);
        let store: Arc<dyn Store> = match self.binder() {
            Some(binder) => self.near(binder),
            None => self.line.clone(),
        };
        Workspace::open(options, store, keys(), services)
    }

    /// From what is kept near.
    fn open_apart(&self) -> Result<Workspace> {
        let (options, services) = self.setting(Mode::ReadWrite);
        let binder = self.binder().expect("copies are kept");
        binder.rely_on_copies();
        let workspace =
            Workspace::open_apart(options, self.near(binder.clone()), keys(), services)?;
        binder.rely_on_store();
        Ok(workspace)
    }

    fn binder(&self) -> Option<Arc<Binder>> {
        self.copies.as_ref()?;
        let (disk, folder) = (Arc::new(self.disk.clone()), PathBuf::from(BINDER));
        let binder = Binder::open(self.line.clone(), disk, folder);
        Some(Arc::new(binder.expect("a folder for copies")))
    }

    fn near(&self, binder: Arc<Binder>) -> Arc<dyn Store> {
        let disk = Arc::new(self.disk.clone());
        Arc::new(Near::new(binder, disk, self.copies.clone().unwrap_or_default()))
    }

    fn setting(&self, mode: Mode) -> (Options, Services) {
        let services = Services {
            disk: Arc::new(self.disk.clone()),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        };
        let options = Options {
            state_folder: PathBuf::from(STATE),
            mode,
            owner: (CALLER.uid, CALLER.gid),
            tuning: self.tuning.clone(),
        };
        (options, services)
    }

    /// Takes a step; nothing when it is down.
    pub fn take(&mut self, step: &Step) -> Option<Seen> {
        let workspace = self.workspace.as_ref()?;
        Some(Runner::new(workspace, &mut self.slots).take(step))
    }

    /// Goes down.
    ///
    /// # Errors
    /// Those of closing.
    pub fn down(&mut self, how: Down) -> Result<()> {
        let Some(workspace) = self.workspace.take() else { return Ok(()) };
        let closed = match how {
            Down::Closed => {
                Runner::new(&workspace, &mut self.slots).release_all();
                workspace.close()
            }
            Down::Killed | Down::PowerLost(_) => Ok(()),
        };
        drop(workspace);
        self.slots = Slots::default();
        if let Down::PowerLost(seed) = how {
            self.disk = self.disk.crash(seed);
            *self.line.disk.lock() = Arc::new(self.disk.clone());
        }
        closed
    }

    /// All it has, as it is now.
    ///
    /// # Panics
    /// If it is open.
    pub fn back_up(&self) -> Backup {
        assert!(self.workspace.is_none(), "a process still writes");
        let copies = self.copies.as_ref().map(|copies| copies.lock().clone());
        Backup { disk: self.disk.kill(), copies }
    }

    /// All it has is as it was at a backup from here on.
    ///
    /// # Panics
    /// If it is open.
    pub fn roll_back(&mut self, backup: &Backup) {
        assert!(self.workspace.is_none(), "a process still writes");
        self.disk = backup.disk.kill();
        self.copies = backup.copies.clone().map(|copies| Arc::new(Mutex::new(copies)));
        *self.line.disk.lock() = Arc::new(self.disk.clone());
    }

    /// Cuts the line to the store, or mends it.
    pub fn cut(&self, cut: bool) {
        self.line.cut.store(cut, Ordering::Relaxed);
    }

    /// So many requests are carried out from here on, and none after them; nothing: all are.
    pub fn ends_after(&self, requests: Option<u64>) {
        self.line.left.store(requests.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.line.untold.store(false, Ordering::Relaxed);
    }

    /// The same; nobody is told that the last one was carried out.
    pub fn ends_untold_after(&self, requests: u64) {
        self.ends_after(Some(requests));
        self.line.untold.store(true, Ordering::Relaxed);
    }

    /// The next put of a key waits: hears when it is reached, and tells it to go on.
    pub fn stops_before_put(&self, key: Key) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((reached, hear), (tell, go)) = (mpsc::channel(), mpsc::channel());
        *self.line.stop.lock() = Some(Stop { at: key, reached, go });
        (hear, tell)
    }

    /// The next commit stays under way: nobody hears of it, and it is not there before it arrives.
    pub fn keeps_back(&self) {
        *self.line.late.lock() = Late::Next;
    }

    /// What was kept back arrives before the next commit, or now.
    ///
    /// # Panics
    /// If nothing was kept back.
    pub fn arrives(&self, when: Arrival) {
        let mut late = self.line.late.lock();
        let Late::UnderWay(key, bytes) = std::mem::replace(&mut *late, Late::None) else {
            panic!("nothing is under way");
        };
        match when {
            Arrival::Now => drop(wait(self.line.store.lock().put_if_absent(key, bytes))),
            Arrival::BeforeNext => *late = Late::BeforeNext(key, bytes),
        }
    }

    /// The line leads to another store from here on.
    pub fn leads_to(&self, store: Arc<dyn Store>) {
        *self.line.store.lock() = store;
    }

    /// Its wall clock shows this, nanoseconds since 1970.
    pub fn set_now_ns(&self, now_ns: i64) {
        self.clock.set_now_ns(now_ns);
    }

    /// Whether the line is cut.
    pub fn is_cut(&self) -> bool {
        self.line.cut.load(Ordering::Relaxed)
    }

    /// One in so many requests goes wrong from here on; 0: none.
    pub fn lose(&self, one_in: u64) {
        self.line.lossy.store(one_in, Ordering::Relaxed);
    }
}

/// When a commit that was kept back arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// At once.
    Now,
    /// Just before the next commit.
    BeforeNext,
}

/// All of them.
pub struct Fleet {
    /// The homes.
    pub homes: Vec<Home>,
    store: Arc<dyn Store>,
    /// Whether a home that is told to mount again is part of the story.
    mounts_again: bool,
}

impl Fleet {
    /// That many homes of a new workspace, none open yet. Their clocks differ by up to some hours.
    ///
    /// # Panics
    /// If there is no store.
    pub fn new(seed: u64, count: usize, tuning: &Tuning) -> Self {
        Self::over(new_store(), seed, count, tuning)
    }

    /// As [`Fleet::new`], over a store with a new workspace in it.
    pub fn over(store: Arc<dyn Store>, seed: u64, count: usize, tuning: &Tuning) -> Self {
        let mut chance = Chance::new(seed ^ 0xf1ee7);
        let homes = (0..count as u64).map(|number| {
            let disk = SimDisk::new(seed * 10 + number);
            let skew = i64::try_from(chance.below(20_000)).unwrap_or(0) - 10_000;
            Home {
                line: Arc::new(Line::new(store.clone(), &disk, seed * 10 + number)),
                disk,
                clock: Arc::new(SimClock::new(START_NS + skew * 1_000_000_000)),
                entropy: Arc::new(SimEntropy::new(seed * 10 + number)),
                tuning: tuning.clone(),
                workspace: None,
                slots: Slots::default(),
                copies: None,
            }
        });
        Self { homes: homes.collect(), store: store.clone(), mounts_again: false }
    }

    /// From here on homes keep near what they read, and open while they are cut off.
    pub fn keep_copies(&mut self) {
        for home in &mut self.homes {
            home.copies = Some(Copies::default());
        }
        self.mount_again();
    }

    /// From here on a home that is told to mount again does so while all come to rest.
    pub fn mount_again(&mut self) {
        self.mounts_again = true;
    }

    /// The latest of their clocks: whoever goes by an earlier one misses what another has collected.
    pub fn now_ns(&self) -> i64 {
        self.homes.iter().map(|home| home.clock.now_ns()).max().unwrap_or(0)
    }

    /// The store that all share.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Time goes by for everybody, and one home does what is due.
    ///
    /// # Errors
    /// Those of the home's work.
    pub fn tick(&self, home: usize, millis: u64) -> Result<()> {
        for home in &self.homes {
            home.clock.advance(Duration::from_millis(millis));
        }
        self.homes[home].workspace.as_ref().map_or(Ok(()), Workspace::tick)
    }

    /// The same while the machines of all others stand still: their clocks show nothing of it.
    ///
    /// # Errors
    /// Those of the home's work.
    pub fn tick_alone(&self, home: usize, millis: u64) -> Result<()> {
        let home = &self.homes[home];
        home.clock.advance(Duration::from_millis(millis));
        home.workspace.as_ref().map_or(Ok(()), Workspace::tick)
    }

    /// Everybody is there and connected, and nothing is done any more but what is due, until all have everything.
    ///
    /// # Errors
    /// What went wrong, or that they never came to rest.
    pub fn settle(&mut self) -> std::result::Result<Vec<Tree>, String> {
        for (number, home) in self.homes.iter_mut().enumerate() {
            home.cut(false);
            home.lose(0);
            home.open().map_err(|error| format!("home {number} cannot be opened: {error}"))?;
            let workspace = home.workspace.as_ref().expect("opened just now");
            Runner::new(workspace, &mut home.slots).release_all();
        }
        for _ in 0..20 {
            for number in 0..self.homes.len() {
                self.work(number).map_err(|error| format!("home {number}: {error}"))?;
            }
            if self.is_at_rest() {
                break;
            }
        }
        let statuses: Vec<_> =
            self.homes.iter().filter_map(Home::workspace).map(Workspace::status).collect();
        if !self.is_at_rest() {
            let heads: Vec<_> = statuses.iter().map(|s| (s.head_seq, s.pending_ops)).collect();
            return Err(format!("they do not come to rest: {heads:?}"));
        }
        let trees =
            self.homes.iter().filter_map(Home::workspace).map(|workspace| read_tree(workspace));
        trees.collect::<Result<Vec<_>>>().map_err(|error| format!("a tree cannot be read: {error}"))
    }

    /// Does what is due and commits; mounts again where it is told to.
    fn work(&mut self, number: usize) -> Result<()> {
        let worked = self.tick(number, 2500).and_then(|()| match self.homes[number].workspace() {
            Some(workspace) => workspace.commit(),
            None => Ok(()),
        });
        let home = &mut self.homes[number];
        match worked {
            Err(error) if self.mounts_again && error.kind() == ErrorKind::Stale => {
                home.down(Down::Killed)?;
                home.open()
            }
            worked => worked,
        }
    }

    fn is_at_rest(&self) -> bool {
        let mut statuses = self.homes.iter().filter_map(Home::workspace).map(Workspace::status);
        let first = statuses.next().expect("at least one home");
        let rests = |status: &Status| status.is_clean() && status.head_seq == first.head_seq;
        rests(&first) && statuses.all(|status| rests(&status))
    }
}

/// A store with a new workspace in it: each time the same one.
///
/// # Panics
/// If there is none.
pub fn new_store() -> Arc<dyn Store> {
    let store = FolderStore::open(Arc::new(new_disk()), PathBuf::from(STORE), StoreMode::ReadWrite);
    Arc::new(store.expect("the store of a new workspace"))
}
