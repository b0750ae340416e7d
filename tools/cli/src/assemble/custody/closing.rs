//! The logs of custody, closed when a device is removed.

use std::sync::Arc;

use strongroom_keyring::DeviceKeys;
use strongroom_keyring::organisation::Organisation;
use strongroom_steward::{Roster, Services, Stewardship, close};
use strongroom_store::Store;

use super::{failure, lock, services};
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::place::Place;

/// The logs of a workspace as they stand before a device is removed. Others wait for their turn to write meanwhile.
pub struct Closing {
    before: Services,
    list: Stewardship,
    _lock: Box<dyn Send + Sync>,
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
        Ok(Self { before, list, _lock: lock })
    }

    /// Closes all of them, now that the device is out.
    ///
    /// # Errors
    /// Says which could not be closed, and why.
    pub fn end(self, organisation: &Organisation) -> Result<()> {
        let organisation = Arc::new(Roster::new(organisation.clone()));
        let after = Services { organisation, ..self.before.clone() };
        let unclosed = close(&self.before, &after, self.list.applications());
        if unclosed.is_empty() {
            return Ok(());
        }
        let shown = unclosed.iter().map(|log| match &log.name {
            Some(name) => format!("`{name}`: {}", log.error),
            None => format!("the list of applications: {}", log.error),
        });
        let shown: Vec<String> = shown.collect();
        Err(Failure::new(Exit::Partial, shown.join("; ")))
    }
}
