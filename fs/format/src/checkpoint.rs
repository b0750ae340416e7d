//! Checkpoints: a clear signed root and one sealed part per compartment, which names the top page of its tree.
//!
//! ```text
//! 0     magic "SRk1"
//! 4     length of the root u32
//! 8     root, canonical CBOR
//!       signature 64              over SHA-256 of the root
//!       sealed parts, in the order and lengths the root gives, to the end of the file
//! ```

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::commit::split_parts;
use crate::error::{Error, Result};
use crate::frame;
use crate::frame::SIGNATURE_LEN;
use crate::ids::{CompartmentId, DeviceId, Digest, ObjectId, OrganisationId, WorkspaceId};
use crate::page::PageRef;

/// First bytes of a checkpoint file.
pub const MAGIC: [u8; 4] = *b"SRk1";
/// Longest root: some 200,000 compartments or page objects.
pub const ROOT_LEN_MAX: usize = 16 << 20;
/// Longest sealed part.
pub const PART_LEN_MAX: u64 = 8 << 20;
/// Longest digest state.
pub const DIGEST_LEN_MAX: usize = 4096;
/// Most places, by device and incarnation, whose journals a checkpoint knows. The one unused for longest goes first.
pub const JOURNALS_MAX: usize = 1024;

/// What the author of a checkpoint signs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CheckpointRoot {
    /// Suite of algorithms: 1.
    #[n(0)]
    pub suite: u16,
    /// Organisation.
    #[n(1)]
    pub organisation: OrganisationId,
    /// Workspace.
    #[n(2)]
    pub workspace: WorkspaceId,
    /// Sequence of the last commit it covers; 0 before the first.
    #[n(3)]
    pub seq: u64,
    /// SHA-256 of that commit's header; zero for 0.
    #[n(4)]
    pub head: Digest,
    /// Device that signs.
    #[n(5)]
    pub author: DeviceId,
    /// Position in the organisation log the author had seen.
    #[n(6)]
    pub organisation_seq: u64,
    /// SHA-256 of the organisation record at that position.
    #[n(7)]
    pub organisation_head: Digest,
    /// Sealed parts in the order they follow, one per compartment, by compartment id.
    #[n(8)]
    pub parts: Vec<PartRef>,
    /// Objects that hold pages of this checkpoint, by id. Data objects are `O` keys of the map.
    #[n(9)]
    pub page_objects: Vec<PageObject>,
    /// The author's clock, nanoseconds since 1970, for display only.
    #[n(10)]
    pub time: i64,
}

/// A sealed part as the root describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PartRef {
    /// Compartment.
    #[n(0)]
    pub compartment: CompartmentId,
    /// Epoch of the key that seals the part; references to pages carry their own.
    #[n(1)]
    pub epoch: u64,
    /// Sequence of the last commit the part covers, at most the root's.
    #[n(2)]
    pub seq: u64,
    /// Length as sealed.
    #[n(3)]
    pub len: u64,
    /// SHA-256 of the sealed bytes.
    #[n(4)]
    pub sha256: Digest,
}

/// An object of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PageObject {
    /// Object.
    #[n(0)]
    pub object: ObjectId,
    /// Length as stored.
    #[n(1)]
    pub stored_len: u64,
    /// Pages of this checkpoint in it, at least 1.
    #[n(2)]
    pub live_pages: u32,
    /// BLAKE3-256 of the stored bytes.
    #[n(3)]
    pub hash: Digest,
}

/// A parsed checkpoint file. Nothing in it is verified yet.
pub struct CheckpointFile<'b> {
    /// Root.
    pub root: CheckpointRoot,
    /// The root's bytes: what is signed.
    pub root_bytes: &'b [u8],
    /// Ed25519 signature.
    pub signature: [u8; SIGNATURE_LEN],
    /// Sealed parts, one per [`CheckpointRoot::parts`].
    pub parts: Vec<&'b [u8]>,
}

impl<'b> CheckpointFile<'b> {
    /// Parses a checkpoint file.
    ///
    /// # Errors
    /// `Corrupt` when it is none, `Unsupported` when a newer version wrote it.
    ///
    /// # Security
    /// The caller verifies signature, author and the hash of each part.
    pub fn parse(bytes: &'b [u8]) -> Result<Self> {
        let frame = frame::parse(MAGIC, ROOT_LEN_MAX, bytes)?;
        let root: CheckpointRoot = cbor::decode_canonical(frame.record)?;
        root.check()?;
        let parts = split_parts(frame.rest, root.parts.iter().map(|part| part.len))?;
        Ok(Self { root, root_bytes: frame.record, signature: frame.signature, parts })
    }
}

impl CheckpointRoot {
    fn check(&self) -> Result<()> {
        let ordered = self.parts.is_sorted_by(|a, b| a.compartment < b.compartment)
            && self.page_objects.is_sorted_by(|a, b| a.object < b.object);
        let bounded =
            self.parts.iter().all(|part| part.len <= PART_LEN_MAX && part.seq <= self.seq);
        if ordered && bounded && self.page_objects.iter().all(|object| object.live_pages > 0) {
            Ok(())
        } else {
            Err(Error::corrupt("checkpoint root out of bounds"))
        }
    }
}

/// Encodes a checkpoint file from the root's bytes, as signed, and the sealed parts in its order.
pub fn build(
    root_bytes: &[u8],
    signature: &[u8; SIGNATURE_LEN],
    parts: &[impl AsRef<[u8]>],
) -> Vec<u8> {
    let mut bytes = frame::build(MAGIC, root_bytes, signature);
    for part in parts {
        bytes.extend_from_slice(part.as_ref());
    }
    bytes
}

/// The sealed part: all a device needs to go on from here in one compartment.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct CompartmentState {
    /// Compartment.
    #[n(0)]
    pub compartment: CompartmentId,
    /// Sequence of the last commit it covers.
    #[n(1)]
    pub seq: u64,
    /// Top page of the tree; none when the map is empty.
    #[n(2)]
    pub root: Option<PageRef>,
    /// Levels of the tree: 0 when empty, 1 when the top page is a leaf.
    #[n(3)]
    pub height: u8,
    /// Entries of the map.
    #[n(4)]
    pub count: u64,
    /// Key of the name hash, random when the compartment is made.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub name_key: [u8; 16],
    /// State of the homomorphic digest of the map's content.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub digest: Vec<u8>,
    /// Writer slots given so far, by slot.
    #[n(7)]
    pub slots: Vec<WriterSlot>,
    /// How far the journal of each author is contained, by device and incarnation.
    #[n(8)]
    pub journals: Vec<JournalMark>,
}

/// A writer slot: which home numbers inodes in it, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WriterSlot {
    /// Slot, below 2^23.
    #[n(0)]
    pub slot: u32,
    /// Device it was given to.
    #[n(1)]
    pub device: DeviceId,
    /// Counter of the next new inode.
    #[n(2)]
    pub next: u64,
    /// Incarnation of the device it was given to.
    #[n(3)]
    pub incarnation: u64,
}

/// How far an author's journal is contained in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JournalMark {
    /// Author.
    #[n(0)]
    pub device: DeviceId,
    /// Its incarnation: one for each place that keeps local state of the workspace.
    #[n(1)]
    pub incarnation: u64,
    /// Its last commit counter.
    #[n(2)]
    pub counter: u64,
    /// Number of its last journal record contained.
    #[n(3)]
    pub journal_upto: u64,
    /// Sequence of its last commit.
    #[n(4)]
    pub seq: u64,
}

impl CompartmentState {
    /// Encodes the part for sealing.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Parses an opened part.
    ///
    /// # Errors
    /// `Corrupt` when it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let state: Self = cbor::decode_canonical(bytes)?;
        let whole = match state.root {
            None => state.height == 0 && state.count == 0,
            Some(root) => root.is_plausible() && state.height == root.level + 1 && state.count > 0,
        };
        let ordered = state.slots.is_sorted_by(|a, b| a.slot < b.slot)
            && state
                .journals
                .is_sorted_by(|a, b| (a.device, a.incarnation) < (b.device, b.incarnation));
        let bounded = state.digest.len() <= DIGEST_LEN_MAX
            && state.journals.len() <= JOURNALS_MAX
            && state.journals.iter().all(|mark| mark.seq <= state.seq)
            && state.slots.iter().all(|slot| slot.slot < 1 << 23 && slot.next < 1 << 40);
        if whole && ordered && bounded {
            Ok(state)
        } else {
            Err(Error::corrupt("checkpoint part out of bounds"))
        }
    }
}
