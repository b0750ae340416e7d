//! What a sweep of subjects is for, and where it begins.

use strongroom_crypto::hash::sha256;
use strongroom_records::application::IdleRule;

use super::Swept;
use crate::custodian::Custodian;
use crate::error::Result;
use crate::retire::Carry;

/// Where no rule is in force, nobody is due; only what was interrupted is gone on with.
pub(super) const NEVER: IdleRule = IdleRule { days: u32::MAX, notice_days: 0, since: i64::MIN };

/// How a sweep is to go.
pub(crate) struct Run {
    pub carry: Carry,
    /// Whether the clock may be gone by, as it was before anything was written.
    pub clock: Result<()>,
    /// Number of the next record, as it was then: another one after each run that did something.
    pub turn: u64,
    pub errand: Errand,
}

/// What a sweep is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Who is due, and what was interrupted.
    Due,
    Interrupted,
}

impl Run {
    /// All blocks of so many, from one on that is another one in each turn.
    pub fn blocks(&self, count: u64) -> impl Iterator<Item = u64> + use<> {
        let drawn = sha256(&self.turn.to_le_bytes()).first_chunk().copied().map(u64::from_le_bytes);
        let first = drawn.unwrap_or_default().checked_rem(count).unwrap_or_default();
        (first..count).chain(0..first)
    }
}

impl Custodian {
    /// Goes on with erasures and merges that were interrupted, whoever had asked for them: so many in one run. A hold keeps whom it
    /// kept. Reads nobody but those around whom one began.
    ///
    /// # Errors
    /// Those of custody and store, where nobody was erased before.
    pub fn end_interrupted(&mut self) -> Result<Swept> {
        let turn = self.register().log().next_seq();
        let errand = Errand::Interrupted;
        self.retire_idle(&Run { carry: Carry::Out, clock: Ok(()), turn, errand })
    }

    pub(super) fn rule_of(&self, run: &Run) -> Result<IdleRule> {
        let in_force = match run.errand {
            Errand::Due => self.idle_rule()?,
            Errand::Interrupted => None,
        };
        Ok(in_force.unwrap_or(NEVER))
    }
}
