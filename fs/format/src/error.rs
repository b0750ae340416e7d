//! The error of this crate. Messages hold sizes and kinds only, never content.

use std::fmt;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The bytes are not what the format says: damaged, cut or forged.
    Corrupt,
    /// Written by a newer version.
    Unsupported,
    /// The caller asked for something the format cannot hold.
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
    /// Makes an error.
    pub const fn new(kind: ErrorKind, message: &'static str) -> Self {
        Self { kind, message }
    }

    pub(crate) const fn corrupt(message: &'static str) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    pub(crate) const fn invalid(message: &'static str) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence, without the kind.
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
