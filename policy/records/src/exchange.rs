//! What a consumer's device and a custodian write to each other: asks, sealed to the custodian's device, and answers, sealed to a
//! key that lives as long as their session; all signed by the own one, so that whatever carries them learns who writes to whom and when, and no more.
//!
//! ```text
//! 0     magic "SRy1" ask · "SRz1" answer · "SRx1" counter
//! 4     length of the envelope u32
//! 8     envelope, canonical CBOR
//!       signature 64              by the sender's device, over SHA-256 of the envelope
//!       body                      wrapped to the recipient, to the end; its SHA-256 is in the envelope
//! ```
//!
//! A counter, which says where a custodian serves, has no body.

use minicbor::{Decode, Encode};
use strongroom_format::device::Secret32;
use strongroom_format::error::{Error, ErrorKind, Result};
use strongroom_format::ids::{DeviceId, OrganisationId, WorkspaceId};
use strongroom_format::organisation::KEM_KEY_LEN;
use zeroize::Zeroizing;

use crate::ids::{ApplicationId, ClassId, FileId, Hash, Pseudonym, SessionId, SubjectId};
use crate::subject::File;

/// First bytes of an ask.
pub const ASK_MAGIC: [u8; 4] = *b"SRy1";
/// First bytes of an answer.
pub const ANSWER_MAGIC: [u8; 4] = *b"SRz1";
/// First bytes of a counter.
pub const COUNTER_MAGIC: [u8; 4] = *b"SRx1";
/// Longest envelope, and counter.
pub const ENVELOPE_LEN_MAX: usize = 4096;
/// Longest ask.
pub const ASK_LEN_MAX: usize = 1 << 20;
/// Longest answer.
pub const ANSWER_LEN_MAX: usize = 64 << 20;
/// Suite of algorithms.
pub const SUITE: u16 = 1;

/// Outside of a letter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Envelope {
    /// Suite of algorithms: 1.
    #[n(0)]
    pub suite: u16,
    /// Organisation of both.
    #[n(1)]
    pub organisation: OrganisationId,
    /// Conversation: random, of the consumer's making.
    #[n(2)]
    pub session: SessionId,
    /// Which letter of it, in its direction, from 0 without gaps.
    #[n(3)]
    pub number: u64,
    /// Who writes.
    #[n(4)]
    pub from: DeviceId,
    /// To whom.
    #[n(5)]
    pub to: DeviceId,
    /// Life of the custodian's counter that answers; in an ask the one last heard of, 0 for none. Random.
    #[n(6)]
    pub incarnation: u64,
    /// The writer's clock.
    #[n(7)]
    pub time: i64,
    /// SHA-256 of the sealed body.
    #[n(8)]
    pub body_hash: Hash,
}

/// Where a custodian serves consumers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CounterNote {
    /// Suite of algorithms: 1.
    #[n(0)]
    pub suite: u16,
    /// Organisation.
    #[n(1)]
    pub organisation: OrganisationId,
    /// Workspace.
    #[n(2)]
    pub workspace: WorkspaceId,
    /// The custodian's device.
    #[n(3)]
    pub device: DeviceId,
    /// Its life: random, new at each start.
    #[n(4)]
    pub incarnation: u64,
    /// When it began to serve.
    #[n(5)]
    pub time: i64,
}

/// What a consumer's device asks.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ask {
    /// Name of the application.
    #[n(0)]
    pub application: String,
    /// Name of the activity.
    #[n(1)]
    pub activity: String,
    /// Answers before this number have been taken in, and are in force.
    #[n(2)]
    pub heard: u64,
    /// What is needed; none for an ask that only says what was heard or opened, and that is not answered.
    #[n(3)]
    pub needs: Vec<Need>,
    /// What was opened under leases since the last ask.
    #[n(4)]
    pub opened: Vec<OpenedFiles>,
    /// Number of the answer that is looked for next: where a counter that does not know the session begins.
    #[n(5)]
    pub expects: u64,
    /// What answers are wrapped to: of this session, its private half in the device's memory only. An answer has class keys, and
    /// whoever keeps it keeps nothing once the session is over.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub answer_key: [u8; KEM_KEY_LEN],
}

/// Something a consumer needs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Need {
    /// Whom it may see, in the order of their names, from one on.
    #[n(1)]
    Page(#[n(0)] Pseudonym),
    /// To show somebody, with the names of their files.
    #[n(2)]
    Show(#[n(0)] SubjectId),
    /// To read somebody's files of a class.
    #[n(3)]
    Open(#[n(0)] SubjectId, #[n(1)] ClassId),
    /// To know that everything recorded before is in force.
    #[n(4)]
    Look,
    /// Nothing any more: the session ends.
    #[n(5)]
    End,
}

/// Files that were opened, as the device says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OpenedFiles {
    /// Whose.
    #[n(0)]
    pub subject: SubjectId,
    /// Of which class.
    #[n(1)]
    pub class: ClassId,
    /// Which, ascending.
    #[n(2)]
    pub files: Vec<FileId>,
}

/// What a custodian answers, or tells unasked.
#[derive(Debug, Encode, Decode)]
pub struct Answer {
    /// The application.
    #[n(0)]
    pub application: ApplicationId,
    /// Number of the ask it answers; none for what is told unasked.
    #[n(1)]
    pub to: Option<u64>,
    /// Why the whole ask is refused.
    #[n(2)]
    pub refusal: Option<Refusal>,
    /// What may no longer be used: shut before anything else.
    #[n(3)]
    pub gone: Vec<GoneClasses>,
    /// Whose files are other ones now: leases go on, and names are asked for anew.
    #[n(4)]
    pub changed: Vec<SubjectId>,
    /// What may be used, and for how long.
    #[n(5)]
    pub leases: Vec<Lease>,
    /// Where the next page begins; none at the end, and for what is no page.
    #[n(6)]
    pub next: Option<Pseudonym>,
}

/// Why nothing of an ask is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Refusal {
    /// There is no such activity, or this device is not for it.
    #[n(1)]
    Denied,
    /// Later, perhaps.
    #[n(2)]
    Unavailable,
    /// The register or the keystore is damaged.
    #[n(3)]
    Damaged,
    /// The application key is missing.
    #[n(4)]
    Locked,
}

/// Classes of a subject that may no longer be used.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GoneClasses {
    /// Whose.
    #[n(0)]
    pub subject: SubjectId,
    /// Which, ascending.
    #[n(1)]
    pub classes: Vec<ClassId>,
}

/// A class of somebody's data, for a while.
#[derive(Debug, Encode, Decode)]
pub struct Lease {
    /// Whose: what files are sealed for. Not to be shown.
    #[n(0)]
    pub subject: SubjectId,
    /// What the activity calls them.
    #[n(1)]
    pub pseudonym: Pseudonym,
    /// Of which class.
    #[n(2)]
    pub class: ClassId,
    /// Name of the class.
    #[n(3)]
    pub class_name: String,
    /// 1 to show what files there are, 2 to read them.
    #[n(4)]
    pub action: u16,
    /// How long, in nanoseconds, counted from before it was asked for.
    #[n(5)]
    pub life: u64,
    /// Record of the register that it stands in.
    #[n(6)]
    pub record: u64,
    /// To read: the class key, and older ones that files are still sealed under. None to show what files there are.
    #[n(7)]
    pub keys: Vec<LentKey>,
    /// The files.
    #[n(8)]
    pub files: Vec<File>,
}

/// A class key.
#[derive(Encode, Decode)]
pub struct LentKey {
    /// Its generation.
    #[n(0)]
    pub generation: u64,
    /// The key.
    #[n(1)]
    pub key: Secret32,
}

impl std::fmt::Debug for LentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LentKey({})", self.generation)
    }
}

impl Answer {
    /// Encodes it: there are keys in it.
    pub fn encoded(&self) -> Zeroizing<Vec<u8>> {
        crate::secret::encode(self)
    }
}

impl Envelope {
    /// Checks what every reader must.
    ///
    /// # Errors
    /// `Unsupported` when a newer suite wrote it.
    pub fn check(&self) -> Result<()> {
        match self.suite {
            SUITE => Ok(()),
            _ => Err(Error::new(ErrorKind::Unsupported, "a letter of a newer suite")),
        }
    }
}
