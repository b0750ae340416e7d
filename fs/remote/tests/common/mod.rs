//! A server in memory, with faults on demand, and a machine to run on.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_host::clock::MachineClock;
use strongroom_host::entropy::MachineEntropy;
use strongroom_host::real_disk::RealDisk;
use strongroom_remote::meter::Meter;
use strongroom_remote::transport::{
    Condition, Entry, Fault, FaultKind, Got, Page, Tag, Transport, Trip,
};
use strongroom_remote::{Access, Machine, Patience, RemoteStore};
use tokio::sync::Barrier;

/// What a server does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Serves it.
    Well,
    /// Answers with this status and does nothing.
    Says(u16),
    /// Does it, and the answer is lost.
    LosesAnswer,
    /// Serves it once [`MEETING`] requests are there at the same time.
    Meets,
    /// Never answers.
    Silent,
    /// Never answers, and takes a put when it comes to it: see [`Server::come_to_it`].
    Late,
}

/// How many requests meet.
pub const MEETING: usize = 8;

/// How a server takes `If-None-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditions {
    /// As it should.
    Honoured,
    /// Not at all.
    Ignored,
    /// Looks first and writes later.
    Racy,
    /// Refuses the request.
    Unknown,
}

/// Decides how each request goes: the method, the path, how many there were before.
pub type Moods = Box<dyn Fn(&str, &str, u64) -> Mood + Send + Sync>;

/// The server.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    things: Mutex<BTreeMap<String, Bytes>>,
    count: Mutex<u64>,
    moods: Mutex<Moods>,
    conditions: Conditions,
    meeting: Barrier,
    /// Puts that it has yet to come to.
    late: Mutex<Vec<(String, Bytes, Condition)>>,
    goes_in_circles: AtomicBool,
}

impl Server {
    /// An empty one that serves well.
    pub fn new(conditions: Conditions) -> Self {
        Self(Arc::new(Inner {
            things: Mutex::default(),
            count: Mutex::default(),
            moods: Mutex::new(Box::new(|_, _, _| Mood::Well)),
            conditions,
            meeting: Barrier::new(MEETING),
            late: Mutex::default(),
            goes_in_circles: AtomicBool::new(false),
        }))
    }

    /// From now on.
    pub fn behave(&self, moods: impl Fn(&str, &str, u64) -> Mood + Send + Sync + 'static) {
        *self.0.count.lock() = 0;
        *self.0.moods.lock() = Box::new(moods);
    }

    /// From now on every list begins at its beginning and says that it goes on.
    pub fn lists_in_circles(&self) {
        self.0.goes_in_circles.store(true, Ordering::Relaxed);
    }

    /// Requests since it last changed its behaviour.
    pub fn count(&self) -> u64 {
        *self.0.count.lock()
    }

    /// It takes the puts that came while it was late, as far as it still does. How many it refuses.
    pub fn come_to_it(&self) -> usize {
        let late = std::mem::take(&mut *self.0.late.lock());
        assert!(!late.is_empty());
        let take = |(path, bytes, condition): (String, Bytes, Condition)| {
            self.0.take(&path, bytes, &condition, false)
        };
        late.into_iter().map(take).filter(Result::is_err).count()
    }

    /// What is stored.
    pub fn paths(&self) -> Vec<String> {
        self.0.things.lock().keys().cloned().collect()
    }

    /// A store over it with short deadlines.
    pub fn store(&self) -> RemoteStore {
        RemoteStore::new(Box::new(self.clone()), &machine(), QUICK, Access::ReadWrite).unwrap()
    }

    async fn serve<T>(
        &self,
        method: &str,
        path: &str,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let mood = {
            let mut count = self.0.count.lock();
            let mood = (self.0.moods.lock())(method, path, *count);
            *count += 1;
            mood
        };
        match mood {
            Mood::Well => work.await,
            Mood::Says(status) => Err(Fault::of_status(status, None)),
            Mood::LosesAnswer => {
                work.await?;
                Err(Fault::new(FaultKind::Broken, "no answer"))
            }
            Mood::Meets => {
                self.0.meeting.wait().await;
                work.await
            }
            Mood::Silent | Mood::Late => std::future::pending().await,
        }
    }
}

/// Short deadlines.
pub const QUICK: Patience = Patience {
    whole: Duration::from_secs(2),
    once: Duration::from_millis(500),
    hedge: Duration::from_millis(300),
    pause_min: Duration::from_millis(1),
    pause_max: Duration::from_millis(20),
};

/// This machine.
pub fn machine() -> Machine {
    Machine {
        disk: Arc::new(RealDisk),
        clock: Arc::new(MachineClock::new()),
        entropy: Arc::new(MachineEntropy),
    }
}

impl Inner {
    /// The tag of what is there.
    fn tag(&self, bytes: &Bytes) -> Option<Tag> {
        let tag = || Tag::from(format!("{:?}", blake3::hash(bytes)));
        (self.conditions == Conditions::Honoured).then(tag)
    }

    fn take(
        &self,
        path: &str,
        bytes: Bytes,
        condition: &Condition,
        was_taken: bool,
    ) -> Result<Option<Tag>, Fault> {
        if *condition != Condition::Replace && self.conditions == Conditions::Unknown {
            return Err(Fault::of_status(501, None));
        }
        let mut things = self.things.lock();
        let is_taken = match self.conditions {
            Conditions::Honoured | Conditions::Unknown => things.contains_key(path),
            Conditions::Racy => was_taken,
            Conditions::Ignored => false,
        };
        let is_refused = match condition {
            Condition::Replace => false,
            Condition::Absent => is_taken,
            Condition::Over(tag) => {
                things.get(path).and_then(|there| self.tag(there)).as_ref() != Some(tag)
            }
        };
        if is_refused {
            return Err(Fault::of_status(412, None));
        }
        let tag = self.tag(&bytes);
        things.insert(path.to_owned(), bytes);
        Ok(tag)
    }
}

impl Transport for Server {
    fn get<'a>(&'a self, path: &'a str, range: Option<Range<u64>>, _meter: Meter) -> Trip<'a, Got> {
        Box::pin(self.serve("GET", path, async move {
            let bytes = self.0.things.lock().get(path).cloned();
            let bytes = bytes.ok_or_else(|| Fault::of_status(404, None))?;
            let range = range.unwrap_or(0..bytes.len() as u64);
            let at = |offset: u64| usize::try_from(offset).unwrap().min(bytes.len());
            let tag = self.0.tag(&bytes);
            Ok(Got { bytes: bytes.slice(at(range.start)..at(range.end)), tag })
        }))
    }

    fn put<'a>(
        &'a self,
        path: &'a str,
        bytes: Bytes,
        condition: Condition,
        _meter: Meter,
    ) -> Trip<'a, Option<Tag>> {
        let number = *self.0.count.lock();
        let is_late = (self.0.moods.lock())("PUT", path, number) == Mood::Late;
        if is_late {
            self.0.late.lock().push((path.to_owned(), bytes.clone(), condition.clone()));
        }
        Box::pin(self.serve("PUT", path, async move {
            let was_taken = self.0.things.lock().contains_key(path);
            if self.0.conditions == Conditions::Racy {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.0.take(path, bytes, &condition, was_taken)
        }))
    }

    fn len<'a>(&'a self, path: &'a str) -> Trip<'a, u64> {
        Box::pin(self.serve("HEAD", path, async move {
            let len = self.0.things.lock().get(path).map(|bytes| bytes.len() as u64);
            len.ok_or_else(|| Fault::of_status(404, None))
        }))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        count_max: usize,
        _meter: Meter,
    ) -> Trip<'a, Page> {
        Box::pin(self.serve("LIST", prefix, async move {
            let things = self.0.things.lock();
            let circles = self.0.goes_in_circles.load(Ordering::Relaxed);
            let after = after.filter(|_| !circles);
            let fits =
                |path: &str| path.starts_with(prefix) && after.is_none_or(|after| path > after);
            let mut all = things.iter().filter(|(path, _)| fits(path));
            let entries = all
                .by_ref()
                .take(count_max)
                .map(|(path, bytes)| Entry { path: path.clone(), len: bytes.len() as u64 })
                .collect();
            Ok(Page { entries, has_more: circles || all.next().is_some() })
        }))
    }

    fn delete<'a>(&'a self, path: &'a str) -> Trip<'a, ()> {
        Box::pin(self.serve("DELETE", path, async move {
            self.0.things.lock().remove(path);
            Ok(())
        }))
    }
}
