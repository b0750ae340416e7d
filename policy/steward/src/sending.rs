//! Files on their way: decided and named on record first, sent to the store while others write, then put on record, if that still
//! may be.
//!
//! ```text
//! begin   decision and name, one record ─▶ sealed          others wait
//! send    the store has it                                 others write
//! end     does all of it still hold? ─▶ in the folder      others wait
//! ```
//!
//! 1. What was withdrawn, erased, held or disabled meanwhile counts: a decision that others may have changed, or whose lease is
//!    over, is made anew and put on record.
//! 2. What new keys overtook is sealed anew and sent again: nothing goes on record under a key on its way out.
//! 3. What does not go on record is removed, by whoever sent it, or by the next to come (`register/coming.rs`).

use strongroom_audit::Grant;
use strongroom_audit::shelves::Shelves;
use strongroom_authorizer::{Action, answers};
use strongroom_records::ids::{ClassId, FileId};
use strongroom_records::subject::{Consent, File};
use strongroom_store::Shelf;

use crate::access::Asked;
use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{OpenFolder, PROFILE, check_file};
use crate::joint::Shared;
use crate::lookup::Buckets;
use crate::register::Transaction;
use crate::subjects::Subject;

/// Bytes that are sent or fetched while others wait: no more than a record and its cells have, so that letting others in costs more.
pub(crate) const TOGETHER_LEN: u64 = 64 << 10;
/// LIMIT: how often a file is sealed anew because its class has a new key.
const SEAL_COUNT_MAX: u32 = 8;

/// A file of a subject, or of several, on its way to the store.
pub struct Sending {
    asked: Asked,
    /// Whom it is about besides.
    others: Vec<String>,
    grants: Vec<Grant>,
    /// What was agreed when that was decided.
    agreed: Option<Consent>,
    /// Number of the next record as it was then.
    seen: u64,
    seal: Seal,
    /// How often it was sealed.
    seals: u32,
    /// None once it is in the store.
    sealed: Option<Vec<u8>>,
    shelves: Shelves,
}

/// What a file on its way is sealed under.
enum Seal {
    /// The key of its class, with that as it is kept.
    Class(File, Vec<u8>),
    /// One that several people have shares of.
    Shared(Shared),
}

impl Sending {
    /// Whether it takes so long to send that others should write meanwhile.
    pub fn is_long(&self) -> bool {
        self.file().len > TOGETHER_LEN
    }

    /// Whether its bytes count again when it goes on record: those of a profile are held against the schema then.
    pub fn needs_plain(&self) -> bool {
        let class = self.grants.first().map(Grant::class);
        class.is_some_and(|class| is_profile(class, &self.file().name))
    }

    /// Sends it. Others may write meanwhile.
    ///
    /// # Errors
    /// Those of the store; it is to be given up then.
    pub fn send(&mut self) -> Result<()> {
        let Some(sealed) = self.sealed.take() else { return Ok(()) };
        let name = u128::from_be_bytes(self.file().id.0);
        Ok(self.shelves.put(vec![(Shelf::Object, name, sealed)])?)
    }

    fn file(&self) -> &File {
        match &self.seal {
            Seal::Class(file, _) => file,
            Seal::Shared(shared) => &shared.file,
        }
    }
}

impl Custodian {
    /// Writes a file of a subject, for an activity that may. The profile is held against the schema and can be looked up
    /// by the fields that the schema says. Others write while it is sent to the store, if they were kept out.
    ///
    /// # Errors
    /// `Denied`; `Invalid` for a name or profile that is none; `Held` while a hold keeps what would be replaced.
    pub fn put_file(&mut self, asked: &Asked, name: &str, plain: &[u8]) -> Result<File> {
        self.put_file_about(asked, &[], name, plain)
    }

    /// Writes a file that is about a subject and others, for an activity that may, with each of them. Without others it is
    /// [`Custodian::put_file`].
    ///
    /// # Errors
    /// `Denied`; `Invalid` for a name that is none, a profile, or too many people; `Exists` where the name is that of another
    /// file with one of them; `Held` while a hold on one of them keeps what would be replaced.
    pub fn put_file_about(
        &mut self,
        asked: &Asked,
        others: &[String],
        name: &str,
        plain: &[u8],
    ) -> Result<File> {
        let mut sending = self.begin_put(asked, others, name, plain)?;
        self.send_and_end(&mut sending, plain, &|| Ok(()))
    }

    /// Sends a file and puts it on record, or gives it up; also where whoever writes it may not any more once it was sent.
    ///
    /// # Errors
    /// As [`Custodian::put_file_about`]; those of `may`.
    pub fn send_and_end(
        &mut self,
        sending: &mut Sending,
        plain: &[u8],
        may: &dyn Fn() -> Result<()>,
    ) -> Result<File> {
        loop {
            let sent = match sending.is_long() {
                true => {
                    self.finish()?;
                    // Whoever cannot keep others out again may write nothing: what was sent is removed by the next to come.
                    self.beside_others(|_| sending.send())?
                }
                false => sending.send(),
            };
            let ended = sent
                .and_then(|()| may())
                .and_then(|()| self.retried(|own| own.end_put(sending, plain)));
            if let Some(file) = ended.inspect_err(|_| self.give_up(sending))? {
                return Ok(file);
            }
        }
    }

    /// Decides whether a file may be written, puts that on record, names the file there, and seals it. It is to be sent next.
    ///
    /// # Errors
    /// As [`Custodian::put_file_about`].
    pub fn begin_put(
        &mut self,
        asked: &Asked,
        others: &[String],
        name: &str,
        plain: &[u8],
    ) -> Result<Sending> {
        check_file(name, plain)?;
        match others {
            [] => drop(self.profile_lookups(self.class(&asked.class)?, name, plain)?),
            others => self.check_joint(asked, others, name)?,
        }
        let id = FileId(self.services().entropy.array());
        let begun = self.begin_named(asked, others, (id, name), plain);
        if begun.is_err() {
            let _ = self.forget(Some(id));
        }
        begun
    }

    fn begin_named(
        &mut self,
        asked: &Asked,
        others: &[String],
        what: (FileId, &str),
        plain: &[u8],
    ) -> Result<Sending> {
        let (own, grant) = self.ask_to_send(asked, what.0)?;
        let agreed = agreed(&own, &grant);
        let grants = self.all_granted(asked, others, grant)?;
        let (seal, sealed) = self.sealed_for(&grants, what, plain)?;
        Ok(Sending {
            asked: asked.clone(),
            others: others.to_vec(),
            grants,
            agreed,
            seen: self.register().log().next_seq(),
            seal,
            seals: 1,
            sealed: Some(sealed),
            shelves: self.register().log().shelves().clone(),
        })
    }

    /// Puts a file on record that was sent. None if it has to be sent again, since it had to be sealed anew.
    ///
    /// # Errors
    /// As [`Custodian::put_file_about`]: it is to be given up then. `Conflict` when somebody else wrote meanwhile: to be tried again
    /// once that is known.
    pub fn end_put(&mut self, sending: &mut Sending, plain: &[u8]) -> Result<Option<File>> {
        self.end_with(sending, Some(plain))
    }

    /// The same for whoever has wiped it since it was sealed.
    ///
    /// # Errors
    /// As [`Custodian::end_put`]; `Unavailable` where it would have to be sealed anew, or is one that [`Sending::needs_plain`].
    pub fn end_sealed(&mut self, sending: &mut Sending) -> Result<()> {
        self.end_with(sending, None).map(drop)
    }

    fn end_with(&mut self, sending: &mut Sending, plain: Option<&[u8]>) -> Result<Option<File>> {
        match self.put_on_record(sending, plain) {
            // What follows from its record is carried out by the next call, or by the next to come.
            Err(error)
                if error.kind() != ErrorKind::Conflict
                    && matches!(self.is_on_record(sending), Ok(true)) =>
            {
                Ok(Some(sending.file().clone()))
            }
            put => put,
        }
    }

    fn put_on_record(
        &mut self,
        sending: &mut Sending,
        plain: Option<&[u8]>,
    ) -> Result<Option<File>> {
        self.decide_again(sending)?;
        let register = self.register();
        let mut transaction = Transaction::new(register);
        let id = sending.file().id;
        let is_named = register.change_coming(&mut transaction, Some(id), None)?;
        if !is_named && self.is_on_record(sending)? {
            // A store that was in doubt whether it took a record says the same as where it was somebody else's.
            return Ok(Some(sending.file().clone()));
        }
        let put = match &sending.seal {
            _ if !is_named => None,
            Seal::Class(file, wrap) => {
                self.put_sealed(transaction, &sending.grants, (file, wrap), plain)?
            }
            Seal::Shared(shared) => Some(self.put_shared(transaction, shared, &sending.grants)?),
        };
        if put.is_none() {
            self.seal_anew(sending, plain.ok_or_else(wiped)?)?;
        }
        Ok(put)
    }

    fn is_on_record(&self, sending: &Sending) -> Result<bool> {
        let grant = sending.grants.first().ok_or_else(Error::denied)?;
        self.register().has_file(&grant.subject(), &sending.file().id)
    }

    /// Puts a file about one person on record; none where the key that it is sealed under is not that of its class any more.
    fn put_sealed(
        &mut self,
        mut transaction: Transaction,
        grants: &[Grant],
        (file, wrap): (&File, &[u8]),
        plain: Option<&[u8]>,
    ) -> Result<Option<File>> {
        let register = self.register();
        let grant = grants.first().ok_or_else(Error::denied)?;
        let (subject, class) = (grant.subject(), grant.class());
        let lookups = match plain {
            Some(plain) => self.profile_lookups(class, &file.name, plain)?,
            None if is_profile(class, &file.name) => return Err(wiped()),
            None => None,
        };
        let own = register.subject(&subject)?.ok_or_else(Error::no_subject)?;
        let subject_key = register.subject_key(&own.cell)?.ok_or_else(Error::denied)?;
        let folder = match own.cell.classes.iter().any(|own| own.class == class) {
            true => Some(OpenFolder::open(register, grant, &subject_key, &own.cell)?),
            false => OpenFolder::begun(register, &subject_key, &subject, class, wrap),
        };
        let Some(mut folder) = folder.filter(|folder| folder.wrap() == wrap) else {
            return Ok(None);
        };
        let file = File { written: transaction.now, ..file.clone() };
        if let Some(before) = folder.place(file.clone())? {
            own.check_replaceable(class, transaction.now)?;
            transaction.drop_object(before);
        }
        self.put_folder(transaction, own, folder, lookups)?;
        Ok(Some(file))
    }

    /// Removes a file that was sent, or was to be, and is not on record.
    pub fn give_up(&mut self, sending: &Sending) {
        // What cannot be removed now is by the next to come.
        let _ = self.forget(Some(sending.file().id));
    }

    /// Removes what writers left who died over it. Nothing else depends on it: what stays is removed by the next to come.
    pub(crate) fn sweep_if_possible(&mut self) {
        let _ = self.forget(None);
    }

    /// Removes a file that is on its way and no longer wanted, and all that were left. One that is on record is not on its way.
    fn forget(&mut self, id: Option<FileId>) -> Result<()> {
        let mut transaction = Transaction::new(self.register());
        if self.register().change_coming(&mut transaction, id, None)? {
            id.into_iter().for_each(|id| transaction.drop_object(id));
        }
        match transaction.is_empty() {
            true => self.finish(),
            false => self.register_mut().commit(transaction).map(drop),
        }
    }

    /// What a file leads to its subject by, if it is a profile.
    fn profile_lookups(
        &self,
        class: ClassId,
        name: &str,
        plain: &[u8],
    ) -> Result<Option<Vec<(String, String)>>> {
        is_profile(class, name).then(|| self.check_profile(plain)).transpose()
    }

    /// Grants for all whom a file is to be about, after that for the first of them.
    fn all_granted(
        &mut self,
        asked: &Asked,
        others: &[String],
        first: Grant,
    ) -> Result<Vec<Grant>> {
        match others {
            [] => Ok(vec![first]),
            others => self.granted_about(asked, others, first),
        }
    }

    /// A file as it goes to the store, unless it could not go on record.
    fn sealed_for(
        &self,
        grants: &[Grant],
        (id, name): (FileId, &str),
        plain: &[u8],
    ) -> Result<(Seal, Vec<u8>)> {
        let [grant] = grants else {
            let (shared, sealed) = self.shared_for(grants, (id, name), plain)?;
            return Ok((Seal::Shared(shared), sealed));
        };
        let (register, now) = (self.register(), self.services().clock.now_ns());
        let own = register.subject(&grant.subject())?.ok_or_else(Error::no_subject)?;
        let subject_key = register.subject_key(&own.cell)?.ok_or_else(Error::denied)?;
        let folder = OpenFolder::open(register, grant, &subject_key, &own.cell)?;
        if folder.replaced_by(name)?.is_some() {
            own.check_replaceable(grant.class(), now)?;
        }
        let (file, sealed) = folder.sealed(register, &own.cell.subject, (id, name), plain, now);
        Ok((Seal::Class(file, folder.wrap().to_vec()), sealed))
    }

    /// Seals a file under the key that there is now, as another one; what was sent before is removed.
    fn seal_anew(&mut self, sending: &mut Sending, plain: &[u8]) -> Result<()> {
        if sending.seals >= SEAL_COUNT_MAX {
            let message = "the keys of the class are changed all the time";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let (before, id) = (sending.file().id, FileId(self.services().entropy.array()));
        let name = sending.file().name.clone();
        let (seal, sealed) = self.sealed_for(&sending.grants, (id, &name), plain)?;
        let subject = sending.grants.first().ok_or_else(Error::denied)?.subject();
        let register = self.register();
        let mut transaction = Transaction::new(register);
        register.change_coming(&mut transaction, Some(before), Some((id, subject)))?;
        transaction.drop_object(before);
        self.register_mut().commit(transaction)?;
        (sending.seal, sending.sealed) = (seal, Some(sealed));
        sending.seals += 1;
        sending.seen = self.register().log().next_seq();
        Ok(())
    }

    /// Whether a file may still be written is decided and recorded anew, unless nothing has changed.
    fn decide_again(&mut self, sending: &mut Sending) -> Result<()> {
        let now = self.services().clock.now_ns();
        let is_good = sending.grants.iter().all(|grant| grant.is_good(grant.class(), now));
        let is_unchanged = sending.seen == self.register().log().next_seq();
        if is_good && is_unchanged && !sending.is_long() {
            return Ok(());
        }
        if let ([grant], true) = (&sending.grants[..], is_good)
            && self.still_holds(sending, grant)?
        {
            return Ok(());
        }
        let (own, grant) = self.ask(&sending.asked, Action::Write)?;
        let agreed = agreed(&own, &grant);
        let grants = self.all_granted(&sending.asked, &sending.others, grant)?;
        let subject = |grants: &[Grant]| grants.first().map(Grant::subject);
        if subject(&grants) != subject(&sending.grants) {
            return Err(Error::denied());
        }
        (sending.grants, sending.agreed) = (grants, agreed);
        sending.seen = self.register().log().next_seq();
        Ok(())
    }

    /// Whether the same would be decided by what is known now, on the same ground.
    fn still_holds(&self, sending: &Sending, grant: &Grant) -> Result<bool> {
        let own = self.register().subject(&grant.subject())?.ok_or_else(Error::no_subject)?;
        let rules = self.rules_asked(&sending.asked)?;
        let is_agreed = agreed(&own, grant) == sending.agreed;
        Ok(is_agreed && self.would(&rules, &own, grant.class(), Action::Write))
    }

    /// Puts a changed folder on record, and what leads to the subject where its profile says something else now.
    pub(crate) fn put_folder(
        &mut self,
        transaction: Transaction,
        own: Subject,
        mut folder: OpenFolder,
        lookups: Option<Vec<(String, String)>>,
    ) -> Result<()> {
        let mut buckets = Buckets::default();
        if let Some(lookups) = lookups {
            let (register, subject) = (self.register(), own.cell.subject);
            register.relabel(&mut buckets, &mut folder, subject, &lookups)?;
        }
        self.put_led(transaction, own, folder, buckets)
    }
}

fn is_profile(class: ClassId, name: &str) -> bool {
    class == ClassId::IDENTIFIABLE && name == PROFILE
}

/// What is needed once more is not there any more.
fn wiped() -> Error {
    let message = "the keys of its class were changed while the file was on its way: send it again";
    Error::new(ErrorKind::Unavailable, message)
}

/// What somebody answered the activity that a grant is for.
fn agreed(own: &Subject, grant: &Grant) -> Option<Consent> {
    answers(&own.record.consents, &grant.activity()).0
}
