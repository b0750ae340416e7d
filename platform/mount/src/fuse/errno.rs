//! Error kinds to errno. The only place in the project that knows errno values of the filesystem.

use fuser::Errno;
use strongroom_workspace::error::ErrorKind;

const NO_KEY: i32 = libc::ENOKEY;

/// The errno a caller sees.
pub fn errno(kind: ErrorKind) -> Errno {
    match kind {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::Exists => Errno::EEXIST,
        ErrorKind::NotDirectory => Errno::ENOTDIR,
        ErrorKind::IsDirectory => Errno::EISDIR,
        ErrorKind::NotEmpty => Errno::ENOTEMPTY,
        ErrorKind::NameTooLong => Errno::ENAMETOOLONG,
        ErrorKind::Invalid => Errno::EINVAL,
        ErrorKind::TooLarge => Errno::EFBIG,
        ErrorKind::TooManyLinks => Errno::EMLINK,
        ErrorKind::CrossesCompartments => Errno::EXDEV,
        ErrorKind::NoData | ErrorKind::Purged => Errno::ENODATA,
        ErrorKind::Range => Errno::ERANGE,
        ErrorKind::BadHandle => Errno::EBADF,
        ErrorKind::NotPermitted => Errno::EPERM,
        ErrorKind::ReadOnly => Errno::EROFS,
        ErrorKind::Denied => Errno::EACCES,
        ErrorKind::Locked => Errno::from_i32(NO_KEY),
        ErrorKind::Stale => Errno::ESTALE,
        ErrorKind::Conflict | ErrorKind::Busy => Errno::EBUSY,
        ErrorKind::Unavailable => Errno::EHOSTUNREACH,
        ErrorKind::Full => Errno::ENOSPC,
        ErrorKind::Unsupported => Errno::EOPNOTSUPP,
        ErrorKind::Corrupt | ErrorKind::Poisoned | ErrorKind::Internal => Errno::EIO,
    }
}

/// lseek says ENXIO where extended attributes say ENODATA.
pub(crate) fn seek_errno(errno: Errno) -> Errno {
    if errno == Errno::ENODATA { Errno::ENXIO } else { errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_and_doubt_are_eio() {
        for kind in [ErrorKind::Corrupt, ErrorKind::Poisoned, ErrorKind::Internal] {
            assert_eq!(errno(kind), Errno::EIO);
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        assert_eq!(errno(ErrorKind::Denied), Errno::EACCES);
        assert_eq!(errno(ErrorKind::ReadOnly), Errno::EROFS);
        assert_eq!(i32::from(errno(ErrorKind::Locked)), libc::ENOKEY);
        assert_eq!(errno(ErrorKind::Unavailable), Errno::EHOSTUNREACH);
    }

    #[test]
    fn seek_past_the_end_is_enxio() {
        assert_eq!(seek_errno(errno(ErrorKind::NoData)), Errno::ENXIO);
        assert_eq!(seek_errno(Errno::EBADF), Errno::EBADF);
    }
}
