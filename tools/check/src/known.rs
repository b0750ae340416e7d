//! What was verified already, so that states which share pages and blocks are read once.
//!
//! LIMIT: 32 bytes for each page and 24 for each block, and only where there is more than the present to read.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use strongroom_crypto::block::{BLOCK_LEN_MAX, SEGMENT_LEN, block_len, segment_count};
use strongroom_crypto::hash::Blake3;
use strongroom_format::ids::{Digest, ObjectId};
use strongroom_format::inode::Extent;

// INVARIANT: the segments of a block fit into the bits of one number.
const _: () = assert!(BLOCK_LEN_MAX / SEGMENT_LEN <= 64);

/// Whether what is verified is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remember {
    /// There are other states to read.
    Yes,
    /// There is only one.
    No,
}

/// What was verified already.
pub(crate) struct Known {
    pub(crate) pages: KnownPages,
    pub(crate) blocks: KnownBlocks,
}

/// Pages with all that is beneath them, by hash.
pub(crate) struct KnownPages {
    remember: Remember,
    sound: HashSet<Digest>,
}

/// A block at its place, as one extent has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlockId([u8; 16]);

/// Blocks and their segments.
pub(crate) struct KnownBlocks {
    remember: Remember,
    /// Segments that opened, one bit each.
    sound: HashMap<BlockId, u64>,
    /// Sealed bytes of whole blocks that opened, by object.
    covered: HashMap<ObjectId, u64>,
    /// Blocks and pages that cannot be read.
    broken: HashSet<[u8; 16]>,
}

impl Known {
    pub(crate) fn new(remember: Remember) -> Self {
        Self {
            pages: KnownPages { remember, sound: HashSet::new() },
            blocks: KnownBlocks {
                remember,
                sound: HashMap::new(),
                covered: HashMap::new(),
                broken: HashSet::new(),
            },
        }
    }
}

impl KnownPages {
    pub(crate) fn has(&self, page: &Digest) -> bool {
        self.sound.contains(page)
    }

    pub(crate) fn note(&mut self, page: Digest) {
        if self.remember == Remember::Yes {
            self.sound.insert(page);
        }
    }
}

impl BlockId {
    pub(crate) fn of(extent: &Extent) -> Self {
        let mut facts = Blake3::new();
        facts.update(&extent.object.0).update(&extent.place.to_le_bytes());
        facts.update(&extent.block_len.to_le_bytes()).update(&extent.header_hash.0);
        facts.update(extent.key.expose());
        Self(first_half(&facts.finish()))
    }
}

impl KnownBlocks {
    /// Whether these segments of a block opened before.
    pub(crate) fn has(&self, block: &BlockId, segments: RangeInclusive<u64>) -> bool {
        let wanted = bits(segments);
        self.sound.get(block).is_some_and(|sound| sound & wanted == wanted)
    }

    /// Segments of a block that opened.
    pub(crate) fn note(&mut self, extent: &Extent, segments: impl Iterator<Item = u64>) {
        if self.remember == Remember::No {
            return;
        }
        let len = u64::from(extent.block_len);
        let whole = bits(0..=segment_count(len) - 1);
        let sound = self.sound.entry(BlockId::of(extent)).or_default();
        let before = *sound;
        segments.for_each(|segment| *sound |= bits(segment..=segment));
        if *sound == whole && before != whole {
            *self.covered.entry(extent.object).or_default() += block_len(len);
        }
    }

    /// Whether every byte of an object is in blocks that opened.
    pub(crate) fn cover(&self, object: ObjectId, stored_len: u64) -> bool {
        self.covered.get(&object) == Some(&stored_len)
    }

    /// A block that cannot be read. True if that was not known.
    pub(crate) fn note_broken(&mut self, block: BlockId) -> bool {
        self.broken.insert(block.0)
    }

    /// A page that cannot be read. True if that was not known.
    pub(crate) fn note_broken_page(&mut self, page: &Digest) -> bool {
        self.broken.insert(first_half(&page.0))
    }
}

fn first_half(hash: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

fn bits(segments: RangeInclusive<u64>) -> u64 {
    let count = segments.end() - segments.start() + 1;
    (u64::MAX >> (64 - count)) << segments.start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_segment_is_a_bit() {
        assert_eq!(bits(0..=0), 1);
        assert_eq!(bits(2..=3), 0b1100);
        assert_eq!(bits(0..=63), u64::MAX);
        assert_eq!(bits(63..=63), 1 << 63);
    }
}
