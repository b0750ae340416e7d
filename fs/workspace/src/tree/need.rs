//! Why a look into the map stopped: a page is not in memory, or something is wrong.

use strongroom_format::page::PageRef;

use crate::error::{Error, ErrorKind};

/// What a look needs before it can be repeated, or why it failed.
pub enum Need {
    /// This page, to be fetched into the page cache.
    Page(PageRef),
    /// Nothing would help.
    Failed(Error),
}

impl Need {
    /// The error of a look that gets missing pages by itself.
    pub fn failure(self) -> Error {
        match self {
            Need::Failed(error) => error,
            Need::Page(_) => Error::new(ErrorKind::Internal, "a patient look asked for a page"),
        }
    }
}

impl From<Error> for Need {
    fn from(error: Error) -> Self {
        Need::Failed(error)
    }
}

/// Result of a look. Looks have no side effects, so they are repeated from the start after a fetch.
pub type Look<T> = Result<T, Need>;
