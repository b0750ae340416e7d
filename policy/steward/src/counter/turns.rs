//! Waiting for a counter: until what was recorded is in force on every device it serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strongroom_host::clock::Clock;

const PAUSE: Duration = Duration::from_millis(2);

/// How far a counter has come. Cheap to clone.
#[derive(Clone, Default)]
pub struct Turns(Arc<Count>);

#[derive(Default)]
struct Count {
    asked: AtomicU64,
    seen: AtomicU64,
    settled: AtomicU64,
    owing: AtomicU64,
}

/// What was asked of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// How a wait ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Devices that have not said that it is in force there, and whose leases are not over.
    pub silent: u64,
}

impl Turns {
    /// Asks for everything recorded before this call to be in force on all devices.
    pub fn ask(&self) -> Ticket {
        Ticket(self.0.asked.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Waits until everything recorded before this call is in force on all devices; at most for `limit`.
    pub fn settle(&self, clock: &dyn Clock, limit: Duration) -> Settled {
        self.wait(self.ask(), clock, limit)
    }

    /// Waits until what was asked for is so, by the devices' own word or because their leases are over; at most for `limit`.
    pub fn wait(&self, Ticket(ticket): Ticket, clock: &dyn Clock, limit: Duration) -> Settled {
        let end = clock.since_boot() + limit;
        while self.0.settled.load(Ordering::SeqCst) < ticket {
            if clock.since_boot() >= end {
                // A counter that stands still has told nobody.
                let is_seen = self.0.seen.load(Ordering::SeqCst) >= ticket;
                let owing = self.0.owing.load(Ordering::SeqCst);
                return Settled { silent: if is_seen { owing } else { owing.max(1) } };
            }
            clock.sleep(PAUSE);
        }
        Settled::default()
    }

    /// Whether somebody waits.
    pub fn is_awaited(&self) -> bool {
        self.0.settled.load(Ordering::SeqCst) < self.asked()
    }

    pub(super) fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// A turn that began at a ticket is over, and so many devices owe a word.
    pub(super) fn ended(&self, ticket: u64, owing: usize) {
        self.0.owing.store(owing as u64, Ordering::SeqCst);
        self.0.seen.store(ticket, Ordering::SeqCst);
        if owing == 0 {
            self.0.settled.store(ticket, Ordering::SeqCst);
        }
    }
}
