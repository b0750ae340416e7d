//! Which blocks of subjects a sweep has to read: since when nobody had a use for anybody in each, as cells remember it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::cbor;
use strongroom_records::register::{BLOCK_LEN, CellKind, Idle, SPAN_LEN, SUBJECT_SLOT};

use crate::error::{Result, whole};
use crate::register::{Register, Transaction};

/// Spans of blocks, as they are read and found anew.
#[derive(Default)]
pub(super) struct Spans {
    read: BTreeMap<u64, Idle>,
    changed: BTreeSet<u64>,
}

impl Spans {
    /// When the one in a block was last used for whom nobody had a use the longest. A span that is damaged says nothing.
    pub fn oldest(&mut self, register: &Register, block: u64) -> Result<i64> {
        let number = block / SPAN_LEN;
        let span = match self.read.entry(number) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(new) => new.insert(whole(read(register, number))?.unwrap_or_default()),
        };
        Ok(span.oldest.get(place(block)).copied().unwrap_or(Idle::UNKNOWN))
    }

    pub fn set(&mut self, block: u64, moment: i64) {
        let span = self.read.entry(block / SPAN_LEN).or_default();
        let place = place(block);
        span.oldest.resize(span.oldest.len().max(place + 1), Idle::UNKNOWN);
        if let Some(slot) = span.oldest.get_mut(place)
            && std::mem::replace(slot, moment) != moment
        {
            self.changed.insert(block / SPAN_LEN);
        }
    }

    /// Puts those that were found anew into a transaction.
    pub fn put(&self, transaction: &mut Transaction) {
        for number in &self.changed {
            let Some(span) = self.read.get(number) else { continue };
            let id = u128::from(*number).to_be_bytes();
            transaction.cell(CellKind::Idle, &id, &cbor::encode(span));
        }
    }

    /// They are on record.
    pub fn are_put(&mut self) {
        self.changed.clear();
    }
}

impl Register {
    /// The next sweep looks at somebody's block, whenever anybody there was used last: whoever dies over an erasure is found.
    pub(crate) fn mark_block(&self, transaction: &mut Transaction, slot: u64) -> Result<()> {
        let block = (slot - SUBJECT_SLOT) / 2 / BLOCK_LEN;
        let mut spans = Spans::default();
        spans.oldest(self, block)?;
        spans.set(block, Idle::UNKNOWN);
        spans.put(transaction);
        Ok(())
    }
}

fn read(register: &Register, number: u64) -> Result<Idle> {
    let bytes = register.cell(CellKind::Idle, &u128::from(number).to_be_bytes())?;
    let span = bytes.map(|bytes| cbor::decode_canonical::<Idle>(&bytes)).transpose()?;
    Ok(span.unwrap_or_default())
}

fn place(block: u64) -> usize {
    usize::try_from(block % SPAN_LEN).unwrap_or_default()
}
