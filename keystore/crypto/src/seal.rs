//! Sealing: C2SP chunked-encryption v1 with AES-256-GCM and SHA-512 (Cobblestone-256).
//!
//! ```text
//! salt 24 ‖ commitment 32 ‖ chunk 0 ‖ chunk 1 ‖ …     chunk k at 56 + 16,400·k
//! ```
//! Each chunk is 16,384 bytes of plaintext and a tag; the last is shorter, possibly empty, and so
//! marks the end. The commitment binds key, salt and context and is checked before any chunk.
//! Blocks put their segment hashes between commitment and chunks: [`crate::block`].

use zeroize::{Zeroize, Zeroizing};

use crate::aead::{self, Aead, TAG_LEN};
use crate::error::OpenError;
use crate::kdf::expand;
use crate::secret::{SecretBytes, equal};
use crate::usage::{Context, SealingKey};
use crate::wipe::wipe;

/// Plaintext bytes of a full chunk.
pub const CHUNK_LEN: usize = 16_384;
/// Bytes of a full chunk as sealed.
pub const CHUNK_SEALED_LEN: usize = CHUNK_LEN + TAG_LEN;
/// Bytes of a salt.
pub const SALT_LEN: usize = 24;
/// Bytes of a key commitment.
pub const COMMITMENT_LEN: usize = 32;
/// Bytes before the first chunk of a message.
pub const PREFIX_LEN: usize = SALT_LEN + COMMITMENT_LEN;

const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// Sealed length of a plaintext of `len` bytes.
pub const fn sealed_len(len: usize) -> usize {
    PREFIX_LEN + len + TAG_LEN * (len / CHUNK_LEN + 1)
}

/// Plaintext length of a sealed message of `len` bytes; none if no message has that length.
pub const fn open_len(len: usize) -> Option<usize> {
    if len < PREFIX_LEN + TAG_LEN {
        return None;
    }
    let body = len - PREFIX_LEN;
    let last = body % CHUNK_SEALED_LEN;
    if last < TAG_LEN { None } else { Some(body / CHUNK_SEALED_LEN * CHUNK_LEN + last - TAG_LEN) }
}

/// The commitment that stands in a sealed message; none if it is too short to have one.
pub fn commitment(sealed: &[u8]) -> Option<&[u8; COMMITMENT_LEN]> {
    sealed.get(SALT_LEN..)?.first_chunk()
}

/// Seals a message.
///
/// # Panics
/// If the key does not accept the context's usage.
///
/// # Security
/// The salt must not repeat under the key: take it from [`crate::hedge`].
pub fn seal<K: SealingKey>(
    key: &K,
    context: &Context,
    salt: [u8; SALT_LEN],
    plaintext: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    seal_into(key, context, salt, plaintext, &mut out);
    out
}

/// Seals a message behind what `out` holds already.
///
/// # Panics
/// If the key does not accept the context's usage.
///
/// # Security
/// The salt must not repeat under the key: take it from [`crate::hedge`].
pub fn seal_into<K: SealingKey>(
    key: &K,
    context: &Context,
    salt: [u8; SALT_LEN],
    plaintext: &[u8],
    out: &mut Vec<u8>,
) {
    let derived = Derived::<aead::Default>::new(key, context, &salt);
    seal_derived(&derived, &salt, plaintext, out);
}

/// Opens a message.
///
/// # Errors
/// [`OpenError`], whatever was wrong; no plaintext is left behind then.
///
/// # Panics
/// If the key does not accept the context's usage.
pub fn open<K: SealingKey>(
    key: &K,
    context: &Context,
    sealed: &[u8],
) -> Result<SecretBytes, OpenError> {
    open_by::<aead::Default>(checked(key, context), context.as_bytes(), sealed)
}

/// Opens chunks of one message in any order: for who reads ranges of it.
///
/// # Security
/// Says nothing about where the message ends: whoever asks knows its length from elsewhere.
pub struct Opener {
    derived: Derived<aead::Default>,
}

impl Opener {
    /// Takes salt and commitment, the first [`PREFIX_LEN`] bytes of the message.
    ///
    /// # Errors
    /// [`OpenError`] when key, salt or context are not those of the message.
    ///
    /// # Panics
    /// If the key does not accept the context's usage.
    pub fn new<K: SealingKey>(
        key: &K,
        context: &Context,
        prefix: &[u8],
    ) -> Result<Self, OpenError> {
        let (salt, rest) = prefix.split_first_chunk().ok_or(OpenError)?;
        let commitment = rest.first_chunk::<COMMITMENT_LEN>().ok_or(OpenError)?;
        let derived = Derived::new(key, context, salt);
        if equal(&derived.commitment, commitment) { Ok(Self { derived }) } else { Err(OpenError) }
    }

    /// Opens whole chunks from number `first` on.
    ///
    /// # Errors
    /// [`OpenError`], whatever was wrong; no plaintext is left behind then.
    pub fn open(&self, first: u64, sealed: &[u8]) -> Result<SecretBytes, OpenError> {
        let tags = sealed.len().div_ceil(CHUNK_SEALED_LEN) * TAG_LEN;
        let mut out = vec![0; sealed.len().checked_sub(tags).ok_or(OpenError)?];
        self.derived.open_chunks(first, sealed, &mut out)?;
        Ok(SecretBytes::new(out))
    }
}

/// What one salt derives: AEAD key, base nonce and commitment.
pub(crate) struct Derived<A> {
    aead: A,
    base_nonce: [u8; 12],
    pub(crate) commitment: [u8; COMMITMENT_LEN],
}

impl<A: Aead> Derived<A> {
    pub(crate) fn new<K: SealingKey>(key: &K, context: &Context, salt: &[u8; SALT_LEN]) -> Self {
        Self::from_input(checked(key, context), context.as_bytes(), salt)
    }

    pub(crate) fn from_input(key: &[u8; 32], context: &[u8], salt: &[u8; SALT_LEN]) -> Self {
        let mut bytes = Zeroizing::new([0_u8; 76]);
        expand(key, &[LABEL, salt, context], bytes.as_mut());
        let (key, rest) = bytes.split_first_chunk::<32>().expect("76 bytes");
        let (base_nonce, rest) = rest.split_first_chunk::<12>().expect("44 bytes");
        let commitment = rest.first_chunk::<32>().expect("32 bytes");
        Self { aead: A::new(key), base_nonce: *base_nonce, commitment: *commitment }
    }

    /// Appends chunks from number `first` on; the last slice of `plaintext` may be short or empty.
    pub(crate) fn seal_chunks(&self, first: u64, plaintext: &[u8], end: End, out: &mut Vec<u8>) {
        let mut number = first;
        let mut chunks = plaintext.chunks_exact(CHUNK_LEN);
        for chunk in chunks.by_ref() {
            self.seal_chunk(number, chunk, out);
            number += 1;
        }
        match end {
            End::Last => self.seal_chunk(number, chunks.remainder(), out),
            End::More => assert!(chunks.remainder().is_empty(), "only the last chunk is short"),
        }
    }

    fn seal_chunk(&self, number: u64, plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(plaintext);
        let tag = self.aead.seal(&self.nonce(number), &mut out[start..]);
        out.extend_from_slice(&tag);
    }

    /// Opens whole chunks from number `first` on into `out`, which has their exact plaintext length
    /// and is wiped on failure.
    pub(crate) fn open_chunks(
        &self,
        first: u64,
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        let opened = self.open_each(first, sealed, out);
        if opened.is_err() {
            wipe(out);
        }
        opened
    }

    fn open_each(&self, first: u64, sealed: &[u8], out: &mut [u8]) -> Result<(), OpenError> {
        let mut out = out;
        for (number, chunk) in (first..).zip(sealed.chunks(CHUNK_SEALED_LEN)) {
            let (chunk, tag) = chunk.split_last_chunk().ok_or(OpenError)?;
            let (plain, rest) = out.split_at_mut_checked(chunk.len()).ok_or(OpenError)?;
            self.aead.open(&self.nonce(number), chunk, tag, plain)?;
            out = rest;
        }
        if out.is_empty() { Ok(()) } else { Err(OpenError) }
    }

    fn nonce(&self, number: u64) -> [u8; 12] {
        let mut nonce = self.base_nonce;
        for (byte, number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }
}

impl<A> Drop for Derived<A> {
    fn drop(&mut self) {
        self.base_nonce.zeroize();
    }
}

/// Whether the message ends with these chunks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The last of these chunks is short and marks the end.
    Last,
    /// All are full; more follow.
    More,
}

pub(crate) fn seal_derived<A: Aead>(
    derived: &Derived<A>,
    salt: &[u8; SALT_LEN],
    plaintext: &[u8],
    out: &mut Vec<u8>,
) {
    out.reserve(sealed_len(plaintext.len()));
    out.extend_from_slice(salt);
    out.extend_from_slice(&derived.commitment);
    derived.seal_chunks(0, plaintext, End::Last, out);
}

pub(crate) fn open_by<A: Aead>(
    key: &[u8; 32],
    context: &[u8],
    sealed: &[u8],
) -> Result<SecretBytes, OpenError> {
    let len = open_len(sealed.len()).ok_or(OpenError)?;
    let (salt, rest) = sealed.split_first_chunk().ok_or(OpenError)?;
    let (commitment, chunks) = rest.split_first_chunk::<COMMITMENT_LEN>().ok_or(OpenError)?;
    let derived = Derived::<A>::from_input(key, context, salt);
    if !equal(&derived.commitment, commitment) {
        return Err(OpenError);
    }
    let mut out = vec![0; len];
    derived.open_chunks(0, chunks, &mut out)?;
    Ok(SecretBytes::new(out))
}

fn checked<'k, K: SealingKey>(key: &'k K, context: &Context) -> &'k [u8; 32] {
    assert!(K::USAGES.contains(&context.usage()), "key refuses usage {}", context.usage().name());
    key.input_key()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::EpochKey;
    use crate::usage::Usage;
    use crate::vectors::sample_context;

    fn key() -> EpochKey {
        EpochKey::from_bytes(&[5; 32])
    }

    fn sealed(len: usize) -> (Context, Vec<u8>, Vec<u8>) {
        let context = sample_context(Usage::CommitBody);
        let plain: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0]).collect();
        let sealed = seal(&key(), &context, [9; SALT_LEN], &plain);
        (context, plain, sealed)
    }

    #[test]
    fn lengths_are_exact_and_invertible() {
        for len in [0, 1, 16_311, 16_312, 16_383, 16_384, 16_385, 32_768, 1 << 20] {
            assert_eq!(sealed(len).2.len(), sealed_len(len));
            assert_eq!(open_len(sealed_len(len)), Some(len));
        }
        assert_eq!(sealed_len(16_312), 16_384);
        assert_eq!(sealed_len(32), 104);
        assert_eq!(sealed_len(1 << 20), (1 << 20) + 1_096);
    }

    #[test]
    fn lengths_no_message_has_are_none() {
        for len in (0..72).chain(56 + 16_400..56 + 16_416) {
            assert_eq!(open_len(len), None, "{len}");
        }
        assert_eq!(open_len(72), Some(0));
        assert_eq!(open_len(56 + 16_416), Some(16_384));
    }

    #[test]
    fn message_opens_to_what_was_sealed() {
        for len in [0, 1, 16_383, 16_384, 16_385, 70_000] {
            let (context, plain, sealed) = sealed(len);
            assert!(open(&key(), &context, &sealed).unwrap_or_default().expose() == plain);
            assert_eq!(commitment(&sealed).unwrap(), &sealed[24..56]);
        }
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let (context, _, mut sealed) = sealed(100);
        for len in 0..sealed.len() {
            assert!(open(&key(), &context, &sealed[..len]).is_err(), "{len}");
        }
        sealed.push(0);
        assert!(open(&key(), &context, &sealed).is_err());
    }

    #[test]
    fn cut_at_a_chunk_border_is_refused() {
        let (context, _, sealed) = sealed(40_000);
        for chunks in 0..3 {
            assert!(open(&key(), &context, &sealed[..56 + 16_400 * chunks]).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let (context, _, good) = sealed(40);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key(), &context, &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn bytes_of_any_length_are_refused_without_panic() {
        let borders = [0, 56, 72, 56 + 16_400, 56 + 2 * 16_400];
        for len in borders.iter().flat_map(|border: &usize| border.saturating_sub(40)..border + 40)
        {
            for byte in [0, 0xff] {
                let context = sample_context(Usage::CommitBody);
                assert!(open(&key(), &context, &vec![byte; len]).is_err(), "{len}");
            }
        }
    }

    #[test]
    fn other_key_context_or_chunk_order_is_refused() {
        let (context, _, mut sealed) = sealed(40_000);
        assert!(open(&EpochKey::from_bytes(&[6; 32]), &context, &sealed).is_err());
        assert!(open(&key(), &sample_context(Usage::PageLeaf), &sealed).is_err());
        let (one, two) = sealed[56..].split_at_mut(16_400);
        one.swap_with_slice(&mut two[..16_400]);
        assert!(open(&key(), &context, &sealed).is_err());
    }

    #[test]
    fn any_range_of_chunks_opens_in_any_order_and_no_other() {
        let (context, plain, sealed) = sealed(40_000);
        let opener = Opener::new(&key(), &context, &sealed[..PREFIX_LEN]).unwrap();
        let chunk = |number: usize| PREFIX_LEN + number * CHUNK_SEALED_LEN;
        for (first, end) in [(2, 3), (0, 1), (1, 3), (0, 3)] {
            let part = &sealed[chunk(first)..chunk(end).min(sealed.len())];
            let opened = opener.open(first as u64, part).unwrap_or_default();
            assert_eq!(opened.expose(), &plain[first * CHUNK_LEN..(end * CHUNK_LEN).min(40_000)]);
            assert!(opener.open(first as u64 + 1, part).is_err());
            assert!(opener.open(first as u64, &part[..part.len() - 1]).is_err());
        }
        let other = EpochKey::from_bytes(&[6; 32]);
        assert!(Opener::new(&other, &context, &sealed[..PREFIX_LEN]).is_err());
        assert!(Opener::new(&key(), &context, &sealed[..PREFIX_LEN - 1]).is_err());
    }

    #[test]
    #[should_panic(expected = "key refuses usage block")]
    fn key_refuses_the_usage_of_another() {
        seal(&key(), &sample_context(Usage::Block), [0; SALT_LEN], b"");
    }

    #[test]
    fn failed_opening_leaves_no_plaintext() {
        let (context, _, mut sealed) = sealed(40_000);
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        let derived = Derived::<aead::Default>::new(&key(), &context, &[9; SALT_LEN]);
        let mut out = vec![0xee; 40_000];
        assert!(derived.open_chunks(0, &sealed[56..], &mut out).is_err());
        assert!(out.iter().all(|byte| *byte == 0));
    }
}
