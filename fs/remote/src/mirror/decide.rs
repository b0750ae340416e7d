//! Writes that one member decides, or that are not to be brought back: puts where nothing is yet, replacements, deletions.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_store::{Body, Error, ErrorKind, Key, Put, Result, Store, Uploaded, wait};

use super::Inner;

impl Inner {
    /// ORDER: one member decides before any other is asked, so that two writers who both reach it have one winner.
    pub(super) async fn put_if_absent(self: &Arc<Self>, key: Key, bytes: Bytes) -> Result<Put> {
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

    pub(super) async fn delete(self: &Arc<Self>, key: Key) -> Result<()> {
        self.missed.lock().retain(|(_, missed)| *missed != key);
        let said = self.on_all(move |store| wait(store.delete(key))).await;
        let gone = said.iter().filter(|answer| matches!(answer, Some(Ok(())))).count();
        if gone >= self.quorum() {
            return Ok(());
        }
        let failed = said.into_iter().flatten().find_map(Result::err);
        Err(failed
            .unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "too many members are away")))
    }
}

/// Makes a member hold exactly these bytes.
pub(super) fn same_everywhere(store: &dyn Store, key: Key, bytes: &Bytes) -> Result<()> {
    match wait(store.get(key, None)) {
        Ok(there) if there == *bytes => return Ok(()),
        // ORDER: objects never change by a put.
        Ok(_) => wait(store.delete(key))?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    wait(store.put(key, Body::Bytes(bytes.clone()))).map(drop)
}
