//! Cells of a register and the changes that records make to them.
//!
//! A cell lies under a keyed name and is replaced as a whole. The record that changes it holds the same bytes, so that a
//! writer who died between record and cells is made good by whoever opens the register next.

use minicbor::{Decode, Encode};
use strongroom_format::cbor;
use strongroom_format::error::Result;

use crate::ids::{FileId, SubjectId};

/// Kinds of cells. Numbers are part of their names and are never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum CellKind {
    /// The application's description; one.
    Description = 1,
    /// Its activities; one.
    Activities = 2,
    /// The policy set in force; one.
    PolicySet = 3,
    /// A subject, by id.
    Subject = 4,
    /// Look-up rows, by number of the bucket.
    Bucket = 5,
    /// Subjects in the order of their slots, by number of the block.
    Block = 6,
    /// Secrets of the register itself; one.
    Secrets = 7,
    /// How many have agreed to an activity, by its id.
    Agreed = 8,
    /// Since when nobody had a use for anybody in blocks of subjects, by number of the span of blocks.
    Idle = 9,
    /// Files that are being sent to the store; one.
    Coming = 10,
}

/// A cell as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Cell {
    /// Record that wrote it.
    #[n(0)]
    pub version: u64,
    /// Content, sealed under the register key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// What a record changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Payload {
    /// Cells that are written.
    #[n(0)]
    pub cells: Vec<CellChange>,
    /// Things that are removed once the record is durable.
    #[n(1)]
    pub gone: Vec<Gone>,
    /// Oldest record that may not be carried out in full yet when this one is written; none if that is this one.
    #[n(2)]
    pub unfinished: Option<u64>,
}

impl Payload {
    /// What the payload of a body says; that of a closing record is empty, and changes nothing.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [] => Ok(Self::default()),
            bytes => cbor::decode_canonical(bytes),
        }
    }
}

/// A cell that is written.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CellChange {
    /// Its name.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: [u8; 16],
    /// Its bytes: a [`Cell`], encoded.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub cell: Vec<u8>,
}

/// Something that is removed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Gone {
    /// From where.
    #[n(0)]
    pub shelf: GoneFrom,
    /// Name there.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub name: [u8; 16],
}

/// Shelves that things are removed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum GoneFrom {
    /// Nodes of the keystore.
    #[n(1)]
    Node,
    /// Files of subjects.
    #[n(2)]
    Object,
}

/// Subjects by slot: one block of those whose slots follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    /// In the order of their slots.
    #[n(0)]
    pub subjects: Vec<SubjectId>,
}

/// Subjects that have agreed to an activity: rows in the look-up buckets lead to them, page by page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Agreed {
    /// Rows so far; those of the erased are counted still.
    #[n(0)]
    pub count: u64,
}

/// When the one in each block was last used for whom nobody had a use the longest. Uses only make that later, so whoever
/// looks for people not used since some time leaves out blocks that are later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Idle {
    /// By place in the span; [`Idle::UNKNOWN`] where it has to be looked at, [`Idle::NOBODY`] where all are erased.
    #[n(0)]
    pub oldest: Vec<i64>,
}

impl Idle {
    /// Nobody has looked, or others may be added to the block.
    pub const UNKNOWN: i64 = i64::MIN;
    /// Nobody in the block can become due.
    pub const NOBODY: i64 = i64::MAX;
}

/// Blocks in a span.
pub const SPAN_LEN: u64 = 256;

/// Files that are being sent to the store and that no list of files names yet. What is here for long is left from a writer who died.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Coming {
    /// Oldest first.
    #[n(0)]
    pub files: Vec<ComingFile>,
}

/// A file that is being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ComingFile {
    /// Its name on the shelf of objects.
    #[n(0)]
    pub id: FileId,
    /// Time of the record that named it, in nanoseconds.
    #[n(1)]
    pub since: i64,
    /// Whose it is to be; the first of several.
    #[n(2)]
    pub subject: SubjectId,
}

/// Rows on a page of those who agreed.
pub const AGREED_LEN: u64 = 64;

/// Subjects in a block.
pub const BLOCK_LEN: u64 = 64;

/// Slot of the first register key; that of each later generation is in the next one.
pub const REGISTER_SLOT: u64 = 0;
/// LIMIT: generations of the register key.
pub const REGISTER_KEY_COUNT_MAX: u64 = 4096;
/// Slot of the first look-up bucket.
pub const BUCKET_SLOT: u64 = 65_536;
/// Buckets: so many that one has few rows with a million subjects, because it is replaced as a whole.
pub const BUCKET_COUNT: u64 = 65_536;
/// Slot of the first subject; each takes two.
pub const SUBJECT_SLOT: u64 = 131_072;

/// Secrets of the register itself.
#[derive(Encode, Decode)]
pub struct Secrets {
    /// Seed of the key that signs heads.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub head_seed: [u8; 32],
}
