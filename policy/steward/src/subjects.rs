//! Subjects: created, found again, listed; and the chain of entries about each.

use std::collections::BTreeMap;

use strongroom_audit::Draft;
use strongroom_authorizer::Decision;
use strongroom_crypto::hash::sha256;
use strongroom_crypto::kdf;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{AuditKey, Secret, SubjectKey};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::cbor;
use strongroom_records::ids::{ActivityId, Hash, Pseudonym, SubjectId};
use strongroom_records::log::{About, Entry, Kind};
use strongroom_records::register::{BLOCK_LEN, Block, CellKind, SUBJECT_SLOT};
use strongroom_records::subject::{Detail, Hold, Row, SubjectCell, SubjectRecord, SubjectState};

use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::files::OpenFolder;
use crate::register::{Register, Transaction, blank};

/// A subject, as far as the register lets one see.
pub(crate) struct Subject {
    pub cell: SubjectCell,
    pub record: SubjectRecord,
    audit_key: Option<AuditKey>,
}

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

impl Custodian {
    /// Creates a subject, to be found again by these attributes.
    ///
    /// # Errors
    /// `Denied` when the application is disabled; `Invalid` for attributes that are none.
    pub fn create_subject(&mut self, lookups: &[(String, String)]) -> Result<SubjectId> {
        if !self.is_active() {
            return Err(Error::new(ErrorKind::Denied, "the application is disabled"));
        }
        let register = self.register();
        let (root, keystore) = (register.root(), register.keystore());
        let slot = root.next_slot;
        let subject = SubjectId(register.services().entropy.array());
        let (key, audit_key) = (keystore.generate(), keystore.generate());
        let mut transaction = Transaction::new(register);
        let mut own = Subject {
            cell: SubjectCell {
                subject,
                slot,
                state: SubjectState::Active,
                commitment: keystore.commitment(&key, slot),
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
            },
            record: SubjectRecord::default(),
            audit_key: Some(AuditKey::from_bytes(audit_key.expose())),
        };
        let mut leaves = Vec::new();
        if !lookups.is_empty() {
            let subject_key = SubjectKey::from_bytes(key.expose());
            let mut folder = OpenFolder::identifiable(register, &subject_key, &own.cell)?;
            register.relabel(&mut transaction, &mut folder, subject, lookups, &mut leaves)?;
            folder.close(register, &mut own.cell);
        }
        leaves.extend([(slot, key), (slot + 1, audit_key)]);
        let change = keystore.put(root, &register.nodes(), &leaves, slot + 2)?;
        register.tell(&mut transaction, &mut own, Kind::SubjectCreated, None, None, |_| ());
        register.put_subject(&mut transaction, &mut own);
        register.put_in_block(&mut transaction, slot, subject)?;
        transaction.keystore(change);
        self.register_mut().commit(transaction)?;
        Ok(subject)
    }

    /// All subjects, in the order they were created.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn subjects(&self) -> Result<Vec<SubjectLine>> {
        let mut lines = Vec::new();
        for subject in self.subject_ids()? {
            let own = self.register().subject(&subject)?.ok_or_else(missing)?;
            lines.push(SubjectLine {
                subject,
                state: own.cell.state,
                created: own.cell.created,
                holds: own.cell.holds,
                pseudonym: own.cell.pseudonym,
            });
        }
        Ok(lines)
    }

    /// Ids of all subjects, erased ones included.
    pub(crate) fn subject_ids(&self) -> Result<Vec<SubjectId>> {
        let count = (self.register().root().next_slot - SUBJECT_SLOT) / 2;
        let mut subjects = Vec::new();
        for number in 0..count.div_ceil(BLOCK_LEN) {
            subjects.extend(self.register().block(number)?.subjects);
        }
        Ok(subjects)
    }

    /// One subject.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn subject(&self, subject: &SubjectId) -> Result<SubjectLine> {
        let own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        let SubjectCell { state, created, holds, pseudonym, .. } = own.cell;
        Ok(SubjectLine { subject: *subject, state, created, holds, pseudonym })
    }

    /// Restricts a subject's data (Art. 18), or lifts that.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn restrict(&mut self, subject: &SubjectId, restricted: bool) -> Result<()> {
        let mut own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        own.cell.state = match (own.cell.state, restricted) {
            (SubjectState::Active, true) => SubjectState::Restricted,
            (SubjectState::Restricted, false) => SubjectState::Active,
            (state @ (SubjectState::Active | SubjectState::Restricted), _) => state,
            (SubjectState::Erasing | SubjectState::Erased, _) => return Err(Error::no_subject()),
        };
        self.change_subject(own, Kind::Restriction)
    }

    /// Places a hold: nothing of the subject is erased while it is in force.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a ground that is no plain word.
    pub fn place_hold(&mut self, subject: &SubjectId, ground: &str) -> Result<()> {
        crate::directory::check_name(ground)?;
        let mut own = self.register().subject(subject)?.ok_or_else(Error::no_subject)?;
        if own.cell.state == SubjectState::Erased {
            return Err(Error::no_subject());
        }
        let position = self.register().log().next_seq();
        own.cell.holds.push(Hold { class: None, ground: ground.to_owned(), position, until: None });
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

    fn change_subject(&mut self, mut own: Subject, kind: Kind) -> Result<()> {
        let register = self.register();
        let mut transaction = Transaction::new(register);
        register.tell(&mut transaction, &mut own, kind, None, None, |_| ());
        register.put_subject(&mut transaction, &mut own);
        self.register_mut().commit(transaction).map(drop)
    }
}

impl Register {
    /// Reads a subject.
    pub fn subject(&self, subject: &SubjectId) -> Result<Option<Subject>> {
        let Some(bytes) = self.cell(CellKind::Subject, &subject.0)? else { return Ok(None) };
        let cell: SubjectCell = cbor::decode_canonical(&bytes)?;
        if cell.subject != *subject {
            return Err(Error::corrupt("a cell of the register lies in the place of another"));
        }
        let audit_key = self.leaf(cell.slot + 1)?.map(AuditKey::from);
        let record = match &audit_key {
            None => SubjectRecord::default(),
            Some(key) => {
                let context = self.record_context(subject, cell.record_version);
                let damaged = |_| Error::corrupt("a subject's record is damaged");
                let plain = seal::open(key, &context, &cell.record).map_err(damaged)?;
                cbor::decode_canonical(plain.expose())?
            }
        };
        Ok(Some(Subject { cell, record, audit_key }))
    }

    /// The subject's key; none once it is erased.
    pub fn subject_key(&self, cell: &SubjectCell) -> Result<Option<SubjectKey>> {
        let Some(key) = self.leaf(cell.slot)? else { return Ok(None) };
        if self.keystore().commitment(&key, cell.slot) != cell.commitment {
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

    /// What an activity calls a subject.
    pub fn pseudonym(
        &self,
        key: &SubjectKey,
        subject: &SubjectId,
        activity: &ActivityId,
    ) -> Pseudonym {
        let fields = [Value::Bytes(&subject.0), Value::Bytes(&activity.0)];
        self.short(Usage::SubjectPseudonym, &Secret::from_bytes(key.expose()), &fields)
    }

    fn audit_pseudonym(&self, key: &Secret<32>, subject: &SubjectId) -> Pseudonym {
        self.short(Usage::AuditPseudonym, key, &[Value::Bytes(&subject.0)])
    }

    fn short(&self, usage: Usage, key: &Secret<32>, fields: &[Value<'_>]) -> Pseudonym {
        let context = Context::new(usage, &self.services().keys.organisation().0, fields);
        let secret = kdf::derive(key, &context);
        Pseudonym(*secret.expose().first_chunk().expect("32 bytes have 16"))
    }

    /// Replaces the look-up rows of a subject; leaves of new buckets are added to `leaves`.
    pub fn relabel(
        &self,
        transaction: &mut Transaction,
        folder: &mut OpenFolder,
        subject: SubjectId,
        lookups: &[(String, String)],
        leaves: &mut Vec<(u64, Secret<32>)>,
    ) -> Result<()> {
        let mut hashes = Vec::new();
        for (name, value) in lookups {
            hashes.push(self.lookup_hash(name, value)?);
        }
        hashes.sort();
        hashes.dedup();
        let before = std::mem::replace(&mut folder.folder.lookups, hashes.clone());
        let mut buckets = BTreeMap::new();
        for hash in before.iter().chain(&hashes) {
            let number = Self::bucket_number(hash);
            if let std::collections::btree_map::Entry::Vacant(vacant) = buckets.entry(number) {
                vacant.insert(self.bucket(number)?);
            }
        }
        for bucket in buckets.values_mut() {
            bucket.remove(subject, Some(&before));
            for hash in &hashes {
                if bucket.slot()
                    == strongroom_records::register::BUCKET_SLOT + Self::bucket_number(hash)
                {
                    bucket.insert(Row { hash: *hash, subject });
                }
            }
            if bucket.is_new {
                leaves.push(bucket.leaf());
            }
            self.put_bucket(transaction, bucket);
        }
        Ok(())
    }

    fn put_in_block(
        &self,
        transaction: &mut Transaction,
        slot: u64,
        subject: SubjectId,
    ) -> Result<()> {
        let number = (slot - SUBJECT_SLOT) / 2 / BLOCK_LEN;
        let mut block = self.block(number)?;
        block.subjects.push(subject);
        let id = u128::from(number).to_be_bytes();
        transaction.cell(CellKind::Block, &id, &cbor::encode(&block));
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
