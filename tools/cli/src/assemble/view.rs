//! Puts the rooms together for somebody who looks at people's data: steward, view, kernel door.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strongroom_host::clock::MachineClock;
use strongroom_host::signals::Signals;
use strongroom_mount::{Audience, MountOptions};
use strongroom_view::{Consumer, View};

use super::custody::{self, failure};
use super::{Served, Serving};
use crate::args::Lens;
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::mountpoint;
use crate::passphrase::Passphrase;
use crate::place::Place;

/// How often the register is looked at: a question of the local disk, or of a server.
const POLL_LOCAL: Duration = Duration::from_millis(25);
const POLL_REMOTE: Duration = Duration::from_secs(1);
/// How long the kernel may believe a name without asking; leases that end drop it before.
const ENTRY_LIFETIME: Duration = Duration::from_secs(60);

/// Mount options of a view: read-only, and for one user alone, so that whoever reads is known.
///
/// # Errors
/// Others shall use it.
pub fn options(options: MountOptions) -> Result<MountOptions> {
    if options.audience != Audience::Owner {
        return Err(Failure::new(Exit::Usage, "an activity's view is for the user who mounts it")
            .hint("leave out `allow_other` and `allow_root`"));
    }
    let (entry_lifetime, negative_lifetime) = (ENTRY_LIFETIME, Duration::ZERO);
    Ok(MountOptions { read_only: true, entry_lifetime, negative_lifetime, ..options })
}

/// Opens what an activity may see.
///
/// # Errors
/// Wrong passphrase, no such application or activity, its key missing.
pub fn open(home: &Home, place: &Place, lens: &Lens<'_>, passphrase: Passphrase) -> Result<View> {
    let office = custody::open_at(home.clone(), place, passphrase)?;
    let custodian = office.application(lens.app, lens.custody)?;
    let fenced = place.clone();
    let consumer = Consumer {
        stewardship: office.into_stewardship(),
        custodian,
        activity: lens.activity.to_owned(),
        fence: Box::new(move || custody::try_lock(&fenced)),
        poll: if place.is_remote() { POLL_REMOTE } else { POLL_LOCAL },
    };
    View::start(consumer, Arc::new(MachineClock::new()), super::owner())
        .map_err(|error| failure(&error))
}

/// Mounts it.
///
/// # Errors
/// The kernel refuses.
pub fn serve(
    view: View,
    mountpoint: &Path,
    options: MountOptions,
    signals: Option<Signals>,
) -> Result<Serving> {
    Serving::start(Served::View(view), mountpoint, options, signals)
        .map_err(|error| mountpoint::failure(mountpoint, &error))
}
