//! Where application keys are kept, and who can end them.
//!
//! An application key wraps the root of one application's keystore and is used for nothing else. It lives in custody
//! alone: [`Custody`] is the one door; [`file`], [`handed`], [`pkcs11`] and [`quorum`] are the kinds there are. All pass
//! [`conformance`]. What hangs from the root is `keystore/tree`'s; reading secrets from
//! variables, descriptors and credentials is the tools'.
//!
//! 1. A wrap is bound to organisation, application, generation, kind of custody and key id: a swapped provider or key is
//!    an error, never other plaintext.
//! 2. A kind says how its keys end ([`Description::ending`]), and that is what receipts repeat.
//! 3. Destroying is repeatable, and afterwards unwrapping fails.
//! 4. Wrapping and unwrapping wait for nobody's consent: what needs some is asked for by [`Custody::obtain`], apart, since who
//!    asks keeps nobody out meanwhile.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[doc(hidden)]
pub mod conformance;
mod error;
pub mod file;
pub mod handed;
pub mod pkcs11;
pub mod quorum;
#[doc(hidden)]
pub mod testing;
#[doc(hidden)]
pub mod vault;

use strongroom_crypto::seal;
use strongroom_crypto::secret::{CustodyKey, Secret, SecretBytes};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::ids::OrganisationId;
use strongroom_host::entropy::Entropy;
use strongroom_records::ids::{ApplicationId, KeyId};
pub use strongroom_records::receipt::Ending;

pub use error::{Error, ErrorKind, Result};

/// Kinds of custody. Numbers stand in contexts and receipts and are never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// A file of this machine with the keys in it.
    File = 1,
    /// A secret in a variable of the process.
    Environment = 2,
    /// A secret from a descriptor.
    Descriptor = 3,
    /// A secret that the service manager hands over as a file.
    Credential = 4,
    /// A token behind PKCS#11.
    Pkcs11 = 5,
    /// Shares that several devices hold.
    Quorum = 6,
    /// Memory of a test.
    Vault = 0x7fff,
}

impl Kind {
    /// Its number.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Its name in locators and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Environment => "env",
            Kind::Descriptor => "fd",
            Kind::Credential => "credential",
            Kind::Pkcs11 => "pkcs11",
            Kind::Quorum => "quorum",
            Kind::Vault => "vault",
        }
    }
}

/// What a kind of custody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Kind.
    pub kind: Kind,
    /// How its keys end.
    pub ending: Ending,
    /// Whether key bytes ever enter this process.
    pub is_extractable: bool,
}

/// Which application key, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// Organisation.
    pub organisation: OrganisationId,
    /// Application.
    pub application: ApplicationId,
    /// Generation of the key.
    pub generation: u64,
    /// The key.
    pub key: KeyId,
}

/// Keeps application keys.
pub trait Custody: Send + Sync {
    /// What kind it is.
    fn describe(&self) -> Description;

    /// Makes a key. Durable on return.
    ///
    /// # Errors
    /// `Exists` when there is one of that id, `Unavailable`, `Denied`.
    fn create(&self, place: &KeyPlace, entropy: &dyn Entropy) -> Result<()>;

    /// Whether a key can be used here without anybody being asked for it.
    fn is_at_hand(&self, _: &KeyPlace) -> bool {
        true
    }

    /// Asks whoever has to agree that a key is used here, if anybody has to, and waits for them: for minutes, perhaps.
    ///
    /// # Errors
    /// `NotFound` when it is not in custody (or no longer), `Unavailable` when too few agree, `Denied`.
    fn obtain(&self, _: &KeyPlace) -> Result<()> {
        Ok(())
    }

    /// Wraps a key under an application key.
    ///
    /// # Errors
    /// `NotFound` when it is not in custody (or no longer), `Unavailable`, also while it is not at hand, `Denied`.
    fn wrap(&self, place: &KeyPlace, key: &Secret<32>, entropy: &dyn Entropy) -> Result<Vec<u8>>;

    /// Unwraps.
    ///
    /// # Errors
    /// As [`Custody::wrap`]; `Corrupt` when the wrap is of another key, for another place, or changed.
    fn unwrap(&self, place: &KeyPlace, wrap: &[u8]) -> Result<Secret<32>>;

    /// Ends a key, as well as this kind can; fine if it is gone. Durable on return.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`.
    fn destroy(&self, application: &ApplicationId, key: &KeyId) -> Result<()>;

    /// Keys of an application that are in custody now. Empty where custody keeps no list: what it was handed.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`.
    fn list(&self, application: &ApplicationId) -> Result<Vec<KeyId>>;
}

/// Seals a key under the bytes of an application key: what software kinds do.
pub(crate) fn wrap_under(
    application_key: &CustodyKey,
    kind: Kind,
    place: &KeyPlace,
    key: &Secret<32>,
    entropy: &dyn Entropy,
) -> Vec<u8> {
    seal::seal(application_key, &context(kind, place), entropy.array(), key.expose())
}

/// Opens what [`wrap_under`] made.
pub(crate) fn unwrap_under(
    application_key: &CustodyKey,
    kind: Kind,
    place: &KeyPlace,
    wrap: &[u8],
) -> Result<Secret<32>> {
    let plain =
        seal::open(application_key, &context(kind, place), wrap).map_err(|_| Error::WRONG_KEY)?;
    secret_of(&plain)
}

fn secret_of(plain: &SecretBytes) -> Result<Secret<32>> {
    let bytes = plain.expose().try_into().map_err(|_| Error::WRONG_KEY)?;
    Ok(Secret::from_bytes(bytes))
}

/// What a wrap is bound to.
pub fn context(kind: Kind, place: &KeyPlace) -> Context {
    let fields = [
        Value::Bytes(&place.application.0),
        Value::Uint(place.generation),
        Value::Uint(u64::from(kind.number())),
        Value::Bytes(&place.key.0),
    ];
    Context::new(Usage::ApplicationKeyWrap, &place.organisation.0, &fields)
}
