//! Copying to members what they missed, and removing what they kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_store::{Error, ErrorKind, Key, Result, Store, wait};
use tokio::runtime::Handle;

use super::decide::same_everywhere;
use super::{Inner, is_replaced};

/// How often it is looked whether anything was missed.
const PAUSE: Duration = Duration::from_secs(2);
/// LIMIT: things copied to a member, or removed from it, in one round, so that one that came back is not flooded.
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
        // ORDER: before anything is copied. A member that is full has room then.
        for (index, key) in self.due(&self.kept, |index| self.may_remove(index)) {
            // A member that fails again waits for its next time.
            if !self.may_remove(index) {
                continue;
            }
            let _turns = self.turns.take(&[key]).await;
            // It may have been put again.
            let is_kept = self.kept.lock().contains(&(index, key));
            if is_kept && self.ask(index, move |store| wait(store.delete(key))).await.is_ok() {
                self.kept.lock().remove(&(index, key));
            }
        }
        for (index, key) in self.due(&self.missed, |index| !self.is_away(index)) {
            if !self.is_away(index) {
                self.copy_missed(index, key).await;
            }
        }
        self.missed.lock().len() + self.kept.lock().len()
    }

    /// What is done in one round: so much for each member that is ready for it that none waits for another.
    fn due(
        &self,
        left: &Mutex<BTreeSet<(usize, Key)>>,
        is_ready: impl Fn(usize) -> bool,
    ) -> Vec<(usize, Key)> {
        let count = self.members.len();
        let mut room: Vec<usize> =
            (0..count).map(|index| if is_ready(index) { ROUND_COUNT } else { 0 }).collect();
        let mut due = Vec::new();
        for (index, key) in left.lock().iter() {
            if room[*index] > 0 {
                room[*index] -= 1;
                due.push((*index, *key));
            }
        }
        due
    }

    async fn copy_missed(&self, index: usize, key: Key) {
        // ORDER: before it is read. What is removed or replaced meanwhile would be brought back by an old copy.
        let _turns = self.turns.take(&[key]).await;
        if !self.missed.lock().contains(&(index, key)) {
            return;
        }
        let bytes = match self.read_for(index, key).await {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() == ErrorKind::NotFound {
                    self.missed.lock().remove(&(index, key));
                }
                return;
            }
        };
        let limit = self.limit_for(bytes.len() as u64);
        let copy = move |store: &dyn Store| same_everywhere(store, key, &bytes);
        let copied = self.ask_within(index, limit, copy).await;
        if copied.is_ok() {
            self.missed.lock().remove(&(index, key));
            self.healed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads what a member missed from one that has it.
    ///
    /// ORDER: from the member itself never, and from another that missed it as well only when all the rest lack it. They
    /// hold what was there before, and it would be forgotten that they do.
    async fn read_for(&self, index: usize, key: Key) -> Result<Bytes> {
        if is_replaced(key) && self.needs_all() {
            // Of two that differ the first counts, whichever of them missed it: both must say what they have.
            let agreed = self.agreed(key).await?;
            let all_answered = (0..self.members.len()).all(|index| !self.is_away(index));
            let away = || Error::new(ErrorKind::Unavailable, "a member of the mirror is away");
            return all_answered.then_some(agreed).ok_or_else(away);
        }
        let mut failed: Option<Error> = None;
        for other in self.order(key).into_iter().filter(|other| *other != index) {
            if failed.is_some() && self.missed.lock().contains(&(other, key)) {
                continue;
            }
            match self.read_from(other, key).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| Error::new(ErrorKind::NotFound, "no other member has it")))
    }
}
