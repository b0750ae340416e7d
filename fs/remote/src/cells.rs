//! State that is replaced in place: over what was there when it was last read or written, and over nothing else.
//!
//! ```text
//! put A ───(no answer: given up)─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ▶ too late: A is there no longer, and the server refuses it
//! put A again ──▶ A is there        put B over A ──▶ B is there
//! ```
//!
//! Without it the server would put A in the place of B. Servers that give no tags, or know no such condition, take every put.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_store::{Error, ErrorKind, Key, PolicyKey, Result, Shelf, Uploaded};

use crate::remote::{Inner, refused};
use crate::transport::{Condition, FaultKind, Tag};

/// LIMIT: cells of which it is known what is there.
const KNOWN_COUNT_MAX: usize = 16_384;

/// What is there, as far as this process knows.
#[derive(Default)]
pub(crate) struct Tags {
    known: Mutex<BTreeMap<Key, There>>,
    /// Set once the server has refused the condition itself.
    is_unsupported: AtomicBool,
}

#[derive(Clone)]
enum There {
    Nothing,
    Something(Tag),
    /// It has no tag.
    Untold,
}

impl Tags {
    /// Takes in what an answer told; none for that nothing is there.
    pub(crate) fn note(&self, key: Key, there: Option<Option<Tag>>) {
        if !is_cell(key) {
            return;
        }
        let there = match there {
            None => There::Nothing,
            Some(None) => There::Untold,
            Some(Some(tag)) => There::Something(tag),
        };
        let mut known = self.known.lock();
        if known.len() >= KNOWN_COUNT_MAX && !known.contains_key(&key) {
            // What is needed again is asked for again.
            known.clear();
        }
        known.insert(key, there);
    }

    /// What is there is not known.
    pub(crate) fn forget(&self, key: Key) {
        self.known.lock().remove(&key);
    }

    fn condition(&self, key: Key) -> Option<Condition> {
        if self.is_unsupported.load(Ordering::Relaxed) {
            return Some(Condition::Replace);
        }
        Some(match self.known.lock().get(&key)? {
            There::Nothing => Condition::Absent,
            There::Something(tag) => Condition::Over(tag.clone()),
            There::Untold => Condition::Replace,
        })
    }
}

/// Whether a key is of state that is replaced in place, and that may not go back.
pub(crate) fn is_cell(key: Key) -> bool {
    matches!(key, Key::Policy(PolicyKey { shelf: Shelf::Cell, .. }))
}

impl Inner {
    /// Puts a cell in the place of the one that was there.
    ///
    /// # Errors
    /// `Exists` where another one has come there: whoever asks looks at that first.
    pub(crate) async fn put_cell(&self, key: Key, bytes: Bytes) -> Result<Uploaded> {
        let len = bytes.len() as u64;
        let condition = match self.tags.condition(key) {
            Some(known) => known,
            None => {
                self.there(key).await?;
                self.tags.condition(key).unwrap_or(Condition::Replace)
            }
        };
        let is_asked = condition != Condition::Replace;
        let mut tried = self.send(key, bytes.clone(), condition.clone()).await;
        let is_refused =
            tried.result.as_ref().err().is_some_and(|fault| {
                matches!(fault.kind, FaultKind::Unsupported | FaultKind::Invalid)
            });
        if is_asked && is_refused {
            tried = self.send(key, bytes.clone(), Condition::Replace).await;
            // Where it is refused as well, that was not the condition's fault.
            self.tags.is_unsupported.store(tried.result.is_ok(), Ordering::Relaxed);
        }
        match tried.result {
            Ok(tag) => {
                self.tags.note(key, Some(tag));
                Ok(Uploaded::attest(key, len))
            }
            Err(fault)
                if is_asked && matches!(fault.kind, FaultKind::Exists | FaultKind::NotFound) =>
            {
                // Ours, if a try before was done and its answer lost; or of somebody who carries out the same.
                match self.there(key).await? {
                    Some(there) if there == bytes => Ok(Uploaded::attest(key, len)),
                    _ => {
                        Err(Error::new(ErrorKind::Exists, format!("`{key}` was changed meanwhile")))
                    }
                }
            }
            Err(fault) => Err(refused(key, &fault)),
        }
    }

    /// What is there, which is known from then on.
    async fn there(&self, key: Key) -> Result<Option<Bytes>> {
        match self.get(key, None).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
