//! Copies of what opening a workspace reads, so that one that was open here opens while its store is away: device files, the
//! organisation log, the newest checkpoint and the commits after it.
//!
//! ```text
//! FOLDER/<path of the key, `-` for `/`>     BLAKE3-256 of the rest, 32 bytes; the rest as it is in the store
//! ```
//!
//! 1. Everything goes through to the store, and what goes through whole is copied on the way. Objects are no business of this.
//! 2. A newer checkpoint takes the place of the one before it, and of the commits up to it, as soon as it is durable.
//! 3. While copies are relied upon nothing is asked of the store: what is not here, and every change, is `Unavailable`.
//! 4. A copy that is torn counts as missing. None is believed: who reads verifies, as with the store.
//! 5. What opening will read may be asked of the store before it is read (`ahead`).

mod ahead;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    Body, Error, ErrorKind, Family, Key, LIST_COUNT_MAX, Later, Listed, Put, Result, Store,
    Uploaded,
};
use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_host::disk::{
    Disk, DiskSpace, OpenMode, create_folder_durably, read_all, replace_file,
};

use ahead::{Ahead, Round};

const SUM_LEN: usize = 32;
/// LIMIT: bytes of all copies. What does not fit is not kept, and a start without the store then not possible.
const BYTES_MAX: u64 = 256 << 20;

/// A store and copies of what opening reads.
pub struct Binder {
    store: Arc<dyn Store>,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Lengths, sums left out.
    kept: Mutex<BTreeMap<Key, u64>>,
    is_relied_upon: AtomicBool,
    ahead: Arc<Ahead>,
}

impl Binder {
    /// Keeps copies in `folder`.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(store: Arc<dyn Store>, disk: Arc<dyn Disk>, folder: PathBuf) -> io::Result<Self> {
        create_folder_durably(&*disk, &folder)?;
        let mut kept = BTreeMap::new();
        for entry in disk.list(&folder)? {
            let key = Key::parse(&entry.name.replacen('-', "/", 1)).filter(|key| is_kept(*key));
            match (key, entry.len.checked_sub(SUM_LEN as u64)) {
                (Some(key), Some(len)) => drop(kept.insert(key, len)),
                _ => disk.remove(&folder.join(&entry.name))?,
            }
        }
        let (kept, is_relied_upon) = (Mutex::new(kept), AtomicBool::new(false));
        Ok(Self { store, disk, folder, kept, is_relied_upon, ahead: Arc::default() })
    }

    /// Asks the store for what opening a workspace reads, while somebody does something else.
    pub fn ask_ahead(&self) {
        self.ahead.begin(self.store.clone(), Round::Early);
    }

    /// Asks for what may have come since [`Binder::ask_ahead`]: now it will be read.
    pub fn ask_ends(&self) {
        self.ahead.begin(self.store.clone(), Round::Ends);
    }

    /// What was asked ahead and not read is asked anew.
    pub fn end_ahead(&self) {
        self.ahead.end();
    }

    /// From here on copies answer, and the store is not asked.
    pub fn rely_on_copies(&self) {
        self.is_relied_upon.store(true, Ordering::Release);
    }

    /// From here on the store is asked.
    pub fn rely_on_store(&self) {
        self.is_relied_upon.store(false, Ordering::Release);
    }

    /// The store if it is to be asked.
    fn store(&self) -> Result<&dyn Store> {
        match self.is_relied_upon.load(Ordering::Acquire) {
            false => Ok(&*self.store),
            true => Err(Error::new(ErrorKind::Unavailable, "the store cannot be reached")),
        }
    }

    /// The store, for a change of it: answers from before do not count any more.
    fn changed(&self) -> Result<&dyn Store> {
        self.ahead.end();
        self.store()
    }

    fn path(&self, key: Key) -> PathBuf {
        self.folder.join(key.path().replace('/', "-"))
    }

    /// Copies what is in the store. What cannot be copied is only missed when the store is away.
    fn keep(&self, key: Key, bytes: &[u8]) {
        let mut kept = self.kept.lock();
        if !is_kept(key) || !is_current(&kept, key) {
            return;
        }
        let sum = *blake3::hash(bytes).as_bytes();
        let is_there = kept.get(&key) == Some(&(bytes.len() as u64));
        if is_there && self.sum(key).is_some_and(|there| there == sum) {
            return;
        }
        let others: u64 = kept.iter().filter(|(other, _)| **other != key).map(|(_, len)| len).sum();
        if others + bytes.len() as u64 > BYTES_MAX || self.write(key, &sum, bytes).is_err() {
            self.remove(&mut kept, key);
            return;
        }
        kept.insert(key, bytes.len() as u64);
        if let Key::Checkpoint(seq) = key {
            let is_old = |other: &Key| match other {
                Key::Checkpoint(other) => *other < seq,
                Key::Log(other) => *other <= seq,
                _ => false,
            };
            let old: Vec<Key> = kept.keys().copied().filter(is_old).collect();
            old.into_iter().for_each(|key| self.remove(&mut kept, key));
        }
    }

    fn write(&self, key: Key, sum: &[u8; SUM_LEN], bytes: &[u8]) -> io::Result<()> {
        let path = self.path(key);
        let whole = [sum, bytes].concat();
        if !matches!(key, Key::Log(_)) {
            // ORDER: a checkpoint is durable before others go. What is read once would not get there by itself.
            return replace_file(&*self.disk, &path, &whole);
        }
        let file = self.disk.open(&path, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_at(&whole, 0)
    }

    fn sum(&self, key: Key) -> Option<[u8; SUM_LEN]> {
        let mut sum = [0; SUM_LEN];
        let file = self.disk.open(&self.path(key), OpenMode::Read).ok()?;
        (file.read_at(&mut sum, 0).ok()? == SUM_LEN).then_some(sum)
    }

    fn remove(&self, kept: &mut BTreeMap<Key, u64>, key: Key) {
        if kept.remove(&key).is_some() {
            // What stays is found by the next open, and is as it was in the store once.
            let _ = self.disk.remove(&self.path(key));
        }
    }

    /// Devices that are not there any more.
    fn forget_devices(&self, after: Option<Key>, listed: &[Listed]) {
        let mut kept = self.kept.lock();
        let last = listed.last().filter(|_| listed.len() >= LIST_COUNT_MAX).map(|last| last.key);
        let is_gone = |key: &Key| {
            key.family() == Some(Family::Device)
                && after.is_none_or(|after| *key > after)
                && last.is_none_or(|last| *key <= last)
                && listed.iter().all(|there| there.key != *key)
        };
        let gone: Vec<Key> = kept.keys().copied().filter(is_gone).collect();
        gone.into_iter().for_each(|key| self.remove(&mut kept, key));
    }

    fn find(&self, key: Key) -> Option<Bytes> {
        if !self.kept.lock().contains_key(&key) {
            return None;
        }
        let bytes = Bytes::from(read_all(&*self.disk, &self.path(key)).ok()?);
        let sum = bytes.get(..SUM_LEN)?;
        let rest = bytes.slice(SUM_LEN..);
        (sum == blake3::hash(&rest).as_bytes()).then_some(rest)
    }

    /// What the copies say.
    fn recall(&self, key: Key, range: Option<Range<u64>>) -> Result<Bytes> {
        if let Some(bytes) = self.find(key) {
            let Some(range) = range else { return Ok(bytes) };
            let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            return Ok(bytes.slice(at(range.start)..at(range.end)));
        }
        let is_after_last = match key {
            Key::Organisation(_) => !self
                .kept
                .lock()
                .keys()
                .any(|other| matches!(other, Key::Organisation(_)) && *other >= key),
            _ => false,
        };
        let (kind, what) = match is_after_last {
            true => (ErrorKind::NotFound, "is not there"),
            false => (ErrorKind::Unavailable, "is not kept on this device, and the store is away"),
        };
        Err(Error::new(kind, format!("`{key}` {what}")))
    }

    fn recall_list(&self, family: Family, after: Option<Key>) -> Vec<Listed> {
        let kept = self.kept.lock();
        let wanted = kept.iter().filter(|(key, _)| {
            key.family() == Some(family) && after.is_none_or(|after| **key > after)
        });
        wanted.map(|(key, len)| Listed { key: *key, len: *len }).take(LIST_COUNT_MAX).collect()
    }
}

/// What opening reads.
fn is_kept(key: Key) -> bool {
    match key {
        Key::Workspace
        | Key::Organisation(_)
        | Key::Device(_)
        | Key::Log(_)
        | Key::Checkpoint(_) => true,
        Key::Request(_)
        | Key::Object(_)
        | Key::Policy(_)
        | Key::Counter(_)
        | Key::Ask(_)
        | Key::Answer(_) => false,
    }
}

/// Whether something belongs to the newest checkpoint that is kept.
fn is_current(kept: &BTreeMap<Key, u64>, key: Key) -> bool {
    let newest = kept.keys().rev().find_map(|key| match key {
        Key::Checkpoint(seq) => Some(*seq),
        _ => None,
    });
    match key {
        Key::Log(seq) => newest.is_none_or(|newest| seq > newest),
        Key::Checkpoint(seq) => newest.is_none_or(|newest| seq >= newest),
        _ => true,
    }
}

fn ready<'a, T: Send + 'a>(answer: Result<T>) -> Later<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Store for Binder {
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        let Ok(store) = self.store() else { return ready(self.recall(key, range)) };
        if range.is_some() || !is_kept(key) {
            return store.get(key, range);
        }
        let asked = match self.ahead.may_have(key.family()) {
            false => store.get(key, None),
            true => Box::pin(async move {
                match self.ahead.take(key).await {
                    Some(answer) => answer,
                    None => store.get(key, None).await,
                }
            }),
        };
        Box::pin(async move {
            let answer = asked.await;
            match &answer {
                Ok(bytes) => self.keep(key, bytes),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.remove(&mut self.kept.lock(), key);
                }
                Err(_) => {}
            }
            answer
        })
    }

    fn read_ahead<'a>(&'a self, key: Key, range: Range<u64>) -> Later<'a, Bytes> {
        match self.store() {
            Ok(store) => store.read_ahead(key, range),
            Err(_) => ready(self.recall(key, Some(range))),
        }
    }

    fn confirm<'a>(&'a self, key: Key, len: u64) -> Later<'a, ()> {
        match self.store() {
            Ok(store) => store.confirm(key, len),
            Err(error) => ready(Err(error)),
        }
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        let store = match self.changed() {
            Ok(store) => store,
            Err(error) => return ready(Err(error)),
        };
        let copied = match &body {
            Body::Bytes(bytes) if is_kept(key) => bytes.clone(),
            _ => return store.put(key, body),
        };
        let asked = store.put(key, body);
        Box::pin(async move {
            let uploaded = asked.await?;
            self.keep(key, &copied);
            Ok(uploaded)
        })
    }

    fn put_many<'a>(&'a self, bodies: Vec<(Key, Body)>) -> Later<'a, Vec<Uploaded>> {
        match self.changed() {
            Ok(store) => store.put_many(bodies),
            Err(error) => ready(Err(error)),
        }
    }

    fn is_far(&self) -> bool {
        self.store.is_far()
    }

    fn adopt(&self, key: Key, path: &Path, len: u64) -> bool {
        self.store.adopt(key, path, len)
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        let store = match self.changed() {
            Ok(store) => store,
            Err(error) => return ready(Err(error)),
        };
        let asked = store.put_if_absent(key, bytes.clone());
        Box::pin(async move {
            let put = asked.await?;
            if let Put::Created(_) = &put {
                self.keep(key, &bytes);
            }
            Ok(put)
        })
    }

    fn make_durable<'a>(&'a self, key: Key) -> Later<'a, ()> {
        match self.store() {
            Ok(store) => store.make_durable(key),
            Err(error) => ready(Err(error)),
        }
    }

    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>> {
        match self.store() {
            Ok(store) if family == Family::Device => {
                let asked = store.list(family, after);
                Box::pin(async move {
                    let listed = asked.await?;
                    self.forget_devices(after, &listed);
                    Ok(listed)
                })
            }
            Ok(store) if self.ahead.may_have(Some(family)) => Box::pin(async move {
                match self.ahead.take_list(family, after).await {
                    Some(listed) => Ok(listed),
                    None => store.list(family, after).await,
                }
            }),
            Ok(store) => store.list(family, after),
            Err(_) => ready(Ok(self.recall_list(family, after))),
        }
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        match self.changed() {
            Ok(store) => {
                self.remove(&mut self.kept.lock(), key);
                store.delete(key)
            }
            Err(error) => ready(Err(error)),
        }
    }

    fn space(&self) -> Option<DiskSpace> {
        self.store.space()
    }

    fn will_read(&self, key: Key, range: Range<u64>) {
        if let Ok(store) = self.store() {
            store.will_read(key, range);
        }
    }

    fn reaches_all(&self) -> bool {
        self.store.reaches_all()
    }

    fn is_mirrored(&self) -> bool {
        self.store.is_mirrored()
    }

    fn distrust(&self, key: Key) -> bool {
        self.store.distrust(key)
    }

    fn hold<'a>(&'a self, key: Key, range: Range<u64>) -> Later<'a, ()> {
        match self.store() {
            Ok(store) => store.hold(key, range),
            Err(error) => ready(Err(error)),
        }
    }

    fn let_go(&self, key: Key) {
        self.store.let_go(key);
    }

    fn held(&self) -> Vec<Key> {
        self.store.held()
    }

    fn drop_copy(&self, key: Key) {
        self.store.drop_copy(key);
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.store.counters()
    }
}
