//! Wall clock and elapsed time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Source of time. Timestamps are nanoseconds since 1970-01-01T00:00:00Z, negative before.
pub trait Clock: Send + Sync {
    /// Current wall-clock time in nanoseconds since the epoch.
    fn now_ns(&self) -> i64;
    /// Time since some fixed point; never goes back.
    fn elapsed(&self) -> Duration;
    /// As [`Clock::elapsed`], but goes on while the machine sleeps: what leases count on.
    fn since_boot(&self) -> Duration {
        self.elapsed()
    }
    /// Blocks the calling thread for `time` (a simulated clock advances and returns at once).
    fn sleep(&self, time: Duration);
}

/// The machine's clock.
#[derive(Debug)]
pub struct MachineClock {
    start: Instant,
}

impl MachineClock {
    /// Elapsed time counts from here.
    pub fn new() -> Self {
        MachineClock { start: Instant::now() }
    }
}

impl Default for MachineClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MachineClock {
    fn now_ns(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "the standard library has no clock that counts sleep")]
    fn since_boot(&self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes one timespec that lives on this stack.
        let done = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
        assert_eq!(done, 0, "every Linux since 2.6.39 has this clock");
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_clock_is_after_2025_and_never_goes_back() {
        let clock = MachineClock::new();
        let before = clock.elapsed();
        assert!(clock.now_ns() > 1_735_689_600_000_000_000);
        assert!(clock.elapsed() >= before);
        let booted = clock.since_boot();
        assert!(booted > Duration::ZERO && clock.since_boot() >= booted);
    }
}
