//! Activities: one consumer × one purpose × one legal basis × a set of classes.

use minicbor::{Decode, Encode};
use strongroom_format::ids::DeviceId;

use crate::ids::{ActivityId, ClassId, Hash};

/// Longest notice.
pub const NOTICE_LEN_MAX: usize = 64 << 10;

/// Why it is lawful (GDPR Art. 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Basis {
    /// The subject agreed.
    #[n(1)]
    Consent,
    /// A contract with the subject.
    #[n(2)]
    Contract,
    /// A legal obligation.
    #[n(3)]
    LegalObligation,
    /// Vital interests.
    #[n(4)]
    VitalInterests,
    /// A task in the public interest.
    #[n(5)]
    PublicTask,
    /// A legitimate interest, unless the subject objects.
    #[n(6)]
    LegitimateInterest,
}

impl Basis {
    /// Its name in policies, answers and exports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Contract => "contract",
            Self::LegalObligation => "legal-obligation",
            Self::VitalInterests => "vital-interests",
            Self::PublicTask => "public-task",
            Self::LegitimateInterest => "legitimate-interest",
        }
    }
}

/// How far an activity has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ActivityState {
    /// Somebody asks for it. Nothing is released, nobody is asked.
    #[n(1)]
    Proposed,
    /// In force: with basis consent, an open question for every subject.
    #[n(2)]
    Approved,
    /// Stopped for now.
    #[n(3)]
    Suspended,
    /// Stopped for good.
    #[n(4)]
    Ended,
}

impl ActivityState {
    /// Its name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Approved => "approved",
            Self::Suspended => "suspended",
            Self::Ended => "ended",
        }
    }
}

/// What an activity does with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Reach {
    /// Reads.
    #[n(1)]
    Read,
    /// Reads and writes.
    #[n(2)]
    Write,
}

/// A registered processing activity.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Activity {
    /// Which.
    #[n(0)]
    pub id: ActivityId,
    /// Its name, one at a time in an application.
    #[n(1)]
    pub name: String,
    /// Who does it.
    #[n(2)]
    pub consumer: String,
    /// What for, dotted: `marketing.email`.
    #[n(3)]
    pub purpose: String,
    /// Why it is lawful.
    #[n(4)]
    pub basis: Basis,
    /// Classes it needs, ascending.
    #[n(5)]
    pub classes: Vec<ClassId>,
    /// What it does with them.
    #[n(6)]
    pub reach: Reach,
    /// To whom it passes them on.
    #[n(7)]
    pub recipients: Vec<String>,
    /// Days it keeps them; none is unlimited and shown as such.
    #[n(8)]
    pub retention_days: Option<u32>,
    /// End of the activity.
    #[n(9)]
    pub expires: Option<i64>,
    /// What subjects are told.
    #[n(10)]
    pub notice: String,
    /// SHA-256 of the notice.
    #[n(11)]
    pub notice_hash: Hash,
    /// State.
    #[n(12)]
    pub state: ActivityState,
    /// Device that proposed it.
    #[n(13)]
    pub proposed_by: DeviceId,
    /// When.
    #[n(14)]
    pub proposed_at: i64,
    /// Devices that approved it.
    #[n(15)]
    pub approved_by: Vec<DeviceId>,
    /// Hash of the program that may run it, if that is demanded.
    #[n(16)]
    pub code: Option<Hash>,
}

/// All activities of an application: one cell of the register.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Activities {
    /// In the order of their registration.
    #[n(0)]
    pub activities: Vec<Activity>,
}
