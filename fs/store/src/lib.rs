//! Sealed objects and log records by key.
//!
//! What is stored is opaque here: no plaintext, no keys, no meaning. Callers get and put by [`Key`]; a store
//! is a folder ([`FolderStore`]), later a bucket or a server. A put is durable when it returns and leaves
//! evidence ([`Uploaded`]) that only the act itself can make.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod binder;
#[doc(hidden)]
pub mod conformance;
mod error;
mod folder;
mod key;
#[doc(hidden)]
pub mod over;

use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
pub use strongroom_host::disk::DiskSpace;

pub use binder::Binder;
pub use error::{Error, ErrorKind, Result};
pub use folder::{FolderStore, Mode};
pub use key::{Family, Key, Letter, PolicyKey, Shelf};

/// An answer that may take a while. Those of a [`FolderStore`] are ready at the first poll.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Most keys one call of [`Store::list`] returns.
pub const LIST_COUNT_MAX: usize = 1000;

/// What is put.
#[derive(Clone, Debug)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A file of the local disk, completely written, that stays where it is. Nobody may write to it any more: a store on the
    /// same disk gives it a second name.
    File(PathBuf),
}

/// Evidence that something is durable in the store. Made by a put alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uploaded {
    key: Key,
    len: u64,
}

impl Uploaded {
    /// For implementors of [`Store`], at the end of a put that went well, and for nobody else.
    pub fn attest(key: Key, len: u64) -> Self {
        Uploaded { key, len }
    }

    /// What was put.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// How a [`Store::put_if_absent`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// This call created it; it is durable.
    Created(Uploaded),
    /// Something was there before; it is unchanged and durable.
    Exists,
}

/// One key of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: Key,
    /// Length in bytes.
    pub len: u64,
}

/// Sealed things by key. All implementors pass `conformance`.
pub trait Store: Send + Sync {
    /// Reads all of it, or exactly `range`.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if it ends before `range` does; `Invalid` for a range that ends before it begins.
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes>;

    /// Reads `range`, or what there is of it: less where the thing ends before, nothing where it ends before `range`
    /// begins. For who reads ahead without knowing lengths.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a range that ends before it begins.
    fn read_ahead<'a>(&'a self, key: Key, range: Range<u64>) -> Later<'a, Bytes> {
        Box::pin(async move {
            match self.get(key, Some(range.clone())).await {
                // It ends before, or is damaged: all that can be read of it says which.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let all = self.get(key, None).await?;
                    let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
                    Ok(all.slice(at(range.start)..at(range.end)))
                }
                answer => answer,
            }
        })
    }

    /// Asks for the end of a thing of `len` bytes, at least 1, where it is kept and not in a copy nearer than that.
    ///
    /// # Errors
    /// As [`Store::get`]: of what is not there, or is shorter, those of its last byte.
    fn confirm<'a>(&'a self, key: Key, len: u64) -> Later<'a, ()> {
        let asked = self.get(key, Some(len.saturating_sub(1)..len));
        Box::pin(async move { asked.await.map(drop) })
    }

    /// Stores; durable on return, atomic, fine to repeat. What is there already is replaced, except objects:
    /// these never change, a second put of one keeps the first (and still makes it durable).
    ///
    /// # Errors
    /// `Full`, `ReadOnly`, `Unavailable`; `Corrupt` if an object of another length is there.
    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded>;

    /// Puts several; all durable on return, in one go where the store can. The evidence is in the same order.
    ///
    /// # Errors
    /// As [`Store::put`]; some of them may then be stored.
    fn put_many<'a>(&'a self, bodies: Vec<(Key, Body)>) -> Later<'a, Vec<Uploaded>> {
        Box::pin(async move {
            let mut all = Vec::with_capacity(bodies.len());
            for (key, body) in bodies {
                all.push(self.put(key, body).await?);
            }
            Ok(all)
        })
    }

    /// Whether puts go over a network: then it pays to begin them before anybody waits, and they go on without being
    /// polled once they were polled for the first time.
    fn is_far(&self) -> bool {
        false
    }

    /// Offers a local file with all of an object, `len` bytes, that is in the store: to be kept as a copy nearer than that.
    /// False if it stays where it is.
    fn adopt(&self, _key: Key, _path: &Path, _len: u64) -> bool {
        false
    }

    /// Stores unless something is there. Atomic: of several callers, on any machine, one creates. Durable on return.
    ///
    /// # Errors
    /// `Full`, `ReadOnly`, `Unavailable`; after these it may or may not be there.
    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put>;

    /// Makes durable what is there: whoever gave it its name may have ended before the name lasts.
    ///
    /// # Errors
    /// Those of [`Store::get`] and [`Store::put_if_absent`].
    fn make_durable<'a>(&'a self, key: Key) -> Later<'a, ()> {
        Box::pin(async move {
            let bytes = self.get(key, None).await?;
            self.put_if_absent(key, bytes).await.map(drop)
        })
    }

    /// Keys of a family in rising order, after `after`, at most [`LIST_COUNT_MAX`]. Empty at the end.
    ///
    /// # Errors
    /// `Unavailable`; `Invalid` if `after` is of another family.
    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>>;

    /// Removes; fine if missing. Not durable by itself: what is deleted may be back after a power loss.
    ///
    /// # Errors
    /// `ReadOnly`, `Unavailable`.
    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()>;

    /// Space, where the store has a notion of it. Cheap.
    fn space(&self) -> Option<DiskSpace> {
        None
    }

    /// Tells that `range` of an object will be read soon. A hint.
    fn will_read(&self, _key: Key, _range: Range<u64>) {}

    /// Whether a deletion reaches every copy there is. A mirror with a member away, or behind, says no.
    fn reaches_all(&self) -> bool {
        true
    }

    /// Whether what is put goes to several copies, which may differ: whoever reads learns of one of them.
    fn is_mirrored(&self) -> bool {
        false
    }

    /// Forgets a copy kept nearer than the store because it did not verify. True if there was one: a get may then
    /// answer otherwise.
    fn distrust(&self, _key: Key) -> bool {
        false
    }

    /// Keeps a range of an object where it can be read while the store cannot be reached, until [`Store::let_go`]. Done when
    /// it is there; fine to repeat. Whatever else is kept near of the object stays too.
    ///
    /// # Errors
    /// `Full` when it does not fit; `Unsupported` where nothing is kept near; those of [`Store::get`].
    fn hold<'a>(&'a self, _key: Key, _range: Range<u64>) -> Later<'a, ()> {
        let message = "nothing is kept on this device: another mount of this store does";
        Box::pin(std::future::ready(Err(Error::new(ErrorKind::Unsupported, message))))
    }

    /// What was held of an object counts as any other copy again.
    fn let_go(&self, _key: Key) {}

    /// Objects of which something is held.
    fn held(&self) -> Vec<Key> {
        Vec::new()
    }

    /// Drops the copies of an object that are kept near, unless they are held.
    fn drop_copy(&self, _key: Key) {}

    /// What was asked of the store so far, by name, for `status`; names that end in `bytes` count bytes.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// How many bytes a range asks for.
///
/// # Errors
/// `Invalid` if it ends before it begins.
pub fn wanted(range: &Range<u64>) -> Result<u64> {
    let backwards = || Error::new(ErrorKind::Invalid, "a range ends before it begins");
    range.end.checked_sub(range.start).ok_or_else(backwards)
}

/// Makes sure that a listing of a family goes on after one of its keys.
///
/// # Errors
/// `Invalid` if it does not.
pub fn require_same_family(family: Family, after: Option<Key>) -> Result<()> {
    match after {
        Some(after) if after.family() != Some(family) => {
            Err(Error::new(ErrorKind::Invalid, "a listing goes on after another family"))
        }
        _ => Ok(()),
    }
}

/// Waits on this thread, which may block, for any store's answer.
///
/// # Errors
/// Those of the answer.
pub fn wait<T>(later: Later<'_, T>) -> Result<T> {
    let mut later = later;
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match later.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future that is ready at the first poll: those of a [`FolderStore`] outside of async code.
///
/// # Panics
/// If it is not ready.
pub fn now<T>(later: Later<'_, T>) -> Result<T> {
    let mut later = later;
    let mut context = Context::from_waker(Waker::noop());
    match later.as_mut().poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the store answers at the first poll"),
    }
}
