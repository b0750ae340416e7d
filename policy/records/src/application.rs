//! Applications: the workspace's list of them, and each one's own description.

use minicbor::{Decode, Encode};

use crate::ids::{ApplicationId, ClassId, Hash};
use crate::log::Stand;

/// Longest name of an application, activity, consumer, purpose or class, in bytes.
pub const NAME_LEN_MAX: usize = 128;

/// Whether an application may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ApplicationState {
    /// Being made: its first record may be missing.
    #[n(1)]
    Making,
    /// In use.
    #[n(2)]
    Active,
    /// Nothing is released. Rotation, retention, export and erasure that are under way end at their next step, and are done by
    /// whoever asks for them again.
    #[n(3)]
    Disabled,
}

/// One line of the list of applications. A later line about the same application replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Listed {
    /// Which.
    #[n(0)]
    pub application: ApplicationId,
    /// Its name, one at a time in a workspace.
    #[n(1)]
    pub name: String,
    /// Where its key is kept: `file:PATH`, `env:NAME`, `fd:N`, `credential:NAME`, `pkcs11:…`.
    #[n(2)]
    pub custody: String,
    /// State.
    #[n(3)]
    pub state: ApplicationState,
    /// When it was made.
    #[n(4)]
    pub created: i64,
    /// Public key of the heads of its audit log.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub head_key: [u8; 32],
}

/// An application's own description, a cell of its register.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Description {
    /// Classes it declared beyond `identifiable` and `owned`.
    #[n(0)]
    pub classes: Vec<DeclaredClass>,
    /// What a profile must look like, as JSON; empty for any JSON object.
    #[n(1)]
    pub schema: String,
    /// How many different devices must stand behind an activity or a policy set.
    #[n(2)]
    pub approvals: u16,
    /// Longest lease in seconds, by class; a class without one has the default.
    #[n(3)]
    pub leases: Vec<(ClassId, u32)>,
    /// The rotation of everybody's keys that is on its way.
    #[n(4)]
    pub rotation: Option<Rotation>,
    /// Days that files are kept, by class, ascending; a class without is for ever.
    #[n(5)]
    pub retention: Vec<(ClassId, u32)>,
    /// Where the ledger of erasures is kept, apart from what is backed up.
    #[n(6)]
    pub ledger: Option<String>,
    /// A decision point of somebody else's that has to allow as well: where it is asked.
    #[n(7)]
    pub point: Option<String>,
    /// How long people are kept whom nobody has any use for; none is for ever.
    #[n(8)]
    pub idle: Option<IdleRule>,
}

/// How long people are kept whom nobody has any use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IdleRule {
    /// Days after the last use.
    #[n(0)]
    pub days: u32,
    /// The last of them, during which notice is given: nobody is erased with less.
    #[n(1)]
    pub notice_days: u32,
    /// When this was set: a notice from before is none.
    #[n(2)]
    pub since: i64,
}

/// A rotation of everybody's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rotation {
    /// Record that began it: a subject whose own number is not below is done.
    #[n(0)]
    pub began: u64,
    /// Whether everything is sealed anew.
    #[n(1)]
    pub deep: bool,
}

/// A class of data an application declared.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeclaredClass {
    /// Number.
    #[n(0)]
    pub class: ClassId,
    /// Name.
    #[n(1)]
    pub name: String,
    /// Whether it is of the special categories of Art. 9.
    #[n(2)]
    pub special: bool,
}

/// A policy set: in force, proposed, or one that was in force. Each is a cell of the register.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PolicySet {
    /// Rises with each set that is proposed.
    #[n(0)]
    pub version: u64,
    /// The policies, in the policy language.
    #[n(1)]
    pub text: String,
    /// SHA-256 of schema and policies, as the decision point computes it.
    #[n(2)]
    pub digest: Hash,
    /// Who approved it.
    #[n(3)]
    pub approvals: Vec<Approval>,
    /// When it came into force, or was proposed.
    #[n(4)]
    pub time: i64,
    /// Version of the one in force before; 0 for the built-in one.
    #[n(5)]
    pub previous: u64,
}

/// A device's signature under a policy set.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Approval {
    /// Device.
    #[n(0)]
    pub device: strongroom_format::ids::DeviceId,
    /// Signature of [`Approvable`].
    #[cbor(n(1), with = "minicbor::bytes")]
    pub signature: [u8; 64],
    /// Where it stood when it signed.
    #[n(2)]
    pub stand: Stand,
}

/// What a device signs when it approves a policy set.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Approvable {
    /// For which application.
    #[n(0)]
    pub application: ApplicationId,
    /// Version.
    #[n(1)]
    pub version: u64,
    /// Digest.
    #[n(2)]
    pub digest: Hash,
    /// Where the device stands.
    #[n(3)]
    pub stand: Stand,
}
