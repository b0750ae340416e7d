//! The frame of what is signed: `magic 4 · length u32 · record · signature 64 · what the record describes`.

use strongroom_crypto::hash::sha256;
use strongroom_crypto::sign::{SIGNATURE_LEN, VerifyingKey};
use strongroom_crypto::usage::Usage;
use strongroom_format::error::{Error, ErrorKind, Result};

use crate::ids::Hash;

/// A framed record. Its signature is not verified by parsing.
pub struct Signed<'b> {
    /// The record's bytes, as signed.
    pub record: &'b [u8],
    /// Signature over them.
    pub signature: [u8; SIGNATURE_LEN],
    /// What follows.
    pub rest: &'b [u8],
}

impl<'b> Signed<'b> {
    /// Takes a frame apart.
    ///
    /// # Errors
    /// `Corrupt` when it is another kind of thing, cut or longer than `len_max`; `Unsupported` when a newer version
    /// wrote it.
    pub fn parse(magic: [u8; 4], len_max: usize, bytes: &'b [u8]) -> Result<Self> {
        let (found, rest) = bytes.split_first_chunk::<4>().ok_or(CUT)?;
        if *found != magic {
            let is_newer = found[..3] == magic[..3] && found[3] > magic[3];
            return Err(match is_newer && found[3].is_ascii_digit() {
                true => Error::new(ErrorKind::Unsupported, "record of a newer format"),
                false => Error::new(ErrorKind::Corrupt, "not the kind of record expected here"),
            });
        }
        let (len, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| CUT)?;
        if len > len_max {
            return Err(Error::new(ErrorKind::Corrupt, "record longer than allowed"));
        }
        let (record, rest) = rest.split_at_checked(len).ok_or(CUT)?;
        let (signature, rest) = rest.split_first_chunk().ok_or(CUT)?;
        Ok(Self { record, signature: *signature, rest })
    }

    /// Puts a frame together.
    pub fn build(
        magic: [u8; 4],
        record: &[u8],
        signature: &[u8; SIGNATURE_LEN],
        rest: &[u8],
    ) -> Vec<u8> {
        let len = u32::try_from(record.len()).expect("records are far below 4 GiB");
        [&magic[..], &len.to_le_bytes(), record, signature, rest].concat()
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn verify(&self, usage: Usage, key: &VerifyingKey) -> Result<()> {
        let bad = |_| Error::new(ErrorKind::Corrupt, "the signature does not hold");
        key.verify(usage, self.record, &self.signature).map_err(bad)
    }

    /// SHA-256 of the record.
    pub fn hash(&self) -> Hash {
        Hash(sha256(self.record))
    }
}

const CUT: Error = Error::new(ErrorKind::Corrupt, "record is cut short");
