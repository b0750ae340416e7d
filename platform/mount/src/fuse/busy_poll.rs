//! Looks for the next request for a moment before sleeping, while requests come one close behind the other.
//!
//! Waking a sleeping thread costs more than most answers: on a virtual machine some 10 to 20 µs of the 25 µs of a lookup.
//! A thread that has answered therefore polls the device for [`WINDOW`]; the next request of a program that works through
//! many files arrives within it. One thread at a time does so, never on a machine with a single processor, and after a
//! vain wait it lets a growing number of answers pass before it tries again: a mount that is asked now and then spends
//! nothing.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest wait after an answer.
const WINDOW: Duration = Duration::from_micros(50);
/// Answers without a wait after each of the vain waits in a row: 1, 2, 4 … up to this.
const PASSED_MAX: u32 = 128;
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// One per mount.
pub(crate) struct BusyPoll {
    /// Any descriptor of the connection: all tell of the one queue.
    device: OwnedFd,
    /// A thread waits now.
    taken: AtomicBool,
    backoff: Backoff,
}

impl BusyPoll {
    /// Waits on a descriptor of the connection's own; `None` where polling would take the processor from who asks.
    pub(crate) fn on(device: OwnedFd) -> Option<Self> {
        let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
        several.then(|| Self { device, taken: AtomicBool::new(false), backoff: Backoff::default() })
    }

    /// To be called by a session's thread that has answered, before it reads on.
    pub(crate) fn wait(&self) {
        if !self.backoff.may_try() || self.taken.swap(true, Ordering::Acquire) {
            return;
        }
        let came = self.comes_within(WINDOW);
        self.taken.store(false, Ordering::Release);
        self.backoff.tried(came);
    }

    /// Whether there is a request, or an end of the connection, to be read.
    fn comes_within(&self, window: Duration) -> bool {
        let began = Instant::now();
        loop {
            let mut descriptors = [PollFd::new(&self.device, PollFlags::IN)];
            if poll(&mut descriptors, Some(&AT_ONCE)) != Ok(0) {
                return true;
            }
            if began.elapsed() >= window {
                return false;
            }
            (0..16).for_each(|_| std::hint::spin_loop());
        }
    }
}

/// How often it is worth trying.
#[derive(Default)]
struct Backoff {
    /// Answers still to pass without a wait.
    passes: AtomicU32,
    /// How many pass after the next vain wait; 0 stands for 1.
    next: AtomicU32,
}

impl Backoff {
    fn may_try(&self) -> bool {
        self.passes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |passes| passes.checked_sub(1))
            .is_err()
    }

    fn tried(&self, came: bool) {
        let next = if came { 0 } else { self.next.load(Ordering::Relaxed).max(1) };
        self.passes.store(next, Ordering::Relaxed);
        self.next.store((next * 2).min(PASSED_MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn vain_waits_grow_rare_and_one_success_makes_them_frequent() {
        let backoff = Backoff::default();
        let mut tries = 0;
        for _ in 0..1000 {
            if backoff.may_try() {
                tries += 1;
                backoff.tried(false);
            }
        }
        assert!((8..20).contains(&tries), "{tries} tries");
        while !backoff.may_try() {}
        backoff.tried(true);
        assert!((0..100).all(|_| backoff.may_try()));
    }

    #[test]
    fn what_can_be_read_ends_the_wait() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let Some(poll) = BusyPoll::on(reader.into()) else { return };
        assert!(!poll.comes_within(Duration::from_micros(1)));
        writer.write_all(b"x").unwrap();
        assert!(poll.comes_within(Duration::ZERO));
        drop(writer);
        assert!(poll.comes_within(Duration::ZERO));
    }
}
