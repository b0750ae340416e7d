//! How many requests of one kind may be under way: fewer while they stand still.
//!
//! What stands still takes its turn with it, and as many as there are must go well to bring one back: those that share a line
//! too slow for all of them go on with as many as it carries, with one at least.

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Turns that are given out and taken back.
pub(crate) struct Turns {
    free: Semaphore,
    count_max: usize,
    standing: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    lost: usize,
    /// What went well since a turn was last lost or brought back.
    well: usize,
}

/// The right to have one request under way, until it is dropped.
pub(crate) type Turn<'a> = SemaphorePermit<'a>;

impl Turns {
    pub(crate) fn new(count_max: usize) -> Self {
        Self { free: Semaphore::new(count_max), count_max, standing: Mutex::default() }
    }

    /// Waits for one.
    pub(crate) async fn take(&self) -> Turn<'_> {
        self.free.acquire().await.expect("never closed")
    }

    /// What had this turn stood still. The last one is not lost: who has it goes on.
    pub(crate) fn lose<'a>(&self, turn: Turn<'a>) -> Option<Turn<'a>> {
        let mut standing = self.standing.lock();
        standing.well = 0;
        if standing.lost + 1 == self.count_max {
            return Some(turn);
        }
        standing.lost += 1;
        turn.forget();
        None
    }

    /// Something went well.
    pub(crate) fn went_well(&self) {
        let mut standing = self.standing.lock();
        if standing.lost == 0 {
            return;
        }
        standing.well += 1;
        if standing.well >= self.count_max - standing.lost {
            *standing = Standing { lost: standing.lost - 1, well: 0 };
            self.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_lost_down_to_one_and_come_back_one_by_one() {
        let turns = Turns::new(4);
        for left in [3, 2, 1, 1, 1] {
            drop(turns.lose(turns.free.try_acquire().unwrap()));
            assert_eq!(turns.free.available_permits(), left);
        }
        for left in [2, 2, 3, 3, 3, 4, 4] {
            turns.went_well();
            assert_eq!(turns.free.available_permits(), left);
        }
    }
}
