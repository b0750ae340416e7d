//! The mountpoint as typed: found, checked and recognised. Mounting and unmounting live in `platform/mount`.

use std::path::{Path, PathBuf};

use strongroom_mount::mountinfo::{self, MountEntry};
use strongroom_mount::{Error, ErrorKind, MountOptions};

use crate::exit::{Exit, Failure, Result};

/// The file system type of our mounts unless `-o subtype=` says otherwise.
pub const TYPE: &str = "fuse.strongroom";

/// The path as the mount table spells it.
///
/// # Errors
/// The folder above does not exist.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    mountinfo::resolve(path)
        .map_err(|error| Failure::io(format!("looking at mountpoint `{}`", path.display()), &error))
}

/// Makes sure that something can be mounted there, before anybody is asked for a passphrase.
///
/// # Errors
/// Missing, not a folder, not empty, or mounted already.
pub fn prepare(path: &Path, options: &MountOptions) -> Result<PathBuf> {
    strongroom_mount::prepare(path, options).map_err(|error| failure(path, &error))
}

/// Every mount on the machine, oldest first.
///
/// # Errors
/// `/proc` is not there.
pub fn mounts() -> Result<Vec<MountEntry>> {
    mountinfo::mounts().map_err(|error| Failure::io("reading the table of mounts", &error))
}

/// The topmost mount on exactly this path.
///
/// # Errors
/// As [`mounts`].
pub fn mounted_at(path: &Path) -> Result<Option<MountEntry>> {
    Ok(mounts()?.into_iter().rev().find(|entry| entry.mountpoint == path))
}

/// What mounting or unmounting said, with the mountpoint and its advice filled in.
pub fn failure(path: &Path, error: &Error) -> Failure {
    let shown = path.display().to_string();
    let exit = match error.kind() {
        ErrorKind::BadOption => Exit::Usage,
        ErrorKind::FuseMissing
        | ErrorKind::NotFound
        | ErrorKind::NotDirectory
        | ErrorKind::NotEmpty
        | ErrorKind::AlreadyMounted
        | ErrorKind::NotMounted
        | ErrorKind::Busy
        | ErrorKind::Denied
        | ErrorKind::Io => Exit::Failed,
    };
    let message = match error.kind() {
        ErrorKind::BadOption | ErrorKind::FuseMissing => error.to_string(),
        _ => format!("{error}: `{shown}`"),
    };
    let failure = Failure::new(exit, message);
    match error.advice() {
        Some(advice) => failure.hint(advice.replace("MOUNTPOINT", &shown)),
        None => failure,
    }
}
