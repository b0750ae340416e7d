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

#[cfg(test)]
mod tests {
    use strongroom_crypto::secret::Secret;
    use strongroom_crypto::sign::SigningKey;
    use strongroom_format::cbor;
    use strongroom_format::genesis::{self, Genesis};

    use super::*;
    use crate::error::ErrorKind;
    use crate::testing::founded;

    /// A genesis file after a change, signed by mallory's root key, with its own id.
    fn forged(change: impl FnOnce(&mut Genesis)) -> (Vec<u8>, OrganisationId) {
        let mallory = SigningKey::from_seed(Secret::from_bytes(&[0x66; 32]));
        let file = founded(1).genesis;
        let mut record = GenesisFile::parse(&file).unwrap().record;
        record.root_key = *mallory.verifying_key().as_bytes();
        change(&mut record);
        let record = cbor::encode(&record);
        let file = genesis::build(&record, &mallory.sign(Usage::SignGenesis, &record));
        (file, OrganisationId(sha256(&record)))
    }

    #[test]
    fn founded_organisation_verifies_and_certifies_its_device() {
        let founded = founded(1);
        let pinned = founded.keys.organisation();
        let organisation = Organisation::verify(&founded.genesis, &pinned).unwrap();
        founded.keys.check_certified(&organisation).unwrap();
        assert_eq!(organisation.devices().count(), 1);
        assert_eq!((organisation.position(), organisation.head().0), (0, pinned.0));
        let signing = founded.keys.signing().verifying_key();
        assert_eq!(organisation.device(&founded.keys.device_id()), Some(signing));
        assert!(organisation.root() != signing);
    }

    #[test]
    fn every_flipped_bit_and_cut_of_genesis_is_refused() {
        let founded = founded(1);
        let pinned = founded.keys.organisation();
        for bit in 0..founded.genesis.len() * 8 {
            let mut bad = founded.genesis.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Organisation::verify(&bad, &pinned).is_err(), "bit {bit}");
        }
        for len in 0..founded.genesis.len() {
            assert!(Organisation::verify(&founded.genesis[..len], &pinned).is_err());
        }
    }

    #[test]
    fn genesis_of_mallory_is_refused_by_the_pin() {
        let (file, own) = forged(|_| ());
        assert!(Organisation::verify(&file, &own).is_ok());
        let error = Organisation::verify(&file, &founded(1).keys.organisation()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn device_with_another_key_is_not_certified() {
        let founded = founded(1);
        let (file, own) = forged(|_| ());
        let organisation = Organisation::verify(&file, &own).unwrap();
        assert!(founded.keys.check_certified(&organisation).is_err());
        let bob = crate::testing::founded(2);
        let organisation = Organisation::verify(&bob.genesis, &bob.keys.organisation()).unwrap();
        assert!(founded.keys.check_certified(&organisation).is_err());
    }

    #[test]
    fn weak_device_key_or_newer_suite_is_refused() {
        let (file, own) = forged(|record| record.devices[0].signing_key = [0; 32]);
        assert_eq!(Organisation::verify(&file, &own).unwrap_err().kind(), ErrorKind::Corrupt);
        for change in
            [(|record| record.suite = 2) as fn(&mut Genesis), |record| record.suite_floor = 2]
        {
            let (file, own) = forged(change);
            let error = Organisation::verify(&file, &own).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
    }

    #[test]
    fn genesis_signature_for_another_usage_is_refused() {
        let root = SigningKey::from_seed(Secret::from_bytes(&[0x66; 32]));
        let (file, own) = forged(|_| ());
        let parsed = GenesisFile::parse(&file).unwrap();
        let signature = root.sign(Usage::SignRootChange, parsed.record_bytes);
        let file = genesis::build(parsed.record_bytes, &signature);
        assert!(Organisation::verify(&file, &own).is_err());
    }
}
