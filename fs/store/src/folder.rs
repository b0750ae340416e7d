//! A folder of the local disk as a store: the embedded default.
//!
//! ```text
//! ROOT/workspace
//! ROOT/organisation/<16 hex>   ROOT/device/<32 hex>   ROOT/log/<16 hex>   ROOT/checkpoint/<16 hex>
//! ROOT/object/<2 hex>/<32 hex>
//! ROOT/.tmp-<pid>-<n>          being written; swept when the store is opened for writing
//! ```
//!
//! Whatever has its final name is complete and was made durable before it got the name: temporary file,
//! fdatasync, rename, sync of the folder. All calls block and their futures are ready at the first poll.

mod handles;
mod names;

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_host::disk::{Disk, DiskFile, DiskSpace, OpenMode, create_folder_durably, read_all};

use crate::error::{Error, ErrorKind, Result};
use crate::key::{Family, Key};
use crate::{Body, Later, Listed, Put, Store, Uploaded, wanted};
use handles::Handles;

const TEMPORARY: &str = ".tmp-";
const COPY_LEN: usize = 1 << 20;
/// LIMIT: how often a put-if-absent starts anew when another process swept its temporary file or its folder.
const ATTEMPT_COUNT_MAX: u32 = 4;

/// Whether a store may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    ReadWrite,
    /// Gets and lists only; nothing on the disk is touched.
    ReadOnly,
}

/// A store in a folder. Several processes, even on several machines, may use one folder at once.
pub struct FolderStore {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    mode: Mode,
    handles: Handles,
    temporary_count: AtomicU64,
    /// Folders whose last sync failed: names that are seen in them may still be lost.
    unsure: Mutex<BTreeSet<PathBuf>>,
}

/// A body on its way: complete, under a name that is not yet the final one.
struct Staged {
    key: Key,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    len: u64,
    origin: Origin,
}

/// Whose file a staged body is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A temporary file of ours: goes if the put fails.
    Temporary,
    /// The caller's: stays. What it gets is a second name.
    Caller,
}

/// What to do when something has the final name already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Replace,
    Keep,
}

impl FolderStore {
    /// Makes an empty store. The folder may exist if nothing but the remains of an interrupted `create` is in it.
    ///
    /// # Errors
    /// `Exists` if anything else is there; `Invalid` if it is not a folder; `Denied`, `ReadOnly`, `Full`.
    pub fn create(disk: Arc<dyn Disk>, root: PathBuf) -> Result<Self> {
        let failed = |cause| Error::io("the store's folder cannot be made", cause);
        create_folder_durably(disk.as_ref(), &root).map_err(|cause| match cause.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                Error::new(ErrorKind::Invalid, "the store's place is not a folder")
            }
            _ => failed(cause),
        })?;
        for entry in disk.list(&root).map_err(failed)? {
            let ours = entry.name.starts_with(TEMPORARY)
                || entry.name == "lost+found"
                || Family::ALL.iter().any(|family| family.folder() == entry.name);
            if !ours {
                return Err(Error::new(ErrorKind::Exists, "the store's folder is not empty"));
            }
        }
        create_folders(disk.as_ref(), &root).map_err(failed)?;
        let store = FolderStore::over(disk, root, Mode::ReadWrite);
        store.sweep()?;
        Ok(store)
    }

    /// Opens a store that has a workspace in it.
    ///
    /// # Errors
    /// `NotFound` without a folder or a workspace in it; `Invalid` if it is not a folder; `Denied`; `ReadOnly`
    /// if the medium is and `mode` asks for more.
    pub fn open(disk: Arc<dyn Disk>, root: PathBuf, mode: Mode) -> Result<Self> {
        let store = FolderStore::over(disk, root, mode);
        let path = store.path(Key::Workspace);
        match store.disk.open(&path, OpenMode::Read) {
            Ok(_) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::NotFound, "no workspace is stored there"));
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotADirectory => {
                return Err(Error::new(ErrorKind::Invalid, "the store's place is not a folder"));
            }
            Err(cause) => return Err(Error::io("the store cannot be opened", cause)),
        }
        if mode == Mode::ReadWrite {
            store.check_writable()?;
            store.sweep()?;
            store.sync_names()?;
        }
        Ok(store)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn over(disk: Arc<dyn Disk>, root: PathBuf, mode: Mode) -> Self {
        let temporary_count = AtomicU64::new(0);
        let (handles, unsure) = Default::default();
        FolderStore { disk, root, mode, handles, temporary_count, unsure }
    }

    fn path(&self, key: Key) -> PathBuf {
        self.root.join(key.path())
    }

    fn folder_of(&self, key: Key) -> PathBuf {
        self.path(key).parent().map_or_else(|| self.root.clone(), Path::to_path_buf)
    }

    /// A store that cannot be written is refused now and not at the first commit.
    fn check_writable(&self) -> Result<()> {
        let (path, file) = self.temporary()?;
        drop(file);
        let removed = self.disk.remove(&path);
        // Another process that opens the store just now may have swept it.
        if is_not_found(&removed) {
            return Ok(());
        }
        removed.map_err(|cause| Error::io("the store cannot be written", cause))
    }

    /// Removes what interrupted puts left behind.
    fn sweep(&self) -> Result<()> {
        let failed = |cause| Error::io("temporary files cannot be swept", cause);
        for entry in self.disk.list(&self.root).map_err(failed)? {
            if entry.name.starts_with(TEMPORARY) && !entry.is_folder {
                match self.disk.remove(&self.root.join(entry.name)) {
                    Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                        return Err(failed(cause));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn need_write(&self) -> Result<()> {
        match self.mode {
            Mode::ReadWrite => Ok(()),
            Mode::ReadOnly => Err(Error::new(ErrorKind::ReadOnly, "the store is open read-only")),
        }
    }

    fn read(&self, key: Key, range: Option<Range<u64>>) -> Result<Bytes> {
        // A disk that cannot give back what it took is damage, whatever it says.
        let failed = |cause| match Error::io(format!("`{key}` cannot be read"), cause) {
            error if error.kind() == ErrorKind::Internal => error.with_kind(ErrorKind::Corrupt),
            error => error,
        };
        if !matches!(key, Key::Object(_)) {
            self.be_sure_of(key)?;
        }
        let file = self.file(key).map_err(|cause| self.not_opened(key, cause))?;
        let range = match range {
            Some(range) => range,
            None => 0..file.len().map_err(failed)?,
        };
        let wanted = usize::try_from(wanted(&range)?)
            .map_err(|_| Error::new(ErrorKind::Invalid, "a range is longer than memory"))?;
        refuse_absent(key, file.as_ref(), &range)?;
        if let Key::Object(id) = key {
            self.handles.will_read(id, &range);
        }
        let out = file.read_new(wanted, range.start).map_err(failed)?;
        if out.len() < wanted {
            return Err(too_short(key, range.start + out.len() as u64, range.end));
        }
        Ok(Bytes::from(out))
    }

    /// Why a file does not open. A disk that fails at everything knows nothing of what it was never given: damage is only
    /// what is listed there.
    fn not_opened(&self, key: Key, cause: io::Error) -> Error {
        let error = Error::io(format!("`{key}` cannot be opened"), cause);
        match error.kind() {
            ErrorKind::Internal | ErrorKind::Corrupt => {
                error.with_kind(match self.is_listed(key) {
                    true => ErrorKind::Corrupt,
                    false => ErrorKind::Internal,
                })
            }
            _ => error,
        }
    }

    fn file(&self, key: Key) -> io::Result<Arc<dyn DiskFile>> {
        let Key::Object(id) = key else {
            return self.disk.open(&self.path(key), OpenMode::Read);
        };
        if let Some(file) = self.handles.find(id) {
            return Ok(file);
        }
        let file = self.disk.open(&self.path(key), OpenMode::Read)?;
        self.handles.keep(id, Arc::clone(&file));
        Ok(file)
    }

    fn write_many(&self, bodies: &[(Key, Body)]) -> Result<Vec<Uploaded>> {
        self.need_write()?;
        self.need_place()?;
        let mut staged = Vec::with_capacity(bodies.len());
        let result = self.stage_all(bodies, &mut staged).and_then(|()| self.place_all(&staged));
        if result.is_err() {
            for body in staged.iter().filter(|body| body.origin == Origin::Temporary) {
                // The error that matters is already on its way; the next open sweeps.
                let _ = self.disk.remove(&body.path);
            }
        }
        result
    }

    fn stage_all(&self, bodies: &[(Key, Body)], staged: &mut Vec<Staged>) -> Result<()> {
        for (key, body) in bodies {
            let body = self.stage(*key, body)?;
            body.file.will_sync();
            staged.push(body);
        }
        for body in staged.iter() {
            sync(body)?;
        }
        Ok(())
    }

    /// ORDER: every file is durable before the first gets its name, every name before what it stands for goes elsewhere and
    /// before this returns.
    fn place_all(&self, staged: &[Staged]) -> Result<Vec<Uploaded>> {
        let (mut folders, mut superfluous) = (BTreeSet::new(), Vec::new());
        let mut uploaded = Vec::with_capacity(staged.len());
        for body in staged {
            let taken = match body.key {
                Key::Object(_) => Taken::Keep,
                _ => Taken::Replace,
            };
            superfluous.extend(self.place(body, taken)?);
            folders.insert(self.folder_of(body.key));
            uploaded.push(Uploaded { key: body.key, len: body.len });
        }
        for folder in &folders {
            self.sync_folder(folder)?;
        }
        superfluous.into_iter().for_each(|path| self.drop_staged(path));
        Ok(uploaded)
    }

    fn stage(&self, key: Key, body: &Body) -> Result<Staged> {
        let failed = |cause| Error::io(format!("`{key}` cannot be staged"), cause);
        match (body, key) {
            (Body::Bytes(bytes), _) => self.stage_bytes(key, bytes),
            (Body::File(path), Key::Object(_)) => {
                let file = self.disk.open(path, OpenMode::Write).map_err(failed)?;
                let len = file.len().map_err(failed)?;
                Ok(Staged { key, file, path: path.clone(), len, origin: Origin::Caller })
            }
            // A second name takes the place of nothing.
            (Body::File(path), _) => {
                let bytes = read_all(&*self.disk, path).map_err(failed)?;
                self.stage_bytes(key, &bytes)
            }
        }
    }

    fn stage_bytes(&self, key: Key, bytes: &[u8]) -> Result<Staged> {
        let (path, file) = self.temporary()?;
        let len = bytes.len() as u64;
        if let Err(cause) = file.write_at(bytes, 0) {
            let _ = self.disk.remove(&path);
            return Err(Error::io(format!("`{key}` cannot be written"), cause));
        }
        Ok(Staged { key, file, path, len, origin: Origin::Temporary })
    }

    fn temporary(&self) -> Result<(PathBuf, Arc<dyn DiskFile>)> {
        loop {
            let count = self.temporary_count.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join(format!("{TEMPORARY}{}-{count}", std::process::id()));
            match self.disk.open(&path, OpenMode::CreateNew) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(Error::io("the store cannot be written", cause)),
                Ok(file) => return Ok((path, file)),
            }
        }
    }

    /// Gives a staged body its name. Returns what is superfluous once that name is durable.
    fn place<'s>(&self, body: &'s Staged, taken: Taken) -> Result<Option<&'s Path>> {
        let to = self.path(body.key);
        let rename = |from: &Path| match taken {
            Taken::Replace => self.disk.rename(from, &to),
            Taken::Keep => self.disk.rename_new(from, &to),
        };
        let name = || match body.origin {
            Origin::Temporary => rename(&body.path),
            Origin::Caller => self.disk.hard_link(&body.path, &to),
        };
        let superfluous = Some(&*body.path).filter(|_| body.origin == Origin::Temporary);
        let mut result = name();
        if is_not_found(&result) {
            self.restore_folder(body.key)?;
            result = name();
        }
        // Still not found: another process swept the temporary file; its bytes are in the open one.
        if needs_copy(&result) || is_not_found(&result) {
            let copy = self.copy(body)?;
            result = rename(&copy);
            if result.is_ok() {
                return Ok(superfluous);
            }
            self.drop_staged(&copy);
        } else if let (Ok(()), Key::Object(id)) = (&result, body.key) {
            self.handles.keep(id, Arc::clone(&body.file));
        }
        match result {
            Ok(()) => Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                self.check_first(body)?;
                Ok(superfluous)
            }
            Err(cause) => Err(Error::io(format!("`{}` cannot be placed", body.key), cause)),
        }
    }

    /// A second put of an object: what was there first stays.
    fn check_first(&self, body: &Staged) -> Result<()> {
        let failed = |cause| Error::io(format!("`{}` cannot be compared", body.key), cause);
        let len = self.file(body.key).and_then(|file| file.len()).map_err(failed)?;
        if len != body.len {
            let text = format!("`{}` has {len} bytes, another version {}", body.key, body.len);
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok(())
    }

    /// What remains of a body that is stored otherwise; if it cannot go now, a later sweep takes it.
    fn drop_staged(&self, path: &Path) {
        let _ = self.disk.remove(path);
    }

    /// Folders without files get lost when a store is copied by tools that know files only.
    fn restore_folder(&self, key: Key) -> Result<()> {
        let failed = |cause| Error::io("a folder of the store cannot be made", cause);
        self.need_place()?;
        let folder = self.folder_of(key);
        self.disk.create_folder(&folder).map_err(failed)?;
        for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.root)) {
            self.sync_folder(above)?;
        }
        Ok(())
    }

    /// Copies a staged file that cannot have a second name; durable on return.
    fn copy(&self, body: &Staged) -> Result<PathBuf> {
        let (path, file) = self.temporary()?;
        let copied = copy_bytes(body, file.as_ref());
        if let Err(cause) = copied {
            self.drop_staged(&path);
            return Err(Error::io(format!("`{}` cannot be copied", body.key), cause));
        }
        Ok(path)
    }

    fn write_if_absent(&self, key: Key, bytes: &[u8]) -> Result<Put> {
        self.need_write()?;
        self.need_place()?;
        // The loser of most races is told without having written anything.
        let path = self.path(key);
        if self.disk.open(&path, OpenMode::Read).is_ok() {
            self.sync_folder(&self.folder_of(key))?;
            return Ok(Put::Exists);
        }
        let mut attempt = 1;
        loop {
            let body = self.stage_bytes(key, bytes)?;
            let placed = sync(&body).map(|()| self.disk.rename_new(&body.path, &path));
            let put = match placed {
                Ok(Ok(())) => Put::Created(Uploaded { key, len: body.len }),
                Ok(Err(cause)) if cause.kind() == io::ErrorKind::AlreadyExists => {
                    self.drop_staged(&body.path);
                    Put::Exists
                }
                Ok(Err(cause))
                    if cause.kind() == io::ErrorKind::NotFound && attempt < ATTEMPT_COUNT_MAX =>
                {
                    self.drop_staged(&body.path);
                    self.restore_folder(key)?;
                    attempt += 1;
                    continue;
                }
                Ok(Err(cause)) => {
                    self.drop_staged(&body.path);
                    return Err(Error::io(format!("`{key}` cannot be placed"), cause));
                }
                Err(error) => {
                    self.drop_staged(&body.path);
                    return Err(error);
                }
            };
            // The winner's name too must be durable before the loser builds on it.
            self.sync_folder(&self.folder_of(key))?;
            return Ok(put);
        }
    }

    fn remove(&self, key: Key) -> Result<()> {
        self.need_write()?;
        if let Key::Object(id) = key {
            self.handles.forget(id);
        }
        match self.disk.remove(&self.path(key)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("`{key}` cannot be deleted"), cause))
            }
            // It would be there again with the disk.
            Err(_) => self.need_place(),
            Ok(()) => Ok(()),
        }
    }
}

impl Store for FolderStore {
    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        Box::pin(std::future::ready(self.read(key, range)))
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        let uploaded = self.write_many(&[(key, body)]).map(|all| all[0]);
        Box::pin(std::future::ready(uploaded))
    }

    fn put_many<'a>(&'a self, bodies: Vec<(Key, Body)>) -> Later<'a, Vec<Uploaded>> {
        Box::pin(std::future::ready(self.write_many(&bodies)))
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        Box::pin(std::future::ready(self.write_if_absent(key, &bytes)))
    }

    fn list<'a>(&'a self, family: Family, after: Option<Key>) -> Later<'a, Vec<Listed>> {
        Box::pin(std::future::ready(self.names(family, after)))
    }

    fn delete<'a>(&'a self, key: Key) -> Later<'a, ()> {
        Box::pin(std::future::ready(self.remove(key)))
    }

    /// It is on this machine already.
    fn hold<'a>(&'a self, _key: Key, _range: Range<u64>) -> Later<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn space(&self) -> Option<DiskSpace> {
        self.disk.space(&self.root).ok()
    }

    fn will_read(&self, key: Key, range: Range<u64>) {
        // A hint: an object that cannot be opened says so at the get.
        if let Ok(file) = self.file(key) {
            file.will_read(range.start, range.end.saturating_sub(range.start));
        }
    }
}

fn create_folders(disk: &dyn Disk, root: &Path) -> io::Result<()> {
    for family in Family::ALL {
        disk.create_folder(&root.join(family.folder()))?;
    }
    // All of them at once, so that no put of an object has to make and sync one.
    let objects = root.join(Family::Object.folder());
    for prefix in 0..=u8::MAX {
        disk.create_folder(&objects.join(format!("{prefix:02x}")))?;
    }
    disk.sync_folder(&objects)?;
    disk.sync_folder(root)
}

fn is_not_found(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|cause| cause.kind() == io::ErrorKind::NotFound)
}

/// The file lies on another file system, or on one where files have one name.
fn needs_copy(result: &io::Result<()>) -> bool {
    use io::ErrorKind as K;
    result.as_ref().is_err_and(|cause| {
        let kinds = [
            K::CrossesDevices,
            K::PermissionDenied,
            K::Unsupported,
            K::InvalidInput,
            K::TooManyLinks,
        ];
        kinds.contains(&cause.kind())
    })
}

fn sync(body: &Staged) -> Result<()> {
    body.file
        .sync_data()
        .map_err(|cause| Error::io(format!("`{}` cannot be made durable", body.key), cause))
}

fn copy_bytes(body: &Staged, to: &dyn DiskFile) -> io::Result<()> {
    let mut buffer = vec![0; COPY_LEN];
    let mut offset = 0;
    while offset < body.len {
        let read = body.file.read_at(&mut buffer, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(&buffer[..read], offset)?;
        offset += read as u64;
    }
    to.sync_data()
}

/// Nothing much is allocated for a range that is not there.
fn refuse_absent(key: Key, file: &dyn DiskFile, range: &Range<u64>) -> Result<()> {
    if range.end - range.start > COPY_LEN as u64 {
        let len = file.len().map_err(|cause| Error::io(format!("`{key}`"), cause))?;
        if len < range.end {
            return Err(too_short(key, len, range.end));
        }
    }
    Ok(())
}

fn too_short(key: Key, len: u64, end: u64) -> Error {
    Error::new(ErrorKind::Corrupt, format!("`{key}` ends at {len}, {end} bytes were expected"))
}

#[cfg(test)]
mod tests;
