//! Who counts, as this process knows it: the organisation, read on as its log grows.

use std::sync::{Arc, PoisonError, RwLock};

use strongroom_format::ids::DeviceId;
use strongroom_keyring::DeviceKeys;
use strongroom_keyring::organisation::Organisation;
use strongroom_records::ids::Hash;
use strongroom_records::log::Stand;
use strongroom_store::Store;

use crate::error::{Error, ErrorKind, Result};
use crate::letters;

/// The organisation, shared by all that one process has open.
pub struct Roster(RwLock<Arc<Organisation>>);

impl Roster {
    /// An organisation that is known.
    pub fn new(organisation: Organisation) -> Self {
        Self(RwLock::new(Arc::new(organisation)))
    }

    /// The organisation as it is known now.
    pub fn now(&self) -> Arc<Organisation> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads on where the log ended last time, and takes the keys that it brings. What was read counts, whatever becomes of
    /// what follows it.
    ///
    /// # Errors
    /// `Corrupt` when a record does not verify; `Denied` when this device counts no more; those of the store.
    pub fn follow(&self, store: &dyn Store, keys: &DeviceKeys) -> Result<()> {
        let known = self.now();
        let mut grown = Organisation::clone(&known);
        let followed = letters::read_on(store, &mut grown);
        if grown.position() > known.position() {
            let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if grown.position() > held.position() {
                *held = Arc::new(grown);
            }
            drop(held);
            keys.learn(&self.now())?;
        }
        followed
    }

    /// Where a device stands that is about to sign, and the epoch that seals there.
    ///
    /// # Errors
    /// `Denied` when it counts no more.
    pub(crate) fn stand(&self, device: &DeviceId) -> Result<(Stand, u64)> {
        let organisation = self.now();
        let removed =
            || Error::new(ErrorKind::Denied, "this device was removed from the workspace");
        organisation.device(device).ok_or_else(removed)?;
        let (position, head) = (organisation.position(), Hash(organisation.head().0));
        let unfounded = || Error::corrupt("the organisation log founds no workspace");
        let epoch = organisation.epoch_at(position).ok_or_else(unfounded)?;
        Ok((Stand { position, head }, epoch))
    }
}

/// Whether somebody can have stood there.
pub(crate) fn holds(organisation: &Organisation, stand: &Stand) -> bool {
    organisation.head_at(stand.position).is_some_and(|head| head.0 == stand.head.0)
}
