//! What the arguments of a request mean to the core.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{FileHandle, Request};
use strongroom_workspace::door::{Answer, Caller, HandleId, NAME_LEN_MAX};
use strongroom_workspace::error::ErrorKind;

use super::answer::refuse;

/// Which extended attributes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum XattrSpace {
    /// Kept by the core.
    User,
    /// Well-formed, but nothing ever has one.
    NeverSet,
    /// Not offered (ACLs among them).
    Unknown,
}

impl XattrSpace {
    pub(crate) fn of(name: &OsStr) -> Self {
        let name = name.as_bytes();
        match () {
            () if name.starts_with(b"user.") => Self::User,
            () if name.starts_with(b"security.") || name.starts_with(b"trusted.") => Self::NeverSet,
            () => Self::Unknown,
        }
    }
}

/// Why a name cannot exist.
pub(crate) struct NameRefusal;

impl NameRefusal {
    pub(crate) fn answer<T>(self) -> Answer<T> {
        refuse(ErrorKind::NameTooLong, "a name has more than 255 bytes")
    }
}

/// The kernel does not hold FUSE to NAME_MAX.
pub(crate) fn name_of(name: &OsStr) -> Result<&[u8], NameRefusal> {
    let name = name.as_bytes();
    if name.len() > NAME_LEN_MAX { Err(NameRefusal) } else { Ok(name) }
}

pub(crate) fn caller(req: &Request) -> Caller {
    Caller { uid: req.uid(), gid: req.gid() }
}

pub(crate) fn handle(fh: FileHandle) -> HandleId {
    HandleId(fh.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_over_255_bytes_are_refused() {
        let longest = "n".repeat(255);
        assert!(name_of(OsStr::new(&longest)).is_ok());
        assert!(name_of(OsStr::new(&format!("{longest}n"))).is_err());
    }

    #[test]
    fn only_user_attributes_are_kept() {
        assert_eq!(XattrSpace::of(OsStr::new("user.x")), XattrSpace::User);
        assert_eq!(XattrSpace::of(OsStr::new("security.capability")), XattrSpace::NeverSet);
        assert_eq!(XattrSpace::of(OsStr::new("trusted.overlay.opaque")), XattrSpace::NeverSet);
        assert_eq!(XattrSpace::of(OsStr::new("system.posix_acl_access")), XattrSpace::Unknown);
    }
}
