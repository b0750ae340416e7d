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
//! 3. What cannot be read removes nothing: what it names, and may name if it stays, is left to the sweep. It holds up nothing else,
//!    unless it is the newest or the one that history begins with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strongroom_crypto::hash::sha256;
use strongroom_format::ids::{Digest, ObjectId};
use strongroom_store::Key as StoreKey;

use super::commit::Outbound;
use super::publish::unsure;
use crate::error::{ErrorKind, Result};
use crate::history::past::{Past, floor_due, is_before};
use crate::inbound::log::{Checkpoint, get, parse_if_sound};
use crate::later::{wait, wait_all};
use crate::limits::{Broken, DELETES_AT_ONCE, PAST_PAGES_MAX};
use crate::workspace::Inner;

/// What collection remembers of a checkpoint's root, which never changes but where a purge wrote a snapshot's anew.
pub struct PastRoot {
    /// Its author's clock.
    pub time: i64,
    /// Objects with its pages.
    pub pages: BTreeSet<ObjectId>,
}

type Objects = Arc<BTreeSet<ObjectId>>;

/// Data objects of checkpoints, read when somebody asks.
#[derive(Default)]
struct Held(BTreeMap<u64, Option<Objects>>);

/// What of that which goes a checkpoint that stays may need.
enum Needed {
    Nothing,
    These(Objects),
    /// It cannot be read.
    Unknown,
}

impl Needed {
    fn lets_go(&self, object: &ObjectId) -> bool {
        match self {
            Self::Nothing => true,
            Self::These(objects) => !objects.contains(object),
            Self::Unknown => false,
        }
    }
}

impl Held {
    /// None where they cannot be read.
    fn of(&mut self, past: &Past<'_>, seq: u64) -> Result<Option<Objects>> {
        if let Some(known) = self.0.get(&seq) {
            return Ok(known.clone());
        }
        let found = past.objects(seq)?.map(Arc::new);
        self.0.insert(seq, found.clone());
        Ok(found)
    }

    /// Of a checkpoint that stays.
    fn of_kept(&mut self, past: &Past<'_>, seq: u64) -> Result<Needed> {
        if self.of(past, seq)?.is_none() {
            // A purge elsewhere may just have replaced it, and taken the pages it had.
            self.0.remove(&seq);
        }
        Ok(self.of(past, seq)?.map_or(Needed::Unknown, Needed::These))
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
        let floor = self.floor(&past, outbound, head)?;
        let stays = |seq: &u64| *seq >= floor || pinned.contains(seq);
        let (kept, gone): (Vec<u64>, Vec<u64>) =
            past.checkpoints.iter().partition(|seq| stays(seq));
        self.forget_roots(&kept);
        let mut held = Held::default();
        let first = past.log.first().copied().unwrap_or(u64::MAX);
        // A purge leaves no older checkpoint: who is behind must find the numbers of commits taken all the same.
        let cuts = self.is_old(outbound, floor)?.unwrap_or(false);
        let cut: Vec<u64> = past.log.iter().copied().filter(|seq| cuts && *seq <= floor).collect();
        // ORDER: before anything goes: the present stands on the newest, and history begins with the other.
        let is_any = !(cut.is_empty() && gone.is_empty());
        for seq in kept.last().into_iter().chain([&floor]).filter(|_| is_any) {
            self.root_there(*seq)?;
        }
        for seq in cut {
            // The nearest snapshot before it.
            let before = kept.iter().rev().find(|at| **at < seq).copied();
            let needed = match self.is_stray(&past.log, seq, head)? {
                true => Some(Needed::Unknown),
                false => before.map(|at| held.of_kept(&past, at)).transpose()?,
            };
            self.remove_commit(seq, &needed.unwrap_or(Needed::Nothing))?;
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

    /// Whether nobody may need what is before a checkpoint, by its age. None: it is damaged or from the future, or the clock has jumped,
    /// and nothing says that.
    fn is_old(&self, outbound: &Outbound, seq: u64) -> Result<Option<bool>> {
        let shared = match outbound.is_shared() {
            true => self.options.tuning.retention,
            false => Duration::ZERO,
        };
        let now = self.services.clock.now_ns();
        let began = self.keep()?.began(shared, now);
        let Some(began) = began else { return Ok(Some(true)) };
        if !self.ages.lock().can_be_told(&*self.services.clock) {
            return Ok(None);
        }
        match self.past_root(seq) {
            // What is not shown is not old for that.
            Ok(root) => Ok(root.map_or(Some(false), |root| is_before(root.time, began, now))),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
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

    /// The same of one that stays.
    fn root_there(&self, seq: u64) -> Result<Arc<PastRoot>> {
        self.past_root(seq)?.ok_or_else(|| unsure(StoreKey::Checkpoint(seq)))
    }

    /// The same of one that is about to go: one that is damaged names nothing, and what it named is left to the sweep.
    pub(crate) fn past_root_if_sound(&self, seq: u64) -> Result<Option<Arc<PastRoot>>> {
        match self.past_root(seq) {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            told => told,
        }
    }

    /// Leaves in memory what is known of checkpoints that stay. Another home's purge may have replaced a snapshot's root meanwhile:
    /// the pages it has now are named by no other, and those it had it protects for longer than it must. So this is right
    /// for one that stays, and one that goes is read anew.
    fn forget_roots(&self, kept: &[u64]) {
        let mut known = self.past.lock();
        known.retain(|seq, _| kept.binary_search(seq).is_ok());
        let mut pages_count = 0;
        known.retain(|_, root| {
            pages_count += root.pages.len();
            pages_count <= PAST_PAGES_MAX
        });
    }

    /// Whether a commit is no part of the log: a home that stood still put it under a number that had been collected, and ended before
    /// it could take it back. What it let go of others may need. Such a one has none before it, and nobody built on it.
    fn is_stray(&self, log: &[u64], seq: u64, head: u64) -> Result<bool> {
        let is_there = |seq: u64| log.binary_search(&seq).is_ok();
        if seq >= head || !is_there(seq + 1) {
            return Ok(seq < head);
        }
        if is_there(seq.saturating_sub(1)) {
            return Ok(false);
        }
        let [this, next] = [seq, seq + 1].map(|seq| get(&self.store, StoreKey::Log(seq)));
        let (Some(this), Some(next)) = (this?, next?) else { return Ok(true) };
        let hash = parse_if_sound(&this)?.map(|file| Digest(sha256(file.header_bytes)));
        Ok(hash.is_none() || hash != parse_if_sound(&next)?.map(|file| file.header.parent))
    }

    fn remove_commit(&self, seq: u64, needed: &Needed) -> Result<()> {
        let key = StoreKey::Log(seq);
        let Some(bytes) = get(&self.store, key)? else { return Ok(()) };
        // What one let go of that is damaged is left to the sweep.
        let file = parse_if_sound(&bytes)?;
        let released = file.into_iter().flat_map(|file| file.header.released);
        let gone = released.filter(|object| needed.lets_go(object));
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
            only.retain(|object| others.lets_go(object));
        }
        self.delete_all(only.into_iter().map(StoreKey::Object))
    }

    fn remove_pages(&self, kept: &[u64], gone: &[u64]) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        for seq in kept {
            let root = match self.root_there(*seq) {
                // It may name any of them, and be healed by another copy: what it says now is no list.
                Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(()),
                root => root?,
            };
            named.extend(root.pages.iter().copied());
        }
        for seq in gone {
            let Some(root) = self.past_root_if_sound(*seq)? else { continue };
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
