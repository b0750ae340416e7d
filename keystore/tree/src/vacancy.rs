//! Proof that a slot is vacant below a root, for whoever has no key.

use strongroom_crypto::hash::sha256;
use strongroom_format::cbor;
use strongroom_records::ids::{ApplicationId, Hash};
use strongroom_records::keystore::{HEIGHT, Node, place_of};

use crate::error::{Error, Result};
use crate::{Keystore, Nodes, Root, check_slot};

impl Keystore {
    /// The bytes of the nodes on the way to a slot, root first, as far as there are any: what [`verify_vacant`] needs.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt` for missing and damaged nodes.
    pub fn path(&self, root: &Root, nodes: &dyn Nodes, slot: u64) -> Result<Vec<Vec<u8>>> {
        check_slot(slot)?;
        let mut path = Vec::new();
        let mut next = Some(root.node);
        for level in (0..HEIGHT).rev() {
            let Some(place) = next else { break };
            let (index, at) = place_of(slot, level);
            let node = self.read(nodes, &place, level, index)?;
            next = node.child(at).and_then(|child| child.node);
            path.push(cbor::encode(&node));
        }
        Ok(path)
    }
}

/// Checks that a slot is vacant below the root node of that hash.
///
/// # Errors
/// `Corrupt` when the nodes are not those of the root, or the slot is occupied.
pub fn verify_vacant(
    application: &ApplicationId,
    root: &Hash,
    path: &[impl AsRef<[u8]>],
    slot: u64,
) -> Result<()> {
    check_slot(slot)?;
    let mut expected = *root;
    let mut path = path.iter();
    for level in (0..HEIGHT).rev() {
        let bytes = path.next().ok_or(Error::DAMAGED)?.as_ref();
        let node: Node = cbor::decode_canonical(bytes)?;
        node.check()?;
        let (index, at) = place_of(slot, level);
        let is_right = (node.application, node.level, node.index) == (*application, level, index);
        if !is_right || sha256(bytes) != expected.0 {
            return Err(Error::DAMAGED);
        }
        match node.child(at).and_then(|child| child.node) {
            Some(below) => expected = below.hash,
            None if node.child(at).is_none() && path.next().is_none() => return Ok(()),
            None => return Err(Error::DAMAGED),
        }
    }
    Err(Error::DAMAGED)
}
