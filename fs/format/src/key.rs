//! Keys of the ordered map, big-endian so that byte order is key order.
//!
//! ```text
//! 10 · folder u64 · cookie u64     folder entry; cookie = hash (56 bits) << 7 | slot (7 bits), top bit 0
//! 20 · ino u64                     inode
//! 30 · ino u64 · offset u64        extent of a file whose extents do not fit its inode
//! 40 · object 16                   use of a data object
//! 50 · ino u64                     orphan: open, without a name
//! 60 · snapshot 16                 snapshot: a commit that collection leaves readable
//! ```

use crate::error::{Error, Result};
use crate::ids::{Ino, ObjectId, SnapshotId};

/// Longest key.
pub const KEY_LEN_MAX: usize = 17;
/// Slots of one hash in one folder: names that differ by case or normal form only.
pub const SLOT_COUNT: u8 = 128;

/// Position of an entry in its folder: hash (56 bits) and slot (7 bits), below 2^63. Also the cookie of a listing;
/// as no hash is 0, cookies below 128 are never entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cookie(pub u64);

impl Cookie {
    /// Composes hash and slot.
    pub const fn compose(hash: u64, slot: u8) -> Self {
        Cookie(((hash & ((1 << 56) - 1)) << 7) | (slot & 0x7f) as u64)
    }

    /// The hash.
    pub const fn hash(self) -> u64 {
        self.0 >> 7
    }

    /// The slot.
    pub const fn slot(self) -> u8 {
        (self.0 & 0x7f) as u8
    }
}

const ENTRY: u8 = 0x10;
const INODE: u8 = 0x20;
const EXTENT: u8 = 0x30;
const OBJECT: u8 = 0x40;
const ORPHAN: u8 = 0x50;
const SNAPSHOT: u8 = 0x60;

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Folder entry.
    Entry {
        /// Folder.
        folder: Ino,
        /// Hash and slot.
        cookie: Cookie,
    },
    /// Inode.
    Inode(Ino),
    /// Extent.
    Extent {
        /// File.
        ino: Ino,
        /// Offset in the file.
        offset: u64,
    },
    /// Use of a data object.
    Object(ObjectId),
    /// Orphan.
    Orphan(Ino),
    /// Snapshot.
    Snapshot(SnapshotId),
}

/// A key, at most [`KEY_LEN_MAX`] bytes, without heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    // ORDER: bytes before len, so that the derived order is byte order; what lies past `len` is zero and no key
    // is a prefix of another of the same kind.
    bytes: [u8; KEY_LEN_MAX],
    len: u8,
}

impl Key {
    /// Key of a folder entry.
    pub fn entry(folder: Ino, cookie: Cookie) -> Self {
        Self::build(ENTRY, folder.0, &cookie.0.to_be_bytes())
    }

    /// Key of an inode.
    pub fn inode(ino: Ino) -> Self {
        Self::build(INODE, ino.0, &[])
    }

    /// Key of an extent.
    pub fn extent(ino: Ino, offset: u64) -> Self {
        Self::build(EXTENT, ino.0, &offset.to_be_bytes())
    }

    /// Key of a data object's use.
    pub fn object(object: ObjectId) -> Self {
        Self::named(OBJECT, &object.0)
    }

    /// Key of a snapshot.
    pub fn snapshot(id: SnapshotId) -> Self {
        Self::named(SNAPSHOT, &id.0)
    }

    /// Key of an orphan.
    pub fn orphan(ino: Ino) -> Self {
        Self::build(ORPHAN, ino.0, &[])
    }

    /// First key and the bound after the last of a folder's entries.
    pub fn entries_of(folder: Ino) -> (Self, Self) {
        (Self::entry(folder, Cookie(0)), Self::entry(Ino(folder.0 + 1), Cookie(0)))
    }

    /// First key and the bound after the last of a folder's entries with one hash.
    pub fn slots_of(folder: Ino, hash: u64) -> (Self, Self) {
        let first = Cookie::compose(hash, 0);
        (Self::entry(folder, first), Self::entry(folder, Cookie(first.0 + u64::from(SLOT_COUNT))))
    }

    /// First key and the bound after the last of a file's extents.
    pub fn extents_of(ino: Ino) -> (Self, Self) {
        (Self::extent(ino, 0), Self::extent(Ino(ino.0 + 1), 0))
    }

    /// First key and the bound after the last of all inodes.
    pub fn inodes() -> (Self, Self) {
        (Self::bare(INODE), Self::bare(INODE + 1))
    }

    /// First key and the bound after the last of all data objects.
    pub fn objects() -> (Self, Self) {
        (Self::bare(OBJECT), Self::bare(OBJECT + 1))
    }

    /// First key and the bound after the last of all orphans.
    pub fn orphans() -> (Self, Self) {
        (Self::bare(ORPHAN), Self::bare(ORPHAN + 1))
    }

    /// First key and the bound after the last of all snapshots.
    pub fn snapshots() -> (Self, Self) {
        (Self::bare(SNAPSHOT), Self::bare(SNAPSHOT + 1))
    }

    /// First key and the bound after the last of everything.
    pub fn all() -> (Self, Self) {
        (Self::bare(0), Self::bare(0xff))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    const fn bare(tag: u8) -> Self {
        let mut bytes = [0; KEY_LEN_MAX];
        bytes[0] = tag;
        Self { bytes, len: 1 }
    }

    fn named(tag: u8, id: &[u8; 16]) -> Self {
        let mut key = Self::bare(tag);
        key.bytes[1..].copy_from_slice(id);
        key.len = 17;
        key
    }

    fn build(tag: u8, first: u64, rest: &[u8]) -> Self {
        let mut key = Self::bare(tag);
        key.bytes[1..9].copy_from_slice(&first.to_be_bytes());
        key.bytes[9..9 + rest.len()].copy_from_slice(rest);
        key.len = if rest.is_empty() { 9 } else { 17 };
        key
    }
}

/// Says what a key stands for.
///
/// # Errors
/// `Corrupt` when no writer makes such a key.
pub fn parse(key: &[u8]) -> Result<Subject> {
    subject(key).ok_or(Error::corrupt("malformed key in the map"))
}

fn subject(key: &[u8]) -> Option<Subject> {
    let (tag, rest) = key.split_first()?;
    let (first, second) = rest.split_at_checked(8)?;
    if *tag == OBJECT {
        return Some(Subject::Object(ObjectId(rest.try_into().ok()?)));
    }
    if *tag == SNAPSHOT {
        return Some(Subject::Snapshot(SnapshotId(rest.try_into().ok()?)));
    }
    let ino = Ino(u64_of(first)?);
    if ino.0 == 0 || ino.0 >> 63 != 0 {
        return None;
    }
    match (*tag, second.len()) {
        (ENTRY, 8) => {
            let cookie = Cookie(u64_of(second)?);
            let possible = (u64::from(SLOT_COUNT)..1 << 63).contains(&cookie.0);
            possible.then_some(Subject::Entry { folder: ino, cookie })
        }
        (INODE, 0) => Some(Subject::Inode(ino)),
        (EXTENT, 8) => Some(Subject::Extent { ino, offset: u64_of(second)? }),
        (ORPHAN, 0) => Some(Subject::Orphan(ino)),
        _ => None,
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

fn u64_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_documented_bytes() {
        let hex = |key: Key| key.as_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(
            hex(Key::entry(Ino(1), Cookie::compose(0x00ab_cdef, 3))),
            "1000000000000000010000000055e6f783"
        );
        assert_eq!(hex(Key::inode(Ino::compose(1, 2))), "200000010000000002");
        assert_eq!(hex(Key::extent(Ino(2), 65536)), "3000000000000000020000000000010000");
        assert_eq!(hex(Key::object(ObjectId([7; 16]))), "4007070707070707070707070707070707");
        assert_eq!(hex(Key::orphan(Ino(9))), "500000000000000009");
    }

    #[test]
    fn every_key_parses_to_what_made_it() {
        let cookie = Cookie::compose((1 << 56) - 1, 127);
        assert_eq!((cookie.0, cookie.hash(), cookie.slot()), ((1 << 63) - 1, (1 << 56) - 1, 127));
        let cases = [
            (Key::entry(Ino(5), cookie), Subject::Entry { folder: Ino(5), cookie }),
            (Key::inode(Ino(5)), Subject::Inode(Ino(5))),
            (Key::extent(Ino(5), 9), Subject::Extent { ino: Ino(5), offset: 9 }),
            (Key::object(ObjectId([0; 16])), Subject::Object(ObjectId([0; 16]))),
            (Key::orphan(Ino(5)), Subject::Orphan(Ino(5))),
        ];
        for (key, subject) in cases {
            assert_eq!(parse(key.as_bytes()).unwrap(), subject);
            for end in 0..key.as_bytes().len() {
                assert!(parse(&key.as_bytes()[..end]).is_err(), "{subject:?} cut at {end}");
            }
        }
    }

    #[test]
    fn keys_that_no_writer_makes_are_refused() {
        for bad in [
            Key::inode(Ino(0)).as_bytes(),
            Key::inode(Ino(1 << 63)).as_bytes(),
            Key::entry(Ino(1), Cookie(127)).as_bytes(),
            Key::entry(Ino(1), Cookie(1 << 63)).as_bytes(),
            &[0x60, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0x20; 40],
            &[],
        ] {
            assert!(parse(bad).is_err(), "{bad:02x?}");
        }
    }

    #[test]
    fn bounds_hold_exactly_their_keys() {
        let inside = |(from, to): (Key, Key), key: Key| from <= key && key < to;
        let last = Cookie((1 << 63) - 1);
        assert!(inside(Key::entries_of(Ino(3)), Key::entry(Ino(3), last)));
        assert!(!inside(Key::entries_of(Ino(3)), Key::entry(Ino(4), Cookie(128))));
        assert!(inside(Key::slots_of(Ino(1), 77), Key::entry(Ino(1), Cookie::compose(77, 0))));
        assert!(inside(Key::slots_of(Ino(1), 77), Key::entry(Ino(1), Cookie::compose(77, 127))));
        assert!(!inside(Key::slots_of(Ino(1), 77), Key::entry(Ino(1), Cookie::compose(78, 0))));
        assert!(inside(Key::extents_of(Ino(3)), Key::extent(Ino(3), u64::MAX)));
        assert!(inside(Key::inodes(), Key::inode(Ino(i64::MAX as u64))));
        assert!(!inside(Key::inodes(), Key::extent(Ino(1), 0)));
        assert!(inside(Key::objects(), Key::object(ObjectId([0xff; 16]))));
        assert!(inside(Key::orphans(), Key::orphan(Ino(i64::MAX as u64))));
        assert!(inside(Key::all(), Key::orphan(Ino(i64::MAX as u64))));
    }

    #[test]
    fn keys_order_as_their_bytes_do() {
        let keys = [
            Key::all().0,
            Key::entry(Ino(1), Cookie(128)),
            Key::inodes().0,
            Key::inode(Ino(1)),
            Key::inode(Ino(256)),
            Key::inodes().1,
            Key::extent(Ino(1), 0),
            Key::extent(Ino(1), 1 << 40),
            Key::object(ObjectId([0; 16])),
        ];
        assert!(keys.is_sorted());
        assert!(keys.is_sorted_by_key(|key| key.as_bytes().to_vec()));
    }
}
