//! Local disk: the only door to `std::fs` for journal, staging and the folder store.
//!
//! Durability as POSIX gives it and no more: a write lives in the page cache until `sync_data`;
//! a created, renamed or removed name lives there until `sync_folder` of its parent.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How [`Disk::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, reading only.
    Read,
    /// Existing file, reading and writing.
    Write,
    /// Created if missing, reading and writing; an existing one is kept as it is.
    Create,
    /// Must not exist yet (`AlreadyExists` otherwise); reading and writing.
    CreateNew,
}

/// Free and total bytes of the file system that holds a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes an unprivileged process may still take.
    pub free_bytes: u64,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskEntry {
    /// Name inside the folder; names that are not UTF-8 are not listed.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Length in bytes, 0 for folders.
    pub len: u64,
}

/// Where files are kept. Two implementors: the real one and the simulated one that can lose power.
pub trait Disk: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a regular file itself, for folders that others may write to: `InvalidInput` for a link, a pipe or whatever else
    /// lies there, and nobody is waited for.
    fn open_regular(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path, mode)
    }
    /// Renames over whatever is at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames; `AlreadyExists` if `to` is taken. Atomic: of several callers one wins.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives the file a second name; `AlreadyExists` if `to` is taken (the atomic create-new).
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder and its parents; fine if there already.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Names in a folder, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        self.list_page(path, None, usize::MAX)
    }
    /// The first `count_max` names after `after`, sorted by name. Cheaper than `list` in a large folder.
    fn list_page(
        &self,
        path: &Path,
        after: Option<&str>,
        count_max: usize,
    ) -> io::Result<Vec<DiskEntry>>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Space of the file system below `path`.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;
    /// Takes an exclusive lock on `path` (created if missing) for as long as the result lives; `WouldBlock` if
    /// another process or another caller in this one holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file. All calls take positions, so one handle serves many threads.
pub trait DiskFile: Send + Sync {
    /// Reads up to `out.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads `len` bytes into new memory; fewer only at the end of the file.
    fn read_new(&self, len: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut out = vec![0; len];
        let read = self.read_at(&mut out, offset)?;
        out.truncate(read);
        Ok(out)
    }
    /// Writes all of `data` at `offset`.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves disk space for the first `len` bytes and extends the file to that length if shorter.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Makes data and length durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Tells the machine that `sync_data` will follow, so that several files are written side by side. A hint.
    fn will_sync(&self) {}
    /// Forgets cached pages that are synced, so that reads show what the disk really has. After a failed sync
    /// a cache may hold what the disk does not. A hint.
    fn drop_cache(&self) {}
    /// Tells the machine whether reads are scattered, so that it reads no further than asked. A hint.
    fn expect_scattered(&self, _scattered: bool) {}
    /// Tells the machine that `[offset, offset + len)` will be read soon. A hint.
    fn will_read(&self, _offset: u64, _len: u64) {}
}

/// Creates a folder and its parents, durable on return; fine if there already.
pub fn create_folder_durably(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let is_missing = |folder: &&Path| {
        let listed = disk.list_page(folder, None, 0);
        listed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    disk.create_folder(path)?;
    for made in missing.iter().rev() {
        match made.parent() {
            Some(parent) if parent.as_os_str().is_empty() => disk.sync_folder(Path::new("."))?,
            Some(parent) => disk.sync_folder(parent)?,
            None => {}
        }
    }
    Ok(())
}

/// Reads a whole small file.
pub fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut out = vec![0; len];
    let read = file.read_at(&mut out, 0)?;
    out.truncate(read);
    Ok(out)
}

/// Writes a small file so that after a crash either the old or the new content is there:
/// temporary file, fdatasync, rename, sync of the folder. What lies at the temporary name, of a crash or of somebody else who
/// may write there, is removed and never written to: it may be another name of something else.
pub fn replace_file(disk: &dyn Disk, path: &Path, data: &[u8]) -> io::Result<()> {
    let folder: PathBuf = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let temporary = folder.join(name);
    let file = match disk.open(&temporary, OpenMode::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match disk.remove(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            disk.open(&temporary, OpenMode::CreateNew)?
        }
        opened => opened?,
    };
    file.write_at(data, 0)?;
    file.sync_data()?;
    drop(file);
    disk.rename(&temporary, path)?;
    disk.sync_folder(&folder)
}
