//! Looking at what is kept of everybody: whether all that the register says of somebody is there and opens, every byte of it.
//!
//! Others write meanwhile. A subject that looks damaged is looked at again with what they recorded, and is damaged when nothing
//! of it has changed since; whom they keep changing is looked at in the end, while they are kept out. Those who come while it
//! goes on are not waited for.
//!
//! What is found is told by names that say nothing of anybody: audit pseudonym, number of a class, id of a file.

use strongroom_crypto::secret::SubjectKey;
use strongroom_records::ids::{ClassId, Pseudonym, SubjectId};
use strongroom_records::register::BLOCK_LEN;
use strongroom_records::subject::{ClassCell, File, JointFile, Row, SubjectState};
use strongroom_store::Shelf;

use super::Finding;
use crate::custodian::Custodian;
use crate::error::{Error, Result, whole};
use crate::files::OpenFolder;
use crate::joint;
use crate::register::Register;
use crate::subjects::Subject;

/// LIMIT: how often somebody is looked at who looks damaged, while others write.
const TRY_COUNT_MAX: u32 = 4;

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Subjects, erased ones included.
    pub subjects: u64,
    /// Their files.
    pub files: u64,
    /// Bytes of those.
    pub bytes: u64,
}

/// Hears how far it is.
pub type Told<'t> = &'t mut dyn FnMut(Looked);

/// What was seen of everybody so far.
#[derive(Default)]
pub(super) struct People {
    pub looked: Looked,
    pub findings: Vec<Finding>,
    /// Those whom others changed whenever they were looked at.
    due: Vec<SubjectId>,
}

impl Custodian {
    /// Looks at everybody there is as it begins. Others may be writing.
    pub(super) fn look_at_everybody(&mut self, seen: &mut People, told: Told<'_>) -> Result<()> {
        let count = self.subject_count();
        for block in 0..count.div_ceil(BLOCK_LEN) {
            for subject in self.listed_in(block, count, &mut seen.findings)? {
                self.look_until_sure(&subject, seen, told)?;
            }
        }
        Ok(())
    }

    /// The same, while nobody writes.
    pub(super) fn look_at_everybody_once(&self, seen: &mut People) -> Result<()> {
        let count = self.subject_count();
        for block in 0..count.div_ceil(BLOCK_LEN) {
            for subject in self.listed_in(block, count, &mut seen.findings)? {
                let look = self.look_at(&subject, seen.looked, &mut |_| ())?;
                seen.take(look);
            }
        }
        Ok(())
    }

    /// Looks again at whom others changed all the time. They are kept out.
    pub(super) fn look_at_the_rest(&self, seen: &mut People, told: Told<'_>) -> Result<()> {
        for subject in std::mem::take(&mut seen.due) {
            let look = self.look_at(&subject, seen.looked, told)?;
            seen.take(look);
        }
        Ok(())
    }

    /// A block of the first `count` who are listed.
    fn listed_in(
        &self,
        block: u64,
        count: u64,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<SubjectId>> {
        let from = block * BLOCK_LEN;
        let wanted = BLOCK_LEN.min(count - from);
        let listed = whole(self.subject_ids_from(from, wanted))?.unwrap_or_default();
        if listed.len() as u64 != wanted {
            let seq = self.record_count().saturating_sub(1);
            let what = "the list of subjects is damaged: some of them were not looked at";
            findings.push(Finding::at(seq, what));
        }
        Ok(listed)
    }

    fn look_until_sure(
        &mut self,
        subject: &SubjectId,
        seen: &mut People,
        told: Told<'_>,
    ) -> Result<()> {
        for _ in 0..TRY_COUNT_MAX {
            let look = self.look_at(subject, seen.looked, told)?;
            let root = self.register().root().clone();
            // ORDER: whoever takes something away has recorded it before.
            let is_same = look.findings.is_empty()
                || !self.follow()?.subjects.contains(subject) && *self.register().root() == root;
            if is_same {
                seen.take(look);
                return Ok(());
            }
        }
        seen.due.push(*subject);
        Ok(())
    }

    /// Looks at all of one subject, as it stands in the store or was followed.
    fn look_at(&self, subject: &SubjectId, before: Looked, told: Told<'_>) -> Result<Look> {
        let register = self.register();
        let looked = Looked { subjects: before.subjects + 1, ..before };
        let mut look = Look { looked, findings: Vec::new(), about: None, seq: 0 };
        let Some((seq, own)) = whole(register.subject_version(subject))?.flatten() else {
            look.seq = self.record_count().saturating_sub(1);
            look.find("a subject cannot be read: its files were not looked at", None);
            return Ok(look);
        };
        (look.seq, look.about) = (seq, Some(own.cell.pseudonym));
        if !own.has_audit_key() {
            look.find("the key of what is on record about a subject is missing", None);
        }
        let key = whole(register.subject_key(&own.cell))?;
        match (own.cell.state, key) {
            (SubjectState::Erased, Some(None)) => {}
            (SubjectState::Erased, _) => {
                look.find("the key of an erased subject is still in the keystore", None);
            }
            (_, Some(Some(key))) => look.at_data(self, &own, &key, told)?,
            (_, None | Some(None)) => {
                look.find(
                    "the key of a subject is missing or damaged: its files were not looked at",
                    None,
                );
            }
        }
        Ok(look)
    }
}

impl People {
    fn take(&mut self, look: Look) {
        self.looked = look.looked;
        self.findings.extend(look.findings);
    }
}

/// One look at one subject.
struct Look {
    /// Everything so far, this subject included.
    looked: Looked,
    findings: Vec<Finding>,
    about: Option<Pseudonym>,
    /// The record that wrote its cell.
    seq: u64,
}

impl Look {
    fn find(&mut self, what: &'static str, class: Option<ClassId>) {
        let finding = Finding { subject: self.about, class, ..Finding::at(self.seq, what) };
        self.findings.push(finding);
    }

    fn at_data(
        &mut self,
        custodian: &Custodian,
        own: &Subject,
        key: &SubjectKey,
        told: Told<'_>,
    ) -> Result<()> {
        let register = custodian.register();
        if whole(register.open_names(key, &own.cell))?.is_none() {
            self.find("the secret of a subject's names is damaged", None);
        }
        for class in &own.cell.classes {
            self.at_class(custodian, own, (key, class), told)?;
        }
        for (activity, page) in &own.record.agreed {
            let hash = register.agreed_hash(activity, *page)?;
            self.at_row(register, Row { hash, subject: own.cell.subject }, None)?;
        }
        Ok(())
    }

    fn at_class(
        &mut self,
        custodian: &Custodian,
        own: &Subject,
        (key, class): (&SubjectKey, &ClassCell),
        told: Told<'_>,
    ) -> Result<()> {
        let (register, subject) = (custodian.register(), &own.cell.subject);
        let number = Some(class.class);
        let Some(open) = whole(OpenFolder::reopened(register, key, subject, class))? else {
            self.find("the list of a subject's files is damaged: they were not looked at", number);
            return Ok(());
        };
        // An erasure removes what is named outside the folder.
        if open.objects() != class.objects {
            self.find("a subject has other objects than files", number);
        }
        for file in &open.folder.files {
            let plain = whole(open.read(register, subject, file))?;
            self.at_file(register, class.class, file, plain)?;
            told(self.looked);
        }
        // Of somebody who is being erased others may have forgotten them.
        for joint in open.folder.joint.iter().filter(|_| own.is_there()) {
            self.at_joint(custodian, subject, class.class, joint)?;
            told(self.looked);
        }
        for hash in &open.folder.lookups {
            self.at_row(register, Row { hash: *hash, subject: *subject }, number)?;
        }
        Ok(())
    }

    /// A file about several people: with all of them, and read with the first.
    fn at_joint(
        &mut self,
        custodian: &Custodian,
        subject: &SubjectId,
        class: ClassId,
        joint: &JointFile,
    ) -> Result<()> {
        let register = custodian.register();
        match whole(custodian.parties_of(subject, class, joint))? {
            None => self.find("a file about several people is not with all of them", Some(class)),
            // It ended with somebody who was erased.
            Some(None) => {}
            Some(Some(parties)) => {
                if joint.others.iter().all(|other| subject < other) {
                    let plain = whole(joint::read(register, &parties, &joint.file))?;
                    self.at_file(register, class, &joint.file, plain)?;
                }
            }
        }
        Ok(())
    }

    fn at_file(
        &mut self,
        register: &Register,
        class: ClassId,
        file: &File,
        plain: Option<Vec<u8>>,
    ) -> Result<()> {
        self.looked.files += 1;
        if let Some(plain) = plain.filter(|plain| plain.len() as u64 == file.len) {
            self.looked.bytes += plain.len() as u64;
            return Ok(());
        }
        let name = u128::from_be_bytes(file.id.0);
        let has = register.log().shelves().has(Shelf::Object, name).map_err(Error::from);
        let what = match whole(has)? {
            Some(false) => "a subject's file is missing",
            Some(true) | None => "a subject's file is damaged",
        };
        self.find(what, Some(class));
        if let Some(finding) = self.findings.last_mut() {
            finding.file = Some(file.id);
        }
        Ok(())
    }

    fn at_row(&mut self, register: &Register, row: Row, class: Option<ClassId>) -> Result<()> {
        let bucket = whole(register.bucket(Register::bucket_number(&row.hash)))?;
        if !bucket.is_some_and(|bucket| bucket.bucket.rows.contains(&row)) {
            self.find("what leads to a subject is missing from the look-up", class);
        }
        Ok(())
    }
}
