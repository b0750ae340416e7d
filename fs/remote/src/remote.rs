//! A store over a network: keys, retries, deadlines and counts around single requests.
//!
//! ```text
//! Store call -> begun on the store's own threads -> retry -> Transport: one request
//! ```
//!
//! 1. Whatever is asked begins at once and goes on side by side; the caller may wait on any executor or thread.
//! 2. Every operation ends, with `Unavailable`, once nothing moves for a while.
//! 3. An object that is there is never written again: puts of objects are conditional, and so are those of state that is
//!    replaced in place ([`crate::cells`]).
//! 4. A put-if-absent whose answer was lost reads back what is there, so that it is not taken for somebody else's.

use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_host::clock::Clock;
use strongroom_host::disk::{Disk, read_all};
use strongroom_host::entropy::Entropy;
use strongroom_store::{
    Body, Error, ErrorKind, Family, Key, LIST_COUNT_MAX, Later, Listed, Put, Result, Store,
    Uploaded, require_same_family, wanted,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cells::{Tags, is_cell};
use crate::counts::{Act, Counts};
use crate::meter::Meter;
use crate::retry::{Patience, Retry, Tried};
use crate::runtime::{Threads, begin};
use crate::timer::MachineTimer;
use crate::transport::{Condition, Fault, FaultKind, Tag, Transport};
use crate::turns::Turns;

/// LIMIT: bodies on their way out at a time, up to 8 MiB each.
const UPLOAD_COUNT_MAX: usize = 8;
/// LIMIT: long answers on their way in at a time, and short requests beside both.
const REQUEST_COUNT_MAX: usize = 32;
/// What is longer waits for a turn among its like, so that what is short does not wait behind it.
const SHORT_LEN_MAX: u64 = 256 << 10;

/// LIMIT: a server that does not answer the first question by then is told to be away.
const FIRST_WORD_LIMIT: Duration = Duration::from_secs(10);

/// What a network store needs of this machine.
#[derive(Clone)]
pub struct Machine {
    /// Where staged bodies lie.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

/// Whether a store may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// Gets and lists only.
    ReadOnly,
}

/// A store behind a [`Transport`].
pub struct RemoteStore {
    inner: Arc<Inner>,
    threads: Threads,
    access: Access,
}

pub(crate) struct Inner {
    transport: Arc<dyn Transport>,
    retry: Retry,
    disk: Arc<dyn Disk>,
    files: Semaphore,
    uploads: Turns,
    downloads: Turns,
    requests: Turns,
    pub(crate) tags: Tags,
    /// What says which workspace it is: opening asks for it many times, and it never changes.
    workspace: Mutex<Option<Bytes>>,
}

impl RemoteStore {
    /// A store over `transport`.
    ///
    /// # Errors
    /// `Internal` when the machine gives no threads.
    pub fn new(
        transport: Box<dyn Transport>,
        machine: &Machine,
        patience: Patience,
        access: Access,
    ) -> Result<Self> {
        Ok(Self::on(Threads::start()?, transport, machine, patience, access))
    }

    pub(crate) fn on(
        threads: Threads,
        transport: Box<dyn Transport>,
        machine: &Machine,
        patience: Patience,
        access: Access,
    ) -> Self {
        let timer = Arc::new(MachineTimer(machine.clock.clone()));
        let retry = Retry::new(patience, timer, machine.entropy.clone());
        let inner = Inner {
            transport: transport.into(),
            retry,
            disk: machine.disk.clone(),
            files: Semaphore::new(UPLOAD_COUNT_MAX),
            uploads: Turns::new(UPLOAD_COUNT_MAX),
            downloads: Turns::new(REQUEST_COUNT_MAX),
            requests: Turns::new(REQUEST_COUNT_MAX),
            tags: Tags::default(),
            workspace: Mutex::default(),
        };
        Self { inner: Arc::new(inner), threads, access }
    }

    /// Whether a workspace is there: the first word with a server, with less patience than later ones.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Invalid`.
    pub fn has_workspace(&self) -> Result<bool> {
        let inner = self.inner.clone();
        let asked = begin(self.handle(), async move {
            // Not a HEAD: its refusal has no body, and a missing bucket would look like a missing workspace.
            match timeout(FIRST_WORD_LIMIT, inner.get(Key::Workspace, None)).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::new(ErrorKind::Unavailable, "the server does not answer")),
            }
        });
        match strongroom_store::wait(asked) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Requests so far.
    pub fn counts(&self) -> &Counts {
        &self.inner.retry.counts
    }

    /// The threads that drive requests.
    pub(crate) fn handle(&self) -> &Handle {
        self.threads.handle()
    }

    pub(crate) fn transport(&self) -> &Arc<dyn Transport> {
        &self.inner.transport
    }

    pub(crate) fn patience(&self) -> Patience {
        self.inner.retry.patience()
    }

    fn need_write(&self) -> Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Error::new(ErrorKind::ReadOnly, "the store is open read-only")),
        }
    }

    /// Begins a change, if changes are allowed.
    fn change<'a, T, F>(&'a self, work: impl FnOnce(Arc<Inner>) -> F) -> Later<'a, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        // By this store itself it may be replaced or removed.
        *self.inner.workspace.lock() = None;
        match self.need_write() {
            Ok(()) => begin(self.handle(), work(self.inner.clone())),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl Store for RemoteStore {
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        let inner = self.inner.clone();
        begin(self.handle(), async move { inner.get(key, range).await })
    }

    fn read_ahead<'a>(&'a self, key: Key, range: Range<u64>) -> Later<'a, Bytes> {
        if range.is_empty() {
            return self.get(key, Some(range));
        }
        let inner = self.inner.clone();
        begin(self.handle(), async move { inner.read_ahead(key, range).await })
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        self.change(|inner| async move { inner.put(key, body).await })
    }

    fn put_many<'a>(&'a self, bodies: Vec<(Key, Body)>) -> Later<'a, Vec<Uploaded>> {
        let puts = bodies.into_iter().map(|(key, body)| self.put(key, body)).collect();
        Box::pin(all(puts))
    }

    fn is_far(&self) -> bool {
        true
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        self.change(|inner| async move { inner.put_if_absent(key, bytes).await })
    }

    /// A server gives a name to what it keeps, and a put that it refuses would make nothing more durable.
    fn make_durable<'a>(&'a self, _key: Key) -> Later<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>> {
        let inner = self.inner.clone();
        begin(self.handle(), async move { inner.list(family, after).await })
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        self.change(|inner| async move {
            let path = key.path();
            let ask = |_| inner.transport.delete(&path);
            let deleted = inner.ask(Act::Delete, 0, ask).await.result;
            inner.tags.forget(key);
            deleted.map_err(|fault| refused(key, &fault))
        })
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counts().named()
    }
}

impl Inner {
    /// One request, tried as long as it makes sense, with others beside it up to the limit. `bytes` go one way or the other.
    async fn ask<T, F>(&self, act: Act, bytes: u64, attempt: impl FnMut(Meter) -> F) -> Tried<T>
    where
        F: Future<Output = std::result::Result<T, Fault>>,
    {
        let turns = match act {
            Act::Put if bytes > SHORT_LEN_MAX => &self.uploads,
            Act::Get if bytes > SHORT_LEN_MAX => &self.downloads,
            Act::Put | Act::Get | Act::Head | Act::List | Act::Delete => &self.requests,
        };
        self.retry.persist(act, turns, attempt).await
    }

    pub(crate) async fn get(&self, key: Key, range: Option<Range<u64>>) -> Result<Bytes> {
        let path = key.path();
        let Some(range) = range else {
            let known = self.workspace.lock().clone().filter(|_| key == Key::Workspace);
            if let Some(known) = known {
                return Ok(known);
            }
            let ask = |meter| self.transport.get(&path, None, meter);
            let got = self.ask(Act::Get, 0, ask).await.result;
            match &got {
                Ok(got) => self.tags.note(key, Some(got.tag.clone())),
                Err(fault) if fault.kind == FaultKind::NotFound => self.tags.note(key, None),
                Err(_) => {}
            }
            let bytes = self.received(got.map_err(|fault| refused(key, &fault))?.bytes)?;
            if key == Key::Workspace {
                *self.workspace.lock() = Some(bytes.clone());
            }
            return Ok(bytes);
        };
        let wanted = wanted(&range)?;
        if wanted == 0 {
            let len = self.len(key).await?;
            return if len < range.end {
                Err(too_short(key, len, range.end))
            } else {
                Ok(Bytes::new())
            };
        }
        let bytes = self.read_ahead(key, range.clone()).await?;
        if (bytes.len() as u64) < wanted {
            return Err(too_short(key, range.start + bytes.len() as u64, range.end));
        }
        Ok(bytes)
    }

    /// `range` is not empty.
    async fn read_ahead(&self, key: Key, range: Range<u64>) -> Result<Bytes> {
        let path = key.path();
        let ask = |meter| self.transport.get(&path, Some(range.clone()), meter);
        let got = self.ask(Act::Get, range.end - range.start, ask).await.result;
        self.received(got.map_err(|fault| refused(key, &fault))?.bytes)
    }

    fn received(&self, bytes: Bytes) -> Result<Bytes> {
        self.retry.counts.read(bytes.len() as u64);
        Ok(bytes)
    }

    async fn len(&self, key: Key) -> Result<u64> {
        let path = key.path();
        let len = self.ask(Act::Head, 0, |_| self.transport.len(&path)).await.result;
        len.map_err(|fault| refused(key, &fault))
    }

    async fn put(&self, key: Key, body: Body) -> Result<Uploaded> {
        let _turn = match &body {
            // Read when it is its turn: not all of a large batch at once.
            Body::File(_) => Some(self.files.acquire().await.expect("never closed")),
            Body::Bytes(_) => None,
        };
        let bytes = match body {
            Body::Bytes(bytes) => bytes,
            Body::File(path) => self.read_staged(key, &path).await?,
        };
        if is_cell(key) {
            return self.put_cell(key, bytes).await;
        }
        let len = bytes.len() as u64;
        let condition = match key {
            Key::Object(_) => Condition::Absent,
            _ => Condition::Replace,
        };
        match self.send(key, bytes, condition).await.result {
            Ok(_) => {}
            Err(fault) if fault.kind == FaultKind::Exists => self.keep_first(key, len).await?,
            Err(fault) => return Err(refused(key, &fault)),
        }
        Ok(Uploaded::attest(key, len))
    }

    pub(crate) async fn send(
        &self,
        key: Key,
        bytes: Bytes,
        condition: Condition,
    ) -> Tried<Option<Tag>> {
        let path = key.path();
        let len = bytes.len() as u64;
        let ask = |meter| self.transport.put(&path, bytes.clone(), condition.clone(), meter);
        let tried = self.ask(Act::Put, len, ask).await;
        if tried.result.is_ok() {
            self.retry.counts.written(len);
        }
        tried
    }

    async fn read_staged(&self, key: Key, path: &Path) -> Result<Bytes> {
        let (disk, path) = (self.disk.clone(), path.to_path_buf());
        let read = tokio::task::spawn_blocking(move || read_all(&*disk, &path)).await;
        let failed = || {
            Error::new(
                ErrorKind::Internal,
                format!("`{key}` cannot be read from the staging folder"),
            )
        };
        Ok(read.map_err(|_| failed())?.map_err(|_| failed())?.into())
    }

    /// A second put of an object: what was there first stays.
    async fn keep_first(&self, key: Key, len: u64) -> Result<()> {
        let there = self.len(key).await?;
        if there == len {
            return Ok(());
        }
        let text = format!("`{key}` has {there} bytes, another version {len}");
        Err(Error::new(ErrorKind::Corrupt, text))
    }

    async fn put_if_absent(&self, key: Key, bytes: Bytes) -> Result<Put> {
        let len = bytes.len() as u64;
        let tried = self.send(key, bytes.clone(), Condition::Absent).await;
        match tried.result {
            Ok(_) => Ok(Put::Created(Uploaded::attest(key, len))),
            Err(fault) if fault.kind == FaultKind::Exists => {
                // Ours, if a try before this one was done and its answer lost.
                let is_ours = tried.is_doubtful && self.get(key, None).await? == bytes;
                Ok(if is_ours { Put::Created(Uploaded::attest(key, len)) } else { Put::Exists })
            }
            Err(fault) => Err(refused(key, &fault)),
        }
    }

    async fn list(&self, family: Family, after: Option<Key>) -> Result<Vec<Listed>> {
        require_same_family(family, after)?;
        let prefix = format!("{}/", family.folder());
        let mut last = after.map(Key::path);
        let mut found = Vec::new();
        loop {
            let wanted = LIST_COUNT_MAX - found.len();
            let ask = |meter| self.transport.list(&prefix, last.as_deref(), wanted, meter);
            let page = self.ask(Act::List, 0, ask).await.result.map_err(|fault| {
                let text = format!("the store cannot be listed: {fault}");
                Error::new(kind_of(fault.kind), text)
            })?;
            // Names that are no keys are not ours: left alone and not shown.
            found.extend(page.entries.iter().filter_map(|entry| {
                let key = Key::parse(&entry.path).filter(|key| key.family() == Some(family))?;
                Some(Listed { key, len: entry.len })
            }));
            if !page.has_more || found.len() >= LIST_COUNT_MAX {
                return Ok(found);
            }
            let reached = page.entries.into_iter().next_back().map(|entry| entry.path);
            if reached <= last {
                let text = "the store says that its list goes on, and does not go on with it";
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
            last = reached;
        }
    }
}

/// Waits for all, so that none is cut off half way because another failed; then the first failure counts.
pub(crate) async fn all<T>(begun: Vec<Later<'_, T>>) -> Result<Vec<T>> {
    let mut done = Vec::with_capacity(begun.len());
    let mut failed = None;
    for one in begun {
        match one.await {
            Ok(value) => done.push(value),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(done), Err)
}

fn kind_of(kind: FaultKind) -> ErrorKind {
    match kind {
        FaultKind::NotFound => ErrorKind::NotFound,
        FaultKind::Exists => ErrorKind::Exists,
        FaultKind::Contended | FaultKind::Throttled | FaultKind::Broken => ErrorKind::Unavailable,
        FaultKind::Denied => ErrorKind::Denied,
        FaultKind::Full => ErrorKind::Full,
        FaultKind::Unsupported => ErrorKind::Unsupported,
        FaultKind::Invalid => ErrorKind::Invalid,
    }
}

pub(crate) fn refused(key: Key, fault: &Fault) -> Error {
    Error::new(kind_of(fault.kind), format!("`{key}`: {fault}"))
}

fn too_short(key: Key, len: u64, end: u64) -> Error {
    Error::new(ErrorKind::Corrupt, format!("`{key}` ends at {len}, {end} bytes were expected"))
}
