//! Wall clock and elapsed time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Source of time. Timestamps are nanoseconds since 1970-01-01T00:00:00Z, negative before.
pub trait Clock: Send + Sync {
    /// Current wall-clock time in nanoseconds since the epoch.
    fn now_ns(&self) -> i64;
    /// Time since some fixed point; never goes back.
    fn elapsed(&self) -> Duration;
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
    }
}
