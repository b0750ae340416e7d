//! Cutting a batch and publishing it: order is everything here.
//!
//! ```text
//! seal what is unsealed -> cut (under the lock) -> objects into the store -> signed commit, create-new on the next
//! sequence number -> staged objects retired, journal released, unreferenced objects deleted -> checkpoint if due
//! ```
//!
//! 1. A cut holds every change up to one journal record and none after it.
//! 2. A cut that could not be published is published before the next is made.
//! 3. The journal keeps its records until the commit is durable.
//! 4. A commit that nobody could read is never signed. LIMIT: conflict copies of files with more than some 70,000 extents may
//!    make one too long; nothing more of this home is committed then, and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use strongroom_crypto::lthash::LtHash;
use strongroom_format::checkpoint::{JournalMark, WriterSlot};
use strongroom_format::commit::{Body, ObjectAdded};
use strongroom_format::ids::{DeviceId, Ino, ObjectId};
use strongroom_format::inode::ObjectUse;
use strongroom_format::key::Key;
use strongroom_format::ops;

use super::background::pause_after;
use super::checkpoint::{CheckpointDue, Ledger, Written};
use crate::block::staging::Staged;
use crate::error::{Error, ErrorKind, Result};
use crate::inbound::recover::unmeasured;
use crate::inbound::roster::Pin;
use crate::limits::{
    BATCH_AGE_MAX, CHECKPOINT_OVERLAY_COUNT, LOST_RACES_MAX, OVERLAY_COUNT_MAX, Tuning,
};
use crate::state::{Batch, Head, State, poisoned};
use crate::tree::map::{Layer, Value};
use crate::tree::need::{Look, Need};
use crate::tree::pages::look_again;
use crate::tree::txn::Txn;
use crate::workspace::{Inner, Mode, frozen};

/// Why a commit is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The batch is old or large enough.
    Due,
    /// Somebody waits for it.
    Asked,
    /// The workspace closes: a checkpoint follows sooner.
    Closing,
    /// Journal records were given up at recovery: the commit says so, even if it carries nothing.
    Covering,
    /// A checkpoint of the newest commit is wanted.
    Freezing,
    /// A home begins: the commit gives it its writer slot, even if it carries nothing.
    Claiming,
}

type StagedObjects = Vec<Arc<Staged>>;

/// A batch cut off, ready to be published.
#[derive(Default)]
pub struct Cut {
    /// Encoded operations.
    pub ops: Vec<u8>,
    /// How many.
    pub count: u64,
    /// Last journal record it covers.
    pub journal_upto: u64,
    /// Sequence the author had applied.
    pub base_seq: u64,
    /// Staged objects it brings to life.
    pub objects: Vec<Arc<Staged>>,
    /// Objects it brings to life that are in the store already.
    pub adopted: Vec<ObjectAdded>,
    /// Staged objects nothing refers to any more: never put.
    pub discarded: Vec<Arc<Staged>>,
    /// Objects that are, or may be, in the store and that nothing refers to any more, and no commit ever did. ORDER: deleted when the
    /// cut is committed; till then journal records name them, and a recovery that misses one gives up all after it.
    pub superfluous: Vec<ObjectAdded>,
    /// Objects in the store that nothing refers to any more, since this cut,
    pub released: Vec<ObjectId>,
    /// … and since earlier ones, which had no room to say so.
    pub released_before: Vec<ObjectId>,
    /// Those that this one has no room for.
    pub released_later: Vec<ObjectId>,
    /// Whether what is committed is set aside for a checkpoint as soon as it is published.
    pub freezes: bool,
    /// What the first try to publish found of the objects.
    pub tried: Option<Vec<ObjectAdded>>,
    /// Staged objects that a cut before this one tried to put.
    pub tried_before: Vec<ObjectAdded>,
    /// The record that the last try made of it.
    pub built: Option<Built>,
}

/// A signed commit, and what it was made for.
pub struct Built {
    /// The commit before.
    pub parent: Head,
    /// Position in the organisation log.
    pub pin: Pin,
    /// The file.
    pub record: Bytes,
    /// The head that it makes.
    pub head: Head,
}

impl Cut {
    /// Objects in the store that the commit lets go of.
    pub(crate) fn released(&self) -> impl Iterator<Item = ObjectId> {
        self.released_before.iter().chain(&self.released).copied()
    }

    /// Whether a body holds just what this holds: only then is it in the log.
    pub(crate) fn is_content_of(&self, body: &Body) -> bool {
        let same = (body.head.journal_upto, body.head.op_count) == (self.journal_upto, self.count);
        same && ops::encode(&body.ops).is_ok_and(|ops| ops == self.ops)
    }
}

/// What a published commit or checkpoint has made superfluous and what could not go yet. Nothing depends on it.
#[derive(Default)]
pub struct Leftovers {
    /// Staged objects.
    pub staged: Vec<Arc<Staged>>,
    /// Objects in the store.
    pub stored: Vec<ObjectId>,
    /// Commits up to this one, and checkpoints before it.
    pub log_upto: Option<u64>,
    /// Whether to look for what is old enough to go, where more than the present is kept.
    pub expire: bool,
    /// Whether to look for what nobody names.
    pub sweep: bool,
}

/// What the committer keeps between commits. One at a time works on it.
pub struct Outbound {
    /// A cut that is not published yet.
    pub pending: Option<Cut>,
    /// This home's commit counter.
    pub counter: u64,
    /// Page objects of the last checkpoint.
    pub ledger: Ledger,
    /// Sequence of the last checkpoint.
    pub checkpoint_seq: u64,
    /// When this was opened: a commit, or the checkpoint, that nothing but empty commits of this home came after.
    pub changed_seq: u64,
    /// When this was opened: the commit of this home that first covered its newest records, if the log behind the checkpoint shows it.
    pub covering_seq: Option<u64>,
    /// A published commit whose frozen layer still has to be written out.
    pub checkpoint_due: Option<CheckpointDue>,
    /// A checkpoint whose pages are in the store and whose root may be.
    pub written: Option<Written>,
    /// What could not be let go of yet.
    pub leftovers: Leftovers,
    /// When the store last answered and this home had all there is: by the wall clock and since the start.
    pub contact: (i64, Duration),
    /// When a cut was last committed, by the clock that never goes back.
    pub settled: Duration,
    /// Whether the next checkpoint may name no page from before: something is being purged.
    pub rewrite_all: bool,
    /// Whether the pages in the store for the checkpoint under way are such.
    pub fresh_written: bool,
    /// A commit that purged something: a checkpoint before it must not be built upon any longer.
    pub renew_to: Option<u64>,
    /// Whether there is more in the store than the present, so that collection has to look.
    pub has_past: bool,
    /// When a newer checkpoint was last looked for.
    pub renewed: Duration,
    /// Objects in the store that no commit names yet: the crash came between putting them and the commit.
    pub adopted: Vec<ObjectAdded>,
    /// Staged objects that may be in the store: a cut that was given up tried to put them.
    pub tried: Vec<ObjectAdded>,
    /// Objects that commits of this home let go of and had no room to say so. The next ones do.
    pub released: Vec<ObjectId>,
    /// Last journal record of this home that a commit covers.
    pub journal_upto: u64,
    /// The same of every home, by device and incarnation.
    pub marks: BTreeMap<(DeviceId, u64), JournalMark>,
    /// Writer slots given so far: who has which, and how far.
    pub slots: Vec<WriterSlot>,
    /// Newest commit after which head and journal were brought in line.
    pub remembered_seq: u64,
    /// Digest of the last checkpoint's map.
    pub digest: LtHash,
    /// Orphans of this home, as they are listed on the local disk.
    pub nameless: BTreeSet<Ino>,
    /// What the last try met.
    pub last_error: Option<Error>,
    /// Tries that met something, in a row.
    pub failed_count: u32,
    /// What taking in others' commits met the last time.
    pub follow_error: Option<Error>,
}

impl Outbound {
    /// Whether commits name all that went to the store, but for what is superfluous.
    pub(super) fn names_all_sent(&self) -> bool {
        self.pending.is_none() && self.adopted.is_empty() && self.tried.is_empty()
    }

    /// Why the last commit did not go through, or others' commits could not be taken in.
    pub fn trouble(&self) -> Option<String> {
        self.last_error.as_ref().or(self.follow_error.as_ref()).map(ToString::to_string)
    }
}

impl Inner {
    /// Whether the batch should be committed now.
    pub(crate) fn commit_is_due(&self) -> bool {
        let now = self.services.clock.elapsed();
        {
            let due = self.due.lock();
            if due.commit || due.again.is_some_and(|again| again <= now) {
                return true;
            }
        }
        let state = self.state.lock();
        let began = state.batch.began;
        let old = began.is_some_and(|began| now.saturating_sub(began) >= BATCH_AGE_MAX);
        old || is_full(&state, &self.options.tuning)
    }

    /// Wakes the background thread when the batch is full.
    pub(crate) fn wake_if_full(&self, state: &State) {
        if is_full(state, &self.options.tuning) {
            self.ask_commit();
        }
        self.ask_put_if_full();
        let stuck = state.map.frozen.is_some() && state.map.changed_count() > OVERLAY_COUNT_MAX;
        if stuck || state.batch.ops.len() > state.batch_bytes_limit / 2 {
            self.overfull.store(true, Ordering::Release);
        }
    }

    /// Wakes the background thread when an object could be on its way already. While commits fail nothing is put ahead, and
    /// who wakes it would have it try again before its pause is over.
    fn ask_put_if_full(&self) {
        let is_failing = self.counts.failures.load(Ordering::Relaxed) > 0;
        if self.store.is_far() && !is_failing && self.staging.has_full() {
            self.due.lock().put = true;
            self.wake.notify_all();
        }
    }

    /// Asks the background thread for a commit.
    pub(crate) fn ask_commit(&self) {
        let mut due = self.due.lock();
        if !due.commit {
            due.commit = true;
            self.wake.notify_all();
        }
    }

    /// Commits everything up to now.
    pub(crate) fn commit(&self, reason: Reason) -> Result<()> {
        if self.options.mode == Mode::ReadOnly {
            return Ok(());
        }
        self.commit_alone(&mut self.outbound.lock(), reason)
    }

    /// The same for who has the committer to itself.
    pub(crate) fn commit_alone(&self, outbound: &mut Outbound, reason: Reason) -> Result<()> {
        self.due.lock().commit = false;
        let result = self.commit_all(outbound, reason);
        match &result {
            Ok(()) => self.counts.failures.store(0, Ordering::Relaxed),
            Err(_) => {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                self.staging.doubt_puts();
            }
        }
        let tidied = self.tidy_up(outbound, reason);
        // What is committed is committed, even if something superfluous could not go.
        outbound.last_error = result.as_ref().err().cloned().or(tidied.err());
        self.note_left_undone(outbound);
        self.counts.tries.fetch_add(1, Ordering::Release);
        result
    }

    /// Nobody may write for long: what was left undone is done without being asked for.
    fn note_left_undone(&self, outbound: &mut Outbound) {
        let failed = outbound.last_error.is_some();
        outbound.failed_count = if failed { outbound.failed_count.saturating_add(1) } else { 0 };
        let now = self.services.clock.elapsed();
        let is_rest = !outbound.leftovers.stored.is_empty() && !self.is_looked_at();
        let rest = is_rest.then_some(now);
        let again = failed.then(|| now + pause_after(outbound.failed_count));
        self.due.lock().again = again.or(rest);
    }

    fn commit_all(&self, outbound: &mut Outbound, reason: Reason) -> Result<()> {
        if self.state.lock().poisoned {
            // A sync that failed once says yes the next time, to bytes that are not there.
            return Err(poisoned());
        }
        if self.frozen.load(Ordering::Acquire) {
            return Err(frozen(ErrorKind::Corrupt));
        }
        let mut lost_count = 0;
        while let Err(error) = self.commit_once(outbound, reason) {
            lost_count += 1;
            if error.kind() != ErrorKind::Conflict || lost_count > LOST_RACES_MAX {
                return Err(error);
            }
            // Another was first: what is not committed goes on top of that.
            self.follow(outbound)?;
        }
        self.checkpoint_if_due(outbound)
    }

    fn commit_once(&self, outbound: &mut Outbound, reason: Reason) -> Result<()> {
        let is_fresh = self.is_contact_fresh(outbound);
        let unsettled = self.services.clock.elapsed().saturating_sub(outbound.settled);
        if !is_fresh || unsettled > self.options.tuning.retention / 2 {
            self.staging.forget_puts();
        }
        if !is_fresh {
            self.follow(outbound)?;
        }
        self.check_alone(outbound)?;
        if let Some(cut) = outbound.pending.take() {
            self.publish_or_keep(outbound, cut)?;
        }
        self.seal_ahead()?;
        while let Some(cut) = self.cut(outbound, reason)? {
            self.publish_or_keep(outbound, cut)?;
            if outbound.released.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Begins to put objects that are full, where that takes a while: the commit that names them finds them in the store.
    ///
    /// # Errors
    /// Those of this disk. What the store says is told by a commit: while one fails, the next try is its own.
    pub(crate) fn put_ahead(&self) -> Result<()> {
        let is_failing = self.counts.failures.load(Ordering::Relaxed) > 0;
        if !self.store.is_far() || is_failing || self.writable().is_err() {
            return Ok(());
        }
        let full = self.staging.take_full();
        if !full.is_empty() {
            // ORDER: durable here first, or a loss of power could leave less here than there, under one name.
            self.sync_before_put()?;
            full.iter().for_each(|object| object.begin_put(&self.store));
        }
        Ok(())
    }

    fn publish_or_keep(&self, outbound: &mut Outbound, mut cut: Cut) -> Result<()> {
        match self.publish(outbound, &mut cut) {
            // ORDER: never again, whatever the tidying meets: published twice, its operations would be done twice.
            Ok(()) => self.settle(outbound, cut),
            Err(error) => {
                outbound.pending = Some(cut);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Seals files one by one, letting others in between, until little is left for the cut.
    fn seal_ahead(&self) -> Result<()> {
        let seal_one = |state: &mut State| {
            if state.held_bytes <= self.options.tuning.dirty_bytes_at_cut {
                return Ok(false);
            }
            let Some(ino) = state.unsealed.first().copied() else { return Ok(false) };
            self.seal_some(state, ino)?;
            Ok(true)
        };
        while self.look_unlocked(seal_one)? {
            self.put_ahead()?;
        }
        Ok(())
    }

    /// Seals one file, fetching pages on the spot.
    pub(crate) fn seal_file_waiting(&self, state: &mut State, ino: Ino) -> Result<()> {
        self.waiting(state, |state| self.seal_file(state, ino))
    }

    /// Repeats a look until no page is missing.
    pub(crate) fn waiting<T>(
        &self,
        state: &mut State,
        mut look: impl FnMut(&mut State) -> Look<T>,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            match look_again(tries, || look(state)) {
                Ok(value) => return Ok(value),
                Err(Need::Failed(error)) => return Err(error),
                Err(Need::Page(page)) => drop(crate::later::wait(self.pages.fetch(page))?),
            }
            tries += 1;
        }
    }

    /// Cuts the batch off. Nothing is in it that a later change could contradict: all unsealed bytes are sealed
    /// under the same lock.
    fn cut(&self, outbound: &mut Outbound, reason: Reason) -> Result<Option<Cut>> {
        let mut tries = 0;
        loop {
            match look_again(tries, || self.try_cut(outbound, reason)) {
                Ok(cut) => return Ok(cut),
                Err(Need::Failed(error)) => return Err(error),
                // ORDER: while neither gate nor lock is held. What was sealed so far stays sealed.
                Err(Need::Page(page)) => drop(crate::later::wait(self.pages.fetch(page))?),
            }
            tries += 1;
        }
    }

    fn try_cut(&self, outbound: &mut Outbound, reason: Reason) -> Look<Option<Cut>> {
        let _gate = self.gate.write();
        let mut state = self.state.lock();
        while let Some(ino) = state.unsealed.first().copied() {
            self.seal_file(&mut state, ino)?;
        }
        // ORDER: before anything is taken from where it is: a look that stops is begun anew.
        let adopted = outbound.adopted.iter().map(|added| added.object);
        for object in self.staging.ids().into_iter().chain(adopted) {
            Txn::new(&state.map).object_use(object)?;
        }
        let journal_upto = self.last_record(outbound)?;
        let staged = self.staging.close_all();
        let batch = &state.batch;
        let is_released = !batch.released.is_empty() || !outbound.released.is_empty();
        let nothing = batch.count == 0 && staged.is_empty() && !is_released;
        // Closing with a long log but nothing new: an empty commit carries the checkpoint, so that opening is quick.
        let long = state.log_bytes >= self.options.tuning.checkpoint_log_bytes_at_close;
        let wanted = match reason {
            Reason::Covering => true,
            Reason::Claiming => self.own_slot(outbound).is_none(),
            Reason::Closing => long,
            Reason::Freezing => state.head.seq != outbound.checkpoint_seq,
            Reason::Due | Reason::Asked => false,
        };
        if nothing && !wanted {
            state.batch = Batch::default();
            return Ok(None);
        }
        let (objects, discarded) = self.sort_staged(&mut state, staged)?;
        state.map.unborn.clear();
        let adopted = self.name_adopted(&mut state, &outbound.adopted)?;
        let is_unnamed = |added: &&ObjectAdded| !adopted.contains(added);
        let is_discarded =
            |added: &&ObjectAdded| discarded.iter().any(|object| object.id == added.object);
        let put = outbound.adopted.iter().filter(is_unnamed);
        let maybe_put = outbound.tried.iter().filter(is_discarded);
        let superfluous = put.chain(maybe_put).copied().collect();
        // ORDER: taken when nothing can fail any more, or the operations would be in no commit.
        outbound.adopted.clear();
        let batch = std::mem::take(&mut state.batch);
        let mut released = in_store_only(&batch, &discarded);
        let mut released_before = std::mem::take(&mut outbound.released);
        let count_max = self.options.tuning.released_count;
        outbound.released = released_before.split_off(released_before.len().min(count_max));
        let room = count_max - released_before.len();
        let released_later = released.split_off(released.len().min(room));
        let freezes = self.checkpoint_is_due(&state, outbound, reason, batch.ops.len());
        // ORDER: from here on changes are not in this cut.
        state.map.settling = std::mem::take(&mut state.map.local);
        state.cut_count = batch.count;
        Ok(Some(Cut {
            ops: batch.ops,
            count: batch.count,
            journal_upto,
            base_seq: state.head.seq,
            objects,
            adopted,
            discarded,
            superfluous,
            released,
            released_before,
            released_later,
            freezes,
            tried: None,
            tried_before: std::mem::take(&mut outbound.tried),
            built: None,
        }))
    }

    /// Number of the last journal record. Not the one before those that begin far ahead: whoever reads it asks which records there were.
    fn last_record(&self, outbound: &Outbound) -> Result<u64> {
        let inherited = || self.inherited_upto.load(Ordering::Acquire).max(outbound.journal_upto);
        Ok(self.journal()?.written().unwrap_or_else(inherited))
    }

    /// Tells staged objects in use from the others, and notes the length of the former in the map.
    fn sort_staged(
        &self,
        state: &mut State,
        staged: Vec<Arc<Staged>>,
    ) -> Result<(StagedObjects, StagedObjects)> {
        let (mut used, mut unused) = (Vec::new(), Vec::new());
        for object in staged {
            let usage = self.waiting(state, |state| Txn::new(&state.map).object_use(object.id))?;
            match usage {
                Some(usage) => {
                    state.map.install(with_stored_len(object.id, usage, object.len()));
                    used.push(object);
                }
                None => unused.push(object),
            }
        }
        Ok((used, unused))
    }

    fn name_adopted(&self, state: &mut State, adopted: &[ObjectAdded]) -> Result<Vec<ObjectAdded>> {
        let mut named = Vec::new();
        for added in adopted {
            let id = added.object;
            if let Some(usage) = self.waiting(state, |state| Txn::new(&state.map).object_use(id))? {
                state.map.install(with_stored_len(id, usage, added.len));
                named.push(*added);
            }
        }
        // Else it may be one that others let go of, which is removed whoever names it again.
        debug_assert_eq!(unmeasured(&state.map.local), [], "a commit brings what it names");
        Ok(named)
    }

    fn checkpoint_is_due(
        &self,
        state: &State,
        outbound: &Outbound,
        reason: Reason,
        ops_len: usize,
    ) -> bool {
        let limit = match reason {
            Reason::Freezing => 0,
            Reason::Due | Reason::Asked | Reason::Covering | Reason::Claiming => {
                self.options.tuning.checkpoint_log_bytes
            }
            Reason::Closing => self.options.tuning.checkpoint_log_bytes_at_close,
        };
        let due = state.log_bytes + ops_len as u64 >= limit
            || state.map.changed_count() >= CHECKPOINT_OVERLAY_COUNT;
        let free = state.map.frozen.is_none() && outbound.checkpoint_due.is_none();
        due && free
    }
}

/// What follows the operations of a commit: every added object that is in use gets its stored length.
pub(crate) fn with_stored_len(object: ObjectId, usage: ObjectUse, len: u64) -> Layer {
    let usage = ObjectUse { stored_len: len, ..usage };
    Layer::from([(Key::object(object), Some(Value::Object(usage)))])
}

fn is_full(state: &State, tuning: &Tuning) -> bool {
    state.batch.ops.len() >= tuning.batch_ops_bytes
        || state.batch.data_bytes >= tuning.batch_data_bytes
}

fn in_store_only(batch: &Batch, discarded: &[Arc<Staged>]) -> Vec<ObjectId> {
    let never_put: BTreeSet<ObjectId> = discarded.iter().map(|object| object.id).collect();
    batch.released.difference(&never_put).copied().collect()
}

/// The error of a home that meets another's commit where its own should go.
pub(crate) fn lost_race(seq: u64) -> Error {
    let message = format!("another home wrote commit {seq} first");
    Error::new(ErrorKind::Conflict, message)
}
