//! Nodes on the way to changed slots, made anew from the leaves up.

use std::collections::BTreeMap;

use strongroom_crypto::hash::sha256;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{NodeKey, Secret};
use strongroom_format::cbor;
use strongroom_records::ids::Hash;
use strongroom_records::keystore::{Child, FAN_OUT, Node, NodePlace, Root};

use crate::error::{Error, Result};
use crate::{Broken, Change, Keystore, Nodes, check_slot};

/// What happens to a slot.
#[derive(Clone, Copy)]
pub(crate) enum Action<'k> {
    /// It has this key.
    Put(&'k Secret<32>),
    /// It is vacant.
    Drop,
}

/// Which nodes get a fresh key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rekey {
    /// New ones only.
    Nothing,
    /// All that are touched.
    Path,
}

/// A node made anew.
pub(crate) struct Rebuilt {
    /// Its key, if that is a fresh one.
    pub key: Option<NodeKey>,
    /// Where it will lie.
    pub place: NodePlace,
}

/// One change of a tree, while it is worked out.
pub(crate) struct Rebuild<'t> {
    tree: &'t Keystore,
    nodes: Option<&'t dyn Nodes>,
    version: u64,
    rekey: Rekey,
    made: Vec<([u8; 16], Vec<u8>)>,
    pub gone: Vec<[u8; 16]>,
    wrap_count: u64,
    broken: Vec<Broken>,
}

impl<'t> Rebuild<'t> {
    pub fn new(tree: &'t Keystore, version: u64, rekey: Rekey) -> Self {
        Self {
            tree,
            nodes: None,
            version,
            rekey,
            made: Vec::new(),
            gone: Vec::new(),
            wrap_count: 0,
            broken: Vec::new(),
        }
    }

    pub fn over(self, nodes: &'t dyn Nodes) -> Self {
        Self { nodes: Some(nodes), ..self }
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn into_change(self, root: Root) -> Change {
        let Self { made, gone, wrap_count, broken, .. } = self;
        Change { root, made, gone, wrap_count, broken, ended: Vec::new() }
    }

    /// Makes a node anew: `old` is its key and content, none where there was no node.
    pub fn node(
        &mut self,
        level: u8,
        index: u64,
        old: Option<(&NodeKey, Node)>,
        actions: &BTreeMap<u64, Action<'_>>,
    ) -> Result<Rebuilt> {
        let (old_key, mut node) = match old {
            Some((key, node)) => (Some(key), node),
            None => {
                let application = self.tree.application;
                (None, Node { application, level, index, children: Vec::new() })
            }
        };
        let fresh = match (old_key, self.rekey) {
            (Some(_), Rekey::Nothing) => None,
            (None, _) | (_, Rekey::Path) => Some(NodeKey::from(self.tree.generate())),
        };
        let key = fresh.as_ref().or(old_key).ok_or(Error::DAMAGED)?;
        let children = std::mem::take(&mut node.children);
        for place in 0..u8::try_from(FAN_OUT).map_err(|_| Error::DAMAGED)? {
            let child = children.iter().find(|child| child.place == place);
            let kept = match level {
                0 => self.leaf(&node, place, child, (old_key, key), actions)?,
                _ => self.inner(&node, place, child, (old_key, key), actions)?,
            };
            node.children.extend(kept);
        }
        let place = self.keep(&node);
        Ok(Rebuilt { key: fresh, place })
    }

    fn leaf(
        &mut self,
        node: &Node,
        place: u8,
        child: Option<&Child>,
        keys: (Option<&NodeKey>, &NodeKey),
        actions: &BTreeMap<u64, Action<'_>>,
    ) -> Result<Option<Child>> {
        let slot = node.index * FAN_OUT + u64::from(place);
        match (actions.get(&slot), child) {
            (Some(Action::Drop), _) => {
                self.wrap_count += u64::from(child.is_some());
                Ok(None)
            }
            (Some(Action::Put(key)), _) => {
                check_slot(slot)?;
                Ok(Some(self.wrapped(node, place, keys.1, self.version, key, None)))
            }
            (None, Some(child)) => Ok(Some(self.rewrapped(node, child, keys))),
            (None, None) => Ok(None),
        }
    }

    fn inner(
        &mut self,
        node: &Node,
        place: u8,
        child: Option<&Child>,
        keys: (Option<&NodeKey>, &NodeKey),
        actions: &BTreeMap<u64, Action<'_>>,
    ) -> Result<Option<Child>> {
        let below = node.index * FAN_OUT + u64::from(place);
        let width = FAN_OUT.pow(u32::from(node.level));
        let touched = actions.range(below * width..(below + 1) * width).next().is_some();
        match (touched, child) {
            (false, None) => Ok(None),
            (false, Some(child)) => Ok(Some(self.rewrapped(node, child, keys))),
            (true, None) => {
                let made = self.node(node.level - 1, below, None, actions)?;
                self.adopted(node, place, keys.1, made).map(Some)
            }
            (true, Some(child)) => self.descend(node, child, keys, actions).map(Some),
        }
    }

    /// A child node that is touched itself.
    fn descend(
        &mut self,
        node: &Node,
        child: &Child,
        keys: (Option<&NodeKey>, &NodeKey),
        actions: &BTreeMap<u64, Action<'_>>,
    ) -> Result<Child> {
        let below = node.index * FAN_OUT + u64::from(child.place);
        let (nodes, old) = (self.nodes.ok_or(Error::DAMAGED)?, keys.0.ok_or(Error::DAMAGED)?);
        let at = child.node.ok_or(Error::DAMAGED)?;
        let child_key = NodeKey::from(self.unwrapped(node, child, old).ok_or(Error::DAMAGED)?);
        let content = self.tree.read(nodes, &at, node.level - 1, below)?;
        let made = self.node(node.level - 1, below, Some((&child_key, content)), actions)?;
        self.gone.push(at.name);
        match made.key {
            Some(_) => self.adopted(node, child.place, keys.1, made),
            // The same key below; the wrap stays good unless this node has a new key.
            None => Ok(Child { node: Some(made.place), ..self.rewrapped(node, child, keys) }),
        }
    }

    fn adopted(&mut self, node: &Node, place: u8, key: &NodeKey, made: Rebuilt) -> Result<Child> {
        let secret = Secret::from_bytes(made.key.ok_or(Error::DAMAGED)?.expose());
        Ok(self.wrapped(node, place, key, self.version, &secret, Some(made.place)))
    }

    /// An untouched child: as it was, or under the node's fresh key.
    fn rewrapped(
        &mut self,
        node: &Node,
        child: &Child,
        (old, new): (Option<&NodeKey>, &NodeKey),
    ) -> Child {
        let Some(old) = old.filter(|old| old.expose() != new.expose()) else {
            return child.clone();
        };
        match self.unwrapped(node, child, old) {
            Some(secret) => {
                self.wrapped(node, child.place, new, child.generation, &secret, child.node)
            }
            None => {
                let first = node.index * FAN_OUT + u64::from(child.place);
                let slot = first * FAN_OUT.pow(u32::from(node.level));
                self.broken.push(Broken { level: node.level, slot });
                child.clone()
            }
        }
    }

    fn unwrapped(&self, node: &Node, child: &Child, key: &NodeKey) -> Option<Secret<32>> {
        let generation = child.generation;
        let context = self.tree.child_context(node.level, node.index, child.place, generation);
        let plain = seal::open(key, &context, &child.wrap).ok()?;
        Some(Secret::from_bytes(plain.expose().try_into().ok()?))
    }

    fn wrapped(
        &mut self,
        node: &Node,
        place: u8,
        key: &NodeKey,
        generation: u64,
        secret: &Secret<32>,
        below: Option<NodePlace>,
    ) -> Child {
        self.wrap_count += 1;
        let context = self.tree.child_context(node.level, node.index, place, generation);
        let wrap = seal::seal(key, &context, self.tree.entropy.array(), secret.expose());
        Child { place, generation, wrap, node: below }
    }

    fn keep(&mut self, node: &Node) -> NodePlace {
        let bytes = cbor::encode(node);
        let name = self.tree.entropy.array();
        let hash = Hash(sha256(&bytes));
        self.made.push((name, bytes));
        NodePlace { name, hash }
    }
}
