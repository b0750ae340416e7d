//! Which readers go on where they stopped, and what to announce to the store for them.

use std::ops::Range;

/// Recognises a sequential reader, whose requests come side by side and a little out of order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Furthest end of a read.
    end: u64,
    /// Bytes read without a jump.
    run: u64,
    /// Up to where was announced.
    announced: u64,
}

/// LIMIT: how far a read may lie from where the last one ended and still go on with it.
const STREAM_GAP: u64 = 1 << 20;
/// Bytes in a row that make a sequential reader.
const STREAM_RUN_MIN: u64 = 128 << 10;
/// How many times as far as it has come a reader is announced: each time it gets further, it waits for a round trip. Who stops
/// after the shortest run has cost a mebibyte.
const STREAM_GROWTH: u64 = 8;
/// LIMIT: how far a reader's way is announced to the store: what a link of 1 GB/s carries within 30 ms, so that a store that
/// far away is no slower than a near one.
const STREAM_AHEAD_MAX: u64 = 32 << 20;

impl Stream {
    /// Takes note of a read, and returns what should be announced now.
    pub fn follow(&mut self, offset: u64, len: u64) -> Option<Range<u64>> {
        let end = offset + len;
        if offset.abs_diff(self.end) > STREAM_GAP {
            *self = Self { end, run: len, announced: 0 };
            return None;
        }
        self.end = self.end.max(end);
        self.run += len;
        if self.run < STREAM_RUN_MIN {
            return None;
        }
        let ahead = (STREAM_GROWTH * self.run).min(STREAM_AHEAD_MAX);
        let until = self.end + ahead;
        let from = self.announced.max(self.end);
        // A good piece at a time, or each read would pay for telling.
        if until < from + (ahead / 8).max(STREAM_RUN_MIN) {
            return None;
        }
        self.announced = until;
        Some(from..until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    #[test]
    fn sequential_reader_is_announced_once_and_further_each_time() {
        let mut stream = Stream::default();
        let mut announced = 0;
        for index in 0..512 {
            if let Some(range) = stream.follow(index * 128 * KIB, 128 * KIB) {
                assert!(range.start >= announced, "{range:?} was announced before");
                assert!(range.end - (index + 1) * 128 * KIB <= STREAM_AHEAD_MAX);
                announced = range.end;
            }
            assert!(index == 0 || announced > (index + 1) * 128 * KIB, "{index} was not announced");
        }
    }

    #[test]
    fn reader_is_announced_as_far_as_ever_after_four_round_trips() {
        let (mut stream, mut at, mut here, mut trips) = (Stream::default(), 0, 0, 0);
        while here < at + STREAM_AHEAD_MAX {
            // What was announced is here, and read at once.
            trips += 1;
            let until = here.max(at + 128 * KIB);
            while at < until {
                here = here.max(stream.follow(at, 128 * KIB).map_or(0, |range| range.end));
                at += 128 * KIB;
            }
        }
        assert_eq!(trips, 4);
    }

    #[test]
    fn requests_out_of_order_are_one_stream() {
        let mut stream = Stream::default();
        stream.follow(0, 128 * KIB);
        stream.follow(256 * KIB, 128 * KIB);
        assert!(stream.follow(128 * KIB, 128 * KIB).is_some() || stream.announced > 384 * KIB);
    }

    #[test]
    fn scattered_small_reads_announce_nothing() {
        let mut stream = Stream::default();
        for index in 0..1000 {
            assert_eq!(stream.follow(index * 7_919 % 1_000 * 4096 * KIB, 4 * KIB), None);
        }
    }
}
