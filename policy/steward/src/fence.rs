//! The fence: keeps other writers of a register out while somebody records.

use std::sync::Arc;
use std::time::Duration;

use strongroom_host::clock::Clock;

use crate::error::{Error, ErrorKind, Result};

/// LIMIT: how long somebody waits for another writer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(2);
/// How often whoever waits does what it has to do meanwhile: as often as a view looks, which may cost requests to a store.
const MEANWHILE: Duration = Duration::from_millis(25);

/// Others are kept out while it lives.
pub type Fenced = Box<dyn Send>;

/// Somebody in line, until dropped: raises the fence once it is their turn.
pub type Waiting = Box<dyn FnMut() -> Option<Fenced>>;

/// What keeps other writers of a register out. Cheap to clone.
#[derive(Clone)]
pub struct Fence {
    raise: Arc<dyn Fn() -> Option<Fenced> + Send + Sync>,
    wait: Arc<dyn Fn() -> Waiting + Send + Sync>,
}

impl Fence {
    /// A fence that `raise` raises: none while somebody else writes, and without waiting for it. Nobody stands in line.
    pub fn new(raise: impl Fn() -> Option<Fenced> + Send + Sync + 'static) -> Self {
        let raise = Arc::new(raise);
        let own = Arc::clone(&raise);
        Self::with_line(
            move || own(),
            move || {
                let raise = Arc::clone(&raise);
                Box::new(move || raise())
            },
        )
    }

    /// A fence with a line before it: `raise` raises none while somebody else writes or waits, `wait` lines up.
    pub fn with_line(
        raise: impl Fn() -> Option<Fenced> + Send + Sync + 'static,
        wait: impl Fn() -> Waiting + Send + Sync + 'static,
    ) -> Self {
        Self { raise: Arc::new(raise), wait: Arc::new(wait) }
    }

    /// Raises it, unless somebody else writes or waits to.
    pub fn try_raise(&self) -> Option<Fenced> {
        (self.raise)()
    }

    /// Raises it when it is one's turn. `meanwhile` is done again and again until then: a withdrawal that somebody records does
    /// not wait for who waits.
    ///
    /// # Errors
    /// `Unavailable` when others write all the time; those of `meanwhile`.
    pub fn raise(
        &self,
        clock: &dyn Clock,
        meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<Fenced> {
        self.raise_until(clock, clock.since_boot() + LIMIT, meanwhile)
    }

    /// The same, for whoever waits until a time since the machine started and no longer.
    pub(crate) fn raise_until(
        &self,
        clock: &dyn Clock,
        end: Duration,
        mut meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<Fenced> {
        if let Some(fenced) = self.try_raise() {
            return Ok(fenced);
        }
        let (mut waiting, mut next) = ((self.wait)(), Duration::ZERO);
        loop {
            if let Some(fenced) = waiting() {
                return Ok(fenced);
            }
            if clock.since_boot() >= end {
                let message = "another command works on the applications";
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            if clock.since_boot() >= next {
                meanwhile()?;
                next = clock.since_boot() + MEANWHILE;
            }
            clock.sleep(PAUSE);
        }
    }
}
