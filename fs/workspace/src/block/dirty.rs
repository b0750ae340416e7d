//! Bytes written but not yet sealed into blocks. They are in the journal too, so they survive the process.
//!
//! Kept per 64 KiB of the file, with the ranges that were written; what was not written is still whatever the
//! extents say. LIMIT: the sum over all files is bounded by `Limits::dirty_bytes_max`.

use std::collections::BTreeMap;

/// Bytes per piece.
pub const PIECE_LEN: u64 = 65_536;

/// Sorted, disjoint, non-adjacent ranges `[start, end)` inside one piece.
#[derive(Default)]
struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    fn add(&mut self, start: u32, end: u32) {
        let from = self.0.partition_point(|range| range.1 < start);
        let to = self.0.partition_point(|range| range.0 <= end);
        let merged =
            self.0[from..to].iter().fold((start, end), |a, b| (a.0.min(b.0), a.1.max(b.1)));
        self.0.splice(from..to, [merged]);
    }

    fn remove(&mut self, start: u32, end: u32) {
        let mut kept = Vec::with_capacity(self.0.len() + 1);
        for &(a, b) in &self.0 {
            if a < start.min(b) {
                kept.push((a, start.min(b)));
            }
            if b > end.max(a) {
                kept.push((end.max(a), b));
            }
        }
        self.0 = kept;
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|(a, b)| u64::from(b - a)).sum()
    }
}

/// One piece: as long as its last written byte.
#[derive(Default)]
struct Piece {
    data: Vec<u8>,
    ranges: Ranges,
}

/// The unsealed bytes of one file.
#[derive(Default)]
pub struct Dirty {
    pieces: BTreeMap<u64, Piece>,
    bytes: u64,
}

/// A run of unsealed bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub data: Vec<u8>,
}

/// Splits `start..end` at multiples of [`PIECE_LEN`]: (piece index, start and end inside it).
fn pieces(start: u64, end: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let last = if start < end { (end - 1) / PIECE_LEN + 1 } else { 0 };
    (start / PIECE_LEN..last).map(move |index| {
        let base = index * PIECE_LEN;
        let from = start.saturating_sub(base).min(PIECE_LEN);
        let to = (end - base).min(PIECE_LEN);
        (index, from as usize, to as usize)
    })
}

impl Dirty {
    /// Whether nothing is unsealed.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Number of unsealed bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes over written bytes.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let mut rest = data;
        for (index, from, to) in pieces(offset, offset + data.len() as u64) {
            let (now, later) = rest.split_at(to - from);
            rest = later;
            let piece = self.pieces.entry(index).or_default();
            if piece.data.len() < to {
                piece.data.resize(to, 0);
            }
            piece.data[from..to].copy_from_slice(now);
            let before = piece.ranges.bytes();
            piece.ranges.add(from as u32, to as u32);
            self.bytes += piece.ranges.bytes() - before;
        }
    }

    /// Forgets a range (truncated, punched, or written another way). `end` may be `u64::MAX`.
    pub fn clear(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let touched: Vec<u64> =
            self.pieces.range(start / PIECE_LEN..=(end - 1) / PIECE_LEN).map(|(i, _)| *i).collect();
        for index in touched {
            let Some(piece) = self.pieces.get_mut(&index) else { continue };
            let base = index * PIECE_LEN;
            let before = piece.ranges.bytes();
            let from = start.saturating_sub(base).min(PIECE_LEN);
            let to = (end - base).min(PIECE_LEN);
            piece.ranges.remove(from as u32, to as u32);
            let after = piece.ranges.bytes();
            self.bytes -= before - after;
            if after == 0 {
                self.pieces.remove(&index);
            }
        }
    }

    /// Visits the unsealed parts of `start..end` in order: offset in the file, bytes.
    pub fn visit<'a>(&'a self, start: u64, end: u64, mut visit: impl FnMut(u64, &'a [u8])) {
        if start >= end {
            return;
        }
        for (index, piece) in self.pieces.range(start / PIECE_LEN..=(end - 1) / PIECE_LEN) {
            let base = index * PIECE_LEN;
            for &(a, b) in &piece.ranges.0 {
                let from = (base + u64::from(a)).max(start);
                let to = (base + u64::from(b)).min(end);
                if from < to {
                    visit(from, &piece.data[(from - base) as usize..(to - base) as usize]);
                }
            }
        }
    }

    /// Takes the first unsealed bytes out, at most `len_max` of them and contiguous.
    pub fn take_run(&mut self, len_max: usize) -> Option<Run> {
        let (index, piece) = self.pieces.iter().next()?;
        let (a, _) = *piece.ranges.0.first()?;
        let offset = index * PIECE_LEN + u64::from(a);
        let mut data = Vec::new();
        self.visit(offset, offset + len_max as u64, |at, bytes| {
            if at == offset + data.len() as u64 {
                data.extend_from_slice(bytes);
            }
        });
        self.clear(offset, offset + data.len() as u64);
        Some(Run { offset, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_bytes_win_and_runs_come_out_in_order() {
        let mut dirty = Dirty::default();
        dirty.write(10, b"hello");
        dirty.write(12, b"LL!");
        dirty.write(PIECE_LEN - 2, b"abcd");
        assert_eq!(dirty.bytes(), 9);
        assert_eq!(dirty.take_run(100), Some(Run { offset: 10, data: b"heLL!".to_vec() }));
        assert_eq!(dirty.take_run(3), Some(Run { offset: PIECE_LEN - 2, data: b"abc".to_vec() }));
        assert_eq!(dirty.take_run(3), Some(Run { offset: PIECE_LEN + 1, data: b"d".to_vec() }));
        assert_eq!(dirty.take_run(3), None);
        assert!(dirty.is_empty());
    }

    #[test]
    fn clearing_splits_ranges() {
        let mut dirty = Dirty::default();
        dirty.write(0, &[7; 100]);
        dirty.clear(40, 60);
        assert_eq!(dirty.bytes(), 80);
        let mut seen = Vec::new();
        dirty.visit(30, 70, |at, bytes| seen.push((at, bytes.len())));
        assert_eq!(seen, [(30, 10), (60, 10)]);
        dirty.clear(0, u64::MAX);
        assert!(dirty.is_empty());
    }
}
