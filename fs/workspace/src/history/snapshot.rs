//! Snapshots: commits that collection leaves readable, whatever the rule says. Each stands on the checkpoint of its commit,
//! which is written first and stays as long as the snapshot.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use strongroom_format::ids::SnapshotId;
use strongroom_format::inode::{SNAPSHOT_NAME_LEN_MAX, Snapshot};
use strongroom_format::key::{Key, Subject};
use strongroom_format::op::Op;

use super::keep::keep_in;
use crate::error::{Error, ErrorKind, Result};
use crate::outbound::commit::{Outbound, Reason};
use crate::state::Head;
use crate::tree::map::{Map, Value, subject};
use crate::tree::need::Look;
use crate::tree::pages::patiently;
use crate::workspace::{Inner, Workspace};

/// LIMIT: snapshots of one workspace.
pub const SNAPSHOTS_MAX: usize = 10_000;
/// LIMIT: commits of others between which a checkpoint of the newest commit is tried.
const FREEZE_TRIES_MAX: u32 = 16;

/// Whether a snapshot may be called this: begins with a letter, so that it is no number and no time.
pub fn is_snapshot_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.len() <= SNAPSHOT_NAME_LEN_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(inner)
}

/// All snapshots that a map names, by commit.
pub(crate) fn snapshots_in(map: &Map) -> Look<Vec<(SnapshotId, Arc<Snapshot>)>> {
    let (from, to) = Key::snapshots();
    let mut found = Vec::new();
    map.scan(&from, &to, None, &mut |key, value| {
        if let (Subject::Snapshot(id), Value::Snapshot(snapshot)) = (subject(key), value) {
            found.push((id, snapshot.clone()));
        }
        ControlFlow::Continue(())
    })?;
    found.sort_by_key(|(id, snapshot)| (snapshot.seq, *id));
    Ok(found)
}

/// Commits that snapshots of a map stand for.
pub(crate) fn pinned_in(map: &Map) -> Result<BTreeSet<u64>> {
    let snapshots = patiently(|| snapshots_in(map))?;
    Ok(snapshots.iter().map(|(_, snapshot)| snapshot.seq).collect())
}

impl Workspace {
    /// Commits everything and makes that commit a snapshot. Returns when it is one for every home.
    ///
    /// # Errors
    /// `Exists`, `Invalid` for the name, `ReadOnly`, `Full` for too many; what the commit met.
    pub fn make_snapshot(&self, name: &str) -> Result<Arc<Snapshot>> {
        self.0.make_snapshot(name)
    }

    /// Lets a snapshot go, and with it what no other state needs.
    ///
    /// # Errors
    /// `NotFound`, `ReadOnly`; what the commit met.
    pub fn drop_snapshot(&self, name: &str) -> Result<()> {
        self.0.drop_snapshot(name)
    }

    /// All of them, by commit.
    ///
    /// # Errors
    /// Those of the store.
    pub fn snapshots(&self) -> Result<Vec<Arc<Snapshot>>> {
        let all = self.0.look_unlocked(|state| snapshots_in(&state.map))?;
        Ok(all.into_iter().map(|(_, snapshot)| snapshot).collect())
    }
}

impl Inner {
    fn make_snapshot(&self, name: &str) -> Result<Arc<Snapshot>> {
        self.writable()?;
        if !is_snapshot_name(name) {
            let message =
                "a snapshot's name has 1 to 64 letters, digits, `.`, `_` or `-`, a letter first";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let all = self.look_unlocked(|state| snapshots_in(&state.map))?;
        if all.iter().any(|(_, snapshot)| snapshot.name == name) {
            return Err(Error::new(ErrorKind::Exists, "there is a snapshot of this name"));
        }
        if all.len() >= SNAPSHOTS_MAX {
            return Err(Error::new(ErrorKind::Full, "there are 10,000 snapshots"));
        }
        let head = self.freeze_now()?;
        let snapshot = Snapshot {
            name: name.to_owned(),
            seq: head.seq,
            head: head.hash,
            time: self.services.clock.now_ns(),
            device: self.keys.device_id(),
        };
        let id = SnapshotId(self.services.entropy.array());
        self.do_now(&Op::SetSnapshot { id, snapshot: Some(snapshot.clone()) })?;
        self.commit(Reason::Asked)?;
        Ok(Arc::new(snapshot))
    }

    /// Commits everything and writes the checkpoint of that very commit.
    pub(crate) fn freeze_now(&self) -> Result<Head> {
        for _ in 0..FREEZE_TRIES_MAX {
            self.commit(Reason::Freezing)?;
            let outbound = self.outbound.lock();
            let head = self.state.lock().head;
            if outbound.checkpoint_seq == head.seq {
                return Ok(head);
            }
        }
        let message = "others commit faster than a checkpoint is written; try again";
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    fn drop_snapshot(&self, name: &str) -> Result<()> {
        self.writable()?;
        let all = self.look_unlocked(|state| snapshots_in(&state.map))?;
        let found = all.iter().find(|(_, snapshot)| snapshot.name == name);
        let (id, _) = found.ok_or_else(|| no_such(name))?;
        self.do_now(&Op::SetSnapshot { id: *id, snapshot: None })?;
        self.commit(Reason::Asked)?;
        let mut outbound = self.outbound.lock();
        outbound.leftovers.expire = true;
        self.tidy_up(&mut outbound, Reason::Asked)
    }

    /// Whether anything but the present is kept: a rule, or a snapshot. While that is not known, it is.
    pub(crate) fn keeps_history(&self, outbound: &Outbound) -> bool {
        if outbound.is_shared() {
            return true;
        }
        let (known, map) = {
            let state = self.state.lock();
            (state.keeps_history, state.map.committed())
        };
        let looked = known.map_or_else(|| keeps(&map), Ok);
        if let Ok(keeps) = looked {
            self.state.lock().keeps_history = Some(keeps);
        }
        looked.unwrap_or(true)
    }
}

fn keeps(map: &Map) -> Result<bool> {
    patiently(|| Ok(!keep_in(map)?.is_none() || !snapshots_in(map)?.is_empty()))
}

/// The error for a name that no snapshot has.
pub(crate) fn no_such(name: &str) -> Error {
    let shown = if is_snapshot_name(name) { name } else { "?" };
    Error::new(ErrorKind::NotFound, format!("there is no snapshot `{shown}`"))
}
