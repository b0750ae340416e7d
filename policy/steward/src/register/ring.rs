//! The register's own keys: one for each generation, in slots of the keystore that follow each other.
//!
//! Records stay sealed under the key that was in force when they were written: they are signed and chained as they are. Names of
//! cells and look-up hashes come from the first key for good, whoever knows it: both only lead to what is sealed.

use strongroom_crypto::secret::RegisterKey;
use strongroom_records::keystore::Root;
use strongroom_records::log::KeyInForce;
use strongroom_records::register::REGISTER_SLOT;
use strongroom_tree::{Keystore, Nodes};

use super::Register;
use crate::error::{Error, ErrorKind, Result};

/// Keys of all generations that are known, the first one at least.
pub(crate) struct KeyRing(Vec<RegisterKey>);

impl KeyRing {
    /// A ring with the first key.
    pub fn founded(first: RegisterKey) -> Self {
        Self(vec![first])
    }

    /// The keys of all generations up to one.
    pub fn open(
        keystore: &Keystore,
        root: &Root,
        nodes: &dyn Nodes,
        generation: u64,
    ) -> Result<Self> {
        let mut ring = Self(Vec::new());
        ring.read_on(keystore, root, nodes, generation)?;
        Ok(ring)
    }

    fn read_on(
        &mut self,
        keystore: &Keystore,
        root: &Root,
        nodes: &dyn Nodes,
        generation: u64,
    ) -> Result<()> {
        for next in self.count()..=generation {
            let key = keystore.open(root, nodes, slot_of(next))?;
            let key = key.ok_or_else(|| Error::corrupt("the keystore has no register key"))?;
            self.0.push(RegisterKey::from(key));
        }
        Ok(())
    }

    /// Generations that are known.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// What names and look-up hashes come from.
    pub fn first(&self) -> &RegisterKey {
        &self.0[0]
    }

    /// The key of a generation, if it is known.
    pub fn of(&self, generation: u64) -> Option<&RegisterKey> {
        usize::try_from(generation).ok().and_then(|place| self.0.get(place))
    }
}

/// Slot of the key of a generation.
pub(crate) fn slot_of(generation: u64) -> u64 {
    REGISTER_SLOT + generation
}

impl Register {
    /// The register key in force; none for the first one.
    pub fn key_in_force(&self) -> Option<KeyInForce> {
        self.log().head().and_then(|head| head.key)
    }

    /// Generation of the register key in force.
    pub fn generation(&self) -> u64 {
        self.key_in_force().map_or(0, |key| key.generation)
    }

    /// A key that a record is about to bring into force.
    pub fn take_key(&mut self, key: RegisterKey) {
        self.drop_early_keys();
        self.keys.0.push(key);
    }

    /// Forgets keys that no record that is known has brought into force.
    pub fn drop_early_keys(&mut self) {
        let known = usize::try_from(self.generation() + 1).unwrap_or(usize::MAX);
        self.keys.0.truncate(known);
    }

    /// Reads the register keys that others have brought into force. They are where the newest root is: that of the record which
    /// brought one may be out of use already. False when there is none that is not known.
    pub(super) fn learn_keys(&mut self) -> Result<bool> {
        let newest = self.log.newest_header(&self.services)?;
        if newest.generation() < self.keys.count() {
            return Ok(false);
        }
        let root = newest.keystore.as_ref();
        let root = root.ok_or_else(|| Error::corrupt("the register has no keystore"))?;
        if self.keystore.needed(root).is_some() {
            self.awaited = Some(root.clone());
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the register has a new key, and the application key has to be obtained for it",
            ));
        }
        let nodes = super::StoredNodes { shelves: self.log.shelves(), known: None };
        self.keys.read_on(&self.keystore, root, &nodes, newest.generation())?;
        self.awaited = None;
        Ok(true)
    }

    /// The root whose application key is needed next: the one in use, or that of a record that cannot be read before.
    pub fn needed_root(&self) -> &Root {
        self.awaited.as_ref().unwrap_or(&self.root)
    }
}
