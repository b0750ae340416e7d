//! A counter that is attended: consumers on devices of their own are served from a thread.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::thread;
use strongroom_records::ids::KeyId;
use strongroom_steward::{Counter, NeededKey, Services, Stewardship, Turns};

use super::seat::{Seat, refused_as_error};
use super::turnstile::Held;
use super::{failure, fence};
use crate::exit::{Failure, Result};
use crate::place::Place;
use crate::ui;

/// How long an act waits until it is in force on other devices. Whoever does not answer has leases, and those end.
pub const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// How often asks are looked for: on a local disk; over a network while somebody is served; while nobody is.
const POLL_LOCAL: Duration = Duration::from_millis(25);
const POLL_REMOTE: Duration = Duration::from_millis(250);
const POLL_IDLE: Duration = Duration::from_secs(1);
/// While an act waits for devices to say that it is in force.
const POLL_AWAITED: Duration = Duration::from_millis(30);
/// How soon an act that waits is noticed.
const GLANCE: Duration = Duration::from_millis(10);
/// How long nothing is tried after trouble, unless an act waits.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// Applications that a counter serves consumers of, and those that open by now and that it has yet to take in. Cheap to clone.
#[derive(Clone, Default)]
pub struct Served(Arc<Mutex<Seats>>);

#[derive(Default)]
struct Seats {
    served: BTreeSet<String>,
    offered: Vec<Arc<Seat>>,
}

impl Served {
    /// Whether consumers of an application are served.
    pub fn has(&self, application: &str) -> bool {
        self.0.lock().served.contains(application)
    }

    /// An application opens: where it did not before, its consumers are served from now on.
    pub fn offer(&self, seat: &Arc<Seat>) {
        let mut seats = self.0.lock();
        let name = seat.name();
        let is_known = seats.served.contains(&name);
        if !is_known && !seats.offered.iter().any(|own| own.name() == name) {
            seats.offered.push(Arc::clone(seat));
        }
    }

    fn add(&self, application: String) {
        self.0.lock().served.insert(application);
    }

    fn offered(&self) -> Vec<Arc<Seat>> {
        std::mem::take(&mut self.0.lock().offered)
    }
}

/// A counter before it serves.
pub struct Attended {
    counter: Counter,
    turns: Turns,
    place: Place,
    served: Served,
    is_remote: bool,
    /// Application keys that holders are asked for.
    asking: Arc<Mutex<BTreeSet<KeyId>>>,
}

impl Attended {
    /// Opens a counter for some applications; one that does not open is served once it is offered.
    ///
    /// # Errors
    /// Those of the list of applications, and of the store.
    pub fn open(
        place: &Place,
        services: Services,
        applications: &[Arc<Seat>],
        turns: Turns,
        served: &Served,
    ) -> Result<Self> {
        let failed = |error| failure(&error);
        let stewardship = Stewardship::open(services.clone()).map_err(failed)?;
        let mut custodians = Vec::new();
        for seat in applications {
            let (name, found) = (seat.name(), seat.custody());
            let found = found.map_err(|refused| refused_as_error(&refused));
            match found.and_then(|custody| stewardship.application(&name, custody)) {
                Ok(custodian) => {
                    custodians.push(custodian);
                    served.add(name);
                }
                Err(error) => ui::log(&format!("consumers of `{name}` are not served: {error}")),
            }
        }
        let fence = fence(place)?;
        let counter = Counter::open(services, stewardship, custodians, fence, turns.clone());
        let (counter, asking) = (counter.map_err(failed)?, Arc::default());
        let (place, served, is_remote) = (place.clone(), served.clone(), place.is_remote());
        Ok(Self { counter, turns, place, served, is_remote, asking })
    }

    /// Serves from a thread, as long as the process lives.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn serve(self) -> Result<()> {
        let served = thread::spawn("counter", move || self.run());
        served.map(drop).map_err(|error| Failure::io("starting a thread", &error))
    }

    fn run(mut self) {
        let clock = MachineClock::new();
        let mut trouble = None;
        loop {
            for seat in self.served.offered() {
                self.take_in(&seat);
            }
            let now = self.counter.turn().err().map(|error| error.to_string());
            if now != trouble
                && let Some(text) = &now
            {
                ui::log(&format!("serving consumers: {text}"));
            }
            trouble = now;
            self.counter.wanted_keys().into_iter().for_each(|key| self.obtain(key));
            let pause = match (&trouble, self.is_remote, self.counter.is_busy()) {
                (Some(_), _, _) => Pause::AFTER_TROUBLE,
                (None, false, _) => Pause { idle: POLL_LOCAL, awaited: POLL_LOCAL },
                (None, true, true) => Pause { idle: POLL_REMOTE, awaited: POLL_AWAITED },
                (None, true, false) => Pause { idle: POLL_IDLE, awaited: POLL_AWAITED },
            };
            pause.rest(&self.turns, &clock);
        }
    }

    /// Serves consumers of one that did not open before.
    fn take_in(&mut self, seat: &Seat) {
        let name = seat.name();
        if self.served.has(&name) {
            return;
        }
        let added = Held::take(&self.place).and_then(|_others_wait| {
            let custody = seat.custody()?;
            self.counter.add(&name, custody).map_err(|error| failure(&error))
        });
        match added {
            Ok(()) => {
                self.served.add(name.clone());
                ui::log(&format!("consumers of `{name}` are served"));
            }
            Err(error) => {
                ui::log(&format!("consumers of `{name}` are not served: {}", error.message));
            }
        }
    }

    /// Has a key obtained by a thread of its own: consumers of other applications wait for no holder.
    fn obtain(&self, key: NeededKey) {
        let (id, asking) = (key.id(), Arc::clone(&self.asking));
        if !asking.lock().insert(id) {
            return;
        }
        let obtaining = Arc::clone(&asking);
        let started = thread::spawn("obtaining a key", move || {
            if let Err(error) = key.obtain() {
                ui::log(&format!("serving consumers: {error}"));
            }
            obtaining.lock().remove(&id);
        });
        if started.is_err() {
            asking.lock().remove(&id);
        }
    }
}

/// How long nothing is done between two turns.
struct Pause {
    idle: Duration,
    /// While an act waits.
    awaited: Duration,
}

impl Pause {
    /// What is wrong with one application is no reason for acts on others to wait.
    const AFTER_TROUBLE: Self = Self { idle: TROUBLE_PAUSE, awaited: POLL_REMOTE };

    fn rest(&self, turns: &Turns, clock: &dyn Clock) {
        let began = clock.elapsed();
        let is_over =
            |waited: Duration| waited >= self.idle || waited >= self.awaited && turns.is_awaited();
        while !is_over(clock.elapsed() - began) {
            clock.sleep(GLANCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_host::sim::SimClock;
    use strongroom_steward::About;

    use super::*;

    #[test]
    fn an_act_is_not_kept_by_the_pause_after_trouble() {
        let (turns, clock) = (Turns::default(), SimClock::new(0));
        let rested = || {
            let began = clock.elapsed();
            Pause::AFTER_TROUBLE.rest(&turns, &clock);
            clock.elapsed() - began
        };
        assert_eq!(rested(), Duration::from_secs(1));
        let act = turns.ask(About::Everything);
        assert_eq!(rested(), Duration::from_millis(250));
        drop(act);
        assert_eq!(rested(), Duration::from_secs(1));
    }
}
