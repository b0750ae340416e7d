//! Durability on demand, and room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::door::{Answer, Space, SyncLevel, SyncScope};
use crate::error::{Error, Result};
use crate::limits::Broken;
use crate::outbound::commit::Reason;
use crate::workspace::{Inner, Mode};

/// What `statfs` says when the store does not know: 1 PiB.
const SPACE_UNKNOWN: u64 = 1 << 50;
/// Inodes a workspace can number.
const INODES: u64 = 1 << 40;

impl Inner {
    pub(super) fn sync(self: &Arc<Self>, _scope: SyncScope, level: SyncLevel) -> Answer<()> {
        if self.options.mode == Mode::ReadOnly {
            return Answer::Ready(Ok(()));
        }
        match level {
            SyncLevel::Local => Answer::Ready(self.sync_local()),
            SyncLevel::Remote => self.blocking(|inner| inner.commit(Reason::Asked)),
        }
    }

    /// Everything journaled so far survives a loss of power when this returns.
    pub(crate) fn sync_local(&self) -> Result<()> {
        let journal = self.journal()?;
        // ORDER: the position first, then the staged blocks its records name, then the journal.
        let position = journal.position();
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        let staged = match self.options.tuning.broken {
            Some(Broken::SyncWithoutStaging) => Ok(()),
            _ => self.staging.sync(),
        };
        let done = staged.and_then(|()| journal.sync(position).map_err(Error::from));
        if done.is_err() {
            self.state.lock().poisoned = true;
        }
        done
    }

    pub(super) fn space(&self) -> Space {
        let space = self.store.space();
        let total_bytes = space.map_or(SPACE_UNKNOWN, |space| space.total_bytes);
        let free_bytes = space.map_or(SPACE_UNKNOWN, |space| space.free_bytes);
        Space { total_bytes, free_bytes, total_inodes: INODES, free_inodes: INODES }
    }
}
