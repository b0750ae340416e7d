//! The same store behind a network, as far as a workspace can tell: what goes there is worth beginning early, and takes its time.
//!
//! Where the line is slow, objects that were begun are on their way when the process ends. By the seed one of them
//!
//! ```text
//! has arrived       and nobody was told
//! arrives later     during some call of whoever comes next
//! never arrives
//! ```

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::AddAssign;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_host::disk::read_all;
use strongroom_host::sim::{Chance, SimDisk};
use strongroom_store::over::{Call, Over};
use strongroom_store::{Body, Error, ErrorKind, Key, Later, Put, Result, Store, Uploaded, now};

use super::world::Setting;

/// How often a put is asked at most whether it has ended, before it has.
const POLLS_MAX: u64 = 4;
/// Within how many calls what arrives late does.
const LATE_MAX: u64 = 60;

/// A store that says it is far away.
pub struct Distant {
    store: Arc<dyn Store>,
    disk: SimDisk,
    line: Line,
}

/// The line to it, which outlives who sends.
#[derive(Clone, Default)]
pub struct Line(Arc<Mutex<Way>>);

/// What is on the line.
#[derive(Default)]
struct Way {
    /// None where all arrives at once.
    chance: Option<Chance>,
    sent: BTreeMap<u64, Sent>,
    sent_count: u64,
    /// What arrives after so many calls.
    late: Vec<(u64, Key, Bytes)>,
    /// Commits that arrive before the next process begins. One that came while it is there would be refused: it is mounted again.
    commits: Vec<(Key, Bytes)>,
    fates: Fates,
}

/// A put that was begun and not answered.
struct Sent {
    key: Key,
    bytes: Bytes,
    polls: u64,
    has_arrived: bool,
}

/// What became of puts that nobody was told of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fates {
    /// They had arrived.
    pub arrived: u64,
    /// They arrived later.
    pub late: u64,
    /// They were lost.
    pub lost: u64,
}

impl AddAssign for Fates {
    fn add_assign(&mut self, other: Self) {
        self.arrived += other.arrived;
        self.late += other.late;
        self.lost += other.lost;
    }
}

impl Fates {
    /// Whether each was somebody's.
    pub fn has_all(&self) -> bool {
        [self.arrived, self.late, self.lost].iter().all(|count| *count > 0)
    }
}

impl Line {
    /// A line where it takes as long as the seed says until an object arrives and an answer is back.
    pub fn slow(seed: u64) -> Self {
        let chance = Some(Chance::new(seed ^ 0x00fa_2a3a));
        Self(Arc::new(Mutex::new(Way { chance, ..Way::default() })))
    }

    /// The same setting with the store at its end.
    pub fn setting(&self, setting: Setting) -> Setting {
        Setting { line: Some(self.clone()), ..setting }
    }

    /// A process begins. What the one before it had on its way is on its own.
    pub fn begin(&self, store: Arc<dyn Store>, disk: SimDisk) -> Distant {
        let mut way = self.0.lock();
        let sent = std::mem::take(&mut way.sent);
        sent.into_values().for_each(|sent| way.leave(sent));
        for (key, bytes) in std::mem::take(&mut way.commits) {
            let _ = now(store.put_if_absent(key, bytes));
        }
        drop(way);
        Distant { store, disk, line: self.clone() }
    }

    /// What became of puts that nobody was told of.
    pub fn fates(&self) -> Fates {
        self.0.lock().fates
    }

    fn send(&self, key: Key, bytes: Bytes, has_arrived: bool) -> u64 {
        let mut way = self.0.lock();
        let polls = 1 + way.chance.as_mut().map_or(0, |chance| chance.below(POLLS_MAX));
        way.sent_count += 1;
        let number = way.sent_count;
        way.sent.insert(number, Sent { key, bytes, polls, has_arrived });
        number
    }

    /// Whether one of two or more things happens now.
    fn one_in(&self, count: u64) -> bool {
        self.0.lock().chance.as_mut().is_some_and(|chance| chance.one_in(count))
    }
}

impl Way {
    /// Nobody waits for it any more.
    fn leave(&mut self, sent: Sent) {
        let Some(chance) = &mut self.chance else { return };
        match (sent.has_arrived, chance.one_in(2)) {
            (true, _) => self.fates.arrived += 1,
            (false, true) => {
                self.late.push((chance.below(LATE_MAX), sent.key, sent.bytes));
                self.fates.late += 1;
            }
            (false, false) => self.fates.lost += 1,
        }
    }
}

impl Distant {
    /// The same setting with the store far away, where all arrives at once.
    pub fn setting(setting: Setting) -> Setting {
        Line::default().setting(setting)
    }

    /// Waits until it is answered, which it is when it was asked often enough.
    async fn end(&self, number: u64) -> Result<Uploaded> {
        let given_up = GivenUp { line: &self.line, number };
        poll_fn(|context| {
            let mut way = self.line.0.lock();
            match way.sent.get_mut(&number) {
                Some(sent) if sent.polls > 0 => {
                    sent.polls -= 1;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
        let sent = self
            .line
            .0
            .lock()
            .sent
            .get(&number)
            .map(|sent| (sent.key, sent.bytes.clone(), sent.has_arrived));
        let gone = || Error::new(ErrorKind::Unavailable, "the process that sent it has ended");
        let (key, bytes, has_arrived) = sent.ok_or_else(gone)?;
        let len = bytes.len() as u64;
        if !has_arrived {
            // Where the machine has gone off it goes on, or not.
            self.store.put(key, Body::Bytes(bytes)).await?;
        }
        self.line.0.lock().sent.remove(&number);
        drop(given_up);
        Ok(Uploaded::attest(key, len))
    }

    /// What is late comes, if it is time.
    fn arrive(&self) {
        let due: Vec<_> = {
            let mut way = self.line.0.lock();
            way.late.iter_mut().for_each(|late| late.0 = late.0.saturating_sub(1));
            way.late.extract_if(.., |late| late.0 == 0).collect()
        };
        for (_, key, bytes) in due {
            // On a disk that is off or fails it is as good as lost.
            match now(self.store.get(key, None)) {
                Ok(there) => assert!(there == bytes, "`{key}` was put twice, with other bytes"),
                Err(_) => drop(now(self.store.put(key, Body::Bytes(bytes)))),
            }
        }
    }
}

/// A put that ends without an answer, unless it had one.
struct GivenUp<'a> {
    line: &'a Line,
    number: u64,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        let mut way = self.line.0.lock();
        if let Some(sent) = way.sent.remove(&self.number) {
            way.leave(sent);
        }
    }
}

impl Over for Distant {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, _: Call) -> Result<()> {
        self.arrive();
        Ok(())
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        let Body::File(path) = &body else { return self.store.put(key, body) };
        if self.line.one_in(4) || self.line.0.lock().chance.is_none() {
            return self.store.put(key, body);
        }
        // ORDER: as they are now. What becomes of the file does not change what is on the line.
        let Ok(bytes) = read_all(&self.disk, path) else { return self.store.put(key, body) };
        let bytes = Bytes::from(bytes);
        let has_arrived = self.line.one_in(2);
        if has_arrived && let Err(error) = now(self.store.put(key, Body::Bytes(bytes.clone()))) {
            return Box::pin(std::future::ready(Err(error)));
        }
        Box::pin(self.end(self.line.send(key, bytes, has_arrived)))
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        let put = now(self.store.put_if_absent(key, bytes.clone()));
        if put.is_err() {
            // Where the machine has gone off it goes on, or not.
            let mut way = self.line.0.lock();
            if way.chance.as_mut().is_some_and(|chance| chance.one_in(2)) {
                way.commits.push((key, bytes));
            }
        }
        Box::pin(std::future::ready(put))
    }

    fn is_far(&self) -> bool {
        true
    }
}
