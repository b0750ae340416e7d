//! The organisation as its genesis record states it: the root key and whose signatures count.

use strongroom_crypto::hash::sha256;
use strongroom_crypto::sign::VerifyingKey;
use strongroom_crypto::usage::Usage;
use strongroom_format::genesis::GenesisFile;
use strongroom_format::ids::{DeviceId, Digest, OrganisationId};
use strongroom_format::workspace::SUITE;

use crate::error::{Error, Result};

const BAD: Error = Error::corrupt("the genesis record does not verify");

/// A verified organisation.
#[derive(Clone, Debug)]
pub struct Organisation {
    id: OrganisationId,
    root: VerifyingKey,
    devices: Vec<(DeviceId, VerifyingKey)>,
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
        let devices = record.devices.iter().map(|first| {
            let key = VerifyingKey::parse(&first.signing_key).map_err(|_| BAD)?;
            Ok((first.device, key))
        });
        Ok(Self { id: *pinned, root, devices: devices.collect::<Result<_>>()? })
    }

    /// Its id: SHA-256 of the genesis record.
    pub fn id(&self) -> &OrganisationId {
        &self.id
    }

    /// The root's public key.
    pub fn root(&self) -> &VerifyingKey {
        &self.root
    }

    /// The signing key of a certified device.
    pub fn device(&self, device: &DeviceId) -> Option<&VerifyingKey> {
        let found = self.devices.iter().find(|(id, _)| id == device);
        found.map(|(_, key)| key)
    }

    /// All certified devices, by id.
    pub fn devices(&self) -> impl Iterator<Item = (&DeviceId, &VerifyingKey)> {
        self.devices.iter().map(|(id, key)| (id, key))
    }

    /// Position of the newest record of the organisation log that this stands for.
    pub fn position(&self) -> u64 {
        0
    }

    /// SHA-256 of the record at [`Organisation::position`]; for genesis, the organisation's id.
    pub fn head(&self) -> Digest {
        Digest(self.id.0)
    }
}
