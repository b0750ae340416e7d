//! An unencrypted passthrough over FUSE, for benchmarks only: what FUSE itself costs, with the kernel settings of our own
//! door (long lifetimes, kept pages, no writeback, several threads).
//!
//! `passthrough FOLDER MOUNTPOINT` serves in the foreground until unmounted. Inode numbers are those of the folder; a
//! node is remembered as name and parent, so that renaming a folder touches one record. It is no file system for use: no
//! extended attributes, no locks, and whoever changes the folder beside it is not noticed.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{
    DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, SessionACL, TimeOrNow, WriteFlags,
};
use parking_lot::{Mutex, RwLock};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

const LIFETIME: Duration = Duration::from_secs(3600);
const ROOT: u64 = 1;

fn main() -> io::Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [folder, mountpoint] = &arguments[..] else {
        return Err(io::Error::other("usage: passthrough FOLDER MOUNTPOINT"));
    };
    let mut config = Config::default();
    config.mount_options =
        vec![MountOption::FSName("passthrough".to_owned()), MountOption::DefaultPermissions];
    config.acl = SessionACL::Owner;
    config.n_threads = Some(4);
    config.clone_fd = true;
    fuser::mount(Passthrough::over(fs::canonicalize(folder)?), mountpoint, &config)
}

struct Passthrough {
    root: PathBuf,
    nodes: RwLock<HashMap<u64, Node>>,
    files: Mutex<HashMap<u64, Arc<File>>>,
    listings: Mutex<HashMap<u64, Arc<Vec<Listed>>>>,
    next: AtomicU64,
}

/// One name of an open folder.
struct Listed {
    name: OsString,
    ino: u64,
    kind: FileType,
}

struct Node {
    parent: u64,
    name: OsString,
}

impl Passthrough {
    fn over(root: PathBuf) -> Self {
        Self {
            root,
            nodes: RwLock::default(),
            files: Mutex::default(),
            listings: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    fn path(&self, ino: u64) -> io::Result<PathBuf> {
        let nodes = self.nodes.read();
        let mut names: Vec<&OsStr> = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let node = nodes.get(&at).ok_or(io::ErrorKind::NotFound)?;
            names.push(&node.name);
            at = node.parent;
        }
        let mut path = self.root.clone();
        path.extend(names.into_iter().rev());
        Ok(path)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        Ok(self.path(parent.0)?.join(name))
    }

    /// Looks at a child and remembers it.
    fn know(&self, parent: INodeNo, name: &OsStr, path: &Path) -> io::Result<FileAttr> {
        let found = fs::symlink_metadata(path)?;
        let node = Node { parent: parent.0, name: name.to_owned() };
        self.nodes.write().insert(found.ino(), node);
        Ok(attributes(&found, found.ino()))
    }

    fn attributes(&self, ino: u64) -> io::Result<FileAttr> {
        Ok(attributes(&fs::symlink_metadata(self.path(ino)?)?, ino))
    }

    fn keep(&self, file: File) -> FileHandle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.files.lock().insert(handle, Arc::new(file));
        FileHandle(handle)
    }

    fn file(&self, handle: FileHandle) -> io::Result<Arc<File>> {
        let found = self.files.lock().get(&handle.0).cloned();
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    /// The listing of an open folder, read once.
    fn listing(&self, ino: u64, handle: FileHandle) -> io::Result<Arc<Vec<Listed>>> {
        if let Some(listing) = self.listings.lock().get(&handle.0) {
            return Ok(listing.clone());
        }
        let mut listing = Vec::new();
        for entry in fs::read_dir(self.path(ino)?)? {
            let entry = entry?;
            let kind = kind(entry.file_type()?);
            listing.push(Listed { name: entry.file_name(), ino: entry.ino(), kind });
        }
        let listing = Arc::new(listing);
        self.listings.lock().insert(handle.0, listing.clone());
        Ok(listing)
    }
}

fn open_options(flags: i32) -> OpenOptions {
    let mut options = OpenOptions::new();
    let access = flags & libc::O_ACCMODE;
    options.read(access != libc::O_WRONLY).write(access != libc::O_RDONLY);
    options.custom_flags(flags & (libc::O_TRUNC | libc::O_SYNC | libc::O_DSYNC | libc::O_EXCL));
    options
}

fn attributes(found: &Metadata, ino: u64) -> FileAttr {
    let time = |seconds: i64, nanos: i64| -> SystemTime {
        let nanos = u32::try_from(nanos).unwrap_or_default();
        u64::try_from(seconds)
            .map_or(UNIX_EPOCH, |seconds| UNIX_EPOCH + Duration::new(seconds, nanos))
    };
    let changed = time(found.ctime(), found.ctime_nsec());
    FileAttr {
        ino: INodeNo(ino),
        size: found.size(),
        blocks: found.blocks(),
        atime: time(found.atime(), found.atime_nsec()),
        mtime: time(found.mtime(), found.mtime_nsec()),
        ctime: changed,
        crtime: changed,
        kind: kind(found.file_type()),
        perm: u16::try_from(found.permissions().mode() & 0o7777).unwrap_or_default(),
        nlink: u32::try_from(found.nlink()).unwrap_or(u32::MAX),
        uid: found.uid(),
        gid: found.gid(),
        rdev: u32::try_from(found.rdev()).unwrap_or_default(),
        blksize: 4096,
        flags: 0,
    }
}

fn kind(kind: fs::FileType) -> FileType {
    match kind {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_symlink() => FileType::Symlink,
        kind if kind.is_fifo() => FileType::NamedPipe,
        kind if kind.is_socket() => FileType::Socket,
        kind if kind.is_block_device() => FileType::BlockDevice,
        kind if kind.is_char_device() => FileType::CharDevice,
        _ => FileType::RegularFile,
    }
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    let special = |nanos| Timespec { tv_sec: 0, tv_nsec: nanos };
    match time {
        None => special(UTIME_OMIT),
        Some(TimeOrNow::Now) => special(UTIME_NOW),
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            Timespec { tv_sec: seconds, tv_nsec: since.subsec_nanos().into() }
        }
    }
}

fn entry(result: io::Result<FileAttr>, reply: ReplyEntry) {
    match result {
        Ok(attr) => reply.entry(&LIFETIME, &attr, Generation(0)),
        Err(error) => reply.error(error.into()),
    }
}

fn empty(result: io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}

impl Filesystem for Passthrough {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wanted in [
            InitFlags::FUSE_ASYNC_READ,
            InitFlags::FUSE_BIG_WRITES,
            InitFlags::FUSE_MAX_PAGES,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ] {
            // A kernel without one of them is slower, not wrong.
            let _ = config.add_capabilities(wanted);
        }
        let _ = config.set_max_write(1 << 20);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.child(parent, name).and_then(|path| self.know(parent, name, &path)), reply);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino.0) {
            Ok(attr) => reply.attr(&LIFETIME, &attr),
            Err(error) => reply.error(error.into()),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
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
        let change = || -> io::Result<FileAttr> {
            let path = self.path(ino.0)?;
            if uid.is_some() || gid.is_some() {
                std::os::unix::fs::lchown(&path, uid, gid)?;
            }
            if let Some(mode) = mode {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
            }
            if let Some(size) = size {
                OpenOptions::new().write(true).open(&path)?.set_len(size)?;
            }
            if atime.is_some() || mtime.is_some() {
                let times =
                    Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) };
                rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            self.attributes(ino.0)
        };
        match change() {
            Ok(attr) => reply.attr(&LIFETIME, &attr),
            Err(error) => reply.error(error.into()),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.path(ino.0).and_then(fs::read_link) {
            Ok(target) => reply.data(target.as_os_str().as_encoded_bytes()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let make = || -> io::Result<FileAttr> {
            let path = self.child(parent, name)?;
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
            self.know(parent, name, &path)
        };
        entry(make(), reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.child(parent, name).and_then(fs::remove_file), reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.child(parent, name).and_then(fs::remove_dir), reply);
    }

    fn symlink(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let make = || -> io::Result<FileAttr> {
            let path = self.child(parent, name)?;
            std::os::unix::fs::symlink(target, &path)?;
            self.know(parent, name, &path)
        };
        entry(make(), reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let change = || -> io::Result<()> {
            let (from, to) = (self.child(parent, name)?, self.child(newparent, newname)?);
            fs::rename(from, &to)?;
            self.know(newparent, newname, &to).map(drop)
        };
        empty(change(), reply);
    }

    fn link(
        &self,
        _req: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let make = || -> io::Result<FileAttr> {
            let path = self.child(newparent, newname)?;
            fs::hard_link(self.path(ino.0)?, &path)?;
            self.know(newparent, newname, &path)
        };
        entry(make(), reply);
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.path(ino.0).and_then(|path| open_options(flags.0).open(path)) {
            Ok(file) => reply
                .opened(self.keep(file), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH),
            Err(error) => reply.error(error.into()),
        }
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let make = || -> io::Result<(FileAttr, File)> {
            let path = self.child(parent, name)?;
            let file =
                open_options(flags).write(true).create(true).mode(mode & 0o7777).open(&path)?;
            Ok((self.know(parent, name, &path)?, file))
        };
        match make() {
            Ok((attr, file)) => reply.created(
                &LIFETIME,
                &attr,
                Generation(0),
                self.keep(file),
                FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH,
            ),
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut buffer = vec![0; size as usize];
        match self.file(fh).and_then(|file| read_full(&file, &mut buffer, offset)) {
            Ok(len) => reply.data(&buffer[..len]),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.file(fh).and_then(|file| file.write_all_at(data, offset)) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.files.lock().remove(&fh.0);
        reply.ok();
    }

    fn fsync(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let sync = |file: Arc<File>| if datasync { file.sync_data() } else { file.sync_all() };
        empty(self.file(fh).and_then(sync), reply);
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        empty(self.path(ino.0).and_then(File::open).and_then(|folder| folder.sync_all()), reply);
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        let flags = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
        reply.opened(FileHandle(handle), flags);
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.listings.lock().remove(&fh.0);
        reply.ok();
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listing = match self.listing(ino.0, fh) {
            Ok(listing) => listing,
            Err(error) => return reply.error(error.into()),
        };
        let rest = (1_u64..).zip(listing.iter()).skip_while(|(next, _)| *next <= offset);
        for (next, listed) in rest {
            if reply.add(INodeNo(listed.ino), next, listed.kind, &listed.name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let found = self.path(ino.0).and_then(|path| Ok((path, self.listing(ino.0, fh)?)));
        let (folder, listing) = match found {
            Ok(found) => found,
            Err(error) => return reply.error(error.into()),
        };
        let rest = (1_u64..).zip(listing.iter()).skip_while(|(next, _)| *next <= offset);
        for (next, listed) in rest {
            // A name that went away meanwhile is left out.
            let Ok(found) = fs::symlink_metadata(folder.join(&listed.name)) else { continue };
            let attr = attributes(&found, listed.ino);
            if reply.add(INodeNo(listed.ino), next, &listed.name, &LIFETIME, &attr, Generation(0)) {
                break;
            }
            let node = Node { parent: ino.0, name: listed.name.clone() };
            self.nodes.write().insert(listed.ino, node);
        }
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match rustix::fs::statvfs(&self.root) {
            Ok(found) => reply.statfs(
                found.f_blocks,
                found.f_bfree,
                found.f_bavail,
                found.f_files,
                found.f_ffree,
                4096,
                255,
                4096,
            ),
            Err(_) => reply.error(Errno::EIO),
        }
    }
}

/// Short only at the end of the file.
fn read_full(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match file.read_at(&mut out[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
