//! A file of a simulated disk: what programs see, what is durable, and the changes in between.

use std::sync::Arc;

use super::Chance;
use super::content::Content;

const SECTOR_LEN: usize = 512;

/// A file: durable bytes, visible bytes, and the changes in between.
#[derive(Clone, Default)]
pub(super) struct FileState {
    durable: Content,
    visible: Content,
    pending: Vec<Change>,
    reserved_bytes: u64,
}

#[derive(Clone)]
pub(super) enum Change {
    Write {
        offset: u64,
        data: Arc<[u8]>,
    },
    /// Cuts or extends.
    SetLen(u64),
    /// Extends at least to here.
    Reserve(u64),
}

impl FileState {
    pub(super) fn used_bytes(&self) -> u64 {
        self.visible.stored_bytes().max(self.reserved_bytes)
    }

    /// Bytes that a write takes from the disk's free space.
    pub(super) fn unreserved_bytes(&self, offset: u64, len: usize) -> u64 {
        if offset + len as u64 <= self.reserved_bytes {
            return 0;
        }
        let stored = self.visible.stored_bytes() + self.visible.new_bytes(offset, len);
        stored.saturating_sub(self.used_bytes())
    }

    pub(super) fn len(&self) -> u64 {
        self.visible.len()
    }

    pub(super) fn read_at(&self, out: &mut [u8], offset: u64) -> usize {
        self.visible.read_at(out, offset)
    }

    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::Write { .. } => {}
            Change::SetLen(len) => self.reserved_bytes = self.reserved_bytes.min(len),
            Change::Reserve(len) => self.reserved_bytes = self.reserved_bytes.max(len),
        }
        change.apply(&mut self.visible);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Some of it reached the disk; what did not is forgotten and no later sync brings it there.
    pub(super) fn fail_sync(&mut self, chance: &mut Chance) {
        for change in self.pending.drain(..) {
            if chance.one_in(2) {
                change.apply(&mut self.durable);
            }
        }
    }

    pub(super) fn drop_cache(&mut self) {
        if self.pending.is_empty() {
            self.visible = self.durable.clone();
        }
    }

    /// Other bytes from now on, visible and durable.
    pub(super) fn tamper(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = vec![0; usize::try_from(self.len()).expect("it is in memory")];
        self.read_at(&mut bytes, 0);
        change(&mut bytes);
        let mut content = Content::default();
        content.write_at(&bytes, 0);
        *self = FileState { durable: content.clone(), visible: content, ..FileState::default() };
    }

    pub(super) fn crash(&self, chance: &mut Chance) -> FileState {
        let mut durable = self.durable.clone();
        match chance.below(4) {
            0 => {}
            1 => self.pending.iter().for_each(|change| change.apply(&mut durable)),
            2 => {
                let count = chance.index(self.pending.len() + 1);
                self.pending[..count].iter().for_each(|change| change.apply(&mut durable));
                if let Some(torn) = self.pending.get(count) {
                    torn.apply_beginning(&mut durable, chance);
                }
            }
            _ => self.pending.iter().for_each(|change| change.apply_some(&mut durable, chance)),
        }
        FileState {
            visible: durable.clone(),
            durable,
            pending: Vec::new(),
            reserved_bytes: self.reserved_bytes,
        }
    }
}

impl Change {
    pub(super) fn write(data: &[u8], offset: u64) -> Self {
        Change::Write { offset, data: Arc::from(data) }
    }

    fn apply(&self, content: &mut Content) {
        match self {
            Change::Write { offset, data } => content.write_at(data, *offset),
            Change::SetLen(len) => content.set_len(*len),
            Change::Reserve(len) => content.extend_to(*len),
        }
    }

    /// A write up to any byte; the others happen or not.
    fn apply_beginning(&self, content: &mut Content, chance: &mut Chance) {
        match self {
            Change::Write { offset, data } => {
                content.write_at(&data[..chance.index(data.len() + 1)], *offset);
            }
            Change::SetLen(_) | Change::Reserve(_) => {
                if chance.one_in(2) {
                    self.apply(content);
                }
            }
        }
    }

    /// Whole, not at all, a beginning, or any of its sectors.
    fn apply_some(&self, content: &mut Content, chance: &mut Chance) {
        match chance.below(4) {
            0 => {}
            1 => self.apply(content),
            2 => self.apply_beginning(content, chance),
            _ => self.apply_sectors(content, chance),
        }
    }

    fn apply_sectors(&self, content: &mut Content, chance: &mut Chance) {
        let Change::Write { offset, data } = self else { return self.apply(content) };
        let mut at = 0;
        while at < data.len() {
            let start = usize::try_from((offset + at as u64) % SECTOR_LEN as u64);
            let len = (SECTOR_LEN - start.expect("below a sector")).min(data.len() - at);
            if chance.one_in(2) {
                content.write_at(&data[at..at + len], offset + at as u64);
            }
            at += len;
        }
        // The length may be there before the bytes are.
        if chance.one_in(2) {
            content.extend_to(offset + data.len() as u64);
        }
    }
}
