//! A new key for the register itself: whoever kept an old one, as a device that was removed may have, lays no cell over another.
//!
//! ```text
//! begun     one record: the next generation's key in the keystore, every key above it anew, a new application key; this record
//!           and what is written from here on is sealed under it
//! ended     the old application key is destroyed in custody and tried
//! resealed  some cells a record: each is taken from the record that wrote it last, and sealed under the new key
//! whole     one record: from here on no cell of an older record is taken
//! ```
//!
//! 1. What lies in the store is not believed: the log is verified from its first record on, and a cell that is not what its
//!    record says is put right. So nothing that was laid there under the old key is sealed under the new one.
//! 2. Interrupted anywhere, the next call goes on; where a device was removed since it began, it begins anew.
//! 3. Others write between two records of it, under the new key.
//!
//! Records keep the key that they were written under: they are signed and chained as they are sealed.

use std::collections::BTreeMap;

use strongroom_audit::Trust;
use strongroom_audit::verify::{Verification, Visit};
use strongroom_crypto::hash::sha256;
use strongroom_crypto::secret::RegisterKey;
use strongroom_format::cbor;
use strongroom_records::log::{Entry, Header, KeyInForce, Kind};
use strongroom_records::receipt::Destroyed;
use strongroom_records::register::{Cell, CellChange, Payload, REGISTER_KEY_COUNT_MAX};
use strongroom_store::Shelf;

use crate::audit::{LEFT_COUNT_MAX, ROUND_COUNT_MAX};
use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::register::{Register, Transaction, slot_of};

/// LIMIT: cells, and about how many bytes of them, that one record seals anew.
const BATCH_CELLS_MAX: usize = 32;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// A change of the register's key that is done.
#[derive(Clone, Debug)]
pub struct RegisterRotated {
    /// Generation now in force.
    pub generation: u64,
    /// Cells that this call sealed anew.
    pub cells: u64,
    /// What became of the application key that led to the old one; none where it went on with one that was interrupted.
    pub destroyed: Option<Destroyed>,
}

/// How the register's key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterKeyStatus {
    /// Generation in force; 0 for the first.
    pub generation: u64,
    /// When it came into force.
    pub since: i64,
    /// Whether everything is sealed under it. A change that is not whole goes on when it is asked for again.
    pub is_whole: bool,
    /// Whether a device that may have had it was removed since: it should be changed.
    pub is_due: bool,
}

impl Custodian {
    /// Changes the register's own key, and seals every cell under the new one. `progress` hears how many are.
    ///
    /// # Errors
    /// `Locked`; `Corrupt` when the records do not verify; those of custody and store. Whatever was interrupted is taken up by
    /// the next call.
    pub fn rotate_register(&mut self, progress: &mut dyn FnMut(u64)) -> Result<RegisterRotated> {
        let status = self.register_key()?;
        let destroyed = match status.is_whole || status.is_due {
            true => Some(self.begin_register()?),
            false => {
                // One that died before the old application key was ended left that key.
                self.sweep()?;
                None
            }
        };
        let mut old = OldCells::default();
        self.read_beside_others(&mut old)?;
        let mut cells = 0;
        loop {
            let count = self.reseal_cells(&mut old)?;
            if count == 0 {
                break;
            }
            cells += count;
            progress(cells);
            self.let_others_in()?;
        }
        self.end_register()?;
        Ok(RegisterRotated { generation: self.register().generation(), cells, destroyed })
    }

    /// How the register's key stands.
    ///
    /// # Errors
    /// `Corrupt`; those of the store.
    pub fn register_key(&self) -> Result<RegisterKeyStatus> {
        let (register, services) = (self.register(), self.services());
        let key = register.key_in_force();
        let first = register.log().header_at(services, key.map_or(0, |key| key.first))?;
        let removal = services.last_removal();
        Ok(RegisterKeyStatus {
            generation: register.generation(),
            since: first.time,
            is_whole: key.is_none_or(|key| key.is_whole),
            is_due: removal.is_some_and(|removal| removal > first.stand.position),
        })
    }

    fn begin_register(&mut self) -> Result<Destroyed> {
        let register = self.register();
        let generation = register.generation() + 1;
        if generation >= REGISTER_KEY_COUNT_MAX {
            return Err(Error::new(ErrorKind::Full, "a register has 4,096 keys at most"));
        }
        let before = register.root().clone();
        let secret = register.keystore().generate();
        let key = RegisterKey::from_bytes(secret.expose());
        let leaf = [(slot_of(generation), secret)];
        let change = register.keystore().puncture(&before, &register.nodes(), &[], &leaf)?;
        let mut transaction = Transaction::new(register);
        transaction.keystore(change);
        transaction.key(KeyInForce { generation, first: transaction.seq(), is_whole: false });
        transaction.entry(Kind::RegisterRotated, |_| ());
        let register = self.register_mut();
        register.take_key(key);
        let committed = register.commit(transaction);
        // Whether it is in force is said by the log alone.
        register.drop_early_keys();
        committed?;
        self.destroy_before(&before)
    }

    /// Verifies the log from its first record on, which takes as long as it is. Others write meanwhile; what they do so late that
    /// it is not read here is read with the first cells.
    fn read_beside_others(&mut self, old: &mut OldCells) -> Result<()> {
        let was_active = self.is_active();
        self.stand_aside();
        for _ in 0..ROUND_COUNT_MAX {
            old.read_on(self.register(), self.services())?;
            self.follow()?;
            if self.record_count() <= old.log.next_seq() + LEFT_COUNT_MAX {
                break;
            }
        }
        self.come_back()?;
        match was_active && !self.is_active() {
            true => Err(Error::disabled_meanwhile()),
            false => Ok(()),
        }
    }

    /// Seals some cells anew, and says how many; none once all are under the key in force.
    fn reseal_cells(&mut self, old: &mut OldCells) -> Result<u64> {
        let register = self.register();
        old.read_on(register, self.services())?;
        let mut transaction = Transaction::new(register);
        let (mut count, mut bytes) = (0, 0);
        for (name, last) in old.cells.iter().take(BATCH_CELLS_MAX) {
            let plain = last.opened(register, name)?;
            bytes += plain.len();
            count += 1;
            transaction.reseal(*name, plain);
            if bytes >= BATCH_BYTES_MAX {
                break;
            }
        }
        if count > 0 {
            self.register_mut().commit(transaction)?;
        }
        Ok(count)
    }

    fn end_register(&mut self) -> Result<()> {
        let register = self.register();
        // Somebody else may have ended it meanwhile.
        let Some(key) = register.key_in_force().filter(|key| !key.is_whole) else { return Ok(()) };
        let mut transaction = Transaction::new(register);
        transaction.key(KeyInForce { is_whole: true, ..key });
        transaction.entry(Kind::RegisterRotated, |_| ());
        self.register_mut().commit(transaction).map(drop)
    }
}

/// Cells that no record of the generation in force has written, by their names.
#[derive(Default)]
struct OldCells {
    log: Verification,
    generation: u64,
    cells: BTreeMap<[u8; 16], LastChange>,
}

/// What the records say of a cell.
struct LastChange {
    seq: u64,
    generation: u64,
    hash: [u8; 32],
}

impl OldCells {
    /// Verifies the log up to its head as it is known.
    fn read_on(&mut self, register: &Register, trust: &dyn Trust) -> Result<()> {
        if self.generation != register.generation() {
            *self = Self { generation: register.generation(), ..Self::default() };
        }
        let head_key = Some(register.head_key().verifying_key());
        let mut log = std::mem::take(&mut self.log);
        log.go_on(register.log(), trust, &register.sealer(), head_key, self)?;
        self.log = log;
        match self.log.is_sound() {
            true => Ok(()),
            false => Err(Error::corrupt("records of the register are damaged: verify says which")),
        }
    }
}

impl Visit for OldCells {
    fn record(
        &mut self,
        header: &Header,
        _: &[Entry],
        payload: &[u8],
    ) -> strongroom_audit::Result<()> {
        let generation = header.generation();
        for change in Payload::parse(payload)?.cells {
            if generation == self.generation {
                self.cells.remove(&change.name);
            } else {
                let hash = sha256(&change.cell);
                self.cells.insert(change.name, LastChange { seq: header.seq, generation, hash });
            }
        }
        Ok(())
    }
}

impl LastChange {
    /// Content of the cell, from the record where the store has another one.
    fn opened(&self, register: &Register, name: &[u8; 16]) -> Result<Vec<u8>> {
        let shelves = register.log().shelves();
        let stored = shelves.find(Shelf::Cell, u128::from_be_bytes(*name))?;
        let bytes = match stored.filter(|bytes| sha256(bytes) == self.hash) {
            Some(bytes) => bytes.to_vec(),
            None => self.recorded(register, name)?,
        };
        let cell: Cell = cbor::decode_canonical(&bytes)?;
        register.open_recorded(name, &cell, self.generation)
    }

    fn recorded(&self, register: &Register, name: &[u8; 16]) -> Result<Vec<u8>> {
        let (_, body) = register.log().body(&register.sealer(), self.seq)?;
        let mut changes = Payload::parse(&body.payload)?.cells.into_iter();
        let is_it = |change: &CellChange| change.name == *name && sha256(&change.cell) == self.hash;
        let found = changes.find(is_it);
        let found = found.ok_or_else(|| Error::corrupt("a register record has changed"))?;
        Ok(found.cell)
    }
}
