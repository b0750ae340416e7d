//! Rules that one value must keep, whatever the rest says.

use strongroom_crypto::block::BLOCK_LEN_MAX;
use strongroom_format::inode::{
    Content, EXTENTS_EMBEDDED_MAX, Extent, INLINE_LEN_MAX, Inode, Kind, XATTR_BYTES_MAX,
};

/// What is wrong with an inode by itself.
pub(super) fn of_inode(inode: &Inode) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, text| {
        if !holds {
            wrong.push(text);
        }
    };
    let fits_kind = match (&inode.kind, &inode.content) {
        (Kind::File, Content::Target(_)) => false,
        (Kind::File, _) => true,
        (Kind::Symlink, Content::Target(target)) => target.len() as u64 == inode.size,
        (_, content) => matches!(content, Content::Empty),
    };
    must(fits_kind, "has content that its kind has not");
    must(inode.mode & !0o7777 == 0, "has a mode out of bounds");
    must(inode.kind != Kind::Folder || inode.size == 0, "is a folder with a size");
    match &inode.content {
        Content::Inline(data) => {
            let fits = (1..=INLINE_LEN_MAX).contains(&data.len());
            must(fits && data.len() as u64 <= inode.size, "has inline content of a wrong length");
            must(inode.allocated == 0, "counts blocks that it has not");
        }
        Content::Extents(extents) => {
            must(are_in_order(extents, inode.size), "has extents that overlap or pass its end");
            let sum: u64 = extents.iter().map(|extent| u64::from(extent.len)).sum();
            must(sum == inode.allocated, "counts other bytes in blocks than its extents have");
        }
        Content::Empty | Content::Target(_) | Content::Purged => {
            must(inode.allocated == 0, "counts blocks that it has not");
        }
        Content::Mapped => {}
    }
    must(inode.xattrs.is_sorted_by(|a, b| a.name < b.name), "has attributes out of order");
    let attribute_bytes: usize = inode.xattrs.iter().map(|x| x.name.len() + x.value.len()).sum();
    must(attribute_bytes <= XATTR_BYTES_MAX, "has attributes longer than allowed");
    wrong
}

/// What is wrong with an extent by itself.
pub(crate) fn of_extent(extent: &Extent) -> Option<&'static str> {
    let end = u64::from(extent.block_offset) + u64::from(extent.len);
    let block_len = u64::from(extent.block_len);
    if extent.len == 0 || end > block_len || !(1..=BLOCK_LEN_MAX).contains(&block_len) {
        return Some("is not inside its block");
    }
    extent.offset.checked_add(u64::from(extent.len)).is_none().then_some("passes every file's end")
}

fn are_in_order(extents: &[Extent], size: u64) -> bool {
    let end = |extent: &Extent| extent.offset.saturating_add(u64::from(extent.len));
    (1..=EXTENTS_EMBEDDED_MAX).contains(&extents.len())
        && extents.is_sorted_by(|a, b| end(a) <= b.offset)
        && extents.last().is_some_and(|last| end(last) <= size)
}
