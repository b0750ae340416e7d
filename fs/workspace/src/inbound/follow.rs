//! Taking in what others have committed while the workspace is open.
//!
//! ```text
//! next commits, verified -> laid over what is committed, beside the map in use (no lock held)
//!     -> under the lock: everything unsealed is sealed, what no commit holds is put on top (`rebase`), the journal is
//!        told, the new map takes the place of the old -> the kernel is told
//! ```
//!
//! ORDER: the new map is published before anybody is told of it. Nothing has changed if a step before that fails.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use strongroom_format::cbor::encode;
use strongroom_format::commit::ObjectAdded;
use strongroom_format::op::Op;
use strongroom_format::ops;
use strongroom_journal::PAYLOAD_LEN_MAX;
use strongroom_store::Key as StoreKey;

use super::log::{Commit, get};
use super::memory::Memory;
use super::nameless::is_orphan;
use super::news::News;
use super::rebase::{Rebase, Rebased};
use super::taken::Taken;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Broken, FOLLOW_COUNT_MAX};
use crate::outbound::commit::{Cut, Outbound};
use crate::state::{Batch, State};
use crate::tree::map::Map;
use crate::workspace::{Inner, Mode};

impl Inner {
    /// Asks the store for commits of others when it is time.
    ///
    /// # Errors
    /// As [`Inner::follow`].
    pub(crate) fn poll_if_due(&self) -> Result<()> {
        let now = self.services.clock.elapsed();
        {
            let mut polled = self.polled.lock();
            if now.saturating_sub(*polled) < self.options.tuning.poll_interval {
                return Ok(());
            }
            *polled = now;
        }
        self.poll()
    }

    /// Takes in what others have committed.
    ///
    /// # Errors
    /// As [`Inner::follow`].
    pub(crate) fn poll(&self) -> Result<()> {
        let mut outbound = self.outbound.lock();
        if let Some(at) = self.stands_at.get() {
            self.follow_organisation()?;
            return self.look_at_past(&mut outbound, *at);
        }
        if self.is_ending() || self.state.lock().poisoned {
            return Ok(());
        }
        let result = self.poll_once(&mut outbound);
        outbound.follow_error = result.as_ref().err().cloned();
        result
    }

    fn poll_once(&self, outbound: &mut Outbound) -> Result<()> {
        // A device that was removed hears of it here, also when it has nothing to commit.
        self.follow_organisation()?;
        let before = self.state.lock().head;
        let followed = match self.follow(outbound) {
            Err(error) if error.kind() == ErrorKind::Purged => {
                // Nothing was done here that would have to be put on top of what cannot be read.
                outbound.renew_to = Some(u64::MAX);
                Ok(false)
            }
            // Laid over pages that are gone, if there is a checkpoint with others.
            Err(error) if self.renew_after(&error, outbound) => Ok(false),
            followed => followed,
        };
        let (seen, waiting) = {
            let state = self.state.lock();
            (Memory::of(&state, outbound), state.batch.count > 0)
        };
        // ORDER: also when something else fails: what is shown from here on is remembered.
        if seen.head != before && self.options.mode == Mode::ReadWrite {
            self.remember(&seen)?;
        }
        if followed? && waiting {
            self.ask_commit();
        }
        self.renew_if_due(outbound)
    }

    /// Takes in the commits after the head. What is not committed here is put on top of them. Says whether there
    /// were any.
    ///
    /// # Errors
    /// Those of the store; `Corrupt` when a commit does not verify or apply; `Stale` when commits after the head may have been
    /// removed already, for then a number that seems free is not.
    pub(crate) fn follow(&self, outbound: &mut Outbound) -> Result<bool> {
        self.settle_opening(outbound)?;
        let (mut any, mut checked) = (false, None);
        loop {
            let commits = self.next_commits(outbound)?;
            any |= !commits.is_empty();
            let is_full = commits.len() == FOLLOW_COUNT_MAX;
            if !commits.is_empty() {
                if !commits.iter().all(|commit| self.is_own(commit)) {
                    self.note_another();
                }
                self.take_in(outbound, &commits)?;
            }
            if is_full {
                continue;
            }
            let head = self.state.lock().head.seq;
            if self.is_contact_fresh(outbound) || !self.newer_checkpoints(head)? {
                self.check_way_is_taken(outbound)?;
                self.note_contact(outbound);
                return Ok(any);
            }
            // A commit may have come just before its checkpoint.
            if checked.replace(head) == Some(head) {
                return Err(away_for_long());
            }
        }
    }

    /// Verified commits after the head. One of our own among them was published, though nobody told us.
    fn next_commits(&self, outbound: &mut Outbound) -> Result<Vec<Commit>> {
        let mut head = self.state.lock().head;
        let mut commits = Vec::new();
        let reader = self.reader();
        while commits.len() < FOLLOW_COUNT_MAX {
            let key = StoreKey::Log(head.seq + 1);
            let Some(bytes) = get(&self.store, key)? else { break };
            let commit = reader.open_commit(key, head, &bytes).inspect_err(|_| {
                self.frozen.fetch_or(reader.is_fork(key, head, &bytes), Ordering::AcqRel);
                self.remember_refused(head, &bytes);
            });
            let commit = commit.map_err(|error| self.away(error))?;
            self.check_known(commit.head)?;
            head = commit.head;
            if !self.is_own(&commit) {
                commits.push(commit);
                continue;
            }
            let last = self.last_counter(outbound, &commits);
            if self.is_nothing_from_before(last, &commit) {
                commits.push(commit);
            } else if commits.is_empty() {
                self.find_published(outbound, &commit)?;
            } else {
                return Err(self.unknown_own(last, &commit));
            }
        }
        Ok(commits)
    }

    /// The counter of this home's last commit, which may be one of those that are about to be taken in.
    fn last_counter(&self, outbound: &Outbound, commits: &[Commit]) -> u64 {
        let own = commits.iter().rfind(|commit| self.is_own(commit));
        own.map_or(outbound.counter, |commit| commit.header.counter)
    }

    /// What to do when the log was stripped before this home had followed it.
    fn away(&self, error: Error) -> Error {
        match (error.kind(), self.options.mode) {
            (ErrorKind::Purged, Mode::ReadWrite) => {
                let message = "history was purged while this home was away; mount again";
                Error::new(ErrorKind::Stale, message)
            }
            _ => error,
        }
    }

    pub(crate) fn is_own(&self, commit: &Commit) -> bool {
        let header = &commit.header;
        (header.author, header.incarnation) == (self.keys.device_id(), self.incarnation)
    }

    fn find_published(&self, outbound: &mut Outbound, commit: &Commit) -> Result<()> {
        let counter = commit.header.counter;
        self.refuse_freed(outbound, (commit.head.seq, counter))?;
        let by_number = self.options.tuning.broken == Some(Broken::OwnCommitByNumber);
        let is_it = |cut: &mut Cut| {
            counter == outbound.counter + 1 && (by_number || cut.is_content_of(&commit.body))
        };
        let Some(cut) = outbound.pending.take_if(is_it) else {
            return Err(self.unknown_own(outbound.counter, commit));
        };
        self.note_published(outbound, &cut, (counter, commit.head), commit.len);
        self.settle(outbound, cut);
        Ok(())
    }

    /// One of our own that holds no change and is from a process before. Nobody was told of it before more was done on
    /// top of an earlier one, which is what the journal holds: it is taken in as another's. One that holds changes is not:
    /// who made them had journaled them, durably, before.
    fn is_nothing_from_before(&self, last: u64, commit: &Commit) -> bool {
        let was_there = self.known.lock().contains_key(&commit.head.seq);
        commit.body.ops.is_empty() && (was_there || self.is_of_process_before(last, commit))
    }

    /// Whether one of our own that nobody here made is of the process before: it was under way when that one ended, or a loss of
    /// power made this home forget it. It has the number after the `last` one, and covers nothing but records that were there when
    /// this home was opened. Any other is of a copy.
    fn is_of_process_before(&self, last: u64, commit: &Commit) -> bool {
        let inherited = self.inherited_upto.load(Ordering::Acquire);
        commit.header.counter == last + 1 && commit.body.head.journal_upto <= inherited
    }

    fn unknown_own(&self, last: u64, commit: &Commit) -> Error {
        let is_next = commit.header.counter == last + 1;
        match self.is_of_process_before(last, commit) {
            true => published_before(),
            // A loss of power takes no record that was committed.
            false if self.began_apart && is_next => older_than_committed(),
            false => another_of_us(),
        }
    }

    fn take_in(&self, outbound: &mut Outbound, commits: &[Commit]) -> Result<()> {
        let (base, names) = {
            let state = self.state.lock();
            (state.map.committed(), state.names.clone())
        };
        let mut taken = Taken::new(&base, names);
        for commit in commits {
            taken.apply(commit)?;
        }
        self.put_on_top(outbound, base, (taken, commits))
    }

    /// Puts what no commit holds, which was done on top of `base`, on top of what was taken in.
    pub(super) fn put_on_top(
        &self,
        outbound: &mut Outbound,
        base: Map,
        (taken, commits): (Taken, &[Commit]),
    ) -> Result<()> {
        // ORDER: as for a cut: no block is sealed whose operation would be missed.
        let _gate = self.gate.write();
        let mut state = self.state.lock();
        while let Some(ino) = state.unsealed.first().copied() {
            self.seal_file_waiting(&mut state, ino)?;
        }
        let ours = uncommitted(outbound.pending.as_ref(), &state.batch)?;
        // What was replayed is said anew, also where nothing is left of it: it is to be replayed no second time.
        let is_journaled = !ours.is_empty() || commits.is_empty();
        let rebased = Rebase::new(self, &state, &base, taken).run(ours)?;
        let news = News::between(&state.map, &rebased.next)?;
        let head = commits.last().map_or(state.head, |commit| commit.head);
        if is_journaled {
            self.journal_rebased(&mut state, &rebased, head.seq)?;
        }
        // From here on nothing fails.
        drop(base);
        if let Some(cut) = outbound.pending.take() {
            self.take_back(outbound, cut);
        }
        for commit in commits {
            outbound.note_commit(commit);
            state.log_bytes += commit.len;
        }
        self.find_own_mark(outbound);
        if commits.iter().any(Commit::purges) {
            // Whoever writes the next checkpoint writes it without pages from before.
            (outbound.rewrite_all, outbound.renew_to) = (true, Some(head.seq));
        }
        state.head = head;
        self.install_rebased(&mut state, rebased);
        let changes = news.tell(&mut state);
        MutexGuard::unlock_fair(state);
        for change in changes {
            // Nobody listens where nothing is mounted.
            let _ = self.news.send(change);
        }
        Ok(())
    }

    /// Objects of a cut that will not be published as it is: those that are in the store already are named by the next,
    /// those that may be are put again.
    fn take_back(&self, outbound: &mut Outbound, cut: Cut) {
        let is_staged = |added: &ObjectAdded| self.staging.find(added.object).is_some();
        let mut tried = cut.tried.unwrap_or(cut.tried_before);
        let superfluous = cut.superfluous.into_iter().filter(|added| !tried.contains(added));
        tried.extend(superfluous.collect::<Vec<_>>());
        let (maybe, put): (Vec<_>, Vec<_>) = tried.into_iter().partition(is_staged);
        outbound.tried.extend(maybe);
        outbound.adopted.extend(put);
        outbound.adopted.extend(cut.adopted);
        outbound.released.extend(cut.released_before);
    }

    fn install_rebased(&self, state: &mut State, rebased: Rebased) {
        let now = self.services.clock.elapsed();
        let began = state.batch.began.or(Some(now)).filter(|_| rebased.count > 0);
        let data_bytes = if rebased.count > 0 { state.batch.data_bytes } else { 0 };
        let (ops, count, released) = (rebased.ops, rebased.count, rebased.released);
        state.batch = Batch { ops, count, began, data_bytes, released };
        state.map = rebased.next;
        state.map.settle();
        state.cut_count = 0;
        state.numbers = rebased.numbers;
        state.keeps_history = None;
        state.history_changes += 1;
        let left_out = self.options.tuning.broken == Some(Broken::BaseNotJournaled);
        state.unmarked_base = rebased.count == 0 && !left_out;
        state.unmarked_from = None;
        let State { doomed, nameless, map, .. } = state;
        doomed.retain(|ino, _| is_orphan(map, *ino));
        nameless.retain(|ino| is_orphan(map, *ino));
    }

    /// Also where nothing is left of what was done here: the records before would be put on top of others' commits again, of
    /// later ones, or after their base is gone.
    ///
    /// ORDER: before the first change that is planned on top of it. One that does not get in whole is ignored by the
    /// next open, which has the records before.
    fn journal_rebased(&self, state: &mut State, rebased: &Rebased, seq: u64) -> Result<()> {
        let left_out = self.options.tuning.broken == Some(Broken::BaseNotJournaled);
        if left_out {
            return Ok(());
        }
        // ORDER: these records take the place of others that may be durable with all their bytes, so the blocks that they name
        // are durable first: a loss of power could keep a record and not its block.
        if rebased.count > 0
            && let Err(error) = self.staging.sync()
        {
            state.poisoned = true;
            return Err(error);
        }
        let records = records_of(rebased, (seq, self.journal()?.position() + 1));
        for (index, record) in records.iter().enumerate() {
            if let Err(error) = self.journal()?.append(record) {
                let error = Error::from(error);
                // What would follow could not be told from what belongs to the records that are missing.
                state.poisoned |= index > 0 || error.kind() == ErrorKind::Poisoned;
                return Err(error);
            }
        }
        Ok(())
    }
}

/// What no commit holds, in order.
fn uncommitted(pending: Option<&Cut>, batch: &Batch) -> Result<Vec<Op>> {
    let mut ours = match pending {
        Some(cut) => ops::decode(cut.count, &cut.ops)?,
        None => Vec::new(),
    };
    ours.extend(ops::decode(batch.count, &batch.ops)?);
    Ok(ours)
}

/// The records that say what is not committed on top of a commit. The first will have the number `from`.
fn records_of(rebased: &Rebased, (seq, from): (u64, u64)) -> Vec<Vec<u8>> {
    let begin = |last| encode(&Op::Based { seq, from, last });
    let room = PAYLOAD_LEN_MAX - begin(true).len();
    let (mut records, mut start, mut end) = (Vec::new(), 0, 0);
    for next in rebased.ends.iter().copied() {
        if next - start > room {
            records.push([begin(false), rebased.ops[start..end].to_vec()].concat());
            start = end;
        }
        end = next;
    }
    records.push([begin(true), rebased.ops[start..end].to_vec()].concat());
    records
}

pub(super) fn away_for_long() -> Error {
    let message = "this home was away for so long that others' commits are gone; mount again";
    Error::new(ErrorKind::Stale, message)
}

/// What the last process published and was not told of was done once more here, for the store was away then or had not got it
/// yet.
pub(super) fn published_before() -> Error {
    let message = "a commit of the process before has got through since; mount again";
    Error::new(ErrorKind::Stale, message)
}

/// This home was rolled back to an earlier state, and what is done here since is on top of that.
pub(super) fn older_than_committed() -> Error {
    let message = "the local state of this home is older than what it committed, as from a backup; what was done here since is \
                   kept, mount again to have it put beside that";
    Error::new(ErrorKind::Stale, message)
}

/// Not seen before: the store kept it back, or a copy of this home's local state is in use.
fn another_of_us() -> Error {
    let message = "the store shows a commit of this home that it does not know: mount again; if that does not help, its \
                   local state was copied";
    Error::new(ErrorKind::Corrupt, message)
}
