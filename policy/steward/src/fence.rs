//! The fence: keeps other writers of a register out while somebody records.

use std::sync::Arc;
use std::time::Duration;

use strongroom_host::clock::Clock;

use crate::error::{Error, ErrorKind, Result};

/// LIMIT: how long somebody waits for another writer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(2);

/// Others are kept out while it lives.
pub type Fenced = Box<dyn Send>;

/// What keeps other writers of a register out. Cheap to clone.
#[derive(Clone)]
pub struct Fence(Arc<dyn Fn() -> Option<Fenced> + Send + Sync>);

impl Fence {
    /// A fence that `raise` raises: none while somebody else writes, and without waiting for it.
    pub fn new(raise: impl Fn() -> Option<Fenced> + Send + Sync + 'static) -> Self {
        Self(Arc::new(raise))
    }

    /// Raises it, unless somebody else writes.
    pub fn try_raise(&self) -> Option<Fenced> {
        (self.0)()
    }

    /// Raises it as soon as nobody else writes. `meanwhile` is done again and again until then: a withdrawal that somebody
    /// records does not wait for who waits.
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
        loop {
            if let Some(fenced) = self.try_raise() {
                return Ok(fenced);
            }
            if clock.since_boot() >= end {
                let message = "another command works on the applications";
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            meanwhile()?;
            clock.sleep(PAUSE);
        }
    }
}
