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
    /// In use by another process; end it first.
    Busy,
    /// Reopen.
    Stale,
    /// Both versions were kept.
    Conflict,
    /// The store cannot be reached; safe to retry.
    Unavailable,
    /// No space.
    Full,
    /// It was removed from history for good.
    Purged,
    /// Stored bytes fail verification or are missing; run check.
    Corrupt,
    /// A failed fsync: durability unknown, reopen.
    Poisoned,
    /// Needs a newer version or another platform.
    Unsupported,
    /// A bug.
    Internal,
}

impl ErrorKind {
    /// All of them, in an order that is one program's own.
    pub const ALL: [ErrorKind; 27] = [
        ErrorKind::NotFound,
        ErrorKind::Exists,
        ErrorKind::NotDirectory,
        ErrorKind::IsDirectory,
        ErrorKind::NotEmpty,
        ErrorKind::NameTooLong,
        ErrorKind::Invalid,
        ErrorKind::TooLarge,
        ErrorKind::TooManyLinks,
        ErrorKind::CrossesCompartments,
        ErrorKind::NoData,
        ErrorKind::Range,
        ErrorKind::BadHandle,
        ErrorKind::NotPermitted,
        ErrorKind::ReadOnly,
        ErrorKind::Denied,
        ErrorKind::Locked,
        ErrorKind::Busy,
        ErrorKind::Stale,
        ErrorKind::Conflict,
        ErrorKind::Unavailable,
        ErrorKind::Full,
        ErrorKind::Purged,
        ErrorKind::Corrupt,
        ErrorKind::Poisoned,
        ErrorKind::Unsupported,
        ErrorKind::Internal,
    ];
}

/// An error: kind, one log-safe sentence, and the cause's text where it is log-safe.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    is_fork: bool,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error. `message` holds ids, sizes and kinds only.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), is_fork: false }
    }

    /// The same, said of a history that goes on from another one than this device saw.
    pub(crate) fn of_a_fork(self) -> Self {
        Self { is_fork: true, ..self }
    }

    /// Whether the store shows different things to different devices: nothing that is missing for its age.
    pub(crate) fn is_fork(&self) -> bool {
        self.is_fork
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

impl From<strongroom_store::Error> for Error {
    fn from(error: strongroom_store::Error) -> Self {
        use strongroom_store::ErrorKind as Store;
        let kind = match error.kind() {
            Store::NotFound => ErrorKind::NotFound,
            Store::Exists => ErrorKind::Exists,
            Store::ReadOnly => ErrorKind::ReadOnly,
            Store::Unavailable => ErrorKind::Unavailable,
            Store::Full => ErrorKind::Full,
            Store::Corrupt => ErrorKind::Corrupt,
            Store::Invalid | Store::Internal => ErrorKind::Internal,
            Store::Denied => ErrorKind::Denied,
            Store::Unsupported => ErrorKind::Unsupported,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<strongroom_format::error::Error> for Error {
    fn from(error: strongroom_format::error::Error) -> Self {
        use strongroom_format::error::ErrorKind as Format;
        let kind = match error.kind() {
            Format::Corrupt => ErrorKind::Corrupt,
            Format::Unsupported => ErrorKind::Unsupported,
            Format::Invalid => ErrorKind::Invalid,
        };
        Self::new(kind, error.message())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::StorageFull | Io::QuotaExceeded => ErrorKind::Full,
            Io::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            Io::PermissionDenied => ErrorKind::Denied,
            Io::WouldBlock => ErrorKind::Busy,
            _ => ErrorKind::Internal,
        };
        // The system's own words carry no path.
        Self::new(kind, format!("local disk: {error}"))
    }
}

impl From<strongroom_journal::Error> for Error {
    fn from(error: strongroom_journal::Error) -> Self {
        use strongroom_journal::ErrorKind as Journal;
        let kind = match error.kind() {
            Journal::Invalid | Journal::Internal => ErrorKind::Internal,
            Journal::Full => ErrorKind::Full,
            Journal::Corrupt => ErrorKind::Corrupt,
            Journal::Poisoned => ErrorKind::Poisoned,
            Journal::Unsupported => ErrorKind::Unsupported,
            Journal::Denied => ErrorKind::Denied,
            Journal::ReadOnly => ErrorKind::ReadOnly,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<strongroom_keyring::error::Error> for Error {
    fn from(error: strongroom_keyring::error::Error) -> Self {
        use strongroom_keyring::error::ErrorKind as Keyring;
        let kind = match error.kind() {
            Keyring::Locked => ErrorKind::Locked,
            Keyring::Corrupt => ErrorKind::Corrupt,
            Keyring::Unsupported => ErrorKind::Unsupported,
            Keyring::Invalid => ErrorKind::Invalid,
            Keyring::Denied => ErrorKind::Denied,
        };
        Self::new(kind, error.message())
    }
}
