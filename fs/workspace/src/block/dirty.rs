//! Bytes written but not yet sealed into blocks. They are in the journal too, so they survive the process.
//!
//! Kept as runs that hold what was written and nothing else; what was not written is still whatever the extents say.
//! INVARIANT: runs are disjoint, not empty, and none reaches over a multiple of [`PIECE_LEN`], so that joining two is
//! cheap; two that touch are one unless such a multiple lies between them. LIMIT: the memory of all files together is
//! bounded by `Tuning::dirty_bytes`.

use std::collections::BTreeMap;

/// No run reaches over a multiple of this.
pub const PIECE_LEN: u64 = 65_536;
/// What a run costs beside its bytes: its place in the map, what the allocator adds, and its extent when it is sealed.
const RUN_COST: u64 = 256;

/// The unsealed bytes of one file.
#[derive(Default)]
pub struct Dirty {
    runs: BTreeMap<u64, Vec<u8>>,
    bytes: u64,
    held_bytes: u64,
}

/// A run of unsealed bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub data: Vec<u8>,
}

impl Run {
    /// One past the last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

fn cost_of(data: &Vec<u8>) -> u64 {
    data.capacity() as u64 + RUN_COST
}

/// Splits `start..end` at multiples of [`PIECE_LEN`].
fn pieces(start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut at = start;
    std::iter::from_fn(move || {
        let from = at;
        at = (from - from % PIECE_LEN + PIECE_LEN).min(end);
        (from < end).then_some((from, at))
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

    /// Memory that they take.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Takes over written bytes.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let mut rest = data;
        for (from, to) in pieces(offset, offset + data.len() as u64) {
            let (now, later) = rest.split_at((to - from) as usize);
            rest = later;
            self.write_piece(from, to, now);
        }
    }

    fn write_piece(&mut self, from: u64, to: u64, data: &[u8]) {
        let base = from - from % PIECE_LEN;
        // Those that overlap or touch, of this piece.
        let before = self.runs.range(base..=from).next_back();
        let first = before.filter(|(at, run)| **at + run.len() as u64 >= from).map(|(at, _)| *at);
        let others: Vec<u64> = self
            .runs
            .range(from + u64::from(first == Some(from))..=to)
            .filter(|(at, _)| **at < base + PIECE_LEN)
            .map(|(at, _)| *at)
            .collect();
        let (start, mut joined) = match first {
            Some(at) => (at, self.take(at)),
            None => (from, Vec::new()),
        };
        for at in others {
            let other = self.take(at);
            let place = (at - start) as usize;
            joined.resize(joined.len().max(place + other.len()), 0);
            joined[place..place + other.len()].copy_from_slice(&other);
        }
        let place = (from - start) as usize;
        joined.resize(joined.len().max(place + data.len()), 0);
        joined[place..place + data.len()].copy_from_slice(data);
        self.put(start, joined);
    }

    fn put(&mut self, at: u64, run: Vec<u8>) {
        if !run.is_empty() {
            self.bytes += run.len() as u64;
            self.held_bytes += cost_of(&run);
            self.runs.insert(at, run);
        }
    }

    fn take(&mut self, at: u64) -> Vec<u8> {
        let run = self.runs.remove(&at).unwrap_or_default();
        if !run.is_empty() {
            self.bytes -= run.len() as u64;
            self.held_bytes -= cost_of(&run);
        }
        run
    }

    /// Where the first run that overlaps or follows `start` begins.
    fn first_from(&self, start: u64) -> u64 {
        let before = self.runs.range(..start).next_back();
        match before {
            Some((at, run)) if at + run.len() as u64 > start => *at,
            _ => start,
        }
    }

    /// Forgets a range (truncated, punched, or written another way). `end` may be `u64::MAX`.
    pub fn clear(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let touched: Vec<u64> =
            self.runs.range(self.first_from(start)..end).map(|(at, _)| *at).collect();
        for at in touched {
            let mut run = self.take(at);
            let run_end = at + run.len() as u64;
            if run_end > end {
                self.put(end, run[(end - at) as usize..].to_vec());
            }
            if at < start {
                run.truncate((start - at) as usize);
                run.shrink_to_fit();
                self.put(at, run);
            }
        }
    }

    /// Visits the unsealed parts of `start..end` in order: offset in the file, bytes.
    pub fn visit<'a>(&'a self, start: u64, end: u64, mut visit: impl FnMut(u64, &'a [u8])) {
        if start >= end {
            return;
        }
        for (at, run) in self.runs.range(self.first_from(start)..end) {
            let (from, to) = ((*at).max(start), (at + run.len() as u64).min(end));
            visit(from, &run[(from - at) as usize..(to - at) as usize]);
        }
    }

    /// Where there are unsealed bytes, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().map(|(at, run)| (*at, at + run.len() as u64))
    }

    /// A copy of the first unsealed bytes at or after `from`, at most `len_max` of them and contiguous.
    pub fn run_from(&self, from: u64, len_max: usize) -> Option<Run> {
        let (at, _) = self.runs.range(self.first_from(from)..).next()?;
        let offset = (*at).max(from);
        let mut data = Vec::new();
        self.visit(offset, offset.saturating_add(len_max as u64), |at, bytes| {
            if at == offset + data.len() as u64 {
                data.extend_from_slice(bytes);
            }
        });
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
        assert_eq!(dirty.run_from(0, 100), Some(Run { offset: 10, data: b"heLL!".to_vec() }));
        assert_eq!(dirty.run_from(12, 2), Some(Run { offset: 12, data: b"LL".to_vec() }));
        let second = Run { offset: PIECE_LEN - 2, data: b"abc".to_vec() };
        assert_eq!(dirty.run_from(15, 3), Some(second));
        assert_eq!(dirty.run_from(PIECE_LEN + 2, 3), None);
        dirty.clear(0, u64::MAX);
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

    #[test]
    fn memory_of_scattered_bytes_is_what_is_counted_and_little() {
        let mut dirty = Dirty::default();
        for index in 0..10_000 {
            dirty.write(index * PIECE_LEN + PIECE_LEN - 1, b"x");
        }
        let held: u64 = dirty.runs.values().map(cost_of).sum();
        assert_eq!((dirty.bytes(), dirty.held_bytes()), (10_000, held));
        assert!(held < 10_000 * 300, "{held} bytes for 10,000");
        dirty.clear(0, u64::MAX);
        assert_eq!((dirty.bytes(), dirty.held_bytes()), (0, 0));
    }

    #[test]
    fn any_writes_and_clears_equal_a_plain_array() {
        let mut dice = 7_u64;
        let mut roll = |bound: u64| {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % bound
        };
        let len = PIECE_LEN * 2 + 500;
        for _ in 0..40 {
            let (mut dirty, mut plain) = (Dirty::default(), vec![None; len as usize]);
            for step in 0..60 {
                // Near the edges of pieces, where it is easiest to be wrong.
                let edge = roll(3) * PIECE_LEN;
                let start = (edge + roll(40)).saturating_sub(20);
                let end = (start + roll(30)).min(len);
                if roll(3) == 0 {
                    dirty.clear(start, end);
                    plain[start as usize..end as usize].fill(None);
                } else {
                    dirty.write(start, &vec![step; (end - start) as usize]);
                    plain[start as usize..end as usize].fill(Some(step));
                }
            }
            let mut seen = vec![None; len as usize];
            dirty.visit(0, len, |at, bytes| {
                let at = at as usize;
                seen[at..at + bytes.len()].iter_mut().zip(bytes).for_each(|(a, b)| *a = Some(*b));
            });
            assert!(seen == plain);
            assert_eq!(dirty.bytes(), plain.iter().flatten().count() as u64);
            let held: u64 = dirty.runs.values().map(cost_of).sum();
            assert_eq!(dirty.held_bytes(), held);
        }
    }
}
