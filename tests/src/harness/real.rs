//! Takes steps on a folder of the local file system, so that the model itself is held against something real.
//!
//! What a kernel decides before any filesystem is asked (following symlinks, what may have `user.` attributes) is
//! not compared: such steps are left out. Owners are mapped, for files belong to whoever runs the test.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    self as sys, AtFlags, CWD, FallocateFlags, Mode, OFlags, RenameFlags, XattrFlags,
};
use strongroom_workspace::door::{Access, AllocateMode, Kind, RenameMode, WriteMode, XattrMode};
use strongroom_workspace::error::ErrorKind;

use super::runner::{CALLER, Seen, Shown};
use super::step::{SLOT_COUNT, Step, fill_bytes};
use super::tree::{Node, Tree};

const PAGE_LEN: u64 = 4096;
/// Stands for user and group 0, which the test itself may be.
const OTHER: u32 = 7777;

/// A folder that is removed at the end.
pub struct Real {
    root: tempfile::TempDir,
    slots: [Option<(File, Access)>; SLOT_COUNT],
}

/// Whether this process may do what the steps ask for.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Real {
    /// An empty folder.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn new() -> io::Result<Self> {
        rustix::process::umask(Mode::empty());
        let root = tempfile::tempdir()?;
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))?;
        Ok(Self { root, slots: Default::default() })
    }

    /// Takes a step; nothing if it is not to be compared.
    pub fn take(&mut self, step: &Step) -> Option<Seen> {
        if self.is_left_out(step) {
            return None;
        }
        let seen = self.try_step(step);
        Some(seen.unwrap_or_else(|error| Seen::Refused(kind_of(&error))))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn is_left_out(&self, step: &Step) -> bool {
        let kind = |path: &str| fs::symlink_metadata(self.path(path)).ok().map(|m| kind(&m));
        let through_link = |path: &String| {
            Path::new(path)
                .ancestors()
                .skip(1)
                .any(|above| above.to_str().is_some_and(|above| kind(above) == Some(Kind::Symlink)))
        };
        let is = |path: &str, kinds: &[Kind]| kind(path).is_some_and(|kind| kinds.contains(&kind));
        let special = [Kind::Symlink, Kind::Fifo];
        if paths(step).into_iter().any(through_link) {
            return true;
        }
        match step {
            Step::RemoveFolder { path } => path.is_empty(),
            Step::Open { path, .. } => is(path, &[Kind::Symlink, Kind::Fifo, Kind::Folder]),
            Step::SetMode { path, .. } | Step::List { path, .. } => is(path, &[Kind::Symlink]),
            Step::ResizePath { path, .. }
            | Step::SetXattr { path, .. }
            | Step::Xattr { path, .. }
            | Step::XattrNames { path }
            | Step::RemoveXattr { path, .. } => is(path, &special),
            Step::Resize { slot, .. } => {
                self.slots[*slot].as_ref().is_some_and(|(_, access)| *access == Access::Read)
            }
            Step::Seek { .. } | Step::FindFolded { .. } => true,
            _ => false,
        }
    }

    fn stat(&self, path: &str) -> io::Result<Seen> {
        Ok(Seen::Attributes(shown(&fs::symlink_metadata(self.path(path))?)))
    }

    fn try_step(&mut self, step: &Step) -> io::Result<Seen> {
        match step {
            Step::Make { path, kind, mode } => {
                let (at, mode) = (self.path(path), Mode::from_raw_mode(u32::from(*mode)));
                match kind {
                    Kind::Folder => sys::mkdir(&at, mode)?,
                    Kind::Symlink => sys::symlink("to/nowhere", &at)?,
                    Kind::Fifo => sys::mknodat(CWD, &at, sys::FileType::Fifo, mode, 0)?,
                    _ => sys::mknodat(CWD, &at, sys::FileType::RegularFile, mode, 0)?,
                }
                self.stat(path)
            }
            Step::CreateOpen { path, mode, slot, access } => {
                let flags = flags(*access) | OFlags::CREATE | OFlags::EXCL;
                let file = self.open(path, flags, *mode)?;
                self.slots[*slot] = Some((file, *access));
                self.stat(path)
            }
            Step::Open { path, slot, access, truncate } => {
                let truncate = if *truncate { OFlags::TRUNC } else { OFlags::empty() };
                let file = self.open(path, flags(*access) | truncate, 0)?;
                self.slots[*slot] = Some((file, *access));
                Ok(Seen::Done)
            }
            Step::Link { from, to } => {
                sys::linkat(CWD, self.path(from), CWD, self.path(to), AtFlags::empty())?;
                self.stat(to)
            }
            Step::Unlink { path } => done(sys::unlink(self.path(path))),
            Step::RemoveFolder { path } => done(sys::rmdir(self.path(path))),
            Step::Rename { from, to, mode } => {
                let flags = match mode {
                    RenameMode::Replace => RenameFlags::empty(),
                    RenameMode::NoReplace => RenameFlags::NOREPLACE,
                    RenameMode::Exchange => RenameFlags::EXCHANGE,
                };
                done(sys::renameat_with(CWD, self.path(from), CWD, self.path(to), flags))
            }
            Step::Release { slot } => {
                self.slots[*slot] = None;
                Ok(Seen::Done)
            }
            Step::Reopen => {
                self.slots = Default::default();
                Ok(Seen::Done)
            }
            Step::Sync | Step::Commit | Step::Tick { .. } => Ok(Seen::Done),
            _ => self.try_path(step),
        }
    }

    fn open(&self, path: &str, flags: OFlags, mode: u16) -> io::Result<File> {
        let mode = Mode::from_raw_mode(u32::from(mode));
        Ok(sys::open(self.path(path), flags | OFlags::CLOEXEC, mode)?.into())
    }

    fn try_path(&mut self, step: &Step) -> io::Result<Seen> {
        match step {
            Step::Stat { path } => self.stat(path),
            Step::ResizePath { path, size } => {
                // truncate(2); a read-only standard call does not do it.
                let file = self.open(path, OFlags::WRONLY, 0)?;
                file.set_len(*size)?;
                self.stat(path)
            }
            Step::SetMode { path, mode } => {
                fs::set_permissions(self.path(path), mode_of(*mode))?;
                self.stat(path)
            }
            Step::SetOwner { path, uid, gid } => {
                let uid = to_real(*uid, rustix::process::geteuid().as_raw());
                let gid = to_real(*gid, rustix::process::getegid().as_raw());
                std::os::unix::fs::lchown(self.path(path), Some(uid), Some(gid))?;
                self.stat(path)
            }
            Step::SetTimes { path, time } => {
                let time = sys::Timespec {
                    tv_sec: time.div_euclid(1_000_000_000),
                    tv_nsec: time.rem_euclid(1_000_000_000) as _,
                };
                let times = sys::Timestamps { last_access: time, last_modification: time };
                sys::utimensat(CWD, self.path(path), &times, AtFlags::SYMLINK_NOFOLLOW)?;
                self.stat(path)
            }
            Step::SetXattr { path, name, len, fill, mode } => {
                let flags = match mode {
                    XattrMode::Either => XattrFlags::empty(),
                    XattrMode::CreateOnly => XattrFlags::CREATE,
                    XattrMode::ReplaceOnly => XattrFlags::REPLACE,
                };
                done(sys::lsetxattr(self.path(path), *name, &fill_bytes(*fill, *len), flags))
            }
            Step::Xattr { path, name } => Ok(Seen::Bytes(xattr(&self.path(path), name)?)),
            Step::XattrNames { path } => {
                let names = xattr_names(&self.path(path))?;
                Ok(Seen::Names(names.into_iter().map(|name| (name, None)).collect()))
            }
            Step::RemoveXattr { path, name } => done(sys::lremovexattr(self.path(path), *name)),
            Step::ReadLink { path } => {
                let target = fs::read_link(self.path(path))?;
                Ok(Seen::Bytes(target.as_os_str().as_bytes().to_vec()))
            }
            Step::List { path, .. } => {
                let mut names = Vec::new();
                for entry in fs::read_dir(self.path(path))? {
                    let entry = entry?;
                    let kind = kind(&entry.metadata()?);
                    names.push((entry.file_name().as_bytes().to_vec(), Some(kind)));
                }
                names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                Ok(Seen::Names(names))
            }
            _ => self.try_handle(step),
        }
    }

    fn try_handle(&mut self, step: &Step) -> io::Result<Seen> {
        let slot = match step {
            Step::Write { slot, .. }
            | Step::Read { slot, .. }
            | Step::Allocate { slot, .. }
            | Step::Resize { slot, .. }
            | Step::SetModeOpen { slot, .. }
            | Step::StatOpen { slot } => *slot,
            Step::Copy { from, to, .. } if self.slots[to.0].is_some() => from.0,
            Step::Copy { .. } => return Ok(Seen::NoHandle),
            other => unreachable!("{other:?} is taken elsewhere or left out"),
        };
        let Some((file, _)) = &self.slots[slot] else { return Ok(Seen::NoHandle) };
        match step {
            Step::Write { offset, len, fill, mode, .. } => {
                let at = match mode {
                    WriteMode::Append => file.metadata()?.len(),
                    WriteMode::At | WriteMode::WithinSize => *offset,
                };
                file.write_all_at(&fill_bytes(*fill, *len), at)?;
                Ok(Seen::Count(*len as u64))
            }
            Step::Read { offset, len, .. } => {
                let mut bytes = vec![0; *len as usize];
                let mut filled = 0;
                while filled < bytes.len() {
                    match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                        0 => break,
                        read => filled += read,
                    }
                }
                bytes.truncate(filled);
                Ok(Seen::Bytes(bytes))
            }
            Step::Allocate { mode, offset, len, .. } => {
                let flags = match mode {
                    AllocateMode::Extend => FallocateFlags::empty(),
                    AllocateMode::KeepSize => FallocateFlags::KEEP_SIZE,
                    AllocateMode::PunchHole => {
                        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE
                    }
                    AllocateMode::ZeroRange => FallocateFlags::ZERO_RANGE,
                    AllocateMode::ZeroRangeKeepSize => {
                        FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE
                    }
                };
                done(sys::fallocate(file, flags, *offset, *len))
            }
            Step::Resize { size, .. } => {
                file.set_len(*size)?;
                Ok(Seen::Attributes(shown(&file.metadata()?)))
            }
            Step::SetModeOpen { mode, .. } => {
                file.set_permissions(mode_of(*mode))?;
                Ok(Seen::Attributes(shown(&file.metadata()?)))
            }
            Step::Copy { from, to, len } => {
                let (target, _) = self.slots[to.0].as_ref().expect("looked at above");
                copy(file, from.1, target, to.1, *len)
            }
            _ => Ok(Seen::Attributes(shown(&file.metadata()?))),
        }
    }

    /// The whole folder as a tree.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn tree(&self) -> io::Result<Tree> {
        let mut paths = BTreeMap::new();
        self.add_paths("", &mut paths)?;
        let (mut firsts, mut tree) = (BTreeMap::new(), Tree::new());
        for (path, metadata) in paths {
            let first = firsts.entry(metadata.ino()).or_insert_with(|| path.clone()).clone();
            let at = self.path(path.trim_start_matches('/'));
            let kind = kind(&metadata);
            let node = Node {
                shown: shown(&metadata),
                times: [0; 4],
                content: match kind {
                    Kind::File if first == path => content(&at)?,
                    _ => BTreeMap::new(),
                },
                target: match kind {
                    Kind::Symlink => fs::read_link(&at)?.as_os_str().as_bytes().to_vec(),
                    _ => Vec::new(),
                },
                xattrs: match kind {
                    Kind::File | Kind::Folder => xattr_names(&at)?
                        .into_iter()
                        .map(|name| {
                            let text = String::from_utf8_lossy(&name).into_owned();
                            Ok((name, xattr(&at, &text)?))
                        })
                        .collect::<io::Result<_>>()?,
                    _ => Vec::new(),
                },
                first: first.into_bytes(),
            };
            tree.insert(path.into_bytes(), node);
        }
        Ok(tree)
    }

    fn add_paths(&self, path: &str, paths: &mut BTreeMap<String, Metadata>) -> io::Result<()> {
        let at = self.path(path.trim_start_matches('/'));
        let metadata = fs::symlink_metadata(&at)?;
        let is_folder = metadata.is_dir();
        paths.insert(path.to_owned(), metadata);
        if is_folder {
            for entry in fs::read_dir(&at)? {
                let name =
                    entry?.file_name().into_string().map_err(|_| io::ErrorKind::InvalidData)?;
                self.add_paths(&format!("{path}/{name}"), paths)?;
            }
        }
        Ok(())
    }
}

fn paths(step: &Step) -> Vec<&String> {
    match step {
        Step::Make { path, .. }
        | Step::CreateOpen { path, .. }
        | Step::Unlink { path }
        | Step::RemoveFolder { path }
        | Step::Open { path, .. }
        | Step::ResizePath { path, .. }
        | Step::SetMode { path, .. }
        | Step::SetOwner { path, .. }
        | Step::SetTimes { path, .. }
        | Step::SetXattr { path, .. }
        | Step::Xattr { path, .. }
        | Step::XattrNames { path }
        | Step::RemoveXattr { path, .. }
        | Step::Stat { path }
        | Step::FindFolded { path }
        | Step::ReadLink { path }
        | Step::List { path, .. } => vec![path],
        Step::Link { from, to } | Step::Rename { from, to, .. } => vec![from, to],
        _ => Vec::new(),
    }
}

fn copy(from: &File, from_offset: u64, to: &File, to_offset: u64, len: u64) -> io::Result<Seen> {
    // A copy within one file must not go on with what it made itself.
    let len = len.min(from.metadata()?.len().saturating_sub(from_offset));
    let (mut source, mut target, mut done) = (from_offset, to_offset, 0);
    loop {
        let left = usize::try_from(len - done).unwrap_or(usize::MAX);
        match sys::copy_file_range(from, Some(&mut source), to, Some(&mut target), left) {
            Ok(0) => return Ok(Seen::Count(done)),
            Ok(copied) => done += copied as u64,
            Err(error) => return Err(error.into()),
        }
        if done == len {
            return Ok(Seen::Count(done));
        }
    }
}

fn content(path: &Path) -> io::Result<BTreeMap<u64, Vec<u8>>> {
    let file: File = sys::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into();
    let (len, mut at, mut pages) = (file.metadata()?.len(), 0, BTreeMap::new());
    while at < len {
        at = match sys::seek(&file, sys::SeekFrom::Data(at)) {
            Ok(data) => data / PAGE_LEN * PAGE_LEN,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let mut page = vec![0; PAGE_LEN as usize];
        let read = file.read_at(&mut page, at)?;
        page.truncate(read);
        while page.last() == Some(&0) {
            page.pop();
        }
        if !page.is_empty() {
            pages.insert(at / PAGE_LEN, page);
        }
        at += PAGE_LEN;
    }
    Ok(pages)
}

fn xattr(path: &Path, name: &str) -> io::Result<Vec<u8>> {
    let mut value = vec![0; 64 << 10];
    let len = sys::lgetxattr(path, name, value.as_mut_slice())?;
    value.truncate(len);
    Ok(value)
}

fn xattr_names(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut list = vec![0_u8; 64 << 10];
    let len = sys::llistxattr(path, list.as_mut_slice())?;
    let names = list[..len].split(|byte| *byte == 0);
    let mut names: Vec<_> =
        names.filter(|name| name.starts_with(b"user.")).map(<[u8]>::to_vec).collect();
    names.sort_unstable();
    Ok(names)
}

fn flags(access: Access) -> OFlags {
    match access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::ReadWrite => OFlags::RDWR,
    }
}

fn mode_of(mode: u16) -> fs::Permissions {
    fs::Permissions::from_mode(u32::from(mode))
}

fn done(result: Result<(), rustix::io::Errno>) -> io::Result<Seen> {
    Ok(result.map(|()| Seen::Done)?)
}

fn kind(metadata: &Metadata) -> Kind {
    let of = metadata.file_type();
    match () {
        () if of.is_file() => Kind::File,
        () if of.is_dir() => Kind::Folder,
        () if of.is_symlink() => Kind::Symlink,
        () if of.is_fifo() => Kind::Fifo,
        () if of.is_socket() => Kind::Socket,
        () if of.is_char_device() => Kind::Char,
        () => Kind::Block,
    }
}

fn shown(metadata: &Metadata) -> Shown {
    let kind = kind(metadata);
    let sized = matches!(kind, Kind::File | Kind::Symlink);
    Shown {
        kind,
        mode: (metadata.mode() & 0o7777) as u16,
        uid: from_real(metadata.uid(), rustix::process::geteuid().as_raw(), CALLER.uid),
        gid: from_real(metadata.gid(), rustix::process::getegid().as_raw(), CALLER.gid),
        link_count: u32::try_from(metadata.nlink()).unwrap_or(u32::MAX),
        size: if sized { metadata.len() } else { 0 },
    }
}

fn to_real(id: u32, own: u32) -> u32 {
    match id {
        0 => OTHER,
        id if id == CALLER.uid => own,
        id => id,
    }
}

fn from_real(id: u32, own: u32, caller: u32) -> u32 {
    match id {
        id if id == own => caller,
        OTHER => 0,
        id => id,
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => ErrorKind::NotFound,
        Some(Errno::EXIST) => ErrorKind::Exists,
        Some(Errno::NOTDIR) => ErrorKind::NotDirectory,
        Some(Errno::ISDIR) => ErrorKind::IsDirectory,
        Some(Errno::NOTEMPTY) => ErrorKind::NotEmpty,
        Some(Errno::NAMETOOLONG) => ErrorKind::NameTooLong,
        Some(Errno::INVAL) => ErrorKind::Invalid,
        Some(Errno::NODATA) => ErrorKind::NoData,
        Some(Errno::BADF) => ErrorKind::BadHandle,
        Some(Errno::PERM) => ErrorKind::NotPermitted,
        Some(Errno::NOSPC) => ErrorKind::Full,
        _ => ErrorKind::Internal,
    }
}
