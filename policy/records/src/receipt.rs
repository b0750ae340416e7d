//! Receipts: what was done, signed, to be verified by somebody who trusts nobody here.
//!
//! ```text
//! magic "SRr1" · length u32 · receipt, canonical CBOR · signature 64 by the device
//! ```

use minicbor::{Decode, Encode};
use strongroom_format::ids::{DeviceId, OrganisationId};

use crate::ids::{ApplicationId, Hash, KeyId, Pseudonym, SubjectId};
use crate::subject::{Consent, Named};

/// First bytes of a receipt.
pub const MAGIC: [u8; 4] = *b"SRr1";
/// Longest receipt.
pub const RECEIPT_LEN_MAX: usize = 1 << 20;

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Receipt {
    /// Organisation whose device signs.
    #[n(0)]
    pub organisation: OrganisationId,
    /// Application.
    #[n(1)]
    pub application: ApplicationId,
    /// Device that signs.
    #[n(2)]
    pub device: DeviceId,
    /// When.
    #[n(3)]
    pub time: i64,
    /// Record of the register that it speaks of.
    #[n(4)]
    pub position: u64,
    /// What was done.
    #[n(5)]
    pub deed: Deed,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Deed {
    /// A consent changed.
    #[n(1)]
    Consent(#[n(0)] ConsentDeed),
    /// A subject was erased.
    #[n(2)]
    Erasure(#[n(0)] Box<ErasureDeed>),
    /// A subject was exported.
    #[n(3)]
    Export(#[n(0)] ExportDeed),
    /// An application key was changed.
    #[n(4)]
    Rotation(#[n(0)] Destroyed),
    /// A subject's keys were changed.
    #[n(5)]
    SubjectRotation(#[n(0)] Box<SubjectRotationDeed>),
    /// An erasure was asked for: a line of the ledger.
    #[n(6)]
    ErasureReceived(#[n(0)] ReceivedDeed),
    /// The ledger goes on at another place: a line of the ledger.
    #[n(7)]
    LedgerMoved(#[n(0)] MovedDeed),
    /// A subject said something of their data: a line of the ledger.
    #[n(8)]
    Said(#[n(0)] SaidDeed),
    /// A register has all that stands above: a line of the ledger.
    #[n(9)]
    LedgerReplayed(#[n(0)] ReplayedDeed),
}

/// What a subject said that a copy from before must not forget.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SaidDeed {
    /// Who, by the name of the audit log.
    #[n(0)]
    pub subject: Pseudonym,
    /// Slot of the subject key.
    #[n(1)]
    pub slot: u64,
    /// SHA-256 of the header of the record before the one it stands in: what takes something away is in the ledger first.
    #[n(2)]
    pub before: Hash,
    /// A [`Said`], sealed under the subject's audit key.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub said: Vec<u8>,
}

/// What a line of the ledger says that somebody said.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Said {
    /// An answer, as it stands in the register.
    #[n(1)]
    Consent(#[n(0)] Consent),
    /// Their data is restricted.
    #[n(2)]
    Restricted,
    /// It is no longer.
    #[n(3)]
    Unrestricted,
}

/// A register that has it all.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReplayedDeed {
    /// SHA-256 of the header of its newest record.
    #[n(0)]
    pub record: Hash,
}

/// A ledger that goes on elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MovedDeed {
    /// The place, as applications name it.
    #[n(0)]
    pub to: String,
}

/// An erasure that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReceivedDeed {
    /// Whose, by the name of the audit log.
    #[n(0)]
    pub subject: Pseudonym,
    /// Slot of the subject key.
    #[n(1)]
    pub slot: u64,
    /// SHA-256 of the header of the record it stands in: no other register has that record.
    #[n(2)]
    pub record: Hash,
    /// Of whom they became a part.
    #[n(3)]
    pub into: Option<Named>,
}

/// A change of a subject's keys.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SubjectRotationDeed {
    /// Whose, by the name of the audit log.
    #[n(0)]
    pub subject: Pseudonym,
    /// Generation of the subject key from now on.
    #[n(1)]
    pub generation: u64,
    /// Commitment of the key before.
    #[n(2)]
    pub before: Hash,
    /// Commitment of the key after.
    #[n(3)]
    pub after: Hash,
    /// Files sealed anew.
    #[n(4)]
    pub files: u64,
    /// Bytes of them.
    #[n(5)]
    pub bytes: u64,
    /// What became of the application key that led to the old one.
    #[n(6)]
    pub destroyed: Destroyed,
}

/// A consent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ConsentDeed {
    /// Whose.
    #[n(0)]
    pub subject: SubjectId,
    /// The consent as recorded.
    #[n(1)]
    pub consent: Consent,
    /// Name of the activity, its consumer and its purpose.
    #[n(2)]
    pub activity: (String, String, String),
}

/// An erasure.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ErasureDeed {
    /// Whose, by the name of the audit log.
    #[n(0)]
    pub subject: Pseudonym,
    /// Record of the ledger entry.
    #[n(1)]
    pub received: u64,
    /// Commitment of the subject key, the same value as stood in the register.
    #[n(2)]
    pub commitment: Hash,
    /// Slot that is empty now.
    #[n(3)]
    pub slot: u64,
    /// Root of the keystore before.
    #[n(4)]
    pub root_before: Hash,
    /// And after.
    #[n(5)]
    pub root_after: Hash,
    /// The nodes from the root after to the place where the slot was: their bytes, root first.
    #[n(6)]
    pub path: Vec<minicbor::bytes::ByteVec>,
    /// Count of wraps that were dropped or made anew.
    #[n(7)]
    pub wrap_count: u64,
    /// What custody says of the old application key.
    #[n(8)]
    pub destroyed: Destroyed,
    /// Objects removed from the store.
    #[n(9)]
    pub objects_removed: u64,
    /// Objects that could not be removed.
    #[n(10)]
    pub objects_left: u64,
    /// Until when something may still open an archive: none where custody can't promise an end.
    #[n(11)]
    pub irrecoverable_from: Option<i64>,
    /// What this proves and what it can't.
    #[n(12)]
    pub statement: String,
    /// Files that were about others as well: nobody can open them any more, those others neither.
    #[cbor(n(13), default, skip_if = "crate::subject::is_none")]
    pub joint_files: u64,
    /// Of whom the subject became a part: nothing but the second subject is gone.
    #[n(14)]
    pub into: Option<Named>,
}

/// The end of an application key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Destroyed {
    /// Kind of custody.
    #[n(0)]
    pub provider: u16,
    /// Key.
    #[n(1)]
    pub key: KeyId,
    /// Its generation.
    #[n(2)]
    pub generation: u64,
    /// How it ends there.
    #[n(3)]
    pub ending: Ending,
    /// Whether unwrapping was tried afterwards and refused.
    #[n(4)]
    pub refused_afterwards: bool,
}

/// What destroying a key means in a kind of custody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Ending {
    /// Gone with the answer; a copy of the device's memory doesn't bring it back.
    #[n(1)]
    Immediate,
    /// Removed as well as the medium allows: an old copy of it still opens what it opened.
    #[n(2)]
    BestEffort,
    /// Somebody else holds the secret; only they can end it.
    #[n(3)]
    NotOurs,
}

/// An export.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ExportDeed {
    /// Whose.
    #[n(0)]
    pub subject: SubjectId,
    /// SHA-256 of the list of files with their hashes.
    #[n(1)]
    pub manifest: Hash,
    /// Files in it.
    #[n(2)]
    pub files: u64,
    /// Bytes of the subject's own files.
    #[n(3)]
    pub bytes: u64,
    /// Entries about the subject that it shows: those numbered from 1 to this one.
    #[n(4)]
    pub entries: u64,
    /// SHA-256 of the leaf of the last of them.
    #[n(5)]
    pub last_entry: Hash,
}
