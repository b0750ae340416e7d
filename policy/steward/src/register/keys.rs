//! Where the keystore's nodes are read from, and which application keys end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use strongroom_audit::shelves::Shelves;
use strongroom_records::ids::KeyId;
use strongroom_store::Shelf;
use strongroom_tree::Nodes;

use super::Register;
use crate::error::Result;

/// LIMIT: nodes that are kept in memory, as they are stored.
const KNOWN_COUNT_MAX: usize = 512;

/// Nodes that were read: they never change, so what was read is what is there.
pub(super) type KnownNodes = Mutex<BTreeMap<[u8; 16], Bytes>>;

/// Nodes on the shelf.
pub(crate) struct StoredNodes<'s> {
    pub(super) shelves: &'s Shelves,
    pub(super) known: Option<&'s KnownNodes>,
}

impl Nodes for StoredNodes<'_> {
    fn node(&self, name: &[u8; 16]) -> strongroom_tree::Result<Vec<u8>> {
        use strongroom_audit::ErrorKind as A;
        use strongroom_tree::{Error, ErrorKind as T};
        let known = self.known.map(|known| known.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(bytes) = known.as_ref().and_then(|known| known.get(name)) {
            return Ok(bytes.to_vec());
        }
        let bytes = self.shelves.fetch(Shelf::Node, u128::from_be_bytes(*name));
        let bytes = bytes.map_err(|error| match error.kind() {
            A::NotFound => Error::new(T::NotFound, "a node of the keystore is missing"),
            A::Corrupt => Error::new(T::Corrupt, "a node of the keystore is damaged"),
            _ => Error::new(T::Unavailable, "a node of the keystore cannot be read"),
        })?;
        if let Some(mut known) = known {
            if known.len() >= KNOWN_COUNT_MAX {
                known.clear();
            }
            known.insert(*name, bytes.clone());
        }
        Ok(bytes.to_vec())
    }
}

impl Register {
    /// Ends application keys that are over: those that our own records put out of use, and those that older ones name. One
    /// that no record names may be somebody's who is about to write one: it stays. Returns how many there were.
    pub fn end_old_keys(&mut self) -> Result<usize> {
        let application = self.application();
        let mut others = BTreeSet::from_iter(self.keystore.custody().list(&application)?);
        others.remove(&self.root.key);
        let mut over: Vec<KeyId> = others.intersection(&self.ended).copied().collect();
        others.retain(|key| !self.ended.contains(key));
        for seq in (0..self.log.next_seq()).rev() {
            if others.is_empty() {
                break;
            }
            let named = self.log.keystore_at(seq)?.map(|root| root.key);
            over.extend(named.filter(|key| others.remove(key)));
        }
        self.keystore.destroy(&over)?;
        self.ended.clear();
        Ok(over.len())
    }
}
