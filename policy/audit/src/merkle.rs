//! RFC 6962 trees: hashes, inclusion and consistency proofs, and their verification.
//!
//! Hashes come from tiles (C2SP tlog-tiles): tile (level L, index i) holds the hashes of the 256 perfect subtrees of
//! 256^L leaves from 256·i on, fewer at the right edge.

use strongroom_crypto::hash::Sha256;
use strongroom_records::ids::Hash;

use crate::error::{Error, Result};

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;

/// Where tiles come from.
pub trait Tiles {
    /// The hashes of a tile, as many as there are; empty for one that is not there.
    ///
    /// # Errors
    /// Those of the store; `Corrupt`.
    fn tile(&self, level: u8, index: u64) -> Result<Vec<Hash>>;
}

/// Hash of a leaf.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Hash(Sha256::new().update(&[0]).update(leaf).finish())
}

/// Hash of an inner node.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new().update(&[1]).update(&left.0).update(&right.0).finish())
}

/// Hash of the tree without leaves.
pub fn empty_root() -> Hash {
    Hash(Sha256::new().finish())
}

/// Root of the first `size` leaves.
///
/// # Errors
/// `Corrupt` when tiles are missing.
pub fn root(tiles: &dyn Tiles, size: u64) -> Result<Hash> {
    if size == 0 { Ok(empty_root()) } else { range(tiles, 0, size) }
}

/// Proof that leaf `index` is in the tree of `size` leaves, from the leaf upward.
///
/// # Errors
/// `Corrupt` when tiles are missing.
pub fn inclusion(tiles: &dyn Tiles, index: u64, size: u64) -> Result<Vec<Hash>> {
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range(tiles, middle, end)?);
            end = middle;
        } else {
            proof.push(range(tiles, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that the tree of `old` leaves is the beginning of the one of `new`; empty if they are equal or `old` is 0.
///
/// # Errors
/// `Corrupt` when tiles are missing.
pub fn consistency(tiles: &dyn Tiles, old: u64, new: u64) -> Result<Vec<Hash>> {
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, new);
    let mut is_whole = true;
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range(tiles, middle, end)?);
            end = middle;
        } else {
            proof.push(range(tiles, start, middle)?);
            start = middle;
            is_whole = false;
        }
    }
    if !is_whole {
        proof.push(range(tiles, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether a proof shows that a leaf of that hash is number `index` below `root` of `size` leaves.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place % 2 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether a proof shows that `old_root` of `old` leaves is the beginning of `new_root` of `new`.
pub fn verify_consistency(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    proof: &[Hash],
) -> bool {
    if old == 0 || old >= new {
        let is_same = old == new && old_root == new_root;
        return proof.is_empty() && (is_same || (old == 0 && *old_root == empty_root()));
    }
    let mut hashes = proof.iter();
    let first = match old.is_power_of_two() {
        true => *old_root,
        false => match hashes.next() {
            Some(hash) => *hash,
            None => return false,
        },
    };
    let shift = (old - 1).trailing_ones();
    let (mut place, mut last) = ((old - 1) >> shift, (new - 1) >> shift);
    let (mut left, mut right) = (first, first);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            left = node_hash(hash, &left);
            right = node_hash(hash, &right);
            while place % 2 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            right = node_hash(&right, hash);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && left == *old_root && right == *new_root
}

/// The largest power of two below a length of at least two.
fn split(len: u64) -> u64 {
    1 << (63 - (len - 1).leading_zeros())
}

/// Hash over the leaves from `start` to `end`.
fn range(tiles: &dyn Tiles, start: u64, end: u64) -> Result<Hash> {
    let len = end - start;
    if len.is_power_of_two() && start.is_multiple_of(len) {
        return perfect(tiles, len.trailing_zeros(), start / len);
    }
    let middle = start + split(len);
    Ok(node_hash(&range(tiles, start, middle)?, &range(tiles, middle, end)?))
}

/// Hash of the perfect subtree number `index` of 2^`height` leaves.
fn perfect(tiles: &dyn Tiles, height: u32, index: u64) -> Result<Hash> {
    let (level, rest) = (height / 8, height % 8);
    let first = index << rest;
    let level = u8::try_from(level).map_err(|_| missing())?;
    let tile = tiles.tile(level, first / TILE_WIDTH)?;
    let from = usize::try_from(first % TILE_WIDTH).map_err(|_| missing())?;
    let mut hashes = tile.get(from..from + (1 << rest)).ok_or_else(missing)?.to_vec();
    fold(&mut hashes);
    hashes.first().copied().ok_or_else(missing)
}

/// Folds 2^n hashes to the one above them.
pub(crate) fn fold(hashes: &mut Vec<Hash>) {
    while hashes.len() > 1 {
        *hashes = hashes.as_chunks::<2>().0.iter().map(|[l, r]| node_hash(l, r)).collect();
    }
}

fn missing() -> Error {
    Error::corrupt("hashes of the audit tree are missing")
}
