//! The genesis record: the root of trust of an organisation. Its SHA-256 is the organisation's id.
//!
//! ```text
//! 0     magic "SRg1"
//! 4     length of the record u32
//! 8     record, canonical CBOR
//!       signature 64              by the root key, over SHA-256 of the record
//! ```

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::error::{Error, Result};
use crate::frame;
use crate::frame::SIGNATURE_LEN;
use crate::organisation::Certificate;

/// First bytes of a genesis file.
pub const MAGIC: [u8; 4] = *b"SRg1";
/// Longest record.
pub const RECORD_LEN_MAX: usize = 128 << 10;
/// Most first devices.
pub const DEVICE_COUNT_MAX: usize = 64;

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Genesis {
    /// Suite of algorithms: 1.
    #[n(0)]
    pub suite: u16,
    /// Lowest suite anything in this organisation may use.
    #[n(1)]
    pub suite_floor: u16,
    /// 16 random bytes, so that no two organisations have one id.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// Ed25519 public key of the organisation's root key.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub root_key: [u8; 32],
    /// First administrators' devices, by id, at least one.
    #[n(4)]
    pub devices: Vec<Certificate>,
    /// How many of them must agree to what the root key signs later.
    #[n(5)]
    pub quorum: u16,
    /// Escrow authority's public key; empty says there is none and never will be.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub escrow: Vec<u8>,
    /// The founder's clock, nanoseconds since 1970, for display only.
    #[n(7)]
    pub time: i64,
}

/// A parsed genesis file. Nothing in it is verified yet.
pub struct GenesisFile<'b> {
    /// Record.
    pub record: Genesis,
    /// The record's bytes: what is signed, and whose SHA-256 is the organisation's id.
    pub record_bytes: &'b [u8],
    /// Signature by the root key.
    pub signature: [u8; SIGNATURE_LEN],
}

impl<'b> GenesisFile<'b> {
    /// Parses a genesis file.
    ///
    /// # Errors
    /// `Corrupt` when it is none, `Unsupported` when a newer version wrote it.
    ///
    /// # Security
    /// The caller compares SHA-256 of the record with the organisation's id and verifies the signature.
    pub fn parse(bytes: &'b [u8]) -> Result<Self> {
        let frame = frame::parse(MAGIC, RECORD_LEN_MAX, bytes)?;
        let record: Genesis = cbor::decode_canonical(frame.record)?;
        let count = record.devices.len();
        let whole = (1..=DEVICE_COUNT_MAX).contains(&count)
            && (1..=count).contains(&usize::from(record.quorum))
            && record.devices.is_sorted_by(|a, b| a.device < b.device);
        if !whole || !frame.rest.is_empty() {
            return Err(Error::corrupt("genesis record out of bounds"));
        }
        Ok(Self { record, record_bytes: frame.record, signature: frame.signature })
    }
}

/// Encodes a genesis file from the record's bytes, as signed.
pub fn build(record_bytes: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Vec<u8> {
    frame::build(MAGIC, record_bytes, signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeviceId, MemberId};

    fn sample() -> Genesis {
        Genesis {
            suite: 1,
            suite_floor: 1,
            nonce: [3; 16],
            root_key: [4; 32],
            devices: vec![Certificate {
                device: DeviceId([5; 16]),
                member: MemberId([7; 16]),
                signing_key: [6; 32],
                kem_key: [8; 1216],
            }],
            quorum: 1,
            escrow: Vec::new(),
            time: -1,
        }
    }

    #[test]
    fn a_genesis_file_survives_encoding() {
        let record_bytes = cbor::encode(&sample());
        let file = build(&record_bytes, &[9; 64]);
        let parsed = GenesisFile::parse(&file).unwrap();
        assert_eq!(parsed.record, sample());
        assert_eq!(parsed.record_bytes, record_bytes);
        assert_eq!(parsed.signature, [9; 64]);
        for end in 0..file.len() {
            assert!(GenesisFile::parse(&file[..end]).is_err());
        }
        assert!(GenesisFile::parse(&[&file[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_quorum_larger_than_the_founders_is_refused() {
        for bad in [
            Genesis { quorum: 2, ..sample() },
            Genesis { quorum: 0, ..sample() },
            Genesis { devices: Vec::new(), ..sample() },
        ] {
            assert!(GenesisFile::parse(&build(&cbor::encode(&bad), &[0; 64])).is_err());
        }
    }
}
