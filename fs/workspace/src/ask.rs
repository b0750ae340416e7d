//! What people ask of a workspace beside files: one request, one reply. A command that has the workspace open asks it
//! directly ([`Workspace::ask`]); beside a mount the same bytes go through an extended attribute of its root
//! (`ops/ask`). Never stored: both ends are one program.

use minicbor::{Decode, Encode};
use strongroom_format::cbor;
use strongroom_format::ids::DeviceId;

use crate::error::{Error, ErrorKind, Result};
use crate::history::at::At;
use crate::history::keep::Keep;
use crate::history::purge::Purged;
use crate::history::space::Usage;
use crate::history::versions::Version;
use crate::workspace::Workspace;

/// LIMIT: bytes of a reply; an attribute holds no more.
pub const REPLY_LEN_MAX: usize = 64 << 10;

/// A request. Paths are relative to the root, parts separated by `/`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// How far back history is kept.
    #[n(0)]
    Keep,
    /// Change that.
    #[n(1)]
    SetKeep {
        /// Days.
        #[n(0)]
        days: Option<u32>,
        /// Commits.
        #[n(1)]
        last: Option<u64>,
    },
    /// All snapshots.
    #[n(2)]
    Snapshots,
    /// Make one.
    #[n(3)]
    MakeSnapshot(#[n(0)] String),
    /// Let one go.
    #[n(4)]
    DropSnapshot(#[n(0)] String),
    /// Versions of a path that can be read.
    #[n(5)]
    Versions(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Copy a path as it was into the present.
    #[n(6)]
    Restore {
        /// From where.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        /// As when.
        #[n(1)]
        at: When,
        /// To where.
        #[cbor(n(2), with = "minicbor::bytes")]
        to: Vec<u8>,
    },
    /// Whose bytes lie in the store.
    #[n(7)]
    Space,
    /// Keep a path on this device.
    #[n(8)]
    Pin(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// No longer.
    #[n(9)]
    Unpin(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Drop the copies of a path on this device.
    #[n(10)]
    Free(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// What is pinned.
    #[n(11)]
    Pins,
    /// Remove paths and every version of them.
    #[n(12)]
    Purge(#[n(0)] Vec<minicbor::bytes::ByteVec>),
    /// Whether a purge is under way.
    #[n(13)]
    IsPurging,
}

/// [`At`] in a request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum When {
    /// See [`At::Commit`].
    #[n(0)]
    Commit(#[n(0)] u64),
    /// See [`At::Time`].
    #[n(1)]
    Time(#[n(0)] i64),
    /// See [`At::Snapshot`].
    #[n(2)]
    Snapshot(#[n(0)] String),
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// It is done.
    #[n(0)]
    Done,
    /// It failed: number of the kind, message.
    #[n(1)]
    Failed(#[n(0)] u8, #[n(1)] String),
    /// The rule.
    #[n(2)]
    Keep {
        /// Days.
        #[n(0)]
        days: Option<u32>,
        /// Commits.
        #[n(1)]
        last: Option<u64>,
    },
    /// Snapshots by commit.
    #[n(3)]
    Snapshots(#[n(0)] Vec<SnapshotSeen>),
    /// Versions, oldest first.
    #[n(4)]
    Versions(#[n(0)] Vec<Version>),
    /// Sizes.
    #[n(5)]
    Space(#[n(0)] Usage),
    /// Paths.
    #[n(6)]
    Paths(#[n(0)] Vec<minicbor::bytes::ByteVec>),
    /// What a purge came to.
    #[n(7)]
    Purged(#[n(0)] Purged),
    /// Yes or no.
    #[n(8)]
    Is(#[n(0)] bool),
}

/// A snapshot as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotSeen {
    /// Name.
    #[n(0)]
    pub name: String,
    /// Commit.
    #[n(1)]
    pub seq: u64,
    /// When it was made, nanoseconds since 1970.
    #[n(2)]
    pub time: i64,
    /// Device that made it.
    #[n(3)]
    pub device: DeviceId,
}

impl From<When> for At {
    fn from(when: When) -> At {
        match when {
            When::Commit(seq) => At::Commit(seq),
            When::Time(time) => At::Time(time),
            When::Snapshot(name) => At::Snapshot(name),
        }
    }
}

impl From<At> for When {
    fn from(at: At) -> When {
        match at {
            At::Commit(seq) => When::Commit(seq),
            At::Time(time) => When::Time(time),
            At::Snapshot(name) => When::Snapshot(name),
        }
    }
}

impl Request {
    /// The bytes that go through a mount.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Parses them.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = |_| Error::new(ErrorKind::Invalid, "a request of another version");
        cbor::decode_canonical(bytes).map_err(wrong)
    }
}

impl Reply {
    /// The bytes that come back.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Parses them: what was answered, or why not.
    ///
    /// # Errors
    /// The one that was told.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = |_| Error::new(ErrorKind::Invalid, "an answer of another version");
        match cbor::decode_canonical(bytes).map_err(wrong)? {
            Reply::Failed(kind, message) => {
                let kind = ErrorKind::ALL.get(usize::from(kind)).copied();
                Err(Error::new(kind.unwrap_or(ErrorKind::Internal), message))
            }
            reply => Ok(reply),
        }
    }
}

impl From<Result<Reply>> for Reply {
    fn from(result: Result<Reply>) -> Reply {
        result.unwrap_or_else(|error| {
            let number = ErrorKind::ALL.iter().position(|kind| *kind == error.kind());
            let number = number.and_then(|index| u8::try_from(index).ok());
            Reply::Failed(number.unwrap_or(u8::MAX), error.to_string())
        })
    }
}

impl Workspace {
    /// Does what is asked. May take as long as the store does.
    ///
    /// # Errors
    /// Those of what is asked.
    pub fn ask(&self, request: Request) -> Result<Reply> {
        Ok(match request {
            Request::Keep => {
                let Keep { days, last } = self.keep()?;
                Reply::Keep { days, last }
            }
            Request::SetKeep { days, last } => self.set_keep(Keep { days, last }).map(done)?,
            Request::Snapshots => {
                let seen = |snapshot: &std::sync::Arc<strongroom_format::inode::Snapshot>| {
                    let (name, seq) = (snapshot.name.clone(), snapshot.seq);
                    SnapshotSeen { name, seq, time: snapshot.time, device: snapshot.device }
                };
                Reply::Snapshots(self.snapshots()?.iter().map(seen).collect())
            }
            Request::MakeSnapshot(name) => self.make_snapshot(&name).map(drop).map(done)?,
            Request::DropSnapshot(name) => self.drop_snapshot(&name).map(done)?,
            Request::Versions(path) => Reply::Versions(self.versions(&path)?),
            Request::Restore { path, at, to } => self.restore(&path, &at.into(), &to).map(done)?,
            Request::Space => Reply::Space(self.usage()?),
            Request::Pin(path) => self.pin(&path).map(done)?,
            Request::Unpin(path) => self.unpin(&path).map(done)?,
            Request::Free(path) => self.free(&path).map(done)?,
            Request::Purge(paths) => {
                let paths: Vec<Vec<u8>> = paths.into_iter().map(Into::into).collect();
                Reply::Purged(self.purge(&paths)?)
            }
            Request::IsPurging => Reply::Is(self.is_purging()?),
            Request::Pins => Reply::Paths(self.pins()?.into_iter().map(Into::into).collect()),
        })
    }
}

fn done((): ()) -> Reply {
    Reply::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_back_as_it_was_told() {
        for kind in ErrorKind::ALL {
            let told = Reply::from(Err(Error::new(kind, "why")));
            let heard = Reply::parse(&told.encode()).unwrap_err();
            assert_eq!((heard.kind(), heard.to_string().as_str()), (kind, "why"));
        }
    }

    #[test]
    fn a_request_survives_encoding() {
        let at = When::Snapshot("before".to_owned());
        let request = Request::Restore { path: b"a/b".to_vec(), at, to: b"c".to_vec() };
        assert_eq!(Request::parse(&request.encode()).unwrap(), request);
        assert!(Request::parse(b"x").is_err());
    }
}
