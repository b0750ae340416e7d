//! What was mounted at a mountpoint, by the folder that the mountpoint is in: a folder above may get another name at any
//! moment, and the table of mounts then shows another path.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

/// A mountpoint before something is mounted there.
pub(crate) struct Site {
    folder: OwnedFd,
    name: OsString,
    /// Device number of what is there without it.
    before: Option<String>,
}

impl Site {
    /// Of a resolved path; none if it cannot be told apart from what will be mounted on it.
    pub(crate) fn new(mountpoint: &Path) -> Option<Self> {
        let (folder, name) = (mountpoint.parent()?, mountpoint.file_name()?.to_owned());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty()).ok()?;
        let mut site = Self { folder, name, before: None };
        site.before = Some(site.device()?);
        Some(site)
    }

    /// Device number of what has been mounted there since; none if nothing has.
    pub(crate) fn mounted(&self) -> Option<String> {
        self.device().filter(|device| self.before.as_ref() != Some(device))
    }

    /// `major:minor`. Asks no file system anything, so a mount that does not serve yet cannot block it.
    fn device(&self) -> Option<String> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let seen = rustix::fs::statx(&self.folder, &self.name, flags, StatxFlags::empty()).ok()?;
        Some(format!("{}:{}", seen.stx_dev_major, seen.stx_dev_minor))
    }
}
