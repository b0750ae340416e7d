//! A security module behind PKCS#11: application keys that never leave it, and end at once.
//!
//! Each application key is an AES-256 key object of the token, not extractable. The token binds no context to what it
//! wraps, so it wraps a fresh random key (AES key wrap, RFC 3394), and that key seals what is to be wrapped, bound to its
//! place as everywhere:
//!
//! ```text
//! wrap = wrapped key 40 · sealed key 104
//! ```
//!
//! 1. Nothing is remembered here of keys: each call asks the token for the object, so a key that somebody else destroyed
//!    is gone at once.
//! 2. A refused PIN is never tried again by this process (`refused`): three in a row lock most tokens.
//!
//! Reading the PIN is the tools'.

mod errors;
mod locator;
mod refused;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use strongroom_crypto::hash::sha256;
use strongroom_crypto::secret::{CustodyKey, Secret, SecretBytes};
use strongroom_host::entropy::Entropy;
use strongroom_records::ids::{ApplicationId, KeyId};
use zeroize::Zeroizing;

use crate::{Custody, Description, Ending, Error, ErrorKind, KeyPlace, Kind, Result};

pub use locator::Locator;

use errors::{is_lost_session, is_refused_wrap, translate};
use refused::{Try, unless_refused};

/// Bytes of a 32-byte key under AES key wrap.
const WRAPPED_KEY_LEN: usize = 40;

/// Custody in a token.
pub struct Token {
    place: Locator,
    pin: AuthPin,
    pin_hash: [u8; 32],
    session: Mutex<Option<Session>>,
}

impl Token {
    /// Custody in the token of that place. Opens a session, so that a wrong PIN or a missing token is told here.
    ///
    /// # Errors
    /// `Invalid` when the module is no PKCS#11 module; `Unavailable` when there is no such token; `Denied` for a refused
    /// PIN.
    pub fn open(place: Locator, pin: Zeroizing<String>) -> Result<Self> {
        let pin_hash = sha256(pin.as_bytes());
        let pin = AuthPin::from(pin.as_str());
        let token = Self { place, pin, pin_hash, session: Mutex::default() };
        token.with(|_| Ok(()))?;
        Ok(token)
    }

    /// Does something in a session; in a new one if the old one was lost, because the token was taken out or reset.
    fn with<T>(&self, act: impl Fn(&Session) -> std::result::Result<T, TokenError>) -> Result<T> {
        let mut held = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*held {
            match act(session) {
                Err(error) if is_lost_session(&error) => *held = None,
                done => return done.map_err(|error| translate(&error)),
            }
        }
        let session = self.log_in()?;
        let done = act(&session).map_err(|error| translate(&error));
        *held = Some(session);
        done
    }

    fn log_in(&self) -> Result<Session> {
        let module = module(&self.place.module)?;
        let slot = self.slot(&module)?;
        let token = module.get_token_info(slot).map_err(|error| translate(&error))?;
        let session = module.open_rw_session(slot).map_err(|error| translate(&error))?;
        let own = Try {
            module: self.place.module.clone(),
            token: [token.label(), token.serial_number()].map(str::to_owned),
            pin_hash: self.pin_hash,
        };
        unless_refused(own, || match session.login(UserType::User, Some(&self.pin)) {
            // Logging in is per process: another custody here has done it.
            Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => Err(translate(&error)),
        })?;
        Ok(session)
    }

    /// The slot whose token has the name or number of the locator; one that fits twice is refused.
    fn slot(&self, module: &Pkcs11) -> Result<Slot> {
        let missing = || Error::new(ErrorKind::Unavailable, "there is no such token in the module");
        let mut found = None;
        for slot in module.get_slots_with_token().map_err(|error| translate(&error))? {
            let Ok(token) = module.get_token_info(slot) else { continue };
            let is_it = |wanted: &Option<String>, own: &str| {
                wanted.as_ref().is_none_or(|wanted| wanted == own.trim_end())
            };
            let fits = token.token_initialized()
                && is_it(&self.place.token, token.label())
                && is_it(&self.place.serial, token.serial_number());
            if fits && found.replace(slot).is_some() {
                let message = "more than one token fits: name it by `token` and `serial`";
                return Err(Error::new(ErrorKind::Invalid, message));
            }
        }
        found.ok_or_else(missing)
    }
}

impl Custody for Token {
    fn describe(&self) -> Description {
        Description { kind: Kind::Pkcs11, ending: Ending::Immediate, is_extractable: false }
    }

    fn create(&self, place: &KeyPlace, _: &dyn Entropy) -> Result<()> {
        let is_there = self.with(|session| {
            if find(session, &place.application, &place.key)?.is_some() {
                return Ok(true);
            }
            session.generate_key(&Mechanism::AesKeyGen, &template_of(place)).map(|_| false)
        })?;
        match is_there {
            true => Err(Error::new(ErrorKind::Exists, "there is a key of that id in custody")),
            false => Ok(()),
        }
    }

    fn wrap(&self, place: &KeyPlace, key: &Secret<32>, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let between = Secret::fill_with(|out| entropy.fill(out));
        let wrapped = self.with(|session| {
            let Some(own) = find(session, &place.application, &place.key)? else {
                return Ok(None);
            };
            put_under(session, own, &between).map(Some)
        })?;
        let mut wrap = wrapped.ok_or(Error::MISSING_KEY)?;
        let between = CustodyKey::from_bytes(between.expose());
        wrap.extend(crate::wrap_under(&between, Kind::Pkcs11, place, key, entropy));
        Ok(wrap)
    }

    fn unwrap(&self, place: &KeyPlace, wrap: &[u8]) -> Result<Secret<32>> {
        let (wrapped, sealed) = wrap.split_at_checked(WRAPPED_KEY_LEN).unwrap_or((wrap, &[]));
        let taken = self.with(|session| {
            let Some(own) = find(session, &place.application, &place.key)? else {
                return Ok(Taken::NoKey);
            };
            match take_from(session, own, wrapped) {
                Err(error) if is_refused_wrap(&error) && is_sound(session, own) => {
                    Ok(Taken::Refused)
                }
                done => done.map(Taken::Key),
            }
        })?;
        match taken {
            Taken::NoKey => Err(Error::MISSING_KEY),
            Taken::Refused => Err(Error::WRONG_KEY),
            Taken::Key(between) => {
                let between = between.expose().try_into().map_err(|_| Error::WRONG_KEY)?;
                let between = CustodyKey::from_bytes(between);
                crate::unwrap_under(&between, Kind::Pkcs11, place, sealed)
            }
        }
    }

    fn destroy(&self, application: &ApplicationId, key: &KeyId) -> Result<()> {
        self.with(|session| match find(session, application, key)? {
            Some(own) => session.destroy_object(own),
            None => Ok(()),
        })
    }

    fn list(&self, application: &ApplicationId) -> Result<Vec<KeyId>> {
        self.with(|session| {
            let label = Attribute::Label(label_of(application));
            let mut keys = Vec::new();
            for own in session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY), label])? {
                for attribute in session.get_attributes(own, &[AttributeType::Id])? {
                    let Attribute::Id(id) = attribute else { continue };
                    let key = id.strip_prefix(&application.0).and_then(|key| key.try_into().ok());
                    keys.extend(key.map(KeyId));
                }
            }
            keys.sort();
            Ok(keys)
        })
    }
}

/// What came of taking a key out of a wrap.
enum Taken {
    Key(SecretBytes),
    /// The token is well, the wrap is not of this key.
    Refused,
    NoKey,
}

/// Label and id by which a key is found again: nothing in them tells whose it is.
fn label_of(application: &ApplicationId) -> Vec<u8> {
    format!("strongroom/{application}").into_bytes()
}

fn id_of(application: &ApplicationId, key: &KeyId) -> Vec<u8> {
    [application.0, key.0].concat()
}

/// An application key: it stays in the token and only wraps and unwraps there.
fn template_of(place: &KeyPlace) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(32.into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Derive(false),
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Label(label_of(&place.application)),
        Attribute::Id(id_of(&place.application, &place.key)),
    ]
}

/// A key that is wrapped or was unwrapped: of the session only.
fn passing() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ]
}

fn find(
    session: &Session,
    application: &ApplicationId,
    key: &KeyId,
) -> std::result::Result<Option<ObjectHandle>, TokenError> {
    let wanted = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::Label(label_of(application)),
        Attribute::Id(id_of(application, key)),
    ];
    Ok(session.find_objects(&wanted)?.into_iter().next())
}

fn put_under(
    session: &Session,
    own: ObjectHandle,
    key: &Secret<32>,
) -> std::result::Result<Vec<u8>, TokenError> {
    let mut template = passing();
    template.push(Attribute::Value(key.expose().to_vec()));
    let made = session.create_object(&template);
    for attribute in &mut template {
        if let Attribute::Value(value) = attribute {
            zeroize::Zeroize::zeroize(value);
        }
    }
    let made = made?;
    let wrapped = session.wrap_key(&Mechanism::AesKeyWrap, own, made);
    session.destroy_object(made)?;
    wrapped
}

fn take_from(
    session: &Session,
    own: ObjectHandle,
    wrapped: &[u8],
) -> std::result::Result<SecretBytes, TokenError> {
    let made = session.unwrap_key(&Mechanism::AesKeyWrap, own, wrapped, &passing())?;
    let read = session.get_attributes(made, &[AttributeType::Value]);
    session.destroy_object(made)?;
    let value = read?.into_iter().find_map(|attribute| match attribute {
        Attribute::Value(value) => Some(SecretBytes::new(value)),
        _ => None,
    });
    value.ok_or(TokenError::InvalidValue)
}

/// Whether the token still wraps and unwraps under a key: some answer a wrap of another key with a general error.
fn is_sound(session: &Session, own: ObjectHandle) -> bool {
    let probe = Secret::from_bytes(&[0x5a; 32]);
    let wrapped = put_under(session, own, &probe);
    wrapped
        .and_then(|wrapped| take_from(session, own, &wrapped))
        .is_ok_and(|key| key.expose() == probe.expose())
}

/// A module is loaded and initialised once in a process.
fn module(path: &Path) -> Result<Pkcs11> {
    static LOADED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());
    let mut loaded: MutexGuard<'_, _> = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = loaded.get(path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(path).map_err(|error| translate(&error))?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(translate(&error)),
    }
    loaded.insert(path.to_path_buf(), module.clone());
    Ok(module)
}
