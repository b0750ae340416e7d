//! [`fuser::Filesystem`] over the core: parse the request, call, reply.
//!
//! Nothing is decided here but what the kernel's protocol leaves to a server: names too long for us, which
//! extended attributes exist at all, and who loses suid and sgid.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use strongroom_workspace::door::{
    Answer, Attributes, Core, Folding, Ino, Kind, NAME_LEN_MAX, NewNode, OpenOptions, Opened,
    RenameMode, SeekTarget, SetAttributes, SyncLevel, SyncScope, TARGET_LEN_MAX, WriteMode,
    XattrMode,
};
use strongroom_workspace::error::ErrorKind;

use super::answer::{Driver, Outcome, Patience, otherwise, wait};
use super::attributes::{
    allocate_mode, file_attr, ino, kind_of_mode, missing_attr, open_options, permission_bits,
    set_time,
};
use super::capabilities::negotiate;
use super::counts::{RequestCounts, RequestKind};
use super::errno::seek_errno;
use super::listing::{list_details, list_names};
use super::reply::{GENERATION, attr, empty, entry, open_flags, xattr};
use super::request::{XattrSpace, caller, handle, name_of};

/// Unit of `statfs`.
const SPACE_UNIT: u64 = 4096;
/// Most bytes copied by one COPY_FILE_RANGE; the caller asks again for the rest.
const COPY_LEN_MAX: u64 = 1 << 30;
/// Root may keep suid and sgid (CAP_FSETID) where the kernel does not tell.
const ROOT_UID: u32 = 0;

/// How long the kernel may believe us.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Entries and attributes.
    pub entry: Duration,
    /// Missing names.
    pub negative: Duration,
}

/// The door: one per mount.
pub struct Door {
    core: Arc<dyn Core>,
    driver: Driver,
    counts: Arc<RequestCounts>,
    lifetimes: Lifetimes,
    agreed: InitFlags,
    /// Set when the kernel has let go of the mount.
    ended: Arc<AtomicBool>,
}

impl Door {
    pub(crate) fn new(
        core: Arc<dyn Core>,
        driver: Driver,
        lifetimes: Lifetimes,
        counts: Arc<RequestCounts>,
        ended: Arc<AtomicBool>,
    ) -> Self {
        Self { core, driver, counts, lifetimes, agreed: InitFlags::empty(), ended }
    }

    fn settle<T: Send + 'static>(
        &self,
        answer: Answer<T>,
        reply: impl FnOnce(Outcome<T>) + Send + 'static,
    ) {
        self.driver.settle(answer, self.driver.patience(), reply);
    }

    fn count(&self, kind: RequestKind) {
        self.counts.add(kind);
    }

    fn make(&self, req: &Request, folder: INodeNo, name: &OsStr, node: NewNode, reply: ReplyEntry) {
        let answer = match name_of(name) {
            Ok(name) => self.core.create(caller(req), ino(folder), name, node),
            Err(refusal) => refusal.answer(),
        };
        self.settle(answer, entry(reply, self.lifetimes.entry));
    }

    fn sync(&self, node: INodeNo, reply: ReplyEmpty) {
        let answer = self.core.sync(SyncScope::Inode(ino(node)), SyncLevel::Local);
        self.driver.settle(answer, Patience::Unlimited, empty(reply));
    }
}

#[allow(clippy::too_many_arguments)]
impl Filesystem for Door {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        self.agreed = negotiate(config);
        Ok(())
    }

    fn destroy(&mut self) {
        self.ended.store(true, Ordering::Release);
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.count(RequestKind::Lookup);
        let answer = match name_of(name) {
            Ok(name) => self.core.lookup(ino(parent), name, Folding::Exact),
            Err(refusal) => refusal.answer(),
        };
        let lifetimes = self.lifetimes;
        self.settle(answer, move |outcome| match outcome {
            Ok(attributes) => reply.entry(&lifetimes.entry, &file_attr(&attributes), GENERATION),
            Err(Errno::ENOENT) => reply.entry(&lifetimes.negative, &missing_attr(), GENERATION),
            Err(errno) => reply.error(errno),
        });
    }

    // BATCH_FORGET arrives here too, one inode at a time: fuser keeps its type to itself.
    fn forget(&self, _req: &Request, node: INodeNo, count: u64) {
        self.count(RequestKind::Forget);
        self.core.forget(&[(ino(node), count)]);
    }

    fn getattr(&self, _req: &Request, node: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.count(RequestKind::Getattr);
        self.settle(self.core.attributes(ino(node)), attr(reply, self.lifetimes.entry));
    }

    fn setattr(
        &self,
        req: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.count(RequestKind::Setattr);
        // A change of owner clears the bits whoever makes it, a change of size unless root does.
        let owner_changes = uid.is_some() || gid.is_some();
        let changes = SetAttributes {
            mode: mode.map(permission_bits),
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            drop_set_id: owner_changes || (size.is_some() && req.uid() != ROOT_UID),
        };
        self.settle(
            self.core.set_attributes(ino(node), changes),
            attr(reply, self.lifetimes.entry),
        );
    }

    fn readlink(&self, _req: &Request, node: INodeNo, reply: ReplyData) {
        self.count(RequestKind::Readlink);
        self.settle(self.core.read_link(ino(node)), move |outcome| match outcome {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        });
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        self.count(RequestKind::Mknod);
        let Some(kind) = kind_of_mode(mode) else { return reply.error(Errno::EINVAL) };
        let rdev = if matches!(kind, Kind::Char | Kind::Block) { rdev } else { 0 };
        let node = NewNode { kind, mode: permission_bits(mode), rdev, target: Vec::new() };
        self.make(req, parent, name, node, reply);
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.count(RequestKind::Mkdir);
        let node = NewNode {
            kind: Kind::Folder,
            mode: permission_bits(mode),
            rdev: 0,
            target: Vec::new(),
        };
        self.make(req, parent, name, node, reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.count(RequestKind::Unlink);
        let answer = match name_of(name) {
            Ok(name) => self.core.unlink(ino(parent), name),
            Err(refusal) => refusal.answer(),
        };
        self.settle(answer, empty(reply));
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.count(RequestKind::Rmdir);
        let answer = match name_of(name) {
            Ok(name) => self.core.remove_folder(ino(parent), name),
            Err(refusal) => refusal.answer(),
        };
        self.settle(answer, empty(reply));
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        self.count(RequestKind::Symlink);
        let target = target.as_os_str().as_bytes();
        if target.len() > TARGET_LEN_MAX {
            return reply.error(Errno::ENAMETOOLONG);
        }
        let node = NewNode { kind: Kind::Symlink, mode: 0o777, rdev: 0, target: target.to_vec() };
        self.make(req, parent, name, node, reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.count(RequestKind::Rename);
        let mode = match flags {
            RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
            RenameFlags::RENAME_EXCHANGE => RenameMode::Exchange,
            flags if flags.is_empty() => RenameMode::Replace,
            _ => return reply.error(Errno::EINVAL),
        };
        let answer = match (name_of(name), name_of(new_name)) {
            (Ok(name), Ok(new_name)) => {
                self.core.rename((ino(parent), name), (ino(new_parent), new_name), mode)
            }
            (Err(refusal), _) | (_, Err(refusal)) => refusal.answer(),
        };
        self.settle(answer, empty(reply));
    }

    fn link(
        &self,
        _req: &Request,
        node: INodeNo,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
    ) {
        self.count(RequestKind::Link);
        let answer = match name_of(name) {
            Ok(name) => self.core.link(ino(node), ino(parent), name),
            Err(refusal) => refusal.answer(),
        };
        self.settle(answer, entry(reply, self.lifetimes.entry));
    }

    fn open(&self, req: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.count(RequestKind::Open);
        let options = open_options(flags, req.uid() != ROOT_UID);
        self.settle(self.core.open(ino(node), options), move |outcome| match outcome {
            Ok(opened) => reply.opened(FileHandle(opened.handle.0), open_flags(opened)),
            Err(errno) => reply.error(errno),
        });
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.count(RequestKind::Create);
        let options = open_options(OpenFlags(flags), req.uid() != ROOT_UID);
        let lifetime = self.lifetimes.entry;
        let answer = match name_of(name) {
            Ok(name) => {
                let mode = permission_bits(mode);
                let made = self.core.create_open(caller(req), ino(parent), name, mode, options);
                match flags & libc::O_EXCL {
                    0 => or_existing(&self.core, made, (ino(parent), name), options),
                    _ => made,
                }
            }
            Err(refusal) => refusal.answer(),
        };
        self.settle(answer, move |outcome| match outcome {
            Ok((attributes, opened)) => {
                let handle = FileHandle(opened.handle.0);
                reply.created(
                    &lifetime,
                    &file_attr(&attributes),
                    GENERATION,
                    handle,
                    open_flags(opened),
                );
            }
            Err(errno) => reply.error(errno),
        });
    }

    fn read(
        &self,
        _req: &Request,
        _node: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.count(RequestKind::Read);
        self.settle(self.core.read(handle(fh), offset, size), move |outcome| match outcome {
            Ok(data) => reply.data(&data),
            Err(errno) => reply.error(errno),
        });
    }

    fn write(
        &self,
        _req: &Request,
        _node: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.count(RequestKind::Write);
        // Pages of a shared mapping come without the opener's flags, and never extend the file: what they hold
        // beyond its end is not part of it.
        let paging = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let mode = match (paging, flags.0 & libc::O_APPEND) {
            (true, _) => WriteMode::WithinSize,
            (false, 0) => WriteMode::At,
            (false, _) => WriteMode::Append,
        };
        let drop_set_id = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let asked = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let answer = self.core.write(handle(fh), offset, data, mode, drop_set_id);
        self.settle(answer, move |outcome| match outcome {
            Ok(_) if paging => reply.written(asked),
            Ok(written) => reply.written(written),
            Err(errno) => reply.error(errno),
        });
    }

    fn flush(
        &self,
        _req: &Request,
        _node: INodeNo,
        fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.count(RequestKind::Flush);
        self.settle(self.core.flush(handle(fh)), empty(reply));
    }

    fn release(
        &self,
        _req: &Request,
        _node: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.count(RequestKind::Release);
        self.core.release(handle(fh));
        reply.ok();
    }

    fn fsync(
        &self,
        _req: &Request,
        node: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.count(RequestKind::Fsync);
        self.sync(node, reply);
    }

    fn opendir(&self, _req: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.count(RequestKind::Opendir);
        // Listings keep no state, so the kernel need not ask again, for any folder.
        if self.agreed.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT) {
            return reply.error(Errno::ENOSYS);
        }
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR);
    }

    fn readdir(
        &self,
        _req: &Request,
        node: INodeNo,
        _fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.count(RequestKind::Readdir);
        self.driver.drive(list_names(
            self.core.clone(),
            self.driver.clone(),
            (ino(node), offset),
            reply,
        ));
    }

    fn readdirplus(
        &self,
        _req: &Request,
        node: INodeNo,
        _fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.count(RequestKind::Readdirplus);
        self.driver.drive(list_details(
            self.core.clone(),
            self.driver.clone(),
            (ino(node), offset),
            self.lifetimes.entry,
            reply,
        ));
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        node: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.count(RequestKind::Fsyncdir);
        self.sync(node, reply);
    }

    fn statfs(&self, _req: &Request, _node: INodeNo, reply: ReplyStatfs) {
        self.count(RequestKind::Statfs);
        let space = self.core.space();
        let (total, free) = (space.total_bytes / SPACE_UNIT, space.free_bytes / SPACE_UNIT);
        let unit = SPACE_UNIT as u32;
        let name_len = NAME_LEN_MAX as u32;
        reply.statfs(
            total,
            free,
            free,
            space.total_inodes,
            space.free_inodes,
            unit,
            name_len,
            unit,
        );
    }

    fn setxattr(
        &self,
        _req: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.count(RequestKind::Setxattr);
        let mode = match flags {
            0 => XattrMode::Either,
            libc::XATTR_CREATE => XattrMode::CreateOnly,
            libc::XATTR_REPLACE => XattrMode::ReplaceOnly,
            _ => return reply.error(Errno::EINVAL),
        };
        if XattrSpace::of(name) != XattrSpace::User {
            return reply.error(Errno::EOPNOTSUPP);
        }
        self.settle(self.core.set_xattr(ino(node), name.as_bytes(), value, mode), empty(reply));
    }

    fn getxattr(&self, _req: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.count(RequestKind::Getxattr);
        match XattrSpace::of(name) {
            XattrSpace::User => {
                self.settle(self.core.xattr(ino(node), name.as_bytes()), xattr(reply, size));
            }
            XattrSpace::NeverSet => reply.error(Errno::NO_XATTR),
            XattrSpace::Unknown => reply.error(Errno::EOPNOTSUPP),
        }
    }

    fn listxattr(&self, _req: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        self.count(RequestKind::Listxattr);
        let reply = xattr(reply, size);
        self.settle(self.core.xattr_names(ino(node)), move |outcome| {
            reply(outcome.map(|names| names.into_iter().flat_map(with_zero).collect()));
        });
    }

    fn removexattr(&self, _req: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.count(RequestKind::Removexattr);
        match XattrSpace::of(name) {
            XattrSpace::User => {
                self.settle(self.core.remove_xattr(ino(node), name.as_bytes()), empty(reply));
            }
            XattrSpace::NeverSet => reply.error(Errno::NO_XATTR),
            XattrSpace::Unknown => reply.error(Errno::EOPNOTSUPP),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        _node: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.count(RequestKind::Fallocate);
        let Some(mode) = allocate_mode(mode) else { return reply.error(Errno::EOPNOTSUPP) };
        self.settle(self.core.allocate(handle(fh), mode, offset, length), empty(reply));
    }

    fn lseek(
        &self,
        _req: &Request,
        _node: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.count(RequestKind::Lseek);
        let target = match whence {
            libc::SEEK_DATA => SeekTarget::Data,
            libc::SEEK_HOLE => SeekTarget::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        self.settle(self.core.seek(handle(fh), target, offset), move |outcome| match outcome {
            Ok(found) => reply.offset(i64::try_from(found).unwrap_or(i64::MAX)),
            Err(errno) => reply.error(seek_errno(errno)),
        });
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        _node_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        _node_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.count(RequestKind::CopyFileRange);
        let len = len.min(COPY_LEN_MAX);
        let answer =
            self.core.copy_range((handle(fh_in), offset_in), (handle(fh_out), offset_out), len);
        self.settle(answer, move |outcome| match outcome {
            Ok(copied) => reply.written(u32::try_from(copied).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        });
    }
}

/// CREATE without O_EXCL of a name that appeared meanwhile opens what is there.
fn or_existing(
    core: &Arc<dyn Core>,
    made: Answer<(Attributes, Opened)>,
    (folder, name): (Ino, &[u8]),
    options: OpenOptions,
) -> Answer<(Attributes, Opened)> {
    let (core, name) = (core.clone(), name.to_vec());
    otherwise(made, ErrorKind::Exists, move || {
        Answer::Later(Box::pin(async move {
            // Whoever waits for all of it has the limit.
            let found = core.lookup(folder, &name, Folding::Exact);
            let found = wait(found, Patience::Unlimited).await?;
            match wait(core.open(found.ino, options), Patience::Unlimited).await {
                Ok(opened) => Ok((found, opened)),
                Err(error) => {
                    core.forget(&[(found.ino, 1)]);
                    Err(error)
                }
            }
        }))
    })
}

fn with_zero(mut name: Vec<u8>) -> Vec<u8> {
    name.push(0);
    name
}
