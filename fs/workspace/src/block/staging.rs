//! Sealed blocks on their way to the store: local files that gather up to 8 MiB of plaintext each.
//!
//! A staged object is append-only and holds ciphertext only. Its place in the file is given out first, then the
//! sealed bytes are written there; the journal record that names the block comes after. A commit puts closed
//! objects into the store; the file stays until the commit, so that a crash in between finds what it would have found without,
//! though others took from the store what nobody named. What no record names after a crash is removed at open.
//!
//! Where the store is far away a full object is put as soon as its last block is written and durable.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use strongroom_crypto::block::block_len;
use strongroom_format::ids::ObjectId;
use strongroom_host::disk::{Disk, DiskFile, OpenMode, create_folder_durably};
use strongroom_host::entropy::Entropy;
use strongroom_store::{
    Body, Error as StoreError, ErrorKind as StoreErrorKind, Key as StoreKey, Later, Store,
};

use crate::error::{Error, ErrorKind, Result};
use crate::later::wait;

/// One staged object.
pub struct Staged {
    /// Its id in the store.
    pub id: ObjectId,
    /// Where it lies until a commit puts it.
    pub path: PathBuf,
    file: Arc<dyn DiskFile>,
    len: AtomicU64,
    written: AtomicU64,
    unsynced: AtomicBool,
    ahead: Mutex<Ahead>,
}

/// How far an object has come that is put before a commit names it.
enum Ahead {
    Staged,
    Begun(Later<'static, Answer>),
    Stored,
    /// It was stored before a commit failed: the store may have lost since what nobody names.
    Doubted,
    /// A put of it failed or was given up: the store has it or not.
    Unknown,
}

/// What a store says of an object that it is to have.
enum Answer {
    Stored,
    /// It was stored before, and the store did not tell whether it is there still.
    Untold(StoreError),
}

impl Ahead {
    /// What comes of an answer.
    fn after(
        answer: std::result::Result<Answer, StoreError>,
    ) -> (Self, std::result::Result<(), StoreError>) {
        match answer {
            Ok(Answer::Stored) => (Self::Stored, Ok(())),
            Ok(Answer::Untold(error)) => (Self::Doubted, Err(error)),
            Err(error) => (Self::Unknown, Err(error)),
        }
    }

    /// Takes the answer to what was begun, if it is there. What the store said long ago is no answer now.
    fn look(&mut self) {
        if let Self::Begun(begun) = self
            && let Poll::Ready(answer) = poll_once(begun)
        {
            *self = Self::after(answer).0;
        }
    }
}

impl Staged {
    fn new(id: ObjectId, path: PathBuf, file: Arc<dyn DiskFile>, len: u64) -> Self {
        let (len, written) = (AtomicU64::new(len), AtomicU64::new(len));
        let (unsynced, ahead) = (AtomicBool::new(false), Mutex::new(Ahead::Staged));
        Self { id, path, file, len, written, unsynced, ahead }
    }

    /// Whether every place given out was written.
    fn is_written(&self) -> bool {
        self.written.load(Ordering::Acquire) == self.len()
    }

    /// Begins to put it, unless that began before and has not failed. Nothing may be given out of it any more.
    pub fn begin_put(&self, store: &Arc<dyn Store>) {
        let mut ahead = self.ahead.lock();
        ahead.look();
        let doubted_len = match &*ahead {
            Ahead::Begun(_) | Ahead::Stored => return,
            Ahead::Staged | Ahead::Unknown => None,
            Ahead::Doubted => Some(self.len()),
        };
        let (store, key, path) = (store.clone(), StoreKey::Object(self.id), self.path.clone());
        let mut begun: Later<'static, Answer> = Box::pin(async move {
            if let Some(len) = doubted_len {
                use StoreErrorKind as K;
                match store.confirm(key, len).await {
                    Ok(()) => return Ok(Answer::Stored),
                    Err(error) if matches!(error.kind(), K::NotFound | K::Corrupt) => {}
                    Err(error) => return Ok(Answer::Untold(error)),
                }
            }
            store.put(key, Body::File(path)).await.map(|_| Answer::Stored)
        });
        // Polled once, so that it begins.
        *ahead = Ahead::Begun(match poll_once(&mut begun) {
            Poll::Ready(done) => Box::pin(std::future::ready(done)),
            Poll::Pending => begun,
        });
    }

    /// Waits for the put that was begun. One that failed may be begun again.
    ///
    /// # Errors
    /// What the store said: it may have it or not.
    pub fn end_put(&self) -> Result<()> {
        let mut ahead = self.ahead.lock();
        if let Ahead::Begun(begun) = std::mem::replace(&mut *ahead, Ahead::Unknown) {
            let answer = wait(async { Ok(begun.await) })?;
            let (after, said) = Ahead::after(answer);
            *ahead = after;
            return Ok(said?);
        }
        *ahead = Ahead::Stored;
        Ok(())
    }

    /// Takes note that the store has it.
    pub fn note_put(&self) {
        *self.ahead.lock() = Ahead::Stored;
    }

    /// Whether the store had it once.
    pub fn was_put(&self) -> bool {
        matches!(*self.ahead.lock(), Ahead::Stored | Ahead::Doubted)
    }

    /// Ends a put that nobody needs any more: whether the store may have the object by it. Of what was put before this process
    /// nothing is said: a commit may name it.
    pub fn give_up_put(&self) -> bool {
        let mut ahead = self.ahead.lock();
        if matches!(*ahead, Ahead::Begun(_)) {
            *ahead = Ahead::Unknown;
        }
        !matches!(*ahead, Ahead::Staged)
    }

    /// Bytes given out so far.
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Gives back what was given out at the end and not written, because the disk was full. Nobody may be writing.
    fn end(&self) {
        if let Ok(written) = self.file.len() {
            self.len.fetch_min(written, Ordering::AcqRel);
        }
    }

    /// Whether nothing was given out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes a sealed block at the place given out for it.
    pub fn write(&self, place: u32, sealed: &[u8]) -> Result<()> {
        self.file.write_at(sealed, u64::from(place))?;
        // ORDER: after the write, or a sync in between would take the mark and miss the bytes; and before they count as
        // written, or a sync that is done because they are would pass over them, and they would be put.
        self.unsynced.store(true, Ordering::Release);
        self.written.fetch_add(sealed.len() as u64, Ordering::AcqRel);
        Ok(())
    }

    /// Reads exactly `len` bytes.
    pub fn read(&self, place: u64, len: usize) -> Result<Vec<u8>> {
        let out = self.file.read_new(len, place)?;
        if out.len() == len {
            return Ok(out);
        }
        Err(Error::new(ErrorKind::Corrupt, format!("staged object {} is cut", self.id)))
    }
}

fn poll_once(begun: &mut Later<'static, Answer>) -> Poll<std::result::Result<Answer, StoreError>> {
    begun.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

struct Current {
    object: Arc<Staged>,
    plain_bytes: u64,
}

#[derive(Default)]
struct Shelf {
    current: Option<Current>,
    objects: BTreeMap<ObjectId, Arc<Staged>>,
    /// Those that are full, until somebody asks or a commit takes them.
    full: Vec<Arc<Staged>>,
    /// Whether a file was created since the folder was last synced.
    new_names: bool,
}

/// All staged objects of a workspace.
pub struct Staging {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    folder: PathBuf,
    object_bytes_max: u64,
    shelf: Mutex<Shelf>,
    /// Held through a sync. True after one failed: what was unsynced then may be lost, so no later one may say yes.
    sync_failed: Mutex<bool>,
}

impl Staging {
    /// Opens the folder, made if missing, with whatever a crash left in it.
    pub fn open(
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        folder: PathBuf,
        object_bytes_max: u64,
    ) -> Result<Self> {
        create_folder_durably(&*disk, &folder)?;
        let mut shelf = Shelf::default();
        for entry in disk.list(&folder)? {
            let path = folder.join(&entry.name);
            let Some(id) = parse_id(&entry.name) else {
                disk.remove(&path)?;
                continue;
            };
            let file = disk.open(&path, OpenMode::Write)?;
            // What the process before wrote may not have reached the disk yet, or never will if a sync of it failed: it
            // is read back from the disk, or a later sync would say yes to bytes that are in memory alone.
            file.sync_data()?;
            file.drop_cache();
            shelf.objects.insert(id, Arc::new(Staged::new(id, path, file, entry.len)));
            shelf.new_names = true;
        }
        Ok(Self {
            disk,
            entropy,
            folder,
            object_bytes_max,
            shelf: Mutex::new(shelf),
            sync_failed: Mutex::new(false),
        })
    }

    /// A staging area for a workspace that does not change: nothing is looked at or made.
    pub fn empty(disk: Arc<dyn Disk>, entropy: Arc<dyn Entropy>, folder: PathBuf) -> Self {
        Self {
            disk,
            entropy,
            folder,
            object_bytes_max: 0,
            shelf: Mutex::new(Shelf::default()),
            sync_failed: Mutex::new(false),
        }
    }

    /// Gives out a place for a block of `plain_len` bytes.
    pub fn allocate(&self, plain_len: u64) -> Result<(Arc<Staged>, u32)> {
        let mut shelf = self.shelf.lock();
        let full = |current: &Current| current.plain_bytes + plain_len > self.object_bytes_max;
        if shelf.current.as_ref().is_none_or(full) {
            if let Some(ended) = shelf.current.take() {
                ended.object.file.will_sync();
                shelf.full.push(ended.object);
            }
            let object = self.create()?;
            shelf.objects.insert(object.id, object.clone());
            shelf.new_names = true;
            shelf.current = Some(Current { object, plain_bytes: 0 });
        }
        let current = shelf.current.as_mut().expect("made above");
        current.plain_bytes += plain_len;
        let place = current.object.len.fetch_add(block_len(plain_len), Ordering::AcqRel);
        let place = u32::try_from(place).expect("an object is far below 4 GiB");
        Ok((current.object.clone(), place))
    }

    fn create(&self) -> Result<Arc<Staged>> {
        let id = ObjectId(self.entropy.array());
        let path = self.folder.join(id.to_string());
        let file = self.disk.open(&path, OpenMode::CreateNew)?;
        Ok(Arc::new(Staged::new(id, path, file, 0)))
    }

    /// The staged object with this id.
    pub fn find(&self, id: ObjectId) -> Option<Arc<Staged>> {
        self.shelf.lock().objects.get(&id).cloned()
    }

    /// Whether an object is full and was not told of yet.
    pub fn has_full(&self) -> bool {
        !self.shelf.lock().full.is_empty()
    }

    /// Objects that are full and completely written, each told once.
    pub fn take_full(&self) -> Vec<Arc<Staged>> {
        let mut shelf = self.shelf.lock();
        shelf.full.extract_if(.., |object| object.is_written()).collect()
    }

    /// Puts everything anew that was put ahead: so long after, the store may have taken it for something that nobody names.
    pub fn forget_puts(&self) {
        let objects: Vec<_> = self.shelf.lock().objects.values().cloned().collect();
        objects.iter().for_each(|object| *object.ahead.lock() = Ahead::Staged);
    }

    /// What was put before a commit failed is asked after before another names it: until then the store may lose it.
    pub fn doubt_puts(&self) {
        let objects: Vec<_> = self.shelf.lock().objects.values().cloned().collect();
        for object in objects {
            let mut ahead = object.ahead.lock();
            ahead.look();
            if matches!(*ahead, Ahead::Stored) {
                *ahead = Ahead::Doubted;
            }
        }
    }

    /// Ends the object being gathered and returns all that are staged.
    pub fn close_all(&self) -> Vec<Arc<Staged>> {
        let mut shelf = self.shelf.lock();
        shelf.current = None;
        shelf.full.clear();
        let objects: Vec<_> = shelf.objects.values().cloned().collect();
        objects.iter().for_each(|object| object.end());
        objects
    }

    /// What is staged.
    pub fn ids(&self) -> Vec<ObjectId> {
        self.shelf.lock().objects.keys().copied().collect()
    }

    /// Bytes staged.
    pub fn bytes(&self) -> u64 {
        self.shelf.lock().objects.values().map(|object| object.len()).sum()
    }

    /// Makes everything staged durable on this device. One at a time: who comes during a sync waits for it, for it
    /// may be syncing what he wrote.
    ///
    /// # Errors
    /// `Poisoned` when it failed, now or before.
    pub fn sync(&self) -> Result<()> {
        let mut failed = self.sync_failed.lock();
        if !*failed {
            *failed = self.sync_all().is_err();
        }
        if *failed {
            return Err(Error::new(ErrorKind::Poisoned, "staged blocks could not be synced"));
        }
        Ok(())
    }

    fn sync_all(&self) -> Result<()> {
        let (objects, new_names) = {
            let mut shelf = self.shelf.lock();
            let unsynced = |object: &&Arc<Staged>| object.unsynced.load(Ordering::Acquire);
            let objects: Vec<_> = shelf.objects.values().filter(unsynced).cloned().collect();
            (objects, std::mem::take(&mut shelf.new_names))
        };
        for object in &objects {
            object.file.will_sync();
        }
        for object in objects {
            // ORDER: cleared before the sync, so that a write during it counts as unsynced again.
            object.unsynced.store(false, Ordering::Release);
            object.file.sync_data()?;
        }
        if new_names {
            self.disk.sync_folder(&self.folder)?;
        }
        Ok(())
    }

    /// Forgets an object that is in the store now.
    pub fn retire(&self, id: ObjectId) {
        self.shelf.lock().objects.remove(&id);
    }

    /// Removes an object that nothing refers to.
    pub fn discard(&self, id: ObjectId) -> Result<()> {
        let found = self.shelf.lock().objects.remove(&id);
        match found {
            Some(object) => Ok(self.disk.remove(&object.path)?),
            None => Ok(()),
        }
    }
}

fn parse_id(name: &str) -> Option<ObjectId> {
    let id = u128::from_str_radix(name, 16).ok()?;
    (name.len() == 32).then(|| ObjectId(id.to_be_bytes()))
}
