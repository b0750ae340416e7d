//! Closing: after the removal of a device every log of custody gets a record that carries the new position and changes
//! nothing, so that the device cannot name an older one any more. It needs no key of the logs.

use std::sync::Arc;

use strongroom_audit::shelves::Shelves;
use strongroom_audit::{Log, Pin};
use strongroom_records::application::Listed;
use strongroom_records::ids::ApplicationId;

use crate::error::{Error, ErrorKind, Result};
use crate::sealers::DeviceSigner;
use crate::services::Services;

/// LIMIT: how often somebody else may have written first.
const TRY_COUNT_MAX: u32 = 8;

/// A log that could not be closed, and why.
#[derive(Debug)]
pub struct Unclosed {
    /// Name of the application; none for the list of applications.
    pub name: Option<String>,
    /// Why.
    pub error: Error,
}

/// Closes the registers of these applications, then the list of applications. `before` is who counts as of before the removal:
/// what a device wrote until a log is closed counts. Whoever knows of the removal and no more than that hands in the same twice.
///
/// The list stays as it is where a register could not be closed: whoever opens it tries again.
pub fn close(before: &Services, after: &Services, applications: &[Listed]) -> Vec<Unclosed> {
    let mut unclosed = Vec::new();
    for line in applications {
        if let Err(error) = close_one(before, after, line.application) {
            unclosed.push(Unclosed { name: Some(line.name.clone()), error });
        }
    }
    if unclosed.is_empty()
        && let Err(error) = close_one(before, after, ApplicationId::DIRECTORY)
    {
        unclosed.push(Unclosed { name: None, error });
    }
    unclosed
}

/// Finds the newest record of a log, and remembers it: from here on what is there counts as seen.
///
/// # Errors
/// As [`Log::find`].
pub(crate) fn see(services: &Services, application: ApplicationId) -> Result<Log> {
    let pin = services.memory.recall(&application)?;
    let shelves = Shelves::new(Arc::clone(&services.store), services.wait, application);
    let log = Log::find(shelves, services, pin.as_ref())?;
    remember(services, &log, pin)?;
    Ok(log)
}

fn close_one(before: &Services, after: &Services, application: ApplicationId) -> Result<()> {
    let keys = &after.keys;
    for _ in 0..TRY_COUNT_MAX {
        let mut log = see(before, application)?;
        let (stand, epoch) = after.organisation.stand(&keys.device_id())?;
        if log.head().is_none_or(|head| head.stand.position >= stand.position) {
            return Ok(());
        }
        let signer = DeviceSigner { keys, stand, head: None };
        match log.close(&signer, epoch, after.clock.now_ns()) {
            Ok(()) => return remember(after, &log, None),
            Err(error) if error.kind() == strongroom_audit::ErrorKind::Conflict => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::new(ErrorKind::Conflict, "others write all the time"))
}

fn remember(services: &Services, log: &Log, known: Option<Pin>) -> Result<()> {
    match log.pin() {
        Some(pin) if Some(pin) != known => services.memory.remember(&log.application(), &pin),
        _ => Ok(()),
    }
}
