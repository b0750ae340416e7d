//! One operation's private layer over the map: reads see its own writes, nobody else does until it is installed.

use std::ops::ControlFlow;
use std::sync::Arc;

use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::{Entry, Inode, ObjectUse};
use strongroom_format::key::{Cookie, Key, SLOT_COUNT, Subject};

use crate::error::{Error, ErrorKind};
use crate::tree::map::{Layer, Map, Value, subject};
use crate::tree::need::{Look, Need};

/// A planned change.
pub struct Txn<'a> {
    map: &'a Map,
    layer: Layer,
    released: Vec<ObjectId>,
}

/// What a plan came to: the changes, and the data objects nothing refers to any more.
pub struct Plan {
    /// Changes by key.
    pub layer: Layer,
    /// Objects whose last reference went.
    pub released: Vec<ObjectId>,
}

impl<'a> Txn<'a> {
    /// Begins an empty plan.
    pub fn new(map: &'a Map) -> Self {
        Self { map, layer: Layer::new(), released: Vec::new() }
    }

    /// Ends the plan.
    pub fn finish(self) -> Plan {
        Plan { layer: self.layer, released: self.released }
    }

    /// Reads a value.
    pub fn get(&self, key: &Key) -> Look<Option<Value>> {
        match self.layer.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.map.get(key),
        }
    }

    /// Sets a value.
    pub fn put(&mut self, key: Key, value: Value) {
        self.layer.insert(key, Some(value));
    }

    /// Removes a value.
    pub fn remove(&mut self, key: Key) {
        self.layer.insert(key, None);
    }

    /// Visits a range, own writes included.
    pub fn scan(
        &self,
        from: &Key,
        to: &Key,
        visit: &mut dyn FnMut(&Key, &Value) -> ControlFlow<()>,
    ) -> Look<()> {
        self.map.scan(from, to, Some(&self.layer), visit)
    }

    /// The last entry in `floor..before`, own writes included.
    pub fn last_before(&self, floor: &Key, before: &Key) -> Look<Option<(Key, Value)>> {
        self.map.last_before(floor, before, Some(&self.layer))
    }

    /// Reads an inode if it is there.
    pub fn find_inode(&self, ino: Ino) -> Look<Option<Arc<Inode>>> {
        match self.get(&Key::inode(ino))? {
            Some(Value::Inode(inode)) => Ok(Some(inode)),
            Some(_) => Err(wrong_kind()),
            None => Ok(None),
        }
    }

    /// Reads an inode. `Stale` if it is gone.
    pub fn inode(&self, ino: Ino) -> Look<Arc<Inode>> {
        self.find_inode(ino)?.ok_or_else(|| {
            Need::Failed(Error::new(ErrorKind::Stale, format!("inode {} is gone", ino.0)))
        })
    }

    /// Sets an inode.
    pub fn put_inode(&mut self, ino: Ino, inode: Inode) {
        self.put(Key::inode(ino), Value::Inode(Arc::new(inode)));
    }

    /// Finds a name: where it stands in the folder and its entry.
    pub fn find_entry(
        &self,
        folder: Ino,
        hash: u64,
        name: &[u8],
    ) -> Look<Option<(Cookie, Arc<Entry>)>> {
        let mut found = None;
        let (from, to) = Key::slots_of(folder, hash);
        self.scan(&from, &to, &mut |key, value| match (subject(key), value) {
            (Subject::Entry { cookie, .. }, Value::Entry(entry)) if entry.name == name => {
                found = Some((cookie, entry.clone()));
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        })?;
        Ok(found)
    }

    /// The first free place for a name with this hash.
    ///
    /// # Errors
    /// `NameTooLong` when 128 names that differ only by case (or share a hash) are there already.
    pub fn free_place(&self, folder: Ino, hash: u64) -> Look<Cookie> {
        let mut slot = 0;
        let (from, to) = Key::slots_of(folder, hash);
        self.scan(&from, &to, &mut |key, _| {
            if *key == Key::entry(folder, Cookie::compose(hash, slot)) {
                slot += 1;
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        if slot == SLOT_COUNT {
            let message = "128 names that differ only by case are in this folder already";
            return Err(Error::new(ErrorKind::NameTooLong, message).into());
        }
        Ok(Cookie::compose(hash, slot))
    }

    /// Whether a folder has no entries.
    pub fn is_empty_folder(&self, folder: Ino) -> Look<bool> {
        let mut empty = true;
        let (from, to) = Key::entries_of(folder);
        self.scan(&from, &to, &mut |_, _| {
            empty = false;
            ControlFlow::Break(())
        })?;
        Ok(empty)
    }

    /// Counts a reference to a data object in (`bytes` of it).
    pub fn count_in(&mut self, object: ObjectId, bytes: u64) -> Look<()> {
        let mut usage = self.object_use(object)?.unwrap_or(UNUSED);
        usage.live_bytes += bytes;
        usage.references += 1;
        self.released.retain(|released| *released != object);
        self.put(Key::object(object), Value::Object(usage));
        Ok(())
    }

    /// Counts a reference out; the last one releases the object.
    pub fn count_out(&mut self, object: ObjectId, bytes: u64) -> Look<()> {
        let Some(mut usage) = self.object_use(object)? else {
            return Err(wrong_kind());
        };
        usage.live_bytes = usage.live_bytes.saturating_sub(bytes);
        usage.references = usage.references.saturating_sub(1);
        if usage.references == 0 {
            self.remove(Key::object(object));
            self.released.push(object);
        } else {
            self.put(Key::object(object), Value::Object(usage));
        }
        Ok(())
    }

    /// Use of a data object.
    pub fn object_use(&self, object: ObjectId) -> Look<Option<ObjectUse>> {
        let key = Key::object(object);
        let unused = !self.layer.contains_key(&key) && !self.map.local.contains_key(&key);
        if unused && self.map.unborn.contains(&object) {
            return Ok(None);
        }
        match self.get(&key)? {
            Some(Value::Object(usage)) => Ok(Some(usage)),
            Some(_) => Err(wrong_kind()),
            None => Ok(None),
        }
    }
}

const UNUSED: ObjectUse = ObjectUse { live_bytes: 0, references: 0, stored_len: 0 };

fn wrong_kind() -> Need {
    Need::Failed(Error::new(ErrorKind::Corrupt, "the manifest contradicts itself"))
}
