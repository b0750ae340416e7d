//! Going over to a newer checkpoint that another home wrote, before what the old one names is removed; and telling when
//! this home was away for so long that what it needs may be gone.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use strongroom_crypto::hash::blake3_256;
use strongroom_format::checkpoint::JournalMark;
use strongroom_format::ids::Ino;
use strongroom_format::key::Key;
use strongroom_host::thread;
use strongroom_store::{Family, Key as StoreKey};

use super::follow::away_for_long;
use super::log::{Checkpoint, Reader, get, list};
use super::memory::Memory;
use crate::door::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::later::wait;
use crate::limits::READ_TRIES_MAX;
use crate::outbound::commit::Outbound;
use crate::state::{Head, State};
use crate::tree::map::{Map, Value};
use crate::tree::pages::patiently;
use crate::workspace::{Inner, Mode};

/// LIMIT: pages of an old map that are found gone before the rest is taken for gone as well: each costs a request.
const GONE_COUNT_MAX: u32 = 8;

/// Taking in the newest state because a reader met what is gone: one round at a time.
#[derive(Debug, Default)]
pub(crate) struct Renewing {
    is_under_way: bool,
    /// Rounds that ended.
    rounds: u64,
    /// Whether it was worth it, the last time.
    went: bool,
    waiting: Vec<Waker>,
}

impl Renewing {
    fn end(&mut self, went: bool) {
        self.is_under_way = false;
        self.rounds += 1;
        self.went = went;
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

impl Inner {
    /// The store answered, and this home has all there is.
    pub(super) fn note_contact(&self, outbound: &mut Outbound) {
        let elapsed = self.services.clock.elapsed();
        outbound.contact = (self.services.clock.now_ns(), elapsed);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.answered.store(millis, Ordering::Relaxed);
    }

    /// Whether this home had all there is so recently that no commit after its head can have been removed.
    pub(crate) fn is_contact_fresh(&self, outbound: &Outbound) -> bool {
        let (wall, elapsed) = outbound.contact;
        let limit = self.options.tuning.retention / 2;
        let by_wall = self.services.clock.now_ns().abs_diff(wall);
        let by_clock = self.services.clock.elapsed().saturating_sub(elapsed);
        let is_near = u128::from(by_wall) < limit.as_nanos() && by_clock < limit;
        is_near && !self.is_apart() || self.options.mode == Mode::ReadOnly
    }

    pub(super) fn newer_checkpoints(&self, seq: u64) -> Result<bool> {
        Ok(self.newest_listed(seq)?.is_some())
    }

    /// A checkpoint of a commit after this one, the newest as far as one list goes.
    fn newest_listed(&self, seq: u64) -> Result<Option<StoreKey>> {
        let after = Some(StoreKey::Checkpoint(seq));
        Ok(list(&self.store, Family::Checkpoint, after)?.pop())
    }

    /// Refuses a commit of this home that was published under a number which others had taken and collected: it seemed free then.
    /// Clocks tell nothing of that if they stood still, or if another's was ahead. What is collected goes in the order of numbers,
    /// so the number was free if the commit before it is still there.
    ///
    /// # Errors
    /// `Stale`, and the commit is gone; those of the store.
    pub(crate) fn refuse_freed(
        &self,
        outbound: &mut Outbound,
        (seq, counter): (u64, u64),
    ) -> Result<()> {
        let before = StoreKey::Log(seq.saturating_sub(1));
        if !outbound.is_shared() || self.is_stored(before)? || !self.is_freed(seq, counter)? {
            return Ok(());
        }
        // ORDER: first. From here on nothing is put before it is known that the number is free.
        outbound.doubt_contact();
        self.delete_stored(StoreKey::Log(seq))?;
        Err(away_for_long())
    }

    /// Whether others had this number and have collected it, and know nothing of the commit of this home that took it now.
    pub(super) fn is_freed(&self, seq: u64, counter: u64) -> Result<bool> {
        if !self.newer_checkpoints(seq.saturating_sub(1))? {
            return Ok(false);
        }
        // A list alone is not believed.
        let newest = self.reader_anew().checkpoint()?;
        let own = (self.keys.device_id(), self.incarnation);
        let is_known =
            |mark: &JournalMark| (mark.device, mark.incarnation) == own && mark.counter >= counter;
        Ok(newest.root.seq >= seq && !newest.state.journals.iter().any(is_known))
    }

    fn is_stored(&self, key: StoreKey) -> Result<bool> {
        match wait(async { Ok(self.store.confirm(key, 1).await?) }) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            confirmed => confirmed.map(|()| true),
        }
    }

    /// Goes over to a newer checkpoint when it is time to look for one.
    ///
    /// # Errors
    /// Those of the store; `Corrupt` when the checkpoint does not verify.
    pub(super) fn renew_if_due(&self, outbound: &mut Outbound) -> Result<()> {
        let now = self.services.clock.elapsed();
        let is_due = now.saturating_sub(outbound.renewed) >= self.options.tuning.renew_interval
            || outbound.renew_to.is_some();
        let may_be = outbound.is_shared() || self.options.mode == Mode::ReadOnly;
        if is_due && may_be { self.renew(outbound) } else { Ok(()) }
    }

    fn renew(&self, outbound: &mut Outbound) -> Result<()> {
        outbound.renewed = self.services.clock.elapsed();
        let Some(newest) = self.newest_listed(outbound.checkpoint_seq)? else { return Ok(()) };
        if newest > StoreKey::Checkpoint(self.state.lock().head.seq) {
            // What it covers may have come just now; or it has been collected, and nothing will ever seem new.
            outbound.doubt_contact();
        }
        let reader = self.reader_anew();
        match self.options.mode {
            Mode::ReadWrite => self.change_tree(outbound, &reader),
            Mode::ReadOnly => {
                let checkpoint = reader.checkpoint()?;
                self.begin_anew(outbound, &reader, (&checkpoint, u64::MAX))
            }
        }
    }

    /// Where nothing is written here, what the map names may be gone at any time: a home that writes alone keeps the present
    /// only. Goes over to the newest checkpoint if what an error says may come of that. True when it did.
    pub(super) fn renew_after(&self, error: &Error, outbound: &mut Outbound) -> bool {
        let before = outbound.checkpoint_seq;
        let may_be = self.options.mode == Mode::ReadOnly && !self.frozen.load(Ordering::Acquire);
        // A page that is gone, or an object.
        matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
            && may_be
            && self.renew(outbound).is_ok()
            && outbound.checkpoint_seq != before
    }

    /// Takes in the newest state where nothing is written here and something that the map names is missing. True when it is
    /// worth looking again.
    fn catch_up_now(&self, error: &Error) -> bool {
        let mut outbound = self.outbound.lock();
        self.renew_after(error, &mut outbound) || self.follow(&mut outbound).is_ok()
    }

    /// As [`Inner::catch_up_now`], on a thread of its own, which all who need it at the same time wait for: a poll blocks nobody.
    pub(crate) async fn catch_up(self: &Arc<Self>, error: &Error) -> bool {
        if self.options.mode != Mode::ReadOnly || self.stands_at.get().is_some() {
            return false;
        }
        let before = self.begin_renewing(error);
        poll_fn(|context| {
            let mut renewing = self.renewing.lock();
            if renewing.rounds != before {
                return Poll::Ready(renewing.went);
            }
            renewing.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// How many rounds there were, when another one is on its way.
    fn begin_renewing(self: &Arc<Self>, error: &Error) -> u64 {
        let mut renewing = self.renewing.lock();
        let before = renewing.rounds;
        if !renewing.is_under_way {
            let (inner, error) = (self.clone(), error.clone());
            let work = move || {
                let went = inner.catch_up_now(&error);
                inner.renewing.lock().end(went);
            };
            renewing.is_under_way = true;
            if thread::spawn("renew", work).is_err() {
                renewing.end(false);
            }
        }
        before
    }

    /// Whether a look that failed is worth another one: it met what is gone, and the map may have been old. `count` counts.
    pub(crate) async fn is_worth_another_look(
        self: &Arc<Self>,
        error: &Error,
        count: &mut u32,
    ) -> bool {
        *count += 1;
        error.kind() == ErrorKind::Corrupt && *count <= READ_TRIES_MAX && self.catch_up(error).await
    }

    /// The same map over a newer tree.
    fn change_tree(&self, outbound: &mut Outbound, reader: &Reader<'_>) -> Result<()> {
        let head = self.state.lock().head;
        let checkpoint = reader.checkpoint_upto(head.seq)?;
        if checkpoint.root.seq <= outbound.checkpoint_seq {
            return Ok(());
        }
        let (fresh, other) = self.replayed(reader, &checkpoint, head.seq)?;
        if fresh.head != head {
            let message = format!("commit {} is not the one this device saw", head.seq);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        outbound.give_up_checkpoint();
        (outbound.ledger, outbound.digest) = (other.ledger, other.digest);
        outbound.checkpoint_seq = other.checkpoint_seq;
        if outbound.renew_to.take_if(|seq| *seq <= other.checkpoint_seq).is_some() {
            outbound.rewrite_all = false;
        }
        let mut state = self.state.lock();
        state.log_bytes = fresh.log_bytes;
        state.map.overlay = fresh.map.overlay;
        (state.map.frozen, state.map.tree) = (None, fresh.map.tree);
        Ok(())
    }

    /// An old state changes only where something in it is purged: its checkpoint is then another one.
    ///
    /// # Errors
    /// Those of the store; `Corrupt` when the checkpoint does not verify.
    pub(crate) fn look_at_past(&self, outbound: &mut Outbound, at: Head) -> Result<()> {
        let Some(bytes) = get(&self.store, StoreKey::Checkpoint(at.seq))? else { return Ok(()) };
        let seen = blake3_256(&bytes);
        if self.stands_on.lock().replace(seen).is_none_or(|before| before == seen) {
            return Ok(());
        }
        let reader = self.reader_anew();
        match reader.checkpoint_at(at.seq)? {
            Some(checkpoint) => self.begin_anew(outbound, &reader, (&checkpoint, at.seq)),
            None => Ok(()),
        }
    }

    /// The newest map in place of the one that is open. Only where nothing changes here.
    fn begin_anew(
        &self,
        outbound: &mut Outbound,
        reader: &Reader<'_>,
        (checkpoint, last): (&Checkpoint, u64),
    ) -> Result<()> {
        let (fresh, other) = self.replayed(reader, checkpoint, last)?;
        let (old, known) = {
            let state = self.state.lock();
            let seen = Memory::of(&state, outbound);
            seen.check(fresh.head, &other.marks, self.options.tuning.broken)?;
            let known: BTreeSet<Ino> = state.lookups.keys().copied().chain([Ino::ROOT]).collect();
            (state.map.committed(), known)
        };
        let (mut changes, mut gone) = (Vec::new(), 0);
        for folder in &known {
            changes.extend(changed_names(&old, &fresh.map, *folder, &mut gone)?);
        }
        let renewed = outbound.renewed;
        *outbound = Outbound { renewed, contact: outbound.contact, ..other };
        let mut state = self.state.lock();
        (state.map, state.head, state.log_bytes) = (fresh.map, fresh.head, fresh.log_bytes);
        for ino in known {
            state.outdated.insert(ino);
            changes.push(Change::Inode { ino, content: !state.is_open(ino) });
        }
        drop(state);
        for change in changes {
            // Nobody listens where nothing is mounted.
            let _ = self.news.send(change);
        }
        Ok(())
    }
}

impl Outbound {
    /// This home may not have all there is, whatever clocks say.
    fn doubt_contact(&mut self) {
        self.contact.0 = i64::MIN;
    }

    /// Lets go of a checkpoint that was begun: there is a newer one, or this one itself.
    fn give_up_checkpoint(&mut self) {
        self.checkpoint_due = None;
        // ORDER: its pages stay. Its root may be in the store, and others build on it; what nothing names is swept.
        self.written = None;
    }
}

/// Names of a folder that stand for something else, as far as the old map can still be read. `gone` counts where it cannot.
fn changed_names(old: &Map, new: &Map, folder: Ino, gone: &mut u32) -> Result<Vec<Change>> {
    let before = (*gone < GONE_COUNT_MAX).then(|| entries(old, folder));
    *gone += u32::from(matches!(before, Some(Err(_))));
    let before = before.and_then(Result::ok).unwrap_or_default();
    let after = entries(new, folder)?;
    let names: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    Ok(changed.map(|name| Change::Name { folder, name: name.clone() }).collect())
}

fn entries(map: &Map, folder: Ino) -> Result<BTreeMap<Vec<u8>, Ino>> {
    let (from, to) = Key::entries_of(folder);
    patiently(|| {
        let mut found = BTreeMap::new();
        map.scan(&from, &to, None, &mut |_, value| {
            if let Value::Entry(entry) = value {
                found.insert(entry.name.clone(), entry.ino);
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    })
}

/// A state that nobody works on yet, and what goes with it.
pub(super) type Fresh = (State, Outbound);
