//! A store with sealed copies of its objects on the local disk, fetched ahead where somebody reads on.
//!
//! ```text
//! get ─ on the shelf ──────────────▶ ready at the first poll
//!     ├ being fetched ─────────────▶ the same bytes for all who wait
//!     └ missing ─▶ wider range ─▶ store ─▶ those who wait ─▶ shelf
//! put ─▶ store; committed ─▶ the staged file moves onto the shelf
//! ```
//!
//! 1. Only objects are kept: they never change. Everything else goes through.
//! 2. What is kept is bounded ([`Limits`]), what is fetched ahead too.
//! 3. Nothing kept is believed: [`Store::distrust`] forgets a copy that did not verify.

mod flights;
mod shelf;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use strongroom_format::ids::ObjectId;
use strongroom_host::disk::{Disk, DiskSpace, read_all};
use strongroom_store::{
    Body, Error, ErrorKind, Family, Key, Later, Listed, Put, Result, Store, Uploaded,
};
use tokio::sync::Semaphore;

use crate::runtime::{Threads, begin};
use flights::{Flight, Flights, WINDOW_LEN_MAX, Why};
pub use shelf::Limits;
use shelf::{HeldFull, Shelf};

/// LIMIT: bodies in memory on their way out.
const UPLOAD_COUNT_MAX: usize = 8;
/// LIMIT: bytes fetched ahead at a time.
const AHEAD_BYTES_MAX: u64 = 64 << 20;

/// A store and its copies.
pub struct CachedStore {
    inner: Arc<Inner>,
    threads: Threads,
}

struct Inner {
    store: Arc<dyn Store>,
    disk: Arc<dyn Disk>,
    shelf: Shelf,
    flights: Mutex<Flights>,
    uploads: Semaphore,
    ahead_bytes: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl CachedStore {
    /// Keeps copies in `folder`.
    ///
    /// # Errors
    /// Those of the disk; `WouldBlock` when another process keeps copies there.
    pub fn open(
        store: Arc<dyn Store>,
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        limits: Limits,
    ) -> io::Result<Self> {
        let shelf = Shelf::open(disk.clone(), folder, limits)?;
        let threads = Threads::start().map_err(|_| io::ErrorKind::OutOfMemory)?;
        let inner = Inner {
            store,
            disk,
            shelf,
            flights: Mutex::default(),
            uploads: Semaphore::new(UPLOAD_COUNT_MAX),
            ahead_bytes: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner), threads })
    }

    /// Fetches a range that is neither here nor on its way.
    fn fetch(&self, id: ObjectId, range: Range<u64>) -> Flight {
        let inner = self.inner.clone();
        let (flight, landing) = inner.flights.lock().begin(id, range.clone());
        drop(self.threads.handle().spawn(async move {
            let fetched = inner.store.read_ahead(Key::Object(id), range.clone()).await;
            landing.tell(&fetched);
            let got = fetched.as_ref().ok().map(|bytes| bytes.len() as u64);
            let mut kept = false;
            if let Ok(bytes) = fetched {
                let shelving = inner.clone();
                let shelved = tokio::task::spawn_blocking(move || {
                    shelving.shelf.insert(id, range.start, &bytes)
                });
                kept = shelved.await.unwrap_or(false);
            }
            let known = match got {
                // Who it was fetched ahead for finds it in memory for a while.
                Some(got) if !kept => inner.flights.lock().linger(id, &landing, got),
                _ => inner.flights.lock().end(id, &landing, got),
            };
            if !known {
                // Distrusted between landing and shelf.
                inner.shelf.forget(id);
            }
        }));
        flight
    }

    fn ranged(&self, id: ObjectId, range: Range<u64>) -> Later<'_, Bytes> {
        let parts = {
            let mut flights = self.inner.flights.lock();
            match self.inner.gather(&flights, id, &range) {
                Some(parts) => {
                    self.inner.hits.fetch_add(1, Ordering::Relaxed);
                    parts
                }
                None => {
                    self.inner.misses.fetch_add(1, Ordering::Relaxed);
                    let wide = flights.widen(id, &range, Why::Asked);
                    drop(flights);
                    vec![Part::Comes(self.fetch(id, wide), range.clone())]
                }
            }
        };
        Box::pin(async move {
            let bytes = join(parts).await?;
            if (bytes.len() as u64) < range.end - range.start {
                let text = format!(
                    "`{}` ends at {}, {} bytes were expected",
                    Key::Object(id),
                    range.start + bytes.len() as u64,
                    range.end
                );
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            Ok(bytes)
        })
    }

    /// Fetches ahead what is neither here nor on its way, while there is room for it.
    fn fetch_ahead(&self, id: ObjectId, range: Range<u64>) {
        let mut at = range.start;
        while at < range.end {
            let wide = {
                let mut flights = self.inner.flights.lock();
                if let Some(flight) = flights.brings(id, at) {
                    at = flight.range.end;
                    continue;
                }
                flights.widen(id, &(at..range.end.min(at + WINDOW_LEN_MAX)), Why::Announced)
            };
            let len = wide.end - wide.start;
            if self.inner.ahead_bytes.fetch_add(len, Ordering::AcqRel) + len > AHEAD_BYTES_MAX {
                self.inner.ahead_bytes.fetch_sub(len, Ordering::AcqRel);
                return;
            }
            at = wide.end;
            let flight = self.fetch(id, wide.clone());
            let inner = self.inner.clone();
            drop(self.threads.handle().spawn(async move {
                // Whoever needs it hears of a failure when he asks.
                let _ = flight.take(&wide).await;
                inner.ahead_bytes.fetch_sub(len, Ordering::AcqRel);
            }));
        }
    }
}

/// A part of what somebody wants.
enum Part {
    /// On its way.
    Comes(Flight, Range<u64>),
    /// From the shelf.
    Here(Bytes),
}

/// The parts in a row, up to one that ends early.
async fn join(parts: Vec<Part>) -> Result<Bytes> {
    let is_one = parts.len() == 1;
    let mut all = BytesMut::new();
    for part in parts {
        let (bytes, wanted) = match part {
            Part::Comes(flight, range) => {
                let wanted = range.end - range.start;
                (flight.take(&range).await?, wanted)
            }
            Part::Here(bytes) => {
                let len = bytes.len() as u64;
                (bytes, len)
            }
        };
        if is_one {
            return Ok(bytes);
        }
        all.extend_from_slice(&bytes);
        if (bytes.len() as u64) < wanted {
            break;
        }
    }
    Ok(all.freeze())
}

impl Inner {
    /// What flights bring of a range and the shelf has, if that is all of it: flights end where windows do, and not where reads do.
    fn gather(&self, flights: &Flights, id: ObjectId, range: &Range<u64>) -> Option<Vec<Part>> {
        if let Some(flight) = flights.find(id, range) {
            return Some(vec![Part::Comes(flight, range.clone())]);
        }
        let (mut parts, mut at) = (Vec::new(), range.start);
        while at < range.end {
            let part = match flights.brings(id, at) {
                Some(flight) => {
                    let end = flight.range.end.min(range.end);
                    Part::Comes(flight.clone(), at..end)
                }
                None => {
                    // A flight ends when what it brought is on the shelf: it may have, since the caller looked there.
                    let end = flights.next_start(id, at).unwrap_or(range.end).min(range.end);
                    Part::Here(self.shelf.find(id, Some(&(at..end)))?)
                }
            };
            at = match &part {
                Part::Comes(_, range) => range.end,
                Part::Here(bytes) => at + bytes.len() as u64,
            };
            parts.push(part);
        }
        Some(parts)
    }

    async fn put(&self, key: Key, body: Body) -> Result<Uploaded> {
        let _turn = self.uploads.acquire().await.expect("never closed");
        let bytes = match body {
            Body::Bytes(bytes) => bytes,
            Body::File(path) => {
                let bytes = self.read_staged(key, path).await?;
                // Kept when the file itself is offered: it need not be written twice.
                return self.store.put(key, Body::Bytes(bytes)).await;
            }
        };
        let uploaded = self.store.put(key, Body::Bytes(bytes.clone())).await?;
        if let Key::Object(id) = key {
            self.shelf.insert(id, 0, &bytes);
        }
        Ok(uploaded)
    }

    /// Fetches what is missing of a range, a window at a time.
    async fn hold(&self, key: Key, range: Range<u64>) -> Result<()> {
        let Key::Object(id) = key else { return Ok(()) };
        let full = |full: HeldFull| {
            let text = format!("what is pinned would take more than {} bytes here", full.bytes_max);
            Error::new(ErrorKind::Full, text)
        };
        if self.shelf.has(id, &range) && self.shelf.hold(id).map_err(full)? {
            return Ok(());
        }
        let mut at = range.start;
        while at < range.end {
            let part = at..range.end.min(at + WINDOW_LEN_MAX);
            at = part.end;
            if self.shelf.has(id, &part) && self.shelf.hold(id).map_err(full)? {
                continue;
            }
            // ORDER: before it is fetched: who tries again later would fetch it each time for nothing.
            self.shelf.fits_held(id, part.end - part.start).map_err(full)?;
            let bytes = self.store.get(key, Some(part.clone())).await?;
            if !self.shelf.insert_held(id, part.start, &bytes).map_err(full)? {
                let text = "a pinned copy could not be written to the disk";
                return Err(Error::new(ErrorKind::Full, text));
            }
        }
        Ok(())
    }

    async fn read_staged(&self, key: Key, path: PathBuf) -> Result<Bytes> {
        let disk = self.disk.clone();
        let read = tokio::task::spawn_blocking(move || read_all(&*disk, &path)).await;
        let failed = || {
            Error::new(
                ErrorKind::Internal,
                format!("`{key}` cannot be read from the staging folder"),
            )
        };
        Ok(read.map_err(|_| failed())?.map_err(|_| failed())?.into())
    }
}

impl Store for CachedStore {
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        let Key::Object(id) = key else { return self.inner.store.get(key, range) };
        if let Some(bytes) = self.inner.shelf.find(id, range.as_ref()) {
            self.inner.hits.fetch_add(1, Ordering::Relaxed);
            return Box::pin(std::future::ready(Ok(bytes)));
        }
        match range {
            Some(range) if range.start < range.end => self.ranged(id, range),
            range => self.inner.store.get(key, range),
        }
    }

    fn confirm<'a>(&'a self, key: Key, len: u64) -> Later<'a, ()> {
        self.inner.store.confirm(key, len)
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        let inner = self.inner.clone();
        begin(self.threads.handle(), async move { inner.put(key, body).await })
    }

    fn put_many<'a>(&'a self, bodies: Vec<(Key, Body)>) -> Later<'a, Vec<Uploaded>> {
        let puts: Vec<_> = bodies
            .into_iter()
            .map(|(key, body)| {
                let inner = self.inner.clone();
                begin(self.threads.handle(), async move { inner.put(key, body).await })
            })
            .collect();
        Box::pin(crate::remote::all(puts))
    }

    fn is_far(&self) -> bool {
        self.inner.store.is_far()
    }

    fn adopt(&self, key: Key, path: &Path, len: u64) -> bool {
        matches!(key, Key::Object(id) if self.inner.shelf.adopt(id, path, len))
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        self.inner.store.put_if_absent(key, bytes)
    }

    fn make_durable<'a>(&'a self, key: Key) -> Later<'a, ()> {
        self.inner.store.make_durable(key)
    }

    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>> {
        self.inner.store.list(family, after)
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        if let Key::Object(id) = key {
            self.inner.shelf.forget(id);
        }
        self.inner.store.delete(key)
    }

    fn space(&self) -> Option<DiskSpace> {
        self.inner.store.space()
    }

    fn will_read(&self, key: Key, range: Range<u64>) {
        if let Key::Object(id) = key
            && range.start < range.end
            && !self.inner.shelf.has(id, &range)
        {
            self.fetch_ahead(id, range);
        }
    }

    fn reaches_all(&self) -> bool {
        self.inner.store.reaches_all()
    }

    fn is_mirrored(&self) -> bool {
        self.inner.store.is_mirrored()
    }

    fn distrust(&self, key: Key) -> bool {
        match key {
            Key::Object(id) => {
                // Bytes that just landed are the same bytes as those on the shelf.
                let in_flight = self.inner.flights.lock().forget(id);
                let on_shelf = self.inner.shelf.forget(id);
                // What is kept here may be as it came from below.
                let below = self.inner.store.distrust(key);
                on_shelf || in_flight || below
            }
            _ => self.inner.store.distrust(key),
        }
    }

    fn hold<'a>(&'a self, key: Key, range: Range<u64>) -> Later<'a, ()> {
        let inner = self.inner.clone();
        begin(self.threads.handle(), async move { inner.hold(key, range).await })
    }

    fn let_go(&self, key: Key) {
        if let Key::Object(id) = key {
            self.inner.shelf.let_go(id);
        }
    }

    fn held(&self) -> Vec<Key> {
        self.inner.shelf.held().into_iter().map(Key::Object).collect()
    }

    fn drop_copy(&self, key: Key) {
        if let Key::Object(id) = key {
            self.inner.shelf.forget_usual(id);
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut all = self.inner.store.counters();
        all.push(("cache_bytes", self.inner.shelf.bytes()));
        all.push(("pinned_bytes", self.inner.shelf.held_bytes()));
        all.push(("cache_hits", self.inner.hits.load(Ordering::Relaxed)));
        all.push(("cache_misses", self.inner.misses.load(Ordering::Relaxed)));
        all
    }
}
