//! Inodes, folder entries and extents: the values of the ordered map.

use minicbor::{Decode, Encode};
use strongroom_crypto::secret::BlockKey;

use crate::ids::{DeviceId, Digest, Ino, ObjectId};

/// Kind of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// Regular file.
    #[n(1)]
    File,
    /// Folder.
    #[n(2)]
    Folder,
    /// Symbolic link.
    #[n(3)]
    Symlink,
    /// Named pipe.
    #[n(4)]
    Fifo,
    /// Socket.
    #[n(5)]
    Socket,
    /// Character device.
    #[n(6)]
    Char,
    /// Block device.
    #[n(7)]
    Block,
}

/// Most extents an inode carries in itself; more go to `X` keys, all of them.
pub const EXTENTS_EMBEDDED_MAX: usize = 4;
/// Most bytes of content an inode carries in itself.
pub const INLINE_LEN_MAX: usize = 1024;
/// Most bytes of extended attribute names and values together per inode.
pub const XATTR_BYTES_MAX: usize = 8192;

/// What an inode holds beside its attributes.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum Content {
    /// Nothing: empty file, hole, folder, fifo, socket or device.
    #[n(0)]
    Empty,
    /// The first bytes of the file, at most [`INLINE_LEN_MAX`]; the rest up to the size is hole.
    #[n(1)]
    Inline(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Target of a symlink.
    #[n(2)]
    Target(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// One to [`EXTENTS_EMBEDDED_MAX`] extents, by offset, disjoint.
    #[n(3)]
    Extents(#[n(0)] Vec<Extent>),
    /// The extents are `X` keys of the map.
    #[n(4)]
    Mapped,
    /// What it held was removed from history. Only in the checkpoints of snapshots.
    #[n(5)]
    Purged,
}

/// One extended attribute.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Xattr {
    /// Full name, `user.` included.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Value.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// An inode as stored under `I · ino`. Times are nanoseconds since 1970.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Inode {
    /// Kind.
    #[n(0)]
    pub kind: Kind,
    /// Permission bits, `0o7777`.
    #[n(1)]
    pub mode: u16,
    /// Owner.
    #[n(2)]
    pub uid: u32,
    /// Group.
    #[n(3)]
    pub gid: u32,
    /// Number of names; folders: 2 + number of sub-folders. 0 for an orphan.
    #[n(4)]
    pub link_count: u32,
    /// Size in bytes (folders 0).
    #[n(5)]
    pub size: u64,
    /// Bytes of blocks the extents refer to (for `st_blocks`).
    #[n(6)]
    pub allocated: u64,
    /// Content modified.
    #[n(7)]
    pub mtime: i64,
    /// Content or attributes changed.
    #[n(8)]
    pub ctime: i64,
    /// Accessed, as last set.
    #[n(9)]
    pub atime: i64,
    /// Born.
    #[n(10)]
    pub btime: i64,
    /// Device number of `Char` and `Block`, else 0.
    #[n(11)]
    pub rdev: u32,
    /// Parent folder. The root's is itself; of a node with several names, a folder where one of them was made or moved to.
    #[n(12)]
    pub parent: Ino,
    /// Content.
    #[n(13)]
    pub content: Content,
    /// Extended attributes by name.
    #[n(14)]
    pub xattrs: Vec<Xattr>,
}

impl Inode {
    /// A node that was just made: one name, no content, no extended attributes.
    pub fn new(kind: Kind, mode: u16, (uid, gid): (u32, u32), parent: Ino, time: i64) -> Self {
        Self {
            kind,
            mode,
            uid,
            gid,
            link_count: if kind == Kind::Folder { 2 } else { 1 },
            size: 0,
            allocated: 0,
            mtime: time,
            ctime: time,
            atime: time,
            btime: time,
            rdev: 0,
            parent,
            content: Content::Empty,
            xattrs: Vec::new(),
        }
    }
}

/// A folder entry as stored under `D · folder · hash · slot`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Exact name, 1 to 255 bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Inode.
    #[n(1)]
    pub ino: Ino,
    /// Kind, so that listings need no inode.
    #[n(2)]
    pub kind: Kind,
}

/// This range of the file is that part of that block.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Extent {
    /// Offset in the file.
    #[n(0)]
    pub offset: u64,
    /// Bytes of the file, at least 1.
    #[n(1)]
    pub len: u32,
    /// Object that holds the block.
    #[n(2)]
    pub object: ObjectId,
    /// Position of the block in the object.
    #[n(3)]
    pub place: u32,
    /// Plaintext length of the block, 1 to 1 MiB.
    #[n(4)]
    pub block_len: u32,
    /// Where in the block the range begins.
    #[n(5)]
    pub block_offset: u32,
    /// The block's own key.
    #[n(6)]
    pub key: BlockKey,
    /// BLAKE3-256 of the block's header part.
    #[n(7)]
    pub header_hash: Digest,
}

/// Longest name of a snapshot in bytes.
pub const SNAPSHOT_NAME_LEN_MAX: usize = 64;

/// A commit that collection leaves readable, as stored under its key. The checkpoint of that commit stays with it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Snapshot {
    /// Name, 1 to [`SNAPSHOT_NAME_LEN_MAX`] bytes.
    #[n(0)]
    pub name: String,
    /// The commit.
    #[n(1)]
    pub seq: u64,
    /// SHA-256 of its header.
    #[n(2)]
    pub head: Digest,
    /// When it was made, nanoseconds since 1970.
    #[n(3)]
    pub time: i64,
    /// Device that made it.
    #[n(4)]
    pub device: DeviceId,
}

/// Live bytes of a data object, as stored under `O · object`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ObjectUse {
    /// Bytes of file ranges that extents refer to, counted per reference.
    #[n(0)]
    pub live_bytes: u64,
    /// Number of extents that refer to it.
    #[n(1)]
    pub references: u64,
    /// Length of the object as stored.
    #[n(2)]
    pub stored_len: u64,
}
