//! Identifiers and classes.

use minicbor::{Decode, Encode};

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; $len]);

        impl $name {
            /// Reads the hexadecimal digits that `Display` writes.
            pub fn parse(text: &str) -> Option<Self> {
                let digits = text.as_bytes();
                if digits.len() != 2 * $len || digits.iter().any(u8::is_ascii_uppercase) {
                    return None;
                }
                let mut bytes = [0; $len];
                for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
                    let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
                    *byte = u8::try_from(high? << 4 | low?).ok()?;
                }
                Some(Self(bytes))
            }
        }

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
    /// Application: random. All zero is none; its log is the workspace's list of applications.
    ApplicationId, 16
);
byte_id!(
    /// Person the data is about, within one application: random.
    SubjectId, 16
);
byte_id!(
    /// Activity: random. All zero is the application's own work.
    ActivityId, 16
);
byte_id!(
    /// File of a subject: random.
    FileId, 16
);
byte_id!(
    /// Keyed name of a subject: in the audit log, or for one activity.
    Pseudonym, 16
);
byte_id!(
    /// Key in custody: one generation of an application key. Random.
    KeyId, 16
);
byte_id!(
    /// Conversation of a consumer's device with a custodian. Random.
    SessionId, 16
);
byte_id!(
    /// SHA-256.
    Hash, 32
);

impl ApplicationId {
    /// The list of applications.
    pub const DIRECTORY: Self = Self([0; 16]);
}

impl ActivityId {
    /// The application's own work.
    pub const OWN: Self = Self([0; 16]);
}

impl Hash {
    /// Of nothing: what stands before the first of a chain.
    pub const NONE: Self = Self([0; 32]);
}

/// A class of data: a number that the application gives a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct ClassId(#[n(0)] pub u16);

impl ClassId {
    /// What identifies a subject: name, e-mail, address.
    pub const IDENTIFIABLE: Self = Self(1);
    /// What a subject owns.
    pub const OWNED: Self = Self(2);
    /// First number of the classes that an application declares itself.
    pub const DECLARED: Self = Self(16);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_show() {
        let id = SubjectId([0xab; 16]);
        assert_eq!(SubjectId::parse(&id.to_string()), Some(id));
        for bad in ["", "ab", &"AB".repeat(16), &"zz".repeat(16), &"ab".repeat(17)] {
            assert_eq!(SubjectId::parse(bad), None, "{bad}");
        }
    }
}
