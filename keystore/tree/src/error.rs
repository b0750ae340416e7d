//! The error of this crate.

use std::fmt;

use strongroom_custody::ErrorKind as CustodyKind;

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A node is not where it should be.
    NotFound,
    /// The application key is not in custody, or is another one.
    Locked,
    /// Custody or the grant refuses.
    Denied,
    /// Cannot be reached; safe to retry.
    Unavailable,
    /// The keystore is damaged.
    Corrupt,
    /// Written by a newer version.
    Unsupported,
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
    pub(crate) const DAMAGED: Self = Self::new(ErrorKind::Corrupt, "the keystore is damaged");
    pub(crate) const NO_SLOT: Self = Self::new(ErrorKind::Invalid, "the keystore has no such slot");
    pub(crate) const OTHER_CUSTODY: Self =
        Self::new(ErrorKind::Locked, "the application key is in another kind of custody");
    pub(crate) const ELSEWHERE: Self = Self::new(
        ErrorKind::Unavailable,
        "custody does not have the application key in force: nothing is known of the one before",
    );
    pub(crate) const NO_GRANT: Self =
        Self::new(ErrorKind::Denied, "the grant is over or was made for something else");

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

impl From<strongroom_custody::Error> for Error {
    fn from(error: strongroom_custody::Error) -> Self {
        let kind = match error.kind() {
            // Missing or wrong: either way the keystore stays shut until the right key is there.
            CustodyKind::NotFound | CustodyKind::Corrupt => ErrorKind::Locked,
            CustodyKind::Denied => ErrorKind::Denied,
            CustodyKind::Unavailable => ErrorKind::Unavailable,
            CustodyKind::Exists | CustodyKind::Invalid => ErrorKind::Invalid,
        };
        Self::new(kind, error.message())
    }
}

impl From<strongroom_format::error::Error> for Error {
    fn from(error: strongroom_format::error::Error) -> Self {
        use strongroom_format::error::ErrorKind as K;
        let kind = match error.kind() {
            K::Corrupt => ErrorKind::Corrupt,
            K::Unsupported => ErrorKind::Unsupported,
            K::Invalid => ErrorKind::Invalid,
        };
        Self::new(kind, error.message())
    }
}
