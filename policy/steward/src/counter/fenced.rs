//! When a counter writes: what a device waits for in its turn, and what nobody waits for when nobody else wants to.

use std::sync::Arc;
use std::time::Duration;

use super::Counter;
use crate::error::Result;
use crate::fence::Fenced;

/// LIMIT: how long others go before what nobody waits for. Then it has its turn like theirs.
const STAND_BACK: Duration = Duration::from_secs(2);

impl Counter {
    /// While others write, what they record is followed and told. However many ask, a turn waits once.
    pub(super) fn wait_for_fence(&mut self, place: usize) -> Result<Fenced> {
        let (fence, clock) = (self.fence.clone(), Arc::clone(&self.services.clock));
        fence.raise_until(&*clock, self.patience_end, || {
            self.look(place)?;
            self.flush()
        })
    }

    /// For what nobody waits for: none while others write or want to, unless they have for long.
    pub(super) fn stand_back(&mut self, place: usize) -> Option<Fenced> {
        if let Some(fenced) = self.fence.try_raise() {
            self.stood_back = None;
            return Some(fenced);
        }
        let now = self.now();
        if now < *self.stood_back.get_or_insert(now) + STAND_BACK {
            return None;
        }
        // What keeps it from its turn is met again by the next.
        let fenced = self.wait_for_fence(place).ok();
        if fenced.is_some() {
            self.stood_back = None;
        }
        fenced
    }
}
