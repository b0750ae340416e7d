//! The organisation as its log states it: the root key, whose signatures count from which record to which, and the
//! epochs of the workspace key.
//!
//! The log is genesis, pinned by its hash, and records that each name the one before by its hash and are signed by a
//! device that counted there. A device counts from the record that adds it up to the one that revokes it, never again
//! after; a signature elsewhere counts if its author counted at the position that it names.

use std::collections::BTreeMap;

use strongroom_crypto::hash::sha256;
use strongroom_crypto::kem::KemPublicKey;
use strongroom_crypto::sign::VerifyingKey;
use strongroom_crypto::usage::Usage;
use strongroom_format::genesis::GenesisFile;
use strongroom_format::ids::{
    CompartmentId, DeviceId, Digest, MemberId, OrganisationId, WorkspaceId,
};
use strongroom_format::organisation::{
    Act, Certificate, DEVICE_COUNT_MAX, Naming, Recipient, Record, RecordFile, Rotation, Share,
};
use strongroom_format::workspace::SUITE;

use crate::device::DeviceKeys;
use crate::error::{Error, Result};
use crate::shares::Place;

const BAD: Error = Error::corrupt("the genesis record does not verify");
const BAD_RECORD: Error = Error::corrupt("a record of the organisation log does not verify");

/// A verified organisation, up to some position of its log.
#[derive(Clone, Debug)]
pub struct Organisation {
    id: OrganisationId,
    root: VerifyingKey,
    workspace: Option<WorkspaceId>,
    // In the order they were certified.
    devices: Vec<Device>,
    epochs: Vec<EpochFacts>,
    // Of the newest epoch.
    shares: BTreeMap<DeviceId, OwnShare>,
    // SHA-256 of each record, by position.
    heads: Vec<Digest>,
}

/// A device of the organisation.
#[derive(Clone, Debug)]
pub struct Device {
    id: DeviceId,
    member: MemberId,
    signing: VerifyingKey,
    kem: KemPublicKey,
    added_at: u64,
    revoked_at: Option<u64>,
    time: i64,
    // Newest epoch that it was in, and its name sealed under that.
    name: Option<(u64, Vec<u8>)>,
    // Of a consumer's device: the consumer's name, sealed under the same epoch.
    consumer: Option<Vec<u8>>,
}

/// What the log says of an epoch.
#[derive(Clone, Debug)]
pub(crate) struct EpochFacts {
    pub(crate) number: u64,
    pub(crate) commitments: [Digest; 2],
    pub(crate) back_link: Option<Vec<u8>>,
    since: u64,
}

/// An epoch's keys, wrapped for one device.
#[derive(Clone, Debug)]
pub(crate) struct OwnShare {
    pub(crate) epoch: u64,
    pub(crate) position: u64,
    pub(crate) sharer: DeviceId,
    pub(crate) wrap: Vec<u8>,
}

impl Device {
    fn parse(certificate: &Certificate, added_at: u64, time: i64) -> Result<Self> {
        Ok(Self {
            id: certificate.device,
            member: certificate.member,
            signing: VerifyingKey::parse(&certificate.signing_key).map_err(|_| BAD_RECORD)?,
            kem: KemPublicKey::parse(&certificate.kem_key).map_err(|_| BAD_RECORD)?,
            added_at,
            revoked_at: None,
            time,
            name: None,
            consumer: None,
        })
    }

    /// Which.
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// Whose.
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// What it signs with.
    pub fn signing(&self) -> &VerifyingKey {
        &self.signing
    }

    /// What keys for it are wrapped to.
    pub fn kem(&self) -> &KemPublicKey {
        &self.kem
    }

    /// Position of the record that certifies it.
    pub fn added_at(&self) -> u64 {
        self.added_at
    }

    /// Position of the record that revokes it.
    pub fn revoked_at(&self) -> Option<u64> {
        self.revoked_at
    }

    /// When it was added, by the clock of who added it. Nanoseconds since 1970.
    pub fn time_ns(&self) -> i64 {
        self.time
    }

    /// Whether it works for a consumer of personal data, and has no key of the workspace.
    pub fn is_consumer(&self) -> bool {
        self.consumer.is_some()
    }

    /// Whether it is in at a position.
    pub fn counts_at(&self, position: u64) -> bool {
        self.added_at <= position && self.revoked_at.is_none_or(|revoked| position < revoked)
    }
}

impl Organisation {
    /// Verifies a genesis file against the organisation's pinned id: hash, root signature, keys.
    ///
    /// # Errors
    /// `Corrupt` when anything does not hold, `Unsupported` when it demands a newer suite.
    pub fn verify(file: &[u8], pinned: &OrganisationId) -> Result<Self> {
        let genesis = GenesisFile::parse(file)?;
        if sha256(genesis.record_bytes) != pinned.0 {
            return Err(BAD);
        }
        let record = genesis.record;
        let root = VerifyingKey::parse(&record.root_key).map_err(|_| BAD)?;
        root.verify(Usage::SignGenesis, genesis.record_bytes, &genesis.signature)
            .map_err(|_| BAD)?;
        if record.suite != SUITE || record.suite_floor > SUITE {
            return Err(Error::unsupported("the organisation demands a newer suite"));
        }
        let first = |certificate| Device::parse(certificate, 0, record.time).map_err(|_| BAD);
        Ok(Self {
            id: *pinned,
            root,
            workspace: None,
            devices: record.devices.iter().map(first).collect::<Result<_>>()?,
            epochs: Vec::new(),
            shares: BTreeMap::new(),
            heads: vec![Digest(pinned.0)],
        })
    }

    /// Verifies the next record of the log and takes it in. On error nothing has changed.
    ///
    /// # Errors
    /// `Corrupt` when anything does not hold, `Unsupported` when a newer version wrote it.
    pub fn extend(&mut self, file: &[u8]) -> Result<()> {
        let parsed = RecordFile::parse(file)?;
        let record = &parsed.record;
        if record.suite != SUITE {
            return Err(Error::unsupported("an organisation record of a newer suite"));
        }
        let here = (record.organisation, record.seq, record.parent);
        if here != (self.id, self.position() + 1, self.head()) {
            return Err(BAD_RECORD);
        }
        let author = self.device(&record.author).ok_or(BAD_RECORD)?;
        let usage = Usage::SignOrganisationRecord;
        author.verify(usage, parsed.record_bytes, &parsed.signature).map_err(|_| BAD_RECORD)?;
        match &record.act {
            Act::AddDevice { certificate, share } => self.add(record, certificate, share)?,
            Act::AddConsumer { certificate, naming } => {
                self.add_consumer(record, certificate, naming)?;
            }
            Act::RevokeDevice { device, rotation } => self.revoke(record, device, rotation)?,
            Act::Rotate { rotation } => self.rotate(record, rotation)?,
        }
        self.heads.push(Digest(sha256(parsed.record_bytes)));
        Ok(())
    }

    /// Reads the log on from where this ends, up to the record that `fetch` says is not there. Returns whether there
    /// was any.
    ///
    /// # Errors
    /// Those of `fetch`; of [`Organisation::extend`].
    pub fn follow<B: AsRef<[u8]>, E: From<Error>>(
        &mut self,
        mut fetch: impl FnMut(u64) -> std::result::Result<Option<B>, E>,
    ) -> std::result::Result<bool, E> {
        let before = self.position();
        while let Some(file) = fetch(self.position() + 1)? {
            self.extend(file.as_ref())?;
        }
        Ok(self.position() > before)
    }

    fn add(&mut self, record: &Record, certificate: &Certificate, share: &Share) -> Result<()> {
        let device = self.newcomer(record, certificate)?;
        let newest = self.epochs.last().ok_or(BAD_RECORD)?.number;
        let there = (self.workspace, CompartmentId::ORDINARY, newest, device.id);
        let shared =
            (Some(share.workspace), share.compartment, share.epoch, share.recipient.device);
        if there != shared {
            return Err(BAD_RECORD);
        }
        self.devices.push(device);
        self.give(record, newest, &share.recipient);
        Ok(())
    }

    fn add_consumer(
        &mut self,
        record: &Record,
        certificate: &Certificate,
        naming: &Naming,
    ) -> Result<()> {
        let mut device = self.newcomer(record, certificate)?;
        if self.epochs.last().ok_or(BAD_RECORD)?.number != naming.epoch {
            return Err(BAD_RECORD);
        }
        device.name = Some((naming.epoch, naming.name.clone()));
        device.consumer = Some(naming.consumer.clone());
        self.devices.push(device);
        Ok(())
    }

    /// A device, and a key, comes once and never again.
    fn newcomer(&self, record: &Record, certificate: &Certificate) -> Result<Device> {
        let device = Device::parse(certificate, record.seq, record.time)?;
        let known = |other: &Device| {
            other.id == device.id || other.signing == device.signing || other.kem == device.kem
        };
        let author = self.find(&record.author).ok_or(BAD_RECORD)?;
        let fits = author.member == device.member
            && self.live().count() < DEVICE_COUNT_MAX
            && !self.devices.iter().any(known);
        if fits { Ok(device) } else { Err(BAD_RECORD) }
    }

    fn revoke(&mut self, record: &Record, device: &DeviceId, rotation: &Rotation) -> Result<()> {
        let author = self.find(&record.author).ok_or(BAD_RECORD)?;
        let gone = self.find(device).filter(|gone| gone.revoked_at.is_none()).ok_or(BAD_RECORD)?;
        if gone.id == author.id || gone.member != author.member {
            return Err(BAD_RECORD);
        }
        self.check_rotation(rotation, Some(device))?;
        self.devices
            .iter_mut()
            .filter(|other| other.id == *device)
            .for_each(|gone| gone.revoked_at = Some(record.seq));
        self.begin_epoch(record, rotation);
        Ok(())
    }

    fn rotate(&mut self, record: &Record, rotation: &Rotation) -> Result<()> {
        self.check_rotation(rotation, None)?;
        self.begin_epoch(record, rotation);
        Ok(())
    }

    /// The recipients are exactly the devices that count afterwards and are no consumers': nobody chooses them.
    fn check_rotation(&self, rotation: &Rotation, gone: Option<&DeviceId>) -> Result<()> {
        let newest = self.epochs.last().map_or(0, |epoch| epoch.number);
        let mut stay: Vec<DeviceId> =
            self.holders().map(|device| device.id).filter(|id| Some(id) != gone).collect();
        stay.sort_unstable();
        let fits = rotation.epoch == newest + 1
            && rotation.compartment == CompartmentId::ORDINARY
            && self.workspace.is_none_or(|workspace| workspace == rotation.workspace)
            && rotation.recipients.iter().map(|recipient| recipient.device).eq(stay);
        if fits { Ok(()) } else { Err(BAD_RECORD) }
    }

    fn begin_epoch(&mut self, record: &Record, rotation: &Rotation) {
        self.workspace = Some(rotation.workspace);
        self.epochs.push(EpochFacts {
            number: rotation.epoch,
            commitments: [rotation.key_commitment, rotation.history_commitment],
            back_link: rotation.back_link.clone(),
            since: record.seq,
        });
        self.shares.clear();
        for recipient in &rotation.recipients {
            self.give(record, rotation.epoch, recipient);
        }
    }

    fn give(&mut self, record: &Record, epoch: u64, recipient: &Recipient) {
        let share = OwnShare {
            epoch,
            position: record.seq,
            sharer: record.author,
            wrap: recipient.wrap.clone(),
        };
        self.shares.insert(recipient.device, share);
        let named = self.devices.iter_mut().filter(|device| device.id == recipient.device);
        named.for_each(|device| device.name = Some((epoch, recipient.name.clone())));
    }

    /// Its id: SHA-256 of the genesis record.
    pub fn id(&self) -> &OrganisationId {
        &self.id
    }

    /// The root's public key.
    pub fn root(&self) -> &VerifyingKey {
        &self.root
    }

    /// Its workspace; none before the record that founds it.
    pub fn workspace(&self) -> Option<WorkspaceId> {
        self.workspace
    }

    /// The signing key of a device that counts at the newest position. Of a consumer's there is none, here and below: what
    /// it signs counts at a custodian alone.
    pub fn device(&self, device: &DeviceId) -> Option<&VerifyingKey> {
        self.author_at(device, self.position())
    }

    /// The signing key of a device that counts at a position that is known.
    pub fn author_at(&self, device: &DeviceId, position: u64) -> Option<&VerifyingKey> {
        let known = position <= self.position();
        let found = self.find(device).filter(|found| known && found.counts_at(position));
        let found = found.filter(|found| !found.is_consumer());
        found.map(|found| &found.signing)
    }

    /// The signing key of a device that counts or once did: for what names no position.
    ///
    /// # Security
    /// Says nothing about when it signed.
    pub fn former_or_present(&self, device: &DeviceId) -> Option<&VerifyingKey> {
        self.find(device).filter(|found| !found.is_consumer()).map(|found| &found.signing)
    }

    /// A device, whether it counts or once did.
    pub fn find(&self, device: &DeviceId) -> Option<&Device> {
        self.devices.iter().find(|found| found.id == *device)
    }

    /// All devices that count or once did, in the order they came.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter()
    }

    /// Devices that count at the newest position.
    pub fn live(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.revoked_at.is_none())
    }

    /// Devices that count at the newest position and hold keys of the workspace.
    pub fn holders(&self) -> impl Iterator<Item = &Device> {
        self.live().filter(|device| !device.is_consumer())
    }

    /// Whom a consumer's device works for, as far as this device's keys can tell.
    pub fn consumer(&self, device: &DeviceId, keys: &DeviceKeys) -> Option<String> {
        let found = self.find(device)?;
        let (epoch, _) = found.name.as_ref()?;
        let place = Place { organisation: self.id, workspace: self.workspace?, epoch: *epoch };
        place.open_consumer(keys.epoch_key(*epoch)?, device, found.consumer.as_ref()?)
    }

    /// What people call a device, as far as this device's keys can tell.
    pub fn name(&self, device: &DeviceId, keys: &DeviceKeys) -> Option<String> {
        let (epoch, sealed) = self.find(device)?.name.as_ref()?;
        let place = Place { organisation: self.id, workspace: self.workspace?, epoch: *epoch };
        place.open_name(keys.epoch_key(*epoch)?, device, sealed)
    }

    /// The epoch that seals at a position; none before the record that founds the workspace, or beyond what is known.
    pub fn epoch_at(&self, position: u64) -> Option<u64> {
        let known = position <= self.position();
        let begun = self.epochs.iter().rfind(|epoch| known && epoch.since <= position);
        begun.map(|epoch| epoch.number)
    }

    /// Position of the newest record of the organisation log that this stands for.
    pub fn position(&self) -> u64 {
        self.heads.len() as u64 - 1
    }

    /// SHA-256 of the record at [`Organisation::position`]; for genesis, the organisation's id.
    pub fn head(&self) -> Digest {
        *self.heads.last().expect("genesis is there")
    }

    /// SHA-256 of the record at a position; none beyond what is known.
    pub fn head_at(&self, position: u64) -> Option<Digest> {
        self.heads.get(usize::try_from(position).ok()?).copied()
    }

    pub(crate) fn epochs(&self) -> &[EpochFacts] {
        &self.epochs
    }

    pub(crate) fn share(&self, device: &DeviceId) -> Option<&OwnShare> {
        self.shares.get(device)
    }
}

#[cfg(test)]
mod tests;
