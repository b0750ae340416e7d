//! What was written and has not come to be on record, as the end of a view tells.
//!
//! Whoever closes or syncs a file hears what becomes of it. What came later, from mappings, and what nobody closes any more has
//! nobody to hear: it is told here, by the folder it is in. Names of files stay out of errors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use strongroom_workspace::door::Ino;
use strongroom_workspace::error::{Error, ErrorKind, Result};

use crate::draft::Draft;
use crate::gate::Compartment;

/// LIMIT: files that are counted.
const FILE_COUNT_MAX: usize = 4096;
/// LIMIT: folders that are told of.
const FOLDER_COUNT_MAX: usize = 8;

/// Files that are not on record, and whether any may still come to be.
#[derive(Default)]
pub(crate) struct Unwritten {
    files: Mutex<BTreeMap<Ino, Arc<Compartment>>>,
    is_over: AtomicBool,
    /// Held while a file goes on record.
    recording: Mutex<()>,
}

/// Whether it is known of the last file if it is on record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    Known,
    Unknown,
}

impl Unwritten {
    /// A file is not on record, and nobody heard of that.
    pub fn note(&self, draft: &Draft) {
        let mut files = self.files.lock();
        if files.len() < FILE_COUNT_MAX {
            files.insert(draft.ino, Arc::clone(&draft.compartment));
        }
    }

    /// It is, or somebody heard that it is not.
    pub fn forget(&self, draft: &Draft) {
        self.files.lock().remove(&draft.ino);
    }

    /// Whether nothing goes on record any more.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Lets a file go on record, until dropped; none once nothing does any more.
    pub fn record(&self) -> Option<MutexGuard<'_, ()>> {
        let recording = self.recording.lock();
        (!self.is_over()).then_some(recording)
    }

    /// Nothing goes on record from here on, but what is about to: that is waited for.
    pub fn end(&self, limit: Duration) -> Last {
        self.is_over.store(true, Ordering::SeqCst);
        match self.recording.try_lock_for(limit) {
            Some(_) => Last::Known,
            None => Last::Unknown,
        }
    }

    /// # Errors
    /// `Unavailable` where there is any.
    pub fn check(&self, last: Last) -> Result<()> {
        let mut folders = BTreeMap::<String, usize>::new();
        for own in self.files.lock().values() {
            let folder = format!("subjects/{}/{}", own.pseudonym, own.name);
            *folders.entry(folder).or_default() += 1;
        }
        if folders.is_empty() {
            return Ok(());
        }
        let shown = folders.iter().take(FOLDER_COUNT_MAX);
        let mut shown: Vec<String> =
            shown.map(|(folder, count)| format!("`{folder}` ({count})")).collect();
        if folders.len() > FOLDER_COUNT_MAX {
            shown.push("elsewhere".to_owned());
        }
        let verb = match last {
            Last::Known => "is not on record",
            Last::Unknown => "may not be on record",
        };
        let message = format!("what was written {verb} in {}", shown.join(", "));
        Err(Error::new(ErrorKind::Unavailable, message))
    }
}
