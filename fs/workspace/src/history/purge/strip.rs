//! The end of a purge: names in the present, and what is left of the past.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_format::commit::CommitFile;
use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::Kind;
use strongroom_store::{Body, Family, Key as StoreKey};

use super::{Begun, Intent};
use crate::error::{ErrorKind, Result};
use crate::history::restore::settle;
use crate::inbound::log::{get, keys_of};
use crate::later::wait;
use crate::limits::Broken;
use crate::offline::gather::place_of;
use crate::tree::pages::patiently;
use crate::tree::txn::Txn;
use crate::workspace::Inner;

impl Inner {
    /// Removes the names of inodes in the present. A folder in which somebody put something else stays.
    pub(super) fn remove_present(self: &Arc<Self>, inos: &[Ino]) -> Result<()> {
        let mut left: BTreeSet<Ino> = inos.iter().copied().collect();
        loop {
            let before = left.len();
            for ino in left.clone() {
                if self.remove_name_of(ino)? {
                    left.remove(&ino);
                }
            }
            if left.is_empty() || left.len() == before {
                break;
            }
        }
        self.purge_doomed()
    }

    /// True when it is gone.
    fn remove_name_of(self: &Arc<Self>, ino: Ino) -> Result<bool> {
        let map = self.state.lock().map.snapshot();
        let Some(inode) = patiently(|| Txn::new(&map).find_inode(ino))? else { return Ok(true) };
        let Some((folder, name)) = place_of(&map, ino)? else { return Ok(true) };
        let removed = match inode.kind {
            Kind::Folder => settle(self.remove_folder(folder, &name)),
            _ => settle(self.unlink(folder, &name)),
        };
        match removed {
            // One with several names is looked at again.
            Ok(()) => Ok(inode.kind == Kind::Folder || inode.link_count <= 1),
            Err(error) if error.kind() == ErrorKind::NotEmpty => Ok(false),
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
            if let Some(bytes) = get(&self.store, key)? {
                doomed.extend(CommitFile::parse(&bytes)?.header.released);
            }
        }
        Ok(doomed.into_iter().collect())
    }

    /// Drops bodies, then checkpoints, then objects.
    pub(super) fn strip(&self, intent: &mut Intent, begun: Begun) -> Result<()> {
        let frozen = intent.frozen.unwrap_or(0);
        for key in keys_of(&self.store, Family::Log)? {
            if key <= StoreKey::Log(frozen) {
                self.strip_commit(key, begun)?;
            }
        }
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
        let named = self.named(&outbound)?;
        let gone = intent.doomed().into_iter().filter(|object| !named.contains(object));
        self.delete_all(gone.map(StoreKey::Object))
    }

    fn strip_commit(&self, key: StoreKey, begun: Begun) -> Result<()> {
        let Some(bytes) = get(&self.store, key)? else { return Ok(()) };
        let file = CommitFile::parse(&bytes)?;
        let left = self.options.tuning.broken == Some(Broken::BodiesNotDropped);
        if left || file.is_bare && !self.may_differ(begun) {
            return Ok(());
        }
        let bare = if file.is_bare { bytes } else { Bytes::from(file.to_bare()) };
        wait(async { Ok(self.store.put(key, Body::Bytes(bare)).await.map(drop)?) })
    }
}
