//! The error of this crate: one kind that says what to do next, one sentence, no names or contents.

use std::fmt;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such name, inode or handle.
    NotFound,
    /// The name is taken.
    Exists,
    /// A folder was needed.
    NotDirectory,
    /// A folder was given where none may be.
    IsDirectory,
    /// The folder has entries.
    NotEmpty,
    /// Name or target too long.
    NameTooLong,
    /// The request makes no sense.
    Invalid,
    /// The file would pass the largest size.
    TooLarge,
    /// Too many links to one inode.
    TooManyLinks,
    /// Not possible across compartments.
    CrossesCompartments,
    /// No such extended attribute, or no data past this offset.
    NoData,
    /// The answer does not fit the caller's buffer.
    Range,
    /// The handle does not allow it.
    BadHandle,
    /// The operation is not permitted on this kind of node.
    NotPermitted,
    /// Opened read-only.
    ReadOnly,
    /// Ask who may grant.
    Denied,
    /// Unlock first.
    Locked,
    /// Reopen.
    Stale,
    /// Both versions were kept.
    Conflict,
    /// The store cannot be reached; safe to retry.
    Unavailable,
    /// No space.
    Full,
    /// Stored bytes fail verification or are missing; run check.
    Corrupt,
    /// A failed fsync: durability unknown, reopen.
    Poisoned,
    /// Needs a newer version or another platform.
    Unsupported,
    /// A bug.
    Internal,
}

/// An error: kind, one log-safe sentence, and the cause's text where it is log-safe.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error. `message` holds ids, sizes and kinds only.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
