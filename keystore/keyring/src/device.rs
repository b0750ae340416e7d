//! An unlocked device: its identity, and the keys it works with while unlocked.

use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_crypto::hedge::hedged_salt;
use strongroom_crypto::secret::{EpochKey, HedgeKey, HistoryKey, JournalKey};
use strongroom_crypto::sign::SigningKey;
use strongroom_format::device::DeviceSecrets;
use strongroom_format::ids::{CompartmentId, DeviceId, OrganisationId, WorkspaceId};

use crate::arena::keep;
use crate::error::{Error, Result};
use crate::organisation::Organisation;

/// The keys of an unlocked device, in locked memory. Dropping it locks the device.
pub struct DeviceKeys {
    device: DeviceId,
    organisation: OrganisationId,
    workspace: WorkspaceId,
    signing: SigningKey,
    journal: JournalKey,
    hedge: HedgeKey,
    salt_count: AtomicU64,
    // By compartment and epoch, unique.
    epochs: Vec<Epoch>,
}

struct Epoch {
    compartment: CompartmentId,
    number: u64,
    key: EpochKey,
    history: Option<HistoryKey>,
}

impl DeviceKeys {
    /// Moves secrets that were sealed together into locked memory.
    ///
    /// # Errors
    /// `Corrupt` when they hold no key of the ordinary files, keys of several workspaces, or one twice.
    pub(crate) fn take(organisation: OrganisationId, secrets: DeviceSecrets) -> Result<Self> {
        let bad = Error::corrupt("the device file holds no usable set of keys");
        let workspace = secrets.keys.first().ok_or(bad.clone())?.workspace;
        let mut epochs = Vec::with_capacity(secrets.keys.len());
        for mut held in secrets.keys {
            if held.workspace != workspace {
                return Err(bad);
            }
            epochs.push(Epoch {
                compartment: held.compartment,
                number: held.epoch,
                key: EpochKey::from(keep(&mut held.key.0)),
                history: held.history.as_mut().map(|key| HistoryKey::from(keep(&mut key.0))),
            });
        }
        let ordered =
            epochs.is_sorted_by(|a, b| (a.compartment, a.number) < (b.compartment, b.number));
        if !ordered || !epochs.iter().any(|key| key.compartment == CompartmentId::ORDINARY) {
            return Err(bad);
        }
        let (mut signing, mut journal) = (secrets.signing_seed, secrets.store_key);
        let mut hedge = secrets.hedge_key;
        Ok(Self {
            device: secrets.device,
            organisation,
            workspace,
            signing: SigningKey::from_seed(keep(&mut signing.0)),
            journal: JournalKey::from(keep(&mut journal.0)),
            hedge: HedgeKey::from(keep(&mut hedge.0)),
            salt_count: AtomicU64::new(0),
            epochs,
        })
    }

    /// The device.
    pub fn device_id(&self) -> DeviceId {
        self.device
    }

    /// The organisation, as pinned when the device was made.
    pub fn organisation(&self) -> OrganisationId {
        self.organisation
    }

    /// The workspace whose keys these are.
    pub fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// What the device signs with.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// Key of an epoch of the workspace's ordinary files; none if this device does not hold it.
    pub fn epoch_key(&self, epoch: u64) -> Option<&EpochKey> {
        self.compartment_key(&CompartmentId::ORDINARY, epoch)
    }

    /// Key of an epoch of a compartment; none if this device does not hold it.
    pub fn compartment_key(&self, compartment: &CompartmentId, epoch: u64) -> Option<&EpochKey> {
        self.epoch(compartment, epoch).map(|epoch| &epoch.key)
    }

    /// History key of an epoch of a compartment; none if this device is not entitled to the past.
    pub fn history_key(&self, compartment: &CompartmentId, epoch: u64) -> Option<&HistoryKey> {
        self.epoch(compartment, epoch).and_then(|epoch| epoch.history.as_ref())
    }

    /// The newest epoch of the workspace's ordinary files: the one to seal under.
    pub fn current_epoch(&self) -> (u64, &EpochKey) {
        let ordinary = self.epochs.iter().rfind(|key| key.compartment == CompartmentId::ORDINARY);
        let newest = ordinary.expect("take refuses a set without the ordinary files' key");
        (newest.number, &newest.key)
    }

    /// Key that wraps the keys of journal files.
    pub fn journal_key(&self) -> &JournalKey {
        &self.journal
    }

    /// Key for hedged salts.
    pub fn hedge_key(&self) -> &HedgeKey {
        &self.hedge
    }

    /// A salt for sealing a plaintext with this BLAKE3 hash, from 32 fresh random bytes; counts
    /// its calls into the hedge.
    pub fn salt(&self, random: [u8; 32], plaintext_hash: [u8; 32]) -> [u8; 24] {
        let count = self.salt_count.fetch_add(1, Ordering::Relaxed);
        hedged_salt(&self.hedge, random, plaintext_hash, count)
    }

    /// Checks that the organisation certifies this device with the public half of its own key.
    ///
    /// # Errors
    /// `Corrupt` when it is another organisation, or certifies another key or none.
    pub fn check_certified(&self, organisation: &Organisation) -> Result<()> {
        let certified = organisation.device(&self.device) == Some(self.signing.verifying_key());
        if certified && *organisation.id() == self.organisation {
            Ok(())
        } else {
            Err(Error::corrupt("the organisation does not certify this device"))
        }
    }

    fn epoch(&self, compartment: &CompartmentId, number: u64) -> Option<&Epoch> {
        self.epochs.iter().find(|key| key.compartment == *compartment && key.number == number)
    }
}
