//! Bytes of a file, kept in pages of 4 KiB so that terabytes of hole cost nothing.

use std::collections::BTreeMap;

const PAGE_LEN: u64 = 4096;

/// A sparse run of bytes. Its length is the caller's business: what was never written reads as zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl Content {
    /// Reads exactly `len` bytes.
    pub(super) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        for (page, within, range) in pieces(offset, len) {
            if let Some(bytes) = self.pages.get(&page) {
                let count = range.len();
                out[range].copy_from_slice(&bytes[within..within + count]);
            }
        }
        out
    }

    /// Writes all of `data`.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        for (page, within, range) in pieces(offset, data.len()) {
            let bytes = self.pages.entry(page).or_insert_with(|| vec![0; PAGE_LEN as usize].into());
            bytes[within..within + range.len()].copy_from_slice(&data[range]);
        }
    }

    /// Makes `[from, to)` a hole; pages that are covered whole go.
    pub(super) fn clear(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let (first_whole, end_whole) = (from.div_ceil(PAGE_LEN), to / PAGE_LEN);
        if first_whole < end_whole {
            let gone: Vec<u64> =
                self.pages.range(first_whole..end_whole).map(|(page, _)| *page).collect();
            gone.iter().for_each(|page| drop(self.pages.remove(page)));
        }
        self.zero_within(from, to.min(first_whole * PAGE_LEN));
        self.zero_within(from.max(end_whole * PAGE_LEN), to);
    }

    /// Zeros a range that lies in one page, if the page is there.
    fn zero_within(&mut self, from: u64, to: u64) {
        if from < to
            && let Some(bytes) = self.pages.get_mut(&(from / PAGE_LEN))
        {
            let start = (from % PAGE_LEN) as usize;
            bytes[start..start + (to - from) as usize].fill(0);
        }
    }

    /// First byte at or after `offset` and below `size` that lies in a page that is there.
    pub(super) fn next_data(&self, offset: u64, size: u64) -> Option<u64> {
        let (page, _) = self.pages.range(offset / PAGE_LEN..).next()?;
        Some(offset.max(page * PAGE_LEN)).filter(|found| *found < size)
    }

    /// First byte at or after `offset` that lies in no page, at most `size`.
    pub(super) fn next_hole(&self, offset: u64, size: u64) -> u64 {
        let mut page = offset / PAGE_LEN;
        while self.pages.contains_key(&page) {
            page += 1;
        }
        offset.max(page * PAGE_LEN).min(size)
    }

    /// Units of 512 bytes that are kept.
    pub(super) fn blocks(&self) -> u64 {
        self.pages.len() as u64 * (PAGE_LEN / 512)
    }
}

/// Cuts a range into (page, offset in page, range of the buffer).
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE_LEN) as usize;
        let count = (PAGE_LEN as usize - within).min(len - done);
        let piece = (at / PAGE_LEN, within, done..done + count);
        done += count;
        (count > 0).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_across_pages() {
        let mut content = Content::default();
        content.write(4090, b"0123456789");
        assert_eq!(content.read(4088, 14), b"\0\x000123456789\0\0");
        assert_eq!(content.blocks(), 16);
    }

    #[test]
    fn cleared_range_is_zero_and_whole_pages_go() {
        let mut content = Content::default();
        content.write(0, &[7; 3 * 4096]);
        content.clear(4095, 8193);
        assert_eq!(content.read(4094, 3), [7, 0, 0]);
        assert_eq!(content.read(8192, 2), [0, 7]);
        assert_eq!(content.blocks(), 16);
        content.clear(10, 12);
        assert_eq!(content.read(9, 4), [7, 0, 0, 7]);
    }

    #[test]
    fn data_and_holes_are_found() {
        let mut content = Content::default();
        content.write(3 * 4096, &[1; 4096]);
        assert_eq!(content.next_data(0, 1 << 20), Some(3 * 4096));
        assert_eq!(content.next_data(3 * 4096 + 5, 1 << 20), Some(3 * 4096 + 5));
        assert_eq!(content.next_data(4 * 4096, 1 << 20), None);
        assert_eq!(content.next_hole(3 * 4096 + 5, 1 << 20), 4 * 4096);
        assert_eq!(content.next_hole(3 * 4096, 3 * 4096 + 100), 3 * 4096 + 100);
    }
}
