//! Several stores that hold the same, so that one of them may vanish: of three or more while it is in use.
//!
//! ```text
//! put            all members at once; done when all but one have it
//! get            the quickest member that is well; whoever lacks it, or has something else, is passed over
//! put-if-absent  the first member that answers decides, then the others follow
//! healing        what a member missed is copied to it from the others, what it kept is removed, in the background
//! ```
//!
//! 1. A put that returned is on all members but one.
//! 2. That something is missing is said only when everybody who answers says so, and no more than one does not answer.
//! 3. What is replaced in place (device files, cells) must reach most members, which of two are both, or is put back as it was;
//!    it is read from as many members as must agree, and the majority counts, of two that differ the first. Where two of more
//!    differ and whoever could tell is away or holds nothing, nothing counts: one of them may have missed what was said to be
//!    replaced.
//! 4. What is replaced in place is removed from all members or not said to be removed: it is read wherever one has it. What is
//!    removed of the rest is gone from all members but one, is not read from that one, and goes from it when it is back.
//! 5. Bytes are not judged here: who reads verifies, and has a copy that does not verify passed over ([`Store::distrust`]).
//!
//! LIMIT: the first member arbitrates only while everybody reaches it: a mirror serves one writing device. What members
//! missed is remembered in memory; after a restart `scrub` finds it.

mod agreed;
mod away;
mod calls;
mod decide;
mod heal;
pub mod scrub;
mod turns;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_host::clock::Clock;
use strongroom_host::disk::{Disk, read_all};
use strongroom_store::{
    Body, DiskSpace, Error, ErrorKind, Family, Key, LIST_COUNT_MAX, Later, Listed, PolicyKey, Put,
    Result, Shelf, Store, Uploaded, require_same_family, wait, wanted,
};
use tokio::sync::Semaphore;

pub use away::Away;
use calls::Calls;
use decide::may_change;
use turns::Turns;

use crate::remote::Machine;
use crate::runtime::{Threads, begin};

/// LIMIT: how long a member that is near may be silent, as one over a network.
const ANSWER_LIMIT: Duration = Duration::from_secs(45);
/// LIMIT: things a member missed that are remembered; `scrub` finds the others.
const MISSED_COUNT_MAX: usize = 100_000;
/// LIMIT: puts of one thing each that are under way at once. The others are read from their files when it is their turn.
const UPLOAD_COUNT_MAX: usize = 8;
/// LIMIT: objects whose source is remembered, to know whom not to ask again.
const SERVED_COUNT_MAX: usize = 10_000;
/// Fewest and most members.
pub const MEMBER_COUNT: std::ops::RangeInclusive<usize> = 2..=8;

/// One of the stores.
pub struct Member {
    /// How it is shown to people.
    pub name: String,
    /// The store.
    pub store: Arc<dyn Store>,
}

/// A store over several. Reads go to one, writes to all.
pub struct MirrorStore {
    inner: Arc<Inner>,
    threads: Threads,
}

pub(crate) struct Inner {
    members: Vec<Seat>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    /// How long a member that is near is waited for, beside what the length of what is put takes.
    answer_limit: Duration,
    uploads: Semaphore,
    missed: Mutex<BTreeSet<(usize, Key)>>,
    /// What was removed, and a member has still.
    kept: Mutex<BTreeSet<(usize, Key)>>,
    served: Mutex<HashMap<Key, usize>>,
    distrusted: Mutex<BTreeMap<Key, BTreeSet<usize>>>,
    turns: Turns,
    passed_over: AtomicU64,
    healed: AtomicU64,
}

/// A member and how it is.
struct Seat {
    member: Member,
    /// Until when it is left alone; zero when it is well.
    away_until: Mutex<Duration>,
    /// Whether it is left alone because it takes nothing more.
    is_full: AtomicBool,
    /// Moving average of its answers to gets, nanoseconds.
    pace: AtomicU64,
    calls: Calls,
}

impl MirrorStore {
    /// A mirror over members, the first of which decides who was first.
    ///
    /// # Errors
    /// `Invalid` for too few or too many; `Internal` when the machine gives no threads.
    pub fn new(members: Vec<Member>, machine: &Machine) -> Result<Self> {
        Self::with_answer_limit(members, machine, ANSWER_LIMIT)
    }

    /// As [`MirrorStore::new`]; a member that is near is waited for as long as `answer_limit`, and longer for what is long.
    ///
    /// # Errors
    /// Those of [`MirrorStore::new`].
    pub fn with_answer_limit(
        members: Vec<Member>,
        machine: &Machine,
        answer_limit: Duration,
    ) -> Result<Self> {
        if !MEMBER_COUNT.contains(&members.len()) {
            return Err(Error::new(ErrorKind::Invalid, "a mirror has 2 to 8 members"));
        }
        let seat = |member| Seat {
            member,
            away_until: Mutex::new(Duration::ZERO),
            is_full: AtomicBool::new(false),
            pace: AtomicU64::new(0),
            calls: Calls::new(),
        };
        let inner = Arc::new(Inner {
            members: members.into_iter().map(seat).collect(),
            disk: machine.disk.clone(),
            clock: machine.clock.clone(),
            answer_limit,
            uploads: Semaphore::new(UPLOAD_COUNT_MAX),
            missed: Mutex::default(),
            kept: Mutex::default(),
            served: Mutex::default(),
            distrusted: Mutex::default(),
            turns: Turns::new(),
            passed_over: AtomicU64::new(0),
            healed: AtomicU64::new(0),
        });
        let threads = Threads::start()?;
        heal::begin(threads.handle(), &inner);
        Ok(Self { inner, threads })
    }

    /// Copies what members missed to those that answer now, and removes what they kept. Returns how much is left to do.
    pub fn heal(&self) -> usize {
        let inner = self.inner.clone();
        let healed = begin(self.threads.handle(), async move { Ok(inner.heal().await) });
        wait(healed).unwrap_or_else(|_| self.inner.missed.lock().len())
    }

    fn begin<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Later<'_, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        begin(self.threads.handle(), work(self.inner.clone()))
    }
}

impl Inner {
    /// How many members have what a put returned for.
    fn quorum(&self) -> usize {
        self.members.len() - 1
    }

    /// Whether what is replaced in place must reach every member: most of two are both.
    fn needs_all(&self) -> bool {
        self.quorum() * 2 <= self.members.len()
    }

    /// How many answers are enough to meet any put that returned.
    fn enough(&self) -> usize {
        self.members.len() - self.quorum() + 1
    }

    fn miss(&self, index: usize, key: Key) {
        let mut missed = self.missed.lock();
        if missed.len() < MISSED_COUNT_MAX {
            missed.insert((index, key));
        }
    }

    /// Whether a member removed something.
    fn note_removal(&self, index: usize, key: Key, is_gone: bool) {
        let mut kept = self.kept.lock();
        if is_gone {
            kept.remove(&(index, key));
        } else if kept.len() < MISSED_COUNT_MAX {
            kept.insert((index, key));
        }
    }

    /// What is put is not what was removed before under the same key.
    fn is_wanted_again(&self, keys: &[Key]) {
        let mut kept = self.kept.lock();
        for key in keys {
            (0..self.members.len()).for_each(|index| _ = kept.remove(&(index, *key)));
        }
    }

    /// Members in the order to read from: well before away, trusted before not, then by pace; none that kept what was removed.
    fn order(&self, key: Key) -> Vec<usize> {
        let distrusted = self.distrusted.lock().get(&key).cloned().unwrap_or_default();
        let missed = self.missed.lock();
        let kept = self.kept.lock();
        let mut order: Vec<usize> =
            (0..self.members.len()).filter(|index| !kept.contains(&(*index, key))).collect();
        drop(kept);
        order.sort_by_key(|index| {
            let doubtful = distrusted.contains(index) || missed.contains(&(*index, key));
            let pace = self.members[*index].pace.load(Ordering::Relaxed);
            (doubtful, self.is_away(*index), pace)
        });
        order
    }

    async fn get(&self, key: Key, range: Option<Range<u64>>) -> Result<Bytes> {
        range.as_ref().map(wanted).transpose()?;
        if is_replaced(key) && range.is_none() {
            return self.agreed(key).await;
        }
        let mut lacking = Vec::new();
        let mut failed: Option<Error> = None;
        for index in self.order(key) {
            let (clock, began) = (self.clock.clone(), self.clock.elapsed());
            let wanted = range.clone();
            match self.ask(index, move |store| wait(store.get(key, wanted))).await {
                Ok(bytes) => {
                    self.pace(index, clock.elapsed().saturating_sub(began));
                    self.serve(key, index, &lacking);
                    return Ok(bytes);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => lacking.push(index),
                // A copy that is cut short may be whole elsewhere.
                Err(error) => {
                    let worse = failed.as_ref().is_none_or(|f| f.kind() != ErrorKind::Corrupt);
                    failed = if worse { Some(error) } else { failed };
                }
            }
        }
        Err(self.missing(key, lacking.len(), failed))
    }

    /// Why nobody gave something that `lacking_count` members do not have.
    fn missing(&self, key: Key, lacking_count: usize, failed: Option<Error>) -> Error {
        match failed {
            Some(error) if error.kind() == ErrorKind::Corrupt => error,
            Some(error) if lacking_count < self.enough() => error,
            _ => Error::new(ErrorKind::NotFound, format!("`{key}` is not stored")),
        }
    }

    /// What there is of a range. Where one member says that it ends, another is asked for the rest: a copy may be cut short.
    async fn read_ahead(&self, key: Key, range: Range<u64>) -> Result<Bytes> {
        let (mut lacking, mut failed) = (Vec::new(), None);
        let (mut source, mut got) = (None, Bytes::new());
        for index in self.order(key) {
            let rest = range.start + got.len() as u64..range.end;
            match self.ask(index, move |store| wait(store.read_ahead(key, rest))).await {
                Ok(more) => {
                    let is_end = source.is_some() && more.is_empty();
                    source = source.or(Some(index));
                    got = if got.is_empty() { more } else { [got, more].concat().into() };
                    if is_end || got.len() as u64 >= range.end - range.start {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => lacking.push(index),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let Some(source) = source else { return Err(self.missing(key, lacking.len(), failed)) };
        self.serve(key, source, &lacking);
        Ok(got)
    }

    fn pace(&self, index: usize, took: Duration) {
        let pace = &self.members[index].pace;
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let before = pace.load(Ordering::Relaxed);
        let after = if before == 0 { took } else { before - before / 8 + took / 8 };
        pace.store(after.max(1), Ordering::Relaxed);
    }

    fn serve(&self, key: Key, index: usize, lacking: &[usize]) {
        let mut served = self.served.lock();
        if served.len() >= SERVED_COUNT_MAX {
            served.clear();
        }
        served.insert(key, index);
        drop(served);
        for other in lacking {
            self.passed_over.fetch_add(1, Ordering::Relaxed);
            self.miss(*other, key);
        }
    }

    /// Bytes of a body, read once for all members.
    async fn whole(&self, key: Key, body: Body) -> Result<Bytes> {
        let path = match body {
            Body::Bytes(bytes) => return Ok(bytes),
            Body::File(path) => path,
        };
        let disk = self.disk.clone();
        let read = tokio::task::spawn_blocking(move || read_all(&*disk, &path)).await;
        let failed = || {
            let text = format!("`{key}` cannot be read from the staging folder");
            Error::new(ErrorKind::Internal, text)
        };
        let bytes = read.map_err(|_| failed())?.map_err(|_| failed())?;
        Ok(bytes.into())
    }

    /// Does something on all members side by side, those left alone aside unless they are needed. Returns what each
    /// said; none where nobody asked.
    async fn on_all<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Fn(&dyn Store) -> Result<T> + Clone + Send + 'static,
    ) -> Vec<Option<Result<T>>> {
        self.on_all_within(self.answer_limit, work).await
    }

    /// As `on_all`; each has so long if it is near.
    async fn on_all_within<T: Send + 'static>(
        self: &Arc<Self>,
        limit: Duration,
        work: impl Fn(&dyn Store) -> Result<T> + Clone + Send + 'static,
    ) -> Vec<Option<Result<T>>> {
        let well = (0..self.members.len()).filter(|index| !self.is_away(*index));
        self.on_most(well.collect(), limit, work).await
    }

    /// Does something on these members side by side, on all if these are too few.
    async fn on_most<T: Send + 'static>(
        self: &Arc<Self>,
        well: Vec<usize>,
        limit: Duration,
        work: impl Fn(&dyn Store) -> Result<T> + Clone + Send + 'static,
    ) -> Vec<Option<Result<T>>> {
        let asked: Vec<usize> = match well.len() >= self.quorum() {
            true => well,
            false => (0..self.members.len()).collect(),
        };
        let mut begun = Vec::new();
        for index in asked {
            let (inner, work) = (self.clone(), work.clone());
            begun.push((
                index,
                tokio::spawn(async move { inner.ask_within(index, limit, work).await }),
            ));
        }
        let mut said: Vec<Option<Result<T>>> = (0..self.members.len()).map(|_| None).collect();
        for (index, answer) in begun {
            let ended = |_| Err(Error::new(ErrorKind::Unavailable, "the request was given up"));
            said[index] = Some(answer.await.unwrap_or_else(ended));
        }
        said
    }

    /// Whether enough members took something; whoever did not has missed `keys`.
    fn settle<T>(&self, keys: &[Key], said: Vec<Option<Result<T>>>) -> Result<()> {
        let mut failed = None;
        let mut count = 0;
        for (index, answer) in said.into_iter().enumerate() {
            match answer {
                Some(Ok(_)) => count += 1,
                other => {
                    // What a member says of the thing itself counts before what it says of its own state.
                    let error = other.and_then(Result::err);
                    let about = error.as_ref().is_some_and(|e| e.kind() == ErrorKind::Corrupt);
                    failed = if about { error } else { failed.or(error) };
                    keys.iter().for_each(|key| self.miss(index, *key));
                }
            }
        }
        if count >= self.quorum() {
            return Ok(());
        }
        let away = || Error::new(ErrorKind::Unavailable, "too many members of the mirror are away");
        Err(failed.unwrap_or_else(away))
    }

    async fn put_many(self: &Arc<Self>, bodies: Vec<(Key, Body)>) -> Result<Vec<Uploaded>> {
        let mut whole = Vec::with_capacity(bodies.len());
        for (key, body) in bodies {
            whole.push((key, self.whole(key, body).await?));
        }
        let keys: Vec<Key> = whole.iter().map(|(key, _)| *key).collect();
        self.is_wanted_again(&keys);
        let replaced: Vec<Key> = keys.iter().copied().filter(|key| is_replaced(*key)).collect();
        let attest = |(key, bytes): &(Key, Bytes)| Uploaded::attest(*key, bytes.len() as u64);
        let uploaded: Vec<Uploaded> = whole.iter().map(attest).collect();
        let limit = self.limit_for(uploaded.iter().map(Uploaded::len).sum());
        let work = move |store: &dyn Store| {
            let bodies = whole.iter().map(|(key, bytes)| (*key, Body::Bytes(bytes.clone())));
            wait(store.put_many(bodies.collect())).map(drop)
        };
        // ORDER: before anything is read. What was there is not copied to a member after it was replaced on it.
        let turning: Vec<Key> = keys.iter().copied().filter(|key| may_change(*key)).collect();
        let turns = self.turns.take(&turning).await;
        match replaced.is_empty() {
            false => self.replace(replaced, &keys, limit, work).await?,
            true => self.settle_put(&keys, self.on_all_within(limit, work).await)?,
        }
        drop(turns);
        Ok(uploaded)
    }

    async fn read_from(&self, index: usize, key: Key) -> Result<Bytes> {
        self.ask(index, move |store| wait(store.get(key, None))).await
    }

    async fn list(self: &Arc<Self>, family: Family, after: Option<Key>) -> Result<Vec<Listed>> {
        require_same_family(family, after)?;
        let said = self.on_all(move |store| wait(store.list(family, after))).await;
        let mut found: BTreeMap<Key, u64> = BTreeMap::new();
        let mut end: Option<Key> = None;
        let (mut count, mut failed) = (0, None);
        for answer in said.into_iter().flatten() {
            match answer {
                Ok(page) => {
                    count += 1;
                    // Beyond the end of a full page that member may have more in between.
                    if let Some(last) = page.last().filter(|_| page.len() >= LIST_COUNT_MAX) {
                        end = Some(end.map_or(last.key, |end: Key| end.min(last.key)));
                    }
                    for listed in page {
                        found.entry(listed.key).or_insert(listed.len);
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        if count < self.quorum() {
            let away =
                || Error::new(ErrorKind::Unavailable, "too few members of the mirror answer");
            return Err(failed.unwrap_or_else(away));
        }
        let within = found.into_iter().take_while(|(key, _)| end.is_none_or(|end| *key <= end));
        Ok(within.take(LIST_COUNT_MAX).map(|(key, len)| Listed { key, len }).collect())
    }

    fn distrust(&self, key: Key) -> bool {
        let Some(index) = self.served.lock().get(&key).copied() else { return false };
        let mut distrusted = self.distrusted.lock();
        let bad = distrusted.entry(key).or_default();
        bad.insert(index);
        self.passed_over.fetch_add(1, Ordering::Relaxed);
        bad.len() < self.members.len()
    }
}

/// Things that are replaced in place, so that an old copy of one looks like a true one.
pub fn is_replaced(key: Key) -> bool {
    match key {
        Key::Workspace | Key::Device(_) | Key::Request(_) => true,
        Key::Counter(_) | Key::Ask(_) | Key::Answer(_) => true,
        Key::Policy(PolicyKey { shelf, .. }) => match shelf {
            Shelf::Cell | Shelf::Tile => true,
            Shelf::Log | Shelf::Node | Shelf::Object => false,
        },
        Key::Organisation(_) | Key::Log(_) | Key::Object(_) | Key::Checkpoint(_) => false,
    }
}

impl Store for MirrorStore {
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        self.begin(|inner| async move { inner.get(key, range).await })
    }

    fn read_ahead<'a>(&'a self, key: Key, range: Range<u64>) -> Later<'a, Bytes> {
        if range.is_empty() {
            return self.get(key, Some(range));
        }
        self.begin(|inner| async move { inner.read_ahead(key, range).await })
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        self.begin(|inner| async move {
            let _turn = inner.uploads.acquire().await.expect("never closed");
            let mut uploaded = inner.put_many(vec![(key, body)]).await?;
            Ok(uploaded.remove(0))
        })
    }

    fn put_many<'a>(&'a self, bodies: Vec<(Key, Body)>) -> Later<'a, Vec<Uploaded>> {
        self.begin(|inner| async move { inner.put_many(bodies).await })
    }

    fn is_far(&self) -> bool {
        self.inner.members.iter().any(|seat| seat.member.store.is_far())
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        self.begin(|inner| async move { inner.put_if_absent(key, bytes).await })
    }

    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>> {
        self.begin(|inner| async move { inner.list(family, after).await })
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        self.begin(|inner| async move { inner.delete(key).await })
    }

    fn space(&self) -> Option<DiskSpace> {
        let well = (0..self.inner.members.len()).filter(|index| !self.inner.is_away(*index));
        let spaces = well.filter_map(|index| self.inner.space_of(self.threads.handle(), index));
        spaces.min_by_key(|space| space.free_bytes)
    }

    fn will_read(&self, key: Key, range: Range<u64>) {
        if let Some(first) = self.inner.order(key).first() {
            let hint = move |store: &dyn Store| store.will_read(key, range);
            self.inner.tell(self.threads.handle(), *first, hint);
        }
    }

    fn reaches_all(&self) -> bool {
        let none_away = (0..self.inner.members.len()).all(|index| !self.inner.is_away(index));
        none_away && self.inner.missed.lock().is_empty() && self.inner.kept.lock().is_empty()
    }

    fn is_mirrored(&self) -> bool {
        true
    }

    fn distrust(&self, key: Key) -> bool {
        self.inner.distrust(key)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut all: Vec<(&'static str, u64)> = Vec::new();
        for seat in &self.inner.members {
            for (name, count) in seat.member.store.counters() {
                match all.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, sum)) => *sum += count,
                    None => all.push((name, count)),
                }
            }
        }
        let away = (0..self.inner.members.len()).filter(|index| self.inner.is_away(*index));
        all.push(("mirror_away", away.count() as u64));
        all.push(("mirror_healed", self.inner.healed.load(Ordering::Relaxed)));
        all.push(("mirror_missed", self.inner.missed.lock().len() as u64));
        all.push(("mirror_passed_over", self.inner.passed_over.load(Ordering::Relaxed)));
        all
    }
}
