//! PINs that tokens refused, as long as this process lives: none of them is tried again, whoever asks. Three in a row lock
//! most tokens, and an agent asks for its keys with each request.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::Result;

use super::errors::REFUSED_PIN;

/// A PIN and the token it was shown to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Try {
    /// The module.
    pub module: PathBuf,
    /// Label and serial number of the token.
    pub token: [String; 2],
    /// SHA-256 of the PIN.
    pub pin_hash: [u8; 32],
}

/// Shows a token a PIN, unless it has refused that one before.
///
/// # Errors
/// That of `log_in`; the same as for a refused PIN, if it was one.
pub(super) fn unless_refused<T>(own: Try, log_in: impl FnOnce() -> Result<T>) -> Result<T> {
    static REFUSED: Mutex<BTreeSet<Try>> = Mutex::new(BTreeSet::new());
    // ORDER: held over the try. Two that came at once with the same PIN would be two tries.
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.contains(&own) {
        return Err(REFUSED_PIN);
    }
    let done = log_in();
    if done.as_ref().is_err_and(|error| *error == REFUSED_PIN) {
        refused.insert(own);
    }
    done
}
