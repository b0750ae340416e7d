//! Nodes of an application's keystore, and the record of its root.
//!
//! A tree of fan-out 64 and height 4. Node (level, index) has the children (level − 1, 64·index + 0…63); those of a node
//! of level 0 are leaves: slots. What a child's key is wrapped in stands in its parent, beside the child's name and hash;
//! so whoever has no key can still check which slots are occupied below a root.

use minicbor::{Decode, Encode};
use strongroom_format::error::{Error, ErrorKind, Result};

use crate::ids::{ApplicationId, Hash, KeyId};

/// Children of a node.
pub const FAN_OUT: u64 = 64;
/// Levels of nodes; the root is of level `HEIGHT − 1`.
pub const HEIGHT: u8 = 4;
/// Slots of a tree: 16,777,216.
pub const SLOT_COUNT: u64 = FAN_OUT.pow(HEIGHT as u32);
/// Bytes of a wrapped key.
pub const WRAP_LEN: usize = 104;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Node {
    /// Whose.
    #[n(0)]
    pub application: ApplicationId,
    /// 0 has leaves below.
    #[n(1)]
    pub level: u8,
    /// Place in its level.
    #[n(2)]
    pub index: u64,
    /// Occupied places, ascending.
    #[n(3)]
    pub children: Vec<Child>,
}

/// A child of a node: a node or a leaf.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Child {
    /// Place in the node, 0 to 63.
    #[n(0)]
    pub place: u8,
    /// Version of the tree that made its key: part of the wrap's context.
    #[n(1)]
    pub generation: u64,
    /// Its key, sealed under the node's.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub wrap: Vec<u8>,
    /// Where the child lies; none for a leaf.
    #[n(3)]
    pub node: Option<NodePlace>,
}

/// Where a node lies and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodePlace {
    /// Name on the shelf of nodes: random.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: [u8; 16],
    /// SHA-256 of its bytes.
    #[n(1)]
    pub hash: Hash,
}

/// The root of a keystore, in the clear part of a register record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Root {
    /// Rises with every change of the tree.
    #[n(0)]
    pub version: u64,
    /// Generation of the application key that wraps the root's key.
    #[n(1)]
    pub generation: u64,
    /// Kind of custody, see `strongroom-custody`.
    #[n(2)]
    pub provider: u16,
    /// The application key.
    #[n(3)]
    pub key: KeyId,
    /// Version of the tree that made the root's key: part of the wrap's context.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub wrap: Vec<u8>,
    /// The root node.
    #[n(5)]
    pub node: NodePlace,
    /// Lowest slot never given to a subject.
    #[n(6)]
    pub next_slot: u64,
}

impl Node {
    /// Refuses what no writer makes.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn check(&self) -> Result<()> {
        let is_ordered = self.children.is_sorted_by(|a, b| a.place < b.place);
        let is_sound = |child: &Child| {
            u64::from(child.place) < FAN_OUT
                && child.wrap.len() == WRAP_LEN
                && child.node.is_none() == (self.level == 0)
        };
        if self.level < HEIGHT && is_ordered && self.children.iter().all(is_sound) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Corrupt, "keystore node out of bounds"))
        }
    }

    /// The child in a place.
    pub fn child(&self, place: u8) -> Option<&Child> {
        let at = self.children.binary_search_by_key(&place, |child| child.place).ok()?;
        self.children.get(at)
    }
}

/// Number of a node in contexts: level above index.
pub fn node_number(level: u8, index: u64) -> u64 {
    u64::from(level) << 56 | index
}

/// Place of the child above a slot in the node of a level, and that node's index.
pub fn place_of(slot: u64, level: u8) -> (u64, u8) {
    let above = slot / FAN_OUT.pow(u32::from(level));
    (above / FAN_OUT, u8::try_from(above % FAN_OUT).expect("below 64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_one_place_on_every_level() {
        let slot = 5 + 64 * (6 + 64 * (7 + 64 * 8));
        assert_eq!(place_of(slot, 0), (6 + 64 * (7 + 64 * 8), 5));
        assert_eq!(place_of(slot, 1), (7 + 64 * 8, 6));
        assert_eq!(place_of(slot, 2), (8, 7));
        assert_eq!(place_of(slot, 3), (0, 8));
        assert_eq!(SLOT_COUNT, 16_777_216);
    }
}
