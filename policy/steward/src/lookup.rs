//! Look-up by attribute: keyed hashes in buckets whose keys are leaves of the keystore.
//!
//! The hash key lives as long as the application, so whoever has it can test a guess. What makes an erased subject's rows
//! unreadable is the bucket's key: an erasure gives every bucket it touched a fresh one.

use strongroom_crypto::hash::sha256;
use strongroom_crypto::kdf;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{BucketKey, Secret};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::cbor;
use strongroom_records::ids::{Hash, SubjectId};
use strongroom_records::register::{BUCKET_COUNT, BUCKET_SLOT, Cell, CellKind};
use strongroom_records::subject::{Bucket, Row};

use crate::custodian::Custodian;
use crate::error::{Error, Result};
use crate::normal::{ATTRIBUTE_LEN_MAX, normal};
use crate::register::{Register, Transaction};

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

    pub fn insert(&mut self, row: Row) {
        if let Err(at) = self.bucket.rows.binary_search(&row) {
            self.bucket.rows.insert(at, row);
        }
    }

    pub fn remove(&mut self, subject: SubjectId, hashes: Option<&[Hash]>) {
        self.bucket.rows.retain(|row| {
            row.subject != subject || hashes.is_some_and(|hashes| !hashes.contains(&row.hash))
        });
    }
}

impl Register {
    /// Keyed hash of an attribute.
    pub fn lookup_hash(&self, name: &str, value: &str) -> Result<Hash> {
        if name.is_empty() || name.len() + value.len() > ATTRIBUTE_LEN_MAX {
            return Err(Error::invalid("an attribute is empty or longer than 1,024 bytes"));
        }
        let application = self.application();
        let own = [Value::Bytes(&application.0)];
        let key = self.derive(Usage::LookupKey, &own);
        let digest = sha256(&normal(name, value));
        let fields = [Value::Bytes(&application.0), Value::Bytes(&digest)];
        let organisation = self.services().keys.organisation();
        let context = Context::new(Usage::LookupHash, &organisation.0, &fields);
        Ok(Hash(*kdf::derive(&key, &context).expose()))
    }

    pub fn bucket_number(hash: &Hash) -> u64 {
        let [first, second, ..] = hash.0;
        (u64::from(first) << 8 | u64::from(second)) % BUCKET_COUNT
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

fn bucket_id(number: u64) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}
