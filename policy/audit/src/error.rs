//! The error of this crate.

use std::fmt;

use strongroom_store::ErrorKind as StoreKind;

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no such log or entry.
    NotFound,
    /// Somebody else wrote meanwhile: read again and retry.
    Conflict,
    /// The log is older than, or another one than, this device has seen.
    Forked,
    /// The log is damaged or forged.
    Corrupt,
    /// Cannot be reached; safe to retry.
    Unavailable,
    /// No space.
    Full,
    /// The store may not be written.
    ReadOnly,
    /// The machine or the store refuses this user.
    Denied,
    /// Written by a newer version.
    Unsupported,
    /// A bug, or a failure of the disk.
    Internal,
}

/// A refusal: kind and one log-safe sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
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
        let kind = match error.kind() {
            StoreKind::NotFound => ErrorKind::NotFound,
            StoreKind::ReadOnly => ErrorKind::ReadOnly,
            StoreKind::Unavailable => ErrorKind::Unavailable,
            StoreKind::Full => ErrorKind::Full,
            StoreKind::Corrupt => ErrorKind::Corrupt,
            StoreKind::Denied => ErrorKind::Denied,
            StoreKind::Unsupported => ErrorKind::Unsupported,
            // What is replaced in place is another one by now.
            StoreKind::Exists => ErrorKind::Conflict,
            StoreKind::Invalid | StoreKind::Internal => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<strongroom_format::error::Error> for Error {
    fn from(error: strongroom_format::error::Error) -> Self {
        use strongroom_format::error::ErrorKind as K;
        let kind = match error.kind() {
            K::Corrupt | K::Invalid => ErrorKind::Corrupt,
            K::Unsupported => ErrorKind::Unsupported,
        };
        Self::new(kind, error.message())
    }
}
