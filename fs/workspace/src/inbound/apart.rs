//! Opening while the store cannot be reached, from copies that this device keeps of what opening reads. All of it is
//! verified as ever, and must reach what this home has seen.
//!
//! What opening otherwise settles with the store waits for its first answer.
//! ORDER: before anything of others is taken in, and before anything is cut or published.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use strongroom_crypto::hash::sha256;
use strongroom_format::commit::CommitFile;
use strongroom_keyring::DeviceKeys;
use strongroom_store::{Family, Key as StoreKey, Store};

use super::follow::{away_for_long, published_before};
use super::log::{forked, get, list};
use super::memory::other_store;
use super::open::Reach;
use crate::error::{Error, ErrorKind, Result};
use crate::later::wait;
use crate::outbound::commit::Outbound;
use crate::workspace::{Inner, Mode, Options, Services, Workspace};

impl Workspace {
    /// Opens a workspace from copies on this device: `store` answers from these, and refuses all else with `Unavailable`, until
    /// this returns. From then on it is as one that was cut off: what is here is read, what is written waits.
    ///
    /// # Errors
    /// `Unavailable` when copies do not suffice; else as [`Workspace::open`].
    pub fn open_apart(
        options: Options,
        store: Arc<dyn Store>,
        keys: Arc<DeviceKeys>,
        services: Services,
    ) -> Result<Workspace> {
        let opened = Self::open_by(options, (store, Reach::Apart), keys, services);
        let workspace = opened.map_err(insufficient)?;
        workspace.0.outbound.lock().follow_error = Some(away());
        Ok(workspace)
    }
}

impl Inner {
    /// Whether this was opened without the store, which has not answered since.
    pub(crate) fn is_apart(&self) -> bool {
        self.apart.load(Ordering::Acquire)
    }

    /// What copies do not suffice for is left for later.
    pub(super) fn unless_apart(&self, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if self.is_apart() && error.kind() == ErrorKind::Unavailable => Ok(()),
            result => result,
        }
    }

    /// Settles with the store what opening left, once.
    ///
    /// # Errors
    /// Those of the store; `Corrupt` when it lacks what this home has seen.
    pub(crate) fn settle_opening(&self, outbound: &mut Outbound) -> Result<()> {
        if !self.is_apart() {
            return Ok(());
        }
        self.check_head_is_there()?;
        self.drop_what_was_put()?;
        self.adopt_what_was_put(outbound)?;
        self.apart.store(false, Ordering::Release);
        Ok(())
    }

    /// Copies may not have had the pages that tell what was put.
    fn drop_what_was_put(&self) -> Result<()> {
        let head = self.state.lock().head.seq;
        match self.drop_committed_objects() {
            // Others may have collected a page since; the newest map tells as well.
            Err(error) if error.kind() == ErrorKind::Corrupt && self.newer_checkpoints(head)? => {
                Err(away_for_long())
            }
            dropped => dropped,
        }
    }

    /// What was put may have been committed by the process before, and let go of since. Then the newest map tells.
    fn adopt_what_was_put(&self, outbound: &mut Outbound) -> Result<()> {
        match self.adopt_put_objects(outbound) {
            Err(error)
                if error.kind() == ErrorKind::Corrupt && self.has_more_than_is_known()? =>
            {
                Err(published_before())
            }
            adopted => adopted,
        }
    }

    /// Whether the store shows a commit after the head, or what came of one.
    fn has_more_than_is_known(&self) -> Result<bool> {
        let head = self.state.lock().head.seq;
        let next = get(&self.store, StoreKey::Log(head + 1))?;
        Ok(next.is_some() || self.newer_checkpoints(head)?)
    }

    /// The newest commit that was seen is in the store, or a checkpoint from then on.
    fn check_head_is_there(&self) -> Result<()> {
        let head = self.state.lock().head;
        let key = StoreKey::Log(head.seq);
        if let Some(bytes) = get(&self.store, key)? {
            let hash = CommitFile::parse(&bytes).map(|file| sha256(file.header_bytes));
            if !hash.is_ok_and(|hash| hash == head.hash.0) {
                return Err(forked(key));
            }
            if self.options.mode == Mode::ReadOnly {
                return Ok(());
            }
            // The process before may have ended between giving it its name and making the name last.
            return wait(async { Ok(self.store.put_if_absent(key, bytes).await.map(drop)?) });
        }
        let before = head.seq.checked_sub(1).map(StoreKey::Checkpoint);
        if list(&self.store, Family::Checkpoint, before)?.is_empty() {
            let seen = head.seq;
            return Err(other_store(&format!(
                "it ends before commit {seen}, which this device saw"
            )));
        }
        Ok(())
    }
}

/// Copies that are torn, or less than what this home has seen, are no damage of the store.
fn insufficient(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Purged | ErrorKind::NotFound => {
            let message = format!("what this device keeps of the store does not suffice: {error}");
            Error::new(ErrorKind::Unavailable, message)
        }
        _ => error,
    }
}

/// The error of who needs the store, and it was away from the beginning.
pub(crate) fn away() -> Error {
    let message = "the store cannot be reached; opened with what this device keeps of it";
    Error::new(ErrorKind::Unavailable, message)
}
