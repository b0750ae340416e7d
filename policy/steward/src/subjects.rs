//! Subjects: created, found again, listed; and the chain of entries about each.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use strongroom_audit::Draft;
use strongroom_authorizer::Decision;
use strongroom_crypto::hash::sha256;
use strongroom_crypto::kdf;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{AuditKey, Secret, SubjectKey};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::cbor;
use strongroom_records::ids::{ActivityId, ClassId, Hash, Pseudonym, SubjectId};
use strongroom_records::keystore::SLOT_COUNT;
use strongroom_records::log::{About, Entry, Kind};
use strongroom_records::receipt::Said;
use strongroom_records::register::{BLOCK_LEN, Block, CellKind, SUBJECT_SLOT};
use strongroom_records::subject::{Detail, Hold, SubjectCell, SubjectRecord, SubjectState};

use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{OpenFolder, PROFILE, said_by};
use crate::lookup::Buckets;
use crate::register::{Register, Transaction, blank};

/// A subject, as far as the register lets one see.
pub(crate) struct Subject {
    pub cell: SubjectCell,
    pub record: SubjectRecord,
    pub audit_key: Option<AuditKey>,
}

/// A subject that is to be created.
#[derive(Clone, Debug, Default)]
pub struct NewSubject {
    /// The request that it is created for, once however often that comes; none is another subject each time.
    pub once: Option<Once>,
    /// Attributes to find it by.
    pub lookups: Vec<(String, String)>,
    /// Its profile, held against the schema like any other.
    pub profile: Option<Vec<u8>>,
}

/// A request by which a subject is created once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// The subject's id, as [`Custodian::once`] gives it.
    pub id: SubjectId,
    /// SHA-256 of all that is asked for.
    pub request: Hash,
}

/// LIMIT: subjects that are created together.
const NEW_COUNT_MAX: usize = 1000;
/// Stands in the wrap of the secret that names come from: no class of data has this number.
const NAMES: ClassId = ClassId(0);

/// A subject in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectLine {
    /// Who.
    pub subject: SubjectId,
    /// State.
    pub state: SubjectState,
    /// When it was created.
    pub created: i64,
    /// Holds in force.
    pub holds: Vec<Hold>,
    /// Name in the audit log.
    pub pseudonym: Pseudonym,
}

impl NewSubject {
    /// The `profile` of a JSON object, as it is written there: numbers keep all digits. None where there is none, or it is null.
    pub fn profile_in(object: &str) -> Option<Vec<u8>> {
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(object).ok()?;
        let profile = fields.remove("profile")?.get();
        (profile != "null").then(|| profile.as_bytes().to_vec())
    }
}

impl Custodian {
    /// Creates a subject, to be found again by these attributes.
    ///
    /// # Errors
    /// `Denied` when the application is disabled; `Invalid` for attributes that are none.
    pub fn create_subject(&mut self, lookups: &[(String, String)]) -> Result<SubjectId> {
        let person = NewSubject { lookups: lookups.to_vec(), ..NewSubject::default() };
        let made = self.create_subjects(std::slice::from_ref(&person))?;
        made.first().copied().ok_or_else(missing)
    }

    /// Creates subjects together, in one record: all of them or none. One that its request has created already is left as it is.
    ///
    /// # Errors
    /// As [`Custodian::create_subject`]; `Invalid` for a profile that does not fit the schema, or too many at once; `Exists`
    /// where another request of the same name has created somebody; `NotFound` where whom it created is erased.
    pub fn create_subjects(&mut self, people: &[NewSubject]) -> Result<Vec<SubjectId>> {
        if !self.is_active() {
            return Err(Error::new(ErrorKind::Denied, "the application is disabled"));
        }
        if people.len() > NEW_COUNT_MAX {
            return Err(Error::invalid("at most 1,000 subjects are created at once"));
        }
        let register = self.register();
        let mut transaction = Transaction::new(register);
        let mut buckets = Buckets::default();
        let (mut leaves, mut made, mut new) = (Vec::new(), Vec::new(), Vec::new());
        let mut slot = register.root().next_slot;
        for person in people {
            let random = || SubjectId(register.services().entropy.array());
            let subject = person.once.map_or_else(random, |once| once.id);
            made.push(subject);
            if new.contains(&subject) {
                continue;
            }
            if let Some(once) = person.once
                && let Some(own) = register.subject(&subject)?
            {
                register.check_request(&own.cell, &once.request)?;
                continue;
            }
            if slot + 2 > SLOT_COUNT {
                return Err(Error::new(ErrorKind::Full, "the application has no place for more"));
            }
            leaves.extend(self.add_subject(
                &mut transaction,
                &mut buckets,
                subject,
                slot,
                person,
            )?);
            new.push(subject);
            slot += 2;
        }
        if new.is_empty() {
            return Ok(made);
        }
        let register = self.register();
        leaves.extend(buckets.close(register, &mut transaction));
        let root = register.root();
        register.put_in_blocks(&mut transaction, root.next_slot, &new)?;
        let change = register.keystore().put(root, &register.nodes(), &leaves, slot)?;
        transaction.keystore(change);
        self.register_mut().commit(transaction)?;
        Ok(made)
    }

    /// The first of some subjects that could not be created as they are, by its place, and why.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn misfit(&self, people: &[NewSubject]) -> Result<Option<(usize, Error)>> {
        let (schema, register) = (self.schema()?, self.register());
        let check = |person: &NewSubject| {
            register.given(&person.lookups)?;
            let said = person.profile.as_ref().map(|profile| said_by(&schema, profile));
            register.said(&said.transpose()?.unwrap_or_default())
        };
        let why = |(place, person)| Some((place, check(person).err()?));
        Ok(people.iter().enumerate().find_map(why))
    }

    /// Puts one new subject into a transaction; returns the keys for the keystore.
    fn add_subject(
        &self,
        transaction: &mut Transaction,
        buckets: &mut Buckets,
        subject: SubjectId,
        slot: u64,
        person: &NewSubject,
    ) -> Result<Vec<(u64, Secret<32>)>> {
        let register = self.register();
        let keystore = register.keystore();
        let (key, audit_key) = (keystore.generate(), keystore.generate());
        let subject_key = SubjectKey::from_bytes(key.expose());
        let names = keystore.generate();
        let request =
            person.once.map(|once| register.request_mark(&names, &subject, &once.request));
        let names = keystore.wrap_class(&subject_key, &subject.0, NAMES.0, 1, &names);
        let mut own = Subject {
            cell: SubjectCell {
                subject,
                slot,
                state: SubjectState::Active,
                commitment: keystore.commitment(&key, slot, 1),
                created: transaction.now,
                pseudonym: register.audit_pseudonym(&audit_key, &subject),
                entry_number: 0,
                entry_hash: Hash::NONE,
                entry_seq: 0,
                holds: Vec::new(),
                record_version: 0,
                record: Vec::new(),
                classes: Vec::new(),
                erasure: None,
                generation: 1,
                names,
                rotated: 0,
                request,
                used: None,
                noticed: None,
            },
            record: SubjectRecord::default(),
            audit_key: Some(AuditKey::from_bytes(audit_key.expose())),
        };
        if !person.lookups.is_empty() || person.profile.is_some() {
            let profile = person.profile.as_ref();
            let said = profile.map(|profile| self.check_profile(profile)).transpose()?;
            let given = register.given(&person.lookups)?;
            let mut folder = OpenFolder::identifiable(register, &subject_key, &own.cell)?;
            register.label(buckets, &mut folder, subject, given, &said.unwrap_or_default())?;
            if let Some(profile) = &person.profile {
                let now = transaction.now;
                let written = folder.write(register, &subject, PROFILE, profile, now)?;
                transaction.object(written.0, written.1);
            }
            folder.close(register, &mut own.cell);
        }
        register.tell(transaction, &mut own, Kind::SubjectCreated, None, None, |_| ());
        register.put_subject(transaction, &mut own);
        Ok(vec![(slot, key), (slot + 1, audit_key)])
    }

    /// A request by its name and all that it asks for: the same subject for the same name, so that a repeated request makes
    /// nobody twice.
    ///
    /// # Errors
    /// None that a caller could cause.
    ///
    /// # Security
    /// The id outlives the subject, so whoever has the application key can test a guess of the name: it had better say nothing
    /// of anybody.
    pub fn once(&self, name: &str, request: Hash) -> Result<Once> {
        let hash = self.register().special_hash("request", name.as_bytes())?;
        Ok(Once { id: SubjectId(*hash.0.first_chunk().expect("32 bytes have 16")), request })
    }

    /// How many subjects there are, erased ones included.
    pub fn subject_count(&self) -> u64 {
        (self.register().root().next_slot - SUBJECT_SLOT) / 2
    }

    /// Some subjects, in the order they were created, from a number on.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn subjects_from(&self, from: u64, count: u64) -> Result<Vec<SubjectLine>> {
        let ids = self.subject_ids_from(from, count)?;
        ids.iter().map(|subject| self.subject(subject)).collect()
    }

    /// All subjects, in the order they were created.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn subjects(&self) -> Result<Vec<SubjectLine>> {
        self.subjects_from(0, self.subject_count())
    }

    /// Ids of all subjects, erased ones included.
    pub(crate) fn subject_ids(&self) -> Result<Vec<SubjectId>> {
        self.subject_ids_from(0, self.subject_count())
    }

    /// Some of them, from a number on.
    pub(crate) fn subject_ids_from(&self, from: u64, count: u64) -> Result<Vec<SubjectId>> {
        let end = self.subject_count().min(from.saturating_add(count));
        let mut subjects = Vec::new();
        for number in from / BLOCK_LEN..end.div_ceil(BLOCK_LEN) {
            let block = self.register().block(number)?.subjects;
            let places = (number * BLOCK_LEN..).zip(block);
            let wanted = places.filter(|(place, _)| (from..end).contains(place));
            subjects.extend(wanted.map(|(_, subject)| subject));
        }
        Ok(subjects)
    }

    /// One subject.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn subject(&self, subject: &SubjectId) -> Result<SubjectLine> {
        let cell = self.register().subject_cell(subject)?.ok_or_else(Error::no_subject)?;
        let SubjectCell { state, created, holds, pseudonym, .. } = cell;
        Ok(SubjectLine { subject: *subject, state, created, holds, pseudonym })
    }

    /// Restricts a subject's data (Art. 18), or lifts that.
    ///
    /// # Errors
    /// `NotFound`; where the ledger is away, its error, and it is on record all the same.
    pub fn restrict(&mut self, subject: &SubjectId, restricted: bool) -> Result<()> {
        self.heed_ledger()?;
        let mut own = self.living(subject)?;
        let (state, said) = match restricted {
            true => (SubjectState::Restricted, Said::Restricted),
            false => (SubjectState::Active, Said::Unrestricted),
        };
        let to_tell = self.to_tell(&own, &[said])?;
        own.cell.state = state;
        self.told(to_tell, |custodian| custodian.change_subject(own, Kind::Restriction))
    }

    /// Places a hold: nothing of the subject is erased while it is in force. Of somebody whose erasure is on record it keeps what
    /// there is, as long as no key is gone.
    ///
    /// # Errors
    /// `NotFound`, also once keys are gone; `Invalid` for a ground that is no plain word.
    pub fn place_hold(&mut self, subject: &SubjectId, ground: &str) -> Result<()> {
        self.place_hold_on(subject, ground, None)
    }

    /// Places a hold on one class of a subject's data. The subject is not erased meanwhile either; what is of other classes
    /// may be removed.
    ///
    /// # Errors
    /// As [`Custodian::place_hold`].
    pub fn place_hold_on(
        &mut self,
        subject: &SubjectId,
        ground: &str,
        class: Option<ClassId>,
    ) -> Result<()> {
        crate::directory::check_name(ground)?;
        let mut own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        if own.cell.state == SubjectState::Erased {
            let is_begun = own.cell.erasure.is_some_and(|erasure| erasure.receipt.is_empty());
            let begun = || Error::new(ErrorKind::NotFound, "the subject is being erased");
            return Err(if is_begun { begun() } else { Error::no_subject() });
        }
        let position = self.register().log().next_seq();
        own.cell.holds.push(Hold { class, ground: ground.to_owned(), position, until: None });
        self.change_subject(own, Kind::Hold)
    }

    /// Lifts all holds of a ground.
    ///
    /// # Errors
    /// `NotFound` also when there is no such hold.
    pub fn lift_hold(&mut self, subject: &SubjectId, ground: &str) -> Result<()> {
        let mut own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let count = own.cell.holds.len();
        own.cell.holds.retain(|hold| hold.ground != ground);
        if own.cell.holds.len() == count {
            return Err(Error::new(ErrorKind::NotFound, "there is no such hold"));
        }
        self.change_subject(own, Kind::Hold)
    }

    pub(crate) fn change_subject(&mut self, mut own: Subject, kind: Kind) -> Result<()> {
        let register = self.register();
        let mut transaction = Transaction::new(register);
        register.tell(&mut transaction, &mut own, kind, None, None, |_| ());
        register.put_subject(&mut transaction, &mut own);
        self.register_mut().commit(transaction).map(drop)
    }
}

impl Subject {
    /// Whether it is there, and not being erased.
    pub fn is_there(&self) -> bool {
        matches!(self.cell.state, SubjectState::Active | SubjectState::Restricted)
    }

    /// Whether the key of what is on record about it is there.
    pub fn has_audit_key(&self) -> bool {
        self.audit_key.is_some()
    }
}

impl Register {
    /// Reads a subject.
    pub fn subject(&self, subject: &SubjectId) -> Result<Option<Subject>> {
        Ok(self.subject_version(subject)?.map(|(_, own)| own))
    }

    /// The same, with the record that last changed it.
    pub fn subject_version(&self, subject: &SubjectId) -> Result<Option<(u64, Subject)>> {
        let Some((version, cell)) = self.versioned_subject(subject)? else { return Ok(None) };
        Ok(Some((version, self.opened(cell)?)))
    }

    /// What the register itself says of a subject: no key of the keystore is needed for it.
    pub fn subject_cell(&self, subject: &SubjectId) -> Result<Option<SubjectCell>> {
        Ok(self.versioned_subject(subject)?.map(|(_, cell)| cell))
    }

    fn versioned_subject(&self, subject: &SubjectId) -> Result<Option<(u64, SubjectCell)>> {
        let found = self.versioned_cell(CellKind::Subject, &subject.0)?;
        let Some((version, bytes)) = found else { return Ok(None) };
        let cell: SubjectCell = cbor::decode_canonical(&bytes)?;
        if cell.subject != *subject {
            return Err(Error::corrupt("a cell of the register lies in the place of another"));
        }
        Ok(Some((version, cell)))
    }

    /// A subject as a cell has it.
    pub fn opened(&self, cell: SubjectCell) -> Result<Subject> {
        let audit_key = self.leaf(cell.slot + 1)?.map(AuditKey::from);
        let record = match &audit_key {
            None => SubjectRecord::default(),
            Some(key) => {
                let context = self.record_context(&cell.subject, cell.record_version);
                let damaged = |_| Error::corrupt("a subject's record is damaged");
                let plain = seal::open(key, &context, &cell.record).map_err(damaged)?;
                cbor::decode_canonical(plain.expose())?
            }
        };
        Ok(Subject { cell, record, audit_key })
    }

    /// The subject's key; none once it is erased.
    pub fn subject_key(&self, cell: &SubjectCell) -> Result<Option<SubjectKey>> {
        let Some(key) = self.leaf(cell.slot)? else { return Ok(None) };
        if self.keystore().commitment(&key, cell.slot, cell.generation) != cell.commitment {
            return Err(Error::corrupt("a subject's key is not the one that was committed to"));
        }
        Ok(Some(SubjectKey::from(key)))
    }

    /// Writes a subject in a transaction.
    pub fn put_subject(&self, transaction: &mut Transaction, own: &mut Subject) {
        if let Some(key) = &own.audit_key {
            own.cell.record_version = transaction.seq();
            let context = self.record_context(&own.cell.subject, own.cell.record_version);
            let salt = self.services().entropy.array();
            own.cell.record = seal::seal(key, &context, salt, &cbor::encode(&own.record));
        }
        let id = own.cell.subject.0;
        transaction.cell(CellKind::Subject, &id, &cbor::encode(&own.cell));
    }

    /// Adds an entry about a subject to a transaction and to the subject's own chain.
    pub fn tell(
        &self,
        transaction: &mut Transaction,
        own: &mut Subject,
        kind: Kind,
        detail: Option<&Detail>,
        decision: Option<(Decision, i64)>,
        fill: impl FnOnce(&mut Entry),
    ) {
        crate::idle::touch(&mut own.cell, kind, decision.as_ref(), transaction.now);
        let number = own.cell.entry_number + 1;
        let mut entry = blank(kind);
        entry.about = Some(About {
            subject: own.cell.pseudonym,
            number,
            previous: own.cell.entry_hash,
            previous_seq: (number > 1).then_some(own.cell.entry_seq),
        });
        fill(&mut entry);
        let sealed = detail.zip(own.audit_key.as_ref()).map(|(detail, key)| {
            let context = self.detail_context(&own.cell.pseudonym, number);
            seal::seal(key, &context, self.services().entropy.array(), &cbor::encode(detail))
        });
        let draft = Draft { entry, detail: sealed.unwrap_or_default(), decision };
        own.cell.entry_hash = Hash(sha256(&self.leaf_of(&draft, transaction)));
        own.cell.entry_number = number;
        own.cell.entry_seq = transaction.seq();
        transaction.draft(draft);
    }

    /// Opens the detail of an entry about a subject.
    pub fn open_detail(&self, own: &Subject, number: u64, sealed: &[u8]) -> Option<Detail> {
        let context = self.detail_context(&own.cell.pseudonym, number);
        let plain = seal::open(own.audit_key.as_ref()?, &context, sealed).ok()?;
        cbor::decode_canonical(plain.expose()).ok()
    }

    /// What an activity calls a subject: the same through all rotations.
    pub fn pseudonym(
        &self,
        key: &SubjectKey,
        cell: &SubjectCell,
        activity: &ActivityId,
    ) -> Result<Pseudonym> {
        let names = self.open_names(key, cell)?;
        let fields = [Value::Bytes(&cell.subject.0), Value::Bytes(&activity.0)];
        Ok(self.short(Usage::SubjectPseudonym, &names, &fields))
    }

    /// The secret that names for the subject come from.
    pub fn open_names(&self, key: &SubjectKey, cell: &SubjectCell) -> Result<Secret<32>> {
        self.unwrap_class(key, &cell.subject, NAMES, 1, &cell.names)
    }

    /// Opens a class key outside of any release: to wrap it anew, to seal anew what it seals, or to remove it.
    pub fn unwrap_class(
        &self,
        key: &SubjectKey,
        subject: &SubjectId,
        class: ClassId,
        generation: u64,
        wrap: &[u8],
    ) -> Result<Secret<32>> {
        let damaged = || Error::corrupt("a class key of a subject is damaged");
        let context = self.keystore().class_context(&subject.0, class.0, generation);
        let plain = seal::open(key, &context, wrap).map_err(|_| damaged())?;
        Ok(Secret::from_bytes(plain.expose().try_into().map_err(|_| damaged())?))
    }

    /// Wraps everything that hangs from a subject key under another one.
    pub fn rewrap(&self, cell: &mut SubjectCell, old: &SubjectKey, new: &SubjectKey) -> Result<()> {
        let subject = cell.subject;
        let again = |class: ClassId, generation, wrap: &[u8]| {
            let key = self.unwrap_class(old, &subject, class, generation, wrap)?;
            Ok::<_, Error>(self.keystore().wrap_class(new, &subject.0, class.0, generation, &key))
        };
        cell.names = again(NAMES, 1, &cell.names)?;
        for own in &mut cell.classes {
            if !own.older.is_empty() {
                // What no file is sealed under any more is not carried on.
                let folder = OpenFolder::reopened(self, old, &subject, own)?;
                let used = folder.generations();
                own.older.retain(|older| used.contains(&older.generation));
            }
            own.wrap = again(own.class, own.generation, &own.wrap)?;
            for older in &mut own.older {
                older.wrap = again(own.class, older.generation, &older.wrap)?;
            }
        }
        Ok(())
    }

    /// Whether a subject was created for this very request.
    fn check_request(&self, cell: &SubjectCell, request: &Hash) -> Result<()> {
        let key = self.subject_key(cell)?.ok_or_else(Error::no_subject)?;
        let names = self.open_names(&key, cell)?;
        if cell.request != Some(self.request_mark(&names, &cell.subject, request)) {
            return Err(Error::new(ErrorKind::Exists, "the key was used for another request"));
        }
        Ok(())
    }

    fn request_mark(&self, names: &Secret<32>, subject: &SubjectId, request: &Hash) -> Hash {
        let fields = [Value::Bytes(&subject.0), Value::Bytes(&request.0)];
        let organisation = self.services().keys.organisation();
        let context = Context::new(Usage::SubjectRequest, &organisation.0, &fields);
        Hash(*kdf::derive(names, &context).expose())
    }

    fn audit_pseudonym(&self, key: &Secret<32>, subject: &SubjectId) -> Pseudonym {
        self.short(Usage::AuditPseudonym, key, &[Value::Bytes(&subject.0)])
    }

    fn short(&self, usage: Usage, key: &Secret<32>, fields: &[Value<'_>]) -> Pseudonym {
        let context = Context::new(usage, &self.services().keys.organisation().0, fields);
        let secret = kdf::derive(key, &context);
        Pseudonym(*secret.expose().first_chunk().expect("32 bytes have 16"))
    }

    /// Lists new subjects, whose slots follow each other from `slot` on.
    fn put_in_blocks(
        &self,
        transaction: &mut Transaction,
        slot: u64,
        subjects: &[SubjectId],
    ) -> Result<()> {
        let mut rest = subjects;
        let mut place = (slot - SUBJECT_SLOT) / 2;
        while !rest.is_empty() {
            let number = place / BLOCK_LEN;
            let mut block = self.block(number)?;
            let room = usize::try_from(BLOCK_LEN - place % BLOCK_LEN).unwrap_or(rest.len());
            let (here, after) = rest.split_at(room.min(rest.len()));
            block.subjects.extend_from_slice(here);
            let id = u128::from(number).to_be_bytes();
            transaction.cell(CellKind::Block, &id, &cbor::encode(&block));
            (rest, place) = (after, (number + 1) * BLOCK_LEN);
        }
        Ok(())
    }

    fn block(&self, number: u64) -> Result<Block> {
        match self.cell(CellKind::Block, &u128::from(number).to_be_bytes())? {
            Some(bytes) => Ok(cbor::decode_canonical(&bytes)?),
            None => Ok(Block::default()),
        }
    }

    fn record_context(&self, subject: &SubjectId, version: u64) -> Context {
        let application = self.application();
        let fields = [Value::Bytes(&application.0), Value::Bytes(&subject.0), Value::Uint(version)];
        Context::new(Usage::SubjectRecord, &self.services().keys.organisation().0, &fields)
    }

    fn detail_context(&self, subject: &Pseudonym, number: u64) -> Context {
        let application = self.application();
        let fields = [Value::Bytes(&application.0), Value::Bytes(&subject.0), Value::Uint(number)];
        Context::new(Usage::AuditDetail, &self.services().keys.organisation().0, &fields)
    }
}

fn missing() -> Error {
    Error::corrupt("the register lists a subject it does not have")
}
