//! Files by path, for tests that look at content: no handles, no steps.

use strongroom_workspace::door::{
    Access, Core, Folding, Ino, Kind, NewNode, OpenOptions, WriteMode,
};
use strongroom_workspace::error::Result;

use super::runner::{CALLER, done};

/// How a file is opened.
pub fn options(access: Access, truncate: bool) -> OpenOptions {
    OpenOptions { access, truncate, synchronous: false, drop_set_id: false }
}

/// The inode at a path.
///
/// # Errors
/// As the look-up.
pub fn find(core: &dyn Core, path: &str) -> Result<Ino> {
    path.split('/').filter(|name| !name.is_empty()).try_fold(Ino::ROOT, |folder, name| {
        done(core.lookup(folder, name.as_bytes(), Folding::Exact)).map(|found| found.ino)
    })
}

/// Makes a node in a folder that is there.
///
/// # Errors
/// As making it.
pub fn make(core: &dyn Core, path: &str, kind: Kind) -> Result<Ino> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let node = NewNode { kind, mode: 0o755, rdev: 0, target: Vec::new() };
    Ok(done(core.create(CALLER, find(core, folder)?, name.as_bytes(), node))?.ino)
}

/// Replaces the content of a file, made if it is not there.
///
/// # Errors
/// As opening and writing.
pub fn save(core: &dyn Core, path: &str, bytes: &[u8]) -> Result<()> {
    let ino = find(core, path).or_else(|_| make(core, path, Kind::File))?;
    let handle = done(core.open(ino, options(Access::ReadWrite, true)))?.handle;
    let wrote = done(core.write(handle, 0, bytes, WriteMode::At, false));
    core.release(handle);
    wrote.map(drop)
}

/// All of a file, up to 1 MiB.
///
/// # Errors
/// As opening and reading.
pub fn load(core: &dyn Core, path: &str) -> Result<Vec<u8>> {
    let handle = done(core.open(find(core, path)?, options(Access::Read, false)))?.handle;
    let bytes = done(core.read(handle, 0, 1 << 20));
    core.release(handle);
    bytes.map(|bytes| bytes.to_vec())
}
