//! The device file: the device's secrets under a passphrase.
//!
//! Passphrase and a salt made here go through Argon2id; the result seals the secrets. Everything in
//! the clear part (organisation, device, cost, salt, provider, key id) is in the seal's context, so
//! a store that changes any of it gets a file that does not open.

use strongroom_crypto::kdf::{PassphraseCost, argon2id};
use strongroom_crypto::seal;
use strongroom_crypto::secret::{DeviceFileKey, SecretBytes};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::cbor;
use strongroom_format::device::{self, DeviceClear, DeviceFile, DeviceSecrets, Kdf, Provider};
use strongroom_format::ids::{DeviceId, OrganisationId};
use strongroom_format::workspace::SUITE;
use strongroom_host::entropy::Entropy;

use crate::device::DeviceKeys;
use crate::error::{Error, Result};

/// Number of Argon2id 0x13 with 32 bytes out.
const KDF_ARGON2ID: u16 = 1;
/// Bytes of the encoded secrets: a generous bound, so that the buffer never grows and leaves no copy
/// behind.
const SECRETS_LEN: usize = 512;

/// Whose file it is, in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Organisation, to be pinned.
    pub organisation: OrganisationId,
    /// Device.
    pub device: DeviceId,
}

/// Reads the clear part of a device file. Nothing in it is verified before the file is unlocked.
///
/// # Errors
/// `Corrupt` when it is no device file, `Unsupported` when a newer version wrote it.
pub fn owner(file: &[u8]) -> Result<Owner> {
    let clear = DeviceFile::parse(file)?.clear;
    Ok(Owner { organisation: clear.organisation, device: clear.device })
}

/// Unlocks a device file. Takes the time and memory its cost says, within the compiled-in limits. Keys of the workspace
/// come from the organisation log: [`DeviceKeys::learn`].
///
/// # Errors
/// `Locked` when the passphrase is wrong (or the file was changed: they look the same), `Corrupt`
/// when it is no device file or its cost is out of bounds, `Unsupported` when a newer version wrote it.
pub fn unlock(file: &[u8], passphrase: &[u8]) -> Result<DeviceKeys> {
    let (clear, secrets) = open(file, passphrase)?;
    Ok(DeviceKeys::take(clear.organisation, secrets))
}

/// Seals the same secrets under another passphrase, with a new salt, and returns the new file. The
/// old one still opens with the old passphrase wherever a copy of it lies.
///
/// # Errors
/// As [`unlock`] for the old passphrase; `Invalid` when the new one is empty or the cost is outside
/// the limits.
pub fn change_passphrase(
    file: &[u8],
    passphrase: &[u8],
    new_passphrase: &[u8],
    cost: PassphraseCost,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>> {
    let (clear, secrets) = open(file, passphrase)?;
    seal(clear.organisation, &secrets, new_passphrase, cost, entropy)
}

/// Seals secrets to a new device file.
pub(crate) fn seal(
    organisation: OrganisationId,
    secrets: &DeviceSecrets,
    passphrase: &[u8],
    cost: PassphraseCost,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>> {
    if passphrase.is_empty() {
        return Err(Error::invalid("the passphrase is empty"));
    }
    let clear = DeviceClear {
        suite: SUITE,
        organisation,
        device: secrets.device,
        provider: Provider::Passphrase,
        key_id: entropy.array(),
        kdf: Kdf {
            id: KDF_ARGON2ID,
            memory_kib: cost.memory_kib,
            passes: cost.passes,
            lanes: cost.lanes,
            salt: entropy.array(),
        },
    };
    let key = stretch(&clear.kdf, passphrase)
        .ok_or(Error::invalid("the cost of the passphrase is outside the limits"))?;
    let mut plain = Vec::with_capacity(SECRETS_LEN);
    let capacity = plain.capacity();
    cbor::encode_into(secrets, &mut plain);
    assert_eq!(plain.capacity(), capacity, "secrets fit the buffer, so no copy is left behind");
    let plain = SecretBytes::new(plain);
    let sealed = seal::seal(&key, &context(&clear), entropy.array(), plain.expose());
    Ok(device::build(&clear, &sealed))
}

fn open(file: &[u8], passphrase: &[u8]) -> Result<(DeviceClear, DeviceSecrets)> {
    let DeviceFile { clear, sealed } = DeviceFile::parse(file)?;
    if clear.suite != SUITE || clear.kdf.id != KDF_ARGON2ID {
        return Err(Error::unsupported("device file of a newer format"));
    }
    let key = stretch(&clear.kdf, passphrase)
        .ok_or(Error::corrupt("the device file demands a cost outside the limits"))?;
    let plain = seal::open(&key, &context(&clear), sealed).map_err(|_| Error::locked())?;
    let secrets: DeviceSecrets = cbor::decode_canonical(plain.expose())?;
    if secrets.device != clear.device {
        return Err(Error::corrupt("the device file holds the secrets of another device"));
    }
    Ok((clear, secrets))
}

fn stretch(kdf: &Kdf, passphrase: &[u8]) -> Option<DeviceFileKey> {
    let cost = PassphraseCost { memory_kib: kdf.memory_kib, passes: kdf.passes, lanes: kdf.lanes };
    argon2id(passphrase, &kdf.salt, cost).ok()
}

/// Context of the seal: all of the clear part.
fn context(clear: &DeviceClear) -> Context {
    let provider = match clear.provider {
        Provider::Passphrase => 1,
    };
    let fields = [
        Value::Bytes(&clear.device.0),
        Value::Uint(u64::from(clear.kdf.id)),
        Value::Uint(u64::from(clear.kdf.memory_kib)),
        Value::Uint(u64::from(clear.kdf.passes)),
        Value::Uint(u64::from(clear.kdf.lanes)),
        Value::Bytes(&clear.kdf.salt),
        Value::Uint(provider),
        Value::Bytes(&clear.key_id),
    ];
    Context::new(Usage::DeviceFile, &clear.organisation.0, &fields)
}

#[cfg(test)]
mod tests;
