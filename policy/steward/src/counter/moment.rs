//! A time by both clocks. Whoever is lent something counts from boot; the wall clock, which the log names ends by, may be set
//! meanwhile.

use std::time::Duration;

use strongroom_host::clock::Clock;

/// A time by both clocks, or an end: one is over once both say so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    wall: i64,
    booted: Duration,
}

impl Moment {
    pub fn now(clock: &dyn Clock) -> Self {
        Self { wall: clock.now_ns(), booted: clock.since_boot() }
    }

    /// The end, by the wall clock, of what lives for so many nanoseconds and has begun by now.
    pub fn end(self, wall: i64, life: i64) -> Self {
        let life = Duration::from_nanos(u64::try_from(life).unwrap_or(0));
        Self { wall, booted: self.booted + life }
    }

    /// The end of what is known to be over at this time only.
    pub fn end_at(self, wall: i64) -> Self {
        self.end(wall, wall.saturating_sub(self.wall))
    }

    /// Whether an end has yet to come by any of the clocks.
    pub fn is_before(&self, end: &Self) -> bool {
        self.wall < end.wall || self.booted < end.booted
    }

    /// The end of what ends with both.
    pub fn later(self, other: Self) -> Self {
        Self { wall: self.wall.max(other.wall), booted: self.booted.max(other.booted) }
    }
}
