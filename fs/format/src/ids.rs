//! Identifiers.

use minicbor::{Decode, Encode};

/// Inode number: writer slot (23 bits) above a counter (40 bits); top bit 0. 0 is none, 1 is the root. The upper half of the counters is
/// for what is made without the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Ino(#[n(0)] pub u64);

impl Ino {
    /// The root folder of every workspace.
    pub const ROOT: Ino = Ino(1);

    /// Composes a number. Slot 0 is the first home's; its counter begins at 2.
    pub const fn compose(slot: u32, counter: u64) -> Self {
        Ino(((slot as u64) << 40) | (counter & ((1 << 40) - 1)))
    }

    /// Writer slot that gave the number.
    pub const fn slot(self) -> u32 {
        (self.0 >> 40) as u32
    }

    /// Place in its slot.
    pub const fn counter(self) -> u64 {
        self.0 & ((1 << 40) - 1)
    }

    /// First of the counters that are given without the store.
    pub const FAR_COUNTER: u64 = 1 << 39;

    /// Whether the number was given without the store.
    pub const fn is_far(self) -> bool {
        self.counter() >= Self::FAR_COUNTER
    }

    /// First counter that is given in a slot: the root folder has the one before in the first.
    pub const fn first_counter(slot: u32) -> u64 {
        if slot == 0 { 2 } else { 1 }
    }
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; $len]);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

byte_id!(
    /// Organisation: SHA-256 of its genesis record.
    OrganisationId, 32
);
byte_id!(
    /// Workspace: random.
    WorkspaceId, 16
);
byte_id!(
    /// Device: random.
    DeviceId, 16
);
byte_id!(
    /// Member: a person; random.
    MemberId, 16
);
byte_id!(
    /// Compartment inside a workspace: random; all zero is compartment 0, the ordinary files.
    CompartmentId, 16
);
byte_id!(
    /// Object in the store: random, chosen before its content.
    ObjectId, 16
);
byte_id!(
    /// Snapshot: random.
    SnapshotId, 16
);
byte_id!(
    /// Hash of sealed bytes: BLAKE3-256, or SHA-256 where the field says so.
    Digest, 32
);

impl CompartmentId {
    /// The workspace's ordinary files.
    pub const ORDINARY: CompartmentId = CompartmentId([0; 16]);
}
