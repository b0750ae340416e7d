//! Blocks: one sealed message whose 16 KiB segments verify and open alone.
//!
//! ```text
//! header part   salt 24 ‖ commitment 32 ‖ n × BLAKE3-256(segment i as sealed)
//! segment i     chunk i: 16,400 bytes
//! last one      what is left and the closing chunk, which is short and possibly empty
//! ```
//! `n = ceil(len / 16,384)`, so each plaintext length has exactly one layout. The extent pins the
//! header part by hash, the header part each segment, the commitment the key; only then come the
//! tags. The hashes stop a reader who has the block's key from forging: the AEAD cannot.

use std::ops::Range;

use crate::aead::{self, Aead};
use crate::error::OpenError;
use crate::hash::blake3_256;
use crate::seal::{Derived, End, PREFIX_LEN, SALT_LEN};
use crate::secret::{BlockKey, equal};
use crate::usage::Context;
use crate::wipe::{Wiped, wipe};

/// Plaintext bytes of a full segment.
pub const SEGMENT_LEN: u64 = 16_384;
/// Bytes of a segment as sealed, unless it is the last.
pub const SEGMENT_SEALED_LEN: u64 = 16_400;
/// Most plaintext bytes of a block.
pub const BLOCK_LEN_MAX: u64 = 1 << 20;
/// Bytes of a segment's hash in the header part.
pub const SEGMENT_HASH_LEN: u64 = 32;

/// Length of a sealed block of `len` plaintext bytes.
pub const fn block_len(len: u64) -> u64 {
    header_len(len) + len + 16 * (len / 16_384 + 1)
}

/// Length of the header part of a block of `len` plaintext bytes.
pub const fn header_len(len: u64) -> u64 {
    56 + SEGMENT_HASH_LEN * segment_count(len)
}

/// Number of segments of a block of `len` plaintext bytes.
pub const fn segment_count(len: u64) -> u64 {
    len.div_ceil(SEGMENT_LEN)
}

/// Where segment `index` lies in the sealed block of `len` plaintext bytes. Empty past the last.
pub const fn segment_range(len: u64, index: u64) -> Range<u64> {
    let count = segment_count(len);
    if index >= count {
        return block_len(len)..block_len(len);
    }
    let start = header_len(len) + SEGMENT_SEALED_LEN * index;
    let end = if index + 1 == count { block_len(len) } else { start + SEGMENT_SEALED_LEN };
    start..end
}

/// Plaintext bytes of segment `index` of a block of `len` plaintext bytes. 0 past the last.
pub const fn segment_len(len: u64, index: u64) -> u64 {
    let rest = len.saturating_sub(SEGMENT_LEN.saturating_mul(index));
    if rest < SEGMENT_LEN { rest } else { SEGMENT_LEN }
}

/// Seals a block behind what `out` holds already and returns BLAKE3-256 of its header part.
///
/// # Panics
/// If the plaintext is empty or longer than [`BLOCK_LEN_MAX`], or the context is not of blocks.
///
/// # Security
/// A block key seals one block, once. The salt comes from [`crate::hedge`].
pub fn seal_block(
    key: &BlockKey,
    context: &Context,
    salt: [u8; SALT_LEN],
    plaintext: &[u8],
    out: &mut Vec<u8>,
) -> [u8; 32] {
    seal_block_by::<aead::Default>(key, context, salt, plaintext, out)
}

pub(crate) fn seal_block_by<A: Aead>(
    key: &BlockKey,
    context: &Context,
    salt: [u8; SALT_LEN],
    plaintext: &[u8],
    out: &mut Vec<u8>,
) -> [u8; 32] {
    let len = u64::try_from(plaintext.len()).unwrap_or(u64::MAX);
    assert!((1..=BLOCK_LEN_MAX).contains(&len), "a block has 1 byte to 1 MiB");
    let derived = Derived::<A>::new(key, context, &salt);
    let header_start = out.len();
    out.reserve(to_usize(block_len(len)));
    out.extend_from_slice(&salt);
    out.extend_from_slice(&derived.commitment);
    out.resize(header_start + to_usize(header_len(len)), 0);
    let count = segment_count(len);
    let mut hash_at = header_start + PREFIX_LEN;
    for (index, segment) in (0..).zip(plaintext.chunks(to_usize(SEGMENT_LEN))) {
        let start = out.len();
        let end = if index + 1 == count { End::Last } else { End::More };
        derived.seal_chunks(index, segment, end, out);
        let hash = blake3_256(&out[start..]);
        out[hash_at..hash_at + hash.len()].copy_from_slice(&hash);
        hash_at += hash.len();
    }
    blake3_256(&out[header_start..header_start + to_usize(header_len(len))])
}

/// A verified header part: opens the segments of one block. Wiped on drop.
pub struct OpenedHeader {
    inner: Opened<aead::Default>,
}

impl OpenedHeader {
    /// Checks a header part against the extent that names it, and its commitment against the key.
    /// `len` is the block's plaintext length.
    ///
    /// # Errors
    /// [`OpenError`], whatever was wrong.
    ///
    /// # Panics
    /// If the context is not of blocks.
    pub fn verify(
        header: &[u8],
        len: u64,
        expected_hash: &[u8; 32],
        key: &BlockKey,
        context: &Context,
    ) -> Result<Self, OpenError> {
        Ok(Self { inner: Opened::verify(header, len, expected_hash, key, context)? })
    }

    /// Plaintext length of the block.
    pub fn len(&self) -> u64 {
        self.inner.len
    }

    /// Never: a block has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Opens a whole segment to the front of `out` and returns its plaintext length. `sealed` is
    /// exactly the bytes of [`segment_range`].
    ///
    /// # Errors
    /// [`OpenError`]; `out` is wiped then.
    ///
    /// # Panics
    /// If `out` is shorter than [`segment_len`].
    pub fn open_segment(
        &self,
        index: u64,
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, OpenError> {
        self.inner.open_segment(index, sealed, out)
    }

    /// Verifies and opens a sealed segment and writes `range` of it (plaintext positions in the
    /// segment) to `out`, which has its length.
    ///
    /// # Errors
    /// [`OpenError`], also if the range is not inside the segment; `out` is wiped then.
    ///
    /// # Panics
    /// If `out` and `range` differ in length.
    pub fn open_range(
        &self,
        index: u64,
        sealed: &[u8],
        range: Range<usize>,
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        self.inner.open_range(index, sealed, range, out)
    }
}

pub(crate) struct Opened<A> {
    derived: Derived<A>,
    segment_hashes: Box<[[u8; 32]]>,
    len: u64,
}

impl<A: Aead> Opened<A> {
    pub(crate) fn verify(
        header: &[u8],
        len: u64,
        expected_hash: &[u8; 32],
        key: &BlockKey,
        context: &Context,
    ) -> Result<Self, OpenError> {
        let fits = (1..=BLOCK_LEN_MAX).contains(&len) && header.len() == to_usize(header_len(len));
        if !fits || blake3_256(header) != *expected_hash {
            return Err(OpenError);
        }
        let (salt, rest) = header.split_first_chunk().ok_or(OpenError)?;
        let (commitment, hashes) = rest.split_first_chunk::<32>().ok_or(OpenError)?;
        let derived = Derived::<A>::new(key, context, salt);
        if !equal(&derived.commitment, commitment) {
            return Err(OpenError);
        }
        Ok(Self { derived, segment_hashes: hashes.as_chunks().0.into(), len })
    }

    pub(crate) fn open_segment(
        &self,
        index: u64,
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, OpenError> {
        let len = to_usize(segment_len(self.len, index));
        let out = &mut out[..len];
        if self.verify_segment(index, sealed).is_err() {
            wipe(out);
            return Err(OpenError);
        }
        self.derived.open_chunks(index, sealed, out)?;
        Ok(len)
    }

    pub(crate) fn open_range(
        &self,
        index: u64,
        sealed: &[u8],
        range: Range<usize>,
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        assert_eq!(out.len(), range.len(), "out has the length of the range");
        let opened = self.open_covering(index, sealed, range, out);
        if opened.is_err() {
            wipe(out);
        }
        opened
    }

    fn open_covering(
        &self,
        index: u64,
        sealed: &[u8],
        range: Range<usize>,
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        self.verify_segment(index, sealed)?;
        let len = to_usize(segment_len(self.len, index));
        let mut scratch = Wiped::zeroed(len);
        self.derived.open_chunks(index, sealed, &mut scratch)?;
        out.copy_from_slice(scratch.get(range).ok_or(OpenError)?);
        Ok(())
    }

    fn verify_segment(&self, index: u64, sealed: &[u8]) -> Result<(), OpenError> {
        let range = segment_range(self.len, index);
        let expected = usize::try_from(index).ok().and_then(|index| self.segment_hashes.get(index));
        let expected = expected.ok_or(OpenError)?;
        let fits = sealed.len() == to_usize(range.end - range.start);
        if fits && blake3_256(sealed) == *expected { Ok(()) } else { Err(OpenError) }
    }
}

fn to_usize(len: u64) -> usize {
    usize::try_from(len).expect("lengths inside a block fit memory")
}

#[cfg(test)]
mod tests;
