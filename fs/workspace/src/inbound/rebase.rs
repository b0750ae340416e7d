//! Putting what no commit holds on top of what others committed meanwhile.
//!
//! The operations done here are taken one by one, in their order, and what each was meant to do is done to the map
//! with the others' commits in it. What comes out are operations that apply exactly, so whoever replays the log needs
//! none of these rules. docs/semantics.md says what becomes of conflicts.
//!
//! ```text
//! base ── others' commits ──▶ next (grows by what is done here)
//!   └──── operations here ──▶ mine (as it looks here)
//! ```
//!
//! 1. Nothing local decides: the same operations on the same commits come to the same.
//! 2. No written byte is dropped: where its file or name is taken, a conflict copy holds it.
//! 3. An object that others let go of is never referred to again: what is needed of it is sealed anew.

mod content;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use strongroom_format::cbor::encode;
use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::{Entry, Inode, Kind, Snapshot, XATTR_BYTES_MAX};
use strongroom_format::op::{Fate, Op};
use strongroom_store::Key as StoreKey;

use super::log::get;
use super::taken::{Taken, Touched};
use crate::error::{ErrorKind, Result};
use crate::numbers::Numbers;
use crate::state::{State, note_released};
use crate::tree::map::Map;
use crate::tree::pages::patiently;
use crate::tree::places::place_of;
use crate::tree::rules::{self, NameHash};
use crate::tree::txn::Txn;
use crate::workspace::Inner;

/// LIMIT: depth of folders that a walk to the root follows.
const DEPTH_MAX: usize = 100_000;
/// LIMIT: characters of a device's name in the name of a conflict copy.
const LABEL_CHARS_MAX: usize = 24;

/// What is to be put on top of others' commits.
pub(super) struct Rebase<'a> {
    inner: &'a Inner,
    names: Arc<NameHash>,
    base: &'a Map,
    mine: &'a Map,
    touched: Touched,
    device: String,
    /// Stands for another inode from now on: two folders that became one.
    merged: BTreeMap<Ino, Ino>,
    /// What was brought back here as well as elsewhere, by the inode that is another one's now.
    twice: BTreeMap<Ino, Ino>,
    /// Conflict copies by the file whose content here they hold.
    copies: BTreeMap<Ino, Ino>,
    /// Files that others removed and that came back here with what they held: what was done to them here is done to them.
    back: BTreeSet<Ino>,
    /// What was removed here, but others went on with it: it stays as they left it.
    spared: BTreeSet<Ino>,
    /// What was purged here: it goes, whatever others did to it before.
    expunged: BTreeSet<Ino>,
    /// The word that goes with the next removal: that what it takes is purged.
    word: Option<Op>,
    /// What was removed here after other files had taken contents of it: a copy holds what it held here until they have them.
    lent: BTreeSet<Ino>,
    /// Where names went that were taken: by folder and name as they were meant.
    placed: BTreeMap<(Ino, Vec<u8>), Vec<u8>>,
    /// Files that lost a part of what they held here, as they are called here.
    incomplete: BTreeSet<Ino>,
    /// The same, as they are now.
    torn: BTreeSet<Ino>,
    out: Rebased,
}

/// The outcome.
pub(super) struct Rebased {
    /// The map: others' commits in `settling`, what no commit holds in `local`.
    pub(super) next: Map,
    /// Operations that no commit holds, encoded.
    pub(super) ops: Vec<u8>,
    /// Where each of them ends.
    pub(super) ends: Vec<usize>,
    pub(super) count: u64,
    /// Objects whose last reference they take.
    pub(super) released: BTreeSet<ObjectId>,
    pub(super) numbers: Numbers,
}

impl<'a> Rebase<'a> {
    pub(super) fn new(inner: &'a Inner, state: &'a State, base: &'a Map, taken: Taken) -> Self {
        let out = Rebased {
            next: taken.next,
            ops: Vec::new(),
            ends: Vec::new(),
            count: 0,
            released: BTreeSet::new(),
            numbers: state.numbers,
        };
        Self {
            inner,
            names: state.names.clone(),
            base,
            mine: &state.map,
            touched: taken.touched,
            device: device_label(inner),
            merged: BTreeMap::new(),
            twice: BTreeMap::new(),
            copies: BTreeMap::new(),
            back: BTreeSet::new(),
            spared: BTreeSet::new(),
            expunged: BTreeSet::new(),
            word: None,
            lent: BTreeSet::new(),
            placed: BTreeMap::new(),
            incomplete: taken.incomplete,
            torn: BTreeSet::new(),
            out,
        }
    }

    /// Takes the operations that no commit holds.
    pub(super) fn run(mut self, ops: Vec<Op>) -> Result<Rebased> {
        self.spare(&ops)?;
        let mut ops = ops.into_iter().peekable();
        while let Some(op) = ops.next() {
            if ops.peek().is_some_and(|next| rules::purged_name(&op, next).is_some()) {
                self.word = Some(op);
                continue;
            }
            self.take(op)?;
            self.word = None;
        }
        self.drop_lenders()?;
        self.name_incomplete()?;
        Ok(self.out)
    }

    /// Finds what was removed here while others went on with it, and what lent contents before.
    fn spare(&mut self, ops: &[Op]) -> Result<()> {
        self.expunged.extend(rules::purged_names(ops));
        for op in ops {
            if let Op::Clone { from, .. } = op
                && self.is_dead_here(*from)?
            {
                self.lent.insert(*from);
            }
            let (Op::Unlink { ino, .. } | Op::Rename { replaced: ino, .. }) = op else { continue };
            let Some(inode) = find(self.base, *ino)? else { continue };
            let used = self.touched.is_edited(*ino) || self.touched.is_named(*ino);
            let stays = find(&self.out.next, *ino)?.is_some_and(|inode| inode.link_count > 0);
            let used = used && !self.expunged.contains(ino);
            if inode.kind != Kind::Folder && used && stays && self.is_dead_here(*ino)? {
                self.spared.insert(*ino);
            }
        }
        Ok(())
    }

    /// Takes away the copies that nothing but contents of other files was made for.
    fn drop_lenders(&mut self) -> Result<()> {
        for ino in std::mem::take(&mut self.lent) {
            let Some(copy) = self.copies.get(&ino).copied() else { continue };
            let Some((folder, name)) = place_of(&self.out.next, copy)? else { continue };
            let time = find(&self.out.next, copy)?.map_or(0, |inode| inode.ctime);
            self.emit(&Op::Unlink { folder, name, ino: copy, fate: Fate::Remove, time })?;
        }
        Ok(())
    }

    fn take(&mut self, op: Op) -> Result<()> {
        match &op {
            Op::Create { .. } => self.create(op),
            Op::Link { ino, folder, name, time } => self.link(*ino, (*folder, name), *time),
            Op::Unlink { folder, name, ino, fate, time } => {
                self.unlink((*folder, name), *ino, *fate, *time)
            }
            Op::Rename { .. } => self.rename(op),
            Op::Exchange { from, from_name, to, to_name, time } => {
                self.exchange((*from, from_name), (*to, to_name), *time)
            }
            Op::SetAttributes { size: Some(_), .. }
            | Op::SetInline { .. }
            | Op::SetExtents { .. }
            | Op::Punch { .. } => self.content(op),
            Op::Clone { .. } => self.clone_range(op),
            Op::SetAttributes { ino, .. } => match self.holder(*ino)? {
                Some(holder) => self.emit(&with_ino(op, holder)),
                None => Ok(()),
            },
            Op::SetXattr { ino, name, value, .. } => match self.holder(*ino)? {
                Some(holder) if self.has_room(holder, name, value.as_deref())? => {
                    self.emit(&with_ino(op, holder))
                }
                _ => Ok(()),
            },
            Op::Purge { ino } => {
                let ino = self.merged_into(*ino);
                match find(&self.out.next, ino)? {
                    Some(inode) if inode.link_count == 0 => self.emit(&Op::Purge { ino }),
                    _ => Ok(()),
                }
            }
            Op::Rewrite { ino, .. } => {
                let same = !self.touched.is_edited(*ino) && !self.copies.contains_key(ino);
                match find(&self.out.next, *ino)? {
                    Some(_) if same && !self.spared.contains(ino) => self.emit(&op),
                    _ => Ok(()),
                }
            }
            Op::SetSnapshot { snapshot: Some(snapshot), .. } if !self.is_kept(snapshot)? => {
                self.inner.counts.unplaced.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Op::Expunge { inos } => self.expunge(inos),
            Op::Relocate { .. } | Op::SetSnapshot { .. } => self.emit(&op),
            // Of the journal alone.
            Op::Based { .. } | Op::Write { .. } => Ok(()),
        }
    }

    /// What has a name, for others moved it or brought it back, is not purged.
    fn expunge(&mut self, inos: &[Ino]) -> Result<()> {
        let mut gone = Vec::new();
        for ino in inos {
            if find(&self.out.next, *ino)?.is_none_or(|inode| inode.link_count == 0) {
                gone.push(*ino);
            }
        }
        match gone.is_empty() && !inos.is_empty() {
            true => Ok(()),
            false => self.emit(&Op::Expunge { inos: gone }),
        }
    }

    /// Whether the state of a snapshot that nobody heard of yet is there: others collect it where that takes too long.
    fn is_kept(&self, snapshot: &Snapshot) -> Result<bool> {
        Ok(get(&self.inner.store, StoreKey::Checkpoint(snapshot.seq))?.is_some())
    }

    /// Does an operation to the map with the others' commits.
    fn emit(&mut self, op: &Op) -> Result<()> {
        let planned = patiently(|| {
            let mut txn = Txn::new(&self.out.next);
            rules::plan(&mut txn, &self.names, op)?;
            Ok(txn.finish())
        });
        let plan = match planned {
            Ok(plan) => plan,
            // One that makes no sense any more blocks none of the others.
            Err(error) if is_about_the_op(error.kind()) => {
                self.inner.counts.unplaced.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        note_released(&mut self.out.released, &plan);
        self.out.next.install(plan.layer);
        self.out.ops.extend_from_slice(&encode(op));
        self.out.ends.push(self.out.ops.len());
        self.out.count += 1;
        Ok(())
    }

    /// The inode that has the attributes an inode had here; none if they are of no use any more.
    fn holder(&self, ino: Ino) -> Result<Option<Ino>> {
        if self.spared.contains(&ino) {
            return Ok(None);
        }
        let holder = self.copies.get(&ino).copied().unwrap_or_else(|| self.merged_into(ino));
        Ok(find(&self.out.next, holder)?.map(|_| holder))
    }

    fn merged_into(&self, ino: Ino) -> Ino {
        let instead = self.merged.get(&ino).or_else(|| self.twice.get(&ino));
        instead.copied().unwrap_or(ino)
    }

    /// Whether an attribute fits beside those that others have set.
    fn has_room(&self, ino: Ino, name: &[u8], value: Option<&[u8]>) -> Result<bool> {
        let Some(inode) = find(&self.out.next, ino)? else { return Ok(false) };
        let others = inode.xattrs.iter().filter(|xattr| xattr.name != name);
        let taken: usize = others.map(|xattr| xattr.name.len() + xattr.value.len()).sum();
        let wanted = value.map_or(0, |value| value.len() + name.len());
        Ok(taken + wanted <= XATTR_BYTES_MAX)
    }

    /// Whether an inode has no name here any more.
    fn is_dead_here(&self, ino: Ino) -> Result<bool> {
        Ok(find(self.mine, ino)?.is_none_or(|inode| inode.link_count == 0))
    }

    fn entry(&self, folder: Ino, name: &[u8]) -> Result<Option<Arc<Entry>>> {
        find_entry(&self.out.next, &self.names, folder, name)
    }
}

/// What names of conflict copies call this device: the name it was given, or the beginning of its id.
fn device_label(inner: &Inner) -> String {
    let id = inner.keys.device_id();
    let given = inner.roster.with(|organisation| organisation.name(&id, &inner.keys));
    let plain = |c: char| if c.is_control() || "/()".contains(c) { '_' } else { c };
    let label: String =
        given.unwrap_or_default().chars().map(plain).take(LABEL_CHARS_MAX).collect();
    match label.trim() {
        "" => id.to_string().chars().take(8).collect(),
        label => label.to_owned(),
    }
}

/// Errors that say that an operation does not apply, not that something is broken.
fn is_about_the_op(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Stale | ErrorKind::NameTooLong | ErrorKind::NotFound)
}

fn find(map: &Map, ino: Ino) -> Result<Option<Arc<Inode>>> {
    patiently(|| Txn::new(map).find_inode(ino))
}

fn find_entry(map: &Map, names: &NameHash, folder: Ino, name: &[u8]) -> Result<Option<Arc<Entry>>> {
    let hash = names.of(name);
    let found = patiently(|| Txn::new(map).find_entry(folder, hash, name))?;
    Ok(found.map(|(_, entry)| entry))
}

/// The same for another inode. Only of operations on one inode.
fn with_ino(op: Op, other: Ino) -> Op {
    let mut op = op;
    match &mut op {
        Op::SetAttributes { ino, .. }
        | Op::SetXattr { ino, .. }
        | Op::SetInline { ino, .. }
        | Op::SetExtents { ino, .. }
        | Op::Punch { ino, .. }
        | Op::Clone { to: ino, .. } => *ino = other,
        _ => {}
    }
    op
}
