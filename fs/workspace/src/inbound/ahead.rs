//! Numbers of journal records that are done without the store.
//!
//! The local state may be older than what this home committed: its machine was rolled back to a backup. What is done on top of that would
//! have numbers that other, committed records had, and the next process would pass over it as committed. So what is done
//! without the store begins far ahead: at a multiple of a large number, which rises with time, and time is not rolled back.
//!
//! ```text
//! .. 299 300 | 1698… ──▶     known here: 300 are committed
//!               └─ if the store says that 500 are, who wrote this knew nothing of 301 to 500
//! ```

use strongroom_format::op::Op;
use strongroom_format::ops;
use strongroom_journal::ahead::is_ahead;

use crate::error::Result;

/// Where the records that no commit covers begin.
#[derive(Default)]
pub(super) struct Seam {
    covered: u64,
    /// The last record before, or 0.
    before: u64,
    /// The first one.
    pub(super) first: Option<u64>,
    /// The last one, or the last before.
    pub(super) last: u64,
    /// Whether records are covered that whoever wrote the first one did not know of.
    pub(super) is_behind: bool,
}

impl Seam {
    pub(super) fn new(covered: u64) -> Self {
        Self { covered, last: covered, ..Self::default() }
    }

    /// Takes note of the next record.
    ///
    /// # Errors
    /// `Corrupt` if it holds no operation.
    pub(super) fn note(&mut self, number: u64, payload: &[u8]) -> Result<()> {
        if number <= self.covered {
            self.before = number;
            return Ok(());
        }
        self.last = number;
        if self.first.replace(self.first.unwrap_or(number)).is_none() && is_ahead(number) {
            let said = match ops::decode_one(payload)?.0 {
                Op::Based { from, .. } => from.saturating_sub(1),
                _ => 0,
            };
            let known = self.before.max(said);
            self.is_behind = known > 0 && known < self.covered;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::cbor::encode;
    use strongroom_format::ids::Ino;
    use strongroom_journal::ahead::number_ahead;

    use super::*;

    fn begins_behind(covered: u64, before: &[u64], from: Option<u64>) -> bool {
        let mut seam = Seam::new(covered);
        let change = encode(&Op::Purge { ino: Ino(9) });
        before.iter().for_each(|number| seam.note(*number, &change).unwrap());
        let based = |from| encode(&Op::Based { seq: 3, from, last: true });
        seam.note(number_ahead(300, 0), &from.map_or(change, based)).unwrap();
        seam.is_behind
    }

    #[test]
    fn records_that_are_covered_and_were_not_known_are_told_from_those_that_were() {
        assert!(begins_behind(500, &[], Some(301)));
        assert!(begins_behind(500, &[299, 300], None));
        assert!(!begins_behind(300, &[], Some(301)));
        assert!(!begins_behind(300, &[299, 300], None));
        // Records that were not committed before, and are now.
        assert!(!begins_behind(310, &[309, 310], None));
    }
}
