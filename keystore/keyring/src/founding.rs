//! Founding: a new organisation with its first device and first workspace, in one step.

use strongroom_crypto::hash::sha256;
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_crypto::secret::Secret;
use strongroom_crypto::sign::SigningKey;
use strongroom_crypto::usage::Usage;
use strongroom_format::cbor;
use strongroom_format::genesis::{self, Genesis};
use strongroom_format::ids::{MemberId, OrganisationId, WorkspaceId};
use strongroom_format::organisation::Certificate;
use strongroom_format::workspace::SUITE;
use strongroom_host::entropy::Entropy;

use crate::device::DeviceKeys;
use crate::device_file;
use crate::enrolment::{generate, generate_secrets, public_keys};
use crate::error::Result;
use crate::membership::{NO_NAME, Writer};
use crate::organisation::Organisation;
use crate::shares::is_name;

/// Epoch of a new workspace's first keys.
pub const FIRST_EPOCH: u64 = 1;

/// What a device is called when nobody says otherwise.
pub const FIRST_NAME: &str = "first device";

/// What founding makes. The caller stores the files; nothing is durable yet.
pub struct Founded {
    /// The genesis file: record 0 of the organisation log.
    pub genesis: Vec<u8>,
    /// Record 1: the first epoch of the workspace.
    pub first_epoch: Vec<u8>,
    /// The sealed device file.
    pub device_file: Vec<u8>,
    /// The same device, unlocked.
    pub keys: DeviceKeys,
}

/// Founds an organisation of one device: root key, genesis record, device, workspace with the keys
/// of its first epoch, sealed under the passphrase. The root's private key is in the device file and
/// nowhere else.
///
/// # Errors
/// `Invalid` when the passphrase is empty or the cost is outside the limits.
pub fn found(
    passphrase: &[u8],
    cost: PassphraseCost,
    time_ns: i64,
    entropy: &dyn Entropy,
) -> Result<Founded> {
    found_as(FIRST_NAME, passphrase, cost, time_ns, entropy)
}

/// As [`found`], with a name for the device.
///
/// # Errors
/// As [`found`]; `Invalid` for a name that is none.
pub fn found_as(
    name: &str,
    passphrase: &[u8],
    cost: PassphraseCost,
    time_ns: i64,
    entropy: &dyn Entropy,
) -> Result<Founded> {
    if !is_name(name) {
        return Err(NO_NAME);
    }
    let root_seed = generate(entropy);
    let root = SigningKey::from_seed(Secret::from_bytes(&root_seed.0));
    let secrets = generate_secrets(WorkspaceId(entropy.array()), Some(root_seed), entropy);
    let (signing, kem) = public_keys(&secrets);
    let record = cbor::encode(&Genesis {
        suite: SUITE,
        suite_floor: SUITE,
        nonce: entropy.array(),
        root_key: *root.verifying_key().as_bytes(),
        devices: vec![Certificate {
            device: secrets.device,
            member: MemberId(entropy.array()),
            signing_key: *signing.verifying_key().as_bytes(),
            kem_key: *kem.public().as_bytes(),
        }],
        quorum: 1,
        escrow: Vec::new(),
        time: time_ns,
    });
    let id = OrganisationId(sha256(&record));
    let genesis = genesis::build(&record, &root.sign(Usage::SignGenesis, &record));
    let device_file = device_file::seal(id, &secrets, passphrase, cost, entropy)?;
    let keys = DeviceKeys::take(id, secrets);
    let mut organisation = Organisation::verify(&genesis, &id)?;
    let writer = Writer { keys: &keys, organisation: &organisation, time_ns, entropy };
    let first_epoch = writer.found(name)?;
    organisation.extend(&first_epoch)?;
    keys.learn(&organisation)?;
    Ok(Founded { genesis, first_epoch, device_file, keys })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::testing::{PASSPHRASE, QUICK, Repeating, founded};

    #[test]
    fn two_foundings_share_nothing() {
        let (alice, bob) = (founded(1).keys, founded(2).keys);
        assert_ne!(alice.organisation(), bob.organisation());
        assert_ne!(alice.workspace(), bob.workspace());
        assert_ne!(alice.device_id(), bob.device_id());
        assert_ne!(alice.signing().verifying_key(), bob.signing().verifying_key());
        assert!(alice.epoch_key(FIRST_EPOCH) != bob.epoch_key(FIRST_EPOCH));
    }

    #[test]
    fn founding_without_a_passphrase_is_refused() {
        let result = found(b"", QUICK, 0, &Repeating::from_seed(1));
        assert_eq!(result.err().map(|error| error.kind()), Some(ErrorKind::Invalid));
    }

    #[test]
    fn salts_differ_even_when_randomness_repeats() {
        let keys = founded(1).keys;
        assert_ne!(keys.salt([0; 32], [1; 32]), keys.salt([0; 32], [1; 32]));
    }

    #[test]
    fn cost_outside_the_limits_is_refused() {
        let cost = PassphraseCost { memory_kib: u32::MAX, passes: 3, lanes: 1 };
        let result = found(PASSPHRASE, cost, 0, &Repeating::from_seed(1));
        assert_eq!(result.err().map(|error| error.kind()), Some(ErrorKind::Invalid));
    }
}
