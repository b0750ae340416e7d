//! Writes that one member decides, or that are not to be brought back: puts where nothing is yet, replacements, deletions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_store::{Body, Error, ErrorKind, Key, Put, Result, Store, Uploaded, wait};

use super::{Inner, is_replaced};

impl Inner {
    /// ORDER: one member decides before any other is asked, so that two writers who both reach it have one winner.
    pub(super) async fn put_if_absent(self: &Arc<Self>, key: Key, bytes: Bytes) -> Result<Put> {
        self.is_wanted_again(&[key]);
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by_key(|index| self.is_away(*index));
        let mut failed = Vec::new();
        let mut decided = None;
        for index in order {
            let ours = bytes.clone();
            match self.ask(index, move |store| wait(store.put_if_absent(key, ours))).await {
                Ok(put) => {
                    decided = Some((index, put));
                    break;
                }
                Err(error) => failed.push(error),
            }
        }
        let Some((arbiter, put)) = decided else {
            return Err(failed.swap_remove(0));
        };
        if failed.len() > self.members.len() - self.quorum() {
            return Err(failed.swap_remove(0));
        }
        if matches!(put, Put::Exists) {
            // Whoever lacks it gets what is there; whoever has something has it from the same decision.
            let first = self.read_from(arbiter, key).await?;
            let said = self.on_all(move |store| wait(store.put_if_absent(key, first.clone())));
            let said = said.await;
            self.settle(&[key], said)?;
            return Ok(Put::Exists);
        }
        let ours = bytes.clone();
        let said = self.on_all(move |store| wait(store.put_if_absent(key, ours.clone()))).await;
        for (index, answer) in said.iter().enumerate() {
            if index == arbiter || !matches!(answer, Some(Ok(Put::Exists))) {
                continue;
            }
            let there = self.read_from(index, key).await?;
            if there != bytes {
                // It was decided while the arbiter was away, which has not caught up: what was first stays.
                let said = self.on_all(move |store| same_everywhere(store, key, &there)).await;
                self.settle(&[key], said)?;
                return Ok(Put::Exists);
            }
        }
        self.settle(&[key], said)?;
        Ok(Put::Created(Uploaded::attest(key, bytes.len() as u64)))
    }

    /// Replaces on most members: where as many hold the old as the new, nobody can tell which counts. `replaced` are those of
    /// `keys` that are replaced; the caller has their turns.
    pub(super) async fn replace(
        self: &Arc<Self>,
        replaced: Vec<Key>,
        keys: &[Key],
        limit: Duration,
        work: impl Fn(&dyn Store) -> Result<()> + Clone + Send + 'static,
    ) -> Result<()> {
        let is_all_needed = self.needs_all();
        let mut before = Vec::new();
        if is_all_needed {
            // What is remembered of a member may be older than what became of it.
            let wanted = replaced.clone();
            before = self.on_all(move |store| hold(store, &wanted)).await;
        }
        let well = (0..self.members.len()).filter(|index| !self.is_away(*index)).count();
        if well * 2 <= self.members.len() {
            let text =
                "a member of the mirror is away, and what is replaced must be on most of them";
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        if !is_all_needed {
            let said = self.on_all_within(limit, work).await;
            let refused = |answer: &Result<()>| answer.as_ref().is_err_and(is_sure);
            let is_sure = said.iter().flatten().all(refused);
            let settled = self.settle_put(keys, said);
            return settled.map_err(|error| if is_sure { error } else { either_may_count(&error) });
        }
        // ORDER: the first comes last. It wins a draw: what another one does not take is as it was.
        for index in (0..self.members.len()).rev() {
            if let Err(error) = self.ask_within(index, limit, work.clone()).await {
                keys.iter().for_each(|key| self.miss(index, *key));
                let before = counting(&before, &replaced);
                return Err(self.put_back(index, before, error).await);
            }
        }
        Ok(())
    }

    /// Makes the members that were asked, of which the `last` failed, hold what was there before. Returns what to say.
    async fn put_back(
        &self,
        last: usize,
        before: Vec<(Key, Option<Bytes>)>,
        error: Error,
    ) -> Error {
        let mut is_sure = is_sure(&error);
        for index in last..self.members.len() {
            let before = before.clone();
            let put = self.ask(index, move |store| {
                before.iter().try_for_each(|(key, bytes)| be_again(store, *key, bytes.as_ref()))
            });
            is_sure &= put.await.is_ok();
        }
        if is_sure {
            return error;
        }
        either_may_count(&error)
    }

    /// As `settle` of a put, by which whoever took it has what it missed before.
    pub(super) fn settle_put<T>(&self, keys: &[Key], said: Vec<Option<Result<T>>>) -> Result<()> {
        let mut missed = self.missed.lock();
        for (index, answer) in said.iter().enumerate() {
            if matches!(answer, Some(Ok(_))) {
                keys.iter().for_each(|key| _ = missed.remove(&(index, *key)));
            }
        }
        drop(missed);
        self.settle(keys, said)
    }

    pub(super) async fn delete(self: &Arc<Self>, key: Key) -> Result<()> {
        // ORDER: before what was missed is forgotten. Nobody copies it to a member after it was removed from it.
        let _turns = self.turns.take(&[key]).await;
        if is_replaced(key) {
            return self.delete_everywhere(key).await;
        }
        self.missed.lock().retain(|(_, missed)| *missed != key);
        let said = self.on_removing(move |store| wait(store.delete(key))).await;
        let gone = said.iter().filter(|answer| matches!(answer, Some(Ok(())))).count();
        for (index, answer) in said.iter().enumerate() {
            self.note_removal(index, key, matches!(answer, Some(Ok(()))));
        }
        if gone >= self.quorum() {
            return Ok(());
        }
        let failed = said.into_iter().flatten().find_map(Result::err);
        Err(failed
            .unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "too many members are away")))
    }

    /// Does something on all members side by side that may remove something, those that are full too.
    async fn on_removing<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Fn(&dyn Store) -> Result<T> + Clone + Send + 'static,
    ) -> Vec<Option<Result<T>>> {
        let asked = (0..self.members.len()).filter(|index| self.may_remove(*index)).collect();
        self.on_most(asked, self.answer_limit, work).await
    }

    /// Removes what is replaced in place: one member that keeps it has it back on all, when nobody remembers any more.
    async fn delete_everywhere(self: &Arc<Self>, key: Key) -> Result<()> {
        // What is remembered of a member may be older than what became of it.
        let there = self.on_removing(move |store| held(store, key)).await;
        if !there.iter().all(|answer| matches!(answer, Some(Ok(_)))) {
            let text = "a member of the mirror is away, and would keep what is removed";
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        self.missed.lock().retain(|(_, missed)| *missed != key);
        let said = self.on_removing(move |store| wait(store.delete(key))).await;
        for answer in said {
            let away = || Err(Error::new(ErrorKind::Unavailable, "a member of the mirror is away"));
            if let Err(error) = answer.unwrap_or_else(away) {
                let text = format!("{error}; a member may have kept it, and then it may come back");
                return Err(Error::new(error.kind(), text));
            }
        }
        Ok(())
    }
}

/// Things that a put may give other bytes: also commits and checkpoints, from which a purge takes something.
pub(super) fn may_change(key: Key) -> bool {
    is_replaced(key) || matches!(key, Key::Log(_) | Key::Checkpoint(_))
}

/// Whether a member that failed did not do it. Who did not answer may do later what it was asked for.
fn is_sure(failed: &Error) -> bool {
    !matches!(failed.kind(), ErrorKind::Unavailable | ErrorKind::Internal)
}

fn either_may_count(error: &Error) -> Error {
    let text = "the members may hold what was there before or what is new: either may count";
    Error::new(error.kind(), format!("{error}; {text}"))
}

/// Makes a member hold exactly these bytes.
pub(super) fn same_everywhere(store: &dyn Store, key: Key, bytes: &Bytes) -> Result<()> {
    match wait(store.get(key, None)) {
        Ok(there) if there == *bytes => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
        // ORDER: objects never change by a put. What cannot be read is as good as none, and is in the way.
        Ok(_) | Err(_) => wait(store.delete(key))?,
    }
    wait(store.put(key, Body::Bytes(bytes.clone()))).map(drop)
}

/// What a member holds under each of some keys.
fn hold(store: &dyn Store, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
    keys.iter().map(|key| held(store, *key)).collect()
}

fn held(store: &dyn Store, key: Key) -> Result<Option<Bytes>> {
    match wait(store.get(key, None)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What counts of what members hold: what the first of them has that has any.
fn counting(
    members: &[Option<Result<Vec<Option<Bytes>>>>],
    keys: &[Key],
) -> Vec<(Key, Option<Bytes>)> {
    let held: Vec<&Vec<Option<Bytes>>> =
        members.iter().filter_map(|said| said.as_ref()?.as_ref().ok()).collect();
    let first = |at: usize| held.iter().find_map(|held| held[at].clone());
    keys.iter().enumerate().map(|(at, key)| (*key, first(at))).collect()
}

/// Makes a member hold again what is replaced in place, or nothing.
fn be_again(store: &dyn Store, key: Key, before: Option<&Bytes>) -> Result<()> {
    if held(store, key)?.as_ref() == before {
        return Ok(());
    }
    match before {
        Some(bytes) => wait(store.put(key, Body::Bytes(bytes.clone()))).map(drop),
        None => wait(store.delete(key)),
    }
}
