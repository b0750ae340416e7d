//! Commits: a clear signed header and sealed bodies, one per compartment touched.
//!
//! ```text
//! 0     magic "SRc1"
//! 4     length of the header u32
//! 8     header, canonical CBOR
//!       signature 64              over SHA-256 of the header
//!       sealed bodies, in the order and lengths the header gives, to the end of the file
//! ```
//!
//! The signature covers bodies by their hash: whoever lacks a compartment's key verifies the chain all the same, and
//! a dropped body does not break it. A commit whose bodies were dropped has the magic "SRd1" and ends behind the signature.
//! Verifying signature and hashes is the caller's (`fs/workspace`).

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::error::{Error, Result};
use crate::frame;
pub use crate::frame::SIGNATURE_LEN;
use crate::ids::{CompartmentId, DeviceId, Digest, ObjectId, OrganisationId, WorkspaceId};
use crate::op::Op;
use crate::ops;

/// First bytes of a commit file.
pub const MAGIC: [u8; 4] = *b"SRc1";
/// First bytes of a commit file whose bodies were dropped.
pub const BARE_MAGIC: [u8; 4] = *b"SRd1";
/// Longest header.
pub const HEADER_LEN_MAX: usize = 4 << 20;
/// Longest sealed body: the longest message one key seals safely for ever.
pub const BODY_LEN_MAX: u64 = 32 << 20;
/// Most bodies in one commit.
pub const BODY_COUNT_MAX: usize = 4096;

/// What the author signs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CommitHeader {
    /// Suite of algorithms: 1.
    #[n(0)]
    pub suite: u16,
    /// Organisation.
    #[n(1)]
    pub organisation: OrganisationId,
    /// Workspace.
    #[n(2)]
    pub workspace: WorkspaceId,
    /// Sequence number in the workspace; the first is 1.
    #[n(3)]
    pub seq: u64,
    /// SHA-256 of the header before; zero for the first.
    #[n(4)]
    pub parent: Digest,
    /// Device that signs.
    #[n(5)]
    pub author: DeviceId,
    /// Incarnation of that device: a random number for each place where it keeps local state of the workspace.
    #[n(6)]
    pub incarnation: u64,
    /// Number of this commit among those of the incarnation; the first is 1. Survives a lost race for a sequence.
    #[n(7)]
    pub counter: u64,
    /// Position in the organisation log the author had seen.
    #[n(8)]
    pub organisation_seq: u64,
    /// SHA-256 of the organisation record at that position.
    #[n(9)]
    pub organisation_head: Digest,
    /// Sealed bodies in the order they follow, at most one per compartment, by compartment id.
    #[n(10)]
    pub bodies: Vec<BodyRef>,
    /// Objects this commit brings to life.
    #[n(11)]
    pub added: Vec<ObjectAdded>,
    /// Objects nothing refers to any more.
    #[n(12)]
    pub released: Vec<ObjectId>,
    /// The author's clock, nanoseconds since 1970, for display only.
    #[n(13)]
    pub time: i64,
}

/// A sealed body as the header describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BodyRef {
    /// Compartment.
    #[n(0)]
    pub compartment: CompartmentId,
    /// Epoch of the key that seals it.
    #[n(1)]
    pub epoch: u64,
    /// Length as sealed.
    #[n(2)]
    pub len: u64,
    /// SHA-256 of the sealed bytes.
    #[n(3)]
    pub sha256: Digest,
}

/// An object that comes to life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ObjectAdded {
    /// Object.
    #[n(0)]
    pub object: ObjectId,
    /// Length as stored.
    #[n(1)]
    pub len: u64,
    /// BLAKE3-256 of the stored bytes.
    #[n(2)]
    pub hash: Digest,
}

/// A parsed commit file. Nothing in it is verified yet.
pub struct CommitFile<'b> {
    /// Header.
    pub header: CommitHeader,
    /// The header's bytes: what is signed, and what the next commit's parent hashes.
    pub header_bytes: &'b [u8],
    /// Ed25519 signature.
    pub signature: [u8; SIGNATURE_LEN],
    /// Sealed bodies, one per [`CommitHeader::bodies`]; none if they were dropped.
    pub bodies: Vec<&'b [u8]>,
    /// Whether its bodies were dropped: what it did was removed from history.
    pub is_bare: bool,
}

impl<'b> CommitFile<'b> {
    /// Parses a commit file.
    ///
    /// # Errors
    /// `Corrupt` when it is none, `Unsupported` when a newer version wrote it.
    ///
    /// # Security
    /// The caller verifies signature, author, chain and the hash of each body.
    pub fn parse(bytes: &'b [u8]) -> Result<Self> {
        let is_bare = bytes.starts_with(&BARE_MAGIC);
        let magic = if is_bare { BARE_MAGIC } else { MAGIC };
        let frame = frame::parse(magic, HEADER_LEN_MAX, bytes)?;
        let header: CommitHeader = cbor::decode_canonical(frame.record)?;
        header.check()?;
        let lens = header.bodies.iter().map(|body| body.len).filter(|_| !is_bare);
        let bodies = split_parts(frame.rest, lens)?;
        let (header_bytes, signature) = (frame.record, frame.signature);
        Ok(Self { header, header_bytes, signature, bodies, is_bare })
    }
}

impl CommitFile<'_> {
    /// The same without bodies.
    pub fn to_bare(&self) -> Vec<u8> {
        frame::build(BARE_MAGIC, self.header_bytes, &self.signature)
    }
}

impl CommitHeader {
    /// Checks the limits that do not need a key.
    fn check(&self) -> Result<()> {
        let ordered = self.bodies.is_sorted_by(|a, b| a.compartment < b.compartment);
        let short = self.bodies.iter().all(|body| body.len <= BODY_LEN_MAX);
        if self.seq == 0 || self.bodies.len() > BODY_COUNT_MAX || !ordered || !short {
            return Err(Error::corrupt("commit header out of bounds"));
        }
        Ok(())
    }
}

/// Encodes a commit file from the header's bytes, as signed, and the bodies in its order.
pub fn build(
    header_bytes: &[u8],
    signature: &[u8; SIGNATURE_LEN],
    bodies: &[impl AsRef<[u8]>],
) -> Vec<u8> {
    let mut bytes = frame::build(MAGIC, header_bytes, signature);
    for body in bodies {
        bytes.extend_from_slice(body.as_ref());
    }
    bytes
}

/// Cuts `bytes` into parts of the given lengths that take it up exactly.
pub(crate) fn split_parts(bytes: &[u8], lens: impl Iterator<Item = u64>) -> Result<Vec<&[u8]>> {
    const BAD: Error = Error::corrupt("sealed parts do not fill the file");
    let mut parts = Vec::new();
    let mut rest = bytes;
    for len in lens {
        let (part, after) =
            usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)).ok_or(BAD)?;
        parts.push(part);
        rest = after;
    }
    if rest.is_empty() { Ok(parts) } else { Err(BAD) }
}

/// What is sealed: head and operations. In bytes: the head's canonical CBOR, then the operations' (`ops`).
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    /// What the body says of itself.
    pub head: BodyHead,
    /// Operations in order, those of journals not among them.
    pub ops: Vec<Op>,
}

/// Head of a body. Author, incarnation, counter and compartment are compared with the header.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BodyHead {
    /// Compartment.
    #[n(0)]
    pub compartment: CompartmentId,
    /// Author.
    #[n(1)]
    pub author: DeviceId,
    /// Incarnation.
    #[n(2)]
    pub incarnation: u64,
    /// Number of the commit in the incarnation.
    #[n(3)]
    pub counter: u64,
    /// Sequence of the last commit the author had applied when it planned these operations.
    #[n(4)]
    pub base_seq: u64,
    /// Number of the author's journal record up to which its changes are in this or an earlier commit.
    #[n(5)]
    pub journal_upto: u64,
    /// Number of operations.
    #[n(6)]
    pub op_count: u64,
}

impl Body {
    /// Encodes head and operations; [`BodyHead::op_count`] is set from the operations.
    ///
    /// # Errors
    /// `Invalid` when an operation is too long or stands in journals alone.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let head = BodyHead { op_count: self.ops.len() as u64, ..self.head.clone() };
        if self.ops.iter().any(Op::is_local) {
            return Err(Error::invalid("a commit cannot carry what stands in journals alone"));
        }
        let mut bytes = cbor::encode(&head);
        bytes.extend(ops::encode(&self.ops)?);
        Ok(bytes)
    }

    /// Parses a body.
    ///
    /// # Errors
    /// `Corrupt` when it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let (head, rest) = cbor::decode_prefix::<BodyHead>(bytes)?;
        let ops = ops::decode(head.op_count, rest)?;
        if ops.iter().any(Op::is_local) {
            return Err(Error::corrupt("journal operation in a commit"));
        }
        Ok(Self { head, ops })
    }
}
