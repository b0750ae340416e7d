//! What becomes of files about several people when one of them is erased, kept no longer, merged or given new keys.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_records::ids::{ClassId, FileId, SubjectId};
use strongroom_records::log::Kind;
use strongroom_records::subject::{JointFile, SubjectState};

use super::{Party, deal, read};
use crate::custodian::Custodian;
use crate::error::{Error, Result, whole};
use crate::files::{OpenFolder, damaged};
use crate::merge::free_name;
use crate::register::Transaction;
use crate::rotate::Resealed;
use crate::subjects::Subject;

/// LIMIT: files that one record takes away.
const BATCH_FILES_MAX: usize = 32;

/// Files that are about somebody and others.
pub(crate) struct WithOthers {
    pub files: u64,
    /// Whether a hold on one of the others keeps one.
    pub is_held: bool,
    /// Whether one of the others is restricted, and may need it.
    pub is_restricted: bool,
}

impl Custodian {
    /// Folders of a subject, those that no key opens left out.
    pub(crate) fn folders_of(&self, own: &Subject) -> Result<Vec<OpenFolder>> {
        let register = self.register();
        let Some(key) = whole(register.subject_key(&own.cell))?.flatten() else {
            return Ok(Vec::new());
        };
        let mut folders = Vec::new();
        for class in &own.cell.classes {
            let opened = OpenFolder::reopened(register, &key, &own.cell.subject, class);
            folders.extend(whole(opened)?);
        }
        Ok(folders)
    }

    /// What somebody has with others, and whether those keep it.
    pub(crate) fn with_others(&self, own: &Subject, now: i64) -> Result<WithOthers> {
        let (files, others) = self.shared(own)?;
        let mut with = WithOthers { files, is_held: false, is_restricted: false };
        for (other, class) in others {
            let Some(other) = self.register().subject(&other)? else { continue };
            with.is_held |= other.is_held(class, now);
            with.is_restricted |= other.cell.state == SubjectState::Restricted;
        }
        Ok(with)
    }

    /// How many files are about a subject and others.
    pub(crate) fn joint_count(&self, own: &Subject) -> Result<u64> {
        Ok(self.shared(own)?.0)
    }

    /// The same, and whom they are about as well, each with the class of the file.
    fn shared(&self, own: &Subject) -> Result<(u64, BTreeSet<(SubjectId, ClassId)>)> {
        let (mut count, mut others) = (0, BTreeSet::new());
        for folder in self.folders_of(own)? {
            for joint in &folder.folder.joint {
                count += 1;
                others.extend(joint.others.iter().map(|other| (*other, folder.class())));
            }
        }
        Ok((count, others))
    }

    /// Whether a hold keeps a class of anybody's.
    pub(crate) fn is_one_held(
        &self,
        subjects: &[SubjectId],
        class: ClassId,
        now: i64,
    ) -> Result<bool> {
        for subject in subjects {
            let own = self.register().subject(subject)?;
            if own.is_some_and(|own| own.is_held(class, now)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Those who share files with somebody who is being erased forget them, one after the other. Done twice it is the same.
    pub(crate) fn part_from_others(&mut self, subject: &SubjectId) -> Result<()> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let folders = self.folders_of(&own)?;
        let joint = folders.iter().flat_map(|folder| &folder.folder.joint);
        let others: BTreeSet<SubjectId> =
            joint.flat_map(|joint| joint.others.iter().copied()).collect();
        for other in others {
            self.forget_files_with(&other, subject)?;
        }
        Ok(())
    }

    fn forget_files_with(&mut self, other: &SubjectId, gone: &SubjectId) -> Result<()> {
        let register = self.register();
        let Some(mut own) = register.subject(other)?.filter(Subject::is_there) else {
            return Ok(());
        };
        let mut transaction = Transaction::new(register);
        for mut folder in self.folders_of(&own)? {
            let is_with = |joint: &&JointFile| joint.others.contains(gone);
            let with = folder.folder.joint.iter().filter(is_with);
            let files: Vec<FileId> = with.map(|joint| joint.file.id).collect();
            if files.is_empty() {
                continue;
            }
            files.iter().for_each(|file| folder.remove_joint(*file));
            let party = Party { own, folder, name: String::new() };
            own = party.close(register, &mut transaction, Some((Kind::Removed, &files, None)));
        }
        match transaction.is_empty() {
            true => Ok(()),
            false => self.register_mut().commit(transaction).map(drop),
        }
    }

    /// Everybody whom a file of somebody's is about, that one first; none where one of them is not there any more.
    pub(crate) fn parties_of(
        &self,
        subject: &SubjectId,
        class: ClassId,
        joint: &JointFile,
    ) -> Result<Option<Vec<Party>>> {
        let mut parties = Vec::new();
        for one in [subject].into_iter().chain(&joint.others) {
            let Some(party) = self.party_of(one, class)? else { return Ok(None) };
            parties.push(party);
        }
        for party in &mut parties {
            let mut all = party.folder.folder.joint.iter();
            let own = all.find(|own| own.file.id == joint.file.id).ok_or_else(damaged)?;
            party.name.clone_from(&own.file.name);
        }
        Ok(Some(parties))
    }

    /// Somebody who is there, with their folder of a class; an empty one if there is none yet.
    fn party_of(&self, subject: &SubjectId, class: ClassId) -> Result<Option<Party>> {
        let register = self.register();
        let Some(own) = register.subject(subject)?.filter(Subject::is_there) else {
            return Ok(None);
        };
        let key = register.subject_key(&own.cell)?.ok_or_else(Error::no_subject)?;
        let folder = OpenFolder::of_class(register, &key, &own.cell, class)?;
        Ok(Some(Party { own, folder, name: String::new() }))
    }

    /// Deals new shares of a new key, of a file whose share is not under the newest key of somebody's class; false when there
    /// is none.
    pub(crate) fn deal_one_anew(
        &mut self,
        subject: &SubjectId,
        class: ClassId,
        done: &mut Resealed,
    ) -> Result<bool> {
        let Some(party) = self.party_of(subject, class)? else { return Ok(false) };
        let newest = party.folder.generation();
        let mut all = party.folder.folder.joint.iter();
        let Some(joint) = all.find(|joint| joint.file.generation != newest).cloned() else {
            return Ok(false);
        };
        let register = self.register();
        let mut transaction = Transaction::new(register);
        match self.parties_of(subject, class, &joint)? {
            None => self.lose(&mut transaction, party, joint.file.id),
            Some(mut parties) => {
                let plain = read(register, &parties, &joint.file)?;
                let content = (plain.as_slice(), joint.file.written);
                let former = Some(joint.file.id);
                deal(register, &mut transaction, &mut parties, content, former)?;
                for party in parties {
                    party.close(register, &mut transaction, None);
                }
                done.files += 1;
                done.bytes += joint.file.len;
            }
        }
        self.register_mut().commit(transaction)?;
        Ok(true)
    }

    /// Takes files away from all whom they are about. Somebody's class gets a new key in the same record: what it was before is
    /// still to be ended.
    pub(crate) fn retire_joint(
        &mut self,
        subject: &SubjectId,
        class: ClassId,
        due: &[JointFile],
    ) -> Result<()> {
        for some in due.chunks(BATCH_FILES_MAX) {
            let mut parties: BTreeMap<SubjectId, (Party, Vec<FileId>)> = BTreeMap::new();
            let register = self.register();
            let mut transaction = Transaction::new(register);
            for joint in some {
                transaction.drop_object(joint.file.id);
                for one in [subject].into_iter().chain(&joint.others) {
                    if !parties.contains_key(one)
                        && let Some(party) = self.party_of(one, class)?
                    {
                        parties.insert(*one, (party, Vec::new()));
                    }
                    if let Some((party, files)) = parties.get_mut(one) {
                        party.folder.remove_joint(joint.file.id);
                        files.push(joint.file.id);
                    }
                }
            }
            for (one, (mut party, files)) in parties {
                if one == *subject {
                    let key = register.subject_key(&party.own.cell)?;
                    party.folder.renew(register, &key.ok_or_else(Error::no_subject)?, subject);
                }
                party.close(register, &mut transaction, Some((Kind::Removed, &files, None)));
            }
            self.register_mut().commit(transaction)?;
        }
        Ok(())
    }

    /// Moves one file about several people from somebody to who is the same person; how many.
    pub(crate) fn move_joint(
        &mut self,
        into: &SubjectId,
        from: &SubjectId,
        class: ClassId,
    ) -> Result<u64> {
        let Some(mut theirs) = self.party_of(from, class)? else { return Ok(0) };
        let Some(joint) = theirs.folder.folder.joint.first().cloned() else { return Ok(0) };
        let register = self.register();
        let mut transaction = Transaction::new(register);
        let id = joint.file.id;
        let Some(mut parties) = self.parties_of(from, class, &joint)? else {
            self.lose(&mut transaction, theirs, id);
            self.register_mut().commit(transaction)?;
            return Ok(1);
        };
        let plain = read(register, &parties, &joint.file)?;
        let content = (plain.as_slice(), joint.file.written);
        parties.retain(|party| party.subject() != *from);
        if !joint.others.contains(into) {
            let mut ours = self.party_of(into, class)?.ok_or_else(Error::no_subject)?;
            ours.name = free_name(&ours.folder, &joint.file);
            parties.push(ours);
        }
        theirs.folder.remove_joint(id);
        let came = match parties.as_mut_slice() {
            // It was about the two who are one.
            [ours] => {
                ours.folder.remove_joint(id);
                let (folder, name) = (&mut ours.folder, &ours.name);
                let (came, sealed, _) = folder.write(register, into, name, content.0, content.1)?;
                transaction.object(came, sealed);
                transaction.drop_object(id);
                came
            }
            parties => deal(register, &mut transaction, parties, content, Some(id))?,
        };
        let came = [came];
        for party in parties {
            let told = (party.subject() == *into).then_some((Kind::Merged, &came[..], None));
            party.close(register, &mut transaction, told);
        }
        theirs.close(register, &mut transaction, Some((Kind::Merged, &[id], None)));
        self.register_mut().commit(transaction)?;
        Ok(1)
    }

    /// A file whose key is gone with somebody who was erased: what is left of it goes, too.
    fn lose(&self, transaction: &mut Transaction, mut party: Party, id: FileId) {
        party.folder.remove_joint(id);
        transaction.drop_object(id);
        party.close(self.register(), transaction, Some((Kind::Removed, &[id], None)));
    }
}
