//! Keys wrapped to a device's public key: HPKE (RFC 9180), base mode, one shot.
//!
//! KEM X-Wing (0x647a: ML-KEM-768 with X25519), KDF HKDF-SHA-256 (0x0001), AEAD AES-256-GCM (0x0002), info = the
//! [`Context`], no associated data. What is stored today may be attacked with machines of tomorrow: hence the hybrid.
//!
//! ```text
//! wrapped = encapsulation 1,120 ‖ sealed secret ‖ tag 16
//! ```
//! A wrap says nothing of who made it: it stands inside a signed record.

use std::convert::Infallible;

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::error::{KemKeyError, OpenError};
use crate::hash::sha256;
use crate::secret::{Secret, SecretBytes};
use crate::usage::{Act, Context};

/// Bytes of a public key.
pub const PUBLIC_LEN: usize = 1216;
/// Bytes of an encapsulation.
pub const ENCAPSULATION_LEN: usize = 1120;
/// Random bytes that one wrap takes.
pub const RANDOM_LEN: usize = 64;

type PublicKey = <XWing as Kem>::PublicKey;
type PrivateKey = <XWing as Kem>::PrivateKey;
type Encapsulation = <XWing as Kem>::EncappedKey;

/// A device's private KEM key: a seed of 32 random bytes.
pub struct KemKey {
    seed: Secret<32>,
    public: KemPublicKey,
}

impl KemKey {
    /// The key of a seed. Keeps the seed where it was given.
    pub fn from_seed(seed: Secret<32>) -> Self {
        let public = XWing::sk_to_pk(&private(&seed));
        let mut bytes = Box::new([0; PUBLIC_LEN]);
        public.write_exact(&mut bytes[..]);
        Self { seed, public: KemPublicKey { key: public, bytes } }
    }

    /// The public half, computed from the private one.
    pub fn public(&self) -> &KemPublicKey {
        &self.public
    }

    /// Unwraps a secret.
    ///
    /// # Errors
    /// [`OpenError`], whatever was wrong.
    ///
    /// # Panics
    /// If the context is not that of a wrap.
    pub fn unwrap(&self, context: &Context, wrapped: &[u8]) -> Result<SecretBytes, OpenError> {
        check(context);
        let (encapsulation, sealed) =
            wrapped.split_at_checked(ENCAPSULATION_LEN).ok_or(OpenError)?;
        let encapsulation = Encapsulation::from_bytes(encapsulation).map_err(|_| OpenError)?;
        let plain = hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(
            &OpModeR::Base,
            &private(&self.seed),
            &encapsulation,
            context.as_bytes(),
            sealed,
            b"",
        );
        plain.map(SecretBytes::new).map_err(|_| OpenError)
    }
}

/// A device's public KEM key that is known to be one.
#[derive(Clone)]
pub struct KemPublicKey {
    key: PublicKey,
    bytes: Box<[u8; PUBLIC_LEN]>,
}

impl KemPublicKey {
    /// Takes a public key.
    ///
    /// # Errors
    /// [`KemKeyError`] if the bytes are none.
    pub fn parse(bytes: &[u8; PUBLIC_LEN]) -> Result<Self, KemKeyError> {
        let key = PublicKey::from_bytes(bytes).map_err(|_| KemKeyError)?;
        Ok(Self { key, bytes: Box::new(*bytes) })
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_LEN] {
        &self.bytes
    }

    /// Its id in contexts: the first 16 bytes of SHA-256 of the key.
    pub fn id(&self) -> [u8; 16] {
        *sha256(&self.bytes[..]).first_chunk().expect("32 bytes")
    }

    /// Wraps a secret to whoever has the private half.
    ///
    /// # Errors
    /// [`KemKeyError`] if the key cannot be used after all.
    ///
    /// # Panics
    /// If the context is not that of a wrap.
    ///
    /// # Security
    /// `random` is fresh for each call.
    pub fn wrap(
        &self,
        context: &Context,
        random: [u8; RANDOM_LEN],
        secret: &[u8],
    ) -> Result<Vec<u8>, KemKeyError> {
        check(context);
        let mut random = Given(Zeroizing::new(random));
        let (encapsulation, sealed) =
            hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(
                &OpModeS::Base,
                &self.key,
                context.as_bytes(),
                secret,
                b"",
                &mut random,
            )
            .map_err(|_| KemKeyError)?;
        let mut wrapped = vec![0; ENCAPSULATION_LEN];
        encapsulation.write_exact(&mut wrapped);
        wrapped.extend_from_slice(&sealed);
        Ok(wrapped)
    }
}

impl PartialEq for KemPublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for KemPublicKey {}

impl std::fmt::Debug for KemPublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KemPublicKey(")?;
        self.id().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

fn private(seed: &Secret<32>) -> PrivateKey {
    PrivateKey::from_bytes(seed.expose()).expect("32 bytes")
}

fn check(context: &Context) {
    let usage = context.usage();
    assert_eq!(usage.act(), Act::Wrap, "usage {}", usage.name());
}

/// Randomness that the caller brought: handed out once, in one piece.
struct Given(Zeroizing<[u8; RANDOM_LEN]>);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("an encapsulation takes its randomness in one piece")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("an encapsulation takes its randomness in one piece")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        assert_eq!(out.len(), RANDOM_LEN, "an encapsulation takes 64 bytes");
        out.copy_from_slice(&self.0[..]);
        // INVARIANT: never the same twice.
        *self.0 = [0; RANDOM_LEN];
        Ok(())
    }
}

impl TryCryptoRng for Given {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Usage;
    use crate::vectors::sample_context;

    const SECRET: &[u8; 64] = &[7; 64];

    fn key(byte: u8) -> KemKey {
        KemKey::from_seed(Secret::from_bytes(&[byte; 32]))
    }

    fn wrapped() -> Vec<u8> {
        let context = sample_context(Usage::PrincipalWrap);
        key(1).public().wrap(&context, [3; RANDOM_LEN], SECRET).unwrap()
    }

    #[test]
    fn a_wrapped_secret_comes_back_to_its_recipient_in_its_context_only() {
        let context = sample_context(Usage::PrincipalWrap);
        let wrapped = wrapped();
        assert_eq!((wrapped.len(), SECRET.len()), (1200, 64));
        let open = |key: &KemKey, context: &Context| {
            key.unwrap(context, &wrapped).map(|secret| secret.expose().to_vec())
        };
        assert_eq!(open(&key(1), &context), Ok(SECRET.to_vec()));
        assert_eq!(open(&key(2), &context), Err(OpenError));
        assert_eq!(open(&key(1), &sample_context(Usage::MemberGenerationWrap)), Err(OpenError));
    }

    #[test]
    fn every_cut_and_any_flipped_bit_of_a_wrap_is_refused() {
        let context = sample_context(Usage::PrincipalWrap);
        let good = wrapped();
        let key = key(1);
        for len in (0..good.len()).step_by(7) {
            assert!(key.unwrap(&context, &good[..len]).is_err(), "{len}");
        }
        for bit in (0..good.len() * 8).step_by(11) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(key.unwrap(&context, &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_public_key_comes_back_from_its_bytes_and_others_are_refused() {
        let public = key(1).public().clone();
        assert_eq!(KemPublicKey::parse(public.as_bytes()).unwrap(), public);
        assert_ne!(public.id(), key(2).public().id());
        // Coefficients beyond the modulus of ML-KEM.
        assert!(KemPublicKey::parse(&[0xff; PUBLIC_LEN]).is_err());
    }

    #[test]
    #[should_panic(expected = "usage block")]
    fn wrapping_for_a_usage_of_sealing_is_refused() {
        let _ = key(1).public().wrap(&sample_context(Usage::Block), [0; RANDOM_LEN], SECRET);
    }
}
