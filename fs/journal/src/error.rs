//! The error of this crate. Messages hold numbers and kinds, never what a record holds.

use std::fmt;
use std::io;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request makes no sense.
    Invalid,
    /// No space; nothing was written.
    Full,
    /// Files are damaged or belong to another device or key; run check.
    Corrupt,
    /// A write or sync failed: durability unknown, reopen.
    Poisoned,
    /// Written by a newer version.
    Unsupported,
    /// The machine refuses this user.
    Denied,
    /// The medium is read-only.
    ReadOnly,
    /// A bug, or a failure of the disk.
    Internal,
}

/// An error of the journal.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error. `message` holds numbers, sizes and kinds only.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into() }
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn io(what: &str, cause: &io::Error) -> Self {
        let kind = match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            _ => ErrorKind::Internal,
        };
        Error::new(kind, format!("{what}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<strongroom_format::error::Error> for Error {
    fn from(error: strongroom_format::error::Error) -> Self {
        let kind = match error.kind() {
            strongroom_format::error::ErrorKind::Corrupt => ErrorKind::Corrupt,
            strongroom_format::error::ErrorKind::Unsupported => ErrorKind::Unsupported,
            strongroom_format::error::ErrorKind::Invalid => ErrorKind::Invalid,
        };
        Error::new(kind, error.message())
    }
}
