//! Cells of a register: how they are named, sealed and opened.
//!
//! INVARIANT: a cell that a record of the register key's generation or a later one wrote opens under that key alone, and once
//! everything is sealed under it no older cell is taken at all: whoever has an older key can lay nothing in the place of a cell.

use strongroom_crypto::kdf;
use strongroom_crypto::seal;
use strongroom_crypto::secret::Secret;
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::cbor;
use strongroom_records::register::{Cell, CellChange, CellKind};
use strongroom_store::Shelf;

use super::Register;
use crate::error::{Error, Result};

impl Register {
    /// Content of a cell; none if it was never written.
    pub fn cell(&self, kind: CellKind, id: &[u8; 16]) -> Result<Option<Vec<u8>>> {
        Ok(self.versioned_cell(kind, id)?.map(|(_, content)| content))
    }

    /// The same, with the record that wrote it.
    pub fn versioned_cell(&self, kind: CellKind, id: &[u8; 16]) -> Result<Option<(u64, Vec<u8>)>> {
        let name = self.cell_name(kind, id);
        let Some(cell) = self.sealed(&name)? else { return Ok(None) };
        Ok(Some((cell.version, self.open_cell(&name, &cell)?)))
    }

    /// The record that wrote a cell last.
    pub fn cell_version(&self, kind: CellKind, id: &[u8; 16]) -> Result<u64> {
        let cell = self.sealed(&self.cell_name(kind, id))?;
        Ok(cell.ok_or_else(|| Error::corrupt("a cell of the register is missing"))?.version)
    }

    fn sealed(&self, name: &[u8; 16]) -> Result<Option<Cell>> {
        if let Some(newer) = self.newer.get(name) {
            return Ok(Some(newer.clone()));
        }
        let stored = self.log.shelves().find(Shelf::Cell, u128::from_be_bytes(*name))?;
        Ok(stored.map(|bytes| cbor::decode_canonical(&bytes)).transpose()?)
    }

    /// A cell that is not in the store yet, as it will be there.
    pub fn unstored_cell(&self, name: &[u8; 16]) -> Option<Vec<u8>> {
        self.newer.get(name).map(cbor::encode)
    }

    /// Opens a cell as it lies in the store.
    fn open_cell(&self, name: &[u8; 16], cell: &Cell) -> Result<Vec<u8>> {
        let generation = self.generation();
        match self.key_in_force() {
            Some(key) if cell.version < key.first && key.is_whole => {
                Err(Error::corrupt("a cell of the register is older than the register's key"))
            }
            Some(key) if cell.version < key.first => {
                let mut older = (0..generation).rev();
                let opened = older.find_map(|older| self.open_recorded(name, cell, older).ok());
                opened.ok_or_else(damaged)
            }
            _ => self.open_recorded(name, cell, generation),
        }
    }

    /// Opens a cell as a record has it, of that generation of the register key.
    pub fn open_recorded(&self, name: &[u8; 16], cell: &Cell, generation: u64) -> Result<Vec<u8>> {
        let key = self.keys.of(generation).ok_or_else(damaged)?;
        let plain = seal::open(key, &self.cell_context(name, cell.version), &cell.sealed);
        Ok(plain.map_err(|_| damaged())?.into_vec())
    }

    /// Seals a cell for a record, under a generation of the register key.
    pub(super) fn sealed_cell(
        &self,
        name: [u8; 16],
        seq: u64,
        generation: u64,
        plain: &[u8],
    ) -> Result<CellChange> {
        let key = self.keys.of(generation).ok_or_else(damaged)?;
        let context = self.cell_context(&name, seq);
        let sealed = seal::seal(key, &context, self.services.entropy.array(), plain);
        Ok(CellChange { name, cell: cbor::encode(&Cell { version: seq, sealed }) })
    }

    /// Name of a cell: it tells nothing to who lacks the first register key.
    pub fn cell_name(&self, kind: CellKind, id: &[u8; 16]) -> [u8; 16] {
        let (application, kind) = (self.application(), kind as u64);
        let fields = [Value::Bytes(&application.0), Value::Uint(kind), Value::Bytes(id)];
        let secret = self.derive(Usage::CellName, &fields);
        *secret.expose().first_chunk().expect("32 bytes have 16")
    }

    /// Derives from the first register key.
    pub fn derive(&self, usage: Usage, fields: &[Value<'_>]) -> Secret<32> {
        let context = Context::new(usage, &self.services.keys.organisation().0, fields);
        kdf::derive(&Secret::from_bytes(self.keys.first().expose()), &context)
    }

    fn cell_context(&self, name: &[u8; 16], version: u64) -> Context {
        let application = self.application();
        let fields = [Value::Bytes(&application.0), Value::Bytes(name), Value::Uint(version)];
        Context::new(Usage::RegisterCell, &self.services.keys.organisation().0, &fields)
    }
}

fn damaged() -> Error {
    Error::corrupt("a cell of the register is damaged")
}
