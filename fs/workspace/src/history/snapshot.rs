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
/// LIMIT: commits of others between which a checkpoint of the newest commit is tried, and how often a snapshot is.
const FREEZE_TRIES_MAX: u32 = 16;

/// Whether a snapshot may be called this: begins with a letter, so that it is no number and no time.
pub fn is_snapshot_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.len() <= SNAPSHOT_NAME_LEN_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(inner)
}

/// All snapshots that a map names, by commit.
///
/// # Errors
/// Those of the map.
pub fn snapshots_in(map: &Map) -> Look<Vec<(SnapshotId, Arc<Snapshot>)>> {
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
        for _ in 0..FREEZE_TRIES_MAX {
            if let Some(snapshot) = self.try_snapshot(name)? {
                return Ok(snapshot);
            }
        }
        let message = "others collect faster than a snapshot is made; try again";
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// None if others collected its state before they heard of it: the commit leaves it out then.
    fn try_snapshot(&self, name: &str) -> Result<Option<Arc<Snapshot>>> {
        let frozen = self.freeze_now()?;
        let snapshot = Snapshot {
            name: name.to_owned(),
            seq: frozen.head.seq,
            head: frozen.head.hash,
            time: self.services.clock.now_ns(),
            device: self.keys.device_id(),
        };
        let id = SnapshotId(self.services.entropy.array());
        self.do_now(&Op::SetSnapshot { id, snapshot: Some(snapshot.clone()) })?;
        self.commit(Reason::Asked)?;
        // ORDER: now the committed map has it.
        drop(frozen);
        let is_made = self.look_unlocked(|state| state.map.get(&Key::snapshot(id)))?.is_some();
        Ok(is_made.then(|| Arc::new(snapshot)))
    }

    /// Commits everything and writes the checkpoint of that very commit, which stays as long as what is returned.
    pub(crate) fn freeze_now(&self) -> Result<Frozen<'_>> {
        for _ in 0..FREEZE_TRIES_MAX {
            self.commit(Reason::Freezing)?;
            let outbound = self.outbound.lock();
            let head = self.state.lock().head;
            if outbound.checkpoint_seq == head.seq {
                // ORDER: while nobody else commits: what comes after it lets go of what it needs.
                self.frozen_commits.lock().push(head.seq);
                return Ok(Frozen { head, inner: self });
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

    /// Commits that snapshots stand for, also those whose making or end is not committed yet.
    pub(crate) fn needed_commits(&self) -> Result<BTreeSet<u64>> {
        // ORDER: before the maps, one of which has it when it is here no more.
        let frozen = self.frozen_commits.lock().clone();
        let maps = {
            let state = self.state.lock();
            [state.map.committed(), state.map.snapshot()]
        };
        let mut needed: BTreeSet<u64> = frozen.into_iter().collect();
        for map in &maps {
            needed.extend(pinned_in(map)?);
        }
        Ok(needed)
    }

    /// Whether anything but the present is kept: a rule, or a snapshot. While that is not known, it is, and while a change of it is
    /// on its way: a commit that was cut before may settle after it.
    pub(crate) fn keeps_history(&self, outbound: &Outbound) -> bool {
        if outbound.is_shared() || !self.frozen_commits.lock().is_empty() {
            return true;
        }
        let (changes, maps) = {
            let state = self.state.lock();
            if let Some(known) = state.keeps_history {
                return known;
            }
            (state.history_changes, [state.map.committed(), state.map.snapshot()])
        };
        let Ok([before, after]) = both(&maps) else { return true };
        let mut state = self.state.lock();
        if before == after && state.history_changes == changes {
            state.keeps_history = Some(after);
        }
        before || after || state.history_changes != changes
    }
}

/// A commit with a checkpoint of its own, which collection leaves alone until this is dropped.
pub(crate) struct Frozen<'a> {
    /// The commit.
    pub(crate) head: Head,
    inner: &'a Inner,
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let mut frozen = self.inner.frozen_commits.lock();
        if let Some(index) = frozen.iter().position(|seq| *seq == self.head.seq) {
            frozen.swap_remove(index);
        }
    }
}

fn both([before, after]: &[Map; 2]) -> Result<[bool; 2]> {
    Ok([keeps(before)?, keeps(after)?])
}

fn keeps(map: &Map) -> Result<bool> {
    patiently(|| Ok(!keep_in(map)?.is_none() || !snapshots_in(map)?.is_empty()))
}

/// The error for a name that no snapshot has.
pub(crate) fn no_such(name: &str) -> Error {
    let shown = if is_snapshot_name(name) { name } else { "?" };
    Error::new(ErrorKind::NotFound, format!("there is no snapshot `{shown}`"))
}
