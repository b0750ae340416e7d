//! Which blocks of subjects a sweep has to read: since when nobody had a use for anybody in each, as cells remember it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use strongroom_format::cbor;
use strongroom_records::register::{BLOCK_LEN, CellKind, Idle, SPAN_LEN, SUBJECT_SLOT};

use crate::error::{Result, whole};
use crate::register::{Register, Transaction};

/// Of a block in which an erasure began that has not ended, or somebody cannot be read.
pub(super) const BEGUN: i64 = Idle::UNKNOWN + 1;

/// Spans of blocks, as they were read, and what was found of blocks since.
#[derive(Default)]
pub(super) struct Spans {
    read: BTreeMap<u64, Idle>,
    found: BTreeMap<u64, Found>,
}

/// What was found of a block.
struct Found {
    /// What was on record when it was looked at.
    before: i64,
    moment: i64,
}

impl Spans {
    /// When the one in a block was last used for whom nobody had a use the longest. A span that is damaged says nothing.
    pub fn oldest(&mut self, register: &Register, block: u64) -> Result<i64> {
        let number = block / SPAN_LEN;
        let span = match self.read.entry(number) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(new) => new.insert(read(register, number)?),
        };
        Ok(moment(span, block))
    }

    pub fn set(&mut self, block: u64, before: i64, moment: i64) {
        self.found.insert(block, Found { before, moment });
    }

    /// Puts what was found into a transaction. What others said of a block since it was looked at stays.
    pub fn put(&self, register: &Register, transaction: &mut Transaction) -> Result<()> {
        let mut changed = BTreeMap::new();
        for (block, found) in &self.found {
            let number = block / SPAN_LEN;
            let span = match changed.entry(number) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(new) => new.insert((read(register, number)?, false)),
            };
            if moment(&span.0, *block) == found.before && found.moment != found.before {
                set(&mut span.0, *block, found.moment);
                span.1 = true;
            }
        }
        for (number, (span, _)) in changed.iter().filter(|(_, (_, is_changed))| *is_changed) {
            put(transaction, *number, span);
        }
        Ok(())
    }

    /// They are on record.
    pub fn are_put(&mut self) {
        self.found.clear();
    }
}

/// What is on record of a block now.
pub(super) fn now(register: &Register, block: u64) -> Result<i64> {
    Ok(moment(&read(register, block / SPAN_LEN)?, block))
}

impl Register {
    /// The next sweep looks at somebody's block, whenever anybody there was used last: whoever dies over an erasure is found.
    pub(crate) fn mark_block(&self, transaction: &mut Transaction, slot: u64) -> Result<()> {
        let block = (slot - SUBJECT_SLOT) / 2 / BLOCK_LEN;
        let mut span = read(self, block / SPAN_LEN)?;
        // Another moment for each record: a sweep that has looked already knows that it is to look again.
        set(&mut span, block, Idle::UNKNOWN.saturating_add_unsigned(transaction.seq()));
        put(transaction, block / SPAN_LEN, &span);
        Ok(())
    }
}

/// Whether that stands for an erasure that began: long before any moment, and not the word for a block that nobody has read.
pub(super) fn is_marked(oldest: i64) -> bool {
    oldest != Idle::UNKNOWN && oldest < Idle::UNKNOWN / 2
}

/// One that is damaged says nothing.
fn read(register: &Register, number: u64) -> Result<Idle> {
    let stored = || {
        let bytes = register.cell(CellKind::Idle, &u128::from(number).to_be_bytes())?;
        let span = bytes.map(|bytes| cbor::decode_canonical::<Idle>(&bytes)).transpose()?;
        Ok(span.unwrap_or_default())
    };
    Ok(whole(stored())?.unwrap_or_default())
}

fn put(transaction: &mut Transaction, number: u64, span: &Idle) {
    transaction.cell(CellKind::Idle, &u128::from(number).to_be_bytes(), &cbor::encode(span));
}

fn moment(span: &Idle, block: u64) -> i64 {
    span.oldest.get(place(block)).copied().unwrap_or(Idle::UNKNOWN)
}

fn set(span: &mut Idle, block: u64, moment: i64) {
    let place = place(block);
    span.oldest.resize(span.oldest.len().max(place + 1), Idle::UNKNOWN);
    if let Some(slot) = span.oldest.get_mut(place) {
        *slot = moment;
    }
}

fn place(block: u64) -> usize {
    usize::try_from(block % SPAN_LEN).unwrap_or_default()
}
