//! Look-up by attribute: keyed hashes in buckets whose keys are leaves of the keystore.
//!
//! The hash key lives as long as the application, so whoever has it can test a guess. What makes an erased subject's rows
//! unreadable is the bucket's key: an erasure gives a fresh one to every bucket that has rows of the subject or ever had.
//!
//! The names that activities have for subjects are found the same way: a row is written when a name is first told to
//! somebody.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_authorizer::Action;
use strongroom_crypto::hash::sha256;
use strongroom_crypto::kdf;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{BucketKey, Secret, SubjectKey};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::cbor;
use strongroom_records::ids::{ActivityId, ClassId, Hash, Pseudonym, SubjectId};
use strongroom_records::register::{BUCKET_COUNT, BUCKET_SLOT, Cell, CellKind};
use strongroom_records::subject::{Bucket, Folder, Given, Row, SubjectCell};

use crate::access::Asked;
use crate::custodian::Custodian;
use crate::error::{Error, Result};
use crate::files::{OpenFolder, PROFILE};
use crate::merge::is_numbered;
use crate::normal::{ATTRIBUTE_LEN_MAX, normal};
use crate::register::{Register, Transaction};
use crate::subjects::Subject;

/// LIMIT: subjects that one attribute leads to. A bucket is written as a whole, so each more makes all of them dearer.
const SHARED_COUNT_MAX: usize = 500;
/// LIMIT: attributes that somebody is given. Their cell has all of them, and is written with each change.
const GIVEN_COUNT_MAX: usize = 64;

/// A bucket, its key at hand.
pub(crate) struct OpenBucket {
    number: u64,
    key: Secret<32>,
    /// Whether the key is not in the keystore yet.
    pub is_new: bool,
    pub bucket: Bucket,
}

impl OpenBucket {
    /// Slot of its key.
    pub fn slot(&self) -> u64 {
        BUCKET_SLOT + self.number
    }

    /// A copy of its key for the keystore.
    pub fn leaf(&self) -> (u64, Secret<32>) {
        (self.slot(), Secret::from_bytes(self.key.expose()))
    }

    /// Takes a fresh key.
    pub fn rekey(&mut self, key: Secret<32>) {
        self.key = key;
    }

    fn insert(&mut self, row: Row) -> bool {
        match self.bucket.rows.binary_search(&row) {
            Ok(_) => false,
            Err(at) => {
                self.bucket.rows.insert(at, row);
                true
            }
        }
    }

    pub fn remove(&mut self, subject: SubjectId, hashes: Option<&[Hash]>) {
        self.bucket.rows.retain(|row| {
            row.subject != subject || hashes.is_some_and(|hashes| !hashes.contains(&row.hash))
        });
    }
}

/// Buckets that one record changes, each opened once.
#[derive(Default)]
pub(crate) struct Buckets {
    open: BTreeMap<u64, OpenBucket>,
    changed: BTreeSet<u64>,
}

impl Buckets {
    fn at(&mut self, register: &Register, hash: &Hash) -> Result<&mut OpenBucket> {
        use std::collections::btree_map::Entry;
        match self.open.entry(Register::bucket_number(hash)) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(vacant) => {
                let bucket = register.bucket(*vacant.key())?;
                Ok(vacant.insert(bucket))
            }
        }
    }

    /// Adds a row; false if it is there.
    pub fn insert(&mut self, register: &Register, row: Row) -> Result<bool> {
        let is_new = self.at(register, &row.hash)?.insert(row);
        if is_new {
            self.changed.insert(Register::bucket_number(&row.hash));
        }
        Ok(is_new)
    }

    /// How many a hash leads to.
    fn count(&mut self, register: &Register, hash: &Hash) -> Result<usize> {
        let rows = &self.at(register, hash)?.bucket.rows;
        Ok(rows.iter().filter(|row| row.hash == *hash).count())
    }

    /// Takes a row away.
    pub fn remove(&mut self, register: &Register, row: Row) -> Result<()> {
        self.at(register, &row.hash)?.remove(row.subject, Some(&[row.hash]));
        self.changed.insert(Register::bucket_number(&row.hash));
        Ok(())
    }

    /// Writes what changed; returns the keys that are not in the keystore yet.
    pub fn close(
        self,
        register: &Register,
        transaction: &mut Transaction,
    ) -> Vec<(u64, Secret<32>)> {
        let mut leaves = Vec::new();
        for number in &self.changed {
            let bucket = &self.open[number];
            leaves.extend(bucket.is_new.then(|| bucket.leaf()));
            register.put_bucket(transaction, bucket);
        }
        leaves
    }
}

impl Register {
    /// Keyed hash of an activity's name for a subject.
    pub fn name_hash(&self, activity: &ActivityId, name: &Pseudonym) -> Result<Hash> {
        self.special_hash("name", &[activity.0, name.0].concat())
    }

    /// Keyed hash of something that is no attribute: attributes have a name, and these have none.
    pub fn special_hash(&self, what: &str, bytes: &[u8]) -> Result<Hash> {
        self.keyed_hash(&[&[0], what.as_bytes(), &[0], bytes].concat())
    }

    /// Keyed hash of an attribute.
    pub fn lookup_hash(&self, name: &str, value: &str) -> Result<Hash> {
        if name.is_empty() || name.len() + value.len() > ATTRIBUTE_LEN_MAX {
            return Err(Error::invalid("an attribute is empty or longer than 1,024 bytes"));
        }
        if name.starts_with('\0') {
            return Err(Error::invalid("an attribute's name is a name"));
        }
        self.keyed_hash(&normal(name, value))
    }

    fn keyed_hash(&self, bytes: &[u8]) -> Result<Hash> {
        let application = self.application();
        let own = [Value::Bytes(&application.0)];
        let key = self.derive(Usage::LookupKey, &own);
        let digest = sha256(bytes);
        let fields = [Value::Bytes(&application.0), Value::Bytes(&digest)];
        let organisation = self.services().keys.organisation();
        let context = Context::new(Usage::LookupHash, &organisation.0, &fields);
        Ok(Hash(*kdf::derive(&key, &context).expose()))
    }

    pub fn bucket_number(hash: &Hash) -> u64 {
        let [first, second, ..] = hash.0;
        (u64::from(first) << 8 | u64::from(second)) % BUCKET_COUNT
    }

    /// Whether anybody ever wrote a bucket.
    pub fn has_bucket(&self, number: u64) -> Result<bool> {
        let name = self.cell_name(CellKind::Bucket, &bucket_id(number));
        let shelves = self.log().shelves();
        Ok(shelves.has(strongroom_store::Shelf::Cell, u128::from_be_bytes(name))?)
    }

    /// Whom an activity means by a name it was told; none for any other.
    pub fn named(&self, activity: &ActivityId, name: &Pseudonym) -> Result<Option<SubjectId>> {
        let hash = self.name_hash(activity, name)?;
        let bucket = self.bucket(Self::bucket_number(&hash))?;
        Ok(bucket.bucket.rows.iter().find(|row| row.hash == hash).map(|row| row.subject))
    }

    /// Numbers of buckets that once had rows leading to a subject, for whoever gives them new keys: the folder forgets them.
    pub fn take_former(&self, cell: &mut SubjectCell, key: &SubjectKey) -> Result<Vec<u64>> {
        let subject = cell.subject;
        let own = cell.classes.iter().find(|own| own.class == ClassId::IDENTIFIABLE);
        let Some(own) = own else { return Ok(Vec::new()) };
        let mut folder = OpenFolder::reopened(self, key, &subject, own)?;
        let former = std::mem::take(&mut folder.folder.former);
        if !former.is_empty() {
            folder.close(self, cell);
        }
        Ok(former)
    }

    /// What a subject is given to be found by.
    ///
    /// # Errors
    /// `Invalid` for attributes that are none, and for too many.
    pub fn given(&self, lookups: &[(String, String)]) -> Result<Vec<Given>> {
        let given = |(name, value): &(String, String)| {
            Ok::<_, Error>(Given { name: name.clone(), hash: self.lookup_hash(name, value)? })
        };
        let given: Vec<_> = lookups.iter().filter(is_said).map(given).collect::<Result<_>>()?;
        check_count(&given, 0)?;
        Ok(given)
    }

    /// What a profile says that its subject is found by.
    pub fn said(&self, lookups: &[(String, String)]) -> Result<Vec<Hash>> {
        let said = lookups.iter().filter(is_said);
        said.map(|(name, value)| self.lookup_hash(name, value)).collect()
    }

    /// Puts what a profile says in the place of what the one before said. What the subject was given itself stays, but for
    /// names that the profile speaks of.
    pub fn relabel(
        &self,
        buckets: &mut Buckets,
        folder: &mut OpenFolder,
        subject: SubjectId,
        said: &[(String, String)],
    ) -> Result<()> {
        let mut given = folder.folder.given.take().unwrap_or_default();
        given.retain(|own| said.iter().all(|(name, _)| *name != own.name));
        self.label(buckets, folder, subject, given, said)
    }

    /// Replaces all look-up rows of a subject: by what it is given itself, and what its profile says.
    pub fn label(
        &self,
        buckets: &mut Buckets,
        folder: &mut OpenFolder,
        subject: SubjectId,
        given: Vec<Given>,
        said: &[(String, String)],
    ) -> Result<()> {
        self.lead(buckets, folder, subject, given, self.said(said)?)
    }

    /// Has what a subject is given, and what its profile says, lead there, and nothing else.
    fn lead(
        &self,
        buckets: &mut Buckets,
        folder: &mut OpenFolder,
        subject: SubjectId,
        mut given: Vec<Given>,
        said: Vec<Hash>,
    ) -> Result<()> {
        given.sort();
        given.dedup();
        let mut hashes = said;
        hashes.extend(given.iter().map(|own| own.hash));
        hashes.sort();
        hashes.dedup();
        folder.folder.given = (!given.is_empty()).then_some(given);
        let before = std::mem::replace(&mut folder.folder.lookups, hashes.clone());
        for hash in before.into_iter().filter(|hash| !hashes.contains(hash)) {
            buckets.remove(self, Row { hash, subject })?;
            folder.note_former(&hash);
        }
        for hash in hashes {
            let is_new = buckets.insert(self, Row { hash, subject })?;
            if is_new && buckets.count(self, &hash)? > SHARED_COUNT_MAX {
                let message = "500 people have one of the attributes already: it is none to look somebody up by";
                return Err(Error::invalid(message));
            }
        }
        Ok(())
    }

    /// Opens a bucket; an empty one with a fresh key if there is none.
    pub fn bucket(&self, number: u64) -> Result<OpenBucket> {
        let id = bucket_id(number);
        let Some(key) = self.leaf(BUCKET_SLOT + number)? else {
            let key = self.keystore().generate();
            return Ok(OpenBucket { number, key, is_new: true, bucket: Bucket::default() });
        };
        let damaged = || Error::corrupt("a look-up bucket is damaged");
        let cell = self.cell(CellKind::Bucket, &id)?.ok_or_else(damaged)?;
        let cell: Cell = cbor::decode_canonical(&cell)?;
        let own = BucketKey::from_bytes(key.expose());
        let context = self.bucket_context(number, cell.version);
        let plain = seal::open(&own, &context, &cell.sealed).map_err(|_| damaged())?;
        let bucket = cbor::decode_canonical(plain.expose())?;
        Ok(OpenBucket { number, key, is_new: false, bucket })
    }

    /// Writes a bucket in a transaction.
    pub fn put_bucket(&self, transaction: &mut Transaction, bucket: &OpenBucket) {
        let own = BucketKey::from_bytes(bucket.key.expose());
        let version = transaction.seq();
        let context = self.bucket_context(bucket.number, version);
        let salt = self.services().entropy.array();
        let sealed = seal::seal(&own, &context, salt, &cbor::encode(&bucket.bucket));
        let cell = cbor::encode(&Cell { version, sealed });
        transaction.cell(CellKind::Bucket, &bucket_id(bucket.number), &cell);
    }

    fn bucket_context(&self, number: u64, version: u64) -> Context {
        let application = self.application();
        let fields = [Value::Bytes(&application.0), Value::Uint(number), Value::Uint(version)];
        Context::new(Usage::LookupBucket, &self.services().keys.organisation().0, &fields)
    }
}

impl Custodian {
    /// Sets attributes that a subject is found by, each in the place of those of its name; one that is none, or empty, takes them
    /// away. Others stay.
    ///
    /// # Errors
    /// `Denied`; `Held` while a hold keeps what is identifiable; `Invalid` for attributes that are none, for one that the profile
    /// says, and while others cannot be told from those that are set: they are set to what they are by their names first, or taken
    /// away by the empty one.
    pub fn set_attributes(
        &mut self,
        subject: &SubjectId,
        attributes: &[(String, Option<String>)],
    ) -> Result<()> {
        if attributes.is_empty() {
            return Err(Error::invalid("no attribute is named"));
        }
        for (name, value) in attributes {
            let value = value.as_deref().unwrap_or_default();
            // The empty name is that of what has none, and that is only taken away.
            if !(name.is_empty() && value.trim().is_empty()) {
                self.register().lookup_hash(name, value)?;
            }
        }
        let (subject, class) = (subject.to_string(), "identifiable".to_owned());
        let asked = Asked { activity: None, subject, class, purpose: None };
        let (own, grant) = self.ask(&asked, Action::Write)?;
        let register = self.register();
        let transaction = Transaction::new(register);
        own.check_replaceable(grant.class(), transaction.now)?;
        let key = register.subject_key(&own.cell)?.ok_or_else(Error::denied)?;
        let mut folder = OpenFolder::open(register, &grant, &key, &own.cell)?;
        let said = match folder.find(PROFILE) {
            Some(file) => self.said_now(&folder.read(register, &own.cell.subject, file)?)?,
            None => Vec::new(),
        };
        let is_set = |name: &str| attributes.iter().any(|(own, _)| own == name);
        if let Some((name, _)) = said.iter().find(|(name, _)| is_set(name)) {
            let message = format!("the profile says `{name}`: write the profile anew");
            return Err(Error::invalid(message));
        }
        let written = self.written_by_profiles(&folder, own.cell.subject)?;
        let set =
            attributes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        let set = register.given(&set.collect::<Vec<_>>())?;
        let (given, said) = given_anew(&folder.folder, attributes, set, &written)?;
        let mut buckets = Buckets::default();
        register.lead(&mut buckets, &mut folder, own.cell.subject, given, said)?;
        self.put_led(transaction, own, folder, buckets)
    }

    /// What profiles say by any name that a schema could have or have had for look-ups, also profiles of those who became a part
    /// of the subject.
    fn written_by_profiles(&self, folder: &OpenFolder, subject: SubjectId) -> Result<Vec<Given>> {
        let (register, mut written) = (self.register(), Vec::new());
        for file in folder.folder.files.iter().filter(|file| is_numbered(&file.name, PROFILE)) {
            // Whoever gives a file such a name may mean no profile.
            let plain = folder.read(register, &subject, file)?;
            let Ok(serde_json::Value::Object(profile)) = serde_json::from_slice(&plain) else {
                continue;
            };
            for (name, value) in &profile {
                let hash = value.as_str().map(|value| register.lookup_hash(name, value));
                // What is too long leads nowhere.
                if let Some(Ok(hash)) = hash {
                    written.push(Given { name: name.clone(), hash });
                }
            }
        }
        Ok(written)
    }

    /// What a profile that is there says by the names that the schema has for look-ups now.
    fn said_now(&self, profile: &[u8]) -> Result<Vec<(String, String)>> {
        let damaged = |_| Error::corrupt("a profile is no JSON object");
        Ok(self.schema()?.lookups(&serde_json::from_slice(profile).map_err(damaged)?))
    }

    /// Puts a changed folder on record, with the rows that lead to the subject.
    pub(crate) fn put_led(
        &mut self,
        mut transaction: Transaction,
        mut own: Subject,
        folder: OpenFolder,
        buckets: Buckets,
    ) -> Result<()> {
        let register = self.register();
        folder.close(register, &mut own.cell);
        register.put_subject(&mut transaction, &mut own);
        register.put_leaves(&mut transaction, buckets)?;
        self.register_mut().commit(transaction).map(drop)
    }

    /// Subjects that have an attribute. The search is on record; the value is not.
    ///
    /// # Errors
    /// `Invalid` for an attribute that is none.
    pub fn find_subjects(&mut self, name: &str, value: &str) -> Result<Vec<SubjectId>> {
        let hash = self.register().lookup_hash(name, value)?;
        let mut transaction = Transaction::new(self.register());
        transaction.entry(strongroom_records::log::Kind::Lookup, |_| ());
        self.register_mut().commit(transaction)?;
        let bucket = self.register().bucket(Register::bucket_number(&hash))?;
        let rows = bucket.bucket.rows.iter().filter(|row| row.hash == hash);
        Ok(rows.map(|row| row.subject).collect())
    }
}

/// Whether an attribute says anything: nobody is looked up by what is empty.
fn is_said((_, value): &&(String, String)) -> bool {
    !value.trim().is_empty()
}

/// What leads to a subject once attributes are set: what it is given itself, and what profiles said of other names.
///
/// A hash does not say of which attribute it is. That is known of what was given by its name, of what a profile says that is
/// there, and of what is set to what it was. The empty name is that of all others.
fn given_anew(
    folder: &Folder,
    attributes: &[(String, Option<String>)],
    set: Vec<Given>,
    written: &[Given],
) -> Result<(Vec<Given>, Vec<Hash>)> {
    let named = |hash: &Hash| {
        let known = written.iter().chain(&set).find(|own| own.hash == *hash);
        known.map_or("", |own| &own.name)
    };
    let name = |own: &Given| match own.name.is_empty() {
        true => named(&own.hash).to_owned(),
        false => own.name.clone(),
    };
    let stays = |name: &str| attributes.iter().all(|(own, _)| own != name);
    let before = folder.given.as_deref().unwrap_or_default();
    let is_given = |hash: &Hash| before.iter().any(|own| own.hash == *hash);
    let said = folder.lookups.iter().filter(|hash| !is_given(hash) && stays(named(hash)));
    let said: Vec<Hash> = said.copied().collect();
    let mut given: Vec<_> = before.iter().filter(|own| stays(&name(own))).cloned().collect();
    let unnamed = said.iter().filter(|hash| named(hash).is_empty()).count()
        + given.iter().filter(|own| name(own).is_empty()).count();
    let is_naming =
        set.len() == attributes.len() && set.iter().all(|own| folder.lookups.contains(&own.hash));
    if unnamed > 0 && !is_naming {
        return Err(unnamed_stay(unnamed));
    }
    given.extend(set);
    check_count(&given, before.len())?;
    Ok((given, said))
}

/// Whoever has more, as one whom others became a part of, gets no more.
fn check_count(given: &[Given], before: usize) -> Result<()> {
    match given.len() > GIVEN_COUNT_MAX.max(before) {
        true => Err(Error::invalid("somebody is given 64 attributes at most")),
        false => Ok(()),
    }
}

fn unnamed_stay(count: usize) -> Error {
    let attributes = if count == 1 { "1 attribute" } else { &format!("{count} attributes") };
    Error::invalid(format!(
        "{attributes} of this person cannot be told from what is set: set what there is by its name first, or take away all \
         that have none by an empty name"
    ))
}

fn bucket_id(number: u64) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str, byte: u8) -> Given {
        Given { name: name.into(), hash: Hash([byte; 32]) }
    }

    /// As a folder is read that is from before names were written down.
    #[test]
    fn what_was_given_without_a_name_is_no_longer_there_once_its_name_is_set() {
        let old = [given("", 1), given("", 2)];
        let lookups = old.iter().map(|own| own.hash).collect();
        let folder = Folder { given: Some(old.to_vec()), lookups, ..Folder::default() };
        let text = |text: &str| Some(text.to_owned());
        let (email, member) = ("email".to_owned(), "member".to_owned());
        let set = [(email.clone(), text("new"))];
        let refused = given_anew(&folder, &set, vec![given("email", 3)], &[]).unwrap_err();
        assert!(refused.to_string().starts_with("2 attributes of this person cannot be told"));
        // One of them a profile says, and the other is set to what it is.
        let written = [given("email", 1)];
        let all = [(email.clone(), text("new")), (member.clone(), text("17"))];
        let set = vec![given("email", 3), given("member", 2)];
        let anew = given_anew(&folder, &all, set.clone(), &written).unwrap();
        assert_eq!(anew, (set, vec![]));
        // One after the other, each by what it is.
        let one = [(email.clone(), text("old"))];
        let anew = given_anew(&folder, &one, vec![given("email", 1)], &[]).unwrap();
        assert_eq!(anew, (vec![given("", 2), given("email", 1)], vec![]));
        // Or away with all that have no name.
        let away = [(String::new(), None), (email, text("new"))];
        let anew = given_anew(&folder, &away, vec![given("email", 3)], &[]).unwrap();
        assert_eq!(anew, (vec![given("email", 3)], vec![]));
    }
}
