//! Numbers of journal records that are done without the store.
//!
//! The local state may be older than what this home committed: its machine was rolled back to a backup, or lost its power. What is done
//! on top of that would have numbers that other, committed records had, and the next process would pass over it as committed. So what
//! is done without the store begins far ahead: at a multiple of a large number, which rises with time, and time is not rolled back.
//!
//! ```text
//! .. 299 300 | 1698… ──▶     known here: 300 are committed
//!               └─ if the store says that 500 are, who wrote this knew nothing of 301 to 500
//! ```

use strongroom_journal::ahead::is_ahead;

/// Where the records that no commit covers begin.
#[derive(Default)]
pub(super) struct Seam {
    covered: u64,
    /// The last record before, if one is still there. Where nothing is covered there never was one.
    before: Option<u64>,
    /// The first one.
    first: Option<u64>,
    /// The last one, or the last before.
    pub(super) last: u64,
}

impl Seam {
    pub(super) fn new(covered: u64) -> Self {
        Self { covered, last: covered, ..Self::default() }
    }

    /// Takes note of the next record.
    pub(super) fn note(&mut self, number: u64) {
        if number <= self.covered {
            self.before = Some(number);
            return;
        }
        self.first = self.first.or(Some(number));
        self.last = number;
    }

    /// Whether records are committed that whoever wrote those behind the seam did not know of. `told` is where they say that theirs
    /// begin, if they say what they were done on top of. Where nobody can tell any more they did not: what is put beside is not lost.
    pub(super) fn is_behind(&self, told: Option<u64>) -> bool {
        match (self.first, told) {
            (None, _) => false,
            (Some(_), Some(from)) => from <= self.covered,
            // They go on from others, which were not committed then.
            (Some(first), None) => {
                first != self.covered + 1 && is_ahead(first) && self.before != Some(self.covered)
            }
        }
    }

    /// Whether the records go on far ahead from others that were not committed then and are now. Whoever wrote them knew of no later
    /// commit of this home than the one that covers those, if of that.
    pub(super) fn goes_on(&self, told: Option<u64>) -> bool {
        let next = self.covered + 1;
        told.is_none() && self.first.is_some_and(|first| first != next && is_ahead(first))
    }

    /// Whether no record is missing that neither this home knows as committed nor the journal has. `inherited` is the last number that
    /// the journal's files tell.
    pub(super) fn is_whole(&self, told: Option<u64>, inherited: u64) -> bool {
        let next = self.first.unwrap_or(inherited.max(self.covered) + 1);
        let says = self.first.and(told).is_some();
        says || next == self.covered + 1 || is_ahead(next) && !self.is_behind(told)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_journal::ahead::number_ahead;

    use super::*;

    fn seam(covered: u64, before: &[u64]) -> Seam {
        let mut seam = Seam::new(covered);
        before.iter().chain([&number_ahead(300, 0, 0)]).for_each(|number| seam.note(*number));
        seam
    }

    #[test]
    fn records_that_are_covered_and_were_not_known_are_told_from_those_that_were() {
        assert!(seam(500, &[]).is_behind(Some(301)));
        assert!(seam(500, &[299, 300]).is_behind(None));
        assert!(!seam(300, &[]).is_behind(Some(301)));
        assert!(!seam(300, &[299, 300]).is_behind(None));
        // Who knew of none.
        assert!(seam(4, &[]).is_behind(Some(1)));
        assert!(!seam(0, &[]).is_behind(Some(1)));
        // Records that were not committed before, and are now.
        assert!(!seam(310, &[309, 310]).is_behind(None));
        // Those before are gone from the journal.
        assert!(seam(300, &[]).is_behind(None));
        assert!(!seam(number_ahead(300, 0, 0) - 1, &[]).is_behind(None));
        // What was put on top since.
        assert!(!seam(500, &[]).is_behind(Some(number_ahead(300, 0, 0) + 7)));
    }

    #[test]
    fn what_went_with_a_commit_that_is_not_known_is_missing() {
        assert!(seam(300, &[299, 300]).is_whole(None, 300));
        assert!(seam(300, &[]).is_whole(Some(301), 300));
        assert!(!seam(300, &[]).is_whole(None, 300));
        let mut dense = Seam::new(300);
        assert!(dense.is_whole(None, 300) && !dense.is_whole(None, 310));
        assert!(dense.is_whole(None, number_ahead(300, 0, 0) - 1));
        dense.note(301);
        assert!(dense.is_whole(None, 301));
        let mut later = Seam::new(300);
        later.note(311);
        assert!(!later.is_whole(None, 311));
        // Nothing was committed as far as is known, and what these go on from is gone.
        assert!(!seam(0, &[]).is_whole(None, number_ahead(300, 0, 0)));
        assert!(seam(0, &[]).is_whole(Some(1), number_ahead(300, 0, 0)));
    }
}
