//! Publishing a cut: objects first, then the commit that names them, then letting go of what it replaces.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use strongroom_crypto::hash::{blake3_256, sha256};
use strongroom_crypto::seal;
use strongroom_crypto::usage::{Author, Context, Usage};
use strongroom_format::cbor::encode;
use strongroom_format::checkpoint::JournalMark;
use strongroom_format::commit::{
    BODY_LEN_MAX, BodyHead, BodyRef, CommitHeader, HEADER_LEN_MAX, ObjectAdded, build,
};
use strongroom_format::ids::{CompartmentId, Digest};
use strongroom_format::workspace::SUITE;
use strongroom_store::{Body as StoreBody, Key as StoreKey, Put};

use super::checkpoint::CheckpointDue;
use super::commit::{Built, Cut, Outbound, Reason, lost_race};
use crate::block::staging::Staged;
use crate::error::{Error, ErrorKind, Result};
use crate::inbound::log::{Commit, get};
use crate::inbound::memory::Memory;
use crate::inbound::roster::Pin;
use crate::later::wait;
use crate::limits::{Broken, DELETES_AT_ONCE};
use crate::state::{Head, poisoned};
use crate::workspace::{Inner, ordinary_place};

impl Inner {
    /// Publishes a cut. Repeating it after a failure is harmless.
    pub(super) fn publish(&self, outbound: &mut Outbound, cut: &mut Cut) -> Result<()> {
        if self.options.tuning.broken == Some(Broken::ReleaseBeforeCommit) {
            self.journal()?.release(cut.journal_upto)?;
        }
        let late = self.options.tuning.broken == Some(Broken::CommitBeforeObjects);
        // ORDER: objects are durable before the commit that names them.
        let mut added = match late {
            true => cut.objects.iter().map(describe).collect::<Result<Vec<_>>>()?,
            false => self.put_objects(cut)?,
        };
        added.extend_from_slice(&cut.adopted);
        let counter = outbound.counter + 1;
        let pin = self.pin_now()?;
        let parent = self.state.lock().head;
        // The same bytes each time: two records of one commit could be shown to two devices.
        if cut.built.as_ref().is_none_or(|built| (built.parent, built.pin) != (parent, pin)) {
            let (record, head) = self.build_commit(cut, (counter, pin, parent), added)?;
            cut.built = Some(Built { parent, pin, record: record.into(), head });
        }
        let Some(built) = &cut.built else { return Ok(()) };
        if self.store.is_far() {
            // ORDER: who opens without the store after a loss of power may not know of this commit. What is done then is on top of
            // the same records, and has later numbers than they.
            self.sync_local()?;
        }
        let (record, built_head, len) = (built.record.clone(), built.head, built.record.len());
        self.list_nameless(outbound)?;
        let head = self.put_commit(outbound, (built_head, parent), cut, record)?;
        self.refuse_freed(outbound, (head.seq, counter))?;
        self.roster.note_pin(pin.seq);
        if late {
            self.put_objects(cut)?;
        }
        self.note_published(outbound, cut, (counter, head), len as u64);
        Ok(())
    }

    /// Publishes a commit that changes nothing and covers no more of the journal.
    ///
    /// # Errors
    /// `Conflict` where its number is taken; those of the store.
    pub(crate) fn publish_nothing(&self, outbound: &mut Outbound) -> Result<()> {
        let base_seq = self.state.lock().head.seq;
        let mut cut = Cut { base_seq, journal_upto: outbound.journal_upto, ..Cut::default() };
        self.publish(outbound, &mut cut)?;
        self.settle(outbound, cut);
        Ok(())
    }

    /// A cut is in the log: what was on its way is committed.
    pub(crate) fn note_published(
        &self,
        outbound: &mut Outbound,
        cut: &Cut,
        (counter, head): (u64, Head),
        len: u64,
    ) {
        outbound.counter = counter;
        outbound.journal_upto = cut.journal_upto;
        outbound.note_mark(JournalMark {
            device: self.keys.device_id(),
            incarnation: self.incarnation,
            counter,
            journal_upto: cut.journal_upto,
            seq: head.seq,
        });
        let mut state = self.state.lock();
        outbound.note_given(state.numbers.given());
        state.head = head;
        state.log_bytes += len;
        state.map.settle();
        state.cut_count = 0;
        if cut.freezes {
            state.map.freeze();
        }
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
    }

    fn put_objects(&self, cut: &mut Cut) -> Result<Vec<ObjectAdded>> {
        if self.store.is_far() {
            return self.put_far(cut);
        }
        let is_lacking = |object: &&Arc<Staged>| !object.was_put();
        if let Some(added) = &cut.tried {
            for object in cut.objects.iter().filter(is_lacking) {
                self.put_again(object, added)?;
            }
            return Ok(added.clone());
        }
        // ORDER: before the store syncs the same files. A failure there would be forgotten by the next fsync, which
        // would say yes to bytes that are lost.
        self.sync_staging()?;
        self.sent.note(cut.objects.iter().map(|object| object.id))?;
        let added = cut.objects.iter().map(describe).collect::<Result<Vec<_>>>()?;
        // ORDER: before anything is put that no commit will name.
        self.refuse_too_much(cut, &added)?;
        cut.tried = Some(added.clone());
        let before = std::mem::take(&mut cut.tried_before);
        let (again, first): (Vec<_>, Vec<_>) = cut
            .objects
            .iter()
            .filter(is_lacking)
            .partition(|object| before.iter().any(|added| added.object == object.id));
        for object in again {
            self.put_again(object, &before)?;
        }
        let bodies = first
            .iter()
            .map(|object| (StoreKey::Object(object.id), StoreBody::File(object.path.clone())))
            .collect();
        wait(async { Ok(self.store.put_many(bodies).await.map(drop)?) })?;
        first.iter().for_each(|object| object.note_put());
        Ok(added)
    }

    /// Puts objects over a network; those that are full have been on their way for a while.
    fn put_far(&self, cut: &mut Cut) -> Result<Vec<ObjectAdded>> {
        // Nobody waits for what is not wanted any more.
        for object in &cut.discarded {
            object.give_up_put();
        }
        // ORDER: as in `put_ahead`. Nothing is believed to be in the store that may have lost bytes on its way to this disk.
        self.sync_before_put()?;
        self.sent.note(cut.objects.iter().map(|object| object.id))?;
        cut.objects.iter().for_each(|object| object.begin_put(&self.store));
        let added = match &cut.tried {
            Some(added) => added.clone(),
            None => cut.objects.iter().map(describe).collect::<Result<Vec<_>>>()?,
        };
        cut.tried = Some(added.clone());
        if self.options.tuning.broken == Some(Broken::AnswersNotAwaited) {
            return Ok(added);
        }
        let mut failed = None;
        for object in &cut.objects {
            // Its file stays until the commit names it: the store may lose what nobody names, and so may the copies here.
            failed = failed.or(object.end_put().err());
            if failed.is_none() {
                // Others may be full by now.
                self.put_ahead()?;
            }
        }
        failed.map_or(Ok(added), Err)
    }

    /// Lets go of a staged object that is in the store.
    fn retire_stored(&self, object: &Staged) {
        if !self.store.adopt(StoreKey::Object(object.id), &object.path, object.len()) {
            // What cannot go now is taken by the next open: a commit names the object.
            let _ = self.services.disk.remove(&object.path);
        }
        self.staging.retire(object.id);
    }

    pub(super) fn sync_before_put(&self) -> Result<()> {
        match self.options.tuning.broken {
            Some(Broken::PutBeforeSync) => Ok(()),
            _ => self.sync_staging(),
        }
    }

    pub(super) fn sync_staging(&self) -> Result<()> {
        self.staging.sync().inspect_err(|_| self.state.lock().poisoned = true)
    }

    /// Puts an object after a first try that failed. Its file may be in the store already, or may have lost bytes in a
    /// sync that failed and would now say yes: what goes is read back, compared, and written anew.
    fn put_again(&self, object: &Arc<Staged>, added: &[ObjectAdded]) -> Result<()> {
        let bytes = read_whole(object)?;
        let known = added.iter().find(|added| added.object == object.id);
        if known.is_none_or(|known| known.hash.0 != blake3_256(&bytes)) {
            self.state.lock().poisoned = true;
            return Err(poisoned());
        }
        let key = StoreKey::Object(object.id);
        wait(async { Ok(self.store.put(key, StoreBody::Bytes(bytes.into())).await.map(drop)?) })?;
        object.note_put();
        Ok(())
    }

    /// The newest position of the organisation log, so that what follows is sealed for those who count now. One look at
    /// the store for each commit.
    fn pin_now(&self) -> Result<Pin> {
        if self.options.tuning.broken != Some(Broken::OrganisationNotFollowed) {
            self.follow_organisation()?;
        }
        self.roster.pin()
    }

    fn build_commit(
        &self,
        cut: &Cut,
        (counter, pin, parent): (u64, Pin, Head),
        added: Vec<ObjectAdded>,
    ) -> Result<(Vec<u8>, Head)> {
        let author =
            Author { device: self.keys.device_id().0, incarnation: self.incarnation, counter };
        let mut plain = encode(&self.body_head(cut, counter));
        plain.extend_from_slice(&cut.ops);
        let context = Context::commit_body(&ordinary_place(&self.keys), pin.epoch, &author);
        let no_key = || Error::new(ErrorKind::Locked, "the workspace key is missing");
        let key = self.keys.epoch_key(pin.epoch).ok_or_else(no_key)?;
        let salt = self.keys.salt(self.services.entropy.array(), blake3_256(&plain));
        let body = seal::seal(key, &context, salt, &plain);
        let sealed = (body.len() as u64, Digest(sha256(&body)));
        let header = self.header(cut, (counter, pin, parent), sealed, added);
        let header_bytes = encode(&header);
        check_size(&header_bytes, body.len())?;
        let signature = self.keys.signing().sign(Usage::SignCommit, &header_bytes);
        let head = Head { seq: header.seq, hash: Digest(sha256(&header_bytes)) };
        Ok((build(&header_bytes, &signature, &[body]), head))
    }

    /// Refuses a cut that is too much for one commit, whatever position in the log it will have.
    fn refuse_too_much(&self, cut: &Cut, added: &[ObjectAdded]) -> Result<()> {
        let pin = self.roster.pin()?;
        let parent = self.state.lock().head;
        let counter = 0;
        let len = seal::sealed_len(encode(&self.body_head(cut, counter)).len() + cut.ops.len());
        let all = added.iter().chain(&cut.adopted).copied().collect();
        let sealed = (len as u64, Digest([0; 32]));
        check_size(&encode(&self.header(cut, (counter, pin, parent), sealed, all)), len)
    }

    fn body_head(&self, cut: &Cut, counter: u64) -> BodyHead {
        BodyHead {
            compartment: CompartmentId::ORDINARY,
            author: self.keys.device_id(),
            incarnation: self.incarnation,
            counter,
            base_seq: cut.base_seq,
            journal_upto: cut.journal_upto,
            op_count: cut.count,
        }
    }

    fn header(
        &self,
        cut: &Cut,
        (counter, pin, parent): (u64, Pin, Head),
        (len, sha256): (u64, Digest),
        added: Vec<ObjectAdded>,
    ) -> CommitHeader {
        CommitHeader {
            suite: SUITE,
            organisation: self.keys.organisation(),
            workspace: self.keys.workspace(),
            seq: parent.seq + 1,
            parent: parent.hash,
            author: self.keys.device_id(),
            incarnation: self.incarnation,
            counter,
            organisation_seq: pin.seq,
            organisation_head: pin.head,
            bodies: vec![BodyRef {
                compartment: CompartmentId::ORDINARY,
                epoch: pin.epoch,
                len,
                sha256,
            }],
            added,
            released: cut.released().collect(),
            time: self.services.clock.now_ns(),
        }
    }

    /// Puts the commit; when a lost reply hid that it is there already, finds it. Returns the head it makes.
    ///
    /// Where several homes write, it is read back before anything builds on it: a store that lets two of them win one
    /// number, or forgets what it took, would cost all that this home let go of in the belief that it was committed.
    fn put_commit(
        &self,
        outbound: &Outbound,
        (head, parent): (Head, Head),
        cut: &Cut,
        record: Bytes,
    ) -> Result<Head> {
        let key = StoreKey::Log(head.seq);
        let put = self.store.put_if_absent(key, record.clone());
        let believed = self.options.tuning.broken == Some(Broken::PutBelieved);
        match wait(async { Ok(put.await?) })? {
            Put::Created(_) if believed || !outbound.is_shared() => return Ok(head),
            Put::Created(_) | Put::Exists => {}
        }
        let there = get(&self.store, key)?.ok_or_else(|| unsure(key))?;
        if there == record {
            return Ok(head);
        }
        // The process before may have put it.
        let found = self.reader().open_commit(key, parent, &there).ok();
        let by_number = self.options.tuning.broken == Some(Broken::OwnCommitByNumber);
        let is_it = |commit: &Commit| {
            self.is_own(commit)
                && commit.header.counter == outbound.counter + 1
                && (by_number || cut.is_content_of(&commit.body))
        };
        found.filter(is_it).map(|commit| commit.head).ok_or_else(|| lost_race(head.seq))
    }

    /// What follows from a commit that is durable.
    pub(crate) fn settle(&self, outbound: &mut Outbound, cut: Cut) {
        if cut.freezes {
            let head = self.state.lock().head;
            outbound.checkpoint_due = Some(CheckpointDue { head, marks: outbound.marks_to_keep() });
        }
        let keeps = self.keeps_history(outbound) || outbound.has_past;
        outbound.has_past |= keeps;
        if !keeps {
            outbound.leftovers.stored.extend(cut.released());
        }
        cut.objects.iter().for_each(|object| self.retire_stored(object));
        // Put before anybody named it, and overwritten since.
        let put = cut.discarded.iter().filter(|object| object.give_up_put());
        outbound.leftovers.stored.extend(put.map(|object| object.id));
        outbound.settled = self.services.clock.elapsed();
        outbound.leftovers.stored.extend(cut.superfluous.iter().map(|added| added.object));
        outbound.leftovers.staged.extend(cut.discarded);
        outbound.released.extend(cut.released_later);
    }

    /// Lets go of what commits and checkpoints made superfluous. What cannot go now goes another time.
    ///
    /// # Errors
    /// What the store or the local disk said.
    pub(crate) fn tidy_up(&self, outbound: &mut Outbound, reason: Reason) -> Result<()> {
        let seen = Memory::of(&self.state.lock(), outbound);
        if outbound.remembered_seq != seen.head.seq {
            self.remember(&seen)?;
            if outbound.names_all_sent() {
                self.sent.clear();
            }
            self.strike_nameless(outbound)?;
            self.journal()?.release(outbound.journal_upto)?;
            outbound.remembered_seq = seen.head.seq;
        }
        while let Some(object) = outbound.leftovers.staged.last() {
            self.staging.discard(object.id)?;
            outbound.leftovers.staged.pop();
        }
        // Behind the last one nobody reads any more.
        if self.is_looked_at() && reason != Reason::Closing {
            return Ok(());
        }
        // Whoever waits for the next commit comes before the rest; behind the last one there is nobody.
        let mut room =
            if reason == Reason::Closing { usize::MAX } else { self.options.tuning.deleted_count };
        while room > 0 && !outbound.leftovers.stored.is_empty() {
            let count = outbound.leftovers.stored.len().min(DELETES_AT_ONCE).min(room);
            let from = outbound.leftovers.stored.len() - count;
            let some = outbound.leftovers.stored.iter().skip(from).copied();
            self.delete_all(some.map(StoreKey::Object))?;
            outbound.leftovers.stored.truncate(from);
            room -= count;
        }
        if let Some(seq) = outbound.leftovers.log_upto {
            self.cut_log(seq)?;
            outbound.leftovers.log_upto = None;
        }
        if outbound.leftovers.expire {
            self.expire(outbound)?;
            outbound.leftovers.expire = false;
        }
        if std::mem::take(&mut outbound.leftovers.sweep) {
            self.sweep_if_due(outbound)?;
        }
        Ok(())
    }
}

/// The error of a store that contradicts itself: asked again, it may not.
pub(super) fn unsure(key: StoreKey) -> Error {
    let message = format!("the store says that `{key}` is there, and does not give it");
    Error::new(ErrorKind::Unavailable, message)
}

/// Nobody could read one that is longer, nor what comes after it.
fn check_size(header: &[u8], body_len: usize) -> Result<()> {
    if header.len() > HEADER_LEN_MAX || body_len as u64 > BODY_LEN_MAX {
        let message = "what is not committed is too much for one commit";
        return Err(Error::new(ErrorKind::Full, message));
    }
    Ok(())
}

/// Length and hash of a staged object as it stands.
fn describe(object: &Arc<Staged>) -> Result<ObjectAdded> {
    let bytes = read_whole(object)?;
    Ok(ObjectAdded { object: object.id, len: object.len(), hash: Digest(blake3_256(&bytes)) })
}

fn read_whole(object: &Arc<Staged>) -> Result<Vec<u8>> {
    object.read(0, usize::try_from(object.len()).unwrap_or(usize::MAX))
}
