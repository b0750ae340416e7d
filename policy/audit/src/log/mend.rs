//! Tiles of the tree, made good from the records that they follow from.

use strongroom_records::ids::Hash;
use strongroom_records::log::{Header, Record};
use strongroom_store::Shelf;

use super::{Log, Sealer, missing};
use crate::error::{Error, Result};
use crate::merkle::{TILE_WIDTH, Tiles as _, leaf_hash};
use crate::tiles::{Above, Grown, NONE, StoredTiles, is_root, items};

impl Log {
    /// Brings the tiles up to the newest record, if the writer of the records from `first` on died before they were there, or
    /// if what is there is damaged or gone: they follow from the records.
    ///
    /// # Errors
    /// Those of the store; `Corrupt` when the records do not lead to the head either.
    pub fn settle(&self, sealer: &dyn Sealer, first: u64) -> Result<()> {
        let Some(header) = self.head() else { return Ok(()) };
        let stored = StoredTiles::new(&self.shelves, header.tree_size, &NONE);
        if (stored.is_complete()? && stored.lead_to(&header.tree_root)?)
            || self.regrow(sealer, header, first)?
        {
            return Ok(());
        }
        self.mend_edge(sealer, header)
    }

    /// Makes every tile anew that is not what the records say, and says how many. Costs as much as reading all records.
    ///
    /// # Errors
    /// As [`Log::settle`].
    pub fn mend(&self, sealer: &dyn Sealer) -> Result<u64> {
        let Some(header) = self.head() else { return Ok(0) };
        let leaves = self.leaf_hashes(sealer, 0, header.seq)?;
        if leaves.len() as u64 != header.tree_size {
            return Err(bad_size());
        }
        let nothing = StoredTiles::new(&self.shelves, 0, &NONE);
        let grown = nothing.grow(&leaves)?;
        if !is_root(&Above { below: &nothing, grown: &grown }, header.tree_size, &header.tree_root)?
        {
            return Err(Error::corrupt(MISLEADING));
        }
        self.put_misfits(&grown)
    }

    /// Puts those of these tiles that are not in the store, and says how many.
    pub(crate) fn put_misfits(&self, tiles: &Grown) -> Result<u64> {
        let mut misfits = tiles.clone();
        for (place, tile) in tiles {
            if self.has_tile(*place, tile)? {
                misfits.remove(place);
            }
        }
        self.shelves.put(items(&misfits))?;
        Ok(misfits.len() as u64)
    }

    /// Whether a tile is what it should be, in the store or among those that are still to be put.
    pub(crate) fn has_tile(&self, (level, index): (u8, u64), tile: &[Hash]) -> Result<bool> {
        Ok(self.stored().tile(level, index)? == tile)
    }

    /// Makes the tiles anew that the next leaves are added to: from the records of the newest tile if that is enough.
    fn mend_edge(&self, sealer: &dyn Sealer, header: &Header) -> Result<()> {
        let newest = header.tree_size.saturating_sub(1);
        let first = self.record_of(header, newest - newest % TILE_WIDTH)?;
        match self.regrow(sealer, header, first)? {
            true => Ok(()),
            false => self.mend(sealer).map(drop),
        }
    }

    /// Puts the tiles that change with the records from `first` on, if they lead to the head then.
    fn regrow(&self, sealer: &dyn Sealer, header: &Header, first: u64) -> Result<bool> {
        let leaves = self.leaf_hashes(sealer, first, header.seq)?;
        let before = header.tree_size.checked_sub(leaves.len() as u64).ok_or_else(bad_size)?;
        let tiles = StoredTiles::new(&self.shelves, before, &NONE);
        let grown = tiles.grow(&leaves)?;
        let above = Above { below: &tiles, grown: &grown };
        if !is_root(&above, header.tree_size, &header.tree_root)? {
            return Ok(false);
        }
        self.shelves.put(items(&grown))?;
        Ok(true)
    }

    fn leaf_hashes(&self, sealer: &dyn Sealer, first: u64, last: u64) -> Result<Vec<Hash>> {
        let mut hashes = Vec::new();
        for seq in first..=last {
            let (_, body) = self.body(sealer, seq).map_err(missing)?;
            hashes.extend(body.entries.iter().map(|entry| leaf_hash(&entry.leaf)));
        }
        Ok(hashes)
    }

    /// The record that an entry is in.
    fn record_of(&self, header: &Header, index: u64) -> Result<u64> {
        let (mut low, mut high) = (0, header.seq);
        while low < high {
            let middle = low + (high - low) / 2;
            let bytes = self.shelves.fetch(Shelf::Log, u128::from(middle)).map_err(missing)?;
            match Record::parse(&bytes)?.header.tree_size > index {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Ok(low)
    }

    /// The tiles that leaves are added to, made good where they are not those of the newest head.
    pub(super) fn sound_tiles(&self, sealer: &dyn Sealer) -> Result<StoredTiles<'_>> {
        let tiles = self.stored();
        // INVARIANT: a head is signed only of what was compared with the head before.
        match self.head() {
            Some(header) if !tiles.lead_to(&header.tree_root)? => {
                self.mend_edge(sealer, header)?;
                let mended = self.stored();
                match mended.lead_to(&header.tree_root)? {
                    true => Ok(mended),
                    false => Err(Error::corrupt(MISLEADING)),
                }
            }
            _ => Ok(tiles),
        }
    }
}

const MISLEADING: &str = "the audit tree does not lead to its head";

fn bad_size() -> Error {
    Error::corrupt("a register record has more entries than the tree")
}
