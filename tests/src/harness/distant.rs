//! The same store behind a network, as far as a workspace can tell: what goes there is worth beginning early.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_store::{Body, DiskSpace, Family, Key, Later, Listed, Put, Store, Uploaded};

use super::world::Setting;

/// A store that says it is far away.
pub struct Distant(Arc<dyn Store>);

impl Distant {
    /// The same setting with the store far away.
    pub fn setting(setting: Setting) -> Setting {
        let wrap = |store| Arc::new(Distant(store)) as Arc<dyn Store>;
        Setting { wrap: Some(Arc::new(wrap)), ..setting }
    }
}

impl Store for Distant {
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        self.0.get(key, range)
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        self.0.put(key, body)
    }

    fn is_far(&self) -> bool {
        true
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        self.0.put_if_absent(key, bytes)
    }

    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>> {
        self.0.list(family, after)
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        self.0.delete(key)
    }

    fn space(&self) -> Option<DiskSpace> {
        self.0.space()
    }
}
