//! The right to write to the applications of a place. Whoever has it for long lets others have it in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use strongroom_host::clock::{Clock, MachineClock};
use strongroom_steward::{Error, ErrorKind, Turnstile};

use super::line::Entered;
use super::lock;
use crate::exit::Result;
use crate::place::Place;

/// How long it is kept at a stretch.
const STRETCH: Duration = Duration::from_millis(250);

/// The right to write, until it is dropped.
pub struct Held(Arc<Right>);

struct Right {
    place: Place,
    clock: MachineClock,
    /// Since when it is held; none while others may have it.
    lock: Mutex<Option<(Entered, Duration)>>,
}

impl Held {
    /// Waits for its turn.
    ///
    /// # Errors
    /// Others keep it for too long.
    pub fn take(place: &Place) -> Result<Self> {
        let right =
            Right { place: place.clone(), clock: MachineClock::new(), lock: Mutex::default() };
        right.enter()?;
        Ok(Self(Arc::new(right)))
    }

    /// Lets others have it while something is done that takes long.
    ///
    /// # Errors
    /// As [`Held::take`], once it is done.
    pub fn aside<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        self.0.lock().take();
        let done = act();
        self.0.enter()?;
        Ok(done)
    }

    /// What lets others have it in between, as long as this is not dropped.
    pub fn turnstile(&self) -> Box<dyn Turnstile> {
        Box::new(Between(Arc::downgrade(&self.0)))
    }
}

impl Right {
    fn enter(&self) -> Result<()> {
        let taken = lock(&self.place)?;
        *self.lock() = Some((taken, self.clock.elapsed()));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Entered, Duration)>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Between(Weak<Right>);

impl Turnstile for Between {
    fn is_due(&self) -> bool {
        let right = self.0.upgrade();
        right.is_some_and(|right| {
            let since = right.lock().as_ref().map(|(_, since)| *since);
            since.is_some_and(|since| right.clock.elapsed() >= since + STRETCH)
        })
    }

    fn leave(&mut self) {
        if let Some(right) = self.0.upgrade() {
            right.lock().take();
        }
    }

    fn enter(&mut self) -> strongroom_steward::Result<()> {
        let busy =
            |_| Error::new(ErrorKind::Unavailable, "another command works on the applications");
        self.0.upgrade().map_or(Ok(()), |right| right.enter().map_err(busy))
    }
}
