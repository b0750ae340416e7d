//! Secret bytes: wiped on drop, compared in constant time, never printed, never copied by accident.
//!
//! What a key may be used for is checked against [`crate::usage`]; where keys come from and how
//! long they live is the keyring's business.

use std::fmt;

use ctutils::CtEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Memory that somebody else keeps for a secret (a locked arena), and wipes when dropped.
pub trait Held<const N: usize>: AsRef<[u8; N]> + Send + Sync {}

impl<const N: usize, T: AsRef<[u8; N]> + Send + Sync> Held<N> for T {}

/// `N` secret bytes on the heap, wiped on drop. No Clone, Debug or serialisation.
pub struct Secret<const N: usize>(Place<N>);

enum Place<const N: usize> {
    Heap(Box<Zeroizing<[u8; N]>>),
    Held(Box<dyn Held<N>>),
}

impl<const N: usize> Secret<N> {
    /// Copies the bytes. The caller wipes its own copy.
    pub fn from_bytes(bytes: &[u8; N]) -> Self {
        let mut secret = Self::zero();
        secret.expose_mut().copy_from_slice(bytes);
        secret
    }

    /// Takes a secret that lives in memory kept elsewhere.
    pub fn held(home: Box<dyn Held<N>>) -> Self {
        Self(Place::Held(home))
    }

    /// Lets `write` put the bytes straight into their final place.
    pub fn fill_with(write: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self::zero();
        write(secret.expose_mut());
        secret
    }

    /// Shows the bytes.
    ///
    /// # Security
    /// A copy made from here is the caller's to wipe.
    pub fn expose(&self) -> &[u8; N] {
        match &self.0 {
            Place::Heap(bytes) => bytes,
            Place::Held(home) => home.as_ref().as_ref(),
        }
    }

    fn zero() -> Self {
        Self(Place::Heap(Box::new(Zeroizing::new([0; N]))))
    }

    fn expose_mut(&mut self) -> &mut [u8; N] {
        match &mut self.0 {
            Place::Heap(bytes) => bytes,
            Place::Held(_) => unreachable!("only fresh secrets on the heap are written"),
        }
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        equal(self.expose(), other.expose())
    }
}

impl<const N: usize> Eq for Secret<N> {}

/// Secret bytes of any length, wiped on drop.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over a buffer.
    ///
    /// # Security
    /// What the buffer left behind when it grew earlier is not wiped: reserve before filling.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Shows the bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the buffer away unwiped: for contents that are not keys.
    pub fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl Eq for SecretBytes {}

macro_rules! inline_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Copies the bytes.
            pub fn from_bytes(bytes: &[u8; 32]) -> Self {
                Self(*bytes)
            }

            /// Shows the bytes.
            pub fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                equal(&self.0, &other.0)
            }
        }

        impl Eq for $name {}

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?;
                Ok(())
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                let wrong = |_| minicbor::decode::Error::message("not a 32-byte key");
                Ok(Self::from_bytes(d.bytes()?.try_into().map_err(wrong)?))
            }
        }
    };
}

inline_type!(
    /// Key of one block, kept inline because extents hold thousands of them.
    ///
    /// `Clone` is allowed here and on no other key: an extent that is split or shared by a reflink keeps
    /// its block, so both halves need the same key.
    BlockKey
);

inline_type!(
    /// What one of several people has of the key of a file about all of them: nothing without the others'. Kept inline, in the
    /// sealed list of their files.
    KeyShare
);

impl KeyShare {
    /// The key that all shares of a file make.
    pub fn join<'s>(shares: impl IntoIterator<Item = &'s Self>) -> JointKey {
        let shares = shares.into_iter();
        JointKey(Secret::fill_with(|key| {
            for share in shares {
                key.iter_mut().zip(share.expose()).for_each(|(byte, own)| *byte ^= own);
            }
        }))
    }
}

macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(PartialEq, Eq)]
        pub struct $name(Secret<$len>);

        impl $name {
            /// Copies the bytes. The caller wipes its own copy.
            pub fn from_bytes(bytes: &[u8; $len]) -> Self {
                Self(Secret::from_bytes(bytes))
            }

            /// Shows the bytes.
            ///
            /// # Security
            /// A copy made from here is the caller's to wipe.
            pub fn expose(&self) -> &[u8; $len] {
                self.0.expose()
            }
        }

        impl From<Secret<$len>> for $name {
            fn from(secret: Secret<$len>) -> Self {
                Self(secret)
            }
        }
    };
}

key_type!(
    /// Key of a compartment's epoch: seals commit bodies and checkpoint pages.
    EpochKey, 32
);
key_type!(
    /// History key of an epoch: seals the back-link to the epoch before.
    HistoryKey, 32
);
key_type!(
    /// The device's journal key: wraps the keys of journal files.
    JournalKey, 32
);
key_type!(
    /// Key of one journal file: seals its records.
    JournalFileKey, 32
);
key_type!(
    /// Opens the device file: Argon2id of the passphrase, or a key from custody.
    DeviceFileKey, 32
);
key_type!(
    /// The device's key for hedged salts.
    HedgeKey, 32
);
key_type!(
    /// An application's key of one generation: wraps the root of its keystore. Custody alone has it.
    CustodyKey, 32
);
key_type!(
    /// Key of a keystore node: wraps the keys of the nodes or leaves below.
    NodeKey, 32
);
key_type!(
    /// A subject's key, random, in a keystore leaf and nowhere else: wraps their class keys.
    SubjectKey, 32
);
key_type!(
    /// A subject's audit key: what was agreed and what was done, and outlives the data.
    AuditKey, 32
);
key_type!(
    /// Key of one subject's data of one class.
    ClassKey, 32
);
key_type!(
    /// Key of one file about several people, made of a share of each.
    JointKey, 32
);
key_type!(
    /// Key of an application's register.
    RegisterKey, 32
);
key_type!(
    /// Key of one bucket of look-up rows.
    BucketKey, 32
);
key_type!(
    /// Key of the hash that places names in a folder (SipHash).
    NameKey, 16
);

/// Compares in constant time; the lengths are public.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).to_bool()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_compare_by_content() {
        assert!(Secret::from_bytes(&[7; 32]) == Secret::from_bytes(&[7; 32]));
        assert!(Secret::from_bytes(&[7; 32]) != Secret::from_bytes(&[8; 32]));
        assert!(!equal(b"ab", b"abc"));
    }

    #[test]
    fn held_secret_shows_what_its_home_holds() {
        struct Home([u8; 16]);
        impl AsRef<[u8; 16]> for Home {
            fn as_ref(&self) -> &[u8; 16] {
                &self.0
            }
        }
        assert_eq!(Secret::held(Box::new(Home([3; 16]))).expose(), &[3; 16]);
    }

    #[test]
    fn only_all_shares_make_the_key() {
        let shares = [1, 2, 0x84].map(|byte| KeyShare::from_bytes(&[byte; 32]));
        assert_eq!(KeyShare::join(&shares).expose(), &[0x87; 32]);
        assert_eq!(KeyShare::join(&shares[..2]).expose(), &[3; 32]);
    }

    #[test]
    fn block_key_prints_no_byte() {
        assert_eq!(format!("{:?}", BlockKey::from_bytes(&[0xab; 32])), "BlockKey(..)");
    }

    #[test]
    fn block_key_is_a_cbor_byte_string_of_32() {
        let sealed = minicbor::to_vec(BlockKey::from_bytes(&[9; 32])).unwrap();
        assert_eq!(sealed.len(), 34);
        assert_eq!(sealed[..2], [0x58, 32]);
        assert!(minicbor::decode::<BlockKey>(&sealed).unwrap() == BlockKey::from_bytes(&[9; 32]));
        let short = minicbor::to_vec(minicbor::bytes::ByteVec::from(vec![9; 31])).unwrap();
        assert!(minicbor::decode::<BlockKey>(&short).is_err());
    }
}
