//! Wall clock and elapsed time.

use std::time::Duration;

/// Source of time. Timestamps are nanoseconds since 1970-01-01T00:00:00Z, negative before.
pub trait Clock: Send + Sync {
    /// Current wall-clock time in nanoseconds since the epoch.
    fn now_ns(&self) -> i64;
    /// Time since some fixed point; never goes back.
    fn elapsed(&self) -> Duration;
    /// Blocks the calling thread for `time` (a simulated clock advances and returns at once).
    fn sleep(&self, time: Duration);
}
