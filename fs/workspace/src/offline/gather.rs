//! Everything that reading a file or folder takes from the store: ranges of data objects, and of objects with pages of the
//! manifest on the way.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_crypto::block::block_len;
use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::{Inode, Kind};
use strongroom_format::page::{Page, PageRef};

use crate::error::Result;
use crate::tree::btree::PageSource;
use crate::tree::map::Map;
use crate::tree::need::Look;
use crate::tree::pages::{Pages, WaitingPages, patiently};
use crate::tree::places::place_of;
use crate::tree::rules::extents::overlapping;
use crate::tree::txn::Txn;
use crate::workspace::Inner;

/// Ranges by object, in the order they came.
pub(crate) type Ranges = BTreeMap<ObjectId, Vec<Range<u64>>>;

/// Opened pages, and which of them were looked at.
struct Watched {
    pages: Arc<Pages>,
    seen: Mutex<BTreeMap<(ObjectId, u32), u32>>,
}

impl PageSource for Watched {
    fn page(&self, at: &PageRef) -> Look<Arc<Page>> {
        self.seen.lock().insert((at.object, at.place), at.sealed_len);
        WaitingPages(&self.pages).page(at)
    }
}

impl Inner {
    /// Where the files at and below some inodes lie, with the pages that lead there. Inodes that are gone are left out.
    pub(crate) fn gather(&self, inos: &[Ino]) -> Result<Ranges> {
        let (mut map, names) = {
            let state = self.state.lock();
            (state.map.snapshot(), state.names.clone())
        };
        let watched = Arc::new(Watched { pages: self.pages.clone(), seen: Mutex::default() });
        map.pages = watched.clone();
        let mut ranges = blocks_below(&map, inos)?;
        for ino in inos {
            // As a kernel does that walks down from the root.
            let Some(path) = path_of(&map, *ino)? else { continue };
            patiently(|| crate::history::versions::find_path(&map, &names, &path))?;
        }
        for ((object, place), len) in std::mem::take(&mut *watched.seen.lock()) {
            let start = u64::from(place);
            ranges.entry(object).or_default().push(start..start + u64::from(len));
        }
        for found in ranges.values_mut() {
            join(found);
        }
        Ok(ranges)
    }
}

fn blocks_below(map: &Map, inos: &[Ino]) -> Result<Ranges> {
    let (mut ranges, mut todo) = (Ranges::new(), inos.to_vec());
    while let Some(ino) = todo.pop() {
        let Some(inode) = patiently(|| Txn::new(map).find_inode(ino))? else { continue };
        match inode.kind {
            Kind::Folder => todo.extend(patiently(|| map.children(ino))?),
            Kind::File => add_blocks(map, ino, &inode, &mut ranges)?,
            _ => {}
        }
    }
    Ok(ranges)
}

fn add_blocks(map: &Map, ino: Ino, inode: &Inode, ranges: &mut Ranges) -> Result<()> {
    let extents = patiently(|| overlapping(&Txn::new(map), ino, inode, 0, u64::MAX))?;
    for extent in extents {
        let start = u64::from(extent.place);
        let range = start..start + block_len(u64::from(extent.block_len));
        ranges.entry(extent.object).or_default().push(range);
    }
    Ok(())
}

/// Path of an inode by one of its names. None if it has none.
pub(crate) fn path_of(map: &Map, ino: Ino) -> Result<Option<Vec<u8>>> {
    let (mut names, mut at) = (Vec::new(), ino);
    while at != Ino::ROOT {
        let Some((folder, name)) = place_of(map, at)? else { return Ok(None) };
        names.push(name);
        at = folder;
    }
    names.reverse();
    Ok(Some(names.join(&b'/')))
}

impl Inner {
    /// Data objects with the blocks of files at and below some inodes.
    pub(crate) fn gather_blocks(&self, inos: &[Ino]) -> Result<Vec<ObjectId>> {
        let map = self.state.lock().map.snapshot();
        Ok(blocks_below(&map, inos)?.into_keys().collect())
    }
}

/// Sorts ranges and joins those that touch.
fn join(ranges: &mut Vec<Range<u64>>) {
    ranges.sort_by_key(|range| (range.start, range.end));
    ranges.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut ranges = vec![10..20, 0..5, 5..8, 19..30, 40..41, 40..50];
        join(&mut ranges);
        assert_eq!(ranges, [0..8, 10..30, 40..50]);
    }
}
