//! The registry of what keys and signatures are for, and the contexts that bind sealed bytes to it.
//!
//! Every seal, wrap, derivation and signature has one [`Usage`] with a number that is never given
//! again. Key types accept their own usages only ([`SealingKey`]), so a key cannot be used for
//! something else by mistake, and sealed bytes cannot be carried to another place.
//!
//! A context is the deterministic CBOR array `["strongroom/1", usage, organisation, field, …]`;
//! the fields of each usage stand in [`Usage::fields`]. A new usage brings a number and a vector.

use crate::secret::{
    AuditKey, BlockKey, BucketKey, ClassKey, CustodyKey, DeviceFileKey, EpochKey, HistoryKey,
    JointKey, JournalFileKey, JournalKey, NodeKey, RegisterKey, SubjectKey,
};

/// What stands first in every context.
pub const SUITE_LABEL: &str = "strongroom/1";

/// What is done with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sealing data or keys under a symmetric key.
    Seal,
    /// Wrapping a key to a principal's public key.
    Wrap,
    /// Deriving one secret from another.
    Derive,
    /// Signing.
    Sign,
}

/// One field of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Byte string of this length.
    Bytes(usize),
    /// Unsigned integer.
    Uint,
}

/// Value of a context field.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// Byte string.
    Bytes(&'a [u8]),
    /// Unsigned integer.
    Uint(u64),
}

const ID: Field = Field::Bytes(16);
const HASH: Field = Field::Bytes(32);
const UINT: Field = Field::Uint;

macro_rules! usages {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $act:ident, $name:literal, $fields:expr;)*) => {
        /// Every use of a key or signature. Numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Usage {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Usage {
            /// All of them, by number.
            pub const ALL: &'static [Usage] = &[$(Usage::$variant,)*];

            /// Number in contexts, derivations and signatures.
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// Name in documents and logs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Usage::$variant => $name,)*
                }
            }

            /// What is done with the key.
            pub const fn act(self) -> Act {
                match self {
                    $(Usage::$variant => Act::$act,)*
                }
            }

            /// Fields of the context after the organisation; none for signatures.
            pub const fn fields(self) -> &'static [Field] {
                match self {
                    $(Usage::$variant => $fields,)*
                }
            }
        }
    };
}

usages! {
    /// A block, under its own key: workspace, compartment.
    Block = 1, Seal, "block", &[ID, ID];
    /// Body of a commit, under the compartment's key: workspace, compartment, epoch, author device,
    /// its incarnation, its commit counter.
    CommitBody = 2, Seal, "commit body", &[ID, ID, UINT, ID, UINT, UINT];
    /// Leaf page of a checkpoint, under the compartment's key: workspace, compartment, epoch.
    PageLeaf = 3, Seal, "checkpoint leaf", &[ID, ID, UINT];
    /// Inner page of a checkpoint: workspace, compartment, epoch.
    PageInner = 4, Seal, "checkpoint inner page", &[ID, ID, UINT];
    /// Root page of a checkpoint: workspace, compartment, epoch.
    PageRoot = 5, Seal, "checkpoint root", &[ID, ID, UINT];
    /// Older epoch's keys, under the newer history key: workspace, compartment, older epoch, newer.
    EpochBackLink = 6, Seal, "epoch back-link", &[ID, ID, UINT, UINT];
    /// Epoch keys to a member: workspace, compartment, epoch, recipient, key id, sharer device,
    /// organisation log position.
    PrincipalWrap = 7, Wrap, "principal wrap", &[ID, ID, UINT, ID, ID, ID, UINT];
    /// A member's generation secret to one of their devices: member, generation, device.
    MemberGenerationWrap = 8, Wrap, "member generation", &[ID, UINT, ID];
    /// A member's own list of workspaces: member, generation, version.
    UserManifest = 9, Seal, "user manifest", &[ID, UINT, UINT];
    /// The device file: device, KDF number, memory in KiB, passes, lanes, salt, provider, key id.
    DeviceFile = 10, Seal, "device file", &[ID, UINT, UINT, UINT, UINT, ID, UINT, ID];
    /// A journal record, under the file's key: device, incarnation, record number, commitment of the
    /// record before.
    JournalRecord = 11, Seal, "journal record", &[ID, UINT, UINT, HASH];
    /// The start of a journal file, which holds the file's key, under the device's journal key: device, incarnation,
    /// file number. Sealed as data is: there is no other construction for keys.
    JournalFileKeyWrap = 12, Seal, "journal file key", &[ID, UINT, UINT];
    /// A page of rebuildable local state: store, page number.
    LocalPage = 13, Seal, "local page", &[ID, UINT];
    /// A node of an application's keystore, under its parent: application, node, generation.
    KeystoreNode = 14, Seal, "keystore node", &[ID, UINT, UINT];
    /// A subject's key, under its keystore leaf: application, slot, generation.
    SubjectKeyWrap = 15, Seal, "subject key", &[ID, UINT, UINT];
    /// A class key, under the subject's: pseudonym, class, generation.
    ClassKeyWrap = 16, Seal, "class key", &[ID, UINT, UINT];
    /// Root of an application's keystore, under the application key: application, generation of
    /// that key, provider, key id.
    ApplicationKeyWrap = 17, Seal, "application key", &[ID, UINT, UINT, ID];
    /// Body of a register record, under the register key: application, sequence.
    RegisterRecord = 18, Seal, "register record", &[ID, UINT];
    /// A cell of the register, under the register key: application, cell name, version.
    RegisterCell = 19, Seal, "register cell", &[ID, ID, UINT];
    /// What is kept about a subject beyond their data, under their audit key: application, subject,
    /// version.
    SubjectRecord = 20, Seal, "subject record", &[ID, ID, UINT];
    /// Detail of an audit entry, under the subject's audit key: application, the subject's audit
    /// pseudonym, the subject's own entry number.
    AuditDetail = 21, Seal, "audit detail", &[ID, ID, UINT];
    /// A subject's file, under the class key: application, subject, class, file.
    SubjectFile = 22, Seal, "subject file", &[ID, ID, UINT, ID];
    /// The list of a subject's files of one class, under the class key: application, subject, class,
    /// version.
    SubjectFolder = 23, Seal, "subject folder", &[ID, ID, UINT, UINT];
    /// A bucket of look-up rows, under the bucket's key: application, bucket, version.
    LookupBucket = 24, Seal, "look-up bucket", &[ID, UINT, UINT];
    /// A record of the workspace's list of applications, under the epoch key: workspace, epoch,
    /// sequence.
    DirectoryRecord = 25, Seal, "application directory", &[ID, UINT, UINT];
    /// What a line of the ledger says that a subject said, under their audit key: application, the subject's audit
    /// pseudonym, record.
    LedgerAnswer = 26, Seal, "ledger answer", &[ID, ID, UINT];
    /// A file about several people, under the key that all of their shares make: application, SHA-256 of their ids one after
    /// the other, class, file.
    JointFile = 27, Seal, "joint file", &[ID, HASH, UINT, ID];

    /// What people call a device, under the epoch key: workspace, epoch, device.
    DeviceName = 32, Seal, "device name", &[ID, UINT, ID];
    /// The consumer that a consumer's device works for, under the epoch key: workspace, epoch, device.
    ConsumerName = 33, Seal, "consumer name", &[ID, UINT, ID];
    /// What a consumer's device asks, to the custodian: session, number, device, custodian.
    ExchangeAsk = 34, Wrap, "exchange ask", &[ID, UINT, ID, ID];
    /// What a custodian answers, to the consumer's device: session, number, custodian, device.
    ExchangeAnswer = 35, Wrap, "exchange answer", &[ID, UINT, ID, ID];
    /// A share of an application key, to the device that holds it: application, key, holder.
    QuorumShare = 36, Wrap, "quorum share", &[ID, ID, ID];
    /// The same share, to whoever asked for the key: application, key, request, holder.
    QuorumAnswer = 37, Wrap, "quorum answer", &[ID, ID, ID, ID];

    /// Key of the user manifest from the generation secret: member, generation.
    UserManifestKey = 64, Derive, "user manifest key", &[ID, UINT];
    /// Seed of a member's KEM key from the generation secret: member, generation.
    MemberKemSeed = 65, Derive, "member kem seed", &[ID, UINT];
    /// Key of local state of a class from the class key: workspace, compartment, device.
    LocalStateKey = 66, Derive, "local state key", &[ID, ID, ID];
    /// Commitment of an epoch key: workspace, compartment, epoch.
    EpochKeyCommitment = 67, Derive, "epoch key commitment", &[ID, ID, UINT];
    /// Commitment of a history key: workspace, compartment, epoch.
    HistoryKeyCommitment = 68, Derive, "history key commitment", &[ID, ID, UINT];
    /// Commitment of a subject's key: application, slot, generation.
    SubjectKeyCommitment = 69, Derive, "subject key commitment", &[ID, UINT, UINT];
    /// Key of the look-up hash, from the register key: application.
    LookupKey = 70, Derive, "look-up key", &[ID];
    /// Name of a cell, from the register key: application, kind, id. Cut to 16 bytes.
    CellName = 71, Derive, "cell name", &[ID, UINT, ID];
    /// What an activity sees instead of the subject id, from the subject key: subject, activity. Cut
    /// to 16 bytes.
    SubjectPseudonym = 72, Derive, "subject pseudonym", &[ID, ID];
    /// What the audit log calls a subject, from the audit key: subject. Cut to 16 bytes.
    AuditPseudonym = 73, Derive, "audit pseudonym", &[ID];
    /// Look-up hash of an attribute, from the look-up key: application, SHA-256 of the attribute.
    LookupHash = 74, Derive, "look-up hash", &[ID, HASH];
    /// Application key of a generation, from a secret that custody hands over: application, key id.
    HandedKey = 75, Derive, "handed application key", &[ID, ID];
    /// What a subject was created for: subject, SHA-256 of the request. From the secret that its names come from.
    SubjectRequest = 76, Derive, "subject request", &[ID, HASH];

    /// The genesis record, by the root key.
    SignGenesis = 128, Sign, "genesis", &[];
    /// A later change of the root's own facts, by the root key.
    SignRootChange = 129, Sign, "root change", &[];
    /// A record of the organisation log, by a device.
    SignOrganisationRecord = 130, Sign, "organisation record", &[];
    /// A device certificate.
    SignDeviceCertificate = 131, Sign, "device certificate", &[];
    /// Header of a commit, by its author device.
    SignCommit = 132, Sign, "commit", &[];
    /// Header of a checkpoint, by its author device.
    SignCheckpoint = 133, Sign, "checkpoint", &[];
    /// Description of a workspace, by the device that made it.
    SignWorkspace = 134, Sign, "workspace", &[];
    /// Receipt of an export, erasure, consent or rotation.
    SignReceipt = 135, Sign, "receipt", &[];
    /// Entry of an audit log.
    SignAuditEntry = 136, Sign, "audit entry", &[];
    /// Tree head of a server.
    SignServerHead = 137, Sign, "server head", &[];
    /// Cosignature of a witness.
    SignWitness = 138, Sign, "witness", &[];
    /// Header of a register record, by a custodian's device.
    SignRegisterRecord = 139, Sign, "register record", &[];
    /// A policy set, by a device of somebody who approves it.
    SignPolicySet = 140, Sign, "policy set", &[];
    /// A request to be taken in, by the device itself.
    SignDeviceRequest = 141, Sign, "device request", &[];
    /// What a consumer's device asks, by that device.
    SignAsk = 144, Sign, "ask", &[];
    /// What a custodian answers to a consumer's device, by the custodian's device.
    SignAnswer = 145, Sign, "answer", &[];
    /// Where a custodian serves consumers, by its device.
    SignCounter = 146, Sign, "counter", &[];
    /// A request for shares of an application key, by the device that asks.
    SignQuorumRequest = 147, Sign, "quorum request", &[];
}

impl Usage {
    /// The usage of a number, none if it was never given.
    pub fn from_number(number: u16) -> Option<Usage> {
        Self::ALL.iter().copied().find(|usage| usage.number() == number)
    }
}

/// Canonical bytes that bind a seal or a derivation to its usage and place.
#[derive(Clone, PartialEq, Eq)]
pub struct Context {
    usage: Usage,
    bytes: Vec<u8>,
}

impl Context {
    /// Encodes a context.
    ///
    /// # Panics
    /// If `fields` are not those of [`Usage::fields`], which only our own code can get wrong.
    pub fn new(usage: Usage, organisation: &[u8; 32], fields: &[Value<'_>]) -> Self {
        assert_eq!(fields.len(), usage.fields().len(), "fields of {}", usage.name());
        let mut bytes = Vec::with_capacity(160);
        let count = 3 + u64::try_from(fields.len()).expect("a handful");
        head(&mut bytes, 4, count);
        head(&mut bytes, 3, u64::try_from(SUITE_LABEL.len()).expect("12"));
        bytes.extend_from_slice(SUITE_LABEL.as_bytes());
        head(&mut bytes, 0, u64::from(usage.number()));
        byte_string(&mut bytes, organisation);
        for (value, field) in fields.iter().zip(usage.fields()) {
            match (value, field) {
                (Value::Bytes(value), Field::Bytes(len)) if value.len() == *len => {
                    byte_string(&mut bytes, value);
                }
                (Value::Uint(value), Field::Uint) => head(&mut bytes, 0, *value),
                _ => panic!("fields of {}", usage.name()),
            }
        }
        Self { usage, bytes }
    }

    /// Context of the blocks of a compartment.
    pub fn block(place: &Place) -> Self {
        Self::new(Usage::Block, &place.organisation, &place.fields())
    }

    /// Context of a commit body of a compartment.
    pub fn commit_body(place: &Place, epoch: u64, author: &Author) -> Self {
        let [workspace, compartment] = place.fields();
        let fields = [
            workspace,
            compartment,
            Value::Uint(epoch),
            Value::Bytes(&author.device),
            Value::Uint(author.incarnation),
            Value::Uint(author.counter),
        ];
        Self::new(Usage::CommitBody, &place.organisation, &fields)
    }

    /// Context of a checkpoint page; `usage` is one of the three page usages.
    pub fn page(usage: Usage, place: &Place, epoch: u64) -> Self {
        let [workspace, compartment] = place.fields();
        Self::new(usage, &place.organisation, &[workspace, compartment, Value::Uint(epoch)])
    }

    /// Context of a journal record. `previous` is the commitment of the record before, zeros for the
    /// first of a file.
    pub fn journal_record(
        organisation: &[u8; 32],
        device: &[u8; 16],
        incarnation: u64,
        number: u64,
        previous: &[u8; 32],
    ) -> Self {
        let fields = [
            Value::Bytes(device),
            Value::Uint(incarnation),
            Value::Uint(number),
            Value::Bytes(previous),
        ];
        Self::new(Usage::JournalRecord, organisation, &fields)
    }

    /// Context of the sealed start of a journal file, with the file's key in it.
    pub fn journal_file_key(
        organisation: &[u8; 32],
        device: &[u8; 16],
        incarnation: u64,
        file: u64,
    ) -> Self {
        let fields = [Value::Bytes(device), Value::Uint(incarnation), Value::Uint(file)];
        Self::new(Usage::JournalFileKeyWrap, organisation, &fields)
    }

    /// What it is for.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A compartment of a workspace of an organisation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Organisation id.
    pub organisation: [u8; 32],
    /// Workspace id.
    pub workspace: [u8; 16],
    /// Compartment id.
    pub compartment: [u8; 16],
}

impl Place {
    fn fields(&self) -> [Value<'_>; 2] {
        [Value::Bytes(&self.workspace), Value::Bytes(&self.compartment)]
    }
}

/// Who made a commit, and which of theirs it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Author {
    /// Device id.
    pub device: [u8; 16],
    /// Incarnation of the device's counters.
    pub incarnation: u64,
    /// The device's own commit counter.
    pub counter: u64,
}

/// A key that seals and opens, for its own usages only.
pub trait SealingKey {
    /// The usages this key type accepts.
    const USAGES: &'static [Usage];
    /// The input key of the construction.
    fn input_key(&self) -> &[u8; 32];
}

macro_rules! sealing_key {
    ($key:ident, $($usage:ident),*) => {
        impl SealingKey for $key {
            const USAGES: &'static [Usage] = &[$(Usage::$usage),*];
            fn input_key(&self) -> &[u8; 32] {
                self.expose()
            }
        }
    };
}

sealing_key!(BlockKey, Block);
sealing_key!(
    EpochKey,
    CommitBody,
    PageLeaf,
    PageInner,
    PageRoot,
    DirectoryRecord,
    DeviceName,
    ConsumerName
);
sealing_key!(HistoryKey, EpochBackLink);
sealing_key!(JournalKey, JournalFileKeyWrap);
sealing_key!(JournalFileKey, JournalRecord);
sealing_key!(DeviceFileKey, DeviceFile);
sealing_key!(CustodyKey, ApplicationKeyWrap);
sealing_key!(NodeKey, KeystoreNode, SubjectKeyWrap);
sealing_key!(SubjectKey, ClassKeyWrap);
sealing_key!(AuditKey, SubjectRecord, AuditDetail, LedgerAnswer);
sealing_key!(ClassKey, SubjectFile, SubjectFolder);
sealing_key!(JointKey, JointFile);
sealing_key!(RegisterKey, RegisterRecord, RegisterCell);
sealing_key!(BucketKey, LookupBucket);

/// Writes the head of a CBOR item in its shortest form.
fn head(out: &mut Vec<u8>, major: u8, value: u64) {
    let major = major << 5;
    if value < 24 {
        out.push(major | value.to_le_bytes()[0]);
    } else if let Ok(value) = u8::try_from(value) {
        out.extend_from_slice(&[major | 24, value]);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(major | 25);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(major | 26);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn byte_string(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, 2, u64::try_from(bytes.len()).expect("context fields are short"));
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::sign::message;
    use crate::vectors::sample_context;

    #[test]
    fn no_two_usages_give_equal_bytes() {
        let mut seen = HashSet::new();
        for usage in Usage::ALL {
            let bytes = match usage.act() {
                Act::Seal | Act::Wrap | Act::Derive => {
                    let strings: Vec<_> = usage.fields().iter().map(zeros).collect();
                    let fields: Vec<_> = strings.iter().map(value).collect();
                    Context::new(*usage, &[0; 32], &fields).bytes
                }
                Act::Sign => message(*usage, b"").to_vec(),
            };
            assert!(seen.insert(bytes), "{}", usage.name());
        }
        assert_eq!(seen.len(), Usage::ALL.len());
    }

    fn zeros(field: &Field) -> Option<Vec<u8>> {
        match field {
            Field::Bytes(len) => Some(vec![0; *len]),
            Field::Uint => None,
        }
    }

    fn value(zeros: &Option<Vec<u8>>) -> Value<'_> {
        zeros.as_ref().map_or(Value::Uint(0), |zeros| Value::Bytes(zeros))
    }

    #[test]
    fn numbers_and_names_are_unique() {
        let numbers: HashSet<_> = Usage::ALL.iter().map(|usage| usage.number()).collect();
        let names: HashSet<_> =
            Usage::ALL.iter().map(|usage| (usage.act() == Act::Sign, usage.name())).collect();
        assert_eq!((numbers.len(), names.len()), (Usage::ALL.len(), Usage::ALL.len()));
    }

    #[test]
    fn contexts_are_canonical_cbor() {
        for usage in Usage::ALL {
            let context = sample_context(*usage);
            let mut decoder = minicbor::Decoder::new(context.as_bytes());
            let count = decoder.array().unwrap().unwrap();
            assert_eq!(count, 3 + u64::try_from(usage.fields().len()).unwrap());
            assert_eq!(decoder.str().unwrap(), SUITE_LABEL);
            assert_eq!(decoder.u16().unwrap(), usage.number());
            assert_eq!(decoder.bytes().unwrap().len(), 32);
            for field in usage.fields() {
                match field {
                    Field::Bytes(len) => assert_eq!(decoder.bytes().unwrap().len(), *len),
                    Field::Uint => assert!(decoder.u64().is_ok()),
                }
            }
            assert_eq!(decoder.position(), context.as_bytes().len());
        }
    }

    #[test]
    #[should_panic(expected = "fields of block")]
    fn field_of_another_length_is_refused() {
        Context::new(Usage::Block, &[0; 32], &[Value::Bytes(&[0; 16]), Value::Bytes(&[0; 15])]);
    }

    #[test]
    fn named_constructors_fill_the_registered_fields() {
        let place = Place { organisation: [1; 32], workspace: [2; 16], compartment: [3; 16] };
        let author = Author { device: [4; 16], incarnation: 5, counter: 6 };
        assert_eq!(Context::block(&place).usage(), Usage::Block);
        assert_eq!(Context::commit_body(&place, 7, &author).usage(), Usage::CommitBody);
        for usage in [Usage::PageLeaf, Usage::PageInner, Usage::PageRoot] {
            assert_eq!(Context::page(usage, &place, 7).usage(), usage);
        }
        let record = Context::journal_record(&[1; 32], &[4; 16], 5, 6, &[7; 32]);
        assert_eq!(record.usage(), Usage::JournalRecord);
        let wrap = Context::journal_file_key(&[1; 32], &[4; 16], 5, 6);
        assert_eq!(wrap.usage(), Usage::JournalFileKeyWrap);
    }
}
