//! Asking members, on threads that may block: how long each is waited for, and how it is.
//!
//! 1. A member over a network gives up by itself ([`crate::Patience`]). One that is near, as a folder of a server that is gone,
//!    may never return: who asked waits for it no longer than a limit.
//! 2. What did not return may still be done. The member is asked for nothing before it has, so that nothing old comes after
//!    what is new.
//! 3. One member holds so many threads and no more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_host::thread::wait_within;
use strongroom_store::{DiskSpace, Error, ErrorKind, Result, Store};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Inner, Seat};

/// LIMIT: how long a member that failed is left alone.
const AWAY: Duration = Duration::from_secs(5);
/// LIMIT: threads that wait for one member. Eight members have as many as there are.
const THREAD_COUNT: usize = 64;
/// Slowest that a member may take what is put.
const BYTES_PER_SECOND: u64 = 256 << 10;
/// How long the space of a member is believed, and how long it is waited for.
const SPACE_AGE: Duration = Duration::from_millis(250);
const SPACE_LIMIT: Duration = Duration::from_secs(1);

/// What one member was asked and has not answered yet.
pub(super) struct Calls {
    threads: Arc<Semaphore>,
    under_way: Arc<Mutex<UnderWay>>,
    space: Arc<Mutex<Space>>,
}

#[derive(Default)]
struct UnderWay {
    begun_count: u64,
    /// When each is overdue.
    ends: BTreeMap<u64, Duration>,
}

/// What a member said of its space.
#[derive(Default)]
struct Space {
    known: Option<DiskSpace>,
    /// Until when it is believed.
    good_until: Duration,
    is_asked: bool,
}

/// A call that is under way until it is dropped, and its thread.
struct UnderWayCall {
    number: u64,
    under_way: Arc<Mutex<UnderWay>>,
    _thread: OwnedSemaphorePermit,
}

impl Calls {
    pub(super) fn new() -> Self {
        let threads = Arc::new(Semaphore::new(THREAD_COUNT));
        Self { threads, under_way: Arc::default(), space: Arc::default() }
    }

    /// Whether something has not returned that should have.
    fn is_overdue(&self, now: Duration) -> bool {
        self.under_way.lock().ends.values().any(|end| *end <= now)
    }

    fn begin(&self, end: Duration, thread: OwnedSemaphorePermit) -> UnderWayCall {
        let mut under_way = self.under_way.lock();
        under_way.begun_count += 1;
        let number = under_way.begun_count;
        under_way.ends.insert(number, end);
        UnderWayCall { number, under_way: self.under_way.clone(), _thread: thread }
    }
}

impl Drop for UnderWayCall {
    fn drop(&mut self) {
        self.under_way.lock().ends.remove(&self.number);
    }
}

impl Seat {
    /// When a call that begins now is overdue.
    fn end(&self, now: Duration, limit: Duration) -> Duration {
        if self.member.store.is_far() { Duration::MAX } else { now.saturating_add(limit) }
    }
}

impl Inner {
    /// How long a member is waited for that is given so many bytes.
    pub(super) fn limit_for(&self, len: u64) -> Duration {
        self.answer_limit + Duration::from_secs(len / BYTES_PER_SECOND)
    }

    /// Asks one member for something that takes no time to speak of.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        index: usize,
        work: impl FnOnce(&dyn Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask_within(index, self.answer_limit, work).await
    }

    /// Asks one member, which has so long if it is near.
    pub(super) async fn ask_within<T: Send + 'static>(
        &self,
        index: usize,
        limit: Duration,
        work: impl FnOnce(&dyn Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let is_far = self.members[index].member.store.is_far();
        let asked = self.call(index, limit, work);
        let result = match is_far {
            true => asked.await,
            false => timeout(limit, asked).await.unwrap_or_else(|_| Err(silent())),
        };
        self.note(index, result.as_ref().err().map(Error::kind));
        result
    }

    async fn call<T: Send + 'static>(
        &self,
        index: usize,
        limit: Duration,
        work: impl FnOnce(&dyn Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let seat = &self.members[index];
        let is_overdue = || seat.calls.is_overdue(self.clock.elapsed());
        if is_overdue() {
            return Err(silent());
        }
        let thread = seat.calls.threads.clone().acquire_owned().await.expect("never closed");
        if is_overdue() {
            return Err(silent());
        }
        // ORDER: after the wait for a thread. Who waited for one has asked nothing yet.
        let now = self.clock.elapsed();
        let call = seat.calls.begin(seat.end(now, limit), thread);
        let store = seat.member.store.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let _call = call;
            work(&*store)
        });
        let ended = |_| Error::new(ErrorKind::Unavailable, "the request was given up");
        asked.await.map_err(ended).and_then(|result| result)
    }

    fn note(&self, index: usize, failed: Option<ErrorKind>) {
        use ErrorKind as K;
        let mut away_until = self.members[index].away_until.lock();
        self.members[index].is_full.store(failed == Some(K::Full), Ordering::Relaxed);
        match failed {
            None | Some(K::NotFound | K::Exists | K::Corrupt) => *away_until = Duration::ZERO,
            // Requests that make no sense are refused before: what a member takes for one is a fault of the member.
            Some(
                K::ReadOnly
                | K::Unavailable
                | K::Full
                | K::Denied
                | K::Unsupported
                | K::Internal
                | K::Invalid,
            ) => *away_until = self.clock.elapsed() + AWAY,
        }
    }

    pub(super) fn is_away(&self, index: usize) -> bool {
        let (seat, now) = (&self.members[index], self.clock.elapsed());
        *seat.away_until.lock() > now || seat.calls.is_overdue(now)
    }

    /// Whether a member is to remove something now. One that is away because it is full has room then.
    pub(super) fn may_remove(&self, index: usize) -> bool {
        !self.is_away(index) || self.members[index].is_full.load(Ordering::Relaxed)
    }

    /// Tells a member something that it need not answer. What is said of its health counts for nothing.
    pub(super) fn tell(
        self: &Arc<Self>,
        handle: &Handle,
        index: usize,
        work: impl FnOnce(&dyn Store) + Send + 'static,
    ) {
        let inner = self.clone();
        drop(handle.spawn(async move {
            let told = |store: &dyn Store| {
                work(store);
                Ok(())
            };
            inner.call(index, inner.answer_limit, told).await
        }));
    }

    /// What a member last said of its space; it is asked again where that is old, and waited for a moment.
    pub(super) fn space_of(self: &Arc<Self>, handle: &Handle, index: usize) -> Option<DiskSpace> {
        let (space, now) = (self.members[index].calls.space.clone(), self.clock.elapsed());
        let mut believed = space.lock();
        if believed.is_asked || believed.good_until > now {
            return believed.known;
        }
        believed.is_asked = true;
        drop(believed);
        let (inner, said) = (self.clone(), space.clone());
        let asked = handle.spawn(async move {
            let found = inner.call(index, inner.answer_limit, |store| Ok(store.space())).await;
            let mut said = said.lock();
            said.known = found.unwrap_or(said.known);
            said.good_until = inner.clock.elapsed() + SPACE_AGE;
            said.is_asked = false;
        });
        let _ = wait_within(SPACE_LIMIT, asked);
        space.lock().known
    }
}

fn silent() -> Error {
    Error::new(ErrorKind::Unavailable, "a member of the mirror does not answer")
}
