//! The merged view of what no commit holds, of what was committed since the checkpoint, and of the tree.
//!
//! ```text
//! local      changes that are in no cut yet
//! settling   changes of a cut that is being published, or of others' commits that are being taken in
//! overlay    committed, since the last freeze
//! frozen     committed, being written out by a checkpoint
//! tree       the last checkpoint
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use strongroom_format::cbor::{decode_canonical, encode};
use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::{Entry, Extent, Inode, ObjectUse, Snapshot};
use strongroom_format::key::{self, Key, Subject};

use crate::error::{Error, ErrorKind};
use crate::tree::btree::{PageSource, Tree};
use crate::tree::need::Look;

/// A value of the map, decoded.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Under `D`.
    Entry(Arc<Entry>),
    /// Under `I`.
    Inode(Arc<Inode>),
    /// Under `X`.
    Extent(Arc<Extent>),
    /// Under `O`.
    Object(ObjectUse),
    /// Under `U`.
    Orphan,
    /// Under `S`.
    Snapshot(Arc<Snapshot>),
}

impl Value {
    /// Bytes as they stand in a page.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Value::Entry(entry) => encode(&**entry),
            Value::Inode(inode) => encode(&**inode),
            Value::Extent(extent) => encode(&**extent),
            Value::Object(usage) => encode(usage),
            Value::Orphan => Vec::new(),
            Value::Snapshot(snapshot) => encode(&**snapshot),
        }
    }

    /// Parses the bytes of a page by the tag of their key.
    pub fn parse(key: &[u8], bytes: &[u8]) -> Result<Value, Error> {
        let value = match key::parse(key).map_err(|_| damaged_value())? {
            Subject::Entry { .. } => decode_canonical(bytes).map(|v| Value::Entry(Arc::new(v))),
            Subject::Inode(_) => decode_canonical(bytes).map(|v| Value::Inode(Arc::new(v))),
            Subject::Extent { .. } => decode_canonical(bytes).map(|v| Value::Extent(Arc::new(v))),
            Subject::Object(_) => decode_canonical(bytes).map(Value::Object),
            Subject::Orphan(_) if bytes.is_empty() => Ok(Value::Orphan),
            Subject::Orphan(_) => return Err(damaged_value()),
            Subject::Snapshot(_) => decode_canonical(bytes).map(|v| Value::Snapshot(Arc::new(v))),
        };
        value.map_err(|_| damaged_value())
    }
}

/// What a key of the map stands for.
pub fn subject(key: &Key) -> Subject {
    key::parse(key.as_bytes()).expect("a key is only ever built from its parts")
}

fn key_of(bytes: &[u8]) -> Result<Key, Error> {
    Ok(match key::parse(bytes).map_err(|_| damaged_value())? {
        Subject::Entry { folder, cookie } => Key::entry(folder, cookie),
        Subject::Inode(ino) => Key::inode(ino),
        Subject::Extent { ino, offset } => Key::extent(ino, offset),
        Subject::Object(object) => Key::object(object),
        Subject::Orphan(ino) => Key::orphan(ino),
        Subject::Snapshot(id) => Key::snapshot(id),
    })
}

fn damaged_value() -> Error {
    Error::new(ErrorKind::Corrupt, "a manifest page holds a value of the wrong form")
}

/// Changes by key; `None` removes.
pub type Layer = BTreeMap<Key, Option<Value>>;

/// One page of a merged scan.
type Chunk = Vec<(Key, Value)>;

/// Most entries a scan takes from each layer at a time.
const CHUNK_COUNT: usize = 128;

/// The map. Cloning is not offered: there is one per compartment.
pub struct Map {
    /// Changes that are in no cut yet.
    pub local: Layer,
    /// Changes on their way into the overlay.
    pub settling: Layer,
    /// What was committed since the last freeze.
    pub overlay: Arc<Layer>,
    /// What a checkpoint is writing out.
    pub frozen: Option<Arc<Layer>>,
    /// Data objects made since the last cut: no commit names them, so no page is asked for them.
    pub unborn: BTreeSet<ObjectId>,
    /// The last checkpoint.
    pub tree: Tree,
    /// Where its pages come from.
    pub pages: Arc<dyn PageSource + Send + Sync>,
}

impl Map {
    /// What a checkpoint says.
    pub fn new(tree: Tree, pages: Arc<dyn PageSource + Send + Sync>) -> Self {
        Self {
            local: Layer::new(),
            settling: Layer::new(),
            overlay: Arc::default(),
            frozen: None,
            unborn: BTreeSet::new(),
            tree,
            pages,
        }
    }

    /// The same without what no commit holds. Shares everything.
    pub fn committed(&self) -> Self {
        Self {
            local: Layer::new(),
            settling: Layer::new(),
            overlay: self.overlay.clone(),
            frozen: self.frozen.clone(),
            unborn: BTreeSet::new(),
            tree: self.tree.clone(),
            pages: self.pages.clone(),
        }
    }

    /// The same as it is now. Copies what no commit holds, shares the rest.
    pub fn snapshot(&self) -> Self {
        let (local, settling) = (self.local.clone(), self.settling.clone());
        Self { local, settling, ..self.committed() }
    }

    /// Layers above the tree, newest first.
    fn layers(&self) -> [Option<&Layer>; 4] {
        [Some(&self.local), Some(&self.settling), Some(&*self.overlay), self.frozen.as_deref()]
    }

    /// Entries above the tree and above what a checkpoint is writing out.
    pub fn changed_count(&self) -> usize {
        self.local.len() + self.settling.len() + self.overlay.len()
    }

    /// Reads one value.
    pub fn get(&self, key: &Key) -> Look<Option<Value>> {
        for layer in self.layers().into_iter().flatten() {
            if let Some(found) = layer.get(key) {
                return Ok(found.clone());
            }
        }
        match self.tree.get(&*self.pages, key.as_bytes())? {
            Some(bytes) => Ok(Some(Value::parse(key.as_bytes(), &bytes)?)),
            None => Ok(None),
        }
    }

    /// Inodes that a folder names.
    pub fn children(&self, folder: Ino) -> Look<Vec<Ino>> {
        let (from, to) = Key::entries_of(folder);
        let mut found = Vec::new();
        self.scan(&from, &to, None, &mut |_, value| {
            if let Value::Entry(entry) = value {
                found.push(entry.ino);
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Visits the entries from `from` up to but without `to`, ascending, until told to stop.
    pub fn scan(
        &self,
        from: &Key,
        to: &Key,
        extra: Option<&Layer>,
        visit: &mut dyn FnMut(&Key, &Value) -> ControlFlow<()>,
    ) -> Look<()> {
        let mut start = Bound::Included(*from);
        loop {
            let (chunk, next) = self.chunk(start, to, extra)?;
            for (key, value) in &chunk {
                if visit(key, value).is_break() {
                    return Ok(());
                }
            }
            match next {
                Some(last) => start = Bound::Excluded(last),
                None => return Ok(()),
            }
        }
    }

    /// Merges up to [`CHUNK_COUNT`] entries of each layer. Also returns the key to go on after, if there may be more.
    fn chunk(
        &self,
        start: Bound<Key>,
        to: &Key,
        extra: Option<&Layer>,
    ) -> Look<(Chunk, Option<Key>)> {
        let mut from = Vec::with_capacity(20);
        match &start {
            Bound::Included(key) => from.extend_from_slice(key.as_bytes()),
            Bound::Excluded(key) => {
                from.extend_from_slice(key.as_bytes());
                from.push(0);
            }
            Bound::Unbounded => {}
        }
        if from.as_slice() >= to.as_bytes() {
            return Ok((Vec::new(), None));
        }
        let mut raw: Vec<(Key, Value)> = Vec::new();
        let mut damage = None;
        self.tree.scan(&*self.pages, &from, to.as_bytes(), &mut |key, value| {
            match key_of(key).and_then(|parsed| Ok((parsed, Value::parse(key, value)?))) {
                Ok(entry) => raw.push(entry),
                Err(error) => damage = Some(error),
            }
            let done = raw.len() == CHUNK_COUNT || damage.is_some();
            if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(error) = damage {
            return Err(error.into());
        }
        let [local, settling, overlay, frozen] = self.layers();
        let layers = [frozen, overlay, settling, local, extra];
        let mut limit =
            if raw.len() == CHUNK_COUNT { raw.last().map(|(key, _)| *key) } else { None };
        for layer in layers.into_iter().flatten() {
            let last = layer
                .range((start, Bound::Excluded(*to)))
                .nth(CHUNK_COUNT - 1)
                .map(|(key, _)| *key);
            limit = match (limit, last) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        let end = limit.map_or(Bound::Excluded(*to), Bound::Included);
        let mut merged: BTreeMap<Key, Value> = BTreeMap::new();
        merged.extend(raw.into_iter().filter(|(key, _)| limit.is_none_or(|limit| *key <= limit)));
        for layer in layers.into_iter().flatten() {
            for (key, value) in layer.range((start, end)) {
                match value {
                    Some(value) => merged.insert(*key, value.clone()),
                    None => merged.remove(key),
                };
            }
        }
        Ok((merged.into_iter().collect(), limit))
    }

    /// The last entry before `before` and not before `floor`.
    pub fn last_before(
        &self,
        floor: &Key,
        before: &Key,
        extra: Option<&Layer>,
    ) -> Look<Option<(Key, Value)>> {
        let mut before = *before;
        loop {
            let in_tree =
                self.tree.last_before(&*self.pages, floor.as_bytes(), before.as_bytes())?;
            let tree_key = in_tree.as_ref().map(|(key, _)| key_of(key)).transpose()?;
            let [local, settling, overlay, frozen] = self.layers();
            let layers = [extra, local, settling, overlay, frozen];
            let best = layers
                .into_iter()
                .flatten()
                .filter_map(|layer| layer.range(*floor..before).next_back().map(|(key, _)| *key))
                .chain(tree_key)
                .max();
            let Some(key) = best else { return Ok(None) };
            let newest = layers.into_iter().flatten().find_map(|layer| layer.get(&key));
            match (newest, in_tree) {
                (Some(Some(value)), _) => return Ok(Some((key, value.clone()))),
                (Some(None), _) => before = key,
                (None, Some((_, bytes))) => {
                    return Ok(Some((key, Value::parse(key.as_bytes(), &bytes)?)));
                }
                (None, None) => return Ok(None),
            }
            if before <= *floor {
                return Ok(None);
            }
        }
    }

    /// Takes in a planned change that no commit holds yet.
    pub fn install(&mut self, delta: Layer) {
        self.local.extend(delta);
    }

    /// Takes in a planned change of a commit.
    pub fn install_committed(&mut self, delta: Layer) {
        Arc::make_mut(&mut self.overlay).extend(delta);
    }

    /// What was on its way is committed.
    pub fn settle(&mut self) {
        let settled = std::mem::take(&mut self.settling);
        if self.overlay.is_empty() {
            self.overlay = Arc::new(settled);
        } else {
            Arc::make_mut(&mut self.overlay).extend(settled);
        }
    }

    /// Sets what was committed aside for a checkpoint.
    pub fn freeze(&mut self) {
        self.frozen = Some(std::mem::take(&mut self.overlay));
    }
}
