//! The turnstile: lets others write between two records of something long. Everything long goes on from what the records say,
//! so it may as well stand aside after each of them.

use std::time::Duration;

use crate::custodian::Custodian;
use crate::error::{Error, Result};

/// How long others are let in: whoever waits looks more often whether it is their turn.
const FREE: Duration = Duration::from_millis(15);

/// What keeps other writers out for somebody who works, and can let them in for a moment.
pub trait Turnstile: Send {
    /// Whether others were kept out for so long that it is their turn.
    fn is_due(&self) -> bool;

    /// Lets others in.
    fn leave(&mut self);

    /// Keeps them out again.
    ///
    /// # Errors
    /// `Unavailable` when another writer takes too long.
    fn enter(&mut self) -> Result<()>;
}

impl Custodian {
    /// Sets what keeps others out while this one works. Without it nobody is let in before it has done.
    pub fn set_turnstile(&mut self, turnstile: Box<dyn Turnstile>) {
        self.turnstile = Some(turnstile);
    }

    /// Lets others in if it is their turn. What they recorded is known on return: whatever was read before may be old.
    ///
    /// # Errors
    /// `Denied` when they have disabled the application, which ends what is under way: whoever asks for it again knows that,
    /// and has it done. `Unavailable` when they take too long; those of following.
    pub fn let_others_in(&mut self) -> Result<()> {
        match self.turnstile.as_mut().filter(|turnstile| turnstile.is_due()) {
            Some(turnstile) => turnstile.leave(),
            None => return Ok(()),
        }
        self.services().clock.sleep(FREE);
        let was_active = self.is_active();
        self.come_back()?;
        match was_active && !self.is_active() {
            true => Err(Error::disabled_meanwhile()),
            false => Ok(()),
        }
    }

    /// Lets others in until [`Custodian::come_back`], for what only reads.
    pub(crate) fn stand_aside(&mut self) {
        if let Some(turnstile) = &mut self.turnstile {
            turnstile.leave();
        }
    }

    /// Reads something while others are let in: all of it is as it was before. What they recorded is known on return.
    ///
    /// # Errors
    /// As [`Custodian::come_back`].
    pub(crate) fn beside_others<T>(&mut self, read: impl FnOnce(&Self) -> T) -> Result<T> {
        if self.turnstile.is_none() {
            return Ok(read(self));
        }
        self.stand_aside();
        let done = read(self);
        self.come_back()?;
        Ok(done)
    }

    /// Keeps others out again, and learns what they recorded. Where they changed the application key, it is obtained before.
    pub(crate) fn come_back(&mut self) -> Result<()> {
        loop {
            if let Some(turnstile) = &mut self.turnstile {
                turnstile.enter()?;
            }
            self.follow_list()?;
            let followed = self.follow().and_then(|_| self.catch_up());
            let Some(key) = self.needed_key() else { return followed };
            self.stand_aside();
            key.obtain()?;
        }
    }
}
