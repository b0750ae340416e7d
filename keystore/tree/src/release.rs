//! Release of a class key: for a grant, and nothing else.

use strongroom_audit::Grant;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{ClassKey, SubjectKey};
use strongroom_records::subject::ClassCell;

use crate::Keystore;
use crate::error::{Error, Result};

/// Opens the class key that a grant names.
///
/// # Errors
/// `Denied` when the grant is over at `now`, was made for another subject or class, or for an action that needs no key;
/// `Corrupt` when the wrap does not open.
pub fn release(
    keystore: &Keystore,
    grant: &Grant,
    subject_key: &SubjectKey,
    cell: &ClassCell,
    now: i64,
) -> Result<ClassKey> {
    if !grant.gives_key() || !grant.is_good(cell.class, now) {
        return Err(Error::NO_GRANT);
    }
    let context = keystore.class_context(&grant.subject().0, cell.class.0, cell.generation);
    let plain = seal::open(subject_key, &context, &cell.wrap).map_err(|_| Error::DAMAGED)?;
    let bytes = plain.expose().try_into().map_err(|_| Error::DAMAGED)?;
    Ok(ClassKey::from_bytes(bytes))
}
