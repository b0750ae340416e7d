//! Custody at the place that the list of applications names, for a process that lives long: `app custody` names another one
//! meanwhile, and keys are made and ended there from then on.

use std::sync::{Arc, Mutex, PoisonError};

use strongroom_crypto::secret::Secret;
use strongroom_custody::{Custody, Description, Error, ErrorKind, KeyPlace, Result};
use strongroom_host::entropy::Entropy;
use strongroom_records::ids::{ApplicationId, KeyId};
use strongroom_steward::{Services, Stewardship};

use super::{custody, failure};
use crate::exit::{Exit, Failure};

/// Where the list says that an application's keys are.
pub struct ListedPlace {
    application: String,
    services: Services,
    seat: Mutex<Seat>,
}

struct Seat {
    list: Stewardship,
    locator: String,
    custody: Arc<dyn Custody>,
}

impl ListedPlace {
    /// Custody of the application of that name.
    ///
    /// # Errors
    /// No such application; those of its custody and of the list.
    pub fn open(name: &str, services: Services) -> crate::exit::Result<Self> {
        let list = Stewardship::open(services.clone()).map_err(|error| failure(&error))?;
        let line = list.find(name).map_err(|error| failure(&error))?;
        let (application, locator) = (line.application.to_string(), line.custody.clone());
        let custody = custody(&locator, &services)?;
        let seat = Mutex::new(Seat { list, locator, custody });
        Ok(Self { application, services, seat })
    }

    /// Custody as it was when the list was last looked at.
    fn known(&self) -> Arc<dyn Custody> {
        Arc::clone(&self.seat.lock().unwrap_or_else(PoisonError::into_inner).custody)
    }

    /// Custody as the list has it now. Keys are seldom asked for, and each time the list is: one question.
    fn now(&self) -> Result<Arc<dyn Custody>> {
        let mut seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        let unread =
            |_| Error::new(ErrorKind::Unavailable, "the list of applications cannot be read");
        seat.list.follow().map_err(unread)?;
        let locator = seat.list.find(&self.application).map_err(unread)?.custody.clone();
        if locator != seat.locator {
            seat.custody = custody(&locator, &self.services).map_err(|error| refusal(&error))?;
            seat.locator = locator;
        }
        Ok(Arc::clone(&seat.custody))
    }
}

impl Custody for ListedPlace {
    fn describe(&self) -> Description {
        // A root is opened by the kind that wrapped it, so a place of another kind is none where its key is.
        self.known().describe()
    }

    fn create(&self, place: &KeyPlace, entropy: &dyn Entropy) -> Result<()> {
        self.now()?.create(place, entropy)
    }

    fn is_at_hand(&self, place: &KeyPlace) -> bool {
        // Where it cannot be known, nobody has to be asked: using the key says what is wrong.
        self.now().map_or(true, |custody| custody.is_at_hand(place))
    }

    fn obtain(&self, place: &KeyPlace) -> Result<()> {
        self.now()?.obtain(place)
    }

    fn wrap(&self, place: &KeyPlace, key: &Secret<32>, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        self.now()?.wrap(place, key, entropy)
    }

    fn unwrap(&self, place: &KeyPlace, wrap: &[u8]) -> Result<Secret<32>> {
        self.now()?.unwrap(place, wrap)
    }

    fn destroy(&self, application: &ApplicationId, key: &KeyId) -> Result<()> {
        self.now()?.destroy(application, key)
    }

    fn list(&self, application: &ApplicationId) -> Result<Vec<KeyId>> {
        self.now()?.list(application)
    }
}

/// What the place that is listed now cannot be opened for.
fn refusal(failed: &Failure) -> Error {
    match failed.exit {
        Exit::Unreachable => {
            Error::new(ErrorKind::Unavailable, "the place of the application key cannot be reached")
        }
        Exit::Denied => {
            Error::new(ErrorKind::Denied, "the place of the application key may not be opened")
        }
        _ => Error::new(
            ErrorKind::NotFound,
            "the application key is at a place that this process cannot open: start it anew",
        ),
    }
}
