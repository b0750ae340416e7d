//! What a network store is made of: single requests, without retries, by path below the store's root.
//!
//! Two implementors speak with real servers ([`crate::s3`], [`crate::swift`]); tests bring scripted ones. Retrying,
//! deadlines, counting and the meaning of keys live in [`crate::remote`].

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::meter::Meter;

/// The answer to one request.
pub type Trip<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// By which a server tells one content of a path from another.
pub type Tag = Arc<str>;

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// All of it, or a part.
    pub bytes: Bytes,
    /// The tag of all of it, if the server gives one.
    pub tag: Option<Tag>,
}

/// What a put does when something has the path already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Replaces it.
    Replace,
    /// Asks the server to refuse ([`FaultKind::Exists`]). Not every server that understands this keeps to it.
    Absent,
    /// Asks the server to refuse ([`FaultKind::Exists`], [`FaultKind::NotFound`]) unless this is there. Not every server
    /// understands it.
    Over(Tag),
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path below the store's root.
    pub path: String,
    /// Length in bytes.
    pub len: u64,
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In rising order of paths.
    pub entries: Vec<Entry>,
    /// Whether more may follow.
    pub has_more: bool,
}

/// LIMIT: bytes of one answer. Nothing that is stored is longer.
pub(crate) const ANSWER_LEN_MAX: u64 = 128 << 20;

/// Single requests to one server. Where bytes go one way or the other in number, the meter is told of them as they move.
pub trait Transport: Send + Sync + 'static {
    /// Reads all of it, or `range`, which is not empty. Less than `range` if it ends before.
    fn get<'a>(&'a self, path: &'a str, range: Option<Range<u64>>, meter: Meter) -> Trip<'a, Got>;

    /// Stores; durable and atomic. Returns the tag of what is there now, if the server gives one.
    fn put<'a>(
        &'a self,
        path: &'a str,
        bytes: Bytes,
        condition: Condition,
        meter: Meter,
    ) -> Trip<'a, Option<Tag>>;

    /// Length in bytes.
    fn len<'a>(&'a self, path: &'a str) -> Trip<'a, u64>;

    /// Paths that begin with `prefix`, after `after`, at most `count_max`.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        count_max: usize,
        meter: Meter,
    ) -> Trip<'a, Page>;

    /// Removes; fine if missing.
    fn delete<'a>(&'a self, path: &'a str) -> Trip<'a, ()>;
}

/// Why a request was not done, as far as the next step depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is there.
    NotFound,
    /// Something is there, and the request was not to replace it.
    Exists,
    /// Somebody else is at it; ask again.
    Contended,
    /// The server wants fewer requests.
    Throttled,
    /// No answer, or one that says nothing: it may have been done or not.
    Broken,
    /// The server refuses these credentials.
    Denied,
    /// No space, or the quota is used up.
    Full,
    /// The server cannot do this.
    Unsupported,
    /// The request makes no sense to the server: a bug, or a wrong address.
    Invalid,
}

impl FaultKind {
    /// Whether the same request may go well next time.
    pub fn is_passing(self) -> bool {
        match self {
            Self::Contended | Self::Throttled | Self::Broken => true,
            Self::NotFound
            | Self::Exists
            | Self::Denied
            | Self::Full
            | Self::Unsupported
            | Self::Invalid => false,
        }
    }
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What to do next.
    pub kind: FaultKind,
    /// For people: code and kind only, no credentials, no foreign text that could hold some.
    pub text: String,
    /// How long the server asks to wait.
    pub wait: Option<Duration>,
    /// HTTP status, if it came from one.
    pub status: Option<u16>,
}

impl Fault {
    /// Makes one.
    pub fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), wait: None, status: None }
    }

    /// An answer longer than [`ANSWER_LEN_MAX`].
    pub(crate) fn too_long() -> Self {
        Self::new(FaultKind::Invalid, "the answer is longer than anything that is stored")
    }

    /// The fault that an HTTP status stands for; `code` is the server's own word for it.
    pub fn of_status(status: u16, code: Option<&str>) -> Self {
        let kind = match (status, code) {
            (
                _,
                Some("SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded"),
            ) => FaultKind::Throttled,
            (_, Some("RequestTimeout" | "InternalError" | "ServiceUnavailable")) => {
                FaultKind::Broken
            }
            (_, Some("QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull")) => {
                FaultKind::Full
            }
            (404 | 410, _) => FaultKind::NotFound,
            (412, _) => FaultKind::Exists,
            (409, _) => FaultKind::Contended,
            (429 | 498 | 503, _) => FaultKind::Throttled,
            (401 | 403, _) => FaultKind::Denied,
            (413 | 507, _) => FaultKind::Full,
            (405 | 501, _) => FaultKind::Unsupported,
            (408 | 425 | 500..=599, _) => FaultKind::Broken,
            _ => FaultKind::Invalid,
        };
        let text = match code {
            Some(code) if is_plain(code) => format!("the server answered {status} {code}"),
            _ => format!("the server answered {status}"),
        };
        Self { status: Some(status), ..Self::new(kind, text) }
    }
}

/// What there is of a range in all the bytes: for servers that know no ranges.
pub(crate) fn slice(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end))
}

/// A word that a server may put into our messages.
fn is_plain(code: &str) -> bool {
    !code.is_empty() && code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_to_do_next() {
        for (status, code, kind) in [
            (404, None, FaultKind::NotFound),
            (412, Some("PreconditionFailed"), FaultKind::Exists),
            (409, Some("ConditionalRequestConflict"), FaultKind::Contended),
            (503, Some("SlowDown"), FaultKind::Throttled),
            (400, Some("RequestTimeout"), FaultKind::Broken),
            (500, Some("InternalError"), FaultKind::Broken),
            (403, Some("AccessDenied"), FaultKind::Denied),
            (501, Some("NotImplemented"), FaultKind::Unsupported),
            (507, None, FaultKind::Full),
            (400, Some("InvalidRequest"), FaultKind::Invalid),
        ] {
            assert_eq!(Fault::of_status(status, code).kind, kind, "{status} {code:?}");
        }
    }

    #[test]
    fn a_servers_word_is_shown_only_if_it_is_a_word() {
        assert_eq!(
            Fault::of_status(403, Some("AccessDenied")).text,
            "the server answered 403 AccessDenied"
        );
        assert_eq!(Fault::of_status(403, Some("key=abc <b>")).text, "the server answered 403");
    }
}
