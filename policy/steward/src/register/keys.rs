//! Where the keystore's nodes are read from, and which application keys end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use strongroom_audit::shelves::Shelves;
use strongroom_records::ids::KeyId;
use strongroom_records::keystore::Root;
use strongroom_records::receipt::Ending;
use strongroom_store::Shelf;
use strongroom_tree::Nodes;

use super::Register;
use crate::error::{Error, Result};

/// LIMIT: nodes that are kept in memory, as they are stored.
const KNOWN_COUNT_MAX: usize = 512;
/// LIMIT: generations of the application key that are looked through for keys that were left. Each change of the key ends all
/// from before it, so only changes that were interrupted one after the other leave more than one.
const LEFT_COUNT_MAX: usize = 8;

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
    /// Ends application keys that are over: those that our own records put out of use, and those of the generations before. One
    /// that no record names may be somebody's who is about to write one: it stays, and so does what was left longer ago, until
    /// the application key is changed next, which ends all that there is. Returns how many there were.
    pub fn end_old_keys(&mut self) -> Result<usize> {
        let application = self.application();
        let mut others = BTreeSet::from_iter(self.keystore.custody().list(&application)?);
        others.remove(&self.root.key);
        let mut over: Vec<KeyId> = others.intersection(&self.ended).copied().collect();
        others.retain(|key| !self.ended.contains(key));
        let (mut generation, mut end) = (self.root.generation, self.log.next_seq());
        for _ in 0..LEFT_COUNT_MAX {
            let first = self.first_of(generation, end)?;
            if others.is_empty() || first == 0 {
                break;
            }
            let before = self.root_at(first - 1)?;
            over.extend(others.take(&before.key));
            (generation, end) = (before.generation, first);
        }
        self.keystore.destroy(&over)?;
        self.ended.clear();
        Ok(over.len())
    }

    /// Whether custody has the application key in force and no other, as far as it can tell.
    pub fn has_one_key(&self) -> Result<bool> {
        let custody = self.keystore.custody();
        let keeps_list = custody.describe().ending != Ending::NotOurs;
        Ok(!keeps_list || custody.list(&self.application())? == [self.root.key])
    }

    /// When the application key in force came into force.
    pub fn key_since(&self) -> Result<i64> {
        let first = self.first_of(self.root.generation, self.log.next_seq())?;
        Ok(self.log.header_at(self.services(), first)?.time)
    }

    /// The first record with an application key of a generation, among those before `end`, where that generation ends. Each
    /// record names the key in force, and generations only rise.
    fn first_of(&self, generation: u64, end: u64) -> Result<u64> {
        let (mut low, mut high) = (0, end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.root_at(middle)?.generation < generation {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }

    fn root_at(&self, seq: u64) -> Result<Root> {
        let root = self.log.header_at(self.services(), seq)?.keystore;
        root.ok_or_else(|| Error::corrupt("a record names no keystore"))
    }
}
