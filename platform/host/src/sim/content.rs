//! Bytes of a simulated file: sparse, and cheap to copy.

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const PAGE_LEN: usize = 4096;
const PAGE_LEN_U64: u64 = PAGE_LEN as u64;

#[derive(Clone, Default)]
pub(super) struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE_LEN]>>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes the pages take.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.pages.len() as u64 * PAGE_LEN_U64
    }

    pub(super) fn read_at(&self, out: &mut [u8], offset: u64) -> usize {
        let available = self.len.saturating_sub(offset);
        let len =
            usize::try_from(available).map_or(out.len(), |available| available.min(out.len()));
        for (at, page, start, part) in pieces(offset, len) {
            match self.pages.get(&page) {
                Some(bytes) => out[at..at + part].copy_from_slice(&bytes[start..start + part]),
                None => out[at..at + part].fill(0),
            }
        }
        len
    }

    pub(super) fn write_at(&mut self, data: &[u8], offset: u64) {
        for (at, page, start, part) in pieces(offset, data.len()) {
            let bytes = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_LEN]));
            Arc::make_mut(bytes)[start..start + part].copy_from_slice(&data[at..at + part]);
        }
        if !data.is_empty() {
            self.len = self.len.max(offset + data.len() as u64);
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE_LEN_U64));
            let (page, start) = place(len);
            if start > 0
                && let Some(bytes) = self.pages.get_mut(&page)
            {
                Arc::make_mut(bytes)[start..].fill(0);
            }
        }
        self.len = len;
    }

    pub(super) fn extend_to(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Bytes a write would take beyond what is stored.
    pub(super) fn new_bytes(&self, offset: u64, len: usize) -> u64 {
        let new = pieces(offset, len).filter(|(_, page, _, _)| !self.pages.contains_key(page));
        new.count() as u64 * PAGE_LEN_U64
    }
}

/// Page and start in it.
fn place(offset: u64) -> (u64, usize) {
    let start = usize::try_from(offset % PAGE_LEN_U64).expect("below a page");
    (offset / PAGE_LEN_U64, start)
}

/// A range page by page: position in the range, page, start in the page, length.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, u64, usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == len {
            return None;
        }
        let (page, start) = place(offset + at as u64);
        let part = (PAGE_LEN - start).min(len - at);
        at += part;
        Some((at - part, page, start, part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_equals_a_plain_vector_under_random_changes() {
        let mut chance = crate::sim::Chance::new(1);
        let (mut content, mut plain) = (Content::default(), Vec::<u8>::new());
        for _ in 0..2000 {
            let offset = chance.index(20_000);
            if chance.one_in(5) {
                content.set_len(offset as u64);
                plain.resize(offset, 0);
            } else {
                let data = vec![chance.next_u64().to_le_bytes()[0]; 1 + chance.index(9000)];
                content.write_at(&data, offset as u64);
                plain.resize(plain.len().max(offset + data.len()), 0);
                plain[offset..offset + data.len()].copy_from_slice(&data);
            }
            let mut read = vec![1; 40_000];
            let len = content.read_at(&mut read, 0);
            assert!(read[..len] == plain[..]);
        }
    }
}
