//! What a crash left: journal records that no commit covers, staged objects, orphans.

use std::collections::BTreeSet;

use strongroom_crypto::hash::blake3_256;
use strongroom_format::commit::ObjectAdded;
use strongroom_format::ids::{Digest, ObjectId};
use strongroom_format::inode::Extent;
use strongroom_format::key::Subject;
use strongroom_format::op::Op;
use strongroom_format::ops;
use strongroom_journal as journal;
use strongroom_journal::Journal;
use strongroom_store::{Body, Key as StoreKey};

use super::home::JOURNAL_FOLDER;
use crate::block::fetch::Wanted;
use crate::error::{Error, ErrorKind, Result};
use crate::later::wait;
use crate::ops::remove::purge_if_orphan;
use crate::outbound::commit::Reason;
use crate::tree::map::{Value, subject};
use crate::tree::txn::Txn;
use crate::workspace::{Inner, Mode};

/// What the replay of the journal came to.
#[derive(Default)]
struct Replayed {
    records: u64,
    /// Number of a record that names bytes that are not on the disk. It and all after it are given up, unless a sync
    /// had told somebody that they are durable.
    cut: Option<u64>,
    failed: Option<Error>,
}

impl Inner {
    /// Replays the journal, drops what nothing names, and ends orphans.
    pub(super) fn recover(&self) -> Result<()> {
        if self.options.mode == Mode::ReadOnly {
            return Ok(());
        }
        self.confirm_head()?;
        self.drop_committed_objects()?;
        let base_seq = self.base_seq(self.remembered_head().map(|head| head.seq));
        let replayed = self.replay_journal(base_seq)?;
        let head = self.state.lock().head;
        if head.seq > base_seq {
            // ORDER: before anything new is journaled, which builds on it.
            self.remember_head_durably(head)?;
        }
        if replayed.records == 0 && replayed.cut.is_none() {
            self.drop_unnamed_objects()?;
        }
        self.adopt_put_objects()?;
        if replayed.cut.is_some() {
            // ORDER: before anything new is journaled, or the next recovery would stop at the same record again.
            self.commit(Reason::Covering)?;
        }
        self.purge_orphans()
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
        let key = StoreKey::Log(head.seq);
        wait(async {
            let bytes = self.store.get(key, None).await?;
            self.store.put_if_absent(key, bytes).await?;
            Ok(())
        })
    }

    /// Removes staged copies of objects that a commit names: the store has them. A loss of power may bring back the
    /// name of a copy that was removed, and with it bytes that never were on the disk.
    fn drop_committed_objects(&self) -> Result<()> {
        for object in self.staging.close_all() {
            let mut state = self.state.lock();
            let usage =
                self.waiting(&mut state, |state| Txn::new(&state.map).object_use(object.id))?;
            drop(state);
            if usage.is_some_and(|usage| usage.stored_len > 0) {
                self.staging.discard(object.id)?;
            }
        }
        Ok(())
    }

    fn replay_journal(&self, base_seq: u64) -> Result<Replayed> {
        let covered = self.outbound.lock().journal_upto;
        let options = journal::Options {
            folder: self.options.state_folder.join(JOURNAL_FOLDER),
            file_len_max: self.options.tuning.journal_file_len,
            device: self.keys.device_id(),
            organisation: self.keys.organisation(),
            incarnation: self.incarnation,
            first_number_min: covered + 1,
        };
        let services = journal::Services {
            disk: self.services.disk.clone(),
            entropy: self.services.entropy.clone(),
        };
        let mut replayed = Replayed::default();
        let mut sink = |number: u64, payload: &[u8]| {
            if number > covered && replayed.cut.is_none() && replayed.failed.is_none() {
                match self.check_unmoved(base_seq).and_then(|()| self.replay_record(payload)) {
                    Ok(Step::Done) => replayed.records += 1,
                    Ok(Step::BytesMissing) => replayed.cut = Some(number),
                    Err(error) => replayed.failed = Some(error),
                }
            }
            Ok(())
        };
        let journal = Journal::open(options, self.keys.journal_key(), services, &mut sink)?;
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
        let (op, rest) = ops::decode_one(payload)?;
        if !rest.is_empty() {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "a journal record holds more than one operation",
            ));
        }
        if let Op::SetExtents { extents, .. } = &op
            && !self.are_readable(extents)?
        {
            return Ok(Step::BytesMissing);
        }
        let mut state = self.state.lock();
        if let Op::Clone { from, to, .. } = &op {
            self.seal_as_blocks(&mut state, *from)?;
            self.seal_as_blocks(&mut state, *to)?;
        }
        let now = self.services.clock.elapsed();
        self.waiting(&mut state, |state| state.redo(now, &op, payload))?;
        Ok(Step::Done)
    }

    /// Whether the blocks that a journaled write names are on the disk: power may have gone before they were.
    fn are_readable(&self, extents: &[Extent]) -> Result<bool> {
        for extent in extents {
            let mut plain = vec![0; extent.block_len as usize];
            let wanted =
                Wanted { extent: extent.clone(), block_offset: 0, len: extent.block_len, at: 0 };
            match wait(self.blocks.read(&[wanted], &mut plain)) {
                Ok(()) => {}
                Err(error) => match error.kind() {
                    ErrorKind::Corrupt | ErrorKind::NotFound => return Ok(false),
                    _ => return Err(error),
                },
            }
        }
        Ok(true)
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
    fn adopt_put_objects(&self) -> Result<()> {
        let lost: Vec<ObjectId> = {
            let state = self.state.lock();
            let unknown = |value: &Option<Value>| match value {
                Some(Value::Object(usage)) => usage.stored_len == 0,
                _ => false,
            };
            let keys = state.map.overlay.iter().filter(|(_, value)| unknown(value));
            keys.filter_map(|(key, _)| match subject(key) {
                Subject::Object(object) => Some(object),
                _ => None,
            })
            .collect()
        };
        let mut outbound = self.outbound.lock();
        for object in lost {
            if self.staging.find(object).is_none() {
                let bytes =
                    wait(async { Ok(self.store.get(StoreKey::Object(object), None).await?) })?;
                let (len, hash) = (bytes.len() as u64, Digest(blake3_256(&bytes)));
                // ORDER: durable, its name too, before a commit names it.
                let body = Body::Bytes(bytes);
                wait(async {
                    Ok(self.store.put(StoreKey::Object(object), body).await.map(drop)?)
                })?;
                outbound.adopted.push(ObjectAdded { object, len, hash });
            }
        }
        Ok(())
    }

    fn purge_orphans(&self) -> Result<()> {
        let mut state = self.state.lock();
        let orphans = self.waiting(&mut state, |state| state.orphans())?;
        let now = self.services.clock.elapsed();
        let count_max = self.options.tuning.extents_per_removal;
        for ino in orphans {
            let journal = self.journal()?;
            self.waiting(&mut state, |state| {
                purge_if_orphan(state, journal, now, (ino, count_max))
            })?;
        }
        Ok(())
    }
}

enum Step {
    Done,
    BytesMissing,
}
