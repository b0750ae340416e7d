//! A home that was away for longer than others keep what its changes were done on top of. The newest map stands in for
//! that, made to fit: what the changes name and is gone is there again, empty; names that they give are free. Then they are
//! put on top of the newest map as always, as if others had edited everything meanwhile: what was edited here becomes a
//! conflict copy, what was removed here stays.
//!
//! Blocks of others that the changes name may be gone as well: a conflict copy that was not committed shares them with the file.
//! What there is of such a file is kept, and its name says that a part is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strongroom_format::cbor::encode;
use strongroom_format::ids::Ino;
use strongroom_format::inode::{Entry, Inode, Kind};
use strongroom_format::key::Key;
use strongroom_format::op::Op;
use strongroom_format::ops;
use strongroom_journal::Journal;
use strongroom_store::{Family, Key as StoreKey};

use super::log::keys_of;
use super::recover::{Block, Leftover, Replayed, Step, lost_by_store};
use super::taken::Taken;
use crate::error::{Error, ErrorKind, Result};
use crate::outbound::seal::seal_op;
use crate::state::State;
use crate::tree::map::{Layer, Value};
use crate::tree::pages::patiently;
use crate::tree::txn::Txn;
use crate::workspace::Inner;

/// LIMIT: depth of folders that a walk to the root follows.
const DEPTH_MAX: usize = 100_000;

impl Inner {
    /// Whether what cannot be read of an earlier state was let go of, for its age or by a purge.
    ///
    /// Told by what others signed, not by what the store lacks: one that shows the past wrongly could else have what was done here put
    /// beside, and what it replaced shown again. LIMIT: one that takes the bodies of commits looks as after a purge.
    pub(super) fn is_let_go_of(&self, seq: u64, error: &Error) -> Result<bool> {
        match error.kind() {
            ErrorKind::Purged => Ok(true),
            ErrorKind::Corrupt if !error.is_fork() => {
                Ok(self.reader_anew().is_stripped(seq + 1)? || self.is_past_retention(seq)?)
            }
            _ => Ok(false),
        }
    }

    /// Whether the next checkpoint after a commit is so old that nobody keeps what was before it. Whoever removed that went by a clock of
    /// its own, which the newest checkpoint tells.
    fn is_past_retention(&self, seq: u64) -> Result<bool> {
        let mut later = keys_of(&self.store, Family::Checkpoint)?;
        later.retain(|key| *key > StoreKey::Checkpoint(seq));
        let Some(next) = self.first_time(later.iter())? else { return Ok(false) };
        let newest = self.first_time(later.iter().rev())?.unwrap_or(next);
        let age = newest.max(self.services.clock.now_ns()).saturating_sub(next);
        // Clocks of homes differ.
        let kept = self.options.tuning.retention / 2;
        Ok(i128::from(age) >= i128::try_from(kept.as_nanos()).unwrap_or(i128::MAX))
    }

    /// When the first of these checkpoints that is sound was made, by its author's clock.
    fn first_time<'k>(&self, keys: impl Iterator<Item = &'k StoreKey>) -> Result<Option<i64>> {
        for key in keys {
            let StoreKey::Checkpoint(seq) = key else { continue };
            if let Some(root) = self.past_root_if_sound(*seq)? {
                return Ok(Some(root.time));
            }
        }
        Ok(None)
    }

    /// Replays records whose base is gone, and puts what they say on top of the newest commit.
    pub(super) fn replay_away(&self, left: &Leftover, journal: Journal) -> Result<Replayed> {
        let (next, names) = {
            let state = self.state.lock();
            (state.map.committed(), state.names.clone())
        };
        let (mut replayed, mut fitted) = (Replayed::default(), Fitted::default());
        for (number, payload) in &left.records {
            if !replayed.goes_on() {
                break;
            }
            match self.replay_fitted(payload, &mut fitted) {
                Ok(Step::Done) => replayed.records += 1,
                Ok(Step::BytesMissing) => replayed.cut = Some(*number),
                Err(error) => replayed.failed = Some(error),
            }
        }
        let replayed = self.keep_journal(journal, replayed)?;
        let base = self.state.lock().map.committed();
        let taken = Taken::unknown(&next, names, fitted);
        self.put_on_top(&mut self.outbound.lock(), base, (taken, &[]))?;
        Ok(replayed)
    }

    fn replay_fitted(&self, payload: &[u8], fitted: &mut Fitted) -> Result<Step> {
        let mut rest = payload;
        while !rest.is_empty() {
            let (op, after) = ops::decode_one(rest)?;
            rest = after;
            let op = Fit { state: &mut self.state.lock(), inner: self, fitted }.fit(op)?;
            let Some(op) = op else { continue };
            fitted.note(&op);
            let Some(op) = self.without_gone(op, fitted)? else { return Ok(Step::BytesMissing) };
            self.redo(&op, &encode(&op))?;
        }
        Ok(Step::Done)
    }

    /// A write without the blocks that are gone for good: others let go of them longer ago than they are kept. None if one is
    /// here and damaged.
    fn without_gone(&self, op: Op, fitted: &mut Fitted) -> Result<Option<Op>> {
        let Op::SetExtents { ino, size, extents, mode, mtime, ctime } = op else {
            return Ok(Some(op));
        };
        let mut there = Vec::new();
        for extent in extents {
            match self.find_block(&extent)? {
                Block::There => there.push(extent),
                Block::Damaged if self.was_stored(extent.object)? => {
                    return Err(lost_by_store(extent.object));
                }
                Block::Damaged => return Ok(None),
                Block::Gone => drop(fitted.incomplete.insert(ino)),
            }
        }
        Ok(Some(seal_op(ino, there, (size, mode, mtime, ctime))))
    }
}

/// What became of the changes while they were made to fit.
#[derive(Default)]
pub(super) struct Fitted {
    /// Inodes that were made here.
    pub(super) new: BTreeSet<Ino>,
    /// Files that lost a part of what they held here.
    pub(super) incomplete: BTreeSet<Ino>,
    /// Numbers of what was made here that were given before, and what stands for them.
    again: BTreeMap<Ino, Ino>,
}

impl Fitted {
    fn note(&mut self, op: &Op) {
        match op {
            Op::Create { ino, .. } => drop(self.new.insert(*ino)),
            // Nothing of what it held is needed any more.
            Op::SetInline { ino, .. } | Op::SetAttributes { ino, size: Some(0), .. } => {
                self.incomplete.remove(ino);
            }
            Op::Clone { from, to, .. } if self.incomplete.contains(from) => {
                self.incomplete.insert(*to);
            }
            _ => {}
        }
    }
}

/// Makes the map fit the next operation.
struct Fit<'a> {
    state: &'a mut State,
    inner: &'a Inner,
    fitted: &'a mut Fitted,
}

impl Fit<'_> {
    /// The operation with numbers of its own for what was made here: a home that was rolled back gives some for the second time.
    fn number(&mut self, op: Op) -> Result<Op> {
        if let Op::Create { ino, .. } = &op
            && self.inode(*ino)?.is_some()
        {
            self.fitted.again.insert(*ino, self.state.numbers.next());
        }
        let mut op = op;
        for ino in op.inodes_mut() {
            *ino = self.fitted.again.get(ino).copied().unwrap_or(*ino);
        }
        Ok(op)
    }

    /// The operation as it can be done now; none if it has lost its sense.
    fn fit(mut self, op: Op) -> Result<Option<Op>> {
        let op = self.number(op)?;
        let makes_sense = match &op {
            Op::Create { folder, name, .. } => {
                self.need_folder(*folder)?;
                self.free(*folder, name)?;
                true
            }
            Op::Link { ino, folder, name, .. } => {
                self.need_file(*ino)?;
                self.need_folder(*folder)?;
                let is_there = self.is_named(*folder, name, *ino)?;
                if !is_there {
                    self.free(*folder, name)?;
                }
                !is_there
            }
            Op::Unlink { folder, name, ino, .. } => {
                self.is_named(*folder, name, *ino)? && self.may_go(*ino)?
            }
            Op::Rename { .. } => return self.fit_rename(op),
            // No byte is lost with it.
            Op::Exchange { .. } | Op::Rewrite { .. } | Op::Relocate { .. } | Op::Based { .. } => {
                false
            }
            Op::SetAttributes { ino, size: None, .. } | Op::SetXattr { ino, .. } => {
                self.inode(*ino)?.is_some()
            }
            Op::SetAttributes { ino, size: Some(_), .. }
            | Op::SetInline { ino, .. }
            | Op::SetExtents { ino, .. }
            | Op::Punch { ino, .. }
            | Op::Write { ino, .. } => {
                self.need_file(*ino)?;
                true
            }
            Op::Clone { from, to, .. } => {
                self.need_file(*from)?;
                self.need_file(*to)?;
                true
            }
            Op::SetSnapshot { .. } | Op::Expunge { .. } => true,
            Op::Purge { ino } => self.inode(*ino)?.is_some_and(|inode| inode.link_count == 0),
        };
        Ok(makes_sense.then_some(op))
    }

    fn fit_rename(&mut self, op: Op) -> Result<Option<Op>> {
        let mut op = op;
        let Op::Rename { from, from_name, to, to_name, ino, replaced, .. } = &mut op else {
            return Ok(None);
        };
        if !self.is_named(*from, from_name, *ino)? || self.is_named(*to, to_name, *ino)? {
            return Ok(None);
        }
        self.need_folder(*to)?;
        if self.is_inside(*to, *ino)? {
            return Ok(None);
        }
        let replaces = replaced.0 != 0 && self.is_named(*to, to_name, *replaced)?;
        if !(replaces && self.may_go(*replaced)?) {
            *replaced = Ino(0);
            self.free(*to, to_name)?;
        }
        Ok(Some(op))
    }

    fn inode(&self, ino: Ino) -> Result<Option<Arc<Inode>>> {
        patiently(|| self.state.find_inode(ino))
    }

    fn is_named(&self, folder: Ino, name: &[u8], ino: Ino) -> Result<bool> {
        let found = patiently(|| self.state.entry(folder, name))?;
        Ok(found.is_some_and(|entry| entry.ino == ino))
    }

    /// A folder that others put something into stays.
    fn may_go(&self, ino: Ino) -> Result<bool> {
        match self.inode(ino)? {
            Some(inode) if inode.kind == Kind::Folder => {
                patiently(|| Txn::new(&self.state.map).is_empty_folder(ino))
            }
            found => Ok(found.is_some()),
        }
    }

    fn is_inside(&self, folder: Ino, above: Ino) -> Result<bool> {
        let mut at = folder;
        for _ in 0..DEPTH_MAX {
            if at == above {
                return Ok(true);
            }
            match self.inode(at)? {
                Some(inode) if at != Ino::ROOT => at = inode.parent,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes the name from whatever others gave it to.
    fn free(&mut self, folder: Ino, name: &[u8]) -> Result<()> {
        let hash = self.state.names.of(name);
        let found = patiently(|| Txn::new(&self.state.map).find_entry(folder, hash, name))?;
        if let Some((cookie, _)) = found {
            self.set(Key::entry(folder, cookie), None);
        }
        Ok(())
    }

    fn need_folder(&mut self, ino: Ino) -> Result<()> {
        let is_there = self.inode(ino)?.is_some_and(|inode| inode.kind == Kind::Folder);
        if is_there { Ok(()) } else { self.stand_in(ino, Kind::Folder) }
    }

    fn need_file(&mut self, ino: Ino) -> Result<()> {
        if self.inode(ino)?.is_some() {
            return Ok(());
        }
        self.fitted.incomplete.insert(ino);
        self.stand_in(ino, Kind::File)
    }

    /// Something empty in place of what is gone, in the root folder.
    fn stand_in(&mut self, ino: Ino, kind: Kind) -> Result<()> {
        let (word, mode) = match kind {
            Kind::Folder => ("folder", 0o700),
            _ => ("file", 0o600),
        };
        let (owner, now) = (self.inner.options.owner, self.inner.services.clock.now_ns());
        let inode = Inode::new(kind, mode, owner, Ino::ROOT, now);
        let name = format!("{word} {:x}", ino.0).into_bytes();
        self.free(Ino::ROOT, &name)?;
        let hash = self.state.names.of(&name);
        let cookie = patiently(|| Txn::new(&self.state.map).free_place(Ino::ROOT, hash))?;
        self.set(Key::inode(ino), Some(Value::Inode(inode.into())));
        let entry = Entry { name, ino, kind };
        self.set(Key::entry(Ino::ROOT, cookie), Some(Value::Entry(entry.into())));
        Ok(())
    }

    /// As if a commit had said so.
    fn set(&mut self, key: Key, value: Option<Value>) {
        // What the operations before put there is in the way as well.
        self.state.map.local.remove(&key);
        self.state.map.install_committed(Layer::from([(key, value)]));
    }
}
