//! Tiles of the audit tree in the store, and how they grow.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use strongroom_records::ids::Hash;
use strongroom_store::Shelf;

use crate::error::{ErrorKind, Result};
use crate::merkle::{self, TILE_WIDTH, Tiles, fold};
use crate::shelves::Shelves;

/// LIMIT: levels of tiles; eight hold any number of leaves a u64 counts.
const LEVEL_COUNT: u8 = 8;

/// Tiles by place.
pub(crate) type Grown = BTreeMap<(u8, u64), Vec<Hash>>;

/// No tiles above the stored ones.
pub(crate) static NONE: Grown = BTreeMap::new();

/// The tiles of a tree of `size` leaves: what is stored, with what was grown in this process above it.
pub(crate) struct StoredTiles<'s> {
    shelves: &'s Shelves,
    size: u64,
    above: &'s Grown,
    read: RefCell<Grown>,
}

impl<'s> StoredTiles<'s> {
    /// What is on the shelf, below tiles that are not there yet.
    pub fn new(shelves: &'s Shelves, size: u64, above: &'s Grown) -> Self {
        Self { shelves, size, above, read: RefCell::default() }
    }

    /// Whether every tile that the size needs is there in full.
    pub fn is_complete(&self) -> Result<bool> {
        for level in 0..LEVEL_COUNT {
            let count = count_at(self.size, level);
            if count == 0 {
                break;
            }
            let tile = self.tile(level, (count - 1) / TILE_WIDTH)?;
            if tile.len() as u64 != (count - 1) % TILE_WIDTH + 1 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether they are those of a head, as far as a tree grows from them.
    pub fn lead_to(&self, root: &Hash) -> Result<bool> {
        is_root(self, self.size, root)
    }

    /// The tiles that change when leaves are added.
    pub fn grow(&self, leaves: &[Hash]) -> Result<Grown> {
        let mut grown = Grown::new();
        for (size, leaf) in (self.size..).zip(leaves) {
            push(&mut grown, size, *leaf, |level, index| self.tile(level, index))?;
        }
        Ok(grown)
    }
}

/// Adds a leaf to the tiles of a tree of `size` leaves; `begin` is what is there of one that has not changed yet.
pub(crate) fn push(
    grown: &mut Grown,
    size: u64,
    leaf: Hash,
    begin: impl Fn(u8, u64) -> Result<Vec<Hash>>,
) -> Result<()> {
    let mut hash = leaf;
    for level in 0..LEVEL_COUNT {
        let place = (level, count_at(size, level) / TILE_WIDTH);
        let tile = match grown.entry(place) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(begin(place.0, place.1)?),
        };
        tile.push(hash);
        if tile.len() as u64 != TILE_WIDTH {
            break;
        }
        let mut whole = tile.clone();
        fold(&mut whole);
        hash = whole[0];
    }
    Ok(())
}

/// Whether tiles have that root; not, where some are missing.
pub(crate) fn is_root(tiles: &dyn Tiles, size: u64, root: &Hash) -> Result<bool> {
    match merkle::root(tiles, size) {
        Ok(found) => Ok(found == *root),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
        Err(error) => Err(error),
    }
}

/// Hashes at a level of tiles for a tree of that size.
fn count_at(size: u64, level: u8) -> u64 {
    size >> (8 * u32::from(level))
}

impl Tiles for StoredTiles<'_> {
    fn tile(&self, level: u8, index: u64) -> Result<Vec<Hash>> {
        if let Some(tile) = self.read.borrow().get(&(level, index)) {
            return Ok(tile.clone());
        }
        // What is beyond the size belongs to a later record.
        let expected = count_at(self.size, level).saturating_sub(index * TILE_WIDTH);
        let expected = usize::try_from(expected.min(TILE_WIDTH)).unwrap_or(0);
        if expected == 0 {
            return Ok(Vec::new());
        }
        if let Some(tile) = self.above.get(&(level, index)) {
            return Ok(tile.iter().take(expected).copied().collect());
        }
        let bytes = self.shelves.find(Shelf::Tile, name(level, index))?.unwrap_or_default();
        // Unsigned: what is cut off or wrong shows where it is needed, and is made anew from the records.
        let hashes = bytes.as_chunks::<32>().0.iter();
        let tile: Vec<Hash> = hashes.take(expected).map(|hash| Hash(*hash)).collect();
        self.read.borrow_mut().insert((level, index), tile.clone());
        Ok(tile)
    }
}

/// A view with grown tiles above the stored ones.
pub(crate) struct Above<'t> {
    pub below: &'t StoredTiles<'t>,
    pub grown: &'t Grown,
}

impl Tiles for Above<'_> {
    fn tile(&self, level: u8, index: u64) -> Result<Vec<Hash>> {
        match self.grown.get(&(level, index)) {
            Some(tile) => Ok(tile.clone()),
            None => self.below.tile(level, index),
        }
    }
}

/// What is put for grown tiles.
pub(crate) fn items(grown: &Grown) -> Vec<(Shelf, u128, Vec<u8>)> {
    let bytes = |tile: &Vec<Hash>| tile.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();
    let item = |(place, tile): (&(u8, u64), _)| (Shelf::Tile, name(place.0, place.1), bytes(tile));
    grown.iter().map(item).collect()
}

fn name(level: u8, index: u64) -> u128 {
    u128::from(level) << 64 | u128::from(index)
}
