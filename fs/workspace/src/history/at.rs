//! Old states: from a snapshot's name, a time or a number to a commit, and a workspace open there, for reading.

use std::sync::Arc;

use strongroom_keyring::DeviceKeys;
use strongroom_store::Store;

use super::past::Past;
use super::snapshot::{no_such, snapshots_in};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Tuning;
use crate::state::Head;
use crate::workspace::{Mode, Options, Services, Workspace};

/// Memory for pages of an old state that is open beside the present one.
const PAGE_CACHE_BYTES: u64 = 16 << 20;

/// Which state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// As this commit left it.
    Commit(u64),
    /// As the last commit before this time left it, nanoseconds since 1970.
    Time(i64),
    /// As the snapshot of this name has it.
    Snapshot(String),
}

impl Workspace {
    /// Opens an old state for reading. It stays what it is.
    ///
    /// # Errors
    /// `NotFound` if it is not kept any more, or no snapshot has the name; `Purged`; as [`Workspace::open`].
    pub fn open_at(
        options: Options,
        at: &At,
        store: Arc<dyn Store>,
        keys: Arc<DeviceKeys>,
        services: Services,
    ) -> Result<Workspace> {
        let options = Options { mode: Mode::ReadOnly, ..options };
        let opened = Workspace::open(options, store, keys, services)?;
        let seq = opened.find_commit(at)?;
        match opened.pinned_at(seq)? {
            Some(head) => opened.0.load_snapshot(head)?,
            None => opened.0.load_at(seq)?,
        }
        let head = opened.0.state.lock().head;
        // Set once: nobody else has seen it yet.
        let _ = opened.0.stands_at.set(head);
        // From here on it is noticed when something in it is purged.
        opened.0.look_at_past(&mut opened.0.outbound.lock(), head)?;
        Ok(opened)
    }

    /// An old state of this workspace, open beside it for reading.
    ///
    /// # Errors
    /// As [`Workspace::open_at`].
    pub fn at(&self, at: &At) -> Result<Workspace> {
        let inner = &self.0;
        let tuning = Tuning { page_cache_bytes: PAGE_CACHE_BYTES, ..inner.options.tuning.clone() };
        let options = Options { tuning, ..inner.options.clone() };
        let (store, keys) = (inner.store.clone(), inner.keys.clone());
        Workspace::open_at(options, at, store, keys, inner.services.clone())
    }

    /// The head of a snapshot of a commit, if it is one.
    fn pinned_at(&self, seq: u64) -> Result<Option<Head>> {
        let all = self.0.look_unlocked(|state| snapshots_in(&state.map))?;
        let found = all.iter().find(|(_, snapshot)| snapshot.seq == seq);
        Ok(found.map(|(_, snapshot)| Head { seq, hash: snapshot.head }))
    }

    fn find_commit(&self, at: &At) -> Result<u64> {
        let head = self.0.state.lock().head.seq;
        match at {
            At::Commit(seq) if *seq > head => {
                let message = format!("there is no commit {seq} yet; the newest is {head}");
                Err(Error::new(ErrorKind::NotFound, message))
            }
            At::Commit(seq) if self.pinned_at(*seq)?.is_some() => Ok(*seq),
            At::Commit(seq) => Past::open(&self.0)?.require(*seq).map(|()| *seq),
            At::Time(time) => Past::open(&self.0)?.last_before(*time)?.ok_or_else(gone),
            At::Snapshot(name) => {
                let all = self.0.look_unlocked(|state| snapshots_in(&state.map))?;
                let found = all.iter().rev().find(|(_, snapshot)| snapshot.name == *name);
                Ok(found.ok_or_else(|| no_such(name))?.1.seq)
            }
        }
    }
}

/// The error for a state that is not kept.
pub(super) fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "history does not reach back so far, and no snapshot has it")
}
