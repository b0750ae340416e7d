//! Asks as they lie in the store, one's own among those to others.

use std::collections::BTreeMap;

use strongroom_format::cbor;
use strongroom_records::exchange::{ASK_LEN_MAX, Ask, Envelope};
use strongroom_store::{ErrorKind, Family, Key, Listed, wait};

use super::{CLOCK_APART_MAX, Counter};
use crate::error::{Result, stored};
use crate::letters::{self, Direction};

/// LIMIT: letters that one turn reads.
const LETTER_COUNT_MAX: usize = 256;
/// LIMIT: asks of devices nobody has heard of that wait; what comes beyond is removed.
const UNKNOWN_COUNT_MAX: usize = 256;
/// An ask to somebody else that is older is removed. By far more than their clock and this one may be apart: theirs decides
/// what they answer, and ours may be wrong.
const STALE_MAX: i64 = 3_600_000_000_000;

/// What becomes of an ask that was looked at.
pub(super) enum Fate {
    /// It is removed.
    Goes,
    /// It stays until what it says is on record, or there is room for that.
    Stays,
}

/// An ask that was looked at and stays where it is.
pub(super) struct Left {
    /// Its writer's clock.
    time: i64,
    /// To this device, by one nobody has heard of up to this position of the organisation's log.
    unknown_at: Option<u64>,
}

impl Left {
    /// Whether nothing has changed since it was looked at.
    fn stays(&self, position: u64, now: i64) -> bool {
        match self.unknown_at {
            None => !is_apart(self.time, now, STALE_MAX),
            Some(at) => at == position && !is_apart(self.time, now, CLOCK_APART_MAX),
        }
    }
}

impl Counter {
    /// Asks that have to be looked at. Those to others are many where others are gone, and nobody's turn waits for them.
    pub(super) fn letters(&mut self) -> Result<Vec<Key>> {
        let (now, position) = (self.services.clock.now_ns(), self.roster.position());
        let (mut letters, mut left, mut after) = (Vec::new(), BTreeMap::new(), None);
        loop {
            let listed = wait(self.services.store.list(Family::Ask, after)).map_err(stored)?;
            for Listed { key, .. } in &listed {
                match self.left.remove(key) {
                    _ if self.words.has_answered(key) => {}
                    Some(own) if own.stays(position, now) => drop(left.insert(*key, own)),
                    _ => letters.push(*key),
                }
            }
            after = listed.last().map(|listed| listed.key);
            if after.is_none() || letters.len() >= LETTER_COUNT_MAX {
                break;
            }
        }
        if letters.len() < LETTER_COUNT_MAX {
            // All were listed: what is no longer there is forgotten.
            self.left.clear();
        }
        self.left.append(&mut left);
        letters.truncate(LETTER_COUNT_MAX);
        Ok(letters)
    }

    /// Answers one ask. What is none, or not for this device, is left alone, unless it is so old that nobody answers it; what
    /// comes from a device nobody has heard of waits until the organisation's log goes on.
    pub(super) fn receive(&mut self, key: Key) -> Result<()> {
        let Key::Ask(place) = key else { return Ok(()) };
        let letter = match wait(self.services.store.get(key, None)) {
            Ok(letter) => letter,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            // As one that is none: whoever wrote it hears nothing, and everybody else does.
            Err(error) if error.kind() == ErrorKind::Corrupt => bytes::Bytes::new(),
            Err(error) => return Err(stored(error)),
        };
        let now = self.services.clock.now_ns();
        let outside = letters::outside(Direction::Ask, &letter);
        let outside = match outside.ok().filter(|_| letter.len() <= ASK_LEN_MAX) {
            None => {
                self.left.insert(key, Left { time: now, unknown_at: None });
                return Ok(());
            }
            Some(other) if other.to != self.services.keys.device_id() => {
                if !is_apart(other.time, now, STALE_MAX) {
                    self.left.insert(key, Left { time: other.time, unknown_at: None });
                    return Ok(());
                }
                return wait(self.services.store.delete(key)).map_err(stored);
            }
            Some(own) => own,
        };
        let here = (outside.session.0, outside.number);
        if here == (place.session, place.number) {
            if self.is_unknown(&outside.from)? && self.leave(key, &outside, now) {
                return Ok(());
            }
            let fate = self.heed(key, &outside, &letter)?;
            self.flush()?;
            if matches!(fate, Fate::Stays) {
                return Ok(());
            }
        }
        wait(self.services.store.delete(key)).map_err(stored)
    }

    /// Heeds an ask: what it says, and what it wants.
    fn heed(&mut self, key: Key, outside: &Envelope, letter: &[u8]) -> Result<Fate> {
        let Some(device) = self.roster.find(&outside.from).cloned() else {
            return Ok(Fate::Goes);
        };
        let keys = &self.services.keys;
        let opened = letters::read(Direction::Ask, keys, keys.kem(), &device, letter);
        let Ok((_, body)) = opened else { return Ok(Fate::Goes) };
        let Ok(mut ask) = cbor::decode_canonical::<Ask>(body.expose()) else {
            return Ok(Fate::Goes);
        };
        // ORDER: before anything that may end what it was opened under.
        if !self.hear_opened(key, outside, &mut ask) {
            return Ok(Fate::Stays);
        }
        self.answer(outside, device, &ask)?;
        let waits = self.words.note_answered(&key);
        Ok(if waits { Fate::Stays } else { Fate::Goes })
    }

    /// Whether its writer's clock says that it is too old to be answered.
    pub(super) fn is_old(&self, outside: &Envelope) -> bool {
        is_apart(outside.time, self.services.clock.now_ns(), CLOCK_APART_MAX)
    }

    /// Lets an ask of an unknown device wait, if it is young and few do.
    fn leave(&mut self, key: Key, outside: &Envelope, now: i64) -> bool {
        let count = self.left.values().filter(|own| own.unknown_at.is_some()).count();
        let may = count < UNKNOWN_COUNT_MAX && !is_apart(outside.time, now, CLOCK_APART_MAX);
        if may {
            let unknown_at = Some(self.roster.position());
            self.left.insert(key, Left { time: outside.time, unknown_at });
        }
        may
    }
}

fn is_apart(time: i64, now: i64, most: i64) -> bool {
    now.abs_diff(time) > most.unsigned_abs()
}
