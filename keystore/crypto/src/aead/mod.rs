//! AES-256-GCM with empty associated data: one trait, two back ends with the same bytes.

#[cfg(feature = "aws-lc")]
mod aws;
mod pure;

use crate::error::OpenError;

#[cfg(feature = "aws-lc")]
pub(crate) use aws::AwsLc;
#[cfg_attr(
    all(feature = "aws-lc", not(test)),
    expect(unused_imports, reason = "the cross-check of the other back end")
)]
pub(crate) use pure::PureRust;

/// The back end that seals and opens outside of tests.
#[cfg(feature = "aws-lc")]
pub(crate) type Default = AwsLc;
/// The back end that seals and opens outside of tests.
#[cfg(not(feature = "aws-lc"))]
pub(crate) type Default = PureRust;

/// Bytes of an authentication tag.
pub(crate) const TAG_LEN: usize = 16;

/// One AEAD key, ready for use. Implementations wipe themselves on drop.
pub(crate) trait Aead: Sized {
    /// Sets up the key.
    fn new(key: &[u8; 32]) -> Self;
    /// Turns plaintext into ciphertext in place and returns the tag.
    fn seal(&self, nonce: &[u8; 12], in_out: &mut [u8]) -> [u8; TAG_LEN];
    /// Writes the plaintext of `sealed` to `out` of the same length. On failure `out` is undefined:
    /// the caller wipes it.
    fn open(
        &self,
        nonce: &[u8; 12],
        sealed: &[u8],
        tag: &[u8; TAG_LEN],
        out: &mut [u8],
    ) -> Result<(), OpenError>;
}
