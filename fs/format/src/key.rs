//! Keys of the ordered map, big-endian so that byte order is key order.
//!
//! ```text
//! 10 · folder u64 · cookie u64     folder entry; cookie = hash (56 bits) << 7 | slot (7 bits), top bit 0
//! 20 · ino u64                     inode
//! 30 · ino u64 · offset u64        extent of a file whose extents do not fit its inode
//! 40 · object 16                   use of a data object
//! 50 · ino u64                     orphan: open, without a name
//! ```

use crate::ids::{Ino, ObjectId};

/// Longest key.
pub const KEY_LEN_MAX: usize = 17;
/// Slots of one hash in one folder: names that differ by case or normal form only.
pub const SLOT_COUNT: u8 = 128;

/// Position of an entry in its folder from hash (56 bits) and slot (7 bits); below 2^63. Also the cookie of a
/// listing; as no hash is 0, positions below 128 are never entries.
pub const fn position(hash: u64, slot: u8) -> u64 {
    ((hash & ((1 << 56) - 1)) << 7) | (slot & 0x7f) as u64
}

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Folder entry.
    Entry {
        /// Folder.
        folder: Ino,
        /// Hash and slot, see [`position`].
        position: u64,
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
    /// Tag of folder entries.
    pub const ENTRY: u8 = 0x10;
    /// Tag of inodes.
    pub const INODE: u8 = 0x20;
    /// Tag of extents.
    pub const EXTENT: u8 = 0x30;
    /// Tag of data objects.
    pub const OBJECT: u8 = 0x40;
    /// Tag of orphans.
    pub const ORPHAN: u8 = 0x50;
    /// Before every key.
    pub const MIN: Key = Key::bare(0);
    /// After every key.
    pub const MAX: Key = Key::bare(0xff);
    /// After the last inode.
    pub const INODE_END: Key = Key::bare(Key::INODE + 1);
    /// After the last data object.
    pub const OBJECT_END: Key = Key::bare(Key::OBJECT + 1);
    /// After the last orphan.
    pub const ORPHAN_END: Key = Key::bare(Key::ORPHAN + 1);

    /// Key of a folder entry at a [`position`].
    pub fn entry(folder: Ino, position: u64) -> Self {
        Self::build(Self::ENTRY, folder.0, &position.to_be_bytes())
    }

    /// After the last entry of a folder.
    pub fn entry_end(folder: Ino) -> Self {
        Self::entry(Ino(folder.0 + 1), 0)
    }

    /// Key of an inode.
    pub fn inode(ino: Ino) -> Self {
        Self::build(Self::INODE, ino.0, &[])
    }

    /// Key of an extent.
    pub fn extent(ino: Ino, offset: u64) -> Self {
        Self::build(Self::EXTENT, ino.0, &offset.to_be_bytes())
    }

    /// After the last extent of a file.
    pub fn extent_end(ino: Ino) -> Self {
        Self::extent(Ino(ino.0 + 1), 0)
    }

    /// Key of a data object's use.
    pub fn object(object: ObjectId) -> Self {
        let mut key = Self::bare(Self::OBJECT);
        key.bytes[1..].copy_from_slice(&object.0);
        key.len = 17;
        key
    }

    /// Key of an orphan.
    pub fn orphan(ino: Ino) -> Self {
        Self::build(Self::ORPHAN, ino.0, &[])
    }

    /// Parses a key as it stands in a page; none if no writer makes it.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut key = Self { bytes: [0; KEY_LEN_MAX], len: u8::try_from(bytes.len()).ok()? };
        key.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        key.subject()?;
        Some(key)
    }

    /// What the key stands for; none for bounds that are no key.
    pub fn subject(&self) -> Option<Subject> {
        let (kind, rest) = self.as_bytes().split_first()?;
        let (first, second) = rest.split_at_checked(8)?;
        if *kind == Self::OBJECT {
            return Some(Subject::Object(ObjectId(rest.try_into().ok()?)));
        }
        let ino = Ino(u64_of(first)?);
        if ino.0 == 0 || ino.0 >> 63 != 0 {
            return None;
        }
        match (*kind, second.len()) {
            (Self::ENTRY, 8) => {
                let position = u64_of(second)?;
                let possible = (u64::from(SLOT_COUNT)..1 << 63).contains(&position);
                possible.then_some(Subject::Entry { folder: ino, position })
            }
            (Self::INODE, 0) => Some(Subject::Inode(ino)),
            (Self::EXTENT, 8) => Some(Subject::Extent { ino, offset: u64_of(second)? }),
            (Self::ORPHAN, 0) => Some(Subject::Orphan(ino)),
            _ => None,
        }
    }

    /// The object of an object key.
    pub fn object_id(&self) -> Option<ObjectId> {
        match self.subject()? {
            Subject::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The inode of an orphan key.
    pub fn orphan_ino(&self) -> Option<Ino> {
        match self.subject()? {
            Subject::Orphan(ino) => Some(ino),
            _ => None,
        }
    }

    /// The position of an entry key.
    pub fn entry_position(&self) -> Option<u64> {
        match self.subject()? {
            Subject::Entry { position, .. } => Some(position),
            _ => None,
        }
    }

    /// The least bound above this key: every other key is below it or at least it.
    pub fn successor(&self) -> Self {
        let mut next = *self;
        if usize::from(self.len) < KEY_LEN_MAX {
            next.len += 1;
            return next;
        }
        for byte in next.bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        next
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

    fn build(tag: u8, first: u64, rest: &[u8]) -> Self {
        let mut key = Self::bare(tag);
        key.bytes[1..9].copy_from_slice(&first.to_be_bytes());
        key.bytes[9..9 + rest.len()].copy_from_slice(rest);
        key.len = if rest.is_empty() { 9 } else { 17 };
        key
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
            hex(Key::entry(Ino(1), position(0x00ab_cdef, 3))),
            "1000000000000000010000000055e6f783"
        );
        assert_eq!(hex(Key::inode(Ino::compose(1, 2))), "200000010000000002");
        assert_eq!(hex(Key::extent(Ino(2), 65536)), "3000000000000000020000000000010000");
        assert_eq!(hex(Key::object(ObjectId([7; 16]))), "4007070707070707070707070707070707");
        assert_eq!(hex(Key::orphan(Ino(9))), "500000000000000009");
    }

    #[test]
    fn every_key_parses_to_what_made_it() {
        let last = position((1 << 56) - 1, 127);
        assert_eq!(last, (1 << 63) - 1);
        let cases = [
            (Key::entry(Ino(5), last), Subject::Entry { folder: Ino(5), position: last }),
            (Key::inode(Ino(5)), Subject::Inode(Ino(5))),
            (Key::extent(Ino(5), 9), Subject::Extent { ino: Ino(5), offset: 9 }),
            (Key::object(ObjectId([0; 16])), Subject::Object(ObjectId([0; 16]))),
            (Key::orphan(Ino(5)), Subject::Orphan(Ino(5))),
        ];
        for (key, subject) in cases {
            assert_eq!(Key::parse(key.as_bytes()).unwrap().subject(), Some(subject));
            for end in 0..key.as_bytes().len() {
                let cut = Key::parse(&key.as_bytes()[..end]);
                assert!(cut.is_none(), "{subject:?} cut at {end}");
            }
        }
    }

    #[test]
    fn keys_that_no_writer_makes_are_refused() {
        for bad in [
            Key::inode(Ino(0)).as_bytes(),
            Key::inode(Ino(1 << 63)).as_bytes(),
            Key::entry(Ino(1), 127).as_bytes(),
            Key::entry(Ino(1), 1 << 63).as_bytes(),
            &[0x60, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0x20; 40],
            &[],
        ] {
            assert!(Key::parse(bad).is_none(), "{bad:02x?}");
        }
    }

    #[test]
    fn bounds_hold_exactly_their_keys() {
        let folder = Ino(3);
        assert!(Key::MIN < Key::entry(folder, 128));
        assert!(Key::entry(folder, (1 << 63) - 1) < Key::entry_end(folder));
        assert!(Key::entry_end(folder) <= Key::entry(Ino(4), 128));
        assert!(Key::extent(Ino(3), u64::MAX) < Key::extent_end(Ino(3)));
        assert!(Key::inode(Ino(i64::MAX as u64)) < Key::INODE_END);
        assert!(Key::INODE_END <= Key::extent(Ino(1), 0));
        assert!(Key::object(ObjectId([0xff; 16])) < Key::OBJECT_END);
        assert!(Key::orphan(Ino(i64::MAX as u64)) < Key::ORPHAN_END);
        assert!(Key::ORPHAN_END < Key::MAX);
    }

    #[test]
    fn nothing_fits_between_a_key_and_its_successor() {
        let key = Key::extent(Ino(3), 255);
        assert_eq!(key.successor(), Key::extent(Ino(3), 256));
        assert_eq!(Key::extent(Ino(3), u64::MAX).successor(), Key::extent(Ino(4), 0));
        let inode = Key::inode(Ino(3));
        assert!(inode < inode.successor() && inode.successor() < Key::inode(Ino(4)));
        assert!(inode.as_bytes() < inode.successor().as_bytes());
    }
}
