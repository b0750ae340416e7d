//! New keys for subjects: the subject key, and where it is asked for, the class keys with everything sealed anew.
//!
//! ```text
//! begun     one record: a new class key beside the old one; what is written from here on is under the new
//! resealed  some files a record: new objects, then the folder names them, then the old objects go
//! switched  one record: old class keys forgotten, a new subject key, new keys for look-up buckets that once led to the subject,
//!           every key above them anew, a new application key
//! ended     the old application key is destroyed in custody and tried; the receipt is signed
//! ```
//!
//! 1. Readers open by either class key until the switch; writers use the new one. Nothing is unreadable at any moment.
//! 2. Interrupted anywhere, the next call goes on from what the records say. Deep, for one subject it takes new keys once more: those
//!    of the one that died may be what whoever asks wants to be rid of.
//! 3. Others write between two records of it. What the next record does is read after they have.
//! 4. After the end no live key leads to an old one: the old class keys were wrapped under the old subject key alone, and that
//!    lay in keystores that only the old application key opens.
//!
//! The subject's audit key stays: it seals entries that cannot be written anew.

use std::collections::BTreeSet;

use strongroom_crypto::secret::SubjectKey;
use strongroom_records::application::{Description, Rotation};
use strongroom_records::ids::{ClassId, Hash, SubjectId};
use strongroom_records::keystore::Root;
use strongroom_records::log::Kind;
use strongroom_records::receipt::{Deed, Destroyed, SubjectRotationDeed};
use strongroom_records::subject::{ClassCell, SubjectState};

use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result, whole};
use crate::files::OpenFolder;
use crate::register::Transaction;
use crate::subjects::Subject;

/// LIMIT: files, and about how many bytes of them, that one record seals anew.
const BATCH_FILES_MAX: usize = 32;
const BATCH_BYTES_MAX: u64 = 32 << 20;
/// Subjects whose keys one record switches in [`Custodian::rotate_everybody`].
const SWITCH_COUNT: usize = 32;

/// Since which record a new key is new enough: whenever it was made; and however lately, for whoever asks for new keys now.
pub(crate) const EVER: u64 = 0;
const NEVER: u64 = u64::MAX;

/// How deep a rotation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The subject key; class keys are wrapped anew.
    Shallow,
    /// Class keys too, and every file is sealed anew.
    Deep,
}

/// How far a rotation has come, for whoever waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Files sealed anew.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Subjects that are done.
    pub subjects: u64,
}

/// A rotation of everybody that is done.
#[derive(Clone, Debug, Default)]
pub struct EverybodyRotated {
    /// How much of it.
    pub done: Resealed,
    /// What became of the last application key that it replaced; none where there was nobody.
    pub destroyed: Option<Destroyed>,
    /// Who keep their keys, since what is stored of them is damaged.
    pub damaged: Vec<SubjectId>,
}

/// A rotation of a subject that is done.
#[derive(Clone, Debug)]
pub struct SubjectRotated {
    /// What the receipt says.
    pub deed: SubjectRotationDeed,
    /// The signed receipt.
    pub receipt: Vec<u8>,
}

impl Custodian {
    /// Changes a subject's key; deep, also the keys of one class or of all, with everything sealed anew. `progress` hears
    /// of every record.
    ///
    /// # Errors
    /// `NotFound` for an unknown or erased subject; `Locked`; those of custody and store. Whatever was interrupted is taken
    /// up by the next call.
    pub fn rotate_subject(
        &mut self,
        subject: &SubjectId,
        depth: Depth,
        class: Option<ClassId>,
        progress: &mut dyn FnMut(Resealed),
    ) -> Result<SubjectRotated> {
        let mut done = Resealed::default();
        if depth == Depth::Deep {
            self.reseal(subject, class, NEVER, &mut done, progress)?;
        }
        let (before, mut switched) = self.switch_keys(&[*subject], None)?;
        let destroyed = self.destroy_before(&before)?;
        let (time, position, old, own) = switched.pop().ok_or_else(Error::no_subject)?;
        let deed = SubjectRotationDeed {
            subject: own.cell.pseudonym,
            generation: own.cell.generation,
            before: old,
            after: own.cell.commitment,
            files: done.files,
            bytes: done.bytes,
            destroyed,
        };
        let receipt = self.receipt(time, position, Deed::SubjectRotation(Box::new(deed.clone())));
        Ok(SubjectRotated { deed, receipt })
    }

    /// Changes the keys of every subject. Deep, everything is sealed anew. Interrupted, the next call goes on: subjects that
    /// were done since it began are not done again. Of whom something stored is damaged keep their keys, and are named.
    ///
    /// # Errors
    /// As [`Custodian::rotate_subject`].
    pub fn rotate_everybody(
        &mut self,
        depth: Depth,
        progress: &mut dyn FnMut(Resealed),
    ) -> Result<EverybodyRotated> {
        let rotation = self.begin_everybody(depth)?;
        let mut rotated = EverybodyRotated::default();
        let all = self.subject_ids()?;
        for some in all.chunks(SWITCH_COUNT) {
            let due = self.due(some, rotation.began, &mut rotated.damaged)?;
            for subject in due.iter().filter(|_| rotation.deep) {
                let done = &mut rotated.done;
                let sealed = self.reseal_if_it_lives(subject, None, rotation.began, done, progress);
                if whole(sealed.map_err(|error| self.or_conflict(error)))?.is_none() {
                    note_damaged(&mut rotated.damaged, subject);
                }
            }
            // Whoever wrote meanwhile may have erased some, or done them.
            let mut due = self.due(&due, rotation.began, &mut rotated.damaged)?;
            due.retain(|subject| !rotated.damaged.contains(subject));
            // A deeper one that began meanwhile has all of them still to do.
            let goes_on = self.goes_on(&rotation)?;
            let (switched, destroyed) =
                self.switch_whole(&due, goes_on.then_some(&rotation), &mut rotated.damaged)?;
            if switched > 0 {
                rotated.destroyed = destroyed;
                rotated.done.subjects += switched;
                progress(rotated.done);
            }
            self.let_others_in()?;
        }
        // One that died between its last switch and the end of the old key left that key.
        self.sweep()?;
        if self.goes_on(&rotation)? {
            self.describe(&Description { rotation: None, ..self.description()? })?;
        }
        Ok(rotated)
    }

    /// Switches the keys of some subjects together, and ends the old application key; each for itself where that finds damage.
    /// How many were switched, and what became of the last key.
    pub(crate) fn switch_whole(
        &mut self,
        subjects: &[SubjectId],
        rotation: Option<&Rotation>,
        damaged: &mut Vec<SubjectId>,
    ) -> Result<(u64, Option<Destroyed>)> {
        if subjects.is_empty() {
            return Ok((0, None));
        }
        if let Some((before, _)) = self.switched_if_whole(subjects, rotation)? {
            return Ok((subjects.len() as u64, Some(self.destroy_before(&before)?)));
        }
        let (mut count, mut destroyed) = (0, None);
        for subject in subjects {
            match self.switched_if_whole(&[*subject], rotation)? {
                Some((before, _)) => {
                    destroyed = Some(self.destroy_before(&before)?);
                    count += 1;
                }
                None => note_damaged(damaged, subject),
            }
        }
        Ok((count, destroyed))
    }

    /// [`Custodian::switch_keys`]; none where what is stored of one of them is damaged.
    fn switched_if_whole(
        &mut self,
        subjects: &[SubjectId],
        rotation: Option<&Rotation>,
    ) -> Result<Option<(Root, Vec<Switched>)>> {
        let switched = self.switch_keys(subjects, rotation);
        whole(switched.map_err(|error| self.or_conflict(error)))
    }

    /// When a rotation of everybody began that was interrupted, and that the next one goes on with.
    ///
    /// # Errors
    /// `Corrupt`; those of the store.
    pub fn rotating_since(&self) -> Result<Option<i64>> {
        let Some(rotation) = self.description()?.rotation else { return Ok(None) };
        let register = self.register();
        let (header, _) = register.log().body(&register.sealer(), rotation.began)?;
        Ok(Some(header.time))
    }

    /// What goes on, or begins. One that began deep stays deep; where more is asked for than one that goes on does, a new one
    /// takes its place.
    fn begin_everybody(&mut self, depth: Depth) -> Result<Rotation> {
        let mut description = self.description()?;
        let is_enough = |rotation: &Rotation| rotation.deep || depth == Depth::Shallow;
        if let Some(rotation) = description.rotation.filter(is_enough) {
            return Ok(rotation);
        }
        let began = self.register().log().next_seq();
        let rotation = Rotation { began, deep: depth == Depth::Deep };
        description.rotation = Some(rotation);
        self.describe(&description)?;
        Ok(rotation)
    }

    /// Whether it is still the one that an interrupted call would take up.
    fn goes_on(&self, rotation: &Rotation) -> Result<bool> {
        Ok(self.description()?.rotation.is_some_and(|own| own.began == rotation.began))
    }

    /// Those of some subjects that live and are not done since.
    fn due(
        &self,
        some: &[SubjectId],
        began: u64,
        damaged: &mut Vec<SubjectId>,
    ) -> Result<Vec<SubjectId>> {
        let mut due = Vec::new();
        for subject in some {
            let Some(own) = whole(self.register().subject(subject))? else {
                note_damaged(damaged, subject);
                continue;
            };
            let Some(own) = own else { continue };
            let lives = matches!(own.cell.state, SubjectState::Active | SubjectState::Restricted);
            if lives && own.cell.rotated < began {
                due.push(*subject);
            }
        }
        Ok(due)
    }

    /// [`Custodian::reseal`], of somebody who may be erased meanwhile.
    pub(crate) fn reseal_if_it_lives(
        &mut self,
        subject: &SubjectId,
        only: Option<ClassId>,
        since: u64,
        done: &mut Resealed,
        progress: &mut dyn FnMut(Resealed),
    ) -> Result<()> {
        match self.reseal(subject, only, since, done, progress) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.living(subject).is_err() => {
                Ok(())
            }
            resealed => resealed,
        }
    }

    /// The first two steps, for one subject. Others are let in between. A class that has had a new key since a record, and whose
    /// old one is not forgotten yet, keeps it.
    pub(crate) fn reseal(
        &mut self,
        subject: &SubjectId,
        only: Option<ClassId>,
        since: u64,
        done: &mut Resealed,
        progress: &mut dyn FnMut(Resealed),
    ) -> Result<()> {
        self.begin_reseal(subject, only, since)?;
        let own = self.living(subject)?;
        let classes: Vec<ClassId> = own.cell.classes.iter().map(|own| own.class).collect();
        for class in classes.into_iter().filter(|class| only.is_none_or(|only| only == *class)) {
            while self.reseal_some(subject, class, done)? {
                progress(*done);
                self.let_others_in()?;
            }
        }
        Ok(())
    }

    /// A new key for each class that has had none since.
    fn begin_reseal(
        &mut self,
        subject: &SubjectId,
        only: Option<ClassId>,
        since: u64,
    ) -> Result<()> {
        let mut own = self.living(subject)?;
        let has_new_keys = self.is_rotated_since(&own, since)?;
        let register = self.register();
        let subject_key = register.subject_key(&own.cell)?.ok_or_else(Error::no_subject)?;
        let is_due = |class: &ClassCell| {
            let is_renewed = has_new_keys && !class.older.is_empty();
            !is_renewed && only.is_none_or(|only| only == class.class)
        };
        let due: Vec<ClassCell> = own.cell.classes.iter().filter(|c| is_due(c)).cloned().collect();
        if due.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::new(register);
        for class in due {
            let mut folder = OpenFolder::reopened(register, &subject_key, subject, &class)?;
            folder.renew(register, &subject_key, subject);
            folder.close(register, &mut own.cell);
        }
        register.tell(&mut transaction, &mut own, Kind::SubjectRotated, None, None, |entry| {
            entry.class = only;
        });
        register.put_subject(&mut transaction, &mut own);
        self.register_mut().commit(transaction).map(drop)
    }

    /// Whether a subject's keys were changed since a record.
    fn is_rotated_since(&self, own: &Subject, since: u64) -> Result<bool> {
        let mut found = since == EVER;
        if found || own.cell.entry_seq < since {
            return Ok(found);
        }
        self.each_about(own, |header, entry, _, _| {
            found = header.seq >= since && entry.kind == Kind::SubjectRotated;
            Ok(header.seq >= since && !found)
        })?;
        Ok(found)
    }

    /// Seals some files of a class under its newest key; false when none is left.
    fn reseal_some(
        &mut self,
        subject: &SubjectId,
        class: ClassId,
        done: &mut Resealed,
    ) -> Result<bool> {
        let mut own = self.living(subject)?;
        let register = self.register();
        let Some(cell) = own.cell.classes.iter().find(|cell| cell.class == class) else {
            return Ok(false);
        };
        let subject_key = register.subject_key(&own.cell)?.ok_or_else(Error::no_subject)?;
        let mut folder = OpenFolder::reopened(register, &subject_key, subject, cell)?;
        let mut transaction = Transaction::new(register);
        let (mut files, mut bytes) = (0, 0);
        for name in folder.outdated() {
            if files == BATCH_FILES_MAX || bytes >= BATCH_BYTES_MAX {
                break;
            }
            let Some(file) = folder.find(&name).cloned() else { continue };
            let plain = folder.read(register, subject, &file)?;
            let (id, sealed, before) =
                folder.write(register, subject, &name, &plain, file.written)?;
            transaction.object(id, sealed);
            before.into_iter().for_each(|before| transaction.drop_object(before));
            files += 1;
            bytes += file.len;
        }
        if files == 0 {
            return self.deal_one_anew(subject, class, done);
        }
        folder.close(register, &mut own.cell);
        register.put_subject(&mut transaction, &mut own);
        self.register_mut().commit(transaction)?;
        done.files += files as u64;
        done.bytes += bytes;
        Ok(true)
    }

    /// The third step, for subjects together, with new keys for look-up buckets that once led to one of them: returns the root
    /// before, and of each subject time and number of the record, the old commitment, and how it stands now.
    pub(crate) fn switch_keys(
        &mut self,
        subjects: &[SubjectId],
        rotation: Option<&Rotation>,
    ) -> Result<(Root, Vec<Switched>)> {
        let register = self.register();
        let keystore = register.keystore();
        let before = register.root().clone();
        let mut transaction = Transaction::new(register);
        let (mut leaves, mut switched) = (Vec::new(), Vec::new());
        let mut buckets = BTreeSet::new();
        for subject in subjects {
            let mut own = self.living(subject)?;
            let old = own.cell.commitment;
            let key = keystore.generate();
            let old_key = register.subject_key(&own.cell)?.ok_or_else(Error::no_subject)?;
            buckets.extend(register.take_former(&mut own.cell, &old_key)?);
            register.rewrap(&mut own.cell, &old_key, &SubjectKey::from_bytes(key.expose()))?;
            own.cell.generation += 1;
            own.cell.commitment = keystore.commitment(&key, own.cell.slot, own.cell.generation);
            if rotation.is_some() {
                own.cell.rotated = transaction.seq();
            }
            leaves.push((own.cell.slot, key));
            register.tell(&mut transaction, &mut own, Kind::SubjectRotated, None, None, |_| ());
            register.put_subject(&mut transaction, &mut own);
            switched.push((transaction.now, transaction.seq(), old, own));
        }
        for number in buckets {
            let mut bucket = register.bucket(number)?;
            bucket.rekey(keystore.generate());
            leaves.push(bucket.leaf());
            register.put_bucket(&mut transaction, &bucket);
        }
        let change = keystore.puncture(&before, &register.nodes(), &[], &leaves)?;
        transaction.keystore(change);
        self.register_mut().commit(transaction)?;
        Ok((before, switched))
    }

    /// A subject that is not erased, nor being erased.
    pub(crate) fn living(&self, subject: &SubjectId) -> Result<Subject> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        match own.cell.state {
            SubjectState::Active | SubjectState::Restricted => Ok(own),
            SubjectState::Erasing | SubjectState::Erased => Err(Error::no_subject()),
        }
    }
}

/// Time and number of the record, the commitment before, the subject after.
pub(crate) type Switched = (i64, u64, Hash, Subject);

/// Names somebody once.
pub(crate) fn note_damaged(damaged: &mut Vec<SubjectId>, subject: &SubjectId) {
    if damaged.last() != Some(subject) {
        damaged.push(*subject);
    }
}
