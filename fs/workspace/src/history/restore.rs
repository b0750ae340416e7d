//! A path as it was, copied into the present. Bytes are read and written anew: an object that a commit let go of never comes
//! back. Names of one inode become files of their own; holes stay holes.

use strongroom_format::ids::Ino;
use strongroom_format::inode::Kind;

use super::at::At;
use super::versions::parts;
use crate::door::{
    Access, Answer, Attributes, Caller, Change, Core, FolderEntry, Folding, ListDetail, NewNode,
    OpenOptions, RenameMode, SeekTarget, SetAttributes, SetTime, WriteMode, XattrMode,
};
use crate::error::{Error, ErrorKind, Result};
use crate::workspace::Workspace;

/// Bytes copied at a time.
const CHUNK_LEN: u32 = 1 << 20;
/// Entries listed at a time.
const LIST_COUNT: u32 = 256;

impl Workspace {
    /// Copies what `path` was at some time to `to`, all of it in one step, or nothing. A file takes the place of a file that
    /// is there; a folder needs a name that is free.
    ///
    /// # Errors
    /// `NotFound` if there was no such path, or the state is not kept; `Exists`; `Purged`; those of reading and writing.
    pub fn restore(&self, path: &[u8], at: &At, to: &[u8]) -> Result<()> {
        self.0.writable()?;
        let past = self.at(at)?;
        let source = walk(&past, parts(path))?;
        let mut names: Vec<&[u8]> = parts(to).collect();
        let name = names.pop().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "the root itself is restored to another name")
        })?;
        let folder = walk(self, names.into_iter())?.ino;
        let mode = match settle(self.lookup(folder, name, Folding::Exact)) {
            Err(error) if error.kind() == ErrorKind::NotFound => RenameMode::NoReplace,
            Ok(there) if there.kind != Kind::Folder && source.kind != Kind::Folder => {
                RenameMode::Replace
            }
            Ok(_) => {
                return Err(Error::new(ErrorKind::Exists, "there is something of this name"));
            }
            Err(error) => return Err(error),
        };
        let beside = format!(".restored-{:016x}", source.ino.0).into_bytes();
        // ORDER: one after the other, or the second takes away what the first writes.
        let _restoring = self.0.restoring.lock();
        // Left by a process that ended on the way.
        remove(self, folder, &beside)?;
        let restored = copy(&past, &source, self, (folder, &beside))
            .and_then(|()| settle(self.rename((folder, &beside), (folder, name), mode)));
        if restored.is_err() {
            // Where this fails as well, the next one takes it away.
            drop(remove(self, folder, &beside));
        }
        let names = [name.to_vec(), beside].map(|name| Change::Name { folder, name });
        // Who looked while it was made saw a part of it.
        let made = settle(self.lookup(folder, name, Folding::Exact)).ok();
        let made = made.map(|made| Change::Inode { ino: made.ino, content: true });
        self.0.tell_kernel(names.into_iter().chain(made));
        restored
    }
}

fn walk<'n>(core: &Workspace, names: impl Iterator<Item = &'n [u8]>) -> Result<Attributes> {
    let mut found = settle(core.attributes(Ino::ROOT))?;
    for name in names {
        found = settle(core.lookup(found.ino, name, Folding::Exact))?;
    }
    Ok(found)
}

/// Takes away what has a name, with all that is in it; nothing if nothing has it.
fn remove(core: &Workspace, folder: Ino, name: &[u8]) -> Result<()> {
    let found = match settle(core.lookup(folder, name, Folding::Exact)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if found.kind != Kind::Folder {
        return settle(core.unlink(folder, name));
    }
    for_entries(core, found.ino, |entry| remove(core, found.ino, &entry.name))?;
    settle(core.remove_folder(folder, name))
}

fn copy(from: &Workspace, source: &Attributes, to: &Workspace, at: (Ino, &[u8])) -> Result<()> {
    let caller = Caller { uid: source.uid, gid: source.gid };
    let target = match source.kind {
        Kind::Symlink => settle(from.read_link(source.ino))?,
        _ => Vec::new(),
    };
    let node = NewNode { kind: source.kind, mode: source.mode, rdev: source.rdev, target };
    let made = settle(to.create(caller, at.0, at.1, node))?;
    match source.kind {
        Kind::File => copy_content(from, source, to, made.ino)?,
        Kind::Folder => copy_entries(from, source.ino, to, made.ino)?,
        Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Char | Kind::Block => {}
    }
    for name in settle(from.xattr_names(source.ino))? {
        let value = settle(from.xattr(source.ino, &name))?;
        settle(to.set_xattr(made.ino, &name, &value, XattrMode::Either))?;
    }
    let times = SetAttributes {
        mode: Some(source.mode),
        gid: Some(source.gid),
        atime: Some(SetTime::At(source.atime)),
        mtime: Some(SetTime::At(source.mtime)),
        ..SetAttributes::default()
    };
    settle(to.set_attributes(made.ino, times)).map(drop)
}

fn copy_entries(from: &Workspace, source: Ino, to: &Workspace, made: Ino) -> Result<()> {
    for_entries(from, source, |entry| {
        let attributes = settle(from.attributes(entry.ino))?;
        copy(from, &attributes, to, (made, &entry.name))
    })
}

fn for_entries(
    core: &Workspace,
    folder: Ino,
    mut take: impl FnMut(&FolderEntry) -> Result<()>,
) -> Result<()> {
    let mut cookie = 0;
    loop {
        let page = settle(core.read_folder(folder, cookie, LIST_COUNT, ListDetail::Attributes))?;
        let Some(last) = page.last() else { return Ok(()) };
        cookie = last.cookie;
        for entry in page.iter().filter(|entry| !matches!(&entry.name[..], b"." | b"..")) {
            take(entry)?;
        }
    }
}

fn copy_content(from: &Workspace, source: &Attributes, to: &Workspace, made: Ino) -> Result<()> {
    let options =
        |access| OpenOptions { access, truncate: false, synchronous: false, drop_set_id: false };
    let reading = settle(from.open(source.ino, options(Access::Read)))?.handle;
    let writing = settle(to.open(made, options(Access::Write)))?.handle;
    let copied = (|| {
        let mut at = 0;
        while at < source.size {
            at = match settle(from.seek(reading, SeekTarget::Data, at)) {
                Ok(data) => data,
                Err(error) if error.kind() == ErrorKind::NoData => break,
                Err(error) => return Err(error),
            };
            let bytes = settle(from.read(reading, at, CHUNK_LEN))?;
            if bytes.is_empty() {
                break;
            }
            settle(to.write(writing, at, &bytes, WriteMode::At, false))?;
            at += bytes.len() as u64;
        }
        let size = SetAttributes { size: Some(source.size), ..SetAttributes::default() };
        settle(to.set_attributes(made, size)).map(drop)
    })();
    from.release(reading);
    to.release(writing);
    copied
}

/// Waits for an answer on this thread.
pub(crate) fn settle<T>(answer: Answer<T>) -> Result<T> {
    answer.wait()
}
