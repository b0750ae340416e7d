//! Files about several people: one object, and of its key a share with each of them, in the folder of its class.
//!
//! ```text
//! key = share of ada ⊕ share of bob ⊕ …      each sealed with the list of that person's files, under their class key
//! ```
//!
//! 1. Nobody reads, lists, writes or removes one who may not do so with everyone whom it is about; each has it in their own
//!    entries. To whom one of them is hidden, the file is.
//! 2. Whoever of them is erased, the file is closed for all: their folders forget it before the key goes.
//! 3. Whoever takes a new class key deals all of them new shares of a new key.
//!
//! Views show them by what a lease gives of each of them (`lent`); those on consumers' devices do not.

mod folder;
mod lent;
mod sending;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};

use strongroom_audit::Grant;
use strongroom_authorizer::Action;
use strongroom_crypto::hash::sha256;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{JointKey, KeyShare};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::ids::OrganisationId;
use strongroom_records::ids::{ActivityId, ApplicationId, ClassId, FileId, Hash, SubjectId};
use strongroom_records::log::Kind;
use strongroom_records::subject::{Detail, File, JointFile};

use crate::access::Asked;
use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{FileLine, OpenFolder, damaged, no_such_file, sealed};
use crate::leases::{Rules, Wanted};
use crate::register::{Register, Transaction};
use crate::subjects::Subject;

pub(crate) use folder::full_of_joint;
pub use lent::LentJoint;
pub(crate) use lent::opener;

/// LIMIT: people whose decisions one record of a listing has.
const LIST_COUNT: usize = 64;

/// One of the people whom a file is about, with the folder that has their share of its key.
pub(crate) struct Party {
    pub own: Subject,
    pub folder: OpenFolder,
    /// What the file is called there.
    pub name: String,
}

impl Party {
    pub fn subject(&self) -> SubjectId {
        self.own.cell.subject
    }

    fn share(&self, id: FileId) -> Option<&KeyShare> {
        let mut all = self.folder.folder.joint.iter();
        all.find(|joint| joint.file.id == id).map(|joint| &joint.share)
    }

    /// Writes it in a transaction, and what is told of it to the person.
    pub fn close(
        mut self,
        register: &Register,
        transaction: &mut Transaction,
        told: Option<(Kind, &[FileId], Option<ActivityId>)>,
    ) -> Subject {
        let class = self.folder.class();
        self.folder.close(register, &mut self.own.cell);
        if let Some((kind, files, activity)) = told {
            let detail = Detail { files: files.to_vec(), ..Detail::default() };
            register.tell(transaction, &mut self.own, kind, Some(&detail), None, |entry| {
                (entry.activity, entry.class) = (activity, Some(class));
            });
        }
        register.put_subject(transaction, &mut self.own);
        self.own
    }
}

/// Seals a file under a new key and deals everybody a share of it, in the place of what they have of a former one.
pub(crate) fn deal(
    register: &Register,
    transaction: &mut Transaction,
    parties: &mut [Party],
    (plain, written): (&[u8], i64),
    former: Option<FileId>,
) -> Result<FileId> {
    let (id, name) = (FileId(register.services().entropy.array()), String::new());
    let (shared, sealed) = share(register, parties, (id, name), plain)?;
    hand_out(parties, &shared, written, former)?;
    transaction.object(id, sealed);
    former.into_iter().for_each(|former| transaction.drop_object(former));
    Ok(id)
}

/// A file that was sealed under a key of its own, and what is to be shared of that.
pub(crate) struct Shared {
    /// The file; each calls it by a name of their own.
    pub file: File,
    people: BTreeSet<SubjectId>,
    shares: Vec<KeyShare>,
}

/// Seals a file under a new key, of which there is a share for everybody.
fn share(
    register: &Register,
    parties: &[Party],
    (id, name): (FileId, String),
    plain: &[u8],
) -> Result<(Shared, Vec<u8>)> {
    let people: BTreeSet<SubjectId> = parties.iter().map(Party::subject).collect();
    let class = parties.first().ok_or_else(Error::no_subject)?.folder.class();
    let share = |_: &Party| KeyShare::from_bytes(register.keystore().generate().expose());
    let shares: Vec<KeyShare> = parties.iter().map(share).collect();
    let context = context(home(register), class, &people, &id);
    let salt = register.services().entropy.array();
    let sealed = seal::seal(&KeyShare::join(&shares), &context, salt, plain);
    let hash = Hash(sha256(&sealed));
    let file = File { name, id, len: plain.len() as u64, hash, written: 0, generation: 0 };
    Ok((Shared { file, people, shares }, sealed))
}

/// Deals everybody a share, in the place of what they have of a former one.
fn hand_out(
    parties: &mut [Party],
    shared: &Shared,
    written: i64,
    former: Option<FileId>,
) -> Result<()> {
    for (party, share) in parties.iter_mut().zip(&shared.shares) {
        let (name, generation) = (party.name.clone(), party.folder.generation());
        let file = File { name, written, generation, ..shared.file.clone() };
        let (own, share) = (party.subject(), share.clone());
        let others = shared.people.iter().filter(|other| **other != own).copied().collect();
        party.folder.add_joint(JointFile { file, others, share }, former)?;
    }
    Ok(())
}

/// Reads a file by the shares of all whom it is about.
pub(crate) fn read(register: &Register, parties: &[Party], file: &File) -> Result<Vec<u8>> {
    let (key, context) = opening(register, parties, file)?;
    let sealed = sealed(register.log().shelves(), file)?;
    Ok(seal::open(&key, &context, &sealed).map_err(|_| damaged())?.into_vec())
}

/// What opens a file, by the shares of all whom it is about, and what it is bound to.
pub(crate) fn opening(
    register: &Register,
    parties: &[Party],
    file: &File,
) -> Result<(JointKey, Context)> {
    let people: BTreeSet<SubjectId> = parties.iter().map(Party::subject).collect();
    let class = parties.first().ok_or_else(damaged)?.folder.class();
    let shares = parties.iter().map(|party| party.share(file.id).ok_or_else(damaged));
    let key = KeyShare::join(shares.collect::<Result<Vec<_>>>()?);
    Ok((key, context(home(register), class, &people, &file.id)))
}

fn home(register: &Register) -> (OrganisationId, ApplicationId) {
    (register.services().keys.organisation(), register.application())
}

fn context(
    (organisation, application): (OrganisationId, ApplicationId),
    class: ClassId,
    people: &BTreeSet<SubjectId>,
    id: &FileId,
) -> Context {
    let all: Vec<u8> = people.iter().flat_map(|subject| subject.0).collect();
    let people = sha256(&all);
    let fields = [
        Value::Bytes(&application.0),
        Value::Bytes(&people),
        Value::Uint(u64::from(class.0)),
        Value::Bytes(&id.0),
    ];
    Context::new(Usage::JointFile, &organisation.0, &fields)
}

impl Custodian {
    /// All whom a file is about, for an activity that may read it: it is on record with each of them that it was opened.
    ///
    /// # Errors
    /// `Denied`, or to a job `NotFound`, where it may not be read with one of them.
    pub(crate) fn parties_on_record(
        &mut self,
        asked: &Asked,
        (own, grant): (Subject, Grant),
        joint: &JointFile,
    ) -> Result<Vec<Party>> {
        let rules = self.rules_asked(asked)?;
        let (what, files) = ((grant.class(), Action::Open), vec![joint.file.id]);
        let others = self.lend_together(&rules, &joint.others, what, files)?;
        // A job does not learn of a file that it may not have.
        let mut grants = others.ok_or_else(|| match asked.activity {
            Some(_) => no_such_file(),
            None => Error::denied(),
        })?;
        let mut people = vec![(own, &grant)];
        for other in &grants {
            let subject = self.register().subject(&other.subject())?;
            people.push((subject.ok_or_else(Error::no_subject)?, other));
        }
        self.tell_opened(people, joint.file.id)?;
        grants.insert(0, grant);
        self.parties_by(&grants, &joint.file.name)
    }

    /// Reads one for an export, which is on record itself.
    pub(crate) fn export_joint(
        &mut self,
        grant: &Grant,
        joint: &JointFile,
    ) -> Result<Option<Vec<u8>>> {
        let rules = self.own_rules()?;
        let (what, files) = ((grant.class(), Action::Export), vec![joint.file.id]);
        let Some(grants) = self.lend_together(&rules, &joint.others, what, files)? else {
            return Ok(None);
        };
        let mut parties = self.parties_by(&grants, &joint.file.name)?;
        parties.push(self.party_by(grant, &joint.file.name)?);
        read(self.register(), &parties, &joint.file).map(Some)
    }

    /// Lines of those that are about others as well, as far as all whom one is about may be shown. On record with each of them.
    pub(crate) fn joint_lines(
        &mut self,
        asked: &Asked,
        grant: &Grant,
        folder: &OpenFolder,
    ) -> Result<Vec<FileLine>> {
        let rules = self.rules_asked(asked)?;
        let class = grant.class();
        let mut may = BTreeMap::new();
        let mut shown = Vec::new();
        for joint in &folder.folder.joint {
            for other in &joint.others {
                if !may.contains_key(other) {
                    may.insert(*other, self.would_about(&rules, other, class, Action::List)?);
                }
            }
            if joint.others.iter().all(|other| may[other]) {
                shown.push(joint);
            }
        }
        let others: BTreeSet<SubjectId> =
            shown.iter().flat_map(|joint| joint.others.iter().copied()).collect();
        let wanted = |subject: &SubjectId| wanted(*subject, (class, Action::List), Vec::new());
        let mut names = BTreeMap::new();
        for some in others.into_iter().collect::<Vec<_>>().chunks(LIST_COUNT) {
            let wanted: Vec<Wanted> = some.iter().map(wanted).collect();
            for grant in self.lend(&rules, &wanted)?.into_iter().flatten() {
                let subject = grant.subject();
                names.insert(subject, self.name_as_asked(&subject, &grant.activity())?);
            }
        }
        let line = |joint: &&JointFile| {
            let with = joint.others.iter().map(|other| names.get(other).cloned());
            let with = with.collect::<Option<Vec<String>>>()?;
            let File { name, len, written, .. } = joint.file.clone();
            Some(FileLine { name, len, written, with })
        };
        Ok(shown.iter().filter_map(line).collect())
    }

    /// Removes one for all whom it is about, under a grant for the one whom it was asked of.
    pub(crate) fn remove_joint(
        &mut self,
        asked: &Asked,
        grant: Grant,
        joint: &JointFile,
    ) -> Result<()> {
        let (rules, id, activity) = (self.rules_asked(asked)?, joint.file.id, grant.activity());
        let what = (grant.class(), Action::Write);
        let others = self.lend_together(&rules, &joint.others, what, vec![id])?;
        let mut grants = others.ok_or_else(Error::denied)?;
        grants.insert(0, grant);
        let parties = self.parties_by(&grants, &joint.file.name)?;
        let register = self.register();
        let mut transaction = Transaction::new(register);
        check_replaceable(&parties, transaction.now)?;
        transaction.drop_object(id);
        for mut party in parties {
            party.folder.remove_joint(id);
            party.close(register, &mut transaction, Some((Kind::Removed, &[id], Some(activity))));
        }
        let seq = transaction.seq();
        let removed = self.register_mut().commit(transaction).map(drop);
        self.as_recorded(seq, removed)
    }

    /// Grants for all of some people, or none at all: then those who are why are on record.
    fn lend_together(
        &mut self,
        rules: &Rules,
        subjects: &[SubjectId],
        (class, action): (ClassId, Action),
        files: Vec<FileId>,
    ) -> Result<Option<Vec<Grant>>> {
        let mut refusing = Vec::new();
        for subject in subjects {
            if !self.would_about(rules, subject, class, action)? {
                refusing.push(*subject);
            }
        }
        let asked = if refusing.is_empty() { subjects } else { &refusing };
        let wanted: Vec<Wanted> =
            asked.iter().map(|subject| wanted(*subject, (class, action), files.clone())).collect();
        let grants = self.lend(rules, &wanted)?;
        Ok(if refusing.is_empty() { grants.into_iter().collect() } else { None })
    }

    /// Whether something would be allowed about somebody.
    ///
    /// # Errors
    /// `Unavailable` where somebody else's decision point did not answer: what is nobody's decision leaves nothing out.
    pub(crate) fn would_about(
        &self,
        rules: &Rules,
        subject: &SubjectId,
        class: ClassId,
        action: Action,
    ) -> Result<bool> {
        let Some(own) = self.register().subject(subject)? else { return Ok(false) };
        let decision = self.foreseen(rules, &own, class, action);
        match decision.is_undecided() {
            true => Err(Error::undecided()),
            false => Ok(decision.reason().is_none()),
        }
    }

    /// How whoever asks knows somebody.
    fn name_as_asked(&self, subject: &SubjectId, activity: &ActivityId) -> Result<String> {
        if *activity == ActivityId::OWN {
            return Ok(subject.to_string());
        }
        let name = self.known_as(subject, activity)?.ok_or_else(Error::no_subject)?;
        Ok(name.to_string())
    }

    fn parties_by(&self, grants: &[Grant], name: &str) -> Result<Vec<Party>> {
        grants.iter().map(|grant| self.party_by(grant, name)).collect()
    }

    fn party_by(&self, grant: &Grant, name: &str) -> Result<Party> {
        let own = self.register().subject(&grant.subject())?.ok_or_else(Error::no_subject)?;
        let folder = self.opened(grant, &self.services().keys.device_id())?;
        Ok(Party { own, folder, name: name.to_owned() })
    }
}

fn wanted(subject: SubjectId, (class, action): (ClassId, Action), files: Vec<FileId>) -> Wanted {
    Wanted { subject, class, action, files }
}

fn check_replaceable(parties: &[Party], now: i64) -> Result<()> {
    parties.iter().try_for_each(|party| party.own.check_replaceable(party.folder.class(), now))
}

/// The file that another one of a name takes the place of, if it is about the same people; the first of them named it. The others
/// go on calling it as they did.
fn former(parties: &mut [Party], people: &BTreeSet<SubjectId>) -> Result<Option<FileId>> {
    let taken =
        || Error::new(ErrorKind::Exists, "the name is that of another file with one of them");
    let found = parties.first().and_then(|own| own.folder.find_joint(&own.name)).cloned();
    let Some(joint) = found else {
        let is_taken = parties.iter().any(|party| party.folder.has(&party.name));
        return if is_taken { Err(taken()) } else { Ok(None) };
    };
    let is_about_the_same = joint.others.len() + 1 == people.len()
        && joint.others.iter().all(|other| people.contains(other));
    if !is_about_the_same {
        return Err(taken());
    }
    for party in parties {
        let all = &party.folder.folder.joint;
        let own = all.iter().find(|own| own.file.id == joint.file.id).ok_or_else(damaged)?;
        party.name.clone_from(&own.file.name);
    }
    Ok(Some(joint.file.id))
}
