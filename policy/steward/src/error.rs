//! The error of this crate.

use std::fmt;

use strongroom_audit::ErrorKind as AuditKind;
use strongroom_custody::ErrorKind as CustodyKind;
use strongroom_tree::ErrorKind as TreeKind;

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is none; or whoever asks may not know.
    NotFound,
    /// There is one already.
    Exists,
    /// Correct the request.
    Invalid,
    /// Not allowed; the audit log says why.
    Denied,
    /// A hold is in force.
    Held,
    /// The application key is missing or wrong.
    Locked,
    /// Somebody else wrote meanwhile: try again.
    Conflict,
    /// The register is older than, or another one than, this device has seen.
    Forked,
    /// Damaged or forged.
    Corrupt,
    /// Cannot be reached; safe to retry.
    Unavailable,
    /// No space.
    Full,
    /// The store may not be written.
    ReadOnly,
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
    place: Option<Box<str>>,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error. `message` holds ids, sizes and kinds only.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None }
    }

    /// Adds which place of this machine it is about: that is for whoever works at it, and no part of the sentence.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        Self { place: Some(place.into()), ..self }
    }

    /// Which place of this machine it is about, if any is known.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// The one answer to whoever may not have something, whether it exists or not.
    pub(crate) fn denied() -> Self {
        Self::new(ErrorKind::Denied, "not allowed")
    }

    /// The answer to something long that was under way when somebody disabled the application.
    pub(crate) fn disabled_meanwhile() -> Self {
        let message = "the application was disabled meanwhile: what is done stays; asked for again, it goes on";
        Self::new(ErrorKind::Denied, message)
    }

    /// Nothing stands against it but silence: asked again, it may be.
    pub(crate) fn undecided() -> Self {
        Self::new(ErrorKind::Unavailable, "the decision point does not answer")
    }

    pub(crate) fn no_subject() -> Self {
        Self::new(ErrorKind::NotFound, "there is no such subject")
    }

    /// What is done anew with what others have recorded since.
    pub(crate) fn overtaken() -> Self {
        Self::new(ErrorKind::Conflict, "somebody else wrote meanwhile")
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

impl From<strongroom_audit::Error> for Error {
    fn from(error: strongroom_audit::Error) -> Self {
        let kind = match error.kind() {
            AuditKind::NotFound => ErrorKind::NotFound,
            AuditKind::Conflict => ErrorKind::Conflict,
            AuditKind::Forked => ErrorKind::Forked,
            AuditKind::Corrupt => ErrorKind::Corrupt,
            AuditKind::Unavailable => ErrorKind::Unavailable,
            AuditKind::Full => ErrorKind::Full,
            AuditKind::ReadOnly => ErrorKind::ReadOnly,
            AuditKind::Denied => ErrorKind::Denied,
            AuditKind::Unsupported => ErrorKind::Unsupported,
            AuditKind::Internal => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Error> for strongroom_audit::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound => AuditKind::NotFound,
            ErrorKind::Conflict => AuditKind::Conflict,
            ErrorKind::Forked => AuditKind::Forked,
            ErrorKind::Corrupt => AuditKind::Corrupt,
            ErrorKind::Unavailable => AuditKind::Unavailable,
            ErrorKind::Full => AuditKind::Full,
            ErrorKind::ReadOnly => AuditKind::ReadOnly,
            ErrorKind::Unsupported => AuditKind::Unsupported,
            ErrorKind::Denied | ErrorKind::Held | ErrorKind::Locked => AuditKind::Denied,
            ErrorKind::Exists | ErrorKind::Invalid | ErrorKind::Internal => AuditKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<strongroom_tree::Error> for Error {
    fn from(error: strongroom_tree::Error) -> Self {
        let kind = match error.kind() {
            // A node that is gone is damage, not a question with the answer no.
            TreeKind::NotFound | TreeKind::Corrupt => ErrorKind::Corrupt,
            TreeKind::Locked => ErrorKind::Locked,
            TreeKind::Denied => ErrorKind::Denied,
            TreeKind::Unavailable => ErrorKind::Unavailable,
            TreeKind::Unsupported => ErrorKind::Unsupported,
            TreeKind::Invalid => ErrorKind::Invalid,
        };
        Self::new(kind, error.message())
    }
}

impl From<strongroom_custody::Error> for Error {
    fn from(error: strongroom_custody::Error) -> Self {
        let kind = match error.kind() {
            CustodyKind::NotFound | CustodyKind::Corrupt => ErrorKind::Locked,
            CustodyKind::Exists => ErrorKind::Exists,
            CustodyKind::Denied => ErrorKind::Denied,
            CustodyKind::Unavailable => ErrorKind::Unavailable,
            CustodyKind::Invalid => ErrorKind::Invalid,
        };
        Self::new(kind, error.message())
    }
}

impl From<strongroom_keyring::error::Error> for Error {
    fn from(error: strongroom_keyring::error::Error) -> Self {
        use strongroom_keyring::error::ErrorKind as K;
        let kind = match error.kind() {
            K::Denied => ErrorKind::Denied,
            K::Locked => ErrorKind::Locked,
            K::Corrupt => ErrorKind::Corrupt,
            K::Unsupported => ErrorKind::Unsupported,
            K::Invalid => ErrorKind::Invalid,
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

/// What a store says that is asked directly, not through shelves.
pub(crate) fn stored(error: strongroom_store::Error) -> Error {
    use strongroom_store::ErrorKind as S;
    let kind = match error.kind() {
        S::Full => ErrorKind::Full,
        S::ReadOnly => ErrorKind::ReadOnly,
        S::Corrupt => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string())
}

/// What was read; none where it is damaged.
pub(crate) fn whole<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        Err(error) => Err(error),
    }
}
