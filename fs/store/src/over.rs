//! A store over another one, for tests: it says what it does otherwise, and all the rest is done below.

use std::ops::Range;

use bytes::Bytes;

use crate::{Body, DiskSpace, Family, Key, Later, Listed, Put, Result, Store, Uploaded};

/// What a store is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// All of a thing, or a range of it.
    Get(Key),
    /// A put of one thing.
    Put(Key),
    /// A put where nothing is yet.
    PutIfAbsent(Key),
    /// A page of keys.
    List(Family),
    /// A removal.
    Delete(Key),
}

/// A store over another one. Many puts are puts of one each, and reading ahead is getting, as far as it does not say otherwise.
pub trait Over: Send + Sync {
    /// The store below.
    fn below(&self) -> &dyn Store;

    /// Comes before each call; one that it refuses is not done.
    fn before(&self, _call: Call) -> Result<()> {
        Ok(())
    }

    /// As [`Store::get`].
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        self.below().get(key, range)
    }

    /// As [`Store::confirm`].
    fn confirm<'a>(&'a self, key: Key, len: u64) -> Later<'a, ()> {
        let asked = Over::get(self, key, Some(len.saturating_sub(1)..len));
        Box::pin(async move { asked.await.map(drop) })
    }

    /// As [`Store::put`].
    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        self.below().put(key, body)
    }

    /// As [`Store::put_many`].
    fn put_many<'a>(&'a self, bodies: Vec<(Key, Body)>) -> Later<'a, Vec<Uploaded>> {
        Box::pin(async move {
            let mut all = Vec::with_capacity(bodies.len());
            for (key, body) in bodies {
                self.before(Call::Put(key))?;
                all.push(self.put(key, body).await?);
            }
            Ok(all)
        })
    }

    /// As [`Store::put_if_absent`].
    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        self.below().put_if_absent(key, bytes)
    }

    /// As [`Store::list`].
    fn list<'a>(&'a self, family: Family, from: Option<Key>) -> Later<'a, Vec<Listed>> {
        self.below().list(family, from)
    }

    /// As [`Store::delete`].
    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        self.below().delete(key)
    }

    /// As [`Store::is_far`].
    fn is_far(&self) -> bool {
        self.below().is_far()
    }

    /// As [`Store::space`].
    fn space(&self) -> Option<DiskSpace> {
        self.below().space()
    }

    /// As [`Store::reaches_all`].
    fn reaches_all(&self) -> bool {
        self.below().reaches_all()
    }

    /// As [`Store::distrust`].
    fn distrust(&self, key: Key) -> bool {
        self.below().distrust(key)
    }

    /// As [`Store::hold`].
    fn hold<'a>(&'a self, key: Key, range: Range<u64>) -> Later<'a, ()> {
        self.below().hold(key, range)
    }

    /// As [`Store::let_go`].
    fn let_go(&self, key: Key) {
        self.below().let_go(key);
    }

    /// As [`Store::held`].
    fn held(&self) -> Vec<Key> {
        self.below().held()
    }

    /// As [`Store::drop_copy`].
    fn drop_copy(&self, key: Key) {
        self.below().drop_copy(key);
    }
}

fn after<'a, T: Send + 'a>(before: Result<()>, ask: impl FnOnce() -> Later<'a, T>) -> Later<'a, T> {
    match before {
        Ok(()) => ask(),
        Err(error) => Box::pin(std::future::ready(Err(error))),
    }
}

impl<S: Over> Store for S {
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        after(self.before(Call::Get(key)), || Over::get(self, key, range))
    }

    fn confirm<'a>(&'a self, key: Key, len: u64) -> Later<'a, ()> {
        after(self.before(Call::Get(key)), || Over::confirm(self, key, len))
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        after(self.before(Call::Put(key)), || Over::put(self, key, body))
    }

    fn put_many<'a>(&'a self, bodies: Vec<(Key, Body)>) -> Later<'a, Vec<Uploaded>> {
        Over::put_many(self, bodies)
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        after(self.before(Call::PutIfAbsent(key)), || Over::put_if_absent(self, key, bytes))
    }

    fn list<'a>(&'a self, family: Family, from: Option<Key>) -> Later<'a, Vec<Listed>> {
        after(self.before(Call::List(family)), || Over::list(self, family, from))
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        after(self.before(Call::Delete(key)), || Over::delete(self, key))
    }

    fn is_far(&self) -> bool {
        Over::is_far(self)
    }

    fn space(&self) -> Option<DiskSpace> {
        Over::space(self)
    }

    fn will_read(&self, key: Key, range: Range<u64>) {
        self.below().will_read(key, range);
    }

    fn reaches_all(&self) -> bool {
        Over::reaches_all(self)
    }

    fn is_mirrored(&self) -> bool {
        self.below().is_mirrored()
    }

    fn distrust(&self, key: Key) -> bool {
        Over::distrust(self, key)
    }

    fn hold<'a>(&'a self, key: Key, range: Range<u64>) -> Later<'a, ()> {
        Over::hold(self, key, range)
    }

    fn let_go(&self, key: Key) {
        Over::let_go(self, key);
    }

    fn held(&self) -> Vec<Key> {
        Over::held(self)
    }

    fn drop_copy(&self, key: Key) {
        Over::drop_copy(self, key);
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.below().counters()
    }
}
