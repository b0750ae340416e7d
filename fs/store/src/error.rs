//! The error of this crate. Store keys and lengths may be named, they say nothing about content.

use std::fmt;
use std::io;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nothing is stored under the key.
    NotFound,
    /// Something is stored there already.
    Exists,
    /// Opened read-only, or the medium is.
    ReadOnly,
    /// Cannot be reached; safe to retry.
    Unavailable,
    /// No space.
    Full,
    /// What is stored is shorter than it must be, or not what it claims to be.
    Corrupt,
    /// The request makes no sense.
    Invalid,
    /// The machine or the store refuses this user.
    Denied,
    /// Needs a newer version or another platform.
    Unsupported,
    /// A bug, or a failure of the disk.
    Internal,
}

/// An error of the store.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    cause: Option<io::Error>,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error. `message` holds keys, sizes and kinds only.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), cause: None }
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Wraps a failure of the disk; `what` says what was tried.
    pub(crate) fn io(what: impl Into<String>, cause: io::Error) -> Self {
        Error { kind: kind_of(&cause), message: what.into(), cause: Some(cause) }
    }
}

fn kind_of(cause: &io::Error) -> ErrorKind {
    match cause.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::Exists,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::Full
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => ErrorKind::Corrupt,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        io::ErrorKind::StaleNetworkFileHandle
        | io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NotConnected => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.cause {
            // The kind's text only: an operating system's message is safe, it never carries a path.
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}
