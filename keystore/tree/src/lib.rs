//! The puncturable keystore of an application: a tree of wrapped keys whose root alone hangs in custody.
//!
//! Leaves (slots) hold random keys of subjects, of look-up buckets, of the register. A node's key wraps the keys of its
//! children; the application key wraps the root's. To end a leaf for good, [`Keystore::puncture`] drops it, gives every
//! node above it a fresh key, wraps the root under a new application key, and the caller destroys the old one in custody:
//! from then on every older copy of the tree, wherever it lies, is noise.
//!
//! The tree works on nodes that somebody else keeps ([`Nodes`]) and gives back what is new and what is gone
//! ([`Change`]); when a change takes effect is decided by the register record that carries its root.
//!
//! 1. Nodes are immutable. A parent has the name and SHA-256 of each child; the root's stand in the signed record.
//! 2. Adding a leaf changes nodes and no key. Puncturing changes every key on the way.
//! 3. A wrap that does not open stops nobody else's puncture: it is listed and left as it is.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod rebuild;
mod release;
mod vacancy;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_crypto::hash::sha256;
use strongroom_crypto::kdf;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{NodeKey, Secret, SubjectKey};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_custody::{Custody, Ending, KeyPlace};
use strongroom_format::cbor;
use strongroom_format::ids::OrganisationId;
use strongroom_host::entropy::Entropy;
use strongroom_records::ids::{ApplicationId, Hash, KeyId};
use strongroom_records::keystore::{
    FAN_OUT, HEIGHT, Node, NodePlace, Root, SLOT_COUNT, node_number, place_of,
};

pub use error::{Error, ErrorKind, Result};
pub use release::release;
pub use vacancy::verify_vacant;

use rebuild::{Action, Rebuild, Rekey};

/// Where nodes are read from.
pub trait Nodes {
    /// Bytes of a node.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    fn node(&self, name: &[u8; 16]) -> Result<Vec<u8>>;
}

/// What an operation on the tree makes. Nothing of it is stored yet.
pub struct Change {
    /// The root from now on, once its record is durable.
    pub root: Root,
    /// New nodes, to be durable before that record.
    pub made: Vec<([u8; 16], Vec<u8>)>,
    /// Nodes that only older roots need, to be removed after that record.
    pub gone: Vec<[u8; 16]>,
    /// Wraps dropped or made anew.
    pub wrap_count: u64,
    /// Slots or nodes whose wrap did not open.
    pub broken: Vec<Broken>,
    /// Application keys that nobody needs once the record is durable: all that custody had before this change made its own.
    pub ended: Vec<KeyId>,
}

/// A wrap that does not open, or a node that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Level of the node that has it.
    pub level: u8,
    /// First slot below it.
    pub slot: u64,
}

/// The keystore of one application.
pub struct Keystore {
    organisation: OrganisationId,
    application: ApplicationId,
    custody: Arc<dyn Custody>,
    entropy: Arc<dyn Entropy>,
    /// The key of the root in use and the wrap it came from, so that custody, which may be slow, is asked once for each root.
    held: Mutex<Option<(Vec<u8>, NodeKey)>>,
}

impl Keystore {
    /// A keystore whose root is in that custody.
    pub fn new(
        organisation: OrganisationId,
        application: ApplicationId,
        custody: Arc<dyn Custody>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { organisation, application, custody, entropy, held: Mutex::default() }
    }

    /// The custody.
    pub fn custody(&self) -> &dyn Custody {
        &*self.custody
    }

    /// The application key that has to be obtained before a root can be used, and from which custody; none if it is at hand.
    pub fn needed(&self, root: &Root) -> Option<(Arc<dyn Custody>, KeyPlace)> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.place_of_key(root);
        let is_held = held.as_ref().is_some_and(|(wrap, _)| *wrap == root.wrap);
        let is_needed = !is_held && !self.custody.is_at_hand(&place);
        is_needed.then(|| (Arc::clone(&self.custody), place))
    }

    /// Makes the first root, with an application key of its own and these leaves.
    ///
    /// # Errors
    /// Those of custody.
    pub fn plant(&self, leaves: &[(u64, Secret<32>)], first_slot: u64) -> Result<Change> {
        let key = self.create_key(1)?;
        let mut rebuild = Rebuild::new(self, 1, Rekey::Path);
        let actions = puts(leaves);
        let made = rebuild.node(HEIGHT - 1, 0, None, &actions)?;
        self.finish(rebuild, made, 1, key, first_slot)
    }

    /// Adds leaves, or replaces them. Keys of nodes stay: what was replaced is not ended by this.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt` as custody says; `Corrupt` for damaged nodes; `Invalid` for a slot that is none.
    pub fn put(
        &self,
        root: &Root,
        nodes: &dyn Nodes,
        leaves: &[(u64, Secret<32>)],
        next_slot: u64,
    ) -> Result<Change> {
        let root_key = self.root_key(root)?;
        let before = self.read(nodes, &root.node, HEIGHT - 1, 0)?;
        let mut rebuild = Rebuild::new(self, root.version + 1, Rekey::Nothing).over(nodes);
        let old = Some((&root_key, before));
        let made = rebuild.node(HEIGHT - 1, 0, old, &puts(leaves))?;
        rebuild.gone.push(root.node.name);
        let root = Root { version: root.version + 1, node: made.place, next_slot, ..root.clone() };
        Ok(rebuild.into_change(root))
    }

    /// Drops leaves, puts others, and makes every key above them anew, up to a new application key. What was dropped or
    /// replaced is out of reach once [`Keystore::destroy`] has ended the older application keys. With nothing to drop and
    /// nothing to put it changes the application key and the root's key alone.
    ///
    /// # Errors
    /// As [`Keystore::put`]; `Locked` also where the root's key is known here and the application key is not in custody.
    pub fn puncture(
        &self,
        root: &Root,
        nodes: &dyn Nodes,
        dropped: &[u64],
        leaves: &[(u64, Secret<32>)],
    ) -> Result<Change> {
        let root_key = self.root_key(root)?;
        let before = self.read(nodes, &root.node, HEIGHT - 1, 0)?;
        let generation = root.generation + 1;
        // ORDER: before the new key is made. Whatever is there now belongs to a record before ours, or to somebody who has yet
        // to write one and will find ours in its place. What comes later may be the key of a record after ours.
        let ended = self.custody.list(&self.application)?;
        let keeps_list = self.custody.describe().ending != Ending::NotOurs;
        if keeps_list && !ended.contains(&root.key) {
            // This is another place than the one with the key that has to end, whose root key may still be in memory.
            return Err(Error::from(strongroom_custody::Error::MISSING_KEY));
        }
        let key = self.create_key(generation)?;
        let mut rebuild = Rebuild::new(self, root.version + 1, Rekey::Path).over(nodes);
        let mut actions = puts(leaves);
        actions.extend(dropped.iter().map(|slot| (*slot, Action::Drop)));
        let made = rebuild.node(HEIGHT - 1, 0, Some((&root_key, before)), &actions)?;
        rebuild.gone.push(root.node.name);
        let change = self.finish(rebuild, made, generation, key, root.next_slot)?;
        Ok(Change { ended, ..change })
    }

    /// The key in a slot; none if it is vacant.
    ///
    /// # Errors
    /// As [`Keystore::put`].
    pub fn open(&self, root: &Root, nodes: &dyn Nodes, slot: u64) -> Result<Option<Secret<32>>> {
        check_slot(slot)?;
        let mut key = self.root_key(root)?;
        let mut place = root.node;
        for level in (0..HEIGHT).rev() {
            let (index, at) = place_of(slot, level);
            let node = self.read(nodes, &place, level, index)?;
            let Some(child) = node.child(at) else { return Ok(None) };
            let context = self.child_context(level, index, at, child.generation);
            let plain = seal::open(&key, &context, &child.wrap).map_err(|_| Error::DAMAGED)?;
            let bytes = plain.expose().try_into().map_err(|_| Error::DAMAGED)?;
            match child.node {
                None => return Ok(Some(Secret::from_bytes(bytes))),
                Some(below) => (key, place) = (NodeKey::from_bytes(bytes), below),
            }
        }
        Err(Error::DAMAGED)
    }

    /// Reads every node below a root, without any key. Returns how many there are, and those that are missing or damaged.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn check(&self, root: &Root, nodes: &dyn Nodes) -> Result<(u64, Vec<Broken>)> {
        let (mut count, mut broken) = (0, Vec::new());
        let mut open = vec![(root.node, HEIGHT - 1, 0)];
        while let Some((place, level, index)) = open.pop() {
            count += 1;
            match self.read(nodes, &place, level, index) {
                Ok(node) => open.extend(node.children.iter().filter_map(|child| {
                    let below = index * FAN_OUT + u64::from(child.place);
                    Some((child.node?, level - 1, below))
                })),
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(_) => {
                    broken.push(Broken { level, slot: index * FAN_OUT.pow(u32::from(level) + 1) });
                }
            }
        }
        Ok((count, broken))
    }

    /// Ends application keys. Fine to repeat.
    ///
    /// # Errors
    /// `Unavailable` or `Denied` as custody says.
    ///
    /// # Security
    /// Whatever hangs from them is gone for good. A key is known to be over when an older record names it, or when a
    /// [`Change`] says so whose record is durable; that custody has it and the newest root does not name it is no reason:
    /// somebody else may be about to record it.
    pub fn destroy(&self, keys: &[KeyId]) -> Result<()> {
        for key in keys {
            self.custody.destroy(&self.application, key)?;
        }
        // What an older root gave must not outlive its key here.
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// Whether custody still unwraps a root that `in_force` took the place of: asked after its key was destroyed, of custody that
    /// keeps a list.
    ///
    /// # Errors
    /// `Unavailable` or `Denied` when custody cannot be asked, or has not the key in force either, and `Locked` where it is another
    /// kind: that is no proof of anything.
    pub fn still_opens(&self, root: &Root, in_force: &Root) -> Result<bool> {
        self.check_kind(root)?;
        match self.asked_root_key(root) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Locked => {}
            Err(error) => return Err(error),
        }
        // ORDER: after the refusal: what has gone away meanwhile would refuse any key.
        match self.custody.list(&self.application)?.contains(&in_force.key) {
            true => Ok(false),
            false => Err(Error::ELSEWHERE),
        }
    }

    /// Commitment of a subject's key of a generation, for the register and the receipt.
    pub fn commitment(&self, key: &Secret<32>, slot: u64, generation: u64) -> Hash {
        let fields =
            [Value::Bytes(&self.application.0), Value::Uint(slot), Value::Uint(generation)];
        let context = Context::new(Usage::SubjectKeyCommitment, &self.organisation.0, &fields);
        Hash(*kdf::derive(key, &context).expose())
    }

    /// Context of a class key's wrap.
    pub fn class_context(&self, subject: &[u8; 16], class: u16, generation: u64) -> Context {
        let fields =
            [Value::Bytes(subject), Value::Uint(u64::from(class)), Value::Uint(generation)];
        Context::new(Usage::ClassKeyWrap, &self.organisation.0, &fields)
    }

    /// Wraps a class key under the subject's.
    pub fn wrap_class(
        &self,
        subject_key: &SubjectKey,
        subject: &[u8; 16],
        class: u16,
        generation: u64,
        key: &Secret<32>,
    ) -> Vec<u8> {
        let context = self.class_context(subject, class, generation);
        seal::seal(subject_key, &context, self.entropy.array(), key.expose())
    }

    /// A fresh random key.
    pub fn generate(&self) -> Secret<32> {
        Secret::fill_with(|out| self.entropy.fill(out))
    }

    fn create_key(&self, generation: u64) -> Result<KeyPlace> {
        let key = KeyId(self.entropy.array());
        let (organisation, application) = (self.organisation, self.application);
        let place = KeyPlace { organisation, application, generation, key };
        self.custody.create(&place, &*self.entropy)?;
        Ok(place)
    }

    fn root_key(&self, root: &Root) -> Result<NodeKey> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = held.as_ref().filter(|(wrap, _)| *wrap == root.wrap) {
            return Ok(NodeKey::from_bytes(key.expose()));
        }
        let key = self.asked_root_key(root)?;
        *held = Some((root.wrap.clone(), NodeKey::from_bytes(key.expose())));
        Ok(key)
    }

    fn asked_root_key(&self, root: &Root) -> Result<NodeKey> {
        self.check_kind(root)?;
        let place = self.place_of_key(root);
        Ok(NodeKey::from(self.custody.unwrap(&place, &root.wrap)?))
    }

    fn check_kind(&self, root: &Root) -> Result<()> {
        match self.custody.describe().kind.number() == root.provider {
            true => Ok(()),
            false => Err(Error::OTHER_CUSTODY),
        }
    }

    fn place_of_key(&self, root: &Root) -> KeyPlace {
        KeyPlace {
            organisation: self.organisation,
            application: self.application,
            generation: root.generation,
            key: root.key,
        }
    }

    fn finish(
        &self,
        rebuild: Rebuild<'_>,
        made: rebuild::Rebuilt,
        generation: u64,
        key: KeyPlace,
        next_slot: u64,
    ) -> Result<Change> {
        let fresh = made.key.ok_or(Error::DAMAGED)?;
        let secret = Secret::from_bytes(fresh.expose());
        let root = Root {
            version: rebuild.version(),
            generation,
            provider: self.custody.describe().kind.number(),
            key: key.key,
            wrap: self.custody.wrap(&key, &secret, &*self.entropy)?,
            node: made.place,
            next_slot,
        };
        Ok(rebuild.into_change(root))
    }

    fn read(&self, nodes: &dyn Nodes, at: &NodePlace, level: u8, index: u64) -> Result<Node> {
        let bytes = nodes.node(&at.name)?;
        if sha256(&bytes) != at.hash.0 {
            return Err(Error::DAMAGED);
        }
        let node: Node = cbor::decode_canonical(&bytes)?;
        node.check()?;
        let is_right =
            (node.application, node.level, node.index) == (self.application, level, index);
        if is_right { Ok(node) } else { Err(Error::DAMAGED) }
    }

    /// What the wrap of a child is bound to.
    fn child_context(&self, level: u8, index: u64, place: u8, generation: u64) -> Context {
        let below = index * FAN_OUT + u64::from(place);
        let (usage, number) = match level {
            0 => (Usage::SubjectKeyWrap, below),
            level => (Usage::KeystoreNode, node_number(level - 1, below)),
        };
        let fields =
            [Value::Bytes(&self.application.0), Value::Uint(number), Value::Uint(generation)];
        Context::new(usage, &self.organisation.0, &fields)
    }
}

fn puts(leaves: &[(u64, Secret<32>)]) -> BTreeMap<u64, Action<'_>> {
    leaves.iter().map(|(slot, key)| (*slot, Action::Put(key))).collect()
}

fn check_slot(slot: u64) -> Result<()> {
    if slot < SLOT_COUNT { Ok(()) } else { Err(Error::NO_SLOT) }
}
