//! Keys from keys (HKDF-Expand-SHA-512) and from passphrases (Argon2id).

use argon2::{Algorithm, Argon2, Params, Version};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use zeroize::{Zeroize, Zeroizing};

use crate::error::LimitError;
use crate::secret::{DeviceFileKey, Secret};
use crate::usage::{Act, Context};

const DERIVE_LABEL: &[u8] = b"strongroom/1 kdf\0";

/// Derives the secret of a derivation usage:
/// HKDF-Expand-SHA-512(key, `"strongroom/1 kdf" ‖ 0x00 ‖ usage u16 little-endian ‖ context`).
///
/// # Panics
/// If the context is not that of a derivation.
pub fn derive(key: &Secret<32>, context: &Context) -> Secret<32> {
    assert_eq!(context.usage().act(), Act::Derive, "usage {}", context.usage().name());
    let number = context.usage().number().to_le_bytes();
    Secret::fill_with(|out| {
        expand(key.expose(), &[DERIVE_LABEL, &number, context.as_bytes()], out);
    })
}

/// HKDF-Expand-SHA-512 on HMAC itself: the `hkdf` crate refuses a key shorter than the hash.
pub(crate) fn expand(key: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    let base = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes any key");
    let mut previous = Zeroizing::new([0_u8; 64]);
    for (index, piece) in out.chunks_mut(64).enumerate() {
        let mut mac = base.clone();
        if index > 0 {
            mac.update(previous.as_ref());
        }
        info.iter().for_each(|part| mac.update(part));
        mac.update(&[u8::try_from(index + 1).expect("at most 255 pieces")]);
        let mut tag: [u8; 64] = mac.finalize().into_bytes().into();
        previous.copy_from_slice(&tag);
        tag.zeroize();
        piece.copy_from_slice(&previous[..piece.len()]);
    }
}

/// Cost of Argon2id. Recorded beside the salt and bound into the context of what the key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes; always 1 so far.
    pub lanes: u32,
}

impl PassphraseCost {
    /// What a new device file gets: 256 MiB, 3 passes.
    pub const DEFAULT: Self = Self { memory_kib: 262_144, passes: 3, lanes: 1 };
    /// For machines with little memory, by an explicit flag: the floor, 64 MiB, 3 passes.
    pub const SMALL: Self = Self { memory_kib: 65_536, passes: 3, lanes: 1 };
    /// Most that is ever worked through: 2 GiB, 16 passes.
    pub const CEILING: Self = Self { memory_kib: 2_097_152, passes: 16, lanes: 1 };
    /// Below the floor, so that tests are quick. Refused where the feature is not compiled in.
    #[cfg(any(test, feature = "weak-kdf-for-tests"))]
    pub const WEAK_FOR_TESTS: Self = Self { memory_kib: 64, passes: 1, lanes: 1 };

    /// Refuses parameters outside the limits, before any work.
    ///
    /// # Errors
    /// [`LimitError`].
    pub fn check(&self) -> Result<(), LimitError> {
        #[cfg(any(test, feature = "weak-kdf-for-tests"))]
        if *self == Self::WEAK_FOR_TESTS {
            return Ok(());
        }
        let memory = Self::SMALL.memory_kib..=Self::CEILING.memory_kib;
        let passes = Self::SMALL.passes..=Self::CEILING.passes;
        if memory.contains(&self.memory_kib) && passes.contains(&self.passes) && self.lanes == 1 {
            Ok(())
        } else {
            Err(LimitError)
        }
    }
}

/// Stretches a passphrase into the key of the device file. Takes about a second by design, and
/// `memory_kib` of memory, which is wiped.
///
/// # Errors
/// [`LimitError`] if the cost is outside the limits; nothing was computed then.
pub fn argon2id(
    passphrase: &[u8],
    salt: &[u8; 16],
    cost: PassphraseCost,
) -> Result<DeviceFileKey, LimitError> {
    cost.check()?;
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32));
    let params = params.map_err(|_| LimitError)?;
    let mut memory = Zeroizing::new(vec![argon2::Block::default(); params.block_count()]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut key = Zeroizing::new([0; 32]);
    argon2
        .hash_password_into_with_memory(passphrase, salt, key.as_mut(), memory.as_mut_slice())
        .map_err(|_| LimitError)?;
    Ok(DeviceFileKey::from_bytes(&key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Usage;
    use crate::vectors::sample_context;

    #[test]
    fn cost_outside_the_limits_is_refused_before_any_work() {
        let floor = PassphraseCost::SMALL;
        let ceiling = PassphraseCost::CEILING;
        for cost in [
            PassphraseCost { memory_kib: floor.memory_kib - 1, ..floor },
            PassphraseCost { passes: floor.passes - 1, ..floor },
            PassphraseCost { memory_kib: ceiling.memory_kib + 1, ..ceiling },
            PassphraseCost { passes: ceiling.passes + 1, ..ceiling },
            PassphraseCost { memory_kib: u32::MAX, passes: u32::MAX, lanes: u32::MAX },
            PassphraseCost { lanes: 0, ..floor },
            PassphraseCost { lanes: 2, ..floor },
        ] {
            assert!(argon2id(b"correct horse", &[0; 16], cost).is_err(), "{cost:?}");
        }
        for cost in [floor, ceiling, PassphraseCost::DEFAULT] {
            assert_eq!(cost.check(), Ok(()));
        }
    }

    #[test]
    fn passphrase_and_salt_change_the_key() {
        let key = |passphrase: &[u8], salt: u8| {
            argon2id(passphrase, &[salt; 16], PassphraseCost::WEAK_FOR_TESTS)
                .unwrap_or_else(|_| panic!())
        };
        assert!(key(b"a", 0) == key(b"a", 0));
        assert!(key(b"a", 0) != key(b"b", 0));
        assert!(key(b"a", 0) != key(b"a", 1));
    }

    #[test]
    #[should_panic(expected = "usage block")]
    fn deriving_for_a_usage_of_sealing_is_refused() {
        derive(&Secret::from_bytes(&[0; 32]), &sample_context(Usage::Block));
    }
}
