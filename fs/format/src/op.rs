//! Operations: what journals record and commits carry. Replaying the same operations on the same map gives the
//! same map on every device; the rules are in `fs/workspace` (`tree/rules`) and in docs/format.md.

use minicbor::{Decode, Encode};

use crate::ids::{Ino, ObjectId, SnapshotId};
use crate::inode::{Extent, Kind, Snapshot};

/// Whether an inode that lost its last name stays as an orphan because it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Fate {
    /// Goes at once.
    #[n(0)]
    Remove,
    /// Stays with link count 0 until a `Purge`.
    #[n(1)]
    Keep,
}

/// One operation. `time` is the author's clock in nanoseconds since 1970.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum Op {
    /// A new node under a name.
    #[n(1)]
    Create {
        /// Folder.
        #[n(0)]
        folder: Ino,
        /// Name.
        #[cbor(n(1), with = "minicbor::bytes")]
        name: Vec<u8>,
        /// New inode number.
        #[n(2)]
        ino: Ino,
        /// Kind.
        #[n(3)]
        kind: Kind,
        /// Permission bits.
        #[n(4)]
        mode: u16,
        /// Owner.
        #[n(5)]
        uid: u32,
        /// Group.
        #[n(6)]
        gid: u32,
        /// Device number, else 0.
        #[n(7)]
        rdev: u32,
        /// Symlink target, else empty.
        #[cbor(n(8), with = "minicbor::bytes")]
        target: Vec<u8>,
        /// When.
        #[n(9)]
        time: i64,
    },
    /// One more name for an inode.
    #[n(2)]
    Link {
        /// Inode.
        #[n(0)]
        ino: Ino,
        /// Folder.
        #[n(1)]
        folder: Ino,
        /// Name.
        #[cbor(n(2), with = "minicbor::bytes")]
        name: Vec<u8>,
        /// When.
        #[n(3)]
        time: i64,
    },
    /// A name goes; with it the inode if it was the last (an empty folder included).
    #[n(3)]
    Unlink {
        /// Folder.
        #[n(0)]
        folder: Ino,
        /// Name.
        #[cbor(n(1), with = "minicbor::bytes")]
        name: Vec<u8>,
        /// The inode the author saw there.
        #[n(2)]
        ino: Ino,
        /// What becomes of it when this was the last name.
        #[n(3)]
        fate: Fate,
        /// When.
        #[n(4)]
        time: i64,
    },
    /// A name moves, replacing what is at the target.
    #[n(4)]
    Rename {
        /// From folder.
        #[n(0)]
        from: Ino,
        /// From name.
        #[cbor(n(1), with = "minicbor::bytes")]
        from_name: Vec<u8>,
        /// To folder.
        #[n(2)]
        to: Ino,
        /// To name.
        #[cbor(n(3), with = "minicbor::bytes")]
        to_name: Vec<u8>,
        /// The inode the author saw at the source.
        #[n(4)]
        ino: Ino,
        /// The inode the author saw at the target, 0 if none.
        #[n(5)]
        replaced: Ino,
        /// What becomes of the replaced inode.
        #[n(6)]
        fate: Fate,
        /// When.
        #[n(7)]
        time: i64,
    },
    /// Two names swap their inodes.
    #[n(5)]
    Exchange {
        /// First folder.
        #[n(0)]
        from: Ino,
        /// First name.
        #[cbor(n(1), with = "minicbor::bytes")]
        from_name: Vec<u8>,
        /// Second folder.
        #[n(2)]
        to: Ino,
        /// Second name.
        #[cbor(n(3), with = "minicbor::bytes")]
        to_name: Vec<u8>,
        /// When.
        #[n(4)]
        time: i64,
    },
    /// Attributes; absent ones stay. `size` truncates or extends with a hole.
    #[n(6)]
    SetAttributes {
        /// Inode.
        #[n(0)]
        ino: Ino,
        /// Permission bits.
        #[n(1)]
        mode: Option<u16>,
        /// Owner.
        #[n(2)]
        uid: Option<u32>,
        /// Group.
        #[n(3)]
        gid: Option<u32>,
        /// Size.
        #[n(4)]
        size: Option<u64>,
        /// Access time.
        #[n(5)]
        atime: Option<i64>,
        /// Modification time.
        #[n(6)]
        mtime: Option<i64>,
        /// When: the new ctime.
        #[n(7)]
        time: i64,
    },
    /// Sets (or with `None` removes) an extended attribute.
    #[n(7)]
    SetXattr {
        /// Inode.
        #[n(0)]
        ino: Ino,
        /// Name.
        #[cbor(n(1), with = "minicbor::bytes")]
        name: Vec<u8>,
        /// Value.
        #[cbor(n(2), with = "minicbor::bytes")]
        value: Option<Vec<u8>>,
        /// When: the new ctime.
        #[n(3)]
        time: i64,
    },
    /// The whole content of a small file, at most `INLINE_LEN_MAX` bytes; replaces all there was.
    #[n(8)]
    SetInline {
        /// Inode.
        #[n(0)]
        ino: Ino,
        /// Size of the file; what `data` does not cover is hole.
        #[n(1)]
        size: u64,
        /// First bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        data: Vec<u8>,
        /// New mode bits (suid and sgid may have gone).
        #[n(3)]
        mode: u16,
        /// New mtime.
        #[n(4)]
        mtime: i64,
        /// New ctime.
        #[n(5)]
        ctime: i64,
    },
    /// Extents that replace whatever covers their ranges; inline content, if any, is dropped.
    #[n(9)]
    SetExtents {
        /// Inode.
        #[n(0)]
        ino: Ino,
        /// Size of the file.
        #[n(1)]
        size: u64,
        /// By offset, disjoint, at least one.
        #[n(2)]
        extents: Vec<Extent>,
        /// New mode bits.
        #[n(3)]
        mode: u16,
        /// New mtime.
        #[n(4)]
        mtime: i64,
        /// New ctime.
        #[n(5)]
        ctime: i64,
    },
    /// A range becomes a hole; the size stays.
    #[n(10)]
    Punch {
        /// Inode.
        #[n(0)]
        ino: Ino,
        /// Offset.
        #[n(1)]
        offset: u64,
        /// Length.
        #[n(2)]
        len: u64,
        /// When: mtime and ctime.
        #[n(3)]
        time: i64,
    },
    /// The extents of one range appear in another too (reflink). Ranges do not overlap.
    #[n(11)]
    Clone {
        /// From inode.
        #[n(0)]
        from: Ino,
        /// From offset.
        #[n(1)]
        from_offset: u64,
        /// To inode.
        #[n(2)]
        to: Ino,
        /// To offset.
        #[n(3)]
        to_offset: u64,
        /// Length.
        #[n(4)]
        len: u64,
        /// New size of the target.
        #[n(5)]
        size: u64,
        /// When: mtime and ctime of the target.
        #[n(6)]
        time: i64,
    },
    /// An orphan goes for good.
    #[n(12)]
    Purge {
        /// Inode.
        #[n(0)]
        ino: Ino,
    },
    /// Blocks of one object moved, unopened, to another. Extents that refer to a moved block follow it.
    #[n(13)]
    Relocate {
        /// Old object.
        #[n(0)]
        from: ObjectId,
        /// New object.
        #[n(1)]
        to: ObjectId,
        /// The files whose extents follow.
        #[n(2)]
        inos: Vec<Ino>,
        /// Old place, new place of each block moved, by old place.
        #[n(3)]
        places: Vec<(u32, u32)>,
    },
    /// Journal only, never in a commit: bytes written, kept in the journal until sealed into a block.
    #[n(14)]
    Write {
        /// Inode.
        #[n(0)]
        ino: Ino,
        /// Offset.
        #[n(1)]
        offset: u64,
        /// Bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        data: Vec<u8>,
        /// New mode bits.
        #[n(3)]
        mode: u16,
        /// When: mtime and ctime.
        #[n(4)]
        time: i64,
    },
    /// Journal only: what is in the journal from record `from` on was done on top of this commit. The operations that
    /// follow in this record, and in the others with the same `from` up to one with `last`, are all that no commit
    /// holds; they stand for everything before.
    #[n(15)]
    Based {
        /// The commit.
        #[n(0)]
        seq: u64,
        /// Number of the first record that says this.
        #[n(1)]
        from: u64,
        /// Whether this record is the last one.
        #[n(2)]
        last: bool,
    },
    /// The same bytes in other blocks: extents that replace whatever covers their ranges. Nothing else of the file changes.
    #[n(16)]
    Rewrite {
        /// Inode.
        #[n(0)]
        ino: Ino,
        /// By offset, disjoint, at least one, within the size.
        #[n(1)]
        extents: Vec<Extent>,
    },
    /// A snapshot is made, or goes.
    #[n(17)]
    SetSnapshot {
        /// Which.
        #[n(0)]
        id: SnapshotId,
        /// What it is; none: it goes.
        #[n(1)]
        snapshot: Option<Snapshot>,
    },
    /// These inodes are being removed from history: what came before this commit is going to be unreadable. Changes
    /// nothing in the map.
    #[n(18)]
    Expunge {
        /// Inodes, rising.
        #[n(0)]
        inos: Vec<Ino>,
    },
}

impl Op {
    /// Whether it stands in journals alone, never in a commit.
    pub fn is_local(&self) -> bool {
        matches!(self, Op::Write { .. } | Op::Based { .. })
    }

    /// Every inode that it is about.
    pub fn inodes_mut(&mut self) -> Vec<&mut Ino> {
        match self {
            Op::Create { folder, ino, .. }
            | Op::Link { folder, ino, .. }
            | Op::Unlink { folder, ino, .. } => vec![folder, ino],
            Op::Rename { from, to, ino, replaced, .. } => vec![from, to, ino, replaced],
            Op::Exchange { from, to, .. } | Op::Clone { from, to, .. } => vec![from, to],
            Op::SetAttributes { ino, .. }
            | Op::SetXattr { ino, .. }
            | Op::SetInline { ino, .. }
            | Op::SetExtents { ino, .. }
            | Op::Punch { ino, .. }
            | Op::Purge { ino }
            | Op::Write { ino, .. }
            | Op::Rewrite { ino, .. } => vec![ino],
            Op::Relocate { inos, .. } | Op::Expunge { inos } => inos.iter_mut().collect(),
            Op::Based { .. } | Op::SetSnapshot { .. } => Vec::new(),
        }
    }
}
