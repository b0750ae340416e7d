//! What homes were promised of the marks that they wrote, kept beside them: what must be there in the end.

use std::collections::BTreeSet;

use super::Mark;

/// Promises to all homes.
pub struct Promises {
    /// Marks that a sync has returned for and that nobody who saw them has replaced.
    kept: BTreeSet<Mark>,
    /// What each home did since its last sync.
    waiting: Vec<Waiting>,
    /// Where power went after one took another's place at once: the one or the other is there.
    either: Vec<BTreeSet<Mark>>,
}

#[derive(Clone, Default)]
struct Waiting {
    /// Marks that it wrote.
    marks: Vec<Mark>,
    /// A mark that was promised, with those that took its place one after the other.
    either: Vec<BTreeSet<Mark>>,
}

/// What somebody did to a file.
#[derive(Default)]
pub struct Act {
    /// Marks that were seen in it and are gone now.
    pub replaced: BTreeSet<Mark>,
    /// The mark that was written.
    pub made: Option<Mark>,
    /// How.
    pub way: Way,
}

/// How content takes the place of other content.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// In steps: a loss of power may come between them.
    #[default]
    InSteps,
    /// At once: a loss of power leaves the one or the other.
    AtOnce,
}

impl Promises {
    /// None yet, to that many homes.
    pub fn new(homes: usize) -> Self {
        let waiting = vec![Waiting::default(); homes];
        Self { kept: BTreeSet::new(), waiting, either: Vec::new() }
    }

    /// A home did something.
    pub fn did(&mut self, home: usize, act: &Act) {
        let stays = |marks: &BTreeSet<Mark>| marks.is_disjoint(&act.replaced);
        let at_once = act.made.filter(|_| act.way == Way::AtOnce);
        for (number, waiting) in self.waiting.iter_mut().enumerate() {
            waiting.marks.retain(|mark| !act.replaced.contains(mark));
            // Power may set a home back to any of those that it put there at once. Who else replaces one takes the promise with it.
            match at_once.filter(|_| number == home) {
                Some(made) => {
                    for marks in waiting.either.iter_mut().filter(|marks| !stays(marks)) {
                        marks.insert(made);
                    }
                }
                None => waiting.either.retain(stays),
            }
        }
        self.either.retain(stays);
        for mark in &act.replaced {
            if self.kept.remove(mark)
                && let Some(made) = at_once
            {
                self.waiting[home].either.push(BTreeSet::from([*mark, made]));
            }
        }
        self.waiting[home].marks.extend(act.made);
    }

    /// A sync of a home returned.
    pub fn synced(&mut self, home: usize) {
        let waiting = std::mem::take(&mut self.waiting[home]);
        self.kept.extend(waiting.marks);
    }

    /// A home lost power.
    pub fn lost_power(&mut self, home: usize) {
        let waiting = std::mem::take(&mut self.waiting[home]);
        self.either.extend(waiting.either);
    }

    /// A promise that is broken if these marks are all there are: one of some marks should be there.
    pub fn broken(&self, found: &BTreeSet<Mark>) -> Option<BTreeSet<Mark>> {
        let lost = self.kept.iter().find(|mark| !found.contains(*mark));
        let lost = lost.map(|mark| BTreeSet::from([*mark]));
        lost.or_else(|| self.either.iter().find(|marks| marks.is_disjoint(found)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark;

    fn marks<const N: usize>(numbers: [u64; N]) -> BTreeSet<Mark> {
        numbers.map(mark).into()
    }

    fn act<const N: usize>(replaced: [u64; N], made: u64, way: Way) -> Act {
        Act { replaced: marks(replaced), made: Some(mark(made)), way }
    }

    /// Two homes; mark 1 is promised.
    fn one_is_promised() -> Promises {
        let mut promises = Promises::new(2);
        promises.did(0, &act([], 1, Way::InSteps));
        assert_eq!(promises.broken(&marks([])), None);
        promises.synced(0);
        assert_eq!(promises.broken(&marks([])), Some(marks([1])));
        promises
    }

    #[test]
    fn power_that_goes_after_a_replacing_leaves_the_one_or_the_other() {
        let mut promises = one_is_promised();
        promises.did(0, &act([1], 2, Way::AtOnce));
        promises.did(0, &act([2], 3, Way::AtOnce));
        assert_eq!(promises.broken(&marks([])), None);
        promises.lost_power(0);
        assert_eq!(promises.broken(&marks([])), Some(marks([1, 2, 3])));
        for left in [1, 2, 3] {
            assert_eq!(promises.broken(&marks([left])), None);
        }
    }

    #[test]
    fn what_was_synced_stays_whatever_power_does_then() {
        let mut promises = one_is_promised();
        promises.did(0, &act([1], 2, Way::AtOnce));
        promises.synced(0);
        promises.lost_power(0);
        assert_eq!(promises.broken(&marks([1])), Some(marks([2])));
        assert_eq!(promises.broken(&marks([2])), None);
    }

    #[test]
    fn who_replaces_one_of_two_in_steps_or_elsewhere_takes_the_promise_with_it() {
        for (home, way) in [(0, Way::InSteps), (1, Way::InSteps), (1, Way::AtOnce)] {
            let mut promises = one_is_promised();
            promises.did(0, &act([1], 2, Way::AtOnce));
            promises.did(home, &act([2], 3, way));
            promises.lost_power(0);
            promises.lost_power(1);
            assert_eq!(promises.broken(&marks([])), None);
        }
    }
}
