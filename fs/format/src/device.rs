//! The device file: a clear part that says how to unlock it, and the device's sealed secrets.
//!
//! ```text
//! 0     magic "SRd1"
//! 4     length of the clear part u32
//! 8     clear part, canonical CBOR
//!       sealed secrets, to the end of the file
//! ```
//!
//! The seal's context repeats everything in the clear part, so that nobody can turn a parameter down unseen.

use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::cbor;
use crate::error::{Error, Result};
use crate::frame;
use crate::ids::{DeviceId, OrganisationId, WorkspaceId};

/// First bytes of a device file.
pub const MAGIC: [u8; 4] = *b"SRd1";
/// Longest clear part.
pub const CLEAR_LEN_MAX: usize = 4096;
/// Longest sealed part.
pub const SEALED_LEN_MAX: usize = 1 << 20;

/// What protects the secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Provider {
    /// A passphrase, through the KDF.
    #[n(1)]
    Passphrase,
}

/// Password hash and its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Kdf {
    /// 1: Argon2id, version 0x13, 32 bytes out.
    #[n(0)]
    pub id: u16,
    /// Memory in KiB.
    #[n(1)]
    pub memory_kib: u32,
    /// Passes.
    #[n(2)]
    pub passes: u32,
    /// Lanes.
    #[n(3)]
    pub lanes: u32,
    /// Salt, made on this device.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub salt: [u8; 16],
}

/// The clear part.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeviceClear {
    /// Suite of algorithms: 1.
    #[n(0)]
    pub suite: u16,
    /// Organisation.
    #[n(1)]
    pub organisation: OrganisationId,
    /// Device.
    #[n(2)]
    pub device: DeviceId,
    /// What protects the secrets.
    #[n(3)]
    pub provider: Provider,
    /// Which key of the provider, 16 random bytes, new with every change of passphrase.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub key_id: [u8; 16],
    /// How the passphrase becomes a key.
    #[n(5)]
    pub kdf: Kdf,
}

/// The sealed part. Every key is 32 bytes. Keys of the workspace come from the organisation log.
#[derive(Encode, Decode)]
pub struct DeviceSecrets {
    /// Device, compared with the clear part.
    #[n(0)]
    pub device: DeviceId,
    /// Workspace.
    #[n(1)]
    pub workspace: WorkspaceId,
    /// Seed of the device's Ed25519 key.
    #[n(2)]
    pub signing_seed: Secret32,
    /// Key that wraps journal files' keys and seals other local state.
    #[n(3)]
    pub store_key: Secret32,
    /// Key that hedges salts.
    #[n(4)]
    pub hedge_key: Secret32,
    /// Seed of the device's KEM key.
    #[n(5)]
    pub kem_seed: Secret32,
    /// Seed of the organisation's root key, where this device keeps it.
    #[n(6)]
    pub root_seed: Option<Secret32>,
}

/// 32 secret bytes, wiped when dropped. Boxed, because every move of an inline array leaves a copy behind.
pub struct Secret32(pub Box<Zeroizing<[u8; 32]>>);

impl<C> Encode<C> for Secret32 {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> std::result::Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(&self.0[..])?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Secret32 {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> std::result::Result<Self, minicbor::decode::Error> {
        let bytes = decoder.bytes()?;
        let mut secret = Box::new(Zeroizing::new([0; 32]));
        if bytes.len() != secret.len() {
            return Err(minicbor::decode::Error::message("secret of another length"));
        }
        secret.copy_from_slice(bytes);
        Ok(Self(secret))
    }
}

/// A parsed device file, still sealed.
pub struct DeviceFile<'b> {
    /// Clear part.
    pub clear: DeviceClear,
    /// Sealed secrets.
    pub sealed: &'b [u8],
}

impl<'b> DeviceFile<'b> {
    /// Parses a device file.
    ///
    /// # Errors
    /// `Corrupt` when it is none, `Unsupported` when a newer version wrote it.
    pub fn parse(bytes: &'b [u8]) -> Result<Self> {
        let (clear, sealed) = frame::split(MAGIC, CLEAR_LEN_MAX, bytes)?;
        if sealed.len() > SEALED_LEN_MAX {
            return Err(Error::corrupt("device file too long"));
        }
        Ok(Self { clear: cbor::decode_canonical(clear)?, sealed })
    }
}

/// Encodes a device file.
pub fn build(clear: &DeviceClear, sealed: &[u8]) -> Vec<u8> {
    let mut bytes = frame::begin(MAGIC, &cbor::encode(clear));
    bytes.extend_from_slice(sealed);
    bytes
}
