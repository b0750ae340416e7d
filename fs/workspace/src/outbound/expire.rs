//! Collection, where more than the present is kept: because several homes write, and one that was away needs the past to put
//! what it did on top of what others did; because a rule keeps history; because a snapshot keeps one commit.
//!
//! ```text
//! snapshot     snapshot       floor ──────── log ───────▶ newest
//!    ▲ stands alone ▲           ▲ the oldest checkpoint that is kept with the log behind it
//! ```
//!
//! The log is the list of what it let go of; no other is kept. A data object is needed by the states from the commit that
//! brought it up to the one that let go of it: so one that goes with the log is looked for in the nearest snapshot before that,
//! and one of a snapshot that goes in its two neighbours. Page objects are listed by the checkpoints themselves.
//!
//! 1. An object that a commit let go of never comes back, so whoever removes it, and however often, is right.
//! 2. What a checkpoint or a piece of log names goes before it does: a crash in between is made good the next time.
//! 3. What cannot be read removes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strongroom_format::commit::CommitFile;
use strongroom_format::ids::ObjectId;
use strongroom_store::Key as StoreKey;

use super::commit::Outbound;
use super::publish::unsure;
use crate::error::Result;
use crate::history::past::{Past, floor_due};
use crate::inbound::log::{Checkpoint, get};
use crate::later::{wait, wait_all};
use crate::limits::{Broken, DELETES_AT_ONCE};
use crate::workspace::Inner;

/// What collection remembers of a checkpoint's root, which never changes but where a purge wrote a snapshot's anew.
pub struct PastRoot {
    /// Its author's clock.
    pub time: i64,
    /// Objects with its pages.
    pub pages: BTreeSet<ObjectId>,
}

/// Data objects of checkpoints, read when somebody asks.
#[derive(Default)]
struct Held(BTreeMap<u64, Option<Arc<BTreeSet<ObjectId>>>>);

impl Held {
    fn of(&mut self, past: &Past<'_>, seq: u64) -> Result<Option<Arc<BTreeSet<ObjectId>>>> {
        if let Some(known) = self.0.get(&seq) {
            return Ok(known.clone());
        }
        let found = past.objects(seq)?.map(Arc::new);
        self.0.insert(seq, found.clone());
        Ok(found)
    }

    /// Of a checkpoint that stays.
    fn of_kept(&mut self, past: &Past<'_>, seq: u64) -> Result<Arc<BTreeSet<ObjectId>>> {
        match self.of(past, seq)? {
            Some(found) => Ok(found),
            None => past.objects_there(seq).map(Arc::new),
        }
    }
}

impl Inner {
    /// Removes what nobody may need any more.
    ///
    /// # Errors
    /// Those of the store; what is left goes another time.
    pub(super) fn expire(&self, outbound: &mut Outbound) -> Result<()> {
        let past = Past::open(self)?;
        let head = self.state.lock().head.seq;
        let pinned = match self.options.tuning.broken {
            Some(Broken::SnapshotsNotKept) => BTreeSet::new(),
            _ => self.needed_commits()?,
        };
        // Another home's purge may have replaced them, at any time.
        self.past.lock().retain(|seq, _| !pinned.contains(seq));
        let floor = self.floor(&past, outbound, head)?;
        let stays = |seq: &u64| *seq >= floor || pinned.contains(seq);
        let (kept, gone): (Vec<u64>, Vec<u64>) =
            past.checkpoints.iter().partition(|seq| stays(seq));
        let mut held = Held::default();
        let first = past.log.first().copied().unwrap_or(u64::MAX);
        // A purge leaves no older checkpoint: who is behind must find the numbers of commits taken all the same.
        let cuts = self.is_old(outbound, floor)?;
        for seq in past.log.iter().copied().filter(|seq| cuts && *seq <= floor) {
            // The nearest snapshot before it.
            let before = kept.iter().rev().find(|at| **at < seq).copied();
            let needed = before.map(|at| held.of_kept(&past, at)).transpose()?;
            self.remove_commit(seq, needed.as_deref())?;
        }
        for seq in gone.iter().copied().filter(|seq| first > *seq + 1) {
            // The log behind it went before: it was a snapshot, and holds what no log lists.
            self.remove_held(&past, &mut held, seq, &kept)?;
        }
        self.remove_pages(&kept, &gone)?;
        for seq in gone {
            self.delete_stored(StoreKey::Checkpoint(seq))?;
            self.past.lock().remove(&seq);
        }
        outbound.has_past = self.keeps_history(outbound);
        Ok(())
    }

    /// The oldest checkpoint that is kept with all of the log behind it.
    fn floor(&self, past: &Past<'_>, outbound: &Outbound, head: u64) -> Result<u64> {
        let last = self.keep()?.last_before(head);
        floor_due(&past.checkpoints, last, |seq| self.is_old(outbound, seq))
    }

    /// Whether nobody may need what is before a checkpoint, by its age.
    fn is_old(&self, outbound: &Outbound, seq: u64) -> Result<bool> {
        let shared = match outbound.is_shared() {
            true => self.options.tuning.retention,
            false => Duration::ZERO,
        };
        let began = self.keep()?.began(shared, self.services.clock.now_ns());
        Ok(match began {
            // What is not shown is not old for that.
            Some(began) => self.past_root(seq)?.is_some_and(|root| root.time <= began),
            None => true,
        })
    }

    /// What a checkpoint's root says, verified. None if it is not there: another home has removed it, or the store says so.
    pub(crate) fn past_root(&self, seq: u64) -> Result<Option<Arc<PastRoot>>> {
        if let Some(known) = self.past.lock().get(&seq) {
            return Ok(Some(known.clone()));
        }
        let Some(Checkpoint { root, .. }) = self.reader_anew().checkpoint_at(seq)? else {
            return Ok(None);
        };
        let pages = root.page_objects.iter().map(|entry| entry.object).collect();
        let root = Arc::new(PastRoot { time: root.time, pages });
        self.past.lock().insert(seq, root.clone());
        Ok(Some(root))
    }

    fn remove_commit(&self, seq: u64, needed: Option<&BTreeSet<ObjectId>>) -> Result<()> {
        let key = StoreKey::Log(seq);
        let Some(bytes) = get(&self.store, key)? else { return Ok(()) };
        let released = CommitFile::parse(&bytes)?.header.released.into_iter();
        let gone = released.filter(|object| needed.is_none_or(|needed| !needed.contains(object)));
        self.delete_all(gone.map(StoreKey::Object))?;
        self.delete_stored(key)
    }

    /// Removes the data objects that only one state held.
    fn remove_held(&self, past: &Past<'_>, held: &mut Held, seq: u64, kept: &[u64]) -> Result<()> {
        // Pages go after these: without them these went before.
        let Some(objects) = held.of(past, seq)? else { return Ok(()) };
        let after = kept.partition_point(|at| *at < seq);
        let neighbours = [after.checked_sub(1), Some(after)];
        let neighbours = neighbours.into_iter().flatten().filter_map(|index| kept.get(index));
        let mut only: BTreeSet<ObjectId> = (*objects).clone();
        for at in neighbours {
            let others = held.of_kept(past, *at)?;
            only.retain(|object| !others.contains(object));
        }
        self.delete_all(only.into_iter().map(StoreKey::Object))
    }

    fn remove_pages(&self, kept: &[u64], gone: &[u64]) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        for seq in kept {
            let root = self.past_root(*seq)?.ok_or_else(|| unsure(StoreKey::Checkpoint(*seq)))?;
            named.extend(root.pages.iter().copied());
        }
        for seq in gone {
            let Some(root) = self.past_root(*seq)? else { continue };
            self.delete_all(root.pages.difference(&named).copied().map(StoreKey::Object))?;
        }
        Ok(())
    }

    pub(crate) fn delete_stored(&self, key: StoreKey) -> Result<()> {
        wait(async { Ok(self.store.delete(key).await?) })
    }

    /// Deletes many, some of them side by side.
    ///
    /// # Errors
    /// Those of the store; any of them may be gone then.
    pub(crate) fn delete_all(&self, keys: impl Iterator<Item = StoreKey>) -> Result<()> {
        let mut keys = keys;
        loop {
            let some = keys.by_ref().take(DELETES_AT_ONCE);
            let asked: Vec<_> = some.map(|key| self.store.delete(key)).collect();
            if asked.is_empty() {
                return Ok(());
            }
            wait_all(asked)?;
        }
    }
}
