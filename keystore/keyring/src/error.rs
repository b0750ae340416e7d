//! The error of this crate.

use std::fmt;

use strongroom_format::error::ErrorKind as FormatKind;

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Unlock: the passphrase does not open the device file.
    Locked,
    /// The bytes are not what was sealed or signed; run a check.
    Corrupt,
    /// Written by a newer version.
    Unsupported,
    /// Correct the request.
    Invalid,
    /// This device does not count: ask somebody whose device does.
    Denied,
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
    pub(crate) const fn locked() -> Self {
        // One sentence for a wrong passphrase and for changed sealed bytes: they look the same.
        Self::new(ErrorKind::Locked, "the passphrase does not open the device file")
    }

    pub(crate) const fn corrupt(message: &'static str) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    pub(crate) const fn unsupported(message: &'static str) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub(crate) const fn invalid(message: &'static str) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) const fn denied(message: &'static str) -> Self {
        Self::new(ErrorKind::Denied, message)
    }

    const fn new(kind: ErrorKind, message: &'static str) -> Self {
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

impl From<strongroom_format::error::Error> for Error {
    fn from(error: strongroom_format::error::Error) -> Self {
        let kind = match error.kind() {
            FormatKind::Corrupt => ErrorKind::Corrupt,
            FormatKind::Unsupported => ErrorKind::Unsupported,
            FormatKind::Invalid => ErrorKind::Invalid,
        };
        Self::new(kind, error.message())
    }
}
