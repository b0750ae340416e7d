//! What a crash left: journal records that no commit covers, staged objects, orphans.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use strongroom_crypto::hash::blake3_256;
use strongroom_format::commit::ObjectAdded;
use strongroom_format::ids::{Digest, ObjectId};
use strongroom_format::inode::Extent;
use strongroom_format::key::Subject;
use strongroom_format::op::Op;
use strongroom_format::ops;
use strongroom_journal as journal;
use strongroom_journal::Journal;
use strongroom_journal::ahead::number_ahead;
use strongroom_store::{Body, Key as StoreKey};

use super::ahead::Seam;
use super::apart::away;
use super::follow::published_before;
use super::home::OwnFolders;
use super::log::get;
use super::memory::Memory;
use crate::block::fetch::Wanted;
use crate::error::{Error, ErrorKind, Result};
use crate::later::wait;
use crate::outbound::commit::{Outbound, Reason};
use crate::tree::map::{Layer, Value, subject};
use crate::tree::pages::patiently;
use crate::tree::txn::Txn;
use crate::workspace::{Inner, Mode};

/// What the replay of the journal came to.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) records: u64,
    /// Number of a record that names bytes that are not on the disk. It and all after it are given up, unless a sync
    /// had told somebody that they are durable.
    pub(super) cut: Option<u64>,
    pub(super) failed: Option<Error>,
}

impl Replayed {
    pub(super) fn goes_on(&self) -> bool {
        self.cut.is_none() && self.failed.is_none()
    }
}

/// Records that no commit holds, kept until it is known what they were done on top of.
#[derive(Default)]
pub(super) struct Leftover {
    pub(super) records: Vec<(u64, Vec<u8>)>,
    /// The commit below them, and the number of the first of them, if one says it.
    base: Option<(u64, u64)>,
    /// Number of the first record of a statement whose last one is not there yet.
    began: Option<u64>,
}

impl Leftover {
    fn take(&mut self, number: u64, payload: &[u8]) -> Result<()> {
        let (op, rest) = ops::decode_one(payload)?;
        match op {
            Op::Based { seq, from, last } => {
                if self.began != Some(from) {
                    self.drop_unfinished();
                }
                // One that says of nothing what it was done on top of is no change.
                if !rest.is_empty() {
                    self.records.push((number, payload.to_vec()));
                }
                self.began = Some(from);
                if last {
                    self.records.retain(|(number, _)| *number >= from);
                    (self.base, self.began) = (Some((seq, from)), None);
                }
            }
            _ => {
                self.drop_unfinished();
                self.records.push((number, payload.to_vec()));
            }
        }
        Ok(())
    }

    /// A statement that is not whole was never built on.
    fn drop_unfinished(&mut self) {
        if let Some(from) = self.began.take() {
            self.records.retain(|(number, _)| *number < from);
        }
    }
}

impl Inner {
    /// Replays the journal, puts what it holds on top of what others have committed since, drops what nothing names, and
    /// ends orphans.
    pub(super) fn recover(&self) -> Result<()> {
        if self.options.mode == Mode::ReadOnly {
            return Ok(());
        }
        if !self.is_apart() {
            self.confirm_head()?;
        }
        self.unless_apart(self.drop_committed_objects())?;
        let seen = {
            let outbound = self.outbound.lock();
            Memory::of(&self.state.lock(), &outbound)
        };
        // What copies there are may be from before anybody else wrote. Who began with them may have been rolled back.
        let others_may_write = self.store.is_far() || self.outbound.lock().is_shared();
        let replayed = match others_may_write {
            false => self.replay_journal()?,
            true => self.replay_leftover()?,
        };
        if replayed.records == 0 {
            self.tell_where_it_begins()?;
        }
        self.remember_durably(&seen)?;
        if replayed.records == 0 && replayed.cut.is_none() {
            self.unless_apart(self.drop_unnamed_objects())?;
        }
        // ORDER: before anything is committed, which writes the list anew.
        self.load_nameless();
        let met = match self.is_apart() {
            true => Ok(()),
            false => self.meet_others(&seen, &replayed),
        };
        // ORDER: also where that failed: what was committed there, or taken in as what the journal builds on from here, is
        // remembered, or another history would pass for this one at the next mount.
        let checked = self.check_recovered(&seen);
        met.and(checked)?;
        if replayed.cut.is_some() {
            if self.is_apart() {
                return Err(away());
            }
            // ORDER: before anything new is journaled, or the next recovery would stop at the same record again.
            self.commit(Reason::Covering)?;
        }
        self.unless_apart(self.purge_orphans())
    }

    /// The first record will say what it was done on top of, and which ones were known, where that cannot be told by its number or
    /// by what is shown later.
    fn tell_where_it_begins(&self) -> Result<()> {
        let inherited = self.inherited_upto.load(Ordering::Acquire);
        // The store may show more of this home's commits than are known here, with others' before them.
        if self.is_apart() || self.journal()?.position() > inherited {
            let mut state = self.state.lock();
            (state.unmarked_base, state.unmarked_from) = (true, Some(inherited + 1));
        }
        Ok(())
    }

    /// Commits what a process before may still have under way, and takes in what others have committed.
    fn meet_others(&self, seen: &Memory, replayed: &Replayed) -> Result<()> {
        let mut outbound = self.outbound.lock();
        if replayed.records > 0 && self.state.lock().head == seen.head {
            self.take_next_number(&mut outbound)?;
        }
        self.adopt_put_objects(&mut outbound)?;
        self.follow(&mut outbound).map(drop)
    }

    /// Makes sure that all that was seen before the journal was replayed is there again, and remembers what came since.
    /// Without the store nothing comes, and what was done on top of less than was seen waits for its first answer.
    fn check_recovered(&self, seen: &Memory) -> Result<()> {
        if self.is_apart() {
            return Ok(());
        }
        let outbound = self.outbound.lock();
        let now = Memory::of(&self.state.lock(), &outbound);
        seen.check(now.head, &now.marks, self.options.tuning.broken)?;
        self.remember(&now)
    }

    /// Makes the newest commit durable: the process before may have ended between giving it its name and making the
    /// name last.
    ///
    /// ORDER: before the journal lets go of what the commit covers, and before another builds on it.
    fn confirm_head(&self) -> Result<()> {
        let head = self.state.lock().head;
        if head.seq == self.outbound.lock().checkpoint_seq {
            return Ok(());
        }
        wait(async { Ok(self.store.make_durable(StoreKey::Log(head.seq)).await?) })
    }

    /// A commit of the process before may still be under way to the store. An empty one takes its number: either it is found
    /// there now, or it never gets in. Not on top of another home's commit, which may have taken over: if it gets in there, it
    /// is told.
    ///
    /// # Errors
    /// `Stale` if it is there by now.
    fn take_next_number(&self, outbound: &mut Outbound) -> Result<()> {
        let head = self.state.lock().head;
        let is_own = self.own_last_seq(outbound) == Some(head.seq);
        if !is_own || !(outbound.is_shared() || self.store.is_far()) {
            return Ok(());
        }
        match self.publish_nothing(outbound) {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            // Whoever commits next meets it too, and tells.
            _ => return Ok(()),
        }
        let key = StoreKey::Log(head.seq + 1);
        let Some(bytes) = get(&self.store, key)? else { return Ok(()) };
        match self.reader().open_commit(key, head, &bytes) {
            Ok(commit) if self.is_own(&commit) => Err(published_before()),
            _ => Ok(()),
        }
    }

    /// Removes staged copies of objects that a commit names: the store has them. A loss of power may bring back the
    /// name of a copy that was removed, and with it bytes that never were on the disk.
    ///
    /// ORDER: before a cut brings them once more: one that does not get through has them removed when nothing here refers to
    /// them any more, and what others let go of the past may still need.
    pub(super) fn drop_committed_objects(&self) -> Result<()> {
        let (committed, staged) = {
            let state = self.state.lock();
            let mut staged = self.staging.ids();
            staged.retain(|object| !state.map.unborn.contains(object));
            (state.map.committed(), staged)
        };
        for object in staged {
            // Nobody waits for a page that is asked for here.
            let usage = patiently(|| Txn::new(&committed).object_use(object))?;
            if usage.is_some_and(|usage| usage.stored_len > 0) {
                self.staging.discard(object)?;
            }
        }
        Ok(())
    }

    /// Where nobody else ever wrote, every record is on top of the newest commit.
    fn replay_journal(&self) -> Result<Replayed> {
        let covered = self.outbound.lock().journal_upto;
        let mut replayed = Replayed::default();
        let (journal, seam) = self.open_journal(&mut |number, payload| {
            if number > covered && replayed.goes_on() {
                self.replay_into(&mut replayed, number, payload);
            }
        })?;
        self.inherited_upto.store(seam.last, Ordering::Release);
        self.keep_journal(journal, replayed)
    }

    /// Where others write too, records are replayed on top of the commit that they were done on top of.
    fn replay_leftover(&self) -> Result<Replayed> {
        let covered = self.outbound.lock().journal_upto;
        let (mut left, mut replayed) = (Leftover::default(), Replayed::default());
        let (journal, seam) = self.open_journal(&mut |number, payload| {
            if number > covered && replayed.failed.is_none() {
                replayed.failed = left.take(number, payload).err();
            }
        })?;
        left.drop_unfinished();
        self.inherited_upto.store(seam.last, Ordering::Release);
        let told = left.base.map(|(_, from)| from);
        // An empty commit of this home may have come after the one that covers those before, on top of others' commits.
        let (covering, is_shared) = {
            let outbound = self.outbound.lock();
            (outbound.covering_seq, outbound.is_shared())
        };
        let goes_on = seam.goes_on(told) && is_shared;
        let is_behind = seam.is_behind(told) || goes_on && covering.is_none();
        if self.is_apart() && (is_behind || !seam.is_whole(told, journal.inherited())) {
            // Records went with a commit of which nothing here knows any more.
            return Err(away());
        }
        if is_behind && replayed.failed.is_none() && !left.records.is_empty() {
            // What it was done on top of is not what this home has now.
            return self.replay_away(&left, journal);
        }
        let own = match goes_on {
            true => covering,
            false => self.own_last_seq(&self.outbound.lock()),
        };
        let head = self.state.lock().head.seq;
        let base = left.base.map(|(seq, _)| seq).or(own);
        if left.records.is_empty() {
            self.state.lock().unmarked_base = base != Some(head);
            return self.keep_journal(journal, replayed);
        }
        // ORDER: on top of the newest commit, as if it were the base, where nothing came between but empty ones of this home. Put on
        // top of them again, the records would get numbers that a commit under way from the process before does not cover.
        let (since, is_shared) = {
            let outbound = self.outbound.lock();
            (outbound.changed_seq, outbound.is_shared())
        };
        let is_on_top = base.is_some_and(|seq| (since..=head).contains(&seq));
        // Where nobody else ever wrote, every record is on top of the newest commit.
        if !is_on_top && (self.is_apart() || is_shared) {
            let seq = base.ok_or_else(|| if self.is_apart() { away() } else { stranded() })?;
            match self.load_at(seq) {
                Err(_) if self.is_apart() => return Err(away()),
                // Whoever wrote them had met others, and did not know yet what this home had committed after those.
                Err(error) if error.kind() == ErrorKind::Stale => {
                    return self.replay_away(&left, journal);
                }
                Err(error) if self.is_let_go_of(seq, &error)? => {
                    return self.replay_away(&left, journal);
                }
                loaded => loaded?,
            }
        }
        for (number, payload) in &left.records {
            if replayed.goes_on() {
                self.replay_into(&mut replayed, *number, payload);
            }
        }
        self.keep_journal(journal, replayed)
    }

    fn replay_into(&self, replayed: &mut Replayed, number: u64, payload: &[u8]) {
        match self.replay_record(payload) {
            Ok(Step::Done) => replayed.records += 1,
            Ok(Step::BytesMissing) => replayed.cut = Some(number),
            Err(error) => replayed.failed = Some(error),
        }
    }

    fn open_journal(&self, sink: &mut dyn FnMut(u64, &[u8])) -> Result<(Journal, Seam)> {
        let (disk, state_folder) = (&*self.services.disk, &self.options.state_folder);
        let folders = OwnFolders::find(disk, state_folder, &self.keys)?;
        let covered = self.outbound.lock().journal_upto;
        let options = journal::Options {
            folder: folders.journal,
            file_len_max: self.options.tuning.journal_file_len,
            device: self.keys.device_id(),
            organisation: self.keys.organisation(),
            incarnation: self.incarnation,
            first_number_min: match self.is_apart() {
                true => {
                    let chance = u64::from_le_bytes(self.services.entropy.array());
                    number_ahead(covered, self.services.clock.now_ns(), chance)
                }
                false => covered + 1,
            },
        };
        let services = journal::Services {
            disk: self.services.disk.clone(),
            entropy: self.services.entropy.clone(),
        };
        let mut seam = Seam::new(covered);
        let mut sink = |number: u64, payload: &[u8]| {
            seam.note(number);
            sink(number, payload);
            Ok(())
        };
        let journal = Journal::open(options, self.keys.journal_key(), services, &mut sink)?;
        Ok((journal, seam))
    }

    pub(super) fn keep_journal(&self, journal: Journal, replayed: Replayed) -> Result<Replayed> {
        let mut replayed = replayed;
        if let Some(error) = replayed.failed.take() {
            return Err(error);
        }
        if let Some(number) = replayed.cut.filter(|number| *number <= journal.acknowledged()) {
            let message = format!("bytes of journal record {number}, once durable, are gone");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        if self.journal.set(journal).is_err() {
            return Err(Error::new(ErrorKind::Internal, "the journal was opened twice"));
        }
        Ok(replayed)
    }

    fn replay_record(&self, payload: &[u8]) -> Result<Step> {
        let (first, mut rest) = ops::decode_one(payload)?;
        if !matches!(first, Op::Based { .. }) {
            if rest.is_empty() {
                return self.replay_op(&first, payload);
            }
            let message = "a journal record holds more than one operation";
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        while !rest.is_empty() {
            let (op, after) = ops::decode_one(rest)?;
            if self.replay_op(&op, &rest[..rest.len() - after.len()])? == Step::BytesMissing {
                return Ok(Step::BytesMissing);
            }
            rest = after;
        }
        Ok(Step::Done)
    }

    fn replay_op(&self, op: &Op, bytes: &[u8]) -> Result<Step> {
        if let Op::SetExtents { extents, .. } | Op::Rewrite { extents, .. } = op
            && !self.are_readable(extents)?
        {
            return Ok(Step::BytesMissing);
        }
        self.redo(op, bytes)?;
        Ok(Step::Done)
    }

    pub(super) fn redo(&self, op: &Op, bytes: &[u8]) -> Result<()> {
        let mut state = self.state.lock();
        if let Op::Clone { from, to, .. } = op {
            self.waiting(&mut state, |state| self.seal_as_blocks(state, *from))?;
            self.waiting(&mut state, |state| self.seal_as_blocks(state, *to))?;
        }
        let now = self.services.clock.elapsed();
        self.waiting(&mut state, |state| state.redo(now, op, bytes))
    }

    /// Whether the blocks that a journaled write names are on the disk: power may have gone before they were.
    fn are_readable(&self, extents: &[Extent]) -> Result<bool> {
        for extent in extents {
            if self.find_block(extent)? == Block::There {
                continue;
            }
            if self.was_stored(extent.object)? {
                return Err(lost_by_store(extent.object));
            }
            return Ok(false);
        }
        Ok(true)
    }

    pub(super) fn find_block(&self, extent: &Extent) -> Result<Block> {
        let mut plain = vec![0; extent.block_len as usize];
        let wanted =
            Wanted { extent: extent.clone(), block_offset: 0, len: extent.block_len, at: 0 };
        match wait(self.blocks.read(&[wanted], &mut plain)) {
            Ok(()) => Ok(Block::There),
            Err(error) => match error.kind() {
                ErrorKind::Corrupt => Ok(Block::Damaged),
                ErrorKind::NotFound => Ok(Block::Gone),
                _ => Err(error),
            },
        }
    }

    /// Whether an object left this device: no loss of power takes what is in it, but a store may.
    pub(super) fn was_stored(&self, object: ObjectId) -> Result<bool> {
        if self.staging.find(object).is_some() {
            return Ok(false);
        }
        if self.sent.contains(&object) {
            return Ok(true);
        }
        let mut state = self.state.lock();
        let usage = self.waiting(&mut state, |state| Txn::new(&state.map).object_use(object))?;
        Ok(usage.is_some_and(|usage| usage.stored_len > 0))
    }

    /// Removes staged objects that no extent refers to, when no record is left that a commit does not cover.
    ///
    /// ORDER: else the next commit does it. A block that an earlier record names and a later one replaced is needed
    /// until a commit covers both: the next recovery would stop at the earlier one, and lose the later.
    fn drop_unnamed_objects(&self) -> Result<()> {
        let mut named: BTreeSet<ObjectId> = BTreeSet::new();
        let staged = self.staging.close_all();
        let mut state = self.state.lock();
        for object in &staged {
            let usage =
                self.waiting(&mut state, |state| Txn::new(&state.map).object_use(object.id))?;
            if usage.is_some() {
                named.insert(object.id);
            }
        }
        drop(state);
        for object in staged.iter().filter(|object| !named.contains(&object.id)) {
            self.staging.discard(object.id)?;
        }
        Ok(())
    }

    /// Objects that were put for a commit that did not come about: the next commit names them all the same.
    pub(super) fn adopt_put_objects(&self, outbound: &mut Outbound) -> Result<()> {
        let lost = unmeasured(&self.state.lock().map.local);
        let mut found = Vec::new();
        for object in lost {
            if self.staging.find(object).is_none() {
                let bytes = get(&self.store, StoreKey::Object(object))?
                    .ok_or_else(|| lost_by_store(object))?;
                let (len, hash) = (bytes.len() as u64, Digest(blake3_256(&bytes)));
                // ORDER: durable, its name too, before a commit names it.
                let body = Body::Bytes(bytes);
                wait(async {
                    Ok(self.store.put(StoreKey::Object(object), body).await.map(drop)?)
                })?;
                found.push(ObjectAdded { object, len, hash });
            }
        }
        // Together: whoever has to try again would name some of them twice.
        outbound.adopted.extend(found);
        Ok(())
    }
}

/// Objects in use whose length no commit has said yet.
pub(crate) fn unmeasured(changes: &Layer) -> Vec<ObjectId> {
    let is_unknown = |value: &Option<Value>| match value {
        Some(Value::Object(usage)) => usage.stored_len == 0,
        _ => false,
    };
    let keys = changes.iter().filter(|(_, value)| is_unknown(value));
    keys.filter_map(|(key, _)| match subject(key) {
        Subject::Object(object) => Some(object),
        _ => None,
    })
    .collect()
}

/// Changes that cannot be placed: nobody remembers this home, so which of them are committed is not known.
fn stranded() -> Error {
    let message = "changes made here may be committed or not: so many homes wrote since that this one was forgotten; they \
                   are kept in the local state and not applied";
    Error::new(ErrorKind::Conflict, message)
}

/// The error of a store that does not give back what was put, and what changes that wait name.
pub(super) fn lost_by_store(object: ObjectId) -> Error {
    let message = format!("the store does not give object {object}, which changes made here need");
    Error::new(ErrorKind::Corrupt, message)
}

/// What there is of a block that a record names.
#[derive(PartialEq)]
pub(super) enum Block {
    There,
    Damaged,
    /// Neither here nor in the store.
    Gone,
}

/// What became of a record.
#[derive(PartialEq)]
pub(super) enum Step {
    Done,
    BytesMissing,
}
