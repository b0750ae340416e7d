//! Exit codes, and the one error type of the command: what failed, and what to do about it.
//!
//! Every number a script may rely on stands here and nowhere else; so does the translation from the kinds
//! of error that the rooms below use. What is printed lives in `ui`.

use std::fmt;
use std::io;
use std::process::ExitCode;

use strongroom_keyring::error as keyring;
use strongroom_workspace::error::{Error as WorkspaceError, ErrorKind};

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed; nothing was lost.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// Finished, but not everything: some of it could not be done.
    Partial,
    /// Ask who may grant.
    Denied,
    /// Wrong passphrase, or no key: unlock first.
    Locked,
    /// The store cannot be reached; safe to retry.
    Unreachable,
    /// Stored bytes are damaged; run check.
    Damaged,
    /// A bug in this program.
    Bug,
    /// Interrupted from the keyboard.
    Interrupted,
    /// As the command of `run` ended.
    Command(u8),
}

impl Exit {
    /// The number the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Denied => 4,
            Self::Locked => 5,
            Self::Unreachable => 6,
            Self::Damaged => 7,
            Self::Bug => 70,
            Self::Interrupted => 130,
            Self::Command(code) => code,
        }
    }

    /// The ending that a number stands for; a number nobody gave away is a failure.
    pub fn from_code(code: i32) -> Self {
        let known = [
            Self::Done,
            Self::Failed,
            Self::Usage,
            Self::Partial,
            Self::Denied,
            Self::Locked,
            Self::Unreachable,
            Self::Damaged,
            Self::Bug,
            Self::Interrupted,
        ];
        known.into_iter().find(|exit| i32::from(exit.code()) == code).unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why the command did not do what was asked: one line, and one line of advice.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// Lower case, no full stop, input in backticks.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// Result with [`Failure`].
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Makes a failure without advice.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// Adds or replaces the advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what was being done when an error of the workspace came up.
    pub fn workspace(doing: impl fmt::Display, error: &WorkspaceError) -> Self {
        let (exit, hint) = advice(error.kind());
        Self { exit, message: format!("{doing}: {error}"), hint: hint.map(str::to_owned) }
    }

    /// Says what was being done when the store refused.
    pub fn store(doing: impl fmt::Display, error: &strongroom_store::Error) -> Self {
        use strongroom_store::ErrorKind as K;
        let kind = match error.kind() {
            K::NotFound => ErrorKind::NotFound,
            K::Exists => ErrorKind::Exists,
            K::ReadOnly => ErrorKind::ReadOnly,
            K::Unavailable => ErrorKind::Unavailable,
            K::Full => ErrorKind::Full,
            K::Corrupt => ErrorKind::Corrupt,
            K::Denied => ErrorKind::Denied,
            K::Invalid | K::Internal => ErrorKind::Invalid,
            K::Unsupported => ErrorKind::Unsupported,
        };
        let (exit, hint) = advice(kind);
        let hint = match error.kind() {
            K::Denied => Some(HINT_REFUSED),
            _ => hint,
        };
        let message = format!("{doing}: {}", plain(&error.to_string()));
        Self { exit, message, hint: hint.map(str::to_owned) }
    }

    /// Says what does not parse.
    pub fn format(what: &str, error: &strongroom_format::error::Error) -> Self {
        use strongroom_format::error::ErrorKind as K;
        let kind = match error.kind() {
            K::Unsupported => ErrorKind::Unsupported,
            K::Corrupt | K::Invalid => ErrorKind::Corrupt,
        };
        let (exit, hint) = advice(kind);
        Self { exit, message: format!("{what}: {error}"), hint: hint.map(str::to_owned) }
    }

    /// Says whose passphrase or keys were refused.
    pub fn keyring(shown: &str, error: &keyring::Error) -> Self {
        let (kind, message) = match error.kind() {
            // One sentence for a wrong passphrase and a changed device file: nobody can tell them apart.
            keyring::ErrorKind::Locked => {
                (ErrorKind::Locked, format!("wrong passphrase for `{shown}`"))
            }
            keyring::ErrorKind::Corrupt => (ErrorKind::Corrupt, format!("`{shown}`: {error}")),
            keyring::ErrorKind::Unsupported => {
                (ErrorKind::Unsupported, format!("`{shown}`: {error}"))
            }
            keyring::ErrorKind::Invalid => (ErrorKind::Invalid, format!("`{shown}`: {error}")),
            keyring::ErrorKind::Denied => (ErrorKind::Denied, format!("`{shown}`: {error}")),
        };
        let (exit, hint) = advice(kind);
        Self { exit, message, hint: hint.map(str::to_owned) }
    }

    /// Says what was being done when the operating system refused.
    pub fn io(doing: impl fmt::Display, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => Some("check the owner and mode of it"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(HINT_FULL),
            io::ErrorKind::ReadOnlyFilesystem => Some(HINT_READ_ONLY),
            _ => None,
        };
        Self {
            exit: Exit::Failed,
            message: format!("{doing}: {}", io_text(error)),
            hint: hint.map(str::to_owned),
        }
    }
}

const HINT_FULL: &str = "free space there and try again; nothing that was acknowledged is lost";
const HINT_REFUSED: &str =
    "check who may read and write there: owner and mode of a folder, the credentials for a bucket";
const HINT_READ_ONLY: &str = "mount it with `-o ro`";
const HINT_CHECK: &str =
    "run `strongroom check STORE`; it says what is damaged and changes nothing";

/// Exit and advice for each kind of error of the filesystem.
pub fn advice(kind: ErrorKind) -> (Exit, Option<&'static str>) {
    use ErrorKind as K;
    match kind {
        K::NotFound
        | K::Exists
        | K::NotDirectory
        | K::IsDirectory
        | K::NotEmpty
        | K::NameTooLong
        | K::Invalid
        | K::TooLarge
        | K::TooManyLinks
        | K::CrossesCompartments
        | K::NoData
        | K::Range
        | K::BadHandle
        | K::NotPermitted
        | K::Purged
        | K::Stale
        | K::Busy
        | K::Conflict => (Exit::Failed, None),
        K::ReadOnly => (Exit::Failed, Some(HINT_READ_ONLY)),
        K::Full => (Exit::Failed, Some(HINT_FULL)),
        K::Denied => (Exit::Denied, Some("ask somebody who may grant it")),
        K::Locked => (Exit::Locked, Some("check the passphrase and try again")),
        K::Unavailable => (Exit::Unreachable, Some("check the connection to the store and retry")),
        K::Corrupt => (Exit::Damaged, Some(HINT_CHECK)),
        K::Poisoned => (Exit::Damaged, Some("unmount, check the disk, and mount again")),
        K::Unsupported => (Exit::Failed, Some("use a newer version of strongroom")),
        K::Internal => (Exit::Bug, Some("this is a bug; please report it")),
    }
}

/// The text of an operating system error without the ` (os error N)` tail.
pub fn io_text(error: &io::Error) -> String {
    plain(&error.to_string())
}

/// Small letters at the start of each part, no number at the end.
fn plain(text: &str) -> String {
    let cut = text.find(" (os error").unwrap_or(text.len());
    let small = |part: &str| {
        let mut part = part.to_owned();
        if let Some(first) = part.get_mut(0..1) {
            first.make_ascii_lowercase();
        }
        part
    };
    text[..cut].split(": ").map(small).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let codes: Vec<u8> = (0..=255)
            .filter(|&c| Exit::from_code(c) != Exit::Failed)
            .map(|c| u8::try_from(c).expect("below 256"))
            .collect();
        assert_eq!(codes, [0, 2, 3, 4, 5, 6, 7, 70, 130]);
        assert_eq!(Exit::Failed.code(), 1);
    }

    #[test]
    fn system_errors_lose_their_number_and_capital() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(io_text(&error), "no such file or directory");
    }
}
