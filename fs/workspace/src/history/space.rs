//! Whose bytes lie in the store: the present's, history's, each snapshot's alone, and nobody's.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use strongroom_format::commit::CommitFile;
use strongroom_format::ids::ObjectId;
use strongroom_format::key::{Key, Subject};
use strongroom_store::{Family, Key as StoreKey};

use super::past::Past;
use super::snapshot::snapshots_in;
use crate::error::Result;
use crate::inbound::log::{get, list_sizes};
use crate::tree::map::{Map, subject};
use crate::tree::pages::patiently;
use crate::workspace::{Inner, Workspace};

/// Bytes of objects by what needs them. An object counts once, for the first of present, history, snapshots that needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Usage {
    /// Of the present state.
    #[n(0)]
    pub live_bytes: u64,
    /// Of states behind the oldest checkpoint with a log.
    #[n(1)]
    pub history_bytes: u64,
    /// Of snapshots before that.
    #[n(2)]
    pub snapshot_bytes: u64,
    /// What would go with one snapshot, were it the only one to go: name, commit, bytes.
    #[n(3)]
    pub snapshots: Vec<SnapshotUsage>,
    /// Of no state: waiting for collection, or left by a process that ended.
    #[n(4)]
    pub garbage_bytes: u64,
    /// Commits and checkpoints.
    #[n(5)]
    pub log_bytes: u64,
    /// Oldest commit from which on every state can be read.
    #[n(6)]
    pub oldest_seq: u64,
    /// Copies on this device.
    #[n(7)]
    pub cache_bytes: u64,
}

/// What one snapshot holds alone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotUsage {
    /// Name.
    #[n(0)]
    pub name: String,
    /// Commit.
    #[n(1)]
    pub seq: u64,
    /// Bytes.
    #[n(2)]
    pub bytes: u64,
}

type Objects = BTreeSet<ObjectId>;

/// What is done about a checkpoint of the past that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unreadable {
    /// It is an error: what it names must not seem to be nobody's.
    Refused,
    /// It counts for nothing.
    PassedOver,
}

impl Workspace {
    /// Whose bytes lie in the store. Lists all objects and reads the log and the manifest of each snapshot. What only a damaged one
    /// holds seems to be nobody's.
    ///
    /// # Errors
    /// Those of the store.
    pub fn usage(&self) -> Result<Usage> {
        let inner = &self.0;
        let sizes = inner.object_sizes()?;
        let past = Past::open(inner)?;
        let map = inner.state.lock().map.committed();
        let mut live = objects_in(&map)?;
        if let Some(newest) = past.checkpoints.last() {
            live.extend(inner.pages_of(*newest, Unreadable::PassedOver)?);
        }
        let floor = past.floor()?.unwrap_or(0);
        let history = inner.history_objects(&past, floor, Unreadable::PassedOver)?;
        let held = inner.held_alone(&past, floor, Unreadable::PassedOver)?;
        let mut usage = Usage { oldest_seq: floor, ..Usage::default() };
        let bytes = |objects: &mut dyn Iterator<Item = &ObjectId>| -> u64 {
            objects.filter_map(|object| sizes.get(object)).sum()
        };
        let rest: Objects = history.difference(&live).copied().collect();
        let in_snapshots: Objects = held
            .iter()
            .flat_map(|(_, objects)| objects)
            .filter(|object| !live.contains(*object) && !history.contains(*object))
            .copied()
            .collect();
        usage.live_bytes = bytes(&mut live.iter());
        usage.history_bytes = bytes(&mut rest.iter());
        usage.snapshot_bytes = bytes(&mut in_snapshots.iter());
        for (_, snapshot) in patiently(|| snapshots_in(&map))? {
            let own = held.iter().find(|(seq, _)| *seq == snapshot.seq);
            let is_only = |object: &&ObjectId| {
                let others = held.iter().filter(|(seq, _)| *seq != snapshot.seq);
                in_snapshots.contains(*object)
                    && !others.into_iter().any(|(_, objects)| objects.contains(*object))
            };
            let only = own.map_or(0, |(_, objects)| bytes(&mut objects.iter().filter(is_only)));
            let (name, seq) = (snapshot.name.clone(), snapshot.seq);
            usage.snapshots.push(SnapshotUsage { name, seq, bytes: only });
        }
        let named = |object: &&ObjectId| {
            !(live.contains(*object) || history.contains(*object) || in_snapshots.contains(*object))
        };
        usage.garbage_bytes = bytes(&mut sizes.keys().filter(named));
        usage.log_bytes = inner.listed_bytes(&[Family::Log, Family::Checkpoint])?;
        let cache = inner.store.counters().into_iter().find(|(name, _)| *name == "cache_bytes");
        usage.cache_bytes = cache.map_or(0, |(_, bytes)| bytes);
        Ok(usage)
    }
}

impl Inner {
    pub(crate) fn object_sizes(&self) -> Result<BTreeMap<ObjectId, u64>> {
        let mut sizes = BTreeMap::new();
        self.visit_listed(Family::Object, &mut |key, len| {
            if let StoreKey::Object(object) = key {
                sizes.insert(object, len);
            }
        })?;
        Ok(sizes)
    }

    fn listed_bytes(&self, families: &[Family]) -> Result<u64> {
        let mut sum = 0;
        for family in families {
            self.visit_listed(*family, &mut |_, len| sum += len)?;
        }
        Ok(sum)
    }

    fn visit_listed(&self, family: Family, visit: &mut dyn FnMut(StoreKey, u64)) -> Result<()> {
        let mut after = None;
        loop {
            let page = list_sizes(&self.store, family, after)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key);
            page.iter().for_each(|listed| visit(listed.key, listed.len));
        }
    }

    fn pages_of(&self, seq: u64, unreadable: Unreadable) -> Result<Objects> {
        let root = match unreadable {
            Unreadable::Refused => self.past_root(seq)?,
            Unreadable::PassedOver => self.past_root_if_sound(seq)?,
        };
        Ok(root.map(|root| root.pages.clone()).unwrap_or_default())
    }

    fn objects_of(&self, past: &Past<'_>, seq: u64, unreadable: Unreadable) -> Result<Objects> {
        match unreadable {
            Unreadable::Refused => past.objects_there(seq),
            Unreadable::PassedOver => Ok(past.objects(seq)?.unwrap_or_default()),
        }
    }

    /// What the states before a checkpoint need, one by one.
    fn held_alone(
        &self,
        past: &Past<'_>,
        floor: u64,
        unreadable: Unreadable,
    ) -> Result<Vec<(u64, Objects)>> {
        let mut held = Vec::new();
        for seq in past.checkpoints.iter().copied().filter(|seq| *seq < floor) {
            let mut objects = self.objects_of(past, seq, unreadable)?;
            // Another home's purge may have given it others.
            self.past.lock().remove(&seq);
            objects.extend(self.pages_of(seq, unreadable)?);
            held.push((seq, objects));
        }
        Ok(held)
    }

    /// What any state that can be read needs.
    ///
    /// # Errors
    /// Those of the store; `Corrupt` if a manifest cannot be read.
    pub(crate) fn past_objects(&self, past: &Past<'_>) -> Result<Objects> {
        let floor = past.floor()?.unwrap_or(0);
        let mut objects = self.history_objects(past, floor, Unreadable::Refused)?;
        for (_, held) in self.held_alone(past, floor, Unreadable::Refused)? {
            objects.extend(held);
        }
        Ok(objects)
    }

    /// What the states from a checkpoint on need: its objects, those that came later, pages of the checkpoints in between.
    fn history_objects(
        &self,
        past: &Past<'_>,
        floor: u64,
        unreadable: Unreadable,
    ) -> Result<Objects> {
        let mut objects = self.objects_of(past, floor, unreadable)?;
        for seq in past.checkpoints.iter().filter(|seq| **seq >= floor) {
            objects.extend(self.pages_of(*seq, unreadable)?);
        }
        for seq in past.log.iter().filter(|seq| **seq > floor) {
            if let Some(bytes) = get(&self.store, StoreKey::Log(*seq))? {
                let added = CommitFile::parse(&bytes)?.header.added;
                objects.extend(added.iter().map(|added| added.object));
            }
        }
        Ok(objects)
    }
}

/// Data objects that a map names.
pub(crate) fn objects_in(map: &Map) -> Result<Objects> {
    let (from, to) = Key::objects();
    patiently(|| {
        let mut found = BTreeSet::new();
        map.scan(&from, &to, None, &mut |key, _| {
            if let Subject::Object(object) = subject(key) {
                found.insert(object);
            }
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(found)
    })
}
