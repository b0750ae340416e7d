//! Operations on contents: the first edit keeps the file, the second goes into a conflict copy; an edit brings back
//! what was removed.

use strongroom_crypto::block::BLOCK_LEN_MAX;
use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::{Content, Extent, Inode, Kind};
use strongroom_format::op::Op;
use zeroize::Zeroizing;

use super::{Rebase, find, with_ino};
use crate::block::fetch::Wanted;
use crate::error::{ErrorKind, Result};
use crate::inbound::recover::lost_by_store;
use crate::later::wait;
use crate::limits::Broken;
use crate::outbound::seal::seal_op;
use crate::tree::map::Map;
use crate::tree::pages::patiently;
use crate::tree::rules::extents::{clip, end_of, overlapping};
use crate::tree::txn::Txn;

/// Whether an operation leaves something of what a file held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Needed,
    Replaced,
}

/// Mode and times that a file gets with its content.
#[derive(Clone, Copy)]
struct Face {
    mode: u16,
    mtime: i64,
    ctime: i64,
}

impl Rebase<'_> {
    pub(super) fn content(&mut self, op: Op) -> Result<()> {
        let (ino, before, time) = match &op {
            Op::SetInline { ino, ctime, .. } => (*ino, Before::Replaced, *ctime),
            Op::SetExtents { ino, ctime, .. } => (*ino, Before::Needed, *ctime),
            Op::Punch { ino, time, .. } => (*ino, Before::Needed, *time),
            Op::SetAttributes { ino, size: Some(0), time, .. } => (*ino, Before::Replaced, *time),
            Op::SetAttributes { ino, time, .. } => (*ino, Before::Needed, *time),
            _ => return Ok(()),
        };
        if matches!(op, Op::Punch { .. }) && self.has_come_back(ino)? {
            return Ok(());
        }
        let Some(target) = self.target(ino, before, time)? else { return Ok(()) };
        if before == Before::Replaced {
            self.torn.remove(&target);
        }
        match self.keep_mode(op, ino, target)? {
            Op::SetExtents { size, extents, mode, mtime, ctime, .. } => {
                self.set_extents(target, size, extents, Face { mode, mtime, ctime })
            }
            op => self.emit(&with_ino(op, target)),
        }
    }

    /// Whether others gave a name to what had lost its last one here: it is not taken away piece by piece any more.
    fn has_come_back(&self, ino: Ino) -> Result<bool> {
        let was_gone = find(self.base, ino)?.is_some_and(|inode| inode.link_count == 0);
        Ok(was_gone && find(&self.out.next, ino)?.is_some_and(|inode| inode.link_count > 0))
    }

    /// Where a change of content goes; none if it is of no use any more.
    fn target(&mut self, ino: Ino, before: Before, time: i64) -> Result<Option<Ino>> {
        if let Some(copy) = self.copies.get(&ino) {
            return Ok(Some(*copy));
        }
        let is_lent = self.lent.contains(&ino);
        if self.spared.contains(&ino) && !is_lent {
            return Ok(None);
        }
        if self.back.contains(&ino) {
            return Ok(Some(ino));
        }
        let there = find(&self.out.next, ino)?;
        let Some(base) = find(self.base, ino)? else { return Ok(there.map(|_| ino)) };
        let dead = self.is_dead_here(ino)?;
        let broken = self.inner.options.tuning.broken;
        match there {
            Some(_) if broken == Some(Broken::SecondEditReplacesFirst) => Ok(Some(ino)),
            None if broken == Some(Broken::DeletionBeatsEdit) => Ok(None),
            Some(there) if there.link_count == 0 && base.link_count > 0 && !dead => {
                // Removed elsewhere, where somebody still has it open.
                let (folder, name) = self.place_here(ino)?;
                let folder_now = self.living_folder(folder, time)?;
                let name = self.place((folder, name), folder_now, time)?;
                self.emit(&Op::Link { ino, folder: folder_now, name, time })?;
                self.refill(ino, &base, before)?;
                Ok(Some(ino))
            }
            Some(_) if !self.touched.is_edited(ino) && !self.spared.contains(&ino) => Ok(Some(ino)),
            _ if dead && is_lent => self.copy(ino, &base, before, time).map(Some),
            _ if dead => Ok(None),
            Some(_) => self.copy(ino, &base, before, time).map(Some),
            None => {
                let place = self.place_here(ino)?;
                self.revive(ino, (place.0, &place.1), before, time)?;
                Ok(Some(ino))
            }
        }
    }

    /// A mode that was not changed here does not undo what others set.
    fn keep_mode(&self, op: Op, ino: Ino, target: Ino) -> Result<Op> {
        let mut op = op;
        let (Some(base), Some(there)) = (find(self.base, ino)?, find(&self.out.next, target)?)
        else {
            return Ok(op);
        };
        match &mut op {
            Op::SetInline { mode, .. } | Op::SetExtents { mode, .. } if *mode == base.mode => {
                *mode = there.mode;
            }
            Op::SetAttributes { mode, .. } if *mode == Some(base.mode) => *mode = None,
            _ => {}
        }
        Ok(op)
    }

    /// A conflict copy beside the file, with what the file held before others changed it.
    fn copy(&mut self, ino: Ino, base: &Inode, before: Before, time: i64) -> Result<Ino> {
        let (folder, name) = self.place_here(ino)?;
        let folder = match self.lent.contains(&ino) {
            // It does not stay, and needs no folder back.
            true => Ino::ROOT,
            false => self.living_folder(folder, time)?,
        };
        let name = self.free_name(folder, &name, time)?;
        let copy = self.out.numbers.give();
        self.make(copy, &self.without_purged(ino, base), (folder, name), time)?;
        self.fill(copy, ino, base, before)?;
        self.copies.insert(ino, copy);
        Ok(copy)
    }

    /// Brings back a file that others removed, with what it held.
    pub(super) fn revive_at(&mut self, ino: Ino, at: (Ino, &[u8]), time: i64) -> Result<()> {
        self.revive(ino, at, Before::Needed, time)
    }

    /// Gives a file that others removed, and took away in part or edited, what it held before.
    pub(super) fn refill(&mut self, ino: Ino, base: &Inode, before: Before) -> Result<()> {
        self.back.insert(ino);
        if self.touched.purged.contains(&ino) {
            return self.empty(ino);
        }
        match self.touched.is_edited(ino) {
            true => {
                self.fill(ino, ino, base, before)?;
                self.clear_holes(ino, base, before)
            }
            false => Ok(()),
        }
    }

    /// Takes away what a purged file holds still, for somebody has it open.
    fn empty(&mut self, ino: Ino) -> Result<()> {
        let Some(there) = find(&self.out.next, ino)? else { return Ok(()) };
        self.set_size(ino, 0, &there)?;
        for xattr in &there.xattrs {
            let name = xattr.name.clone();
            self.emit(&Op::SetXattr { ino, name, value: None, time: there.ctime })?;
        }
        Ok(())
    }

    /// An inode of the base as it may come back: of what was purged, nothing that it held.
    fn without_purged(&self, ino: Ino, base: &Inode) -> Inode {
        let mut inode = base.clone();
        if self.touched.purged.contains(&ino) {
            inode.xattrs.clear();
            if let Content::Target(target) = &mut inode.content {
                target.clear();
            }
        }
        inode
    }

    /// Takes away what others wrote where a file held nothing.
    fn clear_holes(&mut self, ino: Ino, base: &Inode, before: Before) -> Result<()> {
        let has_holes =
            matches!(base.content, Content::Empty | Content::Extents(_) | Content::Mapped);
        if base.kind != Kind::File || before == Before::Replaced || !has_holes {
            return Ok(());
        }
        let there = find(&self.out.next, ino)?;
        if there.is_some_and(|there| matches!(there.content, Content::Inline(_))) {
            // Zeros in the file itself would stay in the way of contents that are shared with another one.
            self.set_size(ino, 0, base)?;
            return self.set_size(ino, base.size, base);
        }
        let held = patiently(|| overlapping(&Txn::new(self.base), ino, base, 0, u64::MAX))?;
        let starts = held.iter().map(|extent| extent.offset).chain([base.size]);
        let ends = std::iter::once(0).chain(held.iter().map(end_of));
        let mut any = false;
        for (start, end) in ends.zip(starts).filter(|(start, end)| start < end) {
            let Some(there) = find(&self.out.next, ino)? else { return Ok(()) };
            let next = &self.out.next;
            let written = patiently(|| overlapping(&Txn::new(next), ino, &there, start, end))?;
            if !written.is_empty() {
                let (offset, len, time) = (start, end - start, base.ctime);
                self.emit(&Op::Punch { ino, offset, len, time })?;
                any = true;
            }
        }
        match any {
            true => self.set_size(ino, base.size, base),
            false => Ok(()),
        }
    }

    /// Gives a file a size, and the times of another one.
    fn set_size(&mut self, ino: Ino, size: u64, like: &Inode) -> Result<()> {
        self.emit(&Op::SetAttributes {
            ino,
            mode: None,
            uid: None,
            gid: None,
            size: Some(size),
            atime: Some(like.atime),
            mtime: Some(like.mtime),
            time: like.ctime,
        })
    }

    fn revive(&mut self, ino: Ino, at: (Ino, &[u8]), before: Before, time: i64) -> Result<()> {
        let Some(base) = find(self.base, ino)? else { return Ok(()) };
        let folder = self.living_folder(at.0, time)?;
        let name = self.place((at.0, at.1.to_vec()), folder, time)?;
        self.make(ino, &self.without_purged(ino, &base), (folder, name), time)?;
        self.back.insert(ino);
        self.fill(ino, ino, &base, before)
    }

    fn make(&mut self, ino: Ino, like: &Inode, at: (Ino, Vec<u8>), time: i64) -> Result<()> {
        let target = match &like.content {
            Content::Target(target) => target.clone(),
            _ => Vec::new(),
        };
        self.emit(&Op::Create {
            folder: at.0,
            name: at.1,
            ino,
            kind: like.kind,
            mode: like.mode,
            uid: like.uid,
            gid: like.gid,
            rdev: like.rdev,
            target,
            time,
        })?;
        self.set_xattrs(ino, like, time)
    }

    pub(super) fn set_xattrs(&mut self, ino: Ino, like: &Inode, time: i64) -> Result<()> {
        for xattr in &like.xattrs {
            let (name, value) = (xattr.name.clone(), Some(xattr.value.clone()));
            self.emit(&Op::SetXattr { ino, name, value, time })?;
        }
        Ok(())
    }

    /// Gives a new file the content another one had before others changed it.
    fn fill(&mut self, ino: Ino, from: Ino, base: &Inode, before: Before) -> Result<()> {
        let purged = self.touched.purged.contains(&from);
        if base.kind != Kind::File || before == Before::Replaced || purged {
            return Ok(());
        }
        let face = Face { mode: base.mode, mtime: base.mtime, ctime: base.ctime };
        match &base.content {
            Content::Inline(data) => self.emit(&Op::SetInline {
                ino,
                size: base.size,
                data: data.clone(),
                mode: face.mode,
                mtime: face.mtime,
                ctime: face.ctime,
            }),
            _ => {
                self.set_size(ino, base.size, base)?;
                let extents = self.base_extents(from, 0, u64::MAX)?;
                self.set_extents(ino, base.size, extents, face)
            }
        }
    }

    fn set_extents(&mut self, ino: Ino, size: u64, extents: Vec<Extent>, face: Face) -> Result<()> {
        for some in extents.chunks(self.inner.options.tuning.extents_per_op.max(1)) {
            // A conflict copy that no commit holds yet names blocks of others as well.
            let extents = self.keep_blocks(ino, some.to_vec())?;
            let facts = (size, face.mode, face.mtime, face.ctime);
            self.emit(&seal_op(ino, extents, facts))?;
        }
        Ok(())
    }

    /// A range of a file as it was before others changed it.
    fn base_extents(&self, ino: Ino, start: u64, end: u64) -> Result<Vec<Extent>> {
        if self.touched.purged.contains(&ino) {
            return Ok(Vec::new());
        }
        let Some(inode) = find(self.base, ino)? else { return Ok(Vec::new()) };
        let found = patiently(|| overlapping(&Txn::new(self.base), ino, &inode, start, end))?;
        Ok(found.iter().map(|extent| clip(extent, start, end)).collect())
    }

    /// Extents as they can be named now: blocks in objects that others let go of are sealed anew.
    ///
    /// ORDER: as they are named. What is named before may take the last reference to an object.
    fn keep_blocks(&mut self, ino: Ino, extents: Vec<Extent>) -> Result<Vec<Extent>> {
        let mut kept = Vec::new();
        for extent in extents {
            match self.is_let_go(extent.object)? {
                false => kept.push(extent),
                true if self.is_purged(&extent)? => {}
                true => match self.seal_anew(&extent)? {
                    Some(anew) => kept.push(anew),
                    None => drop(self.torn.insert(ino)),
                },
            }
        }
        Ok(kept)
    }

    /// Whether a file that others purged held a block: it must not come back.
    fn is_purged(&self, extent: &Extent) -> Result<bool> {
        for ino in self.touched.purged.iter().copied() {
            let Some(inode) = find(self.base, ino)? else { continue };
            let held = patiently(|| overlapping(&Txn::new(self.base), ino, &inode, 0, u64::MAX))?;
            if held.iter().any(|it| (it.object, it.place) == (extent.object, extent.place)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an object was in use before others changed something and is not any more. One that is new here never was.
    fn is_let_go(&self, object: ObjectId) -> Result<bool> {
        let is_used = |map: &Map| patiently(|| Txn::new(map).object_use(object));
        if is_used(&self.out.next)?.is_some() {
            return Ok(false);
        }
        match self.touched.is_unknown() {
            // Theirs or new here: what is staged is new for sure.
            true => Ok(self.inner.staging.find(object).is_none()),
            false => Ok(is_used(self.base)?.is_some()),
        }
    }

    /// None if the object is gone for good: others let go of it longer ago than it is kept. Where what they did is known, they did that
    /// of late, and a store that does not have it is told.
    fn seal_anew(&self, extent: &Extent) -> Result<Option<Extent>> {
        debug_assert!(u64::from(extent.len) <= BLOCK_LEN_MAX);
        let mut plain = Zeroizing::new(vec![0; extent.len as usize]);
        let (block_offset, len) = (extent.block_offset, extent.len);
        let wanted = Wanted { extent: extent.clone(), block_offset, len, at: 0 };
        match wait(self.inner.blocks.read(&[wanted], &mut plain)) {
            Ok(()) => Ok(Some(self.inner.sealer.seal(extent.offset, &plain)?)),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Err(_) if self.touched.is_unknown() => Ok(None),
            Err(_) => Err(lost_by_store(extent.object)),
        }
    }

    pub(super) fn clone_range(&mut self, op: Op) -> Result<()> {
        let Op::Clone { from, from_offset, to, to_offset, len, size, time } = op else {
            return Ok(());
        };
        let Some(target) = self.target(to, Before::Needed, time)? else { return Ok(()) };
        let in_base = find(self.base, from)?.is_some();
        // One that came back here has what it held before, and what was done to it here.
        let changed = !self.back.contains(&from)
            && (self.touched.is_edited(from) || self.spared.contains(&from));
        let source = match self.copies.get(&from) {
            Some(copy) => Some(*copy),
            None if in_base && changed => None,
            None => find(&self.out.next, from)?.map(|_| from),
        };
        if let Some(from) = source {
            let to = target;
            return self.emit(&Op::Clone { from, from_offset, to, to_offset, len, size, time });
        }
        // What was copied is not there any more, but it was before others changed it.
        self.emit(&Op::Punch { ino: target, offset: to_offset, len, time })?;
        let mut extents = self.base_extents(from, from_offset, from_offset.saturating_add(len))?;
        for extent in &mut extents {
            extent.offset = extent.offset - from_offset + to_offset;
        }
        let Some(there) = find(&self.out.next, target)? else { return Ok(()) };
        if extents.is_empty() {
            // What was copied was a hole, and a file can have grown by it.
            return self.emit(&seal_op(target, extents, (size, there.mode, time, time)));
        }
        self.set_extents(target, size, extents, Face { mode: there.mode, mtime: time, ctime: time })
    }
}
