//! Copying to members what they missed, and removing what they kept.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom_store::{ErrorKind, Key, wait};
use tokio::runtime::Handle;

use super::Inner;
use super::decide::same_everywhere;

/// How often it is looked whether anything was missed.
const PAUSE: Duration = Duration::from_secs(2);
/// LIMIT: things copied in one round, so that a member that came back is not flooded.
const ROUND_COUNT: usize = 256;

/// Heals in the background for as long as the mirror lives.
pub(super) fn begin(handle: &Handle, inner: &Arc<Inner>) {
    let inner = Arc::downgrade(inner);
    drop(handle.spawn(async move {
        loop {
            tokio::time::sleep(PAUSE).await;
            let Some(inner) = inner.upgrade() else { return };
            inner.heal().await;
        }
    }));
}

impl Inner {
    /// One round. Returns how much is still missed.
    pub(super) async fn heal(&self) -> usize {
        let due: Vec<_> = {
            let missed = self.missed.lock();
            let well = missed.iter().filter(|(index, _)| !self.is_away(*index));
            well.take(ROUND_COUNT).copied().collect()
        };
        for (index, key) in due {
            // A member that fails again waits for its next time.
            if !self.is_away(index) {
                self.copy_missed(index, key).await;
            }
        }
        let due: Vec<_> = self.kept.lock().iter().take(ROUND_COUNT).copied().collect();
        for (index, key) in due.into_iter().filter(|(index, _)| !self.is_away(*index)) {
            let _turns = self.turns.take(&[key]).await;
            // It may have been put again.
            let is_kept = self.kept.lock().contains(&(index, key));
            if is_kept && self.ask(index, move |store| wait(store.delete(key))).await.is_ok() {
                self.kept.lock().remove(&(index, key));
            }
        }
        self.missed.lock().len() + self.kept.lock().len()
    }

    async fn copy_missed(&self, index: usize, key: Key) {
        // ORDER: before it is read. What is removed or replaced meanwhile would be brought back by an old copy.
        let _turns = self.turns.take(&[key]).await;
        if !self.missed.lock().contains(&(index, key)) {
            return;
        }
        let bytes = match self.get(key, None).await {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() == ErrorKind::NotFound {
                    self.missed.lock().remove(&(index, key));
                }
                return;
            }
        };
        let copied = self.ask(index, move |store| same_everywhere(store, key, &bytes)).await;
        if copied.is_ok() {
            self.missed.lock().remove(&(index, key));
            self.healed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
