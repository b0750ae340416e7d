//! Ed25519, strict: canonical signatures over tagged messages, small-order keys refused.
//!
//! What is signed is `"strongroom/1 sig" ‖ 0x00 ‖ usage u16 little-endian ‖ SHA-256(header)`, so a
//! signature for one usage says nothing in another.

use std::fmt;

use ed25519_dalek::Signer;

use crate::error::SignatureError;
use crate::hash::sha256;
use crate::secret::Secret;
use crate::usage::{Act, Usage};

const SIGN_LABEL: &[u8; 17] = b"strongroom/1 sig\0";
const MESSAGE_LEN: usize = 17 + 2 + 32;

/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// A device's or the root's signing key.
///
/// Made from the seed alone: there is no way to sign beside a public key of another pair. Keeps the
/// seed where it was given and expands it, for the length of a call, at each signature.
pub struct SigningKey {
    seed: Secret<32>,
    public: VerifyingKey,
}

impl SigningKey {
    /// The key of a seed of 32 random bytes.
    pub fn from_seed(seed: Secret<32>) -> Self {
        let public = ed25519_dalek::SigningKey::from_bytes(seed.expose()).verifying_key();
        Self { seed, public: VerifyingKey(public) }
    }

    /// Signs a header for a usage.
    ///
    /// # Panics
    /// If the usage is not one of a signature.
    pub fn sign(&self, usage: Usage, header: &[u8]) -> [u8; SIGNATURE_LEN] {
        let pair = ed25519_dalek::SigningKey::from_bytes(self.seed.expose());
        pair.sign(&message(usage, header)).to_bytes()
    }

    /// The public half, computed from the private one.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }
}

/// Signs heads of an audit log as C2SP notes, and nothing else.
///
/// A note is signed as it stands, without a tag of ours: so this is a key of its own, certified by
/// the record that introduces it, and no other signature is ever made with it.
pub struct HeadKey {
    seed: Secret<32>,
    public: VerifyingKey,
}

impl HeadKey {
    /// The key of a seed of 32 random bytes.
    pub fn from_seed(seed: Secret<32>) -> Self {
        let public = ed25519_dalek::SigningKey::from_bytes(seed.expose()).verifying_key();
        Self { seed, public: VerifyingKey(public) }
    }

    /// Signs the text of a note.
    pub fn sign_note(&self, text: &str) -> [u8; SIGNATURE_LEN] {
        let pair = ed25519_dalek::SigningKey::from_bytes(self.seed.expose());
        pair.sign(text.as_bytes()).to_bytes()
    }

    /// The public half, computed from the private one.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }
}

/// A public key that is known to be a sound one.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// Takes a public key.
    ///
    /// # Errors
    /// [`SignatureError`] if the bytes are no canonical point, or one of small order.
    pub fn parse(bytes: &[u8; 32]) -> Result<Self, SignatureError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| SignatureError)?;
        let canonical = key.to_edwards().compress().to_bytes() == *bytes;
        if key.is_weak() || !canonical { Err(SignatureError) } else { Ok(Self(key)) }
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Checks a signature, strictly.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(
        &self,
        usage: Usage,
        header: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SignatureError> {
        self.verify_message(&message(usage, header), signature)
    }

    /// Checks the signature of a note by a [`HeadKey`], strictly.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify_note(
        &self,
        text: &str,
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SignatureError> {
        self.verify_message(text.as_bytes(), signature)
    }

    pub(crate) fn verify_message(
        &self,
        message: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).map_err(|_| SignatureError)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(")?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// The tagged message of a usage and a header.
pub(crate) fn message(usage: Usage, header: &[u8]) -> [u8; MESSAGE_LEN] {
    assert_eq!(usage.act(), Act::Sign, "usage {}", usage.name());
    let mut message = [0; MESSAGE_LEN];
    message[..17].copy_from_slice(SIGN_LABEL);
    message[17..19].copy_from_slice(&usage.number().to_le_bytes());
    message[19..].copy_from_slice(&sha256(header));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (SigningKey, VerifyingKey) {
        let key = SigningKey::from_seed(Secret::from_bytes(&[1; 32]));
        let public = key.verifying_key().clone();
        (key, public)
    }

    #[test]
    fn signature_holds_for_its_usage_and_header_only() {
        let (key, public) = pair();
        let signature = key.sign(Usage::SignCommit, b"header");
        assert_eq!(public.verify(Usage::SignCommit, b"header", &signature), Ok(()));
        assert!(public.verify(Usage::SignCheckpoint, b"header", &signature).is_err());
        assert!(public.verify(Usage::SignCommit, b"headers", &signature).is_err());
    }

    #[test]
    fn a_note_is_signed_as_it_stands_and_holds_for_nothing_else() {
        let key = HeadKey::from_seed(Secret::from_bytes(&[2; 32]));
        let text = "strongroom/audit\n3\nAAAA\n";
        let signature = key.sign_note(text);
        assert_eq!(key.verifying_key().verify_note(text, &signature), Ok(()));
        assert!(
            key.verifying_key().verify_note("strongroom/audit\n4\nAAAA\n", &signature).is_err()
        );
        let tagged = key.verifying_key().verify(Usage::SignCommit, text.as_bytes(), &signature);
        assert!(tagged.is_err());
    }

    #[test]
    fn every_flipped_bit_of_a_signature_is_refused() {
        let (key, public) = pair();
        let good = key.sign(Usage::SignCommit, b"header");
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(public.verify(Usage::SignCommit, b"header", &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn weak_and_non_canonical_public_keys_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(VerifyingKey::parse(&identity).is_err());
        assert!(VerifyingKey::parse(&[0; 32]).is_err());
        // y = p + 3: the point of y = 3, written beyond the field.
        let mut beyond = [0xff; 32];
        beyond[0] = 0xf0;
        beyond[31] = 0x7f;
        assert!(VerifyingKey::parse(&beyond).is_err());
        assert!(VerifyingKey::parse(pair().1.as_bytes()).is_ok());
    }

    #[test]
    #[should_panic(expected = "usage block")]
    fn signing_for_a_usage_of_sealing_is_refused() {
        pair().0.sign(Usage::Block, b"header");
    }
}
