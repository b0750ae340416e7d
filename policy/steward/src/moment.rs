//! A time by both clocks. Whoever is lent something counts from boot; the wall clock, which the log names ends by, may be set
//! meanwhile.

use std::time::Duration;

use strongroom_host::clock::Clock;

/// A time by both clocks, or an end: one is over once both say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    wall: i64,
    booted: Duration,
}

impl Moment {
    /// Now.
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

#[cfg(test)]
mod tests {
    use strongroom_host::sim::SimClock;

    use super::*;

    #[test]
    fn an_end_has_come_once_both_clocks_say_so() {
        let clock = SimClock::new(1_000_000_000);
        let end = Moment::now(&clock).end_at(clock.now_ns() + 2_000_000_000);
        clock.set_now_ns(10_000_000_000);
        assert!(Moment::now(&clock).is_before(&end));
        clock.advance(Duration::from_secs(2));
        assert!(!Moment::now(&clock).is_before(&end));
        clock.set_now_ns(0);
        assert!(Moment::now(&clock).is_before(&end));
    }
}
