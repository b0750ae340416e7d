//! The machine's file system behind the [`Disk`] trait. Linux and other Unixes.
//!
//! Folders are made for the owner alone (0700), files too (0600). Calls block; an interrupted call is
//! repeated here and never seen above.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, FlockOperation, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::disk::{Disk, DiskEntry, DiskFile, DiskSpace, OpenMode};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// LIMIT: links one after the other, as the kernel has it.
const LINK_COUNT_MAX: usize = 40;

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// A file of the machine.
#[derive(Debug)]
pub struct RealFile {
    file: File,
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile { file: options(mode).open(path)? }))
    }

    fn open_regular(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let file = match options(mode).custom_flags(flags.cast_signed()).open(path) {
            Err(error) if is_irregular(&error) => return Err(io::ErrorKind::InvalidInput.into()),
            opened => opened?,
        };
        match file.metadata()?.is_file() {
            true => Ok(Arc::new(RealFile { file })),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, from, cwd, to, RenameFlags::NOREPLACE) {
            // File systems without the flag: a second name, then the first one goes.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                std::fs::hard_link(from, to)?;
                std::fs::remove_file(from)
            }
            result => Ok(result?),
        }
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn list_page(
        &self,
        path: &Path,
        after: Option<&str>,
        count_max: usize,
    ) -> io::Result<Vec<DiskEntry>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if after.is_none_or(|after| name.as_str() > after) {
                names.push(name);
            }
        }
        names.sort_unstable();
        names.truncate(count_max);
        names.into_iter().filter_map(|name| describe(path, name).transpose()).collect()
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let status = rustix::fs::statvfs(path)?;
        Ok(DiskSpace {
            total_bytes: status.f_blocks.saturating_mul(status.f_frsize),
            free_bytes: status.f_bavail.saturating_mul(status.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)?;
        // A lock of the open file, not of the process: a second caller in this process is refused too.
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            match self.file.read_at(&mut out[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn read_new(&self, len: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(len);
        while out.len() < len {
            let at = offset + out.len() as u64;
            match rustix::io::pread(&self.file, spare_capacity(&mut out), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The allocator may have given more than was asked for.
        out.truncate(len);
        Ok(out)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let flags = rustix::fs::FallocateFlags::empty();
        match rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.file, flags, 0, len)) {
            // File systems without it keep working, space then runs out at the write.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.len()? >= len => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.set_len(len),
            result => Ok(result?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn will_sync(&self) {
        start_write_back(&self.file);
    }

    fn drop_cache(&self) {
        // A hint, as below.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    fn expect_scattered(&self, scattered: bool) {
        let advice = if scattered { Advice::Random } else { Advice::Normal };
        let _ = rustix::fs::fadvise(&self.file, 0, None, advice);
    }

    fn will_read(&self, offset: u64, len: u64) {
        if let Some(len) = std::num::NonZeroU64::new(len) {
            // A hint: whether it was taken makes no difference to the caller.
            let _ = rustix::fs::fadvise(&self.file, offset, Some(len), Advice::WillNeed);
        }
    }
}

/// Where a file is that may be a link, also one to what is not there: a medium that is away. Who replaces a file replaces the
/// one that is meant, and not the link to it.
pub fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINK_COUNT_MAX {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = path.parent().map(|folder| folder.join(&target)).unwrap_or(target);
    }
    path
}

fn options(mode: OpenMode) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).mode(FILE_MODE);
    match mode {
        OpenMode::Read => &mut options,
        OpenMode::Write => options.write(true),
        OpenMode::Create => options.write(true).create(true).truncate(false),
        OpenMode::CreateNew => options.write(true).create_new(true),
    };
    options
}

/// Whether opening failed because a link, a socket, a device or a folder is there.
fn is_irregular(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::LOOP | Errno::NXIO | Errno::NODEV | Errno::ISDIR))
}

/// `None` if it went since it was listed.
fn describe(folder: &Path, name: String) -> io::Result<Option<DiskEntry>> {
    match std::fs::symlink_metadata(folder.join(&name)) {
        Ok(status) if status.is_dir() => Ok(Some(DiskEntry { name, is_folder: true, len: 0 })),
        Ok(status) => Ok(Some(DiskEntry { name, is_folder: false, len: status.len() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "sync_file_range has no safe wrapper")]
fn start_write_back(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: takes a valid descriptor and integers only. A hint, so the result does not matter.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(target_os = "linux"))]
fn start_write_back(_file: &File) {}
