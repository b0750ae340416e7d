//! What changes under the one lock: the map, open files, unsealed bytes, the batch being gathered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use strongroom_format::cbor::encode;
use strongroom_format::ids::{Digest, Ino, ObjectId};
use strongroom_format::inode::{Content, Inode, Kind};
use strongroom_format::key::{Key, Subject};
use strongroom_format::op::{Fate, Op};
use strongroom_journal::Journal;

use crate::block::dirty::Dirty;
use crate::block::stream::Stream;
use crate::door::{Access, HandleId};
use crate::error::{Error, ErrorKind};
use crate::numbers::Numbers;
use crate::outbound::seal::keep_inline;
use crate::tree::map::{Map, subject};
use crate::tree::need::{Look, Need};
use crate::tree::rules::{self, NameHash};
use crate::tree::txn::{Plan, Txn};

/// What is remembered of an inode while it is open, unsealed or unlinked but known to the kernel.
#[derive(Default)]
pub struct OpenFile {
    /// Handles on it.
    pub handles: u32,
    /// Bytes not sealed yet.
    pub dirty: Dirty,
    /// Whether size or times changed by writes that no sealed operation tells yet.
    pub touched: bool,
    /// Last attributes of an inode that is gone but still known to the kernel.
    pub ghost: Option<Arc<Inode>>,
}

impl OpenFile {
    fn is_idle(&self) -> bool {
        self.handles == 0 && !self.touched && self.dirty.is_empty() && self.ghost.is_none()
    }
}

/// An open handle.
#[derive(Clone, Copy)]
pub struct Handle {
    /// The file.
    pub ino: Ino,
    /// What it may do.
    pub access: Access,
    /// Whether each write is durable when it returns.
    pub synchronous: bool,
    /// Whether allocating and copying drop suid and sgid.
    pub drop_set_id: bool,
    /// What its reads have in common.
    pub stream: Stream,
}

/// Changes gathered for the next commit.
#[derive(Default)]
pub struct Batch {
    /// Encoded operations, one after the other.
    pub ops: Vec<u8>,
    /// How many.
    pub count: u64,
    /// When the first came.
    pub began: Option<Duration>,
    /// Bytes of file data written.
    pub data_bytes: u64,
    /// Objects whose last reference went.
    pub released: BTreeSet<ObjectId>,
}

/// The newest commit known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its sequence number; 0 before the first.
    pub seq: u64,
    /// SHA-256 of its header; of the genesis checkpoint all zero.
    pub hash: Digest,
}

/// Everything under the lock.
pub struct State {
    /// The map of compartment 0.
    pub map: Map,
    /// Its name hash.
    pub names: Arc<NameHash>,
    /// How often the kernel was told of an inode. Never iterated.
    pub lookups: HashMap<Ino, u64>,
    /// Files that are open, unsealed or ghosts.
    pub files: BTreeMap<Ino, OpenFile>,
    /// Inodes with unsealed changes, in order.
    pub unsealed: BTreeSet<Ino>,
    /// Orphans that go piece by piece, and up to where they are gone.
    pub doomed: BTreeMap<Ino, u64>,
    /// Orphans that lost their last name here.
    pub nameless: BTreeSet<Ino>,
    /// Open handles.
    pub handles: BTreeMap<HandleId, Handle>,
    /// Next handle number.
    pub next_handle: u64,
    /// Numbers for inodes that are made here.
    pub numbers: Numbers,
    /// Changes for the next commit.
    pub batch: Batch,
    /// Operations in the cut that is being published.
    pub cut_count: u64,
    /// Unsealed bytes of all files.
    pub dirty_bytes: u64,
    /// Memory that they take.
    pub held_bytes: u64,
    /// Newest commit.
    pub head: Head,
    /// Whether the journal has yet to say that what follows is on top of `head`: set when others' commits came in.
    pub unmarked_base: bool,
    /// Number that it says of itself then, where numbers begin anew far ahead: the one after the last before.
    pub unmarked_from: Option<u64>,
    /// Inodes whose pages the kernel may have from before others changed them. Dropped at the next open.
    pub outdated: BTreeSet<Ino>,
    /// Whether the map holds a rule or a snapshot; none: to be looked up.
    pub keeps_history: Option<bool>,
    /// How often that had to be decided anew.
    pub history_changes: u64,
    /// Bytes of log since the last checkpoint.
    pub log_bytes: u64,
    /// Set when durability is unknown: every later change fails.
    pub poisoned: bool,
    /// Bytes of operations at which a batch takes no more.
    pub batch_bytes_limit: usize,
}

/// All that is needed to install an operation without another look at the map.
struct Prepared {
    plan: Plan,
    /// Inline content that blocks replace.
    replaced_inline: Option<Vec<u8>>,
}

impl State {
    /// Plans, journals and installs an operation: from here on it survives `kill -9`.
    ///
    /// # Errors
    /// `Full` when the journal has no room, `Poisoned` after a failed fsync; nothing has changed then.
    pub fn execute(&mut self, journal: &Journal, now: Duration, op: &Op) -> Look<()> {
        if self.poisoned {
            return Err(poisoned().into());
        }
        // ORDER: everything is read before the append. A look that stops behind it would be repeated, and append again.
        let prepared = self.prepare(op)?;
        let bytes = encode(op);
        if self.batch.ops.len() + bytes.len() > self.batch_bytes_limit {
            let message = "changes cannot be committed; the batch is full until they can";
            return Err(fail(ErrorKind::Full, message));
        }
        self.mark_base(journal)?;
        self.append(journal, &bytes)?;
        self.take_in(prepared, op, &bytes, now);
        Ok(())
    }

    /// ORDER: before the first change that was planned on top of others' commits.
    fn mark_base(&mut self, journal: &Journal) -> Look<()> {
        if self.unmarked_base {
            let from = self.unmarked_from.unwrap_or(journal.position() + 1);
            let seq = self.head.seq;
            self.append(journal, &encode(&Op::Based { seq, from, last: true }))?;
            (self.unmarked_base, self.unmarked_from) = (false, None);
        }
        Ok(())
    }

    fn append(&mut self, journal: &Journal, bytes: &[u8]) -> Look<()> {
        if let Err(error) = journal.append(bytes) {
            let error = Error::from(error);
            self.poisoned |= error.kind() == ErrorKind::Poisoned;
            return Err(error.into());
        }
        Ok(())
    }

    /// Installs an operation that the journal holds already, when it is replayed.
    pub fn redo(&mut self, now: Duration, op: &Op, bytes: &[u8]) -> Look<()> {
        let prepared = self.prepare(op)?;
        self.take_in(prepared, op, bytes, now);
        Ok(())
    }

    fn prepare(&self, op: &Op) -> Look<Prepared> {
        let replaced_inline = match op {
            Op::SetExtents { ino, .. } => match &self.inode(*ino)?.content {
                Content::Inline(inline) => Some(inline.clone()),
                _ => None,
            },
            _ => None,
        };
        Ok(Prepared { plan: self.plan(op)?, replaced_inline })
    }

    fn take_in(&mut self, prepared: Prepared, op: &Op, bytes: &[u8], now: Duration) {
        if let (Op::SetExtents { ino, .. }, Some(inline)) = (op, &prepared.replaced_inline) {
            // Blocks sealed straight from a write replace inline content: what they do not cover is kept unsealed.
            keep_inline(self, *ino, inline);
            self.file(*ino).touched = true;
            self.unsealed.insert(*ino);
        }
        self.install(prepared.plan, op);
        if !matches!(op, Op::Write { .. }) {
            self.gather(bytes, now);
        }
        self.batch.began.get_or_insert(now);
    }

    /// Installs an operation whose effect the journal already tells another way: bytes of `Write` records that are
    /// now sealed in blocks.
    pub fn materialise(&mut self, now: Duration, op: &Op) -> Look<()> {
        let plan = self.plan(op)?;
        self.install(plan, op);
        self.gather(&encode(op), now);
        Ok(())
    }

    /// Installs an operation of a commit that is in the log, when nothing is in memory but what commits hold.
    pub fn replay(&mut self, op: &Op) -> Look<()> {
        let plan = self.plan(op)?;
        self.note_history(op);
        self.map.install_committed(plan.layer);
        Ok(())
    }

    /// Reads all that an operation needs.
    pub fn look_ahead(&self, op: &Op) -> Look<()> {
        self.plan(op).map(drop)
    }

    fn plan(&self, op: &Op) -> Look<Plan> {
        let mut txn = Txn::new(&self.map);
        rules::plan(&mut txn, &self.names, op)?;
        Ok(txn.finish())
    }

    /// Adds an encoded operation to the batch.
    pub fn gather(&mut self, bytes: &[u8], now: Duration) {
        self.batch.ops.extend_from_slice(bytes);
        self.batch.count += 1;
        self.batch.began.get_or_insert(now);
    }

    fn install(&mut self, plan: Plan, op: &Op) {
        note_released(&mut self.batch.released, &plan);
        self.note_history(op);
        self.map.install(plan.layer);
        self.follow(op);
    }

    /// What is kept of the past may be decided anew.
    fn note_history(&mut self, op: &Op) {
        if let Op::SetSnapshot { .. } | Op::SetXattr { ino: Ino::ROOT, .. } = op {
            self.keeps_history = None;
            self.history_changes += 1;
        }
    }

    /// Brings unsealed bytes and counters in line with an operation just installed.
    fn follow(&mut self, op: &Op) {
        match op {
            Op::Write { ino, offset, data, .. } => {
                self.change_dirty(*ino, |dirty| dirty.write(*offset, data));
                self.file(*ino).touched = true;
                self.unsealed.insert(*ino);
                self.batch.data_bytes += data.len() as u64;
            }
            Op::SetAttributes { ino, size: Some(size), .. } => {
                self.change_dirty(*ino, |dirty| dirty.clear(*size, u64::MAX));
            }
            Op::Punch { ino, offset, len, .. } => {
                self.change_dirty(*ino, |dirty| dirty.clear(*offset, offset.saturating_add(*len)));
            }
            Op::Clone { to, to_offset, len, .. } => {
                self.change_dirty(*to, |dirty| dirty.clear(*to_offset, to_offset + len));
            }
            Op::SetExtents { ino, extents, .. } => {
                self.change_dirty(*ino, |dirty| {
                    for extent in extents {
                        dirty.clear(extent.offset, extent.offset + u64::from(extent.len));
                    }
                });
            }
            Op::SetInline { ino, .. } => self.change_dirty(*ino, |dirty| dirty.clear(0, u64::MAX)),
            Op::Unlink { ino, fate: Fate::Remove, .. } => self.forget_removed(*ino),
            Op::Rename { replaced, fate: Fate::Remove, .. } if *replaced != Ino(0) => {
                self.forget_removed(*replaced);
            }
            Op::Unlink { ino, fate: Fate::Keep, .. } => self.note_nameless(*ino),
            Op::Rename { replaced, fate: Fate::Keep, .. } if *replaced != Ino(0) => {
                self.note_nameless(*replaced);
            }
            Op::Purge { ino } => {
                self.doomed.remove(ino);
                self.nameless.remove(ino);
                self.forget_removed(*ino);
            }
            Op::Create { ino, .. } => self.numbers.note(*ino),
            Op::Link { .. }
            | Op::Rename { .. }
            | Op::Exchange { .. }
            | Op::SetAttributes { .. }
            | Op::SetXattr { .. }
            | Op::Based { .. }
            | Op::Rewrite { .. }
            | Op::SetSnapshot { .. }
            | Op::Expunge { .. }
            | Op::Relocate { .. } => {}
        }
    }

    fn note_nameless(&mut self, ino: Ino) {
        if matches!(self.map.local.get(&Key::orphan(ino)), Some(Some(_))) {
            self.nameless.insert(ino);
        }
    }

    /// Drops unsealed bytes of an inode that an operation took away with its last name.
    fn forget_removed(&mut self, ino: Ino) {
        let gone = matches!(self.map.local.get(&Key::inode(ino)), Some(None));
        if gone {
            self.forget_unsealed(ino);
        }
    }

    fn forget_unsealed(&mut self, ino: Ino) {
        self.change_dirty(ino, |dirty| dirty.clear(0, u64::MAX));
        self.file(ino).touched = false;
        self.unsealed.remove(&ino);
        self.tidy(ino);
    }

    /// Operations tell all there is of a file.
    pub fn note_sealed(&mut self, ino: Ino) {
        self.file(ino).touched = false;
        self.unsealed.remove(&ino);
        self.tidy(ino);
    }

    /// An inode that lost its last name and that nobody has open stays only to go piece by piece. Not for replay: who
    /// had it open may have gone on with it.
    pub fn doom_if_closed(&mut self, ino: Ino) {
        let orphan = matches!(self.map.local.get(&Key::orphan(ino)), Some(Some(_)));
        if orphan && !self.is_open(ino) {
            self.doom(ino);
        }
    }

    /// Lets an orphan go piece by piece.
    pub fn doom(&mut self, ino: Ino) {
        self.doomed.entry(ino).or_default();
        self.forget_unsealed(ino);
    }

    /// Whether there is a handle on a file.
    pub fn is_open(&self, ino: Ino) -> bool {
        self.files.get(&ino).is_some_and(|file| file.handles > 0)
    }

    /// Changes the unsealed bytes of a file and keeps the sum.
    pub fn change_dirty(&mut self, ino: Ino, change: impl FnOnce(&mut Dirty)) {
        let file = self.files.entry(ino).or_default();
        let (bytes, held) = (file.dirty.bytes(), file.dirty.held_bytes());
        change(&mut file.dirty);
        self.dirty_bytes = self.dirty_bytes - bytes + file.dirty.bytes();
        self.held_bytes = self.held_bytes - held + file.dirty.held_bytes();
        self.tidy(ino);
    }

    /// The open-file record of an inode, made if missing.
    pub fn file(&mut self, ino: Ino) -> &mut OpenFile {
        self.files.entry(ino).or_default()
    }

    /// Drops the open-file record when it says nothing.
    pub fn tidy(&mut self, ino: Ino) {
        if self.files.get(&ino).is_some_and(OpenFile::is_idle) {
            self.files.remove(&ino);
        }
    }

    /// Reads an inode if it is there.
    pub fn find_inode(&self, ino: Ino) -> Look<Option<Arc<Inode>>> {
        Txn::new(&self.map).find_inode(ino)
    }

    /// Reads an inode. `Stale` if it is gone.
    pub fn inode(&self, ino: Ino) -> Look<Arc<Inode>> {
        Txn::new(&self.map).inode(ino)
    }

    /// Reads a folder's inode that still has a name.
    pub fn live_folder(&self, ino: Ino) -> Look<Arc<Inode>> {
        match self.find_inode(ino)? {
            Some(inode) if inode.kind == Kind::Folder => Ok(inode),
            Some(_) => Err(fail(ErrorKind::NotDirectory, "not a folder")),
            None => Err(fail(ErrorKind::NotFound, "the folder was removed")),
        }
    }

    /// Finds a name.
    pub fn entry(
        &self,
        folder: Ino,
        name: &[u8],
    ) -> Look<Option<Arc<strongroom_format::inode::Entry>>> {
        let txn = Txn::new(&self.map);
        Ok(txn.find_entry(folder, self.names.of(name), name)?.map(|(_, entry)| entry))
    }

    /// The handle with this number.
    pub fn handle(&self, handle: HandleId) -> Look<Handle> {
        self.handles
            .get(&handle)
            .copied()
            .ok_or_else(|| fail(ErrorKind::BadHandle, "no such handle"))
    }

    /// Inodes without a name, of all homes.
    pub fn orphans(&self) -> Look<Vec<Ino>> {
        let mut found = Vec::new();
        let (from, to) = Key::orphans();
        self.map.scan(&from, &to, None, &mut |key, _| {
            if let Subject::Orphan(ino) = subject(key) {
                found.push(ino);
            }
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}

/// Takes note of objects whose last reference goes, and of those that are referred to again (a clone after the last
/// reference went).
pub fn note_released(released: &mut BTreeSet<ObjectId>, plan: &Plan) {
    for key in plan.layer.keys() {
        if let Subject::Object(object) = subject(key) {
            released.remove(&object);
        }
    }
    released.extend(plan.released.iter().copied());
}

/// A failed look with a kind and a sentence.
pub fn fail(kind: ErrorKind, message: &str) -> Need {
    Need::Failed(Error::new(kind, message))
}

/// The error every change meets after a failed fsync.
pub fn poisoned() -> Error {
    Error::new(ErrorKind::Poisoned, "an fsync failed; unmount and mount again to go on")
}

#[cfg(test)]
mod tests;
