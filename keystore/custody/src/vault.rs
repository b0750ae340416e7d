//! Keys in memory that end at once, for tests: what a security module promises.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_crypto::secret::{CustodyKey, Secret};
use strongroom_host::entropy::Entropy;
use strongroom_records::ids::{ApplicationId, KeyId};

use crate::{Custody, Description, Ending, Error, ErrorKind, KeyPlace, Kind, Result};

type Keys = BTreeMap<(ApplicationId, KeyId), CustodyKey>;

/// Custody in memory. Clones share it.
#[derive(Clone, Default)]
pub struct Vault {
    keys: Arc<Mutex<Keys>>,
    is_away: Arc<AtomicBool>,
    leaves_after_destroying: Arc<AtomicBool>,
}

impl Vault {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes it out of reach, or brings it back.
    pub fn set_away(&self, away: bool) {
        self.is_away.store(away, Ordering::SeqCst);
    }

    /// Goes out of reach once a key was destroyed.
    pub fn go_away_after_destroying(&self) {
        self.leaves_after_destroying.store(true, Ordering::SeqCst);
    }

    fn keys(&self) -> Result<MutexGuard<'_, Keys>> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "custody is out of reach"));
        }
        Ok(self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Custody for Vault {
    fn describe(&self) -> Description {
        Description { kind: Kind::Vault, ending: Ending::Immediate, is_extractable: false }
    }

    fn create(&self, place: &KeyPlace, entropy: &dyn Entropy) -> Result<()> {
        let mut keys = self.keys()?;
        if keys.contains_key(&(place.application, place.key)) {
            return Err(Error::new(ErrorKind::Exists, "there is a key of that id in custody"));
        }
        let secret = Secret::fill_with(|out| entropy.fill(out));
        keys.insert((place.application, place.key), CustodyKey::from(secret));
        Ok(())
    }

    fn wrap(&self, place: &KeyPlace, key: &Secret<32>, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let keys = self.keys()?;
        let own = keys.get(&(place.application, place.key)).ok_or(Error::MISSING_KEY)?;
        Ok(crate::wrap_under(own, Kind::Vault, place, key, entropy))
    }

    fn unwrap(&self, place: &KeyPlace, wrap: &[u8]) -> Result<Secret<32>> {
        let keys = self.keys()?;
        let own = keys.get(&(place.application, place.key)).ok_or(Error::MISSING_KEY)?;
        crate::unwrap_under(own, Kind::Vault, place, wrap)
    }

    fn destroy(&self, application: &ApplicationId, key: &KeyId) -> Result<()> {
        self.keys()?.remove(&(*application, *key));
        if self.leaves_after_destroying.swap(false, Ordering::SeqCst) {
            self.set_away(true);
        }
        Ok(())
    }

    fn list(&self, application: &ApplicationId) -> Result<Vec<KeyId>> {
        let keys = self.keys()?;
        Ok(keys.keys().filter(|(own, _)| own == application).map(|(_, key)| *key).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{conformance, out_of_reach};

    #[test]
    fn a_vault_conforms() {
        let vault = Vault::new();
        conformance(&|| Box::new(vault.clone()));
        out_of_reach(&vault, &|away| vault.set_away(away));
    }
}
