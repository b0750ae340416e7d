//! What the steward works with, handed in by whoever assembles the program.

use std::sync::Arc;

use strongroom_audit::shelves::Wait;
use strongroom_audit::{Author, Pin, Trust};
use strongroom_authorizer::DecisionPoint;
use strongroom_format::ids::DeviceId;
use strongroom_host::clock::Clock;
use strongroom_host::entropy::Entropy;
use strongroom_keyring::DeviceKeys;
use strongroom_keyring::organisation::Device;
use strongroom_records::ids::ApplicationId;
use strongroom_records::log::Stand;
use strongroom_store::Store;

use crate::error::{Error, ErrorKind, Result};
use crate::policies::PolicyLanguage;
use crate::roster::{Roster, holds};

/// What this device remembers of logs it has seen, outside the store.
pub trait Memory: Send + Sync {
    /// The newest record it has seen.
    ///
    /// # Errors
    /// Its own.
    fn recall(&self, application: &ApplicationId) -> Result<Option<Pin>>;

    /// Remembers. Durable on return.
    ///
    /// # Errors
    /// Its own.
    fn remember(&self, application: &ApplicationId, pin: &Pin) -> Result<()>;

    /// The ledger of erasures at a place apart from the store: receipts, one after the other.
    ///
    /// # Errors
    /// `Unavailable` when it is not there: it is never taken for an empty one.
    fn ledger(&self, place: &str) -> Result<Vec<u8>> {
        let _ = place;
        Err(no_ledgers())
    }

    /// Adds receipts to a ledger; an empty addition makes one. Durable on return.
    ///
    /// # Errors
    /// `Unavailable`, also when receipts are added to one that is not there: it would have forgotten everybody.
    fn add_to_ledger(&self, place: &str, receipts: &[u8]) -> Result<()> {
        let _ = (place, receipts);
        Err(no_ledgers())
    }
}

fn no_ledgers() -> Error {
    Error::new(ErrorKind::Unsupported, "no ledger can be kept here")
}

/// The machine, the store and the device.
#[derive(Clone)]
pub struct Services {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// How its answers are waited for.
    pub wait: Wait,
    /// The unlocked device.
    pub keys: Arc<DeviceKeys>,
    /// Who counts.
    pub organisation: Arc<Roster>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Memory of heads.
    pub memory: Arc<dyn Memory>,
    /// Reads policy sets.
    pub language: Arc<dyn PolicyLanguage>,
}

impl Services {
    /// A decision point for a set of policies; the built-in set where there is none.
    pub(crate) fn point(&self, text: Option<&str>) -> Result<Arc<dyn DecisionPoint>> {
        self.language.read(text.unwrap_or(self.language.built_in()))
    }
}

impl Trust for Services {
    fn author(&self, device: &DeviceId, stand: &Stand) -> strongroom_audit::Result<Option<Author>> {
        let mut organisation = self.organisation.now();
        if stand.position > organisation.position() {
            self.organisation.follow(&*self.store, &self.keys)?;
            organisation = self.organisation.now();
        }
        let key = organisation.author_at(device, stand.position);
        let key = key.filter(|_| holds(&organisation, stand)).cloned();
        let found = key.zip(organisation.epoch_at(stand.position));
        Ok(found.map(|(key, epoch)| Author { key, epoch }))
    }

    fn last_removal(&self) -> Option<u64> {
        let organisation = self.organisation.now();
        // A consumer's device never wrote here.
        let holders = organisation.devices().filter(|device| !device.is_consumer());
        holders.filter_map(Device::revoked_at).max()
    }

    fn removed_at(&self, device: &DeviceId) -> Option<u64> {
        self.organisation.now().find(device).and_then(Device::revoked_at)
    }
}
