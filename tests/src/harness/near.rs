//! Objects that a home keeps near: whatever it has read or put can be read again while the store is away.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_format::ids::ObjectId;
use strongroom_host::disk::{Disk, read_all};
use strongroom_store::over::Over;
use strongroom_store::{Body, Key, Later, Store, Uploaded, now};

/// Pieces of objects by where they begin and end. They outlive the process.
pub type Copies = Arc<Mutex<Kept>>;

/// Parts of objects, by where they lie.
pub type Kept = BTreeMap<ObjectId, Vec<(Range<u64>, Bytes)>>;

/// A store and copies of its objects.
pub struct Near {
    store: Arc<dyn Store>,
    disk: Arc<dyn Disk>,
    copies: Copies,
}

impl Near {
    /// With what was kept before.
    pub fn new(store: Arc<dyn Store>, disk: Arc<dyn Disk>, copies: Copies) -> Self {
        Self { store, disk, copies }
    }

    fn find(&self, id: ObjectId, range: &Range<u64>) -> Option<Bytes> {
        let copies = self.copies.lock();
        let (at, bytes) = copies
            .get(&id)?
            .iter()
            .find(|(at, _)| at.start <= range.start && range.end <= at.end)?;
        let from = usize::try_from(range.start - at.start).ok()?;
        let len = usize::try_from(range.end - range.start).ok()?;
        Some(bytes.slice(from..from + len))
    }

    fn keep(&self, id: ObjectId, start: u64, bytes: &Bytes) {
        let range = start..start + bytes.len() as u64;
        self.copies.lock().entry(id).or_default().push((range, bytes.clone()));
    }
}

fn ready<'a, T: Send + 'a>(answer: strongroom_store::Result<T>) -> Later<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Over for Near {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        let Key::Object(id) = key else { return self.store.get(key, range) };
        if let Some(bytes) = range.as_ref().and_then(|range| self.find(id, range)) {
            return ready(Ok(bytes));
        }
        let start = range.as_ref().map_or(0, |range| range.start);
        let got = now(self.store.get(key, range));
        if let Ok(bytes) = &got {
            self.keep(id, start, bytes);
        }
        ready(got)
    }

    fn confirm<'a>(&'a self, key: Key, len: u64) -> Later<'a, ()> {
        self.store.confirm(key, len)
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        let Key::Object(id) = key else { return self.store.put(key, body) };
        let bytes = match &body {
            Body::Bytes(bytes) => Some(bytes.clone()),
            Body::File(path) => read_all(&*self.disk, path).ok().map(Bytes::from),
        };
        let put = now(self.store.put(key, body));
        if let (Ok(_), Some(bytes)) = (&put, bytes) {
            self.keep(id, 0, &bytes);
        }
        ready(put)
    }

    fn is_far(&self) -> bool {
        true
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        if let Key::Object(id) = key {
            self.copies.lock().remove(&id);
        }
        self.store.delete(key)
    }

    fn distrust(&self, key: Key) -> bool {
        match key {
            Key::Object(id) => self.copies.lock().remove(&id).is_some(),
            _ => false,
        }
    }
}
