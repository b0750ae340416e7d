//! Extent arithmetic: which part of which block holds a range of a file.
//!
//! INVARIANT: the extents of a file are disjoint and sorted; `allocated` is the sum of their lengths; every extent
//! is counted in its object's `O` value. Up to four live in the inode; once there were more they are `X` keys until
//! the file is empty again.

use std::ops::ControlFlow;

use strongroom_crypto::block::BLOCK_LEN_MAX;
use strongroom_format::ids::Ino;
use strongroom_format::inode::{Content, EXTENTS_EMBEDDED_MAX, Extent, Inode};
use strongroom_format::key::Key;

use crate::tree::map::Value;
use crate::tree::need::Look;
use crate::tree::txn::Txn;

/// One past the last byte of an extent.
pub fn end_of(extent: &Extent) -> u64 {
    extent.offset + u64::from(extent.len)
}

/// The part of an extent inside `start..end`, which it must overlap.
pub fn clip(extent: &Extent, start: u64, end: u64) -> Extent {
    let from = extent.offset.max(start);
    let to = end_of(extent).min(end);
    let mut piece = extent.clone();
    piece.offset = from;
    // Both differences are at most the extent's length, which is a u32.
    piece.len = u32::try_from(to - from).unwrap_or(u32::MAX);
    piece.block_offset += u32::try_from(from - extent.offset).unwrap_or(u32::MAX);
    piece
}

/// The extents that overlap `start..end`, whole, by offset.
pub fn overlapping(
    txn: &Txn<'_>,
    ino: Ino,
    inode: &Inode,
    start: u64,
    end: u64,
) -> Look<Vec<Extent>> {
    let mut found = Vec::new();
    match &inode.content {
        Content::Extents(extents) => {
            let inside = |extent: &&Extent| extent.offset < end && end_of(extent) > start;
            found.extend(extents.iter().filter(inside).cloned());
        }
        Content::Mapped => {
            // An extent is at most a block long. Looking further back could pass very many that were removed.
            let floor = Key::extent(ino, start.saturating_sub(BLOCK_LEN_MAX));
            if let Some((_, Value::Extent(extent))) =
                txn.last_before(&floor, &Key::extent(ino, start))?
                && end_of(&extent) > start
            {
                found.push((*extent).clone());
            }
            txn.scan(&Key::extent(ino, start), &Key::extent(ino, end), &mut |_, value| {
                if let Value::Extent(extent) = value {
                    found.push((**extent).clone());
                }
                ControlFlow::Continue(())
            })?;
        }
        Content::Empty | Content::Inline(_) | Content::Target(_) | Content::Purged => {}
    }
    Ok(found)
}

/// Turns `start..end` into a hole.
pub fn clear(txn: &mut Txn<'_>, ino: Ino, inode: &mut Inode, start: u64, end: u64) -> Look<()> {
    if start >= end {
        return Ok(());
    }
    for extent in overlapping(txn, ino, inode, start, end)? {
        let extent_end = end_of(&extent);
        let mut rest = Vec::new();
        if extent.offset < start {
            rest.push(clip(&extent, extent.offset, start));
        }
        if extent_end > end {
            rest.push(clip(&extent, end, extent_end));
        }
        take(txn, ino, inode, &extent);
        inode.allocated -= u64::from(extent.len);
        for piece in rest {
            // ORDER: count pieces in before the whole is counted out, or the object would seem unused.
            txn.count_in(piece.object, u64::from(piece.len))?;
            inode.allocated += u64::from(piece.len);
            place(txn, ino, inode, piece);
        }
        txn.count_out(extent.object, u64::from(extent.len))?;
    }
    if inode.allocated == 0 && matches!(inode.content, Content::Extents(_) | Content::Mapped) {
        inode.content = Content::Empty;
    }
    Ok(())
}

/// Puts extents in, replacing what they cover.
pub fn insert(txn: &mut Txn<'_>, ino: Ino, inode: &mut Inode, extents: Vec<Extent>) -> Look<()> {
    for extent in &extents {
        txn.count_in(extent.object, u64::from(extent.len))?;
    }
    for extent in extents {
        clear(txn, ino, inode, extent.offset, end_of(&extent))?;
        inode.allocated += u64::from(extent.len);
        place(txn, ino, inode, extent);
    }
    Ok(())
}

/// Files an extent without counting; turns embedded extents into keys when there are too many.
fn place(txn: &mut Txn<'_>, ino: Ino, inode: &mut Inode, extent: Extent) {
    match &mut inode.content {
        Content::Mapped => put_key(txn, ino, extent),
        Content::Extents(extents) if extents.len() == EXTENTS_EMBEDDED_MAX => {
            for embedded in std::mem::take(extents) {
                put_key(txn, ino, embedded);
            }
            put_key(txn, ino, extent);
            inode.content = Content::Mapped;
        }
        Content::Extents(extents) => {
            let at = extents.partition_point(|other| other.offset < extent.offset);
            extents.insert(at, extent);
        }
        Content::Empty | Content::Inline(_) | Content::Target(_) | Content::Purged => {
            inode.content = Content::Extents(vec![extent]);
        }
    }
}

/// Takes an extent out without counting.
fn take(txn: &mut Txn<'_>, ino: Ino, inode: &mut Inode, extent: &Extent) {
    match &mut inode.content {
        Content::Extents(extents) => extents.retain(|other| other.offset != extent.offset),
        _ => txn.remove(Key::extent(ino, extent.offset)),
    }
}

fn put_key(txn: &mut Txn<'_>, ino: Ino, extent: Extent) {
    txn.put(Key::extent(ino, extent.offset), Value::Extent(extent.into()));
}
