//! The logs of custody, closed when a device is removed.

use std::sync::Arc;

use strongroom_keyring::DeviceKeys;
use strongroom_keyring::organisation::Organisation;
use strongroom_records::application::{ApplicationState, Listed};
use strongroom_steward::{Roster, Services, Stewardship, close};
use strongroom_store::Store;

use super::turnstile::Held;
use super::{at_hand, failure, lock, services};
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::place::Place;

/// The logs of a workspace as they stand before a device is removed. Others wait for their turn to write meanwhile.
pub struct Closing {
    before: Services,
    list: Stewardship,
    place: Place,
    lock: Box<dyn Send + Sync>,
}

impl Closing {
    /// Reads the list of applications, and notes what each register holds.
    ///
    /// # Errors
    /// In use; the list is damaged; those of the store.
    pub fn begin(
        home: &Home,
        place: &Place,
        store: Arc<dyn Store>,
        keys: Arc<DeviceKeys>,
        organisation: Organisation,
    ) -> Result<Self> {
        let lock = lock(place)?;
        let before = services(home, store, keys, organisation)?;
        let list = Stewardship::open(before.clone()).map_err(|error| failure(&error))?;
        list.see_registers();
        Ok(Self { before, list, place: place.clone(), lock })
    }

    /// Closes all of them, now that the device is out, and then changes the key of every register that this machine has the
    /// application key of: the device may have kept the old one. Returns the applications whose register has still to get a new
    /// key, and why.
    ///
    /// # Errors
    /// Says which could not be closed, and why.
    pub fn end(self, organisation: &Organisation) -> Result<Vec<(String, Failure)>> {
        let organisation = Arc::new(Roster::new(organisation.clone()));
        let after = Services { organisation, ..self.before.clone() };
        let unclosed = close(&self.before, &after, self.list.applications());
        if unclosed.is_empty() {
            return Ok(self.renew(&after));
        }
        let shown = unclosed.iter().map(|log| match &log.name {
            Some(name) => format!("`{name}`: {}", log.error),
            None => format!("the list of applications: {}", log.error),
        });
        let shown: Vec<String> = shown.collect();
        Err(Failure::new(Exit::Partial, shown.join("; ")))
    }
}

impl Closing {
    /// Changes the keys of the registers of which the application key is here. What is wrong keeps nobody in: it is done later.
    fn renew(self, after: &Services) -> Vec<(String, Failure)> {
        let Self { list, place, lock, .. } = self;
        drop(lock);
        let mut due = Vec::new();
        let made = |line: &&Listed| line.state != ApplicationState::Making;
        for line in list.applications().iter().filter(made) {
            let renewed = renew(&place, after, &line.name);
            due.extend(renewed.err().map(|why| (line.name.clone(), why)));
        }
        due
    }
}

fn renew(place: &Place, services: &Services, name: &str) -> Result<()> {
    let held = Held::take(place)?;
    let list = Stewardship::open(services.clone()).map_err(|error| failure(&error))?;
    let mut custodian = at_hand(services, &list, name)?;
    custodian.set_turnstile(held.turnstile());
    let renewed = custodian.rotate_register(&mut |_| ());
    renewed.map(drop).map_err(|error| failure(&error))
}
