//! An unlocked device: its identity, and the keys it works with while unlocked.

use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_crypto::hash::blake3_256;
use strongroom_crypto::hedge::hedged_salt;
use strongroom_crypto::kem::KemKey;
use strongroom_crypto::secret::{EpochKey, HedgeKey, HistoryKey, JournalKey};
use strongroom_crypto::sign::SigningKey;
use strongroom_format::device::DeviceSecrets;
use strongroom_format::ids::{CompartmentId, DeviceId, OrganisationId, WorkspaceId};
use strongroom_host::entropy::Entropy;

use crate::arena::keep;
use crate::epochs::{Epoch, Epochs};
use crate::error::{Error, Result};
use crate::organisation::{Device, Organisation};
use crate::shares;

/// The keys of an unlocked device, in locked memory. Dropping it locks the device.
///
/// The keys of the workspace come from the organisation log, by [`DeviceKeys::learn`].
pub struct DeviceKeys {
    device: DeviceId,
    organisation: OrganisationId,
    workspace: WorkspaceId,
    signing: SigningKey,
    kem: KemKey,
    journal: JournalKey,
    hedge: HedgeKey,
    salt_count: AtomicU64,
    epochs: Epochs,
}

impl DeviceKeys {
    /// Moves secrets that were sealed together into locked memory.
    pub(crate) fn take(organisation: OrganisationId, secrets: DeviceSecrets) -> Self {
        let (mut signing, mut journal) = (secrets.signing_seed, secrets.store_key);
        let (mut hedge, mut kem) = (secrets.hedge_key, secrets.kem_seed);
        Self {
            device: secrets.device,
            organisation,
            workspace: secrets.workspace,
            signing: SigningKey::from_seed(keep(&mut signing.0)),
            kem: KemKey::from_seed(keep(&mut kem.0)),
            journal: JournalKey::from(keep(&mut journal.0)),
            hedge: HedgeKey::from(keep(&mut hedge.0)),
            salt_count: AtomicU64::new(0),
            epochs: Epochs::default(),
        }
    }

    /// Takes the keys of every epoch that the organisation log gives this device and that it does not hold yet.
    ///
    /// # Errors
    /// `Denied` when the device does not count, does no more, or is a consumer's; `Corrupt` when it is another organisation or
    /// workspace, or a key is not the one that the log commits to.
    pub fn learn(&self, organisation: &Organisation) -> Result<()> {
        self.check_certified(organisation)?;
        if organisation.find(&self.device).is_some_and(Device::is_consumer) {
            return Err(Error::denied(
                "this device is a consumer's: it has no key of the workspace",
            ));
        }
        shares::take(self, organisation)
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

    /// What others wrap keys for this device to.
    pub fn kem(&self) -> &KemKey {
        &self.kem
    }

    /// Key of an epoch of the workspace's ordinary files; none if this device does not hold it.
    pub fn epoch_key(&self, epoch: u64) -> Option<&EpochKey> {
        self.compartment_key(&CompartmentId::ORDINARY, epoch)
    }

    /// Key of an epoch of a compartment; none if this device does not hold it.
    pub fn compartment_key(&self, compartment: &CompartmentId, epoch: u64) -> Option<&EpochKey> {
        self.epochs.find(compartment, epoch).map(|epoch| &epoch.key)
    }

    /// History key of an epoch of a compartment; none if this device is not entitled to the past.
    pub fn history_key(&self, compartment: &CompartmentId, epoch: u64) -> Option<&HistoryKey> {
        self.epochs.find(compartment, epoch).and_then(|epoch| epoch.history.as_ref())
    }

    /// The newest epoch of the workspace's ordinary files: the one to seal under.
    ///
    /// # Panics
    /// Before [`DeviceKeys::learn`].
    pub fn current_epoch(&self) -> (u64, &EpochKey) {
        let newest = self.epochs.newest(&CompartmentId::ORDINARY);
        let newest = newest.expect("the organisation is read before anything is sealed");
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

    pub(crate) fn salt_for(&self, plaintext: &[u8], entropy: &dyn Entropy) -> [u8; 24] {
        self.salt(entropy.array(), blake3_256(plaintext))
    }

    /// Checks that the organisation, as far as its log is known, certifies this device with the public halves of its
    /// own keys.
    ///
    /// # Errors
    /// `Denied` when it does not, or does no more; `Corrupt` when it is another organisation, or certifies other keys.
    pub fn check_certified(&self, organisation: &Organisation) -> Result<()> {
        let other = Error::corrupt("the organisation does not certify this device");
        if *organisation.id() != self.organisation {
            return Err(other);
        }
        let Some(device) = organisation.find(&self.device) else {
            return Err(Error::denied("this device was not taken in yet"));
        };
        if device.signing() != self.signing.verifying_key() || device.kem() != self.kem.public() {
            return Err(other);
        }
        match device.revoked_at() {
            None => Ok(()),
            Some(_) => Err(Error::denied("this device was removed from the workspace")),
        }
    }

    pub(crate) fn hold(&self, epoch: Epoch) {
        self.epochs.add(epoch);
    }
}
