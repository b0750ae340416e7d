//! Blocks of others out of objects that hold something purged, and manifests without it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::{Bytes, BytesMut};
use strongroom_crypto::block::block_len;
use strongroom_crypto::hash::blake3_256;
use strongroom_crypto::lthash::LtHash;
use strongroom_format::checkpoint::{CompartmentState, PageObject};
use strongroom_format::commit::ObjectAdded;
use strongroom_format::ids::{Digest, Ino, ObjectId};
use strongroom_format::inode::{Content, Kind};
use strongroom_format::op::Op;
use strongroom_store::{Body, Key as StoreKey};

use super::find::{holds, visit_extents};
use super::{Begun, Intent};
use crate::error::{Error, ErrorKind, Result};
use crate::history::past::Past;
use crate::inbound::log::{Checkpoint, get};
use crate::later::wait;
use crate::limits::Broken;
use crate::outbound::checkpoint::{HeadFacts, seal_checkpoint};
use crate::outbound::commit::{Reason, with_stored_len};
use crate::state::{Head, State};
use crate::tree::map::Map;
use crate::tree::pages::{PageWriter, WaitingPages, patiently};
use crate::tree::rules::extents;
use crate::tree::txn::Txn;
use crate::workspace::Inner;

/// A block by where it lies: object, place, sealed length.
type Block = (ObjectId, u32, u64);

/// Where blocks went: by old object and place, the new ones.
type Moves = BTreeMap<(ObjectId, u32), (ObjectId, u32)>;

/// Inodes in one operation.
const INOS_PER_OP: usize = 10_000;
/// LIMIT: how often what others have is moved away, while it is copied by reference again and again.
const MOVES_MAX: u32 = 16;

impl Inner {
    /// Moves blocks of other files out of the affected objects, until none of the present are there in what is committed: from
    /// then on nobody names these objects any more.
    pub(super) fn move_others(&self, intent: &Intent) -> Result<()> {
        for _ in 0..MOVES_MAX {
            if !self.move_once(intent)? {
                return Ok(());
            }
            self.commit(Reason::Asked)?;
        }
        let message = "others are copied faster than they move out of the way; it goes on later";
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Moves those that are there now by operations, into objects that the next commit names. False if there are none.
    fn move_once(&self, intent: &Intent) -> Result<bool> {
        let affected: BTreeSet<ObjectId> = intent.affected.iter().copied().collect();
        let map = self.state.lock().map.snapshot();
        if !uses_any(&map, &intent.affected)? {
            return Ok(false);
        }
        let mut users: BTreeMap<ObjectId, BTreeSet<Ino>> = BTreeMap::new();
        let mut blocks: BTreeSet<Block> = BTreeSet::new();
        visit_extents(&map, &mut |ino, extent| {
            if affected.contains(&extent.object) && !intent.is_purged(ino) {
                users.entry(extent.object).or_default().insert(ino);
                let len = block_len(u64::from(extent.block_len));
                blocks.insert((extent.object, extent.place, len));
            }
        })?;
        let (moves, made) = self.copy_blocks(&blocks)?;
        let mut made = made.into_iter();
        let moved = made.try_for_each(|added| self.move_into(added, &moves, &users));
        if moved.is_err() {
            // The next cut takes away what nothing was moved into.
            self.outbound.lock().adopted.extend(made);
        }
        moved.map(|()| !blocks.is_empty())
    }

    /// Moves blocks into one new object.
    fn move_into(
        &self,
        to: ObjectAdded,
        moves: &Moves,
        users: &BTreeMap<ObjectId, BTreeSet<Ino>>,
    ) -> Result<()> {
        // ORDER: no cut in between. It would take an object for superfluous that nothing is in yet, and have it removed.
        let mut outbound = self.outbound.lock();
        outbound.adopted.push(to);
        for (from, inos) in users {
            let places = places_of(moves, *from).remove(&to.object).unwrap_or_default();
            if places.is_empty() {
                continue;
            }
            let inos: Vec<Ino> = inos.iter().copied().collect();
            for inos in inos.chunks(INOS_PER_OP) {
                let (from, to, places) = (*from, to.object, places.clone());
                self.do_now(&Op::Relocate { from, to, inos: inos.to_vec(), places })?;
            }
        }
        drop(outbound);
        Ok(())
    }

    /// Puts copies of sealed blocks into new objects.
    fn copy_blocks(&self, blocks: &BTreeSet<Block>) -> Result<(Moves, Vec<ObjectAdded>)> {
        let (mut moves, mut made) = (Moves::new(), Vec::new());
        let len_max = self.options.tuning.object_plain_bytes;
        let (mut id, mut bytes) = (ObjectId(self.services.entropy.array()), BytesMut::new());
        for (object, place, len) in blocks.iter().copied() {
            if !bytes.is_empty() && bytes.len() as u64 + len > len_max {
                let next = ObjectId(self.services.entropy.array());
                made.push(
                    self.put_object(std::mem::replace(&mut id, next), bytes.split().freeze())?,
                );
            }
            let at = u32::try_from(bytes.len()).expect("an object is at most 8 MiB");
            moves.insert((object, place), (id, at));
            let range = u64::from(place)..u64::from(place) + len;
            let sealed =
                wait(async { Ok(self.store.get(StoreKey::Object(object), Some(range)).await?) })?;
            bytes.extend_from_slice(&sealed);
        }
        if !bytes.is_empty() {
            made.push(self.put_object(id, bytes.freeze())?);
        }
        Ok((moves, made))
    }

    fn put_object(&self, object: ObjectId, bytes: Bytes) -> Result<ObjectAdded> {
        let added =
            ObjectAdded { object, len: bytes.len() as u64, hash: Digest(blake3_256(&bytes)) };
        let key = StoreKey::Object(object);
        wait(async { Ok(self.store.put(key, Body::Bytes(bytes)).await.map(drop)?) })?;
        Ok(added)
    }

    /// Gives every snapshot from before the purge that still needs it a manifest of fresh pages without what is purged.
    pub(super) fn rewrite_snapshots(&self, intent: &mut Intent, begun: Begun) -> Result<()> {
        if self.options.tuning.broken == Some(Broken::SnapshotsNotPurged) {
            return Ok(());
        }
        let expunged = intent.expunged.unwrap_or(u64::MAX);
        let pinned: Vec<u64> =
            self.needed_commits()?.into_iter().filter(|seq| *seq < expunged).collect();
        let past = Past::open(self)?;
        let doomed = intent.doomed();
        for seq in pinned {
            let Some(checkpoint) = past.checkpoint(seq)? else { continue };
            let pages = checkpoint.root.page_objects.iter().map(|entry| entry.object);
            let state = self.scratch(&checkpoint);
            let old = pages.clone().any(|object| doomed.contains(&object));
            let moves = uses_any(&state.map, &intent.affected)?;
            if !old && !moves && !self.holds_purged(&state, intent)? {
                if self.may_differ(begun) {
                    self.level_copies(StoreKey::Checkpoint(seq))?;
                }
                continue;
            }
            let new_doomed: Vec<ObjectId> =
                pages.filter(|object| !doomed.contains(object)).collect();
            if !new_doomed.is_empty() {
                intent.doomed.extend(new_doomed);
                // ORDER: before the manifest that names them is replaced.
                self.write_intent(intent)?;
            }
            self.rewrite_snapshot(state, &checkpoint, intent)?;
        }
        Ok(())
    }

    /// Makes all copies of something the one that is read.
    fn level_copies(&self, key: StoreKey) -> Result<()> {
        let Some(bytes) = get(&self.store, key)? else { return Ok(()) };
        wait(async { Ok(self.store.put(key, Body::Bytes(bytes)).await.map(drop)?) })
    }

    fn holds_purged(&self, state: &State, intent: &Intent) -> Result<bool> {
        for ino in &intent.inos {
            let found = patiently(|| state.find_inode(*ino))?;
            if found.is_some_and(|inode| inode.kind != Kind::Folder && holds(&inode)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn rewrite_snapshot(
        &self,
        state: State,
        checkpoint: &Checkpoint,
        intent: &Intent,
    ) -> Result<()> {
        let mut state = state;
        let affected: BTreeSet<ObjectId> = intent.affected.iter().copied().collect();
        for ino in &intent.inos {
            let layer = self.waiting(&mut state, |state| blank(&state.map, *ino))?;
            state.map.install_committed(layer);
        }
        let mut users: BTreeMap<ObjectId, BTreeSet<Ino>> = BTreeMap::new();
        let mut blocks: BTreeSet<Block> = BTreeSet::new();
        visit_extents(&state.map, &mut |ino, extent| {
            if affected.contains(&extent.object) {
                users.entry(extent.object).or_default().insert(ino);
                let len = block_len(u64::from(extent.block_len));
                blocks.insert((extent.object, extent.place, len));
            }
        })?;
        // Objects of its own: two snapshots share no new one, so each may go alone.
        let (moves, made) = self.copy_blocks(&blocks)?;
        for (from, inos) in users {
            let inos: Vec<Ino> = inos.into_iter().collect();
            for (to, places) in places_of(&moves, from) {
                let op = Op::Relocate { from, to, inos: inos.clone(), places };
                self.waiting(&mut state, |state| state.replay(&op))?;
            }
        }
        for added in made {
            let usage =
                self.waiting(&mut state, |state| Txn::new(&state.map).object_use(added.object))?;
            if let Some(usage) = usage {
                state.map.install_committed(with_stored_len(added.object, usage, added.len));
            }
        }
        self.put_snapshot(&state.map, checkpoint)
    }

    /// Writes all pages anew and puts the root in place of the old one.
    fn put_snapshot(&self, map: &Map, checkpoint: &Checkpoint) -> Result<()> {
        let state = &checkpoint.state;
        let digest: &[u8; strongroom_crypto::lthash::STATE_LEN] = state
            .digest
            .as_slice()
            .try_into()
            .map_err(|_| Error::new(ErrorKind::Corrupt, "a digest of the wrong length"))?;
        let digest = self.digest_with(LtHash::from_bytes(digest), &map.tree, &map.overlay)?;
        let victims: HashSet<ObjectId> =
            checkpoint.root.page_objects.iter().map(|entry| entry.object).collect();
        let changes: Vec<_> = map
            .overlay
            .iter()
            .map(|(key, value)| (*key, value.as_ref().map(|value| value.to_bytes())))
            .collect();
        let changes = changes.iter().map(|(key, value)| (key.as_bytes(), value.as_deref()));
        let mut writer = PageWriter::new(&self.pages, &*self.services.entropy);
        let rewrite = patiently(|| {
            map.tree.rewrite(&WaitingPages(&self.pages), changes.clone(), &victims, &mut writer)
        })?;
        writer.finish()?;
        let ledger: Vec<PageObject> = writer.ledger().collect();
        let part = CompartmentState {
            root: rewrite.tree.root,
            height: rewrite.tree.height,
            count: rewrite.tree.count,
            digest: digest.to_bytes(),
            ..state.clone()
        };
        let head = Head { seq: checkpoint.root.seq, hash: checkpoint.root.head };
        let facts = HeadFacts { head, pin: self.roster.pin()?, time: checkpoint.root.time };
        let bytes = seal_checkpoint(&self.keys, &*self.services.entropy, &facts, &part, ledger)?;
        let key = StoreKey::Checkpoint(head.seq);
        wait(async { Ok(self.store.put(key, Body::Bytes(bytes)).await.map(drop)?) })?;
        self.past.lock().remove(&head.seq);
        Ok(())
    }
}

/// Whether a map has blocks in any of some objects.
fn uses_any(map: &Map, objects: &[ObjectId]) -> Result<bool> {
    for object in objects {
        if patiently(|| Txn::new(map).object_use(*object))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The changes that leave a name and attributes of an inode, and `Purged` in place of what it held.
fn blank(map: &Map, ino: Ino) -> crate::tree::need::Look<crate::tree::map::Layer> {
    let mut txn = Txn::new(map);
    let Some(found) = txn.find_inode(ino)? else { return Ok(Default::default()) };
    if found.kind == Kind::Folder || !holds(&found) {
        return Ok(Default::default());
    }
    let mut inode = (*found).clone();
    extents::clear(&mut txn, ino, &mut inode, 0, u64::MAX)?;
    if inode.kind == Kind::File {
        inode.content = Content::Purged;
    } else {
        // What a link pointed to is gone; an empty target is one.
        (inode.content, inode.size) = (Content::Target(Vec::new()), 0);
    }
    inode.xattrs.clear();
    txn.put_inode(ino, inode);
    Ok(txn.finish().layer)
}

/// Where the blocks of one object went, by new object.
fn places_of(moves: &Moves, from: ObjectId) -> BTreeMap<ObjectId, Vec<(u32, u32)>> {
    let mut by_object: BTreeMap<ObjectId, Vec<(u32, u32)>> = BTreeMap::new();
    for ((_, place), (to, new_place)) in moves.range((from, 0)..=(from, u32::MAX)) {
        by_object.entry(*to).or_default().push((*place, *new_place));
    }
    by_object
}
