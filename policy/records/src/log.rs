//! Records of a register, and the entries of its audit log.
//!
//! ```text
//! 0     magic "SRp1"
//! 4     length of the header u32
//! 8     header, canonical CBOR
//!       signature 64              by the device, over SHA-256 of the header
//!       body                      sealed, to the end; its SHA-256 is in the header; none in a closing record
//! ```

use minicbor::{Decode, Encode};
use strongroom_crypto::hash::sha256;
use strongroom_format::cbor;
use strongroom_format::error::{Error, ErrorKind, Result};
use strongroom_format::ids::DeviceId;

use crate::frame::Signed;
use crate::ids::{ActivityId, ApplicationId, ClassId, Hash, Pseudonym};
use crate::keystore::Root;

/// First bytes of a record.
pub const MAGIC: [u8; 4] = *b"SRp1";
/// Longest header.
pub const HEADER_LEN_MAX: usize = 4 << 10;
/// Longest record.
pub const RECORD_LEN_MAX: usize = 64 << 20;
/// Suite of algorithms.
pub const SUITE: u16 = 1;

/// Clear part of a record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// Suite: 1.
    #[n(0)]
    pub suite: u16,
    /// Whose register.
    #[n(1)]
    pub application: ApplicationId,
    /// Number from 0.
    #[n(2)]
    pub seq: u64,
    /// SHA-256 of the header before; none for 0.
    #[n(3)]
    pub parent: Hash,
    /// Who wrote it.
    #[n(4)]
    pub device: DeviceId,
    /// The writer's clock; shown, and what leases count from.
    #[n(5)]
    pub time: i64,
    /// Entries in the audit tree, this record's included.
    #[n(6)]
    pub tree_size: u64,
    /// Root of the audit tree.
    #[n(7)]
    pub tree_root: Hash,
    /// Signature of the head as a C2SP note, by the register's head key; empty in the list of applications.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub head_signature: Vec<u8>,
    /// SHA-256 of the sealed body.
    #[n(9)]
    pub body_hash: Hash,
    /// Epoch of the workspace key that seals the body; 0 where the register key does.
    #[n(10)]
    pub epoch: u64,
    /// Where the writer stood.
    #[n(11)]
    pub stand: Stand,
    /// Root of the keystore as of this record; none in the list of applications.
    #[n(12)]
    pub keystore: Option<Root>,
    /// Which register key seals the body; none for the first one.
    #[n(13)]
    pub key: Option<KeyInForce>,
}

impl Header {
    /// Whether the record carries a newer stand and changes nothing else. It has no body, so that whoever has no key of the
    /// log can append it.
    pub fn is_closing(&self) -> bool {
        self.body_hash.0 == sha256(&[])
    }

    /// Generation of the register key that seals the body, and cells that the record writes.
    pub fn generation(&self) -> u64 {
        self.key.map_or(0, |key| key.generation)
    }
}

/// The register key in force as of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyInForce {
    /// Its generation, from 1: the first key has none of this.
    #[n(0)]
    pub generation: u64,
    /// The record that it came into force with.
    #[n(1)]
    pub first: u64,
    /// Whether every cell is sealed under it: no cell of an older record is taken any more.
    #[n(2)]
    pub is_whole: bool,
}

impl KeyInForce {
    /// Whether a record may have this one behind a record that had another, or none.
    pub fn follows(this: Option<Self>, before: Option<Self>, seq: u64) -> bool {
        let Some(own) = this else { return before.is_none() };
        if before.map_or(0, |before| before.generation) + 1 == own.generation {
            return own.first == seq && !own.is_whole;
        }
        before.is_some_and(|before| {
            let is_same = (before.generation, before.first) == (own.generation, own.first);
            is_same && own.is_whole >= before.is_whole
        })
    }
}

/// Where somebody stood in the organisation's log when they signed: whose signatures counted then is read from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Stand {
    /// Position of the newest record they knew.
    #[n(0)]
    pub position: u64,
    /// Its SHA-256.
    #[n(1)]
    pub head: Hash,
}

/// A parsed record. Signature and chain are for `policy/audit` to verify.
pub struct Record<'b> {
    /// Header.
    pub header: Header,
    /// The frame it came in.
    pub signed: Signed<'b>,
}

impl<'b> Record<'b> {
    /// Parses a record and compares the body with its hash.
    ///
    /// # Errors
    /// `Corrupt` when it is none, `Unsupported` when a newer version wrote it.
    pub fn parse(bytes: &'b [u8]) -> Result<Self> {
        if bytes.len() > RECORD_LEN_MAX {
            return Err(Error::new(ErrorKind::Corrupt, "register record longer than allowed"));
        }
        let signed = Signed::parse(MAGIC, HEADER_LEN_MAX, bytes)?;
        let header: Header = cbor::decode_canonical(signed.record)?;
        if header.suite != SUITE {
            return Err(Error::new(ErrorKind::Unsupported, "register record of a newer suite"));
        }
        if sha256(signed.rest) != header.body_hash.0 {
            return Err(Error::new(ErrorKind::Corrupt, "the body is not the one of its header"));
        }
        Ok(Self { header, signed })
    }
}

/// What is sealed in a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Body {
    /// New entries of the audit log.
    #[n(0)]
    pub entries: Vec<Logged>,
    /// What changes in the register, opaque to the log.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
}

/// An entry as it lies in a body.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Logged {
    /// The leaf: an [`Entry`], encoded. What the tree hashes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub leaf: Vec<u8>,
    /// Detail, sealed under the subject's audit key; empty for none. The leaf has its hash.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub detail: Vec<u8>,
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// An application was created.
    #[n(1)]
    ApplicationCreated,
    /// Its key was changed.
    #[n(2)]
    ApplicationRotated,
    /// It was finished, disabled or enabled, or its key is kept somewhere else: its line says.
    #[n(3)]
    ApplicationState,
    /// A subject was created.
    #[n(4)]
    SubjectCreated,
    /// An activity was proposed.
    #[n(5)]
    ActivityProposed,
    /// An activity was approved, suspended or ended.
    #[n(6)]
    ActivityState,
    /// A subject's consent changed.
    #[n(7)]
    Consent,
    /// A request for a subject's data was decided.
    #[n(8)]
    Access,
    /// An export of a subject was made.
    #[n(9)]
    Export,
    /// An erasure was asked for: the ledger entry.
    #[n(10)]
    ErasureReceived,
    /// The subject's key is no longer in the keystore.
    #[n(11)]
    ErasureKeys,
    /// The old application key is destroyed, the receipt made.
    #[n(12)]
    ErasureClosed,
    /// An erasure was refused.
    #[n(13)]
    ErasureRefused,
    /// A hold was placed on or lifted from a subject.
    #[n(14)]
    Hold,
    /// A policy set was put in force.
    #[n(15)]
    Policy,
    /// A subject was restricted, or no longer.
    #[n(16)]
    Restriction,
    /// A subject's keys were changed.
    #[n(17)]
    SubjectRotated,
    /// Somebody looked a subject up, or listed them.
    #[n(18)]
    Lookup,
    /// A schema or class was declared.
    #[n(19)]
    Declared,
    /// Files of a subject were removed.
    #[n(20)]
    Removed,
    /// Two subjects were one person.
    #[n(21)]
    Merged,
    /// The register's own key was changed, or everything is sealed under the one that is new.
    #[n(30)]
    RegisterRotated,
    /// Files were opened: one is about to be read by its name, or several were under a lease, as a consumer's device says itself.
    #[n(31)]
    Opened,
    /// A consumer's device has let go of what it may no longer have, as it says itself.
    #[n(32)]
    LetGo,
    /// Notice was given that a subject is erased if nobody has a use for it.
    #[n(33)]
    Noticed,
    /// The ledger was given up without being read: nothing is known of what it alone knew.
    #[n(34)]
    LedgerLost,
}

/// Allowed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Outcome {
    /// Allowed.
    #[n(1)]
    Allow,
    /// Refused.
    #[n(2)]
    Deny,
}

/// A leaf of the audit tree. No free text, no names, no content.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// What it is about.
    #[n(0)]
    pub kind: Kind,
    /// The custodian's clock.
    #[n(1)]
    pub time: i64,
    /// Record that it stands in.
    #[n(2)]
    pub seq: u64,
    /// Device of the operator.
    #[n(3)]
    pub operator: DeviceId,
    /// Activity.
    #[n(4)]
    pub activity: Option<ActivityId>,
    /// Class of data.
    #[n(5)]
    pub class: Option<ClassId>,
    /// Decision and what it followed from.
    #[n(6)]
    pub judgement: Option<Judgement>,
    /// The subject it is about.
    #[n(7)]
    pub about: Option<About>,
    /// SHA-256 of the sealed detail.
    #[n(8)]
    pub detail: Option<Hash>,
    /// SHA-256 of what was put in force or handed out: a policy set, an export, a receipt.
    #[n(9)]
    pub object: Option<Hash>,
}

/// What a decision followed from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Judgement {
    /// Allowed or not.
    #[n(0)]
    pub outcome: Outcome,
    /// Action, by its number in `strongroom-authorizer`.
    #[n(1)]
    pub action: u16,
    /// Why, by its number in `strongroom-authorizer`; 0 for allowed.
    #[n(2)]
    pub reason: u16,
    /// Deciding policies: first 8 bytes of the SHA-256 of their ids.
    #[n(3)]
    pub policies: Vec<u64>,
    /// Digest of the policy set.
    #[n(4)]
    pub policy_set: Hash,
    /// Record of the consent it stands on.
    #[n(5)]
    pub consent: Option<u64>,
    /// When what was released ends.
    #[n(6)]
    pub lease_end: Option<i64>,
}

/// Place of an entry in the chain of one subject's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct About {
    /// Who, by the name of the audit log.
    #[n(0)]
    pub subject: Pseudonym,
    /// Their own number, from 1.
    #[n(1)]
    pub number: u64,
    /// SHA-256 of their leaf before; none for the first.
    #[n(2)]
    pub previous: Hash,
    /// Record of their entry before; none for the first.
    #[n(3)]
    pub previous_seq: Option<u64>,
}

/// The text of a head as a C2SP checkpoint note, without signatures.
pub fn head_note(application: &ApplicationId, size: u64, root: &Hash) -> String {
    format!("{}\n{size}\n{}\n", head_origin(application), base64(&root.0))
}

/// The origin line of an application's heads, which is also the name of their key.
pub fn head_origin(application: &ApplicationId) -> String {
    format!("strongroom/audit/{application}")
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).expect("six bits");
            text.push(if place <= chunk.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_key_is_followed_by_itself_or_by_the_next_one_and_never_by_one_before() {
        let key = |generation, first, is_whole| Some(KeyInForce { generation, first, is_whole });
        let old = key(1, 4, true);
        for (this, before, follows) in [
            (None, None, true),
            (None, old, false),
            (key(1, 9, false), None, true),
            (key(1, 8, false), None, false),
            (key(1, 9, true), None, false),
            (key(2, 9, false), None, false),
            (old, old, true),
            (old, key(1, 4, false), true),
            (key(1, 4, false), old, false),
            (key(1, 9, true), old, false),
            (key(2, 9, false), old, true),
            (key(2, 9, false), key(1, 4, false), true),
            (key(2, 4, false), old, false),
            (old, key(2, 6, true), false),
        ] {
            assert_eq!(KeyInForce::follows(this, before, 9), follows, "{this:?} {before:?}");
        }
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }
}
