//! Two subjects that turn out to be one person: what is of the one becomes the other's, and the one is erased.
//!
//! ```text
//! kept     one record: holds and restriction of the one are in force for the other as well, and so is what it said no to
//! moved    some files a record: sealed anew under the other's key, out of the one's folder in the same record
//! joined   one record: all other answers, look-up rows; the one's erasure is asked for and its holds go
//! erased   as every erasure: keys ended, receipt signed
//! ```
//!
//! Interrupted anywhere, the same call goes on: every file is in exactly one of the two folders at every moment. Others write
//! between two records of it: it is joined when nothing is left to move.
//!
//! Ledger and receipt of that erasure name both, so that an older copy does the same again and takes nothing of the person away.
//!
//! **Answers.** A no of either stays a no. Two yeses become the narrower of both: classes that both cover, the earlier end,
//! explicit only if both were. A yes of one, where the other was never asked, stays: it is the same person.

use strongroom_records::ids::{ClassId, SubjectId};
use strongroom_records::log::Kind;
use strongroom_records::receipt::Said;
use strongroom_records::subject::{
    Consent, ConsentStatus, Detail, FILE_COUNT_MAX, FILE_NAME_LEN_MAX, File, Folder,
    JOINT_COUNT_MAX, Named, Row, SubjectState,
};

use crate::custodian::Custodian;
use crate::erase::{Cause, Erased};
use crate::error::{Error, Result};
use crate::files::{OpenFolder, full};
use crate::joint::full_of_joint;
use crate::ledger::ToTell;
use crate::lookup::Buckets;
use crate::register::{Register, Transaction};
use crate::subjects::Subject;

/// LIMIT: files, and about how many bytes of them, that one record moves.
const BATCH_FILES_MAX: usize = 32;
const BATCH_BYTES_MAX: u64 = 32 << 20;

/// A merge that is done.
#[derive(Clone, Debug)]
pub struct Merged {
    /// Files that were moved by this call.
    pub files: u64,
    /// The end of the subject that is no more.
    pub erased: Erased,
}

impl Custodian {
    /// Makes `from` a part of `into`. Asked again after an interruption it goes on; asked again when it is done it answers
    /// with the same receipt.
    ///
    /// # Errors
    /// `Invalid` for one and the same; `NotFound` when one of them is gone otherwise; those of custody and store.
    pub fn merge_subjects(&mut self, into: &SubjectId, from: &SubjectId) -> Result<Merged> {
        self.merge_for(into, from, Cause::Asked)
    }

    /// The same, also where it was decided before: the ledger is not told what it says itself.
    pub(crate) fn merge_for(
        &mut self,
        into: &SubjectId,
        from: &SubjectId,
        cause: Cause,
    ) -> Result<Merged> {
        if into == from {
            return Err(Error::invalid("a subject is not merged with itself"));
        }
        let gone = self.register().subject(from)?.ok_or_else(Error::no_subject)?;
        if gone.cell.erasure.is_some() {
            // Whoever was erased for another reason is nobody to be merged.
            if !self.merged_into(into)?.contains(from) {
                return Err(Error::no_subject());
            }
            return Ok(Merged { files: 0, erased: self.erase_for(from, cause)? });
        }
        self.check_room(into, from)?;
        let mut files = 0;
        loop {
            // ORDER: before anything is moved. Others are let in between, and are not after the last one.
            self.keep_what_is_kept(into, from, cause)?;
            match self.move_any(into, from)? {
                0 => break,
                moved => files += moved,
            }
            self.let_others_in()?;
        }
        self.join(into, from, cause)?;
        Ok(Merged { files, erased: self.erase_for(from, cause)? })
    }

    /// Subjects that became a part of one, as its own entries tell.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn merged_into(&mut self, subject: &SubjectId) -> Result<Vec<SubjectId>> {
        let details = self.entries_about(subject)?.into_iter().filter_map(|line| line.detail);
        Ok(details.filter_map(|detail| detail.merged).collect())
    }

    /// Whether all that the one has finds room with the other: else nothing is begun that would end half way.
    pub(crate) fn check_room(&self, into: &SubjectId, from: &SubjectId) -> Result<()> {
        let (own, other) = (self.living(into)?, self.living(from)?);
        let ours = self.folders_of(&own)?;
        for theirs in self.folders_of(&other)? {
            let ours = ours.iter().find(|ours| ours.class() == theirs.class());
            if let Some(ours) = ours {
                check_room(&ours.folder, &theirs.folder, into)?;
            }
        }
        Ok(())
    }

    /// Nothing that was held, restricted, refused or agreed to in part only is free for a moment.
    fn keep_what_is_kept(
        &mut self,
        into: &SubjectId,
        from: &SubjectId,
        cause: Cause,
    ) -> Result<()> {
        self.heed_ledger_unless(cause)?;
        let (mut own, other) = (self.living(into)?, self.living(from)?);
        let mut holds = other.cell.holds;
        holds.retain(|hold| !own.cell.holds.contains(hold));
        let is_stricter = other.cell.state == SubjectState::Restricted
            && own.cell.state != SubjectState::Restricted;
        let answers = narrowed(&own.record.consents, &other.record.consents);
        if holds.is_empty() && !is_stricter && answers.is_empty() {
            return Ok(());
        }
        let register = self.register();
        let mut transaction = Transaction::new(register);
        let mut said = register.say(&mut transaction, &mut own, answers);
        let restricted = is_stricter.then_some((Kind::Restriction, SubjectState::Restricted));
        let held = (!holds.is_empty()).then_some((Kind::Hold, own.cell.state));
        own.cell.holds.extend(holds);
        for (kind, state) in held.into_iter().chain(restricted) {
            own.cell.state = state;
            register.tell(&mut transaction, &mut own, kind, None, None, |_| ());
        }
        said.extend(is_stricter.then_some(Said::Restricted));
        let to_tell = self.to_tell_unless(cause, &own, &said)?;
        register.put_subject(&mut transaction, &mut own);
        self.told_beforehand(to_tell, |office| office.register_mut().commit(transaction)).map(drop)
    }

    /// Moves some files of any class; how many.
    fn move_any(&mut self, into: &SubjectId, from: &SubjectId) -> Result<u64> {
        let classes: Vec<ClassId> =
            self.living(from)?.cell.classes.iter().map(|own| own.class).collect();
        for class in classes {
            match self.move_some(into, from, class)? {
                0 => {}
                moved => return Ok(moved),
            }
        }
        Ok(0)
    }

    /// Moves some files of a class; how many.
    fn move_some(&mut self, into: &SubjectId, from: &SubjectId, class: ClassId) -> Result<u64> {
        let (mut own, mut other) = (self.living(into)?, self.living(from)?);
        let register = self.register();
        let Some(cell) = other.cell.classes.iter().find(|cell| cell.class == class) else {
            return Ok(0);
        };
        let other_key = register.subject_key(&other.cell)?.ok_or_else(Error::no_subject)?;
        let mut theirs = OpenFolder::reopened(register, &other_key, from, cell)?;
        let own_key = register.subject_key(&own.cell)?.ok_or_else(Error::no_subject)?;
        let mut ours = OpenFolder::of_class(register, &own_key, &own.cell, class)?;
        let mut transaction = Transaction::new(register);
        let (mut came, mut went, mut bytes) = (Vec::new(), Vec::new(), 0);
        for file in theirs.folder.files.clone() {
            if came.len() == BATCH_FILES_MAX || bytes >= BATCH_BYTES_MAX {
                break;
            }
            let plain = theirs.read(register, from, &file)?;
            let name = free_name(&ours, &file);
            let (id, sealed, _) = ours.write(register, into, &name, &plain, file.written)?;
            transaction.object(id, sealed);
            transaction.drop_object(file.id);
            theirs.remove(file.id);
            bytes += file.len;
            came.push(id);
            went.push(file.id);
        }
        if came.is_empty() {
            return self.move_joint(into, from, class);
        }
        let count = came.len() as u64;
        ours.close(register, &mut own.cell);
        theirs.close(register, &mut other.cell);
        for (subject, files) in [(&mut own, came), (&mut other, went)] {
            let detail = Detail { files, ..Detail::default() };
            register.tell(&mut transaction, subject, Kind::Merged, Some(&detail), None, |entry| {
                entry.class = Some(class);
            });
            register.put_subject(&mut transaction, subject);
        }
        self.register_mut().commit(transaction)?;
        Ok(count)
    }

    /// The record from which on there is one person.
    fn join(&mut self, into: &SubjectId, from: &SubjectId, cause: Cause) -> Result<()> {
        self.heed_ledger_unless(cause)?;
        let (mut own, mut other) = (self.living(into)?, self.living(from)?);
        let register = self.register();
        let mut transaction = Transaction::new(register);
        let mut buckets = Buckets::default();
        self.move_lookups(&mut own, &mut other, &mut buckets)?;
        let answers = joined(&own.record.consents, &other.record.consents);
        let said = register.say(&mut transaction, &mut own, answers);
        let to_tell = self.to_tell_unless(cause, &own, &said)?;
        register.enlist(&mut transaction, &mut buckets, &mut own)?;
        other.cell.holds = Vec::new();
        let named = Named { subject: own.cell.pseudonym, slot: own.cell.slot };
        register.receive_erasure(&mut transaction, &mut other, Some(named))?;
        for (subject, merged) in [(&mut own, *from), (&mut other, *into)] {
            let detail = Detail { merged: Some(merged), ..Detail::default() };
            let detail = Some(&detail);
            register.tell(&mut transaction, subject, Kind::Merged, detail, None, |_| ());
            register.put_subject(&mut transaction, subject);
        }
        register.put_leaves(&mut transaction, buckets)?;
        self.told_beforehand(to_tell, |office| office.register_mut().commit(transaction)).map(drop)
    }

    /// What a ledger brings to mind is not told to it: a line of this register could pass for the newest there is.
    fn to_tell_unless(&self, cause: Cause, own: &Subject, said: &[Said]) -> Result<Option<ToTell>> {
        match cause {
            Cause::Ledger => Ok(None),
            Cause::Asked | Cause::Decided => self.to_tell(own, said),
        }
    }

    fn heed_ledger_unless(&mut self, cause: Cause) -> Result<()> {
        match cause {
            Cause::Ledger => Ok(()),
            Cause::Asked | Cause::Decided => self.heed_ledger().map(drop),
        }
    }

    /// Whoever looked for the one finds the other.
    fn move_lookups(
        &self,
        own: &mut Subject,
        other: &mut Subject,
        buckets: &mut Buckets,
    ) -> Result<()> {
        let register = self.register();
        let class = ClassId::IDENTIFIABLE;
        let Some(cell) = other.cell.classes.iter().find(|own| own.class == class) else {
            return Ok(());
        };
        let other_key = register.subject_key(&other.cell)?.ok_or_else(Error::no_subject)?;
        let mut theirs = OpenFolder::reopened(register, &other_key, &other.cell.subject, cell)?;
        let hashes = std::mem::take(&mut theirs.folder.lookups);
        let given = theirs.folder.given.take();
        if hashes.is_empty() {
            return Ok(());
        }
        let own_key = register.subject_key(&own.cell)?.ok_or_else(Error::no_subject)?;
        let mut ours = OpenFolder::of_class(register, &own_key, &own.cell, class)?;
        for hash in hashes {
            buckets.remove(register, Row { hash, subject: other.cell.subject })?;
            buckets.insert(register, Row { hash, subject: own.cell.subject })?;
            theirs.note_former(&hash);
            ours.folder.lookups.push(hash);
        }
        ours.folder.lookups.sort();
        ours.folder.lookups.dedup();
        if let Some(given) = given {
            let all = ours.folder.given.get_or_insert_default();
            all.extend(given);
            all.sort();
            all.dedup();
        }
        ours.close(register, &mut own.cell);
        theirs.close(register, &mut other.cell);
        Ok(())
    }
}

impl Register {
    /// Puts answers that were made of two into a subject's record; what a ledger has to be told.
    fn say(
        &self,
        transaction: &mut Transaction,
        own: &mut Subject,
        answers: Vec<Consent>,
    ) -> Vec<Said> {
        let mut said = Vec::new();
        for mut consent in answers {
            consent.position = transaction.seq();
            let (activity, consents) = (consent.activity, &mut own.record.consents);
            match consents.binary_search_by_key(&activity, |own| own.activity) {
                Ok(at) => consents[at] = consent.clone(),
                Err(at) => consents.insert(at, consent.clone()),
            }
            said.push(Said::Consent(consent.clone()));
            let detail = Detail { consent: Some(consent), ..Detail::default() };
            self.tell(transaction, own, Kind::Consent, Some(&detail), None, |entry| {
                entry.activity = Some(activity);
            });
        }
        said
    }
}

/// Whether a folder has room for all that another one's owner, who becomes `into`, has in it. What is about both needs none.
fn check_room(ours: &Folder, theirs: &Folder, into: &SubjectId) -> Result<()> {
    let joint = theirs.joint.iter().filter(|joint| !joint.others.contains(into)).count();
    let joint_count = ours.joint.len() + joint;
    if joint_count > JOINT_COUNT_MAX {
        return Err(full_of_joint());
    }
    match ours.files.len() + theirs.files.len() + joint_count > FILE_COUNT_MAX {
        true => Err(full()),
        false => Ok(()),
    }
}

/// A name that is not taken: `order.txt`, `order (2).txt`, …
pub(crate) fn free_name(folder: &OpenFolder, file: &File) -> String {
    let (stem, extension) = match file.name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        _ => (file.name.as_str(), String::new()),
    };
    let numbered = |number: u32| match number {
        1 => file.name.clone(),
        number => {
            let mark = format!(" ({number}){extension}");
            let room = FILE_NAME_LEN_MAX.saturating_sub(mark.len());
            let end = (0..=stem.len().min(room)).rev().find(|at| stem.is_char_boundary(*at));
            format!("{}{mark}", &stem[..end.unwrap_or(0)])
        }
    };
    let mut names = (1..).map(numbered);
    names.find(|name| !folder.has(name)).expect("there are more numbers than files")
}

/// Whether a name is another one, or one that [`free_name`] makes of it, also of one that it made.
pub(crate) fn is_numbered(name: &str, other: &str) -> bool {
    let (stem, extension) = other.rsplit_once('.').unwrap_or((other, ""));
    let marks = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
    let marks = marks.and_then(|rest| rest.strip_prefix(" (")?.strip_suffix(")."));
    let is_number = |mark: &str| mark.parse::<u32>().is_ok();
    name == other || marks.is_some_and(|marks| marks.split(") (").all(is_number))
}

/// Answers of the one person that differ from what `own` says so far.
fn joined(own: &[Consent], other: &[Consent]) -> Vec<Consent> {
    let all = combined(own, other).map(|(ours, both)| (ours, reopened(both)));
    all.filter(|(ours, both)| *ours != Some(both)).map(|(_, both)| both).collect()
}

/// Those of them that take something away from what `own` says so far: in force before anything of the other is under it. One
/// that agrees to nothing any more stays a yes till both are one, so that what the other said is not taken for all there is.
fn narrowed(own: &[Consent], other: &[Consent]) -> Vec<Consent> {
    let is_narrower = |(ours, both): &(Option<&Consent>, Consent)| {
        let widens = both.status.allows() && !ours.is_some_and(|ours| ours.status.allows());
        *ours != Some(both) && !widens
    };
    combined(own, other).filter(is_narrower).map(|(_, both)| both).collect()
}

/// What one has answered so far, if anything, with what both together say, for each answer of the other.
fn combined<'c>(
    own: &'c [Consent],
    other: &'c [Consent],
) -> impl Iterator<Item = (Option<&'c Consent>, Consent)> {
    other.iter().map(|theirs| {
        let ours = own.iter().find(|ours| ours.activity == theirs.activity);
        (ours, ours.map_or_else(|| theirs.clone(), |ours| of_both(ours, theirs)))
    })
}

/// Two yeses that have no class in common agree to nothing: the question is open again.
fn reopened(consent: Consent) -> Consent {
    let is_empty = consent.status.allows() && consent.classes.is_empty();
    let status = if is_empty { ConsentStatus::Requested } else { consent.status };
    Consent { status, ..consent }
}

fn of_both(ours: &Consent, theirs: &Consent) -> Consent {
    match (is_no(ours.status), is_no(theirs.status)) {
        (true, true) => later(ours, theirs).clone(),
        (true, false) => ours.clone(),
        (false, true) => theirs.clone(),
        (false, false) => match (ours.status.allows(), theirs.status.allows()) {
            (true, true) => narrower(ours, theirs),
            (false, true) => theirs.clone(),
            (true, false) | (false, false) => ours.clone(),
        },
    }
}

fn narrower(ours: &Consent, theirs: &Consent) -> Consent {
    let classes: Vec<ClassId> =
        ours.classes.iter().filter(|class| theirs.classes.contains(class)).copied().collect();
    Consent {
        explicit: ours.explicit && theirs.explicit,
        classes,
        until: [ours.until, theirs.until].into_iter().flatten().min(),
        ..later(ours, theirs).clone()
    }
}

fn later<'c>(ours: &'c Consent, theirs: &'c Consent) -> &'c Consent {
    if theirs.expressed > ours.expressed { theirs } else { ours }
}

fn is_no(status: ConsentStatus) -> bool {
    match status {
        ConsentStatus::Refused
        | ConsentStatus::Withdrawn
        | ConsentStatus::Revoked
        | ConsentStatus::Invalidated
        | ConsentStatus::Objected => true,
        ConsentStatus::Requested
        | ConsentStatus::Deferred
        | ConsentStatus::Given
        | ConsentStatus::Renewed
        | ConsentStatus::Expired
        | ConsentStatus::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use strongroom_crypto::secret::KeyShare;
    use strongroom_records::ids::{FileId, Hash, SubjectId};
    use strongroom_records::subject::{File, Folder, JointFile};

    use super::{check_room, is_numbered};

    fn file() -> File {
        let (name, id, hash) = ("file".to_owned(), FileId([1; 16]), Hash([1; 32]));
        File { name, id, len: 1, hash, written: 1, generation: 1 }
    }

    fn folder(files: usize, joint: usize, others: &[SubjectId]) -> Folder {
        let share = || JointFile {
            file: file(),
            others: others.to_vec(),
            share: KeyShare::from_bytes(&[1; 32]),
        };
        Folder {
            files: std::iter::repeat_with(file).take(files).collect(),
            joint: std::iter::repeat_with(share).take(joint).collect(),
            ..Folder::default()
        }
    }

    #[test]
    fn two_who_have_more_together_than_one_may_are_not_merged() {
        let [ada, bob] = [1, 2].map(|id| SubjectId([id; 16]));
        let fits = |ours: Folder, theirs: Folder| check_room(&ours, &theirs, &ada).is_ok();
        assert!(fits(folder(9_000, 0, &[]), folder(1_000, 0, &[])));
        assert!(!fits(folder(9_000, 0, &[]), folder(1_001, 0, &[])));
        assert!(!fits(folder(9_000, 500, &[bob]), folder(0, 501, &[bob])));
        assert!(fits(folder(9_000, 500, &[bob]), folder(0, 500, &[bob])));
        assert!(!fits(folder(9_001, 500, &[bob]), folder(0, 500, &[bob])));
        assert!(fits(folder(9_000, 1_000, &[bob]), folder(0, 1_000, &[bob, ada])));
    }

    #[test]
    fn what_is_named_after_a_file_that_was_there_is_known_by_its_number() {
        for name in ["profile.json", "profile (2).json", "profile (2) (3).json"] {
            assert!(is_numbered(name, "profile.json"), "{name}");
        }
        for name in [
            "profile",
            "profile.json.json",
            "profile ().json",
            "profile (a).json",
            "my profile.json",
        ] {
            assert!(!is_numbered(name, "profile.json"), "{name}");
        }
    }
}
