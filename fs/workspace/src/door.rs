//! The trait between a kernel door (`platform/mount`: FUSE, WinFsp) and the filesystem.
//!
//! Inode based, with own types for names, times, attributes and errors: nothing of libc, fuser or
//! Windows. Every call answers [`Answer::Ready`] when it needs nothing but memory and local work, else
//! [`Answer::Later`] with a future or [`Answer::Blocking`] with work; the FUSE door replies on the spot or spawns, the
//! WinFsp door walks paths with [`Folding::Folded`] lookups and waits on a thread of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::Result;
pub use strongroom_format::ids::Ino;

/// A future that a door may run on any thread.
pub type Later<T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'static>>;

/// Work that blocks the thread that does it for as long as the store takes.
pub type Blocking<T> = Box<dyn FnOnce() -> Result<T> + Send + 'static>;

/// What a call gives back.
pub enum Answer<T> {
    /// The result is here.
    Ready(Result<T>),
    /// The result needs the store or a wait; drive the future to get it. No poll of it blocks.
    Later(Later<T>),
    /// The result needs a commit or other work of many steps; do it on a thread that nobody else waits for.
    Blocking(Blocking<T>),
}

impl<T> Answer<T> {
    /// Brings the result on this thread, which may wait.
    ///
    /// # Errors
    /// That of the call.
    pub fn wait(self) -> Result<T> {
        match self {
            Answer::Ready(result) => result,
            Answer::Later(later) => crate::later::wait(later),
            Answer::Blocking(work) => work(),
        }
    }
}

/// Longest name in bytes.
pub const NAME_LEN_MAX: usize = 255;
/// Longest symlink target in bytes.
pub const TARGET_LEN_MAX: usize = 4095;
/// Largest file: offsets stay below 2^63 - 1.
pub const FILE_SIZE_MAX: u64 = (1 << 62) - 1;

/// Nanoseconds since 1970-01-01T00:00:00Z.
pub type TimeNs = i64;

/// An open file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandleId(pub u64);

/// Who asks, as far as the kernel says. Permission checks are the kernel's (`default_permissions`); the core
/// uses this for ownership of new nodes and for clearing suid and sgid.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// How a name is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folding {
    /// Byte for byte (Linux).
    Exact,
    /// After NFC and full case folding (Windows, macOS); an exact match wins.
    Folded,
}

/// Kind of node.
pub use strongroom_format::inode::Kind;

/// Attributes of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Inode number.
    pub ino: Ino,
    /// Kind.
    pub kind: Kind,
    /// Permission bits with suid, sgid and sticky: `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names (folders: 2 + number of sub-folders).
    pub link_count: u32,
    /// Size in bytes.
    pub size: u64,
    /// Allocated 512-byte units.
    pub blocks: u64,
    /// Device number for character and block nodes.
    pub rdev: u32,
    /// Last access as last set or created.
    pub atime: TimeNs,
    /// Last modification of the content.
    pub mtime: TimeNs,
    /// Last change of content or attributes.
    pub ctime: TimeNs,
    /// Birth.
    pub btime: TimeNs,
}

/// A node to make. `mode` has the umask applied already.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// Kind.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
    /// Device number for `Char` and `Block`.
    pub rdev: u32,
    /// Target bytes for `Symlink`, else empty.
    pub target: Vec<u8>,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// To the core's clock.
    Now,
    /// To this.
    At(TimeNs),
}

/// Attributes to set; `None` keeps. The core sets `ctime` itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttributes {
    /// Permission bits.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Truncates or extends with a hole.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<SetTime>,
    /// Modification time.
    pub mtime: Option<SetTime>,
    /// Whether a size or owner change clears suid, and sgid where the group may execute, of a node that is no
    /// folder.
    pub drop_set_id: bool,
}

/// What a handle may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Both.
    ReadWrite,
}

/// Options of [`Core::open`].
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// What the handle may do.
    pub access: Access,
    /// Empties the file in the same step.
    pub truncate: bool,
    /// O_SYNC, O_DSYNC: every write is durable when it returns.
    pub synchronous: bool,
    /// Whether the caller lacks the privilege to keep suid and sgid when `truncate` empties the file, and when the
    /// handle allocates or copies.
    pub drop_set_id: bool,
}

/// A freshly opened handle.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// The handle.
    pub handle: HandleId,
    /// Whether pages the kernel already has for this inode are current.
    pub keep_cache: bool,
    /// Whether [`Core::flush`] shall be called when a descriptor of it is closed.
    pub tells_close: bool,
}

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// At the given offset, extending the file as needed.
    At,
    /// At the end, whatever the offset says (O_APPEND).
    Append,
    /// At the offset, but never past the present size (paging I/O).
    WithinSize,
}

/// What [`Core::allocate`] does with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocateMode {
    /// Makes sure the file is at least that long (sparse; nothing is reserved in the store).
    Extend,
    /// Checks space only; size stays.
    KeepSize,
    /// Turns the range into a hole; size stays.
    PunchHole,
    /// Zeros the range, extending the file.
    ZeroRange,
    /// Zeros the range; size stays.
    ZeroRangeKeepSize,
}

/// What [`Core::seek`] looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTarget {
    /// Next byte that is data.
    Data,
    /// Next byte that is a hole; the end of the file is one.
    Hole,
}

/// Flags of [`Core::rename`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Replaces what is at the target.
    Replace,
    /// Fails with `Exists` if the target is taken.
    NoReplace,
    /// Swaps the two names.
    Exchange,
}

/// Condition of [`Core::set_xattr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Create or replace.
    Either,
    /// Must not exist.
    CreateOnly,
    /// Must exist.
    ReplaceOnly,
}

/// What [`Core::sync`] covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncScope {
    /// One file or folder.
    Inode(Ino),
    /// Everything in the workspace.
    All,
}

/// How far [`Core::sync`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncLevel {
    /// Survives power loss on this device.
    Local,
    /// Committed to the store.
    Remote,
}

/// One entry of a folder listing.
#[derive(Clone, Debug)]
pub struct FolderEntry {
    /// Name; `.` and `..` come first with cookies 1 and 2.
    pub name: Vec<u8>,
    /// Inode.
    pub ino: Ino,
    /// Kind.
    pub kind: Kind,
    /// Position after this entry, to continue from. Below 2^63.
    pub cookie: u64,
    /// Attributes, when asked for.
    pub attributes: Option<Attributes>,
}

/// Whether a listing carries attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListDetail {
    /// Names, inodes, kinds.
    Names,
    /// Attributes too.
    Attributes,
}

/// Room in the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes free.
    pub free_bytes: u64,
    /// Inodes in all.
    pub total_inodes: u64,
    /// Inodes free.
    pub free_inodes: u64,
}

/// Something that changed without the kernel having asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Attributes, and content when `content` says so.
    Inode {
        /// Which.
        ino: Ino,
        /// Whether cached pages are stale too.
        content: bool,
    },
    /// A name in a folder.
    Name {
        /// The folder.
        folder: Ino,
        /// The name.
        name: Vec<u8>,
    },
    /// Nothing; dropped once the kernel has been told of everything before it.
    Mark(Mark),
}

/// Among changes: tells whoever waits that the ones before it have been told, or that nobody listens any more.
#[derive(Clone, Debug)]
pub struct Mark(Arc<Passed>);

/// Ready once its [`Mark`] is gone.
#[derive(Debug)]
pub struct Passing(Arc<Mutex<Passage>>);

#[derive(Debug)]
struct Passed(Arc<Mutex<Passage>>);

#[derive(Debug, Default)]
struct Passage {
    is_done: bool,
    waker: Option<Waker>,
}

impl Mark {
    /// A mark, and what waits for it.
    pub fn new() -> (Self, Passing) {
        let passage = Arc::<Mutex<Passage>>::default();
        (Self(Arc::new(Passed(Arc::clone(&passage)))), Passing(passage))
    }
}

impl Passing {
    /// Whether its mark is gone.
    pub fn is_past(&self) -> bool {
        self.0.lock().is_done
    }
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Mark {}

impl Drop for Passed {
    fn drop(&mut self) {
        let mut passage = self.0.lock();
        passage.is_done = true;
        if let Some(waker) = passage.waker.take() {
            waker.wake();
        }
    }
}

impl Future for Passing {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut passage = self.0.lock();
        if passage.is_done {
            return Poll::Ready(());
        }
        passage.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// The filesystem as a kernel door calls it. Lookup counts: `lookup`, `create`, `create_open`, `link` and
/// `remember` raise the count of the inode they return by one; `forget` lowers it.
pub trait Core: Send + Sync + 'static {
    /// Finds a name in a folder. Answers `NotFound` if there is none.
    fn lookup(&self, folder: Ino, name: &[u8], folding: Folding) -> Answer<Attributes>;
    /// Lowers lookup counts; each pair is (inode, by how much).
    fn forget(&self, counts: &[(Ino, u64)]);
    /// Raises the lookup count of inodes that a listing handed to the kernel.
    fn remember(&self, inos: &[Ino]);
    /// Reads attributes.
    fn attributes(&self, ino: Ino) -> Answer<Attributes>;
    /// Changes attributes in one step and returns the new ones.
    fn set_attributes(&self, ino: Ino, changes: SetAttributes) -> Answer<Attributes>;
    /// Reads a symlink's target.
    fn read_link(&self, ino: Ino) -> Answer<Vec<u8>>;
    /// Makes a node. A folder with sgid gives its group, and sgid to sub-folders.
    fn create(&self, caller: Caller, folder: Ino, name: &[u8], node: NewNode)
    -> Answer<Attributes>;
    /// Makes a regular file and opens it in one step. An existing name answers `Exists`.
    fn create_open(
        &self,
        caller: Caller,
        folder: Ino,
        name: &[u8],
        mode: u16,
        options: OpenOptions,
    ) -> Answer<(Attributes, Opened)>;
    /// Gives a file one more name.
    fn link(&self, ino: Ino, folder: Ino, name: &[u8]) -> Answer<Attributes>;
    /// Removes a name that is not a folder's. Open handles keep the file.
    fn unlink(&self, folder: Ino, name: &[u8]) -> Answer<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, folder: Ino, name: &[u8]) -> Answer<()>;
    /// Moves a name.
    fn rename(&self, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Answer<()>;
    /// Opens a regular file.
    fn open(&self, ino: Ino, options: OpenOptions) -> Answer<Opened>;
    /// A descriptor of a handle that asked for it is closed: what this answers is what `close` returns.
    fn flush(&self, _handle: HandleId) -> Answer<()> {
        Answer::Ready(Ok(()))
    }
    /// Ends a handle.
    fn release(&self, handle: HandleId);
    /// Reads up to `len` bytes; fewer only at the end of the file.
    fn read(&self, handle: HandleId, offset: u64, len: u32) -> Answer<Bytes>;
    /// Writes. `drop_set_id` says the writer lacks the privilege to keep suid and sgid.
    /// Returns the count written, which is all of `data` except under `WithinSize`.
    fn write(
        &self,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        mode: WriteMode,
        drop_set_id: bool,
    ) -> Answer<u32>;
    /// fallocate.
    fn allocate(&self, handle: HandleId, mode: AllocateMode, offset: u64, len: u64) -> Answer<()>;
    /// SEEK_DATA, SEEK_HOLE. `NoData` past the end.
    fn seek(&self, handle: HandleId, target: SeekTarget, offset: u64) -> Answer<u64>;
    /// Copies a range between files by reference where possible; returns the bytes copied.
    fn copy_range(&self, from: (HandleId, u64), to: (HandleId, u64), len: u64) -> Answer<u64>;
    /// Lists a folder from a cookie (0 = start) on; at most `count_max` entries. Does not count lookups. An
    /// empty result is the end.
    fn read_folder(
        &self,
        folder: Ino,
        cookie: u64,
        count_max: u32,
        detail: ListDetail,
    ) -> Answer<Vec<FolderEntry>>;
    /// Reads an extended attribute. `NoData` if there is none.
    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Vec<u8>>;
    /// Names of the extended attributes.
    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>>;
    /// Sets an extended attribute.
    fn set_xattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Answer<()>;
    /// Removes an extended attribute. `NoData` if there is none.
    fn remove_xattr(&self, ino: Ino, name: &[u8]) -> Answer<()>;
    /// Makes changes durable.
    fn sync(&self, scope: SyncScope, level: SyncLevel) -> Answer<()>;
    /// Room left; answers from memory.
    fn space(&self) -> Space;
    /// Hands over the receiver of changes to be told to the kernel. The first caller gets it.
    fn changes(&self) -> Option<std::sync::mpsc::Receiver<Change>>;
}
