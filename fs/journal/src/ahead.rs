//! Numbers that no process gave before, also none that nobody here remembers: multiples of a large number, which rise with time, and time is
//! not rolled back. Chance tells apart those that begin within a second.
//!
//! LIMIT: that they rise is all that tells what is done with them from what is committed. A home that is rolled back and begins with a
//! clock that is behind the one it committed by gives numbers before those that are committed, and what it does then passes for
//! committed; so does what was done in a state that was given up for another one, which committed, if it is brought back.

/// So many numbers lie between one and the next to begin with.
const STEP: u64 = 1 << 16;
/// So many to begin with lie between one second and the next.
const STEPS_PER_SECOND: u64 = 1 << 14;
const SECOND_NS: i64 = 1_000_000_000;

/// A first number after `last` at a time, nanoseconds since 1970, to begin anew with.
pub fn number_ahead(last: u64, now_ns: i64, chance: u64) -> u64 {
    let seconds = u64::try_from(now_ns / SECOND_NS).unwrap_or(0);
    let earliest = (last / STEP + 1).max(seconds.saturating_mul(STEPS_PER_SECOND));
    (earliest + chance % STEPS_PER_SECOND).saturating_mul(STEP)
}

/// The first number of a process that begins anew with `min`, or goes on with it, where `next` is the one after the last that is there.
pub(crate) fn first_number(next: u64, min: u64) -> u64 {
    let after = if is_ahead(min) { next.next_multiple_of(STEP) } else { next };
    after.max(min)
}

/// Whether numbers may have begun anew with this one.
pub fn is_ahead(number: u64) -> bool {
    number > 0 && number.is_multiple_of(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_begin_anew_are_after_all_that_were_given_before() {
        let (monday, tuesday) = (1_700_000_000 * SECOND_NS, 1_700_086_400 * SECOND_NS);
        let first = number_ahead(300, monday, u64::MAX);
        assert!(is_ahead(first) && first > 300);
        assert!(number_ahead(300, tuesday, 0) > first + 1_000_000);
        assert_ne!(number_ahead(300, monday, 7), number_ahead(300, monday, 8));
        // Also where the clock shows nothing that makes sense.
        for now in [monday, 0, -5] {
            let again = number_ahead(first + 7, now, 0);
            assert!(is_ahead(again) && again > first + 7);
        }
        // Also where the clock went back since there were records.
        let again = first_number(number_ahead(300, tuesday, 0) + 7, first);
        assert!(is_ahead(again) && again > number_ahead(300, tuesday, 0));
        assert_eq!([first_number(8, 5), first_number(8, 11)], [8, 11]);
    }
}
