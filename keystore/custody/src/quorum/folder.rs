//! Files of the folder where a quorum meets. Whoever else may write there may have put anything there: what is no regular file
//! of ours is read as nothing, is never written to and keeps nobody waiting.

use std::io::{self, ErrorKind as Io};
use std::path::Path;

use strongroom_host::disk::{DiskFile, OpenMode, replace_file};

use super::{Kept, Meeting};
use crate::{Error, ErrorKind, Result};

/// LIMIT: bytes of a file; the shares of eight holders take a third of it.
const FILE_LEN_MAX: u64 = 64 << 10;

impl Meeting {
    /// What lies at a path; empty for what is not ours.
    pub(super) fn find(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let opened = self.disk.open_regular(path, OpenMode::Read);
        match opened.and_then(|file| read(&*file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_strange(&error) => Ok(Some(Vec::new())),
            // A folder that is away is not a folder without keys.
            Err(error) if error.kind() == Io::NotFound => {
                self.disk.list(&self.folder).map_err(|error| io_error(&error))?;
                Ok(None)
            }
            Err(error) => Err(io_error(&error)),
        }
    }

    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        replace_file(&*self.disk, path, bytes).map_err(|error| io_error(&error))
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != Io::NotFound => Err(io_error(&error)),
            _ => Ok(()),
        }
    }

    /// Overwrites a key and removes it. Of what is no key only that name goes: it may have others.
    pub(super) fn shred(&self, path: &Path) -> Result<()> {
        let opened = self.disk.open_regular(path, OpenMode::Write);
        match opened.and_then(|file| overwrite(&*file)) {
            Err(error) if error.kind() != Io::NotFound && !is_strange(&error) => {
                return Err(io_error(&error));
            }
            _ => self.remove(path)?,
        }
        self.disk.sync_folder(&self.folder).map_err(|error| io_error(&error))
    }
}

fn read(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let len = file.len()?;
    if len > FILE_LEN_MAX {
        return Err(Io::FileTooLarge.into());
    }
    file.read_new(usize::try_from(len).unwrap_or_default(), 0)
}

/// What was read is what is overwritten, whatever happens to its name meanwhile.
fn overwrite(file: &dyn DiskFile) -> io::Result<()> {
    let bytes = read(file)?;
    if Kept::parse(&bytes).is_err() {
        return Ok(());
    }
    file.write_at(&vec![0; bytes.len()], 0)?;
    file.sync_data()
}

fn is_strange(error: &io::Error) -> bool {
    matches!(error.kind(), Io::InvalidInput | Io::FileTooLarge)
}

pub(super) fn io_error(error: &io::Error) -> Error {
    match error.kind() {
        Io::PermissionDenied => {
            Error::new(ErrorKind::Denied, "the folder of the quorum may not be read or written")
        }
        _ => Error::new(ErrorKind::Unavailable, "the folder of the quorum cannot be reached"),
    }
}
