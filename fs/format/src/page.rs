//! Pages of the copy-on-write B+tree, in plain. Sealing is in `keystore/crypto`, the tree in `fs/workspace`.
//!
//! ```text
//! 0          kind u8        1 leaf, 2 inner
//! 1          level u8       0 for a leaf, one more than its children for an inner page
//! 2          count u16      entries, at least 1
//! 4          end u16 × count, position in the page where each entry ends
//! 4 + 2n     entries without gaps:  key length u8 · key · value (leaf) or reference (inner)
//!
//! reference  object 16 · place u32 · sealed length u32 · level u8 · epoch u64 · BLAKE3-256 of the sealed page 32
//! ```
//!
//! 1. Keys rise strictly.
//! 2. Entries fill the page to its last byte; nothing else is in it.
//! 3. An inner entry's key is the first key of the child it refers to.
//! 4. A page is at most [`PLAIN_LEN_MAX`] bytes, which seal to 16 KiB as one chunk. Integers are little-endian.

use std::ops::Range;

use minicbor::{Decode, Encode};
use strongroom_crypto::wipe::Wiped;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::ids::{Digest, ObjectId};

/// Largest page in plain.
pub const PLAIN_LEN_MAX: usize = 16_312;
/// Largest sealed page: what [`PLAIN_LEN_MAX`] seals to.
pub const SEALED_LEN_MAX: u32 = 16_384;
/// Bytes that sealing adds to a page.
pub const SEAL_OVERHEAD: u32 = 72;
/// Longest key in a page.
pub const KEY_LEN_MAX: usize = 32;
/// Longest value: any single entry fits a page.
pub const VALUE_LEN_MAX: usize = PLAIN_LEN_MAX - HEAD_LEN - END_LEN - 1 - KEY_LEN_MAX;
/// Highest level of a page; a tree of minimal fan-out would hold more than 2^32 entries.
pub const LEVEL_MAX: u8 = 31;

const HEAD_LEN: usize = 4;
const END_LEN: usize = 2;
const REFERENCE_LEN: usize = 65;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// Keys and values.
    Leaf,
    /// First keys of children and references to them.
    Inner,
}

impl PageKind {
    /// Kind of the pages of a level.
    pub const fn of_level(level: u8) -> Self {
        if level == 0 { PageKind::Leaf } else { PageKind::Inner }
    }

    const fn number(self) -> u8 {
        match self {
            PageKind::Leaf => 1,
            PageKind::Inner => 2,
        }
    }
}

/// Where a sealed page is and what it must hash to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PageRef {
    /// Page object that holds it.
    #[n(0)]
    pub object: ObjectId,
    /// Position in the object.
    #[n(1)]
    pub place: u32,
    /// Length as sealed, at most [`SEALED_LEN_MAX`].
    #[n(2)]
    pub sealed_len: u32,
    /// Level of the page: 0 for a leaf.
    #[n(3)]
    pub level: u8,
    /// Epoch of the key that seals it: after a rotation old pages stay as they are until next written.
    #[n(4)]
    pub epoch: u64,
    /// BLAKE3-256 of the sealed bytes.
    #[n(5)]
    pub hash: Digest,
}

impl PageRef {
    /// Leaf or inner.
    pub fn kind(&self) -> PageKind {
        PageKind::of_level(self.level)
    }

    /// Whether length and level are such as a sealed page can have.
    pub fn is_plausible(&self) -> bool {
        (SEAL_OVERHEAD + 1..=SEALED_LEN_MAX).contains(&self.sealed_len) && self.level <= LEVEL_MAX
    }

    fn to_bytes(self) -> [u8; REFERENCE_LEN] {
        let mut bytes = [0; REFERENCE_LEN];
        bytes[..16].copy_from_slice(&self.object.0);
        bytes[16..20].copy_from_slice(&self.place.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.sealed_len.to_le_bytes());
        bytes[24] = self.level;
        bytes[25..33].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[33..].copy_from_slice(&self.hash.0);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; REFERENCE_LEN] = bytes.try_into().ok()?;
        let (object, rest) = bytes.split_first_chunk::<16>()?;
        let (place, rest) = rest.split_first_chunk::<4>()?;
        let (sealed_len, rest) = rest.split_first_chunk::<4>()?;
        let (level, rest) = rest.split_first()?;
        let (epoch, hash) = rest.split_first_chunk::<8>()?;
        let page = Self {
            object: ObjectId(*object),
            place: u32::from_le_bytes(*place),
            sealed_len: u32::from_le_bytes(*sealed_len),
            level: *level,
            epoch: u64::from_le_bytes(*epoch),
            hash: Digest(hash.try_into().ok()?),
        };
        page.is_plausible().then_some(page)
    }
}

/// A parsed page that owns its bytes and wipes them when dropped (extents carry keys).
pub struct Page {
    bytes: Wiped,
    level: u8,
    count: usize,
}

impl Page {
    /// Parses a page and checks every rule of its layout that can be seen in it alone.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are no page.
    pub fn parse(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self> {
        const BAD: Error = Error::corrupt("malformed page");
        let bytes = Wiped::from(std::mem::take(&mut *bytes));
        let [kind, level, low, high, ..] = bytes[..] else { return Err(BAD) };
        let count = usize::from(u16::from_le_bytes([low, high]));
        let known = level <= LEVEL_MAX && kind == PageKind::of_level(level).number();
        if !known || count == 0 || bytes.len() > PLAIN_LEN_MAX {
            return Err(BAD);
        }
        let page = Self { bytes, level, count };
        page.check_entries().ok_or(BAD)?;
        Ok(page)
    }

    /// Leaf or inner.
    pub fn kind(&self) -> PageKind {
        PageKind::of_level(self.level)
    }

    /// Levels below this page: 0 for a leaf.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Number of entries, at least 1.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes the page takes in memory.
    pub fn plain_len(&self) -> usize {
        self.bytes.len()
    }

    /// Key of an entry.
    ///
    /// # Panics
    /// When `index` is not below [`Page::count`].
    pub fn key(&self, index: usize) -> &[u8] {
        let entry = self.entry(index);
        &entry[1..1 + usize::from(entry[0])]
    }

    /// Value of an entry of a leaf.
    ///
    /// # Panics
    /// When `index` is not below [`Page::count`].
    pub fn value(&self, index: usize) -> &[u8] {
        let entry = self.entry(index);
        &entry[1 + usize::from(entry[0])..]
    }

    /// Child of an entry of an inner page; none in a leaf.
    ///
    /// # Panics
    /// When `index` is not below [`Page::count`].
    pub fn child(&self, index: usize) -> Option<PageRef> {
        match self.kind() {
            PageKind::Leaf => None,
            PageKind::Inner => PageRef::from_bytes(self.value(index)),
        }
    }

    /// An entry as stored: key length, key, value. Two pages can exchange entries in this form.
    ///
    /// # Panics
    /// When `index` is not below [`Page::count`].
    pub fn entry(&self, index: usize) -> &[u8] {
        &self.bytes[self.entry_range(index)]
    }

    /// Index of the entry with this key, or of where it would be.
    ///
    /// # Errors
    /// The place for an entry that is not there.
    pub fn search(&self, key: &[u8]) -> std::result::Result<usize, usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.key(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Value of a key in a leaf.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        match self.kind() {
            PageKind::Leaf => self.search(key).ok().map(|index| self.value(index)),
            PageKind::Inner => None,
        }
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        (0..self.count).map(|index| (self.key(index), self.value(index)))
    }

    fn entry_range(&self, index: usize) -> Range<usize> {
        let begin = match index.checked_sub(1) {
            None => HEAD_LEN + END_LEN * self.count,
            Some(before) => self.end(before),
        };
        begin..self.end(index)
    }

    fn end(&self, index: usize) -> usize {
        let at = HEAD_LEN + END_LEN * index;
        usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    /// The checks behind [`Page::parse`]; everything else may then index freely.
    fn check_entries(&self) -> Option<()> {
        let mut begin = HEAD_LEN + END_LEN * self.count;
        let ends = self.bytes.get(HEAD_LEN..begin)?;
        let mut key_before: Option<&[u8]> = None;
        for end in ends.chunks_exact(END_LEN) {
            let end = usize::from(u16::from_le_bytes([end[0], end[1]]));
            let (key_len, rest) = self.bytes.get(begin..end)?.split_first()?;
            let (key, value) = rest.split_at_checked(usize::from(*key_len))?;
            let rises = key_before.is_none_or(|before| before < key);
            let fits = match self.kind() {
                PageKind::Leaf => value.len() <= VALUE_LEN_MAX,
                PageKind::Inner => PageRef::from_bytes(value)?.level + 1 == self.level,
            };
            if key.is_empty() || key.len() > KEY_LEN_MAX || !rises || !fits {
                return None;
            }
            key_before = Some(key);
            begin = end;
        }
        (begin == self.bytes.len()).then_some(())
    }
}

/// Entries on their way into pages: an ordered run of any length, cut into pages from the front.
#[derive(Default)]
pub struct Run {
    bytes: Zeroizing<Vec<u8>>,
    ends: Vec<usize>,
}

impl Run {
    /// Number of entries.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Length of the entries as one page, which may be more than a page can hold.
    pub fn page_len(&self) -> usize {
        self.page_len_of(self.count())
    }

    /// Length of the first `count` entries as one page.
    pub fn page_len_of(&self, count: usize) -> usize {
        let bytes = count.checked_sub(1).map_or(0, |last| self.ends[last]);
        HEAD_LEN + END_LEN * count + bytes
    }

    /// Appends a key and its value, which the caller has checked to rise.
    ///
    /// # Errors
    /// `Invalid` when key or value is longer than a page allows.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if key.is_empty() || key.len() > KEY_LEN_MAX || value.len() > VALUE_LEN_MAX {
            return Err(Error::invalid("key or value too long for a page"));
        }
        // LIMIT: KEY_LEN_MAX is far below 256.
        self.bytes.push(key.len() as u8);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// Appends a child under its first key.
    ///
    /// # Errors
    /// As [`Run::push`].
    pub fn push_child(&mut self, key: &[u8], child: PageRef) -> Result<()> {
        self.push(key, &child.to_bytes())
    }

    /// Appends an entry as [`Page::entry`] gives it.
    pub fn push_entry(&mut self, entry: &[u8]) {
        self.bytes.extend_from_slice(entry);
        self.ends.push(self.bytes.len());
    }

    /// Takes the last entry off, as key and child, from a run of children.
    pub fn pop_child(&mut self) -> Option<(Vec<u8>, PageRef)> {
        self.ends.pop()?;
        let entry = self.bytes.split_off(self.ends.last().copied().unwrap_or(0));
        let (key, value) = entry.get(1..)?.split_at_checked(usize::from(entry[0]))?;
        Some((key.to_vec(), PageRef::from_bytes(value)?))
    }

    /// Key of the first entry.
    pub fn first_key(&self) -> Option<&[u8]> {
        let (len, rest) = self.bytes.split_first()?;
        rest.get(..usize::from(*len))
    }

    /// Appends all entries of another run.
    pub fn append(&mut self, other: &Run) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| before + end));
    }

    /// Most entries from the front whose page is no longer than `len_max`; at least one if there is any.
    pub fn count_within(&self, len_max: usize) -> usize {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = (low + high).div_ceil(2);
            if self.page_len_of(middle) <= len_max { low = middle } else { high = middle - 1 }
        }
        low.max(1).min(self.count())
    }

    /// Cuts a page of the first `count` entries off.
    ///
    /// # Panics
    /// When `count` is 0, more than there are, or makes more than a page.
    pub fn cut(&mut self, count: usize, level: u8) -> Zeroizing<Vec<u8>> {
        let len = self.page_len_of(count);
        assert!(count > 0 && len <= PLAIN_LEN_MAX, "page cut too long");
        let taken = self.ends[count - 1];
        let begin = HEAD_LEN + END_LEN * count;
        let mut page = Zeroizing::new(Vec::with_capacity(len));
        page.extend([PageKind::of_level(level).number(), level]);
        // LIMIT: PLAIN_LEN_MAX is below 2^16, and so is everything counted in a page.
        page.extend((count as u16).to_le_bytes());
        for end in &self.ends[..count] {
            page.extend(((begin + end) as u16).to_le_bytes());
        }
        page.extend_from_slice(&self.bytes[..taken]);
        self.bytes.drain(..taken);
        self.ends.drain(..count);
        self.ends.iter_mut().for_each(|end| *end -= taken);
        page
    }
}
