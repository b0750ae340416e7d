//! Who counts, as this process knows it: the organisation, read on as its log grows, and the pins that tie commits and
//! checkpoints to positions in it.
//!
//! 1. An author counts at the position that is pinned in what it signed, by number and hash, and the epoch that seals it
//!    is the one of that position.
//! 2. Pins never go down along the history: whoever was revoked cannot hide behind an old one once anybody has pinned
//!    the revocation.
//! 3. Once this device is revoked it seals nothing more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Mutex, RwLock};
use strongroom_crypto::sign::VerifyingKey;
use strongroom_format::ids::{DeviceId, Digest};
use strongroom_host::disk::{read_all, replace_file};
use strongroom_keyring::DeviceKeys;
use strongroom_keyring::organisation::Organisation;
use strongroom_store::{Key as StoreKey, Store};

use super::log::get;
use super::memory::{head_bytes, other_store, parse_head};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Broken;
use crate::state::Head;
use crate::workspace::{Inner, Mode};

/// Name of the file with the newest record of the organisation log that this home has seen.
pub const ORGANISATION_FILE: &str = "organisation";

/// A position in the organisation log, and the epoch that seals there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Position.
    pub seq: u64,
    /// SHA-256 of the record there.
    pub head: Digest,
    /// Epoch of the ordinary files.
    pub epoch: u64,
}

/// The organisation, shared by all who read and write one workspace.
pub struct Roster {
    organisation: RwLock<Organisation>,
    /// Highest position that anything verified so far is pinned to.
    floor: Mutex<u64>,
    broken: Option<Broken>,
}

impl Roster {
    /// Reads the whole log.
    ///
    /// # Errors
    /// `Corrupt` when it does not verify; `Denied` when this device does not count; those of the store.
    pub fn open(store: &Arc<dyn Store>, keys: &DeviceKeys) -> Result<Self> {
        let key = StoreKey::Organisation(0);
        let missing = || Error::new(ErrorKind::Corrupt, format!("`{key}` is missing"));
        let genesis = get(store, key)?.ok_or_else(missing)?;
        let mut organisation = Organisation::verify(&genesis, &keys.organisation())?;
        organisation.follow(|seq| get(store, StoreKey::Organisation(seq)))?;
        keys.learn(&organisation)?;
        Ok(Self::new(organisation))
    }

    /// An organisation that is known already.
    pub fn new(organisation: Organisation) -> Self {
        Self { organisation: RwLock::new(organisation), floor: Mutex::new(0), broken: None }
    }

    /// With a deliberate mistake, where tests ask for one.
    pub(super) fn with_mistake(self, broken: Option<Broken>) -> Self {
        Self { broken, ..self }
    }

    /// The same organisation for who reads the history again, from an earlier position on.
    pub(super) fn anew(&self) -> Self {
        Self::new(self.with(Organisation::clone)).with_mistake(self.broken)
    }

    /// Reads on where the log ended last time, and takes the keys it brings. Returns whether there was anything new.
    ///
    /// # Errors
    /// As [`Roster::open`].
    pub fn refresh(&self, store: &Arc<dyn Store>, keys: &DeviceKeys) -> Result<bool> {
        let position = self.organisation.read().position();
        let Some(next) = get(store, StoreKey::Organisation(position + 1))? else {
            // Also what was learned before may say that this device counts no more.
            self.organisation.read().author_at(&keys.device_id(), position).ok_or_else(revoked)?;
            return Ok(false);
        };
        let mut grown = self.organisation.read().clone();
        let mut next = Some(next);
        grown.follow(|seq| match next.take() {
            Some(first) => Ok::<_, Error>(Some(first)),
            None => get(store, StoreKey::Organisation(seq)),
        })?;
        let learned = keys.learn(&grown);
        let mut organisation = self.organisation.write();
        if grown.position() > organisation.position() {
            *organisation = grown;
        }
        drop(organisation);
        learned?;
        Ok(true)
    }

    /// The newest position known here.
    ///
    /// # Errors
    /// `Corrupt` for a log that founds no workspace.
    pub fn pin(&self) -> Result<Pin> {
        let organisation = self.organisation.read();
        let (seq, head) = (organisation.position(), organisation.head());
        let epoch = organisation.epoch_at(seq).ok_or_else(unfounded)?;
        Ok(Pin { seq, head, epoch })
    }

    /// The key and the epoch of something an author pinned to a position; none if the author does not count there, the
    /// pin is not in the log, or lower than one before. Reads on if the position is not known yet.
    ///
    /// # Errors
    /// Those of [`Roster::refresh`].
    pub(super) fn author(
        &self,
        store: &Arc<dyn Store>,
        keys: &DeviceKeys,
        author: &DeviceId,
        (seq, head): (u64, Digest),
    ) -> Result<Option<(VerifyingKey, u64)>> {
        if seq > self.organisation.read().position() {
            self.refresh(store, keys)?;
        }
        let organisation = self.organisation.read();
        if seq > organisation.position() {
            let message = format!("`{}` is missing", StoreKey::Organisation(seq));
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let same = organisation.head_at(seq) == Some(head) && seq >= *self.floor.lock();
        let found = organisation.author_at(author, seq).filter(|_| same);
        Ok(found.cloned().zip(organisation.epoch_at(seq)))
    }

    /// Takes note of a pin of something that verified.
    pub(crate) fn note_pin(&self, seq: u64) {
        if self.broken == Some(Broken::PinsMayGoDown) {
            return;
        }
        let mut floor = self.floor.lock();
        *floor = seq.max(*floor);
    }

    /// Goes back in the history to where another reader of it stands: what follows is read once more.
    pub(super) fn go_back_to(&self, other: &Roster) {
        let floor = *other.floor.lock();
        *self.floor.lock() = floor;
    }

    /// Looks at the organisation.
    pub fn with<T>(&self, look: impl FnOnce(&Organisation) -> T) -> T {
        look(&self.organisation.read())
    }
}

/// The error of a device that counts no more.
pub(crate) fn revoked() -> Error {
    Error::new(ErrorKind::Denied, "this device was removed from the workspace")
}

impl Inner {
    /// Refuses an organisation log that is older than what this home has seen, or another one.
    pub(super) fn check_remembered_organisation(&self) -> Result<()> {
        let path = self.options.state_folder.join(ORGANISATION_FILE);
        let remembered = read_all(&*self.services.disk, &path).ok();
        let Some(seen) = remembered.and_then(|bytes| parse_head(&bytes)) else {
            return self.remember_organisation();
        };
        if self.options.tuning.broken == Some(Broken::OrganisationNotRemembered) {
            return Ok(());
        }
        let (end, there) = self.roster.with(|log| (log.position(), log.head_at(seen.seq)));
        let seq = seen.seq;
        match there {
            None => Err(other_store(&format!(
                "the organisation log ends at record {end}, this device saw {seq}"
            ))),
            Some(hash) if hash != seen.hash => {
                Err(other_store(&format!("record {seq} of the organisation log is another one")))
            }
            Some(_) => {
                self.organisation_seen.store(seen.seq, Ordering::Release);
                self.remember_organisation()
            }
        }
    }

    /// Notes the newest record of the organisation log, durably: there are few.
    pub(super) fn remember_organisation(&self) -> Result<()> {
        let newest = self.roster.with(|log| Head { seq: log.position(), hash: log.head() });
        let is_known = newest.seq <= self.organisation_seen.load(Ordering::Acquire);
        if self.options.mode == Mode::ReadOnly || is_known {
            return Ok(());
        }
        let path = self.options.state_folder.join(ORGANISATION_FILE);
        replace_file(&*self.services.disk, &path, &head_bytes(newest))?;
        self.organisation_seen.store(newest.seq, Ordering::Release);
        Ok(())
    }

    /// Reads the organisation log on. On a device that was revoked, changes are refused from here on.
    ///
    /// # Errors
    /// As [`Roster::refresh`].
    pub(crate) fn follow_organisation(&self) -> Result<()> {
        match self.roster.refresh(&self.store, &self.keys) {
            // It may have been read on for the sake of a commit before.
            Ok(_) => self.remember_organisation(),
            Err(error) => {
                let gone = self.roster.with(|log| self.keys.check_certified(log)).is_err();
                self.revoked.fetch_or(gone, Ordering::AcqRel);
                Err(error)
            }
        }
    }
}

fn unfounded() -> Error {
    Error::new(ErrorKind::Corrupt, "the organisation log founds no workspace")
}
