//! Steps: one call of a program each.

use strongroom_workspace::door::{
    Access, AllocateMode, Kind, RenameMode, SeekTarget, WriteMode, XattrMode,
};

/// Number of slots for open handles.
pub const SLOT_COUNT: usize = 6;

/// Path below the root: names joined by `/`, without one at the beginning.
pub type Path = String;

/// One call.
#[expect(missing_docs, reason = "fields are named like the arguments of the call")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new node that is no file opened at once.
    Make { path: Path, kind: Kind, mode: u16 },
    /// A new file, opened.
    CreateOpen { path: Path, mode: u16, slot: usize, access: Access },
    /// One more name.
    Link { from: Path, to: Path },
    /// A name goes.
    Unlink { path: Path },
    /// A folder goes.
    RemoveFolder { path: Path },
    /// A name moves.
    Rename { from: Path, to: Path, mode: RenameMode },
    /// A handle; what was in the slot is released first.
    Open { path: Path, slot: usize, access: Access, truncate: bool },
    /// Ends a handle.
    Release { slot: usize },
    /// Writes bytes that follow from `fill`.
    Write { slot: usize, offset: u64, len: usize, fill: u64, mode: WriteMode, drop_set_id: bool },
    /// Reads.
    Read { slot: usize, offset: u64, len: u32 },
    /// fallocate.
    Allocate { slot: usize, mode: AllocateMode, offset: u64, len: u64 },
    /// SEEK_DATA, SEEK_HOLE.
    Seek { slot: usize, target: SeekTarget, offset: u64 },
    /// copy_file_range.
    Copy { from: (usize, u64), to: (usize, u64), len: u64 },
    /// ftruncate.
    Resize { slot: usize, size: u64 },
    /// truncate.
    ResizePath { path: Path, size: u64 },
    /// chmod.
    SetMode { path: Path, mode: u16 },
    /// fchmod.
    SetModeOpen { slot: usize, mode: u16 },
    /// chown.
    SetOwner { path: Path, uid: u32, gid: u32 },
    /// utimensat.
    SetTimes { path: Path, time: i64 },
    /// setxattr; the value follows from `fill`.
    SetXattr { path: Path, name: &'static str, len: usize, fill: u64, mode: XattrMode },
    /// getxattr.
    Xattr { path: Path, name: &'static str },
    /// listxattr.
    XattrNames { path: Path },
    /// removexattr.
    RemoveXattr { path: Path, name: &'static str },
    /// stat.
    Stat { path: Path },
    /// fstat.
    StatOpen { slot: usize },
    /// A lookup that takes another spelling too.
    FindFolded { path: Path },
    /// readlink.
    ReadLink { path: Path },
    /// A listing, `page` entries at a time.
    List { path: Path, page: u32 },
    /// fsync.
    Sync,
    /// Everything to the store.
    Commit,
    /// Time goes by, and what is due is done.
    Tick { millis: u64 },
    /// The program ends in good order and starts again. Handles are gone.
    Reopen,
}

/// Bytes that follow from a number; hardly any is zero.
pub fn fill_bytes(fill: u64, len: usize) -> Vec<u8> {
    let mut chance = strongroom_host::sim::Chance::new(fill);
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend_from_slice(&(chance.next_u64() | 0x0101_0101_0101_0101).to_le_bytes());
    }
    out.truncate(len);
    out
}
