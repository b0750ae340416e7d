//! Offline examination of a workspace: everything that is stored is read and verified, nothing is changed.
//!
//! ```text
//! foundation   workspace file, organisation, device files
//! history      newest checkpoint, every commit after it, every operation applied
//! walk         every page of the tree: hash, seal, level, order, range of keys
//! merge        tree and later changes, one stream by key ── census   what the keys say of one another
//! │                                                     └── blocks   every segment of every file
//! past         snapshots and kept history, each state from its own checkpoint
//! │            └ survey  pages and blocks that no state read before has; census where they are damaged
//! stored       objects: there, as long as they should be; page objects whole; objects that nobody names
//! local        this device: the head it remembers, records in its journal that no commit holds yet
//! names        paths of the files concerned, for the owner's eyes
//! ```
//!
//! 1. No lock is taken and no byte written. 2. One damaged page hides what is in it and nothing else. 3. What cannot be
//!    read is never guessed: where something is missing, contradictions that it could explain are counted, not reported.
//! 4. LIMIT: memory grows by some 60 bytes for each name and by the changes since the checkpoint, not with file sizes; where
//!    there are snapshots or history, by what `known` remembers of pages and blocks and by some 60 bytes for each object.
//!    What is wrong is only told; repair and rescue live nowhere yet. Personal data is verified by `audit verify`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blocks;
mod census;
mod dry;
mod foundation;
mod history;
mod known;
mod local;
mod merge;
mod names;
mod past;
mod report;
mod stored;
mod survey;
mod walk;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use strongroom_host::disk::Disk;
use strongroom_host::entropy::Entropy;
use strongroom_keyring::DeviceKeys;
use strongroom_store::Store;
pub use strongroom_workspace::error::{Error, ErrorKind, Result};

use known::Known;
use past::Past;
pub use report::{Area, Counts, FileDamage, Finding, Kind, Lost, Report, Then};

/// What is examined.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The keys of a device of it.
    pub keys: Arc<DeviceKeys>,
    /// Where this device keeps its local state.
    pub local: Option<Local>,
    /// Wall clock, nanoseconds since 1970: how far back a rule that goes by age keeps history.
    pub now: i64,
}

/// Local state of a device.
pub struct Local {
    /// Its folder: journal, staged objects, remembered head.
    pub folder: PathBuf,
    /// The disk it is on.
    pub disk: Arc<dyn Disk>,
    /// Never asked for anything that matters; the journal's reader wants one.
    pub entropy: Arc<dyn Entropy>,
    /// Whether the workspace is mounted: its journal is in use then and left alone.
    pub in_use: InUse,
}

/// Whether somebody works with the workspace right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InUse {
    /// Nobody on this device.
    No,
    /// It is mounted.
    Yes,
}

/// How far the examination is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub stage: &'static str,
    /// How many of them are done.
    pub count: u64,
    /// Bytes of files verified so far.
    pub bytes: u64,
}

/// Takes progress, often; it should be quick.
pub type Watch<'w> = dyn FnMut(Progress) + 'w;

/// How often a workspace that changes while it is examined is examined anew.
const ATTEMPT_COUNT_MAX: u32 = 3;

/// Examines a workspace.
///
/// # Errors
/// Only what keeps the examination from going on at all: the store cannot be reached or listed. Damage is in the
/// report.
pub fn examine(subject: &Subject, watch: &mut Watch<'_>) -> Result<Report> {
    for _ in 1..ATTEMPT_COUNT_MAX {
        let before = history::newest(&subject.store)?;
        let report = examine_once(subject, watch)?;
        // What a running mount replaced meanwhile looks like damage.
        if report.is_clean() || history::newest(&subject.store)? == before {
            return Ok(report);
        }
    }
    let mut report = examine_once(subject, watch)?;
    report.changed_meanwhile = true;
    Ok(report)
}

fn examine_once(subject: &Subject, watch: &mut Watch<'_>) -> Result<Report> {
    let mut report = Report::default();
    let Some(organisation) = foundation::examine(subject, &mut report)? else { return Ok(report) };
    let history = history::examine(subject, organisation, &mut report, watch)?;
    if let Some(history) = &history {
        let mut past = Past::plan(subject, history, &mut report, watch)?;
        let mut known = Known::new(past.remember());
        let nothing = BTreeSet::new();
        let found = census::examine(subject, history, (&nothing, &mut known), &mut report, watch)?;
        past.examine(subject, history, &mut known, (&mut report, watch))?;
        let named = (&found, &past, &known.blocks);
        stored::examine(subject, history, named, &mut report, watch)?;
        names::tell(history, &found, &mut report)?;
    }
    local::examine(subject, history.as_ref(), &mut report)?;
    Ok(report)
}
