//! Where an application's custody is, for a process that lives long: looked for again as long as it is not there.

use std::sync::{Arc, Mutex, PoisonError};

use strongroom_custody::Custody;
use strongroom_steward::{Error, ErrorKind, Services};

use super::custody;
use super::listed::ListedPlace;
use crate::exit::{Exit, Failure, Result};

/// Custody of one application.
pub struct Seat {
    name: String,
    /// Where somebody said that it is; none for wherever the list says so.
    given: Option<String>,
    services: Services,
    found: Mutex<Option<Arc<dyn Custody>>>,
}

impl Seat {
    /// Custody of an application at a place that was given, or where the list says that it is. It is not looked for yet.
    pub fn new(name: &str, given: Option<&str>, services: &Services) -> Self {
        let given = given.map(str::to_owned);
        Self { name: name.to_owned(), given, services: services.clone(), found: Mutex::default() }
    }

    /// Of which application.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// The custody, looked for unless it was found before.
    ///
    /// # Errors
    /// As [`custody`]; no such application; those of the list.
    pub fn custody(&self) -> Result<Arc<dyn Custody>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(custody) = &*found {
            return Ok(Arc::clone(custody));
        }
        let custody = match &self.given {
            Some(place) => custody(place, &self.services)?,
            None => Arc::new(ListedPlace::open(&self.name, self.services.clone())?),
        };
        *found = Some(Arc::clone(&custody));
        Ok(custody)
    }
}

/// Why there is none, as an application says it.
pub fn refused_as_error(refused: &Failure) -> Error {
    let kind = match refused.exit {
        Exit::Unreachable => ErrorKind::Unavailable,
        Exit::Denied => ErrorKind::Denied,
        Exit::Damaged => ErrorKind::Corrupt,
        _ => ErrorKind::Locked,
    };
    Error::new(kind, refused.message.clone())
}
