//! The error of mounting and unmounting: a kind, one sentence, and advice where there is some.

use std::fmt;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The kernel or `fusermount3` side of FUSE is not there.
    FuseMissing,
    /// The mountpoint does not exist.
    NotFound,
    /// The mountpoint is no folder.
    NotDirectory,
    /// The mountpoint has entries.
    NotEmpty,
    /// Something of ours is mounted there already.
    AlreadyMounted,
    /// Nothing of ours is mounted there.
    NotMounted,
    /// Files in the mount are open.
    Busy,
    /// The system does not let this user do it.
    Denied,
    /// A mount option is unknown or contradicts another.
    BadOption,
    /// The operating system failed in another way.
    Io,
}

/// An error with its advice.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn io(act: &str, cause: &std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("{act}: {cause}"))
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it, if there is something to say.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// The sentence alone; advice comes from [`Error::advice`].
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
