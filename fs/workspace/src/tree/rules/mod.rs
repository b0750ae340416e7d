//! What each operation does to the map. The same code runs when an operation is first made, when the journal is
//! replayed and when a commit is applied, so all devices arrive at the same map.
//!
//! A rule reads the operation and the map, never the clock or anything local. Whether a request is allowed
//! (name taken, folder not empty, …) is checked in `ops/` before; a rule that meets a contradiction answers
//! `Corrupt`. docs/format.md says the same in prose.

pub mod extents;
mod names;

use std::sync::Arc;

use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::{Content, Extent, Inode, Xattr};
use strongroom_format::key::Key;
use strongroom_format::op::Op;

use crate::error::{Error, ErrorKind};
use crate::tree::map::Value;
use crate::tree::need::{Look, Need};
use crate::tree::txn::Txn;

pub use names::NameHash;
pub(crate) use names::{purged_name, purged_names};

/// Plans one operation.
pub fn plan(txn: &mut Txn<'_>, hash: &NameHash, op: &Op) -> Look<()> {
    match op {
        Op::Create { .. } => names::create(txn, hash, op),
        Op::Link { ino, folder, name, time } => {
            names::link(txn, hash, *ino, (*folder, name), *time)
        }
        Op::Unlink { folder, name, ino, fate, time } => {
            names::unlink(txn, hash, (*folder, name), *ino, *fate, *time)
        }
        Op::Rename { .. } => names::rename(txn, hash, op),
        Op::Exchange { from, from_name, to, to_name, time } => {
            names::exchange(txn, hash, (*from, from_name), (*to, to_name), *time)
        }
        Op::SetAttributes { .. } => set_attributes(txn, op),
        Op::SetXattr { ino, name, value, time } => {
            set_xattr(txn, *ino, name, value.as_deref(), *time)
        }
        Op::SetInline { .. } => set_inline(txn, op),
        Op::SetExtents { .. } => set_extents(txn, op),
        Op::Punch { ino, offset, len, time } => punch(txn, *ino, *offset, *len, *time),
        Op::Clone { .. } => clone(txn, op),
        Op::Purge { ino } => names::purge(txn, *ino),
        Op::Relocate { from, to, inos, places } => relocate(txn, *from, *to, inos, places),
        Op::Rewrite { ino, extents } => rewrite(txn, *ino, extents),
        // They say something of the history; the map stays.
        Op::Based { .. } | Op::Expunge { .. } => Ok(()),
        Op::SetSnapshot { id, snapshot } => {
            let value = snapshot.clone().map(|snapshot| Value::Snapshot(Arc::new(snapshot)));
            match value {
                Some(value) => txn.put(Key::snapshot(*id), value),
                None => txn.remove(Key::snapshot(*id)),
            }
            Ok(())
        }
        Op::Write { ino, offset, data, mode, time } => {
            let mut inode = (*txn.inode(*ino)?).clone();
            inode.size = inode.size.max(offset + data.len() as u64);
            inode.mode = *mode;
            (inode.mtime, inode.ctime) = (*time, *time);
            txn.put_inode(*ino, inode);
            Ok(())
        }
    }
}

fn set_attributes(txn: &mut Txn<'_>, op: &Op) -> Look<()> {
    let Op::SetAttributes { ino, mode, uid, gid, size, atime, mtime, time } = op else {
        return Err(contradiction());
    };
    let mut inode = (*txn.inode(*ino)?).clone();
    inode.mode = mode.unwrap_or(inode.mode);
    inode.uid = uid.unwrap_or(inode.uid);
    inode.gid = gid.unwrap_or(inode.gid);
    if let Some(size) = *size {
        resize(txn, *ino, &mut inode, size)?;
    }
    inode.atime = atime.unwrap_or(inode.atime);
    inode.mtime = mtime.unwrap_or(inode.mtime);
    inode.ctime = *time;
    txn.put_inode(*ino, inode);
    Ok(())
}

fn resize(txn: &mut Txn<'_>, ino: Ino, inode: &mut Inode, size: u64) -> Look<()> {
    if let Content::Inline(data) = &mut inode.content {
        data.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        if data.is_empty() {
            inode.content = Content::Empty;
        }
    } else if size < inode.size {
        extents::clear(txn, ino, inode, size, u64::MAX)?;
    }
    inode.size = size;
    Ok(())
}

fn set_xattr(
    txn: &mut Txn<'_>,
    ino: Ino,
    name: &[u8],
    value: Option<&[u8]>,
    time: i64,
) -> Look<()> {
    let mut inode = (*txn.inode(ino)?).clone();
    inode.xattrs.retain(|xattr| xattr.name != name);
    if let Some(value) = value {
        let at = inode.xattrs.partition_point(|xattr| xattr.name.as_slice() < name);
        inode.xattrs.insert(at, Xattr { name: name.to_vec(), value: value.to_vec() });
    }
    inode.ctime = time;
    txn.put_inode(ino, inode);
    Ok(())
}

fn set_inline(txn: &mut Txn<'_>, op: &Op) -> Look<()> {
    let Op::SetInline { ino, size, data, mode, mtime, ctime } = op else {
        return Err(contradiction());
    };
    let mut inode = (*txn.inode(*ino)?).clone();
    extents::clear(txn, *ino, &mut inode, 0, u64::MAX)?;
    inode.content = if data.is_empty() { Content::Empty } else { Content::Inline(data.clone()) };
    (inode.size, inode.mode, inode.mtime, inode.ctime) = (*size, *mode, *mtime, *ctime);
    txn.put_inode(*ino, inode);
    Ok(())
}

fn set_extents(txn: &mut Txn<'_>, op: &Op) -> Look<()> {
    let Op::SetExtents { ino, size, extents, mode, mtime, ctime } = op else {
        return Err(contradiction());
    };
    let mut inode = (*txn.inode(*ino)?).clone();
    if matches!(inode.content, Content::Inline(_)) {
        inode.content = Content::Empty;
    }
    if *size < inode.size {
        extents::clear(txn, *ino, &mut inode, *size, u64::MAX)?;
    }
    extents::insert(txn, *ino, &mut inode, extents.clone())?;
    (inode.size, inode.mode, inode.mtime, inode.ctime) = (*size, *mode, *mtime, *ctime);
    txn.put_inode(*ino, inode);
    Ok(())
}

fn rewrite(txn: &mut Txn<'_>, ino: Ino, new: &[Extent]) -> Look<()> {
    let mut inode = (*txn.inode(ino)?).clone();
    let inside = new.iter().all(|extent| extents::end_of(extent) <= inode.size);
    if !inside || matches!(inode.content, Content::Inline(_)) {
        return Err(contradiction());
    }
    extents::insert(txn, ino, &mut inode, new.to_vec())?;
    txn.put_inode(ino, inode);
    Ok(())
}

fn punch(txn: &mut Txn<'_>, ino: Ino, offset: u64, len: u64, time: i64) -> Look<()> {
    let mut inode = (*txn.inode(ino)?).clone();
    let end = offset.saturating_add(len);
    if let Content::Inline(data) = &mut inode.content {
        let (from, to) = (clamp(offset, data.len()), clamp(end, data.len()));
        if let Some(hole) = data.get_mut(from..to) {
            hole.fill(0);
        }
    } else {
        extents::clear(txn, ino, &mut inode, offset, end)?;
    }
    (inode.mtime, inode.ctime) = (time, time);
    txn.put_inode(ino, inode);
    Ok(())
}

fn clamp(offset: u64, len: usize) -> usize {
    usize::try_from(offset).map_or(len, |offset| offset.min(len))
}

fn clone(txn: &mut Txn<'_>, op: &Op) -> Look<()> {
    let Op::Clone { from, from_offset, to, to_offset, len, size, time } = op else {
        return Err(contradiction());
    };
    let source = txn.inode(*from)?;
    let mut target = (*txn.inode(*to)?).clone();
    let inline = |content: &Content| matches!(content, Content::Inline(_));
    if inline(&source.content) || inline(&target.content) {
        return Err(contradiction());
    }
    let end = from_offset.saturating_add(*len);
    let mut copies = Vec::new();
    for extent in extents::overlapping(txn, *from, &source, *from_offset, end)? {
        let mut piece = extents::clip(&extent, *from_offset, end);
        piece.offset = piece.offset - from_offset + to_offset;
        copies.push(piece);
    }
    extents::clear(txn, *to, &mut target, *to_offset, to_offset.saturating_add(*len))?;
    extents::insert(txn, *to, &mut target, copies)?;
    (target.size, target.mtime, target.ctime) = (*size, *time, *time);
    txn.put_inode(*to, target);
    Ok(())
}

fn relocate(
    txn: &mut Txn<'_>,
    from: ObjectId,
    to: ObjectId,
    inos: &[Ino],
    places: &[(u32, u32)],
) -> Look<()> {
    for ino in inos {
        let Some(found) = txn.find_inode(*ino)? else { continue };
        let mut inode = (*found).clone();
        let mut moved = Vec::new();
        for mut extent in extents::overlapping(txn, *ino, &inode, 0, u64::MAX)? {
            if extent.object != from {
                continue;
            }
            if let Ok(at) = places.binary_search_by_key(&extent.place, |(old, _)| *old) {
                (extent.object, extent.place) = (to, places[at].1);
                moved.push(extent);
            }
        }
        extents::insert(txn, *ino, &mut inode, moved)?;
        txn.put_inode(*ino, inode);
    }
    Ok(())
}

/// Removes an inode and all it refers to.
fn remove_inode(txn: &mut Txn<'_>, ino: Ino, inode: &Inode) -> Look<()> {
    let mut inode = inode.clone();
    extents::clear(txn, ino, &mut inode, 0, u64::MAX)?;
    txn.remove(Key::inode(ino));
    Ok(())
}

pub(super) fn contradiction() -> Need {
    let message = "an operation contradicts the manifest it applies to";
    Need::Failed(Error::new(ErrorKind::Corrupt, message))
}
