//! What opening reads, asked for before it is read and side by side: while a passphrase is tried, which takes a second, the
//! answers come.
//!
//! ```text
//! early   lists of checkpoints and of the organisation log ─▶ newest checkpoint, records, list of the commits after it ─▶ commits
//! ends    what follows the last of each, all at once
//! ```
//!
//! 1. What was brought is given once, but for records of the organisation. For all else, and after a change, the store itself is asked.
//! 2. What was asked for early tells what there is, never that there is no more: that is asked for at the end of the wait.
//!    A list that is asked for again ends all of it: whoever asks doubts what came before.
//! 3. Who reads what is on its way waits for it.
//! 4. Nothing is believed: who reads verifies, as with the store.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_host::thread;

use crate::{Error, ErrorKind, Family, Key, Listed, Result, Store, wait};

/// LIMIT: records and commits that are asked for, of each the first.
const COUNT_MAX: usize = 256;
/// LIMIT: their bytes, by what the store's list says.
const BYTES_MAX: u64 = 16 << 20;

/// A question for keys: of which family, after which.
type Lists = (Family, Option<Key>);

/// Answers that nobody has asked for yet.
#[derive(Default)]
pub(super) struct Ahead(Mutex<State>);

#[derive(Default)]
struct State {
    /// Rounds of questions that have begun and not ended.
    under_way: usize,
    /// Set for good by a change, and when opening ends.
    is_over: bool,
    here: Answers,
    /// Lists that were given.
    given: Vec<Lists>,
    /// What the next round asks for.
    ends: Questions,
    waiting: Vec<Waker>,
}

#[derive(Default)]
struct Questions {
    keys: Vec<Key>,
    lists: Vec<Lists>,
}

#[derive(Default)]
struct Answers {
    /// None for what is not there.
    got: BTreeMap<Key, Option<Bytes>>,
    listed: BTreeMap<Lists, Vec<Listed>>,
}

/// A round of questions.
#[derive(Clone, Copy)]
pub(super) enum Round {
    /// What is there.
    Early,
    /// What may have come.
    Ends,
}

impl Ahead {
    /// Begins a round on a thread of its own. What is not asked ahead, for want of one, is asked by who reads.
    pub(super) fn begin(self: &Arc<Self>, store: Arc<dyn Store>, round: Round) {
        self.0.lock().under_way += 1;
        let ending = Ending(self.clone());
        let _ = thread::spawn("ahead", move || match round {
            Round::Early => ending.0.take_in(ask_early(&*store).unwrap_or_default()),
            Round::Ends => {
                let _ = wait(Box::pin(ending.0.until(1)));
                let ends = std::mem::take(&mut ending.0.0.lock().ends);
                ending.0.take_in((ask(&*store, ends), Questions::default()));
            }
        });
    }

    /// Whether something of a family may be here or on its way.
    pub(super) fn may_have(&self, family: Option<Family>) -> bool {
        let is_asked =
            matches!(family, Some(Family::Organisation | Family::Checkpoint | Family::Log));
        let state = self.0.lock();
        let is_empty = state.here.got.is_empty() && state.here.listed.is_empty();
        is_asked && (state.under_way > 0 || !is_empty)
    }

    /// Drops what is here, and what comes.
    pub(super) fn end(&self) {
        let mut state = self.0.lock();
        state.is_over = true;
        (state.here, state.ends) = Default::default();
    }

    /// The answer for a key, if it was asked ahead.
    pub(super) async fn take(&self, key: Key) -> Option<Result<Bytes>> {
        self.until(0).await.ok()?;
        let mut state = self.0.lock();
        let found = match (key, state.here.got.get(&key)) {
            // Read twice, by who looks whether a device is in and by the engine. It never changes.
            (Key::Organisation(_), Some(Some(record))) => Some(record.clone()),
            _ => state.here.got.remove(&key)?,
        };
        let missing = || Error::new(ErrorKind::NotFound, format!("`{key}` is not there"));
        Some(found.ok_or_else(missing))
    }

    /// The same for a list.
    pub(super) async fn take_list(
        &self,
        family: Family,
        after: Option<Key>,
    ) -> Option<Vec<Listed>> {
        self.until(0).await.ok()?;
        let mut state = self.0.lock();
        let listed = state.here.listed.remove(&(family, after));
        match listed {
            Some(_) => state.given.push((family, after)),
            // Whoever asks again doubts what came before: all is asked anew.
            None if state.given.contains(&(family, after)) => {
                state.is_over = true;
                (state.here, state.ends) = Default::default();
            }
            None => {}
        }
        listed
    }

    /// Waits until no more rounds than these are under way.
    async fn until(&self, rounds: usize) -> Result<()> {
        poll_fn(|context| {
            let mut state = self.0.lock();
            if state.under_way <= rounds {
                return Poll::Ready(Ok(()));
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn take_in(&self, (brought, ends): (Answers, Questions)) {
        let mut state = self.0.lock();
        if !state.is_over {
            state.here.got.extend(brought.got);
            state.here.listed.extend(brought.listed);
            state.ends = ends;
        }
    }
}

/// Ends a round, whatever became of it.
struct Ending(Arc<Ahead>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.under_way -= 1;
        state.waiting.drain(..).for_each(Waker::wake);
    }
}

fn ask_early(store: &dyn Store) -> Option<(Answers, Questions)> {
    let (checkpoints, records) = ((Family::Checkpoint, None), (Family::Organisation, None));
    let lists = vec![checkpoints, records];
    let mut brought = ask(store, Questions { lists, ..Questions::default() });
    let records = brought.listed.remove(&records)?;
    let newest = brought.listed.get(&checkpoints)?.last()?.key;
    let Key::Checkpoint(seq) = newest else { return None };
    let after = (Family::Log, Some(Key::Log(seq)));
    let keys = within_limits(&records).into_iter().chain([newest]).collect();
    let second = ask(store, Questions { keys, lists: vec![after] });
    let commits = second.listed.get(&after)?;
    let keys = within_limits(commits);
    let ends = ends(&records, newest, commits.last().map_or(Key::Log(seq), |last| last.key));
    let third = ask(store, Questions { keys, ..Questions::default() });
    for more in [second, third] {
        brought.got.extend(more.got);
        brought.listed.extend(more.listed);
    }
    // Nothing that was listed is missing, and no list is at its end: who reads asks, or is told by the next round.
    brought.got.retain(|_, bytes| bytes.is_some());
    brought.listed.retain(|_, listed| !listed.is_empty());
    Some((brought, ends))
}

/// What may have come behind the last of each.
fn ends(records: &[Listed], checkpoint: Key, commit: Key) -> Questions {
    let next = |key: Key| match key {
        Key::Organisation(seq) => Some(Key::Organisation(seq + 1)),
        Key::Log(seq) => Some(Key::Log(seq + 1)),
        _ => None,
    };
    let last = records.last().map(|last| last.key);
    let keys = last.into_iter().chain([commit]).filter_map(next).collect();
    Questions {
        keys,
        lists: vec![(Family::Checkpoint, Some(checkpoint)), (Family::Log, Some(commit))],
    }
}

fn within_limits(listed: &[Listed]) -> Vec<Key> {
    let fits = listed.iter().scan(0_u64, |bytes, listed| {
        *bytes = bytes.saturating_add(listed.len);
        (*bytes <= BYTES_MAX).then_some(listed.key)
    });
    fits.take(COUNT_MAX).collect()
}

/// Asks side by side. What fails is left to who reads.
fn ask(store: &dyn Store, questions: Questions) -> Answers {
    let lists = questions.lists.into_iter();
    let listed: Vec<_> =
        lists.map(|(family, after)| ((family, after), store.list(family, after))).collect();
    let got: Vec<_> = questions.keys.into_iter().map(|key| (key, store.get(key, None))).collect();
    let mut answers = Answers::default();
    for (question, answer) in listed {
        answers.listed.extend(wait(answer).ok().map(|listed| (question, listed)));
    }
    for (key, answer) in got {
        match wait(answer) {
            Ok(bytes) => drop(answers.got.insert(key, Some(bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                answers.got.insert(key, None);
            }
            Err(_) => {}
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use strongroom_host::sim::SimDisk;

    use super::super::Binder;
    use super::*;
    use crate::{Body, FolderStore};

    fn store() -> Arc<dyn Store> {
        let disk = Arc::new(SimDisk::new(1));
        let store = Arc::new(FolderStore::create(disk, PathBuf::from("/store")).unwrap());
        for key in [Key::Organisation(0), Key::Checkpoint(0)] {
            put(&*store, key);
        }
        store
    }

    fn put(store: &dyn Store, key: Key) {
        wait(store.put(key, Body::Bytes(Bytes::from(key.to_string())))).unwrap();
    }

    fn binder(store: &Arc<dyn Store>) -> Binder {
        let disk = Arc::new(SimDisk::new(2));
        Binder::open(store.clone(), disk, PathBuf::from("/binder")).unwrap()
    }

    fn commits(store: &dyn Store, after: u64) -> Vec<Key> {
        let listed = wait(store.list(Family::Log, Some(Key::Log(after)))).unwrap();
        listed.into_iter().map(|listed| listed.key).collect()
    }

    #[test]
    fn what_came_after_it_was_asked_ahead_is_found() {
        let store = store();
        let binder = binder(&store);
        binder.ask_ahead();
        // Given to who waits for it, and then all is here.
        wait(binder.get(Key::Checkpoint(0), None)).unwrap();
        put(&*store, Key::Log(1));
        put(&*store, Key::Organisation(1));
        assert_eq!(commits(&binder, 0), [Key::Log(1)]);
        wait(binder.get(Key::Organisation(1), None)).unwrap();
    }

    #[test]
    fn what_is_asked_ahead_is_given_once_and_the_store_is_not_asked_again() {
        let store = store();
        put(&*store, Key::Log(1));
        let binder = binder(&store);
        binder.ask_ahead();
        binder.ask_ends();
        assert_eq!(commits(&binder, 0), [Key::Log(1)]);
        put(&*store, Key::Log(2));
        assert_eq!(commits(&binder, 1), []);
        assert_eq!(commits(&binder, 1), [Key::Log(2)]);
        assert_eq!(commits(&binder, 0), [Key::Log(1), Key::Log(2)]);
    }

    #[test]
    fn after_a_change_the_store_is_asked() {
        let store = store();
        put(&*store, Key::Log(1));
        let binder = binder(&store);
        binder.ask_ahead();
        wait(binder.get(Key::Checkpoint(0), None)).unwrap();
        put(&*store, Key::Log(2));
        put(&binder, Key::Log(3));
        assert_eq!(commits(&binder, 0), [1, 2, 3].map(Key::Log));
    }
}
