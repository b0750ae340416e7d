//! Keys of several applications, obtained from their holders side by side: whose holders are away keeps no other waiting.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use strongroom_host::{signals, thread};
use strongroom_steward::NeededKey;

use super::counter::Served;
use super::quorum::end_asking;
use super::seat::Seat;
use super::{CHANGE_COUNT_MAX, Office, failure};
use crate::exit::{Exit, Failure, Result};
use crate::ui;

/// How often it is looked whether the program is to end.
const GLANCE: Duration = Duration::from_millis(50);

/// What became of one that was asked for.
struct Told {
    seat: Arc<Seat>,
    key: NeededKey,
    obtained: strongroom_steward::Result<()>,
}

/// Applications whose holders are asked.
pub struct Asking {
    served: Served,
    tell: Sender<Told>,
    told: Receiver<Told>,
    count: usize,
}

impl Asking {
    /// Nobody is asked yet. Whoever is opened later is offered to the counter.
    pub fn new(served: &Served) -> Self {
        let (tell, told) = channel();
        Self { served: served.clone(), tell, told, count: 0 }
    }

    /// Asks for one, from a thread of its own. It may be obtained after this is gone.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn ask(&mut self, seat: &Arc<Seat>, key: NeededKey) -> Result<()> {
        let (seat, served, tell) = (Arc::clone(seat), self.served.clone(), self.tell.clone());
        let obtaining = move || {
            let obtained = key.obtain();
            match &obtained {
                Ok(()) => served.offer(&seat),
                Err(error) => ui::log(&format!("`{}` is not served: {error}", seat.name())),
            }
            // Whoever started may serve others by now.
            let _ = tell.send(Told { seat, key, obtained });
        };
        let started = thread::spawn("obtaining a key", obtaining);
        started.map_err(|error| Failure::io("starting a thread", &error))?;
        self.count += 1;
        Ok(())
    }

    /// Waits until one of them can be opened. Others work on the applications meanwhile.
    ///
    /// # Errors
    /// None can be; whoever started the program ends it.
    pub fn until_one(&mut self, office: &mut Office) -> Result<()> {
        let mut change_count = 0;
        while change_count < CHANGE_COUNT_MAX {
            let Some(told) = office.aside(|| self.next())? else {
                end_asking();
                let message = "ended before the holders of the key agreed; they are asked no more";
                return Err(Failure::new(Exit::Interrupted, message));
            };
            self.count -= 1;
            let needed = office.needed_key(&told.seat)?;
            match (needed, told.obtained) {
                (None, _) => return Ok(()),
                // Somebody else has changed it meanwhile.
                (Some(now), _) if now.id() != told.key.id() => {
                    change_count += 1;
                    self.ask(&told.seat, now)?;
                }
                (Some(_), Err(error)) if self.count == 0 => return Err(failure(&error)),
                (Some(_), _) => {}
            }
        }
        Err(Failure::new(Exit::Failed, "the application key is changed all the time")
            .hint("try again"))
    }

    /// What becomes of the next; none where the program is to end.
    fn next(&self) -> Option<Told> {
        loop {
            match self.told.recv_timeout(GLANCE) {
                Ok(told) => return Some(told).filter(|_| !signals::has_come()),
                Err(RecvTimeoutError::Timeout) if !signals::has_come() => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}
