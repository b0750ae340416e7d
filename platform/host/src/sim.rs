//! Simulated twins of the machine: time, chance and a disk that can lose power. Everything follows from one seed.
//!
//! Tests of other rooms hand these in where the program has the machine's own. They are compiled always: they are
//! small, and a feature would make two kinds of builds.

mod content;
mod disk;
mod file;
mod tree;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::entropy::Entropy;

pub use disk::{Act, Counts, Fault, Lasting, SimDisk};

/// A clock that stands still until somebody moves it.
#[derive(Debug)]
pub struct SimClock {
    now_ns: AtomicI64,
    elapsed_ns: AtomicU64,
}

/// Random bytes that follow from a seed. For tests alone: whoever knows the seed knows them all.
#[derive(Debug)]
pub struct SimEntropy {
    state: AtomicU64,
}

/// Chance that follows from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl SimClock {
    /// Starts at a wall-clock time.
    pub fn new(now_ns: i64) -> Self {
        SimClock { now_ns: AtomicI64::new(now_ns), elapsed_ns: AtomicU64::new(0) }
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.elapsed_ns.fetch_add(ns, Ordering::SeqCst);
        self.now_ns.fetch_add(i64::try_from(ns).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall clock, as an administrator or a time server does; elapsed time is not moved.
    pub fn set_now_ns(&self, now_ns: i64) {
        self.now_ns.store(now_ns, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now_ns(&self) -> i64 {
        self.now_ns.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed_ns.load(Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration) {
        self.advance(time);
    }
}

impl SimEntropy {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        SimEntropy { state: AtomicU64::new(seed) }
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, out: &mut [u8]) {
        for piece in out.chunks_mut(8) {
            let state = self.state.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
            piece.copy_from_slice(&mix(state).to_le_bytes()[..piece.len()]);
        }
    }
}

impl Chance {
    /// The same seed gives the same course.
    pub fn new(seed: u64) -> Self {
        Chance { state: seed }
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// A number from 0 to `end - 1`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64().checked_rem(end).unwrap_or(0)
    }

    /// An index into something of this length; 0 if it is empty.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_moves_both_clocks_and_setting_moves_one() {
        let clock = SimClock::new(1_000);
        clock.sleep(Duration::from_nanos(5));
        assert_eq!((clock.now_ns(), clock.elapsed()), (1_005, Duration::from_nanos(5)));
        clock.set_now_ns(-7);
        assert_eq!((clock.now_ns(), clock.elapsed()), (-7, Duration::from_nanos(5)));
    }

    #[test]
    fn one_seed_gives_one_course() {
        let (first, second) = (SimEntropy::new(3), SimEntropy::new(3));
        assert_eq!(first.bytes::<20>(), second.bytes::<20>());
        assert_ne!(first.bytes::<20>(), SimEntropy::new(4).bytes::<20>());
    }
}
