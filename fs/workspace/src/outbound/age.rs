//! Whether the age of things can be told. It is a difference of wall clocks, and one that jumps ahead makes everything old at
//! once: what goes by its age waits until a clock that cannot jump has seen a day go by since.

use std::time::Duration;

use strongroom_host::clock::Clock;

use crate::limits::{CLOCK_HOLD, CLOCK_JUMP_MAX};

/// How the wall clock has gone beside the time since the machine started.
#[derive(Debug)]
pub struct Ages {
    /// Both, when they were last looked at.
    seen: (i64, Duration),
    /// When they were first seen to differ, since the machine started.
    jumped: Option<Duration>,
}

impl Ages {
    /// From here on.
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        Self { seen: (clock.now_ns(), clock.since_boot()), jumped: None }
    }

    /// Whether ages can be told now.
    pub(crate) fn can_be_told(&mut self, clock: &dyn Clock) -> bool {
        let (wall, boot) = std::mem::replace(&mut self.seen, (clock.now_ns(), clock.since_boot()));
        let went = i128::from(self.seen.0) - i128::from(wall);
        let passed = self.seen.1.saturating_sub(boot);
        let passed_ns = i128::try_from(passed.as_nanos()).unwrap_or(i128::MAX);
        if (went - passed_ns).unsigned_abs() > CLOCK_JUMP_MAX.as_nanos() {
            self.jumped = Some(self.seen.1);
        }
        self.jumped.take_if(|jumped| self.seen.1.saturating_sub(*jumped) >= CLOCK_HOLD);
        self.jumped.is_none()
    }

    /// Why nothing goes by its age, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        let message = "this machine's clock has jumped: nothing is removed for its age before a day has gone by";
        self.jumped.map(|_| message.to_owned())
    }
}
