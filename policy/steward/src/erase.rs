//! Erasure of a subject: ledger first, keys before objects, proof before the mark.
//!
//! ```text
//! received    holds checked, again whenever it is taken up till keys go; ledger entry durable; from here on nothing is released
//! parted      those who share files with the subject forget them, a record each
//! punctured   one record: leaf dropped, buckets remade, application key new; objects and folders gone with it
//! closed      all application keys but the one in force destroyed in custody, the old one tried on the root before; receipt signed
//! ```
//!
//! Each step is done once and marked after its proof; an interrupted erasure is taken up where it stands by the same call,
//! and a finished one answers with the same receipt. No key of the subject is needed: a broken one is erased all the same.

use std::collections::BTreeSet;

use strongroom_records::ids::{Hash, SubjectId};
use strongroom_records::log::Kind;
use strongroom_records::receipt::{Deed, Destroyed, Ending, ErasureDeed};
use strongroom_records::subject::{Erasure, Named, SubjectState};

use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::files::read_folder;
use crate::register::{Register, Transaction};
use crate::subjects::Subject;

/// An erasure that is done.
#[derive(Clone, Debug)]
pub struct Erased {
    /// The signed receipt.
    pub receipt: Vec<u8>,
    /// What it says.
    pub deed: ErasureDeed,
}

/// Why somebody is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is asked for: holds have a say.
    Asked,
    /// It was decided before: holds had their say.
    Decided,
    /// The ledger says so, and need not be told.
    Ledger,
}

/// What every receipt of an erasure says of itself.
const PROVES: &str = "This proves that the key committed to in the data is no longer in the live keystore and that the \
    procedure was followed and publicly recorded; it cannot prove that a dishonest operator kept no copy. Out of reach: \
    exports handed out, copies made by programs, outputs of consumers, files outside the subject's own. That this \
    pseudonym existed remains on record.";
const PART: &str = "The two were one person: what was of this one has become the other one's, and is erased with that. ";
const IMMEDIATE: &str = "Irrecoverable from the time of this receipt on, also from copies of everything ever stored: the \
    key was destroyed in custody.";
const BEST_EFFORT: &str = "Best effort: whoever kept an older copy of the custody file and of the keystore can still open \
    what that copy opened.";
const NOT_OURS: &str = "Custody was handed its secret by somebody else and cannot end it: whoever has that secret and an \
    older copy of the keystore can still open what that copy opened.";

impl Custodian {
    /// Erases a subject. Asked again after an interruption it goes on; asked again when it is done it answers the same.
    ///
    /// # Errors
    /// `Held` while a hold is in force, recorded; `NotFound`; those of custody and store.
    pub fn erase(&mut self, subject: &SubjectId) -> Result<Erased> {
        self.erase_for(subject, Cause::Asked)
    }

    pub(crate) fn erase_for(&mut self, subject: &SubjectId, cause: Cause) -> Result<Erased> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let erasure = own.cell.erasure.as_ref();
        if erasure.is_none_or(|erasure| erasure.punctured.is_none()) {
            let is_new = erasure.is_none();
            let own = self.unless_held(own, cause)?;
            if is_new {
                self.receive_erasure(own)?;
            }
        }
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        if own.cell.erasure.as_ref().is_some_and(|erasure| erasure.punctured.is_none()) {
            // ORDER: the ledger has it before anything is destroyed.
            if cause != Cause::Ledger {
                self.note_in_ledger(&own)?;
            }
            self.part_from_others(subject)?;
            let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
            self.puncture(own)?;
        }
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let erasure = own.cell.erasure.clone().ok_or_else(unfinished)?;
        match erasure.receipt.is_empty() {
            true => self.close_erasure(own, erasure),
            false => {
                let receipt = crate::receipts::parse(&erasure.receipt)?;
                match receipt.deed {
                    Deed::Erasure(deed) => Ok(Erased { receipt: erasure.receipt, deed: *deed }),
                    _ => Err(Error::corrupt("the receipt of an erasure is another one")),
                }
            }
        }
    }

    /// Erasures that were interrupted, to be taken up by [`Custodian::erase`].
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn unfinished_erasures(&self) -> Result<Vec<SubjectId>> {
        let mut found = Vec::new();
        for subject in self.subject_ids()? {
            let own = self.register().subject(&subject)?.ok_or_else(unfinished)?;
            if own.cell.erasure.is_some_and(|erasure| erasure.receipt.is_empty()) {
                found.push(subject);
            }
        }
        Ok(found)
    }

    /// Whoever is held stays as long as nothing is gone, also where the erasure is on record: that they stayed is, too.
    fn unless_held(&mut self, own: Subject, cause: Cause) -> Result<Subject> {
        let now = self.services().clock.now_ns();
        if cause != Cause::Asked || !self.is_held_with_others(&own, now)? {
            return Ok(own);
        }
        self.change_subject(own, Kind::ErasureRefused)?;
        Err(Error::new(ErrorKind::Held, "a hold is in force"))
    }

    /// Whether a hold is in force, on somebody or on whom a file is about as well.
    pub(crate) fn is_held_with_others(&self, own: &Subject, now: i64) -> Result<bool> {
        Ok(own.is_held_at_all(now) || self.with_others(own, now)?.is_held)
    }

    /// Step 1: the ledger entry, before anything is destroyed.
    fn receive_erasure(&mut self, mut own: Subject) -> Result<()> {
        let register = self.register();
        let mut transaction = Transaction::new(register);
        register.receive_erasure(&mut transaction, &mut own, None)?;
        register.put_subject(&mut transaction, &mut own);
        self.register_mut().commit(transaction).map(drop)
    }

    /// Step 2: one record after which the newest keystore has no way to the subject.
    fn puncture(&mut self, mut own: Subject) -> Result<()> {
        let register = self.register();
        let subject = own.cell.subject;
        let mut transaction = Transaction::new(register);
        let mut leaves = Vec::new();
        for mut bucket in self.buckets_of(&own)? {
            bucket.remove(subject, None);
            bucket.rekey(register.keystore().generate());
            leaves.push(bucket.leaf());
            register.put_bucket(&mut transaction, &bucket);
        }
        let joint_files = self.joint_count(&own)?;
        let before = register.root().clone();
        let slot = own.cell.slot;
        let keystore = register.keystore();
        let change = keystore.puncture(&before, &register.nodes(), &[slot], &leaves)?;
        let classes = std::mem::take(&mut own.cell.classes);
        let objects: Vec<_> = classes.into_iter().flat_map(|class| class.objects).collect();
        objects.iter().for_each(|object| transaction.drop_object(*object));
        own.cell.names = Vec::new();
        own.cell.request = None;
        own.record.agreed = Vec::new();
        own.cell.state = SubjectState::Erased;
        let mut erasure = own.cell.erasure.take().ok_or_else(unfinished)?;
        erasure.root_before = Some(before);
        erasure.punctured = Some(transaction.seq());
        erasure.wrap_count = change.wrap_count;
        erasure.objects = objects;
        erasure.joint_files = joint_files;
        own.cell.erasure = Some(erasure);
        transaction.keystore(change);
        register.tell(&mut transaction, &mut own, Kind::ErasureKeys, None, None, |_| ());
        register.put_subject(&mut transaction, &mut own);
        self.register_mut().commit(transaction).map(drop)
    }

    /// Step 3: the old application key ends, and the receipt says how.
    fn close_erasure(&mut self, mut own: Subject, mut erasure: Erasure) -> Result<Erased> {
        let register = self.register();
        let before = erasure.root_before.clone().ok_or_else(unfinished)?;
        let slot = own.cell.slot;
        if register.leaf(slot)?.is_some() {
            return Err(Error::corrupt("an erased subject's key is still in the keystore"));
        }
        // One that was made before the puncture, and that no record names, opens the subject in an older copy.
        self.end_all_other_keys()?;
        let destroyed = self.destroy_before(&before)?;
        let register = self.register();
        if destroyed.ending == Ending::Immediate && !destroyed.refused_afterwards {
            return Err(Error::new(ErrorKind::Unavailable, "custody did not destroy the old key"));
        }
        let mut left = 0;
        for object in &erasure.objects {
            let name = u128::from_be_bytes(object.0);
            let shelves = register.log().shelves();
            left += u64::from(shelves.has(strongroom_store::Shelf::Object, name)?);
        }
        let mut transaction = Transaction::new(register);
        let deed = ErasureDeed {
            subject: own.cell.pseudonym,
            received: erasure.received,
            commitment: own.cell.commitment,
            slot,
            root_before: before.node.hash,
            root_after: register.root().node.hash,
            path: self.path(slot)?,
            wrap_count: erasure.wrap_count,
            irrecoverable_from: is_final(&destroyed).then_some(transaction.now),
            statement: statement(&destroyed, &erasure),
            destroyed,
            objects_removed: erasure.objects.len() as u64 - left,
            objects_left: left,
            joint_files: erasure.joint_files,
            into: erasure.into,
        };
        let (time, position) = (transaction.now, transaction.seq());
        let receipt = self.receipt(time, position, Deed::Erasure(Box::new(deed.clone())));
        erasure.receipt = receipt.clone();
        // The old root and the names of what was removed have served.
        erasure.root_before = None;
        erasure.objects = Vec::new();
        own.cell.erasure = Some(erasure);
        let hash = Hash(strongroom_crypto::hash::sha256(&receipt));
        let register = self.register();
        register.tell(&mut transaction, &mut own, Kind::ErasureClosed, None, None, |entry| {
            entry.object = Some(hash);
        });
        register.put_subject(&mut transaction, &mut own);
        self.register_mut().commit(transaction)?;
        Ok(Erased { receipt, deed })
    }

    fn path(&self, slot: u64) -> Result<Vec<minicbor::bytes::ByteVec>> {
        let register = self.register();
        let path = register.keystore().path(register.root(), &register.nodes(), slot)?;
        Ok(path.into_iter().map(Into::into).collect())
    }

    /// Buckets that have rows of a subject, or had some: from the subject's folder, or, where no key opens it, all there are,
    /// since nothing else says which had some.
    fn buckets_of(&self, own: &Subject) -> Result<Vec<crate::lookup::OpenBucket>> {
        let register = self.register();
        let (numbers, former) = match self.traces_of(own) {
            Some((hashes, former)) => {
                let now = hashes.iter().map(Register::bucket_number);
                (now.chain(former.iter().copied()).collect::<BTreeSet<u64>>(), Some(former))
            }
            None => ((0..strongroom_records::register::BUCKET_COUNT).collect(), None),
        };
        let mut buckets = Vec::new();
        for number in numbers {
            if !register.has_bucket(number)? {
                continue;
            }
            let bucket = register.bucket(number)?;
            let is_theirs = bucket.bucket.rows.iter().any(|row| row.subject == own.cell.subject);
            let had_theirs = former.as_ref().is_none_or(|former| former.contains(&number));
            if is_theirs || had_theirs {
                buckets.push(bucket);
            }
        }
        Ok(buckets)
    }
}

impl Custodian {
    /// Every hash that may lead to a subject, of attributes, of the name each activity has and of what it agreed to, and the
    /// buckets that had others before; none if some key or folder does not open.
    fn traces_of(&self, own: &Subject) -> Option<(Vec<Hash>, Vec<u64>)> {
        let register = self.register();
        let (mut hashes, former) = lookups(register, own)?;
        let key = register.subject_key(&own.cell).ok()??;
        for activity in self.activities().ok()? {
            let name = register.pseudonym(&key, &own.cell, &activity.id).ok()?;
            hashes.push(register.name_hash(&activity.id, &name).ok()?);
        }
        for (activity, page) in &own.record.agreed {
            hashes.push(register.agreed_hash(activity, *page).ok()?);
        }
        Some((hashes, former))
    }
}

impl Register {
    /// From here on nothing of somebody is released, and whoever sweeps next finds them, should it be interrupted.
    /// Who became a part of another is named with whom.
    pub fn receive_erasure(
        &self,
        transaction: &mut Transaction,
        own: &mut Subject,
        into: Option<Named>,
    ) -> Result<()> {
        own.cell.state = SubjectState::Erasing;
        own.cell.erasure = Some(Erasure::received(transaction.seq(), into));
        self.mark_block(transaction, own.cell.slot)?;
        self.tell(transaction, own, Kind::ErasureReceived, None, None, |_| ());
        Ok(())
    }
}

/// Look-up hashes of a subject, and buckets of former ones; none if some key or folder does not open.
fn lookups(register: &Register, own: &Subject) -> Option<(Vec<Hash>, Vec<u64>)> {
    let identifiable = strongroom_records::ids::ClassId::IDENTIFIABLE;
    let Some(class) = own.cell.classes.iter().find(|class| class.class == identifiable) else {
        return Some((Vec::new(), Vec::new()));
    };
    let key = register.subject_key(&own.cell).ok()??;
    let (subject, generation) = (&own.cell.subject, class.generation);
    let class_key =
        register.unwrap_class(&key, subject, class.class, generation, &class.wrap).ok()?;
    let class_key = strongroom_crypto::secret::ClassKey::from(class_key);
    let folder = read_folder(register, &own.cell.subject, class, &class_key).ok()?;
    Some((folder.lookups, folder.former))
}

fn is_final(destroyed: &Destroyed) -> bool {
    destroyed.ending == Ending::Immediate && destroyed.refused_afterwards
}

fn statement(destroyed: &Destroyed, erasure: &Erasure) -> String {
    let custody = match destroyed.ending {
        Ending::Immediate => IMMEDIATE,
        Ending::BestEffort => BEST_EFFORT,
        Ending::NotOurs => NOT_OURS,
    };
    let part = if erasure.into.is_some() { PART } else { "" };
    let others = match erasure.joint_files {
        0 => String::new(),
        1 => " One file that was about others as well is closed for them, too.".to_owned(),
        count => format!(" {count} files that were about others as well are closed for them, too."),
    };
    format!("{part}{custody}{others} {PROVES}")
}

fn unfinished() -> Error {
    Error::corrupt("the record of an erasure is damaged")
}
