//! Numbers that no process gave before, also none that nobody here remembers: multiples of a large number, which rise with time, and time is
//! not rolled back.
//!
//! LIMIT: a clock that was ahead and is not any more may give numbers that were given.

/// So many numbers lie between one second and the next.
const STEP: u64 = 1 << 20;
const SECOND_NS: i64 = 1_000_000_000;

/// The first number after `last` at a time, nanoseconds since 1970, to begin anew with.
pub fn number_ahead(last: u64, now_ns: i64) -> u64 {
    let seconds = u64::try_from(now_ns / SECOND_NS).unwrap_or(0);
    (last / STEP + 1).max(seconds).saturating_mul(STEP)
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
        let first = number_ahead(300, monday);
        assert!(is_ahead(first) && first > 300);
        assert!(number_ahead(300, tuesday) > first + 1_000_000);
        // Also where the clock shows nothing that makes sense.
        for now in [monday, 0, -5] {
            let again = number_ahead(first + 7, now);
            assert!(is_ahead(again) && again > first + 7);
        }
    }
}
