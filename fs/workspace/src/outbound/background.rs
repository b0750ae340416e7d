//! The thread that commits when it is time, and those that purge and bring in what is pinned: either may take hours.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits::BATCH_AGE_MAX;
use crate::outbound::commit::Reason;
use crate::workspace::Inner;

/// Longest pause between tries after failures.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Pause after the last of some failures in a row.
pub(crate) fn pause_after(failed_count: u32) -> Duration {
    (BATCH_AGE_MAX * (1 << failed_count.min(5))).min(RETRY_PAUSE_MAX)
}

/// Failed tries of one thing, in a row.
#[derive(Debug, Default)]
pub(crate) struct Setback {
    /// What the last one met.
    error: Option<Error>,
    count: u32,
    /// When it is tried again, in time since the start.
    again: Duration,
}

impl Setback {
    /// Whether it is too early to try again.
    pub(crate) fn waits(&self, now: Duration) -> bool {
        now < self.again
    }

    /// Takes in how a try went.
    pub(crate) fn note(&mut self, now: Duration, went: Result<()>) {
        *self = match went {
            Ok(()) => Self::default(),
            Err(error) => Self {
                error: Some(error),
                count: self.count.saturating_add(1),
                again: now + pause_after(self.count),
            },
        };
    }

    /// What the last try met, if it failed.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.error.as_ref().map(ToString::to_string)
    }
}

impl Inner {
    /// Runs until told to stop. A failed commit is tried again, later each time.
    pub(crate) fn background(self: &std::sync::Arc<Self>) {
        let mut pause = self.options.tuning.look_interval;
        while self.wait_until_due(pause) {
            pause = match self.upkeep() {
                Ok(()) => self.options.tuning.look_interval,
                Err(_) => (pause.max(BATCH_AGE_MAX) * 2).min(RETRY_PAUSE_MAX),
            };
        }
    }

    /// Puts what is full, takes in what others committed, commits if that is due, compacts if that is, and takes large
    /// files away that lost their last name.
    ///
    /// # Errors
    /// Those of the store, of the commit and of the removal.
    pub(crate) fn upkeep(self: &std::sync::Arc<Self>) -> Result<()> {
        self.put_ahead()?;
        // What others did must not keep back what was done here: a store that is away fails in both.
        let polled = self.poll_if_due();
        if self.commit_is_due() {
            self.commit(Reason::Due)?;
        }
        polled?;
        self.compact_if_due();
        self.purge_doomed()
    }

    /// Goes on with purges until told to stop.
    pub(crate) fn purge_in_background(self: &std::sync::Arc<Self>) {
        while self.wait_for(BATCH_AGE_MAX) {
            self.purge_if_under_way();
        }
    }

    /// Brings in what is pinned until told to stop.
    pub(crate) fn renew_pins_in_background(&self) {
        while self.wait_for(BATCH_AGE_MAX) {
            self.renew_pins();
        }
    }

    /// Waits for a while, or for less. False when the thread should end.
    fn wait_for(&self, pause: Duration) -> bool {
        let mut due = self.due.lock();
        if !due.stop {
            self.wake.wait_for(&mut due, pause);
        }
        !due.stop
    }

    /// Waits for a request or for `pause`. False when the thread should end.
    fn wait_until_due(&self, pause: Duration) -> bool {
        let mut due = self.due.lock();
        if !due.stop && !due.commit && !due.put {
            self.wake.wait_for(&mut due, pause);
        }
        due.put = false;
        !due.stop
    }
}
