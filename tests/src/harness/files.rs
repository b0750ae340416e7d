//! Files by path, for tests that look at content: no handles, no steps.

use strongroom_workspace::door::{
    Access, Core, Folding, Ino, Kind, NewNode, OpenOptions, WriteMode,
};
use strongroom_workspace::error::{ErrorKind, Result};

use super::runner::{CALLER, done};

/// Reading and writing what is there.
pub const OPEN: OpenOptions = options(Access::ReadWrite, false);

/// How a file is opened.
pub const fn options(access: Access, truncate: bool) -> OpenOptions {
    OpenOptions { access, truncate, synchronous: false, drop_set_id: false }
}

/// The inode of a name in a folder; the folder itself where the name is empty.
///
/// # Errors
/// As the look-up.
pub fn find_in(core: &dyn Core, folder: Ino, name: &str) -> Result<Ino> {
    match name {
        "" => Ok(folder),
        name => done(core.lookup(folder, name.as_bytes(), Folding::Exact)).map(|found| found.ino),
    }
}

/// The inode at a path.
///
/// # Errors
/// As the look-up.
pub fn find(core: &dyn Core, path: &str) -> Result<Ino> {
    path.split('/').try_fold(Ino::ROOT, |folder, name| find_in(core, folder, name))
}

/// What was found; none if nothing is there. Who was not answered does not know that.
///
/// # Errors
/// As the look-up, but for a missing name.
pub fn if_there<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Folder and name of a path.
///
/// # Errors
/// As the look-up of the folder.
pub fn place_of<'p>(core: &dyn Core, path: &'p str) -> Result<(Ino, &'p str)> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    Ok((find(core, folder)?, name))
}

/// Makes a node in a folder that is there.
///
/// # Errors
/// As making it.
pub fn make(core: &dyn Core, path: &str, kind: Kind) -> Result<Ino> {
    let (folder, name) = place_of(core, path)?;
    let node = NewNode { kind, mode: 0o755, rdev: 0, target: Vec::new() };
    Ok(done(core.create(CALLER, folder, name.as_bytes(), node))?.ino)
}

/// Replaces the content of a file in a folder, made if it is not there.
///
/// # Errors
/// As the look-up, opening and writing.
pub fn save_in(core: &dyn Core, folder: Ino, name: &str, bytes: &[u8]) -> Result<()> {
    let ino = match if_there(find_in(core, folder, name))? {
        Some(ino) => ino,
        None => {
            let node = NewNode { kind: Kind::File, mode: 0o644, rdev: 0, target: Vec::new() };
            done(core.create(CALLER, folder, name.as_bytes(), node))?.ino
        }
    };
    write(core, ino, options(Access::ReadWrite, true), bytes)
}

/// Replaces the content of a file, made if it is not there.
///
/// # Errors
/// As the look-ups, opening and writing.
pub fn save(core: &dyn Core, path: &str, bytes: &[u8]) -> Result<()> {
    let (folder, name) = place_of(core, path)?;
    save_in(core, folder, name, bytes)
}

/// Writes from the start of a file, in one call.
///
/// # Errors
/// As opening and writing.
pub fn write(core: &dyn Core, ino: Ino, options: OpenOptions, bytes: &[u8]) -> Result<()> {
    let handle = done(core.open(ino, options))?.handle;
    let wrote = done(core.write(handle, 0, bytes, WriteMode::At, false));
    core.release(handle);
    wrote.map(drop)
}

/// All of a file, up to 1 MiB.
///
/// # Errors
/// As opening and reading.
pub fn read(core: &dyn Core, ino: Ino) -> Result<Vec<u8>> {
    let handle = done(core.open(ino, options(Access::Read, false)))?.handle;
    let bytes = done(core.read(handle, 0, 1 << 20));
    core.release(handle);
    bytes.map(|bytes| bytes.to_vec())
}

/// All of the file at a path, up to 1 MiB.
///
/// # Errors
/// As opening and reading.
pub fn load(core: &dyn Core, path: &str) -> Result<Vec<u8>> {
    read(core, find(core, path)?)
}
