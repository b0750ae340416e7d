//! The error of this crate.

use std::fmt;

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The application key is not in custody.
    NotFound,
    /// There is a key of that id.
    Exists,
    /// Custody refuses this user.
    Denied,
    /// Custody cannot be reached or is in use; safe to retry.
    Unavailable,
    /// The wrap is not of this key, or changed.
    Corrupt,
    /// Correct the request.
    Invalid,
}

/// A refusal: kind and one log-safe sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: &'static str,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The key is not there.
    pub const MISSING_KEY: Self =
        Self::new(ErrorKind::NotFound, "the application key is not in custody");
    /// The key that is there is another one.
    pub const WRONG_KEY: Self =
        Self::new(ErrorKind::Corrupt, "the application key in custody does not open this keystore");

    /// Makes an error.
    pub const fn new(kind: ErrorKind, message: &'static str) -> Self {
        Self { kind, message }
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence.
    pub fn message(&self) -> &'static str {
        self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl std::error::Error for Error {}
