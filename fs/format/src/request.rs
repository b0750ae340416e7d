//! A device's request to be taken in, put into the store by the device itself.
//!
//! ```text
//! 0     magic "SRq1"
//! 4     length of the record u32
//! 8     record, canonical CBOR
//!       signature 64              by the device's own key, over SHA-256 of the record
//! ```
//!
//! It proves that somebody has the keys and nothing about who that is: people compare the code made of its hash.

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::error::{Error, Result};
use crate::frame;
use crate::frame::SIGNATURE_LEN;
use crate::ids::{DeviceId, OrganisationId, WorkspaceId};
use crate::organisation::KEM_KEY_LEN;

/// First bytes of a request.
pub const MAGIC: [u8; 4] = *b"SRq1";
/// Longest record.
pub const RECORD_LEN_MAX: usize = 4096;

/// What the device signs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// Suite of algorithms: 1.
    #[n(0)]
    pub suite: u16,
    /// Organisation that it wants to be in, and pins.
    #[n(1)]
    pub organisation: OrganisationId,
    /// Workspace.
    #[n(2)]
    pub workspace: WorkspaceId,
    /// Device.
    #[n(3)]
    pub device: DeviceId,
    /// Its Ed25519 public key.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub signing_key: [u8; 32],
    /// Its public KEM key.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub kem_key: [u8; KEM_KEY_LEN],
    /// The device's clock, nanoseconds since 1970.
    #[n(6)]
    pub time: i64,
    /// When it is void, by the same clock.
    #[n(7)]
    pub expires: i64,
}

/// A parsed request. Nothing in it is verified yet.
pub struct RequestFile<'b> {
    /// Record.
    pub record: Request,
    /// The record's bytes: what is signed, and what the code is made of.
    pub record_bytes: &'b [u8],
    /// Signature by the device.
    pub signature: [u8; SIGNATURE_LEN],
}

impl<'b> RequestFile<'b> {
    /// Parses a request.
    ///
    /// # Errors
    /// `Corrupt` when it is none, `Unsupported` when a newer version wrote it.
    ///
    /// # Security
    /// The caller verifies the signature, and people compare the code.
    pub fn parse(bytes: &'b [u8]) -> Result<Self> {
        let frame = frame::parse(MAGIC, RECORD_LEN_MAX, bytes)?;
        let record: Request = cbor::decode_canonical(frame.record)?;
        if !frame.rest.is_empty() || record.expires < record.time {
            return Err(Error::corrupt("request out of bounds"));
        }
        Ok(Self { record, record_bytes: frame.record, signature: frame.signature })
    }
}

/// Encodes a request from the record's bytes, as signed.
pub fn build(record_bytes: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Vec<u8> {
    frame::build(MAGIC, record_bytes, signature)
}
