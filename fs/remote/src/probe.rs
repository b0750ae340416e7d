//! Whether a server can be the arbiter between several writing devices.
//!
//! The log needs a put that only one of several writers wins. Some servers take the condition and ignore it, some let
//! several racing writers win: neither is found by asking once, so it is tried, in a real race, when a workspace is made.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_host::entropy::Entropy;
use strongroom_store::{Error, ErrorKind, Result};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::meter::Meter;
use crate::remote::RemoteStore;
use crate::transport::{Condition, Fault, FaultKind};

const ROUND_COUNT: usize = 4;
const WRITER_COUNT: u8 = 8;
/// LIMIT: tries of one answer that does not come.
const TRY_COUNT_MAX: usize = 3;

/// How many devices may write to a workspace in this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Any number: of several racing puts exactly one won, each time.
    Many,
    /// One: the server took a second put where it was asked not to.
    OneIgnored,
    /// One: of several racing puts more than one won.
    OneRacy,
    /// One: the server does not know the condition.
    OneUnsupported,
}

impl Writers {
    /// Why not several, for people.
    pub fn why(self) -> Option<&'static str> {
        match self {
            Self::Many => None,
            Self::OneIgnored => Some("it ignores `If-None-Match`"),
            Self::OneRacy => Some("of several puts with `If-None-Match` at once more than one won"),
            Self::OneUnsupported => Some("it does not know `If-None-Match`"),
        }
    }
}

/// Tries the server below `probe/` of the store, and takes away what it put there.
///
/// # Errors
/// `Unavailable`, `Denied`, and what else a put can meet.
pub fn probe(store: &RemoteStore, entropy: &dyn Entropy) -> Result<Writers> {
    let tag = u64::from_le_bytes(entropy.array());
    store.handle().block_on(run(store, tag))
}

async fn run(store: &RemoteStore, tag: u64) -> Result<Writers> {
    let paths: Vec<String> = (0..ROUND_COUNT).map(|n| format!("probe/{tag:016x}-{n}")).collect();
    let outcome = tell(store, &paths).await;
    for path in &paths {
        // Superfluous things that cannot go now do no harm.
        let gone = timeout(store.patience().once, store.transport().delete(path)).await;
        if gone.is_err() {
            break;
        }
    }
    outcome
}

async fn tell(store: &RemoteStore, paths: &[String]) -> Result<Writers> {
    for path in paths {
        let outcome = match race(store, path).await? {
            Writers::Many => ask_again(store, path).await?,
            other => other,
        };
        if outcome != Writers::Many {
            return Ok(outcome);
        }
    }
    Ok(Writers::Many)
}

async fn race(store: &RemoteStore, path: &str) -> Result<Writers> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITER_COUNT {
        let (transport, path) = (store.transport().clone(), Arc::<str>::from(path));
        let limit = store.patience().once;
        writers.spawn_on(
            async move {
                let bytes = Bytes::from(vec![writer; 16]);
                let put = transport.put(&path, bytes, Condition::Absent, Meter::unread());
                timeout(limit, put)
                    .await
                    .unwrap_or_else(|_| Err(Fault::new(FaultKind::Broken, "no answer in time")))
            },
            store.handle(),
        );
    }
    let mut won = 0;
    while let Some(ended) = writers.join_next().await {
        match ended.unwrap_or_else(|_| Err(Fault::new(FaultKind::Broken, "given up"))) {
            Ok(_) => won += 1,
            Err(fault) => match fault.kind {
                FaultKind::Unsupported => return Ok(Writers::OneUnsupported),
                FaultKind::Exists
                | FaultKind::Contended
                | FaultKind::Throttled
                | FaultKind::Broken => {}
                FaultKind::NotFound | FaultKind::Denied | FaultKind::Full | FaultKind::Invalid => {
                    return Err(refused(&fault));
                }
            },
        }
    }
    Ok(if won > 1 { Writers::OneRacy } else { Writers::Many })
}

/// One more, alone: it must be refused.
async fn ask_again(store: &RemoteStore, path: &str) -> Result<Writers> {
    let mut last = None;
    // The first may be the one that wins, when the race had no winner at all.
    for _ in 0..=TRY_COUNT_MAX {
        let (bytes, meter) = (Bytes::from_static(b"late"), Meter::unread());
        let put = store.transport().put(path, bytes, Condition::Absent, meter);
        match timeout(store.patience().once, put).await {
            Ok(Err(fault)) if fault.kind == FaultKind::Exists => return Ok(Writers::Many),
            Ok(Err(fault)) if fault.kind.is_passing() => last = Some(fault),
            Ok(Err(fault)) => return Err(refused(&fault)),
            Ok(Ok(_)) => {
                if last.replace(Fault::new(FaultKind::Exists, "taken twice")).is_some() {
                    return Ok(Writers::OneIgnored);
                }
            }
            Err(_) => last = Some(Fault::new(FaultKind::Broken, "no answer in time")),
        }
    }
    match last {
        Some(fault) if fault.kind != FaultKind::Exists => Err(refused(&fault)),
        _ => Ok(Writers::OneIgnored),
    }
}

fn refused(fault: &Fault) -> Error {
    let kind = match fault.kind {
        FaultKind::Denied => ErrorKind::Denied,
        FaultKind::Full => ErrorKind::Full,
        FaultKind::NotFound | FaultKind::Invalid => ErrorKind::Invalid,
        FaultKind::Unsupported => ErrorKind::Unsupported,
        FaultKind::Exists | FaultKind::Contended | FaultKind::Throttled | FaultKind::Broken => {
            ErrorKind::Unavailable
        }
    };
    Error::new(kind, fault.text.clone())
}
