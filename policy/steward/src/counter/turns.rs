//! Waiting for a counter: until what was recorded is in force on every device it serves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_host::clock::Clock;
use strongroom_records::ids::{ActivityId, ApplicationId, SubjectId};

const PAUSE: Duration = Duration::from_millis(2);

/// What an act may have taken away: nobody who waits for it waits for anything else that devices still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Anything of anybody.
    Everything,
    /// Somebody's data, whatever the activity: a policy may speak of answers to others.
    Subject(ApplicationId, SubjectId),
    /// What one activity has, whoever it is of.
    Activity(ApplicationId, ActivityId),
}

/// How far a counter has come. Cheap to clone.
#[derive(Clone, Default)]
pub struct Turns(Arc<Mutex<Waits>>);

#[derive(Default)]
struct Waits {
    asked: u64,
    /// Those who wait, by number.
    waits: BTreeMap<u64, Wait>,
}

struct Wait {
    about: About,
    /// Devices that owed a word when the counter last looked; none before a turn that began after the question.
    owing: Option<u64>,
}

/// What was asked of a counter. It is forgotten with this.
pub struct Ticket {
    turns: Turns,
    number: u64,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Devices that have not said that it is in force there, and whose leases are not over.
    pub silent: u64,
}

impl Turns {
    /// Asks for what was recorded before this call, as far as it is about this, to be in force on all devices.
    pub fn ask(&self, about: About) -> Ticket {
        let mut waits = self.lock();
        waits.asked += 1;
        let number = waits.asked;
        waits.waits.insert(number, Wait { about, owing: None });
        Ticket { turns: self.clone(), number }
    }

    /// Waits until everything recorded before this call is in force on all devices; at most for `limit`.
    pub fn settle(&self, clock: &dyn Clock, limit: Duration) -> Settled {
        self.ask(About::Everything).wait(clock, limit)
    }

    /// Whether somebody waits.
    pub fn is_awaited(&self) -> bool {
        self.lock().waits.values().any(|wait| wait.owing != Some(0))
    }

    pub(super) fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// A turn is over that began when so many had asked; `owing` tells how many devices owe a word of something, if that is
    /// known.
    pub(super) fn ended(&self, asked: u64, owing: impl Fn(&About) -> Option<usize>) {
        for wait in self.lock().waits.range_mut(..=asked).map(|(_, wait)| wait) {
            // What is in force is so, whatever is taken away after it.
            if wait.owing != Some(0) {
                wait.owing = owing(&wait.about).map(|count| count as u64);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Waits until what was asked for is so, by the devices' own word or because their leases are over; at most for `limit`.
    pub fn wait(self, clock: &dyn Clock, limit: Duration) -> Settled {
        let end = clock.since_boot() + limit;
        loop {
            match self.owing() {
                Some(0) => return Settled::default(),
                // A counter that stands still has told nobody.
                owing if clock.since_boot() >= end => {
                    return Settled { silent: owing.unwrap_or(1) };
                }
                _ => clock.sleep(PAUSE),
            }
        }
    }

    fn owing(&self) -> Option<u64> {
        self.turns.lock().waits.get(&self.number).and_then(|wait| wait.owing)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.turns.lock().waits.remove(&self.number);
    }
}
