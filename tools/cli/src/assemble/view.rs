//! Puts the rooms together for somebody who looks at people's data: steward, view, kernel door.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::entropy::MachineEntropy;
use strongroom_keyring::organisation::{Device, Organisation};
use strongroom_mount::{Audience, MountOptions};
use strongroom_steward::letters;
use strongroom_store::Store;
use strongroom_view::far::{FarConsumer, Pen, StoreLine};
use strongroom_view::{Consumer, View};

use super::custody::{self, Unlocked, failure};
use super::{Listening, Served, Serving};
use crate::args::Lens;
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::mountpoint;
use crate::passphrase::Passphrase;
use crate::place::Place;

/// How often the register is looked at: a question of the local disk, or of a server.
const POLL_LOCAL: Duration = Duration::from_millis(25);
const POLL_REMOTE: Duration = Duration::from_secs(1);
/// How often a consumer's device looks for what a custodian tells it over a network.
const POLL_FAR: Duration = Duration::from_millis(250);
/// How long the kernel may believe a name without asking; leases that end drop it before.
const ENTRY_LIFETIME: Duration = Duration::from_secs(60);

/// How long the desk may take over one request: others wait behind it, and a lease ends soon.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Mount options of a view: for one user alone, so that whoever reads is known.
///
/// # Errors
/// Others shall use it.
pub fn options(options: MountOptions) -> Result<MountOptions> {
    if options.audience != Audience::Owner {
        return Err(Failure::new(Exit::Usage, "people's data is for the user who mounts it")
            .hint("leave out `allow_other` and `allow_root`"));
    }
    let (entry_lifetime, negative_lifetime) = (ENTRY_LIFETIME, Duration::ZERO);
    let answer_limit = ANSWER_LIMIT;
    Ok(MountOptions { entry_lifetime, negative_lifetime, answer_limit, ..options })
}

/// What an activity, or the application, may see, open.
pub struct Opened {
    /// The view.
    pub view: View,
    /// Where the application's key is: as it was told, and where somebody said otherwise. Nowhere on a consumer's own device.
    pub custody: Vec<String>,
    /// Id of the application; on a consumer's own device only the custodian knows it.
    pub application: Option<String>,
}

/// Opens what an activity, or the application, may see: here, or on a consumer's own device by what a custodian elsewhere lends.
///
/// # Errors
/// Wrong passphrase, no such application or activity, its key missing; no custodian serves consumers.
pub fn open(home: &Home, place: &Place, lens: &Lens<'_>, passphrase: Passphrase) -> Result<Opened> {
    let device = custody::unlock(home, place, passphrase)?;
    let own = device.organisation.find(&device.keys.device_id());
    if own.is_some_and(|own| own.is_consumer() && own.revoked_at().is_none()) {
        let view = open_far(home, place, lens, device)?;
        return Ok(Opened { view, custody: Vec::new(), application: None });
    }
    let mut office = custody::open_with(home.clone(), place, device)?;
    let custodian = office.application(lens.app, lens.custody)?;
    let told = custodian.listed().custody.clone();
    let application = Some(custodian.listed().application.to_string());
    let custody = [told].into_iter().chain(lens.custody.map(str::to_owned)).collect();
    let consumer = Consumer {
        stewardship: office.into_stewardship(),
        custodian,
        activity: lens.activity.map(str::to_owned),
        fence: custody::fence(place)?,
        poll: if place.is_remote() { POLL_REMOTE } else { POLL_LOCAL },
    };
    let view = View::start(consumer, Arc::new(MachineClock::new()), super::owner());
    let view = view.map_err(|error| failure(&error))?;
    Ok(Opened { view, custody, application })
}

fn open_far(home: &Home, place: &Place, lens: &Lens<'_>, device: Unlocked) -> Result<View> {
    let Unlocked { store, keys, mut organisation } = device;
    let failed = |error| Failure::keyring(&place.shown(), &error);
    keys.check_certified(&organisation).map_err(failed)?;
    let activity = lens.activity.ok_or_else(|| {
        Failure::new(Exit::Usage, "a consumer's device sees what an activity may see")
            .hint("say which: `--activity NAME`")
    })?;
    if lens.custody.is_some() {
        return Err(Failure::new(Exit::Usage, "a consumer's device has no application key")
            .hint("leave out `--custody`"));
    }
    super::devices::remember(home, &keys.workspace(), &keys.device_id())?;
    let custodian = custodian(&*store, &mut organisation, place)?;
    let clock: Arc<dyn Clock> = Arc::new(MachineClock::new());
    let consumer = FarConsumer {
        application: lens.app.to_owned(),
        activity: activity.to_owned(),
        organisation: keys.organisation(),
        line: Box::new(StoreLine(Arc::clone(&store))),
        store,
        pen: Pen {
            keys: Arc::new(keys),
            custodian,
            clock: Arc::clone(&clock),
            entropy: Arc::new(MachineEntropy),
        },
        poll: if place.is_remote() { POLL_FAR } else { POLL_LOCAL },
    };
    View::start_far(consumer, clock, super::owner()).map_err(|error| failure(&error))
}

/// The custodian to ask.
fn custodian(store: &dyn Store, organisation: &mut Organisation, place: &Place) -> Result<Device> {
    let found = letters::newest_counter(store, organisation).map_err(|error| failure(&error))?;
    found.ok_or_else(|| {
        let shown = place.shown();
        Failure::new(Exit::Unreachable, format!("no custodian serves consumers in `{shown}`"))
            .hint("`strongroom agent STORE --consumers`, where the application key is, serves them")
    })
}

/// Mounts it.
///
/// # Errors
/// The kernel refuses.
pub fn serve(
    view: View,
    mountpoint: &Path,
    options: MountOptions,
    signals: Option<Listening>,
) -> Result<Serving> {
    let read_only = options.read_only || !view.may_write();
    let options = MountOptions { read_only, ..options };
    Serving::start(Served::View(view), mountpoint, options, signals)
        .map_err(|error| mountpoint::failure(mountpoint, &error))
}
