//! Records of the organisation log behind genesis: devices that come and go, and the epochs of the workspace key.
//!
//! ```text
//! 0     magic "SRo1"
//! 4     length of the record u32
//! 8     record, canonical CBOR
//!       signature 64              by a device that counts at the position before, over SHA-256 of the record
//! ```
//!
//! Every record names the one before by its hash. Who may sign, who must be among the recipients and which number an
//! epoch has is checked by `keystore/keyring`; here are bounds only.

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::error::{Error, Result};
use crate::frame;
use crate::frame::SIGNATURE_LEN;
use crate::ids::{CompartmentId, DeviceId, Digest, MemberId, OrganisationId, WorkspaceId};

/// First bytes of a record's file.
pub const MAGIC: [u8; 4] = *b"SRo1";
/// Longest record.
pub const RECORD_LEN_MAX: usize = 1 << 20;
/// Most devices that count at one time.
pub const DEVICE_COUNT_MAX: usize = 256;
/// Length of a public KEM key.
pub const KEM_KEY_LEN: usize = 1216;
/// Length of the two keys of an epoch, wrapped to a device.
pub const WRAP_LEN: usize = 1200;
/// Length of a device's name, filled up with zeros.
pub const NAME_LEN: usize = 64;
/// Length of a sealed name.
pub const NAME_SEALED_LEN: usize = 136;
/// Length of the sealed keys of the epoch before.
pub const BACK_LINK_LEN: usize = 136;

/// A device and its public keys.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Certificate {
    /// Device.
    #[n(0)]
    pub device: DeviceId,
    /// Whose it is.
    #[n(1)]
    pub member: MemberId,
    /// Its Ed25519 public key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signing_key: [u8; 32],
    /// Its public KEM key.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub kem_key: [u8; KEM_KEY_LEN],
}

/// What the author of a record signs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// Suite of algorithms: 1.
    #[n(0)]
    pub suite: u16,
    /// Organisation.
    #[n(1)]
    pub organisation: OrganisationId,
    /// Position in the log; genesis is 0.
    #[n(2)]
    pub seq: u64,
    /// SHA-256 of the record before.
    #[n(3)]
    pub parent: Digest,
    /// Device that signs.
    #[n(4)]
    pub author: DeviceId,
    /// What is done.
    #[n(5)]
    pub act: Act,
    /// The author's clock, nanoseconds since 1970, for display only.
    #[n(6)]
    pub time: i64,
}

/// What a record does.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Act {
    /// A device counts from here on.
    #[n(1)]
    AddDevice {
        /// Its keys.
        #[n(0)]
        certificate: Certificate,
        /// The present epoch, for it.
        #[n(1)]
        share: Share,
    },
    /// A device counts no more; what is written from here on is not for it.
    #[n(2)]
    RevokeDevice {
        /// Device.
        #[n(0)]
        device: DeviceId,
        /// The epoch that follows, for all others.
        #[n(1)]
        rotation: Rotation,
    },
    /// A new epoch. The first one founds the workspace.
    #[n(3)]
    Rotate {
        /// The epoch.
        #[n(0)]
        rotation: Rotation,
    },
    /// A consumer's device counts from here on: it gets no key of the workspace, and its signatures count for what it
    /// asks a custodian alone.
    #[n(4)]
    AddConsumer {
        /// Its keys.
        #[n(0)]
        certificate: Certificate,
        /// What it is called, and for whom it works.
        #[n(1)]
        naming: Naming,
    },
}

/// What people call a consumer's device, sealed under a key that it does not have.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Naming {
    /// Epoch whose key seals both.
    #[n(0)]
    pub epoch: u64,
    /// Its own name.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Name of the consumer, as activities have it.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub consumer: Vec<u8>,
}

/// The keys of an epoch that is there already, for one more device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Share {
    /// Workspace.
    #[n(0)]
    pub workspace: WorkspaceId,
    /// Compartment.
    #[n(1)]
    pub compartment: CompartmentId,
    /// Epoch.
    #[n(2)]
    pub epoch: u64,
    /// For whom.
    #[n(3)]
    pub recipient: Recipient,
}

/// A new epoch of a compartment's keys.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rotation {
    /// Workspace.
    #[n(0)]
    pub workspace: WorkspaceId,
    /// Compartment.
    #[n(1)]
    pub compartment: CompartmentId,
    /// Epoch, one more than the one before; the first is 1.
    #[n(2)]
    pub epoch: u64,
    /// Commitment of the epoch key.
    #[n(3)]
    pub key_commitment: Digest,
    /// Commitment of the history key.
    #[n(4)]
    pub history_commitment: Digest,
    /// Every device that counts after this record and is no consumer's, by id.
    #[n(5)]
    pub recipients: Vec<Recipient>,
    /// The keys of the epoch before, sealed under this one's history key; none for the first.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub back_link: Option<Vec<u8>>,
}

/// A device that gets the keys of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Recipient {
    /// Device.
    #[n(0)]
    pub device: DeviceId,
    /// Epoch key and history key, wrapped to it.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub wrap: Vec<u8>,
    /// What people call it, sealed under the epoch key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub name: Vec<u8>,
}

impl Record {
    fn check(&self) -> Result<()> {
        let fits = match &self.act {
            Act::AddDevice { share, .. } => share.epoch > 0 && share.recipient.fits(),
            Act::RevokeDevice { rotation, .. } | Act::Rotate { rotation } => rotation.fits(),
            Act::AddConsumer { naming, .. } => naming.fits(),
        };
        if self.seq > 0 && fits {
            Ok(())
        } else {
            Err(Error::corrupt("organisation record out of bounds"))
        }
    }
}

impl Rotation {
    fn fits(&self) -> bool {
        let linked = match &self.back_link {
            None => self.epoch == 1,
            Some(link) => self.epoch > 1 && link.len() == BACK_LINK_LEN,
        };
        linked
            && (1..=DEVICE_COUNT_MAX).contains(&self.recipients.len())
            && self.recipients.is_sorted_by(|a, b| a.device < b.device)
            && self.recipients.iter().all(Recipient::fits)
    }
}

impl Naming {
    fn fits(&self) -> bool {
        let sealed = [&self.name, &self.consumer];
        self.epoch > 0 && sealed.iter().all(|sealed| sealed.len() == NAME_SEALED_LEN)
    }
}

impl Recipient {
    fn fits(&self) -> bool {
        self.wrap.len() == WRAP_LEN && self.name.len() == NAME_SEALED_LEN
    }
}

/// A parsed record file. Nothing in it is verified yet.
pub struct RecordFile<'b> {
    /// Record.
    pub record: Record,
    /// The record's bytes: what is signed, and what the next one's parent hashes.
    pub record_bytes: &'b [u8],
    /// Signature by the author.
    pub signature: [u8; SIGNATURE_LEN],
}

impl<'b> RecordFile<'b> {
    /// Parses a record file.
    ///
    /// # Errors
    /// `Corrupt` when it is none, `Unsupported` when a newer version wrote it.
    ///
    /// # Security
    /// The caller verifies position, parent, author, signature and what the act demands.
    pub fn parse(bytes: &'b [u8]) -> Result<Self> {
        let frame = frame::parse(MAGIC, RECORD_LEN_MAX, bytes)?;
        let record: Record = cbor::decode_canonical(frame.record)?;
        record.check()?;
        if !frame.rest.is_empty() {
            return Err(Error::corrupt("bytes behind an organisation record"));
        }
        Ok(Self { record, record_bytes: frame.record, signature: frame.signature })
    }
}

/// Encodes a record file from the record's bytes, as signed.
pub fn build(record_bytes: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Vec<u8> {
    frame::build(MAGIC, record_bytes, signature)
}
