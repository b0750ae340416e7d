//! What a program without custody says of logs that it cannot close.

use std::sync::Arc;

use strongroom_keyring::DeviceKeys;
use strongroom_keyring::organisation::Organisation;
use strongroom_store::{ErrorKind, Key, PolicyKey, Shelf, Store, wait};

use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::place::Place;

/// A workspace that holds no applications: there is nothing to close.
pub struct Closing;

impl Closing {
    /// Looks whether there are applications.
    ///
    /// # Errors
    /// There are; the store cannot be read.
    pub fn begin(
        _: &Home,
        place: &Place,
        store: Arc<dyn Store>,
        _: Arc<DeviceKeys>,
        _: Organisation,
    ) -> Result<Self> {
        let first = PolicyKey { application: [0; 16], shelf: Shelf::Log, name: 0 };
        match wait(store.get(Key::Policy(first), None)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self),
            Err(error) => Err(Failure::store(format!("reading `{}`", place.shown()), &error)),
            Ok(_) => {
                let message = "this program has no custody and closes no logs of applications";
                Err(Failure::new(Exit::Partial, message))
            }
        }
    }

    /// Nothing is left to do.
    ///
    /// # Errors
    /// None.
    pub fn end(self, _: &Organisation) -> Result<Vec<(String, Failure)>> {
        Ok(Vec::new())
    }
}
