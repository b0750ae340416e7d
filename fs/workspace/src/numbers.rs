//! Numbers of inodes that are made here.
//!
//! ```text
//! slot | 0 | one after the other, after all that the log shows and the journal holds
//! slot | 1 | one after the other, from a random one on at each opening without the store
//! ```
//!
//! A home that was rolled back to a backup, or lost its power, does not know which numbers it gave since, until the store tells. One
//! that was given again would stand for two inodes: what is made in a folder goes by its number, into what has that number elsewhere.
//! They cannot rise with time as those of journal records do: a second has room for few, and who writes much would be ahead of it.
//!
//! LIMIT: a number that is given without the store was given before one time in 549,755,813,888 divided by how many of those that were
//! given so are forgotten here.

use strongroom_format::ids::Ino;

/// LIMIT: so many numbers, at least, may be given from a random one on.
const RUN_LEN: u64 = 1 << 32;

/// Numbers for inodes, in the writer slot of a home.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    slot: u32,
    next: u64,
    /// The next one of those that are given without the store, if that is how this was opened.
    far: Option<u64>,
}

impl Numbers {
    /// No writer slot: nothing is made before there is one.
    pub(crate) const NONE: Self = Self { slot: 0x7f_ffff, next: 1, far: None };

    /// Gives numbers in this slot from here on, none before `next`.
    pub(crate) fn take_slot(&mut self, slot: u32, next: u64) {
        (self.slot, self.next) = (slot, self.next.max(next));
    }

    /// Gives those from here on that are given without the store; `chance` says from where on.
    pub(crate) fn go_far(&mut self, chance: u64) {
        let room = Ino::FAR_COUNTER - RUN_LEN;
        self.far.get_or_insert(Ino::FAR_COUNTER + chance % room);
    }

    /// The number that is given next.
    pub(crate) fn next(&self) -> Ino {
        Ino::compose(self.slot, self.far.unwrap_or(self.next))
    }

    /// Takes the next one.
    pub(crate) fn give(&mut self) -> Ino {
        let ino = self.next();
        self.note(ino);
        ino
    }

    /// Never gives this one again, if it is of this slot.
    pub(crate) fn note(&mut self, ino: Ino) {
        let after = ino.counter() + 1;
        if ino.slot() != self.slot {
            return;
        }
        // Others that are far are of other runs: after them may be those that were given and are not known here.
        if !ino.is_far() {
            self.next = self.next.max(after);
        } else if self.far == Some(ino.counter()) {
            self.far = Some(after);
        }
    }

    /// The slot, and how far numbers in it are given one after the other with what the log shows.
    pub(crate) fn given(&self) -> (u32, u64) {
        (self.slot, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(next: u64, chance: Option<u64>) -> Numbers {
        let mut numbers = Numbers::NONE;
        numbers.take_slot(3, next);
        chance.into_iter().for_each(|chance| numbers.go_far(chance));
        numbers
    }

    #[test]
    fn numbers_follow_what_is_known_and_those_given_without_the_store_begin_by_chance() {
        let mut with_store = opened(8, None);
        with_store.note(Ino::compose(3, 20));
        with_store.note(Ino::compose(4, 50));
        assert_eq!([with_store.give(), with_store.give()].map(Ino::counter), [21, 22]);
        let (mut first, mut second) = (opened(8, Some(5)), opened(8, Some(1_000_000)));
        let given = [first.give(), first.give(), second.give()];
        assert!(given.iter().all(|ino| ino.is_far() && ino.slot() == 3));
        assert_eq!(given[1].0, given[0].0 + 1);
        assert_eq!(given[2].0, given[0].0 + 999_995);
        // A slot that is told once more changes nothing.
        first.take_slot(3, 8);
        first.go_far(700);
        assert_eq!(first.give().0, given[1].0 + 1);
        let last = opened(8, Some(u64::MAX)).next();
        assert!(last.slot() == 3 && last.is_far());
    }

    #[test]
    fn numbers_of_other_runs_without_the_store_say_nothing_of_the_next_one() {
        let theirs = Ino::compose(3, Ino::FAR_COUNTER + 500);
        for mut numbers in [opened(8, None), opened(8, Some(499)), opened(8, Some(70))] {
            let next = numbers.next();
            numbers.note(theirs);
            numbers.note(Ino::compose(3, 11));
            assert_eq!(numbers.given(), (3, 12));
            assert!(numbers.next() == next || next == Ino::compose(3, 8));
        }
    }
}
