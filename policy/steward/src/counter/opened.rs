//! What devices opened under leases they were given, on record. Nobody waits for it: while others write, it is left for the
//! next turn.
//!
//! 1. An ask that says what was opened stays in the store until that is on record: a custodian that ends before finds it again.
//! 2. Whatever became of the lease, the session or the device since, what was opened is on record: that it was lent is, too.
//! 3. What may have been said before is on record once for each lease: the register tells.

use std::collections::BTreeMap;

use strongroom_format::ids::DeviceId;
use strongroom_records::exchange::{Ask, Envelope, OpenedFiles};
use strongroom_records::ids::SessionId;
use strongroom_store::{Key, wait};

use super::{Counter, LEASE_COUNT_MAX, TOGETHER_COUNT_MAX};
use crate::error::{Error, ErrorKind, Result, stored};
use crate::leases::{Operator, Rules};

/// LIMIT: files of asks whose word is not on record yet; asks that say more stay where they are until there is room.
const FILE_COUNT_MAX: usize = 1 << 20;

/// Words that wait to be put on record, by the asks they came with.
#[derive(Default)]
pub(super) struct Words {
    all: BTreeMap<Key, Word>,
    file_count: usize,
}

/// What a device says that it opened.
struct Word {
    session: SessionId,
    device: DeviceId,
    place: usize,
    activity: String,
    /// By the device's clock.
    time: i64,
    /// Of what its session was given, and still has.
    sure: Vec<OpenedFiles>,
    /// Of what the register has to tell that it was lent, and not said to be opened before.
    unsure: Vec<OpenedFiles>,
    /// The rest of the ask was heeded.
    is_answered: bool,
}

impl Words {
    /// Whether an ask has nothing to say any more but what waits here.
    pub fn has_answered(&self, key: &Key) -> bool {
        self.all.get(key).is_some_and(|word| word.is_answered)
    }

    /// Notes that the rest of an ask was heeded. False where it says nothing that waits here.
    pub fn note_answered(&mut self, key: &Key) -> bool {
        let word = self.all.get_mut(key);
        word.map(|word| word.is_answered = true).is_some()
    }

    fn put(&mut self, key: Key, word: Word) {
        self.file_count += word.file_count();
        self.all.insert(key, word);
    }

    fn remove(&mut self, key: &Key) {
        let word = self.all.remove(key);
        self.file_count -= word.map_or(0, |word| word.file_count());
    }

    /// Forgets of a word what is on record. Whether anything is left of it.
    fn go_on(&mut self, key: &Key) -> bool {
        let Some(word) = self.all.get_mut(key) else { return false };
        let before = word.file_count();
        let (sure, unsure) = word.next_counts();
        word.sure.drain(..sure);
        word.unsure.drain(..unsure);
        self.file_count -= before - word.file_count();
        word.class_count() > 0
    }
}

impl Word {
    fn file_count(&self) -> usize {
        self.sure.iter().chain(&self.unsure).map(|one| one.files.len()).sum()
    }

    fn class_count(&self) -> usize {
        self.sure.len() + self.unsure.len()
    }

    /// How many of each kind are in the next record.
    fn next_counts(&self) -> (usize, usize) {
        let sure = self.sure.len().min(TOGETHER_COUNT_MAX);
        (sure, self.unsure.len().min(TOGETHER_COUNT_MAX - sure))
    }
}

impl Counter {
    /// Takes in what an ask says was opened. False while there is no room for it.
    pub(super) fn hear_opened(&mut self, key: Key, outside: &Envelope, ask: &mut Ask) -> bool {
        let mut opened = std::mem::take(&mut ask.opened);
        opened.truncate(LEASE_COUNT_MAX);
        opened.retain(|one| !one.files.is_empty());
        let Some(place) = self.place_named(&ask.application).filter(|_| !opened.is_empty()) else {
            return true;
        };
        let is_heard = self.words.all.contains_key(&key);
        if !is_heard && self.words.file_count >= FILE_COUNT_MAX {
            return false;
        }
        if is_heard || self.was_heeded(outside) {
            return true;
        }
        let session = self.sessions.get(&outside.session).filter(|own| {
            let is_its = own.operator.device == outside.from && own.activity == ask.activity;
            let is_next = outside.number >= own.next_ask && !self.is_old(outside);
            is_its && own.place == place && is_next && !own.is_over
        });
        let was_given = |one: &OpenedFiles| {
            session.is_some_and(|session| session.was_given(&one.subject, one.class))
        };
        let (sure, unsure) = opened.into_iter().partition(was_given);
        let word = Word {
            session: outside.session,
            device: outside.from,
            place,
            activity: ask.activity.clone(),
            time: outside.time,
            sure,
            unsure,
            is_answered: false,
        };
        self.words.put(key, word);
        true
    }

    /// Whether an ask was heeded before, so that the store brings it again.
    fn was_heeded(&mut self, outside: &Envelope) -> bool {
        let (id, number) = (&outside.session, outside.number);
        if self.refused.get(id).is_some_and(|next| number < next.ask) {
            return true;
        }
        let session = self.sessions.get_mut(id).filter(|own| number < own.next_ask);
        session.is_some_and(|session| !session.take_missed(number))
    }

    /// Puts it on record, and takes the asks away. Whoever waits to write does between two records, and an act that waits for
    /// devices waits for one.
    pub(super) fn note_opened(&mut self) -> Result<()> {
        let due = self.words.all.iter().filter(|(_, word)| word.is_answered);
        let due: Vec<(Key, usize)> = due.map(|(key, word)| (*key, word.class_count())).collect();
        let (mut room, mut done) = (LEASE_COUNT_MAX, Ok(()));
        for (key, class_count) in due {
            for _ in 0..class_count.div_ceil(TOGETHER_COUNT_MAX) {
                if room == 0 {
                    return done;
                }
                // What is wrong with one keeps nothing of the others from the record.
                match self.record_opened(&key) {
                    Ok(true) => room = room.saturating_sub(class_count.min(TOGETHER_COUNT_MAX)),
                    Ok(false) => return done,
                    Err(error) => {
                        done = done.and(Err(error));
                        break;
                    }
                }
                if self.turns.is_awaited() {
                    return done;
                }
            }
        }
        done
    }

    /// As much of a word as one record has. False when somebody else writes, or wants to.
    fn record_opened(&mut self, key: &Key) -> Result<bool> {
        let Some(place) = self.words.all.get(key).map(|word| word.place) else { return Ok(true) };
        let Some(others_wait) = self.stand_back(place) else { return Ok(false) };
        self.look(place)?;
        self.custodians[place].catch_up()?;
        match self.written_down(key) {
            // It was asked for something that there is not.
            Ok(()) if self.words.go_on(key) => return Ok(true),
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Denied => {}
            Err(error) if error.kind() == ErrorKind::Conflict => return Ok(false),
            Err(error) => return Err(error),
        }
        drop(others_wait);
        self.words.remove(key);
        wait(self.services.store.delete(*key)).map_err(stored)?;
        Ok(true)
    }

    fn written_down(&mut self, key: &Key) -> Result<()> {
        let word = self.words.all.get(key).ok_or_else(Error::denied)?;
        let session = self
            .sessions
            .get(&word.session)
            .filter(|own| own.operator.device == word.device && own.activity == word.activity);
        let known = session.and_then(|own| own.rules.as_ref());
        let read: Rules;
        let rules = match known {
            Some(rules) => rules,
            None => {
                let stranger = Operator { device: word.device, is_certified: false };
                read = self.custodians[word.place].rules_for(&word.activity, stranger)?;
                &read
            }
        };
        let custodian = &mut self.custodians[word.place];
        let (sure, unsure) = word.next_counts();
        let mut opened = word.sure[..sure].to_vec();
        for one in &word.unsure[..unsure] {
            let files = custodian.not_on_record(rules, one, word.time)?;
            opened.extend((!files.is_empty()).then(|| OpenedFiles { files, ..one.clone() }));
        }
        custodian.note_opened(rules, &opened)
    }
}
