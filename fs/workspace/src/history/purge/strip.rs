//! The end of a purge: names in the present, and what is left of the past.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::Kind;
use strongroom_store::{Body, Family, Key as StoreKey};

use super::{Begun, Intent};
use crate::door::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::history::restore::settle;
use crate::inbound::log::{get, keys_of, parse_if_sound};
use crate::later::wait;
use crate::limits::Broken;
use crate::offline::gather::place_of;
use crate::tree::pages::patiently;
use crate::tree::txn::Txn;
use crate::workspace::Inner;

impl Inner {
    /// Removes the names of inodes in the present. A folder in which somebody put something else stays.
    pub(super) fn remove_present(self: &Arc<Self>, inos: &[Ino]) -> Result<()> {
        let mut changes = Vec::new();
        let removed = self.remove_names_of(inos, &mut changes);
        self.tell_kernel(changes);
        removed?;
        self.purge_doomed()
    }

    fn remove_names_of(self: &Arc<Self>, inos: &[Ino], changes: &mut Vec<Change>) -> Result<()> {
        let mut left: BTreeSet<Ino> = inos.iter().copied().collect();
        loop {
            let before = left.len();
            for ino in left.clone() {
                if self.remove_name_of(ino, changes)? {
                    left.remove(&ino);
                }
            }
            if left.is_empty() || left.len() == before {
                return Ok(());
            }
        }
    }

    /// True when it is gone.
    fn remove_name_of(self: &Arc<Self>, ino: Ino, changes: &mut Vec<Change>) -> Result<bool> {
        let map = self.state.lock().map.snapshot();
        let Some(inode) = patiently(|| Txn::new(&map).find_inode(ino))? else { return Ok(true) };
        let Some((folder, name)) = place_of(&map, ino)? else { return Ok(true) };
        let removed = settle(self.remove_purged((folder, &name), ino));
        if removed.is_ok() {
            changes.push(Change::Name { folder, name });
            changes.push(Change::Inode { ino, content: true });
        }
        match removed {
            // One with several names is looked at again.
            Ok(()) => Ok(inode.kind == Kind::Folder || inode.link_count <= 1),
            Err(error) if matches!(error.kind(), ErrorKind::NotEmpty | ErrorKind::NotFound) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Objects that hold something of the past: pages of every checkpoint, what the log let go of, and the affected ones.
    pub(super) fn list_doomed(&self, intent: &Intent) -> Result<Vec<ObjectId>> {
        // Another home's purge may have replaced roots of snapshots.
        self.past.lock().clear();
        let mut doomed: BTreeSet<ObjectId> = intent.affected.iter().copied().collect();
        for key in keys_of(&self.store, Family::Checkpoint)? {
            let StoreKey::Checkpoint(seq) = key else { continue };
            let root = self.past_root_if_sound(seq)?;
            doomed.extend(root.iter().flat_map(|root| &root.pages));
        }
        for key in keys_of(&self.store, Family::Log)? {
            if let Some(bytes) = get(&self.store, key)?
                && let Some(file) = parse_if_sound(&bytes)?
            {
                doomed.extend(file.header.released);
            }
        }
        Ok(doomed.into_iter().collect())
    }

    /// Drops bodies, then checkpoints, then objects. Returns the commits that it could not, for they are damaged.
    pub(super) fn strip(&self, intent: &mut Intent, begun: Begun) -> Result<Vec<u64>> {
        let frozen = intent.frozen.unwrap_or(0);
        let log = keys_of(&self.store, Family::Log)?.into_iter().filter_map(|key| match key {
            StoreKey::Log(seq) if seq <= frozen => Some(seq),
            _ => None,
        });
        let left = self.strip_again(log.collect(), begun)?;
        self.past.lock().clear();
        // Also one whose snapshot is just being made.
        let pinned = self.needed_commits()?;
        let mut gone = Vec::new();
        for key in keys_of(&self.store, Family::Checkpoint)? {
            let StoreKey::Checkpoint(seq) = key else { continue };
            if seq < frozen && !pinned.contains(&seq) {
                // One that another home was about to write when this began is not listed yet.
                let root = self.past_root_if_sound(seq)?;
                intent.doomed.extend(root.iter().flat_map(|root| &root.pages));
                gone.push(key);
            }
        }
        // ORDER: what they name is written down before they go.
        self.write_intent(intent)?;
        for key in gone {
            self.delete_stored(key)?;
        }
        self.past.lock().clear();
        let outbound = self.outbound.lock();
        let (map, mut named) = self.on_its_way(&outbound);
        // Where several homes write, the pages of this map stay for a while, and what comes meanwhile names nothing from before.
        let held = (!outbound.is_shared()).then_some(outbound);
        named.extend(self.kept_objects(&map)?);
        let gone = intent.doomed().into_iter().filter(|object| !named.contains(object));
        self.delete_all(gone.map(StoreKey::Object))?;
        drop(held);
        Ok(left)
    }

    /// Drops bodies of commits. Returns those that are damaged.
    ///
    /// # Errors
    /// Those of the store; `Stale` when the workspace closes: the next process goes on.
    pub(super) fn strip_again(&self, log: Vec<u64>, begun: Begun) -> Result<Vec<u64>> {
        let mut left = Vec::new();
        for seq in log {
            if self.is_ending() {
                return Err(Error::new(ErrorKind::Stale, "the workspace closes"));
            }
            if !self.strip_commit(StoreKey::Log(seq), begun)? {
                left.push(seq);
            }
        }
        Ok(left)
    }

    /// False if it is damaged.
    fn strip_commit(&self, key: StoreKey, begun: Begun) -> Result<bool> {
        let Some(bytes) = get(&self.store, key)? else { return Ok(true) };
        let Some(file) = parse_if_sound(&bytes)? else { return Ok(false) };
        let left = self.options.tuning.broken == Some(Broken::BodiesNotDropped);
        if left || file.is_bare && !self.may_differ(begun) {
            return Ok(true);
        }
        let bare = if file.is_bare { bytes } else { Bytes::from(file.to_bare()) };
        wait(async { Ok(self.store.put(key, Body::Bytes(bare)).await.map(drop)?) })?;
        Ok(true)
    }
}
