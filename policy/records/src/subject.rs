//! Subjects: what the register keeps of them, each part under the key that must be able to end it.
//!
//! ```text
//! cell (register key)           id, slot, state, numbers: lives as long as the application
//! └─ record (audit key)         consents, account: outlives the data, has a term of its own
//! └─ class (subject key)        wrapped class key; under it the folder: names, sizes, look-up rows
//! ```

use minicbor::{Decode, Encode};
use strongroom_crypto::secret::KeyShare;
use zeroize::Zeroizing;

use crate::ids::{ActivityId, ClassId, FileId, Hash, Pseudonym, SubjectId};

/// Most files of one class of one subject.
pub const FILE_COUNT_MAX: usize = 10_000;
/// Most files of one class of one subject that are about others as well.
pub const JOINT_COUNT_MAX: usize = 1000;
/// Most people that one file is about.
pub const JOINT_PEOPLE_MAX: usize = 8;
/// Longest name of a file, in bytes.
pub const FILE_NAME_LEN_MAX: usize = 255;

/// How a subject stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum SubjectState {
    /// Ordinary.
    #[n(1)]
    Active,
    /// Stored and released to nobody but the subject (Art. 18).
    #[n(2)]
    Restricted,
    /// An erasure is on its way: nothing is released any more.
    #[n(3)]
    Erasing,
    /// Gone; the number and proofs remain.
    #[n(4)]
    Erased,
}

/// A cell of the register.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SubjectCell {
    /// Who.
    #[n(0)]
    pub subject: SubjectId,
    /// Keystore slot of the subject key; the audit key is in the next.
    #[n(1)]
    pub slot: u64,
    /// State.
    #[n(2)]
    pub state: SubjectState,
    /// Commitment of the subject key.
    #[n(3)]
    pub commitment: Hash,
    /// When it was created.
    #[n(4)]
    pub created: i64,
    /// Name in the audit log.
    #[n(5)]
    pub pseudonym: Pseudonym,
    /// Number of their newest entry.
    #[n(6)]
    pub entry_number: u64,
    /// SHA-256 of the leaf of that entry.
    #[n(7)]
    pub entry_hash: Hash,
    /// Record of that entry.
    #[n(8)]
    pub entry_seq: u64,
    /// Holds in force.
    #[n(9)]
    pub holds: Vec<Hold>,
    /// Version of the record below.
    #[n(10)]
    pub record_version: u64,
    /// The [`SubjectRecord`], sealed under the audit key.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub record: Vec<u8>,
    /// Classes with a key, ascending. None once erased.
    #[n(12)]
    pub classes: Vec<ClassCell>,
    /// The erasure that is on its way or done.
    #[n(13)]
    pub erasure: Option<Erasure>,
    /// Generation of the subject key, from 1.
    #[n(14)]
    pub generation: u64,
    /// The secret that activities' names for the subject come from, sealed under the subject key as a class key of class 0
    /// and generation 1. It outlives rotations; none once erased.
    #[cbor(n(15), with = "minicbor::bytes")]
    pub names: Vec<u8>,
    /// Record of the newest rotation of everybody that did this subject; 0 for none.
    #[n(16)]
    pub rotated: u64,
    /// Keyed hash of the request that it was created for, from the secret in `names`, with which it ends. None where the
    /// request had no name, and once erased.
    #[n(17)]
    pub request: Option<Hash>,
    /// When somebody last had a use for it. None where no program has written that down yet: its entries say it.
    #[n(18)]
    pub used: Option<i64>,
    /// When notice was given that it is erased if nobody has. None once somebody had, or placed a hold.
    #[n(19)]
    pub noticed: Option<i64>,
}

/// How far an erasure has come. Each part is there once its step is done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Erasure {
    /// Record of the ledger entry.
    #[n(0)]
    pub received: u64,
    /// Root of the keystore before the puncture.
    #[n(1)]
    pub root_before: Option<crate::keystore::Root>,
    /// Record that carries the punctured keystore.
    #[n(2)]
    pub punctured: Option<u64>,
    /// Wraps dropped or made anew.
    #[n(3)]
    pub wrap_count: u64,
    /// Objects that were the subject's.
    #[n(4)]
    pub objects: Vec<FileId>,
    /// The signed receipt, once closed.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub receipt: Vec<u8>,
    /// Files that were about others as well, and are closed for them, too.
    #[cbor(n(6), default, skip_if = "is_none")]
    pub joint_files: u64,
    /// Of whom the subject became a part.
    #[n(7)]
    pub into: Option<Named>,
}

/// A subject, as receipts name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Named {
    /// By the name of the audit log.
    #[n(0)]
    pub subject: Pseudonym,
    /// Slot of the subject key.
    #[n(1)]
    pub slot: u64,
}

impl Erasure {
    /// One that stands in the ledger at a record, and of which nothing is done yet.
    pub fn received(record: u64, into: Option<Named>) -> Self {
        Self {
            received: record,
            root_before: None,
            punctured: None,
            wrap_count: 0,
            objects: Vec::new(),
            receipt: Vec::new(),
            joint_files: 0,
            into,
        }
    }
}

/// An order not to erase.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hold {
    /// Which data; none for all.
    #[n(0)]
    pub class: Option<ClassId>,
    /// Ground, by the number of the signed configuration; never free text about a person.
    #[n(1)]
    pub ground: String,
    /// Record that placed it.
    #[n(2)]
    pub position: u64,
    /// Until when, if it has an end.
    #[n(3)]
    pub until: Option<i64>,
}

impl Hold {
    /// Whether it has not ended.
    pub fn is_in_force(&self, now: i64) -> bool {
        self.until.is_none_or(|end| now < end)
    }
}

/// One class of a subject's data.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ClassCell {
    /// Class.
    #[n(0)]
    pub class: ClassId,
    /// Generation of its key.
    #[n(1)]
    pub generation: u64,
    /// Its key, sealed under the subject's.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub wrap: Vec<u8>,
    /// Version of the folder.
    #[n(3)]
    pub version: u64,
    /// The [`Folder`], sealed under the class key.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub folder: Vec<u8>,
    /// Objects of its files: names on the shelf of objects, so that they can be removed without any key.
    #[n(5)]
    pub objects: Vec<FileId>,
    /// Keys that files are still sealed under while everything is sealed anew, oldest first.
    #[n(6)]
    pub older: Vec<OlderKey>,
}

/// A class key on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OlderKey {
    /// Its generation.
    #[n(0)]
    pub generation: u64,
    /// The key, sealed under the subject's.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub wrap: Vec<u8>,
}

/// Files of one class, sealed under the class key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Folder {
    /// By name, ascending.
    #[n(0)]
    pub files: Vec<File>,
    /// Look-up hashes that lead here (in the folder of the identifiable class).
    #[n(1)]
    pub lookups: Vec<Hash>,
    /// Buckets that had rows leading here once, ascending: they get new keys when what they tell of is over.
    #[n(2)]
    pub former: Vec<u64>,
    /// Those of the look-up hashes that are no word of the profile: what the subject was given to be found by, ascending.
    #[n(3)]
    pub given: Option<Vec<Given>>,
    /// Files that are about others as well, by name, ascending.
    #[cbor(n(4), skip_if = "Vec::is_empty")]
    pub joint: Vec<JointFile>,
}

impl Folder {
    /// Encodes it: there are shares of keys in it.
    pub fn encoded(&self) -> Zeroizing<Vec<u8>> {
        crate::secret::encode(self)
    }
}

/// A look-up attribute that a subject was given itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Given {
    /// The attribute's name; empty where nobody wrote it down.
    #[n(0)]
    pub name: String,
    /// Keyed hash of the attribute.
    #[n(1)]
    pub hash: Hash,
}

/// A file about several people, as the folder of one of them has it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JointFile {
    /// The file. Its object is the same for all; the name and the generation, of the class key that seals the share, are this
    /// person's own.
    #[n(0)]
    pub file: File,
    /// The others, ascending.
    #[n(1)]
    pub others: Vec<SubjectId>,
    /// This person's share of its key.
    #[n(2)]
    pub share: KeyShare,
}

/// A file of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct File {
    /// Name.
    #[n(0)]
    pub name: String,
    /// Object with its bytes, sealed under the class key.
    #[n(1)]
    pub id: FileId,
    /// Length in bytes.
    #[n(2)]
    pub len: u64,
    /// SHA-256 of the sealed bytes.
    #[n(3)]
    pub hash: Hash,
    /// When it was written.
    #[n(4)]
    pub written: i64,
    /// Generation of the class key that seals it.
    #[n(5)]
    pub generation: u64,
}

/// What outlives the data, sealed under the audit key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct SubjectRecord {
    /// Answers, one for each activity, ascending by activity.
    #[n(0)]
    pub consents: Vec<Consent>,
    /// Activities that it ever agreed to, ascending, each with the page that leads to it.
    #[n(1)]
    pub agreed: Vec<(ActivityId, u64)>,
}

/// Where a consent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ConsentStatus {
    /// Asked, not answered.
    #[n(1)]
    Requested,
    /// Put off.
    #[n(2)]
    Deferred,
    /// No.
    #[n(3)]
    Refused,
    /// Yes.
    #[n(4)]
    Given,
    /// Yes, again.
    #[n(5)]
    Renewed,
    /// No longer, by the subject.
    #[n(6)]
    Withdrawn,
    /// No longer, by the controller.
    #[n(7)]
    Revoked,
    /// Was never good.
    #[n(8)]
    Invalidated,
    /// Ran out.
    #[n(9)]
    Expired,
    /// Nobody knows.
    #[n(10)]
    Unknown,
    /// The subject objects to a legitimate interest (Art. 21).
    #[n(11)]
    Objected,
}

impl ConsentStatus {
    /// Its name in policies, answers and exports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Deferred => "deferred",
            Self::Refused => "refused",
            Self::Given => "given",
            Self::Renewed => "renewed",
            Self::Withdrawn => "withdrawn",
            Self::Revoked => "revoked",
            Self::Invalidated => "invalidated",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::Objected => "objected",
        }
    }
}

impl ConsentStatus {
    /// Only these allow.
    pub fn allows(self) -> bool {
        matches!(self, Self::Given | Self::Renewed)
    }
}

/// A subject's answer to an activity.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Consent {
    /// To what.
    #[n(0)]
    pub activity: ActivityId,
    /// Where it stands.
    #[n(1)]
    pub status: ConsentStatus,
    /// Whether it was expressed explicitly, as special classes demand.
    #[n(2)]
    pub explicit: bool,
    /// Classes it covers, ascending.
    #[n(3)]
    pub classes: Vec<ClassId>,
    /// End.
    #[n(4)]
    pub until: Option<i64>,
    /// When it was expressed.
    #[n(5)]
    pub expressed: i64,
    /// What the subject was told.
    #[n(6)]
    pub notice_hash: Hash,
    /// SHA-256 of the evidence.
    #[n(7)]
    pub evidence_hash: Hash,
    /// Record that it stands in.
    #[n(8)]
    pub position: u64,
}

/// Rows of one look-up bucket, sealed under the bucket's key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Bucket {
    /// By hash, ascending; a hash may lead to several subjects.
    #[n(0)]
    pub rows: Vec<Row>,
}

/// One look-up row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Row {
    /// Keyed hash of an attribute.
    #[n(0)]
    pub hash: Hash,
    /// Who has it.
    #[n(1)]
    pub subject: SubjectId,
}

/// Detail of an audit entry, sealed under the subject's audit key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Detail {
    /// Files it touched. Never names: those are under the class key.
    #[n(0)]
    pub files: Vec<FileId>,
    /// The consent as it is from here on.
    #[n(1)]
    pub consent: Option<Consent>,
    /// The evidence of a consent, as the application gave it.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub evidence: Vec<u8>,
    /// The subject this one was merged with.
    #[n(3)]
    pub merged: Option<SubjectId>,
}

/// Whether a count stands for nothing, which is not written.
pub(crate) fn is_none(count: &u64) -> bool {
    *count == 0
}
