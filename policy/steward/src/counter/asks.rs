//! Asks as they lie in the store, one's own among those to others.

use std::collections::BTreeMap;

use strongroom_records::exchange::ASK_LEN_MAX;
use strongroom_store::{Family, Key, Listed, wait};

use super::Counter;
use super::letter::stored;
use crate::error::Result;
use crate::letters::{self, Direction};

/// LIMIT: letters that one turn reads.
const LETTER_COUNT_MAX: usize = 256;
/// An ask to somebody else that is older is removed. By far more than their clock and this one may be apart: theirs decides
/// what they answer, and ours may be wrong.
const STALE_MAX: i64 = 3_600_000_000_000;

impl Counter {
    /// Asks that were not looked at. Those to others are many where others are gone, and nobody's turn waits for them.
    pub(super) fn letters(&mut self) -> Result<Vec<Key>> {
        let now = self.services.clock.now_ns();
        let (mut letters, mut others, mut after) = (Vec::new(), BTreeMap::new(), None);
        loop {
            let listed = wait(self.services.store.list(Family::Ask, after)).map_err(stored)?;
            for Listed { key, .. } in &listed {
                match self.others.get(key) {
                    Some(time) if !is_stale(*time, now) => drop(others.insert(*key, *time)),
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
            self.others = others;
        }
        letters.truncate(LETTER_COUNT_MAX);
        Ok(letters)
    }

    /// Answers one ask. What is none, or not for this device, is left alone, unless it is so old that nobody answers it.
    pub(super) fn receive(&mut self, key: Key) -> Result<()> {
        let Key::Ask(place) = key else { return Ok(()) };
        let letter = match wait(self.services.store.get(key, None)) {
            Ok(letter) => letter,
            Err(error) if error.kind() == strongroom_store::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(stored(error)),
        };
        let now = self.services.clock.now_ns();
        let outside = letters::outside(Direction::Ask, &letter);
        let outside = match outside.ok().filter(|_| letter.len() <= ASK_LEN_MAX) {
            None => {
                self.others.insert(key, now);
                return Ok(());
            }
            Some(other) if other.to != self.services.keys.device_id() => {
                if !is_stale(other.time, now) {
                    self.others.insert(key, other.time);
                    return Ok(());
                }
                return wait(self.services.store.delete(key)).map_err(stored);
            }
            Some(own) => own,
        };
        let here = (outside.session.0, outside.number);
        if here == (place.session, place.number) {
            self.answer(&outside, &letter)?;
            self.flush()?;
        }
        wait(self.services.store.delete(key)).map_err(stored)
    }
}

fn is_stale(time: i64, now: i64) -> bool {
    now.abs_diff(time) > STALE_MAX.unsigned_abs()
}
