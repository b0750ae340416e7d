//! Where several homes write, what commits and checkpoints made superfluous stays for a time: a home that was away
//! needs it to put what it did on top of what others did. Then it goes: checkpoints, the log below the oldest one kept,
//! and the objects that either let go of. The log is the list of these; no other is kept.
//!
//! 1. An object that a commit let go of never comes back, so whoever removes it, and however often, is right.
//! 2. What a checkpoint or a piece of log names goes before it does: a crash in between is made good the next time.

use std::collections::BTreeSet;

use strongroom_format::checkpoint::{CheckpointFile, CheckpointRoot};
use strongroom_format::commit::CommitFile;
use strongroom_format::ids::ObjectId;
use strongroom_store::{Family, Key as StoreKey};

use crate::error::Result;
use crate::inbound::log::{get, keys_of};
use crate::later::wait;
use crate::workspace::Inner;

impl Inner {
    /// Removes what is older than anybody may need.
    ///
    /// # Errors
    /// Those of the store; what is left goes another time.
    pub(super) fn expire(&self) -> Result<()> {
        let all = keys_of(&self.store, Family::Checkpoint)?;
        let gone = all.len() - self.kept_from(&all)?.len();
        let (gone, kept) = all.split_at(gone);
        let (false, Some(StoreKey::Checkpoint(floor))) = (gone.is_empty(), kept.first()) else {
            return Ok(());
        };
        let mut named = BTreeSet::new();
        for key in kept {
            named.extend(self.pages_named_by(*key)?);
        }
        for key in gone {
            for object in self.pages_named_by(*key)?.difference(&named) {
                self.delete_stored(StoreKey::Object(*object))?;
            }
        }
        for key in keys_of(&self.store, Family::Log)? {
            let StoreKey::Log(seq) = key else { continue };
            if seq <= *floor {
                self.remove_commit(key)?;
            }
        }
        gone.iter().try_for_each(|key| self.delete_stored(*key))
    }

    /// Checkpoints from the one that was the newest when the time to keep things began.
    fn kept_from<'k>(&self, all: &'k [StoreKey]) -> Result<&'k [StoreKey]> {
        let retention = i64::try_from(self.options.tuning.retention.as_nanos()).unwrap_or(i64::MAX);
        let began = self.services.clock.now_ns().saturating_sub(retention);
        let mut kept = all;
        while let [_, next, ..] = kept {
            match self.root_of(*next)? {
                Some(root) if root.time <= began => kept = &kept[1..],
                _ => break,
            }
        }
        Ok(kept)
    }

    fn root_of(&self, key: StoreKey) -> Result<Option<CheckpointRoot>> {
        match get(&self.store, key)? {
            Some(bytes) => Ok(Some(CheckpointFile::parse(&bytes)?.root)),
            // Another home was faster.
            None => Ok(None),
        }
    }

    fn pages_named_by(&self, key: StoreKey) -> Result<BTreeSet<ObjectId>> {
        let root = self.root_of(key)?;
        Ok(root.iter().flat_map(|root| &root.page_objects).map(|entry| entry.object).collect())
    }

    fn remove_commit(&self, key: StoreKey) -> Result<()> {
        let Some(bytes) = get(&self.store, key)? else { return Ok(()) };
        for object in CommitFile::parse(&bytes)?.header.released {
            self.delete_stored(StoreKey::Object(object))?;
        }
        self.delete_stored(key)
    }

    fn delete_stored(&self, key: StoreKey) -> Result<()> {
        wait(async { Ok(self.store.delete(key).await?) })
    }
}
