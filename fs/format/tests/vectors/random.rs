//! Operations and damage by seed.

use strongroom_format::ids::{Ino, ObjectId};
use strongroom_format::inode::Kind;
use strongroom_format::op::{Fate, Op};

use super::samples::{SNAPSHOT, extent, snapshot};

/// splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    fn bytes(&mut self, len_max: u64) -> Vec<u8> {
        let len = self.below(len_max + 1);
        (0..len).map(|_| self.roll() as u8).collect()
    }

    /// Numbers of every length CBOR knows.
    fn number(&mut self) -> u64 {
        let bits = [4, 5, 8, 16, 32, 63][self.below(6) as usize];
        self.roll() & ((1 << bits) - 1)
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }
}

/// One random change.
pub fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let at = dice.below(bytes.len() as u64) as usize;
    match dice.below(5) {
        _ if bytes.is_empty() => bytes.push(dice.roll() as u8),
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = dice.roll() as u8,
        2 => drop(bytes.remove(at)),
        3 => bytes.insert(at, dice.roll() as u8),
        _ => bytes.truncate(at),
    }
}

/// Any operation.
pub fn random_op(dice: &mut Dice) -> Op {
    let ino = Ino(dice.number());
    let time = dice.number() as i64 - dice.number() as i64;
    let mode = dice.below(0o10000) as u16;
    let other = Ino(dice.number());
    match dice.below(12) {
        0 => Op::Create {
            folder: other,
            name: dice.bytes(255),
            ino,
            kind: [Kind::File, Kind::Folder, Kind::Symlink, Kind::Char][dice.below(4) as usize],
            mode,
            uid: dice.roll() as u32,
            gid: dice.number() as u32,
            rdev: dice.number() as u32,
            target: dice.bytes(40),
            time,
        },
        1 => Op::Rename {
            from: other,
            from_name: dice.bytes(255),
            to: Ino(dice.number()),
            to_name: dice.bytes(20),
            ino,
            replaced: Ino(0),
            fate: [Fate::Keep, Fate::Remove][dice.below(2) as usize],
            time,
        },
        2 => Op::SetAttributes {
            ino,
            mode: dice.maybe(|_| mode),
            uid: dice.maybe(|dice| dice.number() as u32),
            gid: dice.maybe(|dice| dice.number() as u32),
            size: dice.maybe(Dice::number),
            atime: dice.maybe(|_| time),
            mtime: dice.maybe(|dice| dice.number() as i64),
            time,
        },
        3 => {
            let value = dice.maybe(|dice| dice.bytes(300));
            Op::SetXattr { ino, name: dice.bytes(20), value, time }
        }
        4 => {
            let size = dice.number();
            Op::SetInline { ino, size, data: dice.bytes(1024), mode, mtime: time, ctime: 0 }
        }
        5 => {
            let count = dice.below(5);
            let extents = (0..count).map(|_| extent(dice.number(), dice.number() as u32)).collect();
            Op::SetExtents { ino, size: dice.number(), extents, mode, mtime: 0, ctime: time }
        }
        6 => Op::Relocate {
            from: ObjectId([dice.roll() as u8; 16]),
            to: ObjectId([dice.roll() as u8; 16]),
            inos: (0..dice.below(30)).map(|_| Ino(dice.number())).collect(),
            places: (0..dice.below(30))
                .map(|_| (dice.number() as u32, dice.number() as u32))
                .collect(),
        },
        7 => Op::Punch { ino, offset: dice.number(), len: dice.number(), time },
        8 => Op::Based { seq: dice.number(), from: dice.number(), last: dice.below(2) == 0 },
        9 => {
            let count = dice.below(5);
            let extents = (0..count).map(|_| extent(dice.number(), dice.number() as u32)).collect();
            Op::Rewrite { ino, extents }
        }
        10 => {
            let snapshot = dice.maybe(|_| snapshot());
            Op::SetSnapshot { id: SNAPSHOT, snapshot }
        }
        _ => Op::Write { ino, offset: dice.number(), data: dice.bytes(4096), mode, time },
    }
}
