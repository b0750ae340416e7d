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
use crate::outbound::commit::Reason;
use crate::tree::map::Map;
use crate::tree::pages::patiently;
use crate::tree::places::{Named, names_below, names_of};
use crate::tree::txn::Txn;
use crate::workspace::Inner;

/// LIMIT: how often names are taken away that others moved within what is purged.
const REMOVALS_MAX: u32 = 16;

impl Inner {
    /// Removes the names of inodes in the present, in commits, until none is left where they were looked for. A folder in which
    /// somebody put something else stays, and so does a file that somebody moved away: it is not purged. Returns how many such
    /// files there are.
    ///
    /// # Errors
    /// Those of journal and store.
    pub(super) fn remove_present(self: &Arc<Self>, intent: &mut Intent) -> Result<u64> {
        for _ in 0..REMOVALS_MAX {
            let map = self.state.lock().map.snapshot();
            // ORDER: behind the map. What others brought back that this purge had removed, before it was interrupted, is their own.
            let gone = self.look_since(intent.looked, &intent.inos)?.removed;
            let mut inos: BTreeSet<Ino> = intent.inos.iter().copied().collect();
            inos.retain(|ino| !gone.contains(ino));
            let names = match &intent.places {
                Some(places) => names_below(&map, places)?.into_iter().collect(),
                None => names_of(&map, &inos)?,
            };
            let names = names.into_iter().filter(|named| inos.contains(&named.ino)).collect();
            let mut changes = Vec::new();
            let removed = self.remove_names(names, &mut changes);
            let is_done = changes.is_empty();
            self.tell_kernel(changes);
            removed?;
            if is_done {
                return spare_named(&map, intent, &inos);
            }
            self.purge_doomed()?;
            self.commit(Reason::Asked)?;
        }
        let message = "others move what is purged faster than it goes; it goes on later";
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Again and again, as long as some go: a folder goes behind all that it has.
    fn remove_names(self: &Arc<Self>, names: Vec<Named>, changes: &mut Vec<Change>) -> Result<()> {
        let mut left = names;
        loop {
            let mut full = Vec::new();
            let before = left.len();
            for named in left {
                let Named { ino, folder, name } = &named;
                match settle(self.remove_purged((*folder, name), *ino)) {
                    Ok(()) => {
                        changes.push(Change::Name { folder: *folder, name: name.clone() });
                        changes.push(Change::Inode { ino: *ino, content: true });
                    }
                    Err(error) if error.kind() == ErrorKind::NotEmpty => full.push(named),
                    // Somebody moved it meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            if full.is_empty() || full.len() == before {
                return Ok(());
            }
            left = full;
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

/// Takes the files out that have a name still. Returns how many.
fn spare_named(map: &Map, intent: &mut Intent, inos: &BTreeSet<Ino>) -> Result<u64> {
    let mut spared = BTreeSet::new();
    for ino in inos {
        let inode = patiently(|| Txn::new(map).find_inode(*ino))?;
        if inode.is_some_and(|inode| inode.kind != Kind::Folder && inode.link_count > 0) {
            spared.insert(*ino);
        }
    }
    intent.inos.retain(|ino| !spared.contains(ino));
    Ok(spared.len() as u64)
}
