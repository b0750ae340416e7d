//! Puts the rooms of personal data together: store, device, custody, policies, memory of heads.

pub mod agent;
mod asking;
pub mod closing;
pub mod counter;
pub mod kinds;
mod line;
mod listed;
pub mod quorum;
mod seat;
mod turnstile;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use strongroom_audit::Pin;
use strongroom_authorizer::DecisionPoint;
use strongroom_authzen::{Both, Remote};
use strongroom_cedar::Cedar;
use strongroom_crypto::hash::blake3_256;
use strongroom_custody::Custody;
use strongroom_format::ids::{DeviceId, OrganisationId};
use strongroom_host::clock::MachineClock;
use strongroom_host::disk::{Disk, create_folder_durably, read_all, replace_file};
use strongroom_host::entropy::MachineEntropy;
use strongroom_host::real_disk::{RealDisk, behind_links};
use strongroom_host::signals;
use strongroom_keyring::DeviceKeys;
use strongroom_keyring::organisation::{Device, Organisation};
use strongroom_records::ids::{ApplicationId, Hash};
use strongroom_steward::{
    Custodian, Error, ErrorKind, Fence, Fenced, Memory, NeededKey, PolicyLanguage, Replayed,
    Roster, Services, Stewardship, Waiting,
};
use strongroom_store::{Mode, Store};

use super::devices::organisation;
use kinds::{absolute, custody};
use line::{Entered, Line, Waiter};
use seat::Seat;
use turnstile::Held;

use crate::args::custody::{In, Of};
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::passphrase::{self, Passphrase};
use crate::place::Place;

/// Whoever writes locks it.
const LOCK: &str = ".lock-policy";
/// LIMIT: how long a command waits for others that write: as long as views do.
const LOCK_LIMIT: Duration = Duration::from_secs(20);
/// LIMIT: how often somebody else may have changed a key that was waited for.
const CHANGE_COUNT_MAX: u32 = 8;

/// An open list of applications, for one command at a time.
pub struct Office {
    stewardship: Stewardship,
    services: Services,
    home: Home,
    workspace: String,
    organisation: OrganisationId,
    held: Held,
}

/// Opens the list of applications of a workspace.
///
/// # Errors
/// Wrong passphrase, no such store, in use, damaged.
pub fn open(options: &In) -> Result<Office> {
    let home = Home::find()?;
    let place = Place::parse(&options.workspace, &home)?;
    super::require_workspace(&place)?;
    let secret = passphrase::read(&options.passphrase)?;
    open_at(home, &place, secret)
}

/// The same, at a place that holds a workspace.
///
/// # Errors
/// As [`open`].
pub fn open_at(home: Home, place: &Place, secret: Passphrase) -> Result<Office> {
    let device = unlock(&home, place, secret)?;
    open_with(home, place, device)
}

/// A device, and the organisation that it is in.
pub struct Unlocked {
    /// Where everything lies.
    pub store: Arc<dyn Store>,
    /// The device's keys; those of the workspace are not learned yet.
    pub keys: DeviceKeys,
    /// The organisation.
    pub organisation: Organisation,
}

/// Unlocks the device of this home.
///
/// # Errors
/// Wrong passphrase, no such store, damaged.
pub fn unlock(home: &Home, place: &Place, secret: Passphrase) -> Result<Unlocked> {
    if let Place::Mirror(_) = place {
        // Its cells are replaced in place and are not listed: a scrub could not tell whether they are all there.
        return Err(Failure::new(Exit::Failed, "personal data is not kept on a mirror yet")
            .hint("keep it in a folder or a bucket"));
    }
    let store = super::stores::open(place, Mode::ReadWrite)?;
    let keys = super::unlock(home, &*store, place, &secret)?;
    let organisation = organisation(&*store, &place.shown(), &keys.organisation())?;
    Ok(Unlocked { store, keys, organisation })
}

/// Opens the list of applications with an unlocked device.
///
/// # Errors
/// As [`open`].
pub fn open_with(home: Home, place: &Place, device: Unlocked) -> Result<Office> {
    let Unlocked { store, keys, mut organisation } = device;
    let held = Held::take(place)?;
    super::devices::follow(&*store, &place.shown(), &mut organisation)?;
    super::devices::learn(&keys, &organisation, place)?;
    let (workspace, id) = (keys.workspace().to_string(), keys.organisation());
    let services = services(&home, store, Arc::new(keys), organisation)?;
    let stewardship = Stewardship::open(services.clone()).map_err(|error| failure(&error))?;
    Ok(Office { stewardship, services, home, workspace, organisation: id, held })
}

/// What the steward works with here.
fn services(
    home: &Home,
    store: Arc<dyn Store>,
    keys: Arc<DeviceKeys>,
    organisation: Organisation,
) -> Result<Services> {
    let folder = home.directories().state.join(keys.workspace().to_string()).join("policy");
    create_folder_durably(&RealDisk, &folder)
        .map_err(|error| Failure::io("making the folders of local state", &error))?;
    Ok(Services {
        store,
        wait: strongroom_store::wait,
        keys,
        organisation: Arc::new(Roster::new(organisation)),
        clock: Arc::new(MachineClock::new()),
        entropy: Arc::new(MachineEntropy),
        memory: Arc::new(Pins { folder }),
        language: Arc::new(CedarLanguage),
    })
}

/// Opens an application.
///
/// # Errors
/// As [`open`]; no such application, its key missing or wrong.
pub fn application(options: &Of) -> Result<(Office, Custodian)> {
    let mut office = open(&options.place)?;
    let custodian = office.application(&options.app, options.custody.as_deref())?;
    Ok((office, custodian))
}

/// The same for whoever reads the log alone: what is recorded stays as it is, so that others write meanwhile.
///
/// # Errors
/// As [`application`].
pub fn application_as_it_was(options: &Of) -> Result<Custodian> {
    let (_office, custodian) = application(options)?;
    Ok(custodian)
}

/// The same for whoever is to place a hold: an erasure that was interrupted is left as it is.
///
/// # Errors
/// As [`application`].
pub fn application_to_hold(options: &Of) -> Result<(Office, Custodian)> {
    let mut office = open(&options.place)?;
    let custodian = office.application_to_hold(&options.app, options.custody.as_deref())?;
    Ok((office, custodian))
}

/// An application whose key can be used without asking its holders.
fn at_hand(services: &Services, list: &Stewardship, name: &str) -> Result<Custodian> {
    let failed = |error| failure(&error);
    let custody = custody(&list.find(name).map_err(failed)?.custody, services)?;
    if list.needed_key(name, &custody).map_err(failed)?.is_some() {
        let message = "the holders of its key would have to be asked";
        return Err(Failure::new(Exit::Locked, message));
    }
    list.application(name, custody).map_err(failed)
}

/// Unlocks this device and nothing else: others may be working on the applications meanwhile.
///
/// # Errors
/// Wrong passphrase, no such store.
pub fn device(options: &In) -> Result<Unlocked> {
    let home = Home::find()?;
    let place = Place::parse(&options.workspace, &home)?;
    super::require_workspace(&place)?;
    let device = unlock(&home, &place, passphrase::read(&options.passphrase)?)?;
    super::devices::learn(&device.keys, &device.organisation, &place)?;
    Ok(device)
}

/// The organisation of a store, if it is the one that is trusted.
///
/// # Errors
/// No such store; another organisation.
pub fn trusted(workspace: &str, pinned: &OrganisationId) -> Result<Organisation> {
    let home = Home::find()?;
    let place = Place::parse(workspace, &home)?;
    super::require_workspace(&place)?;
    let store = super::stores::open(&place, Mode::ReadOnly)?;
    organisation(&*store, &place.shown(), pinned)
}

impl Office {
    /// Opens an application, whose key is where it was told unless `place` says otherwise.
    ///
    /// # Errors
    /// No such application, its key missing or wrong.
    pub fn application(&mut self, name: &str, place: Option<&str>) -> Result<Custodian> {
        self.opened_by(Stewardship::application, name, place)
    }

    /// The same for whoever is to place a hold.
    fn application_to_hold(&mut self, name: &str, place: Option<&str>) -> Result<Custodian> {
        self.opened_by(Stewardship::application_to_hold, name, place)
    }

    fn opened_by(
        &mut self,
        open: impl FnOnce(&Stewardship, &str, Arc<dyn Custody>) -> strongroom_steward::Result<Custodian>,
        name: &str,
        place: Option<&str>,
    ) -> Result<Custodian> {
        let custody = self.custody_of(name, place)?;
        let opened = open(&self.stewardship, name, custody);
        let mut custodian = opened.map_err(|error| failure(&error))?;
        custodian.set_turnstile(self.held.turnstile());
        Ok(custodian)
    }

    /// The same, if its key can be used without asking its holders.
    ///
    /// # Errors
    /// As [`Office::application`]; they would have to be asked.
    pub fn application_at_hand(&mut self, name: &str) -> Result<Custodian> {
        let opened = at_hand(&self.services, &self.stewardship, name);
        let mut custodian = opened?;
        custodian.set_turnstile(self.held.turnstile());
        Ok(custodian)
    }

    /// Generation of the workspace's key, and how many devices have it.
    ///
    /// # Errors
    /// The organisation log founds no workspace.
    pub fn workspace_key(&self) -> Result<(u64, usize)> {
        let organisation = self.services.organisation.now();
        let holds = |device: &&Device| !device.is_consumer() && device.revoked_at().is_none();
        let devices = organisation.devices().filter(holds).count();
        let epoch = organisation.epoch_at(organisation.position());
        let epoch =
            epoch.ok_or_else(|| Failure::new(Exit::Damaged, "there is no workspace key"))?;
        Ok((epoch, devices))
    }

    /// The same, with what receipts or a ledger name carried out first.
    ///
    /// # Errors
    /// As [`Office::application`]; lines that do not verify.
    pub fn application_told(
        &mut self,
        name: &str,
        place: Option<&str>,
        receipts: &[u8],
    ) -> Result<(Custodian, Replayed)> {
        let custody = self.custody_of(name, place)?;
        let told = self.stewardship.application_told(name, custody, receipts);
        told.map_err(|error| failure(&error))
    }

    /// The same, whose ledger is lost for good: none is kept from here on.
    ///
    /// # Errors
    /// As [`Office::application`]; none is kept, or it is there.
    pub fn application_without_ledger(
        &mut self,
        name: &str,
        place: Option<&str>,
    ) -> Result<Custodian> {
        let custody = self.custody_of(name, place)?;
        let opened = self.stewardship.application_without_ledger(name, custody);
        opened.map_err(|error| failure(&error))
    }

    /// Custody of an application, its key at hand.
    fn custody_of(&mut self, name: &str, place: Option<&str>) -> Result<Arc<dyn Custody>> {
        let listed = self.stewardship.find(name).map_err(|error| failure(&error))?;
        let custody = self.custody(place.unwrap_or(&listed.custody))?;
        self.obtain(name, &custody)?;
        Ok(custody)
    }

    /// Obtains the key of an application, if others have to agree that it is used. Other commands write meanwhile, and what
    /// they wrote is known on return: where that is another key, it is obtained as well.
    ///
    /// # Errors
    /// Too few agree; others change the key all the time; those of the store.
    pub fn obtain(&mut self, name: &str, custody: &Arc<dyn Custody>) -> Result<()> {
        let failed = |error| failure(&error);
        for _ in 0..CHANGE_COUNT_MAX {
            let Some(key) = self.stewardship.needed_key(name, custody).map_err(failed)? else {
                return Ok(());
            };
            let obtained = self.held.aside(|| key.obtain())?;
            self.stewardship.follow().map_err(failed)?;
            if obtained.is_err() && signals::has_come() {
                let message = "ended before the holders of the key agreed; they are asked no more";
                return Err(Failure::new(Exit::Interrupted, message));
            }
            let now = self.stewardship.needed_key(name, custody).map_err(failed)?;
            if now.is_none_or(|now| now.id() == key.id()) {
                obtained.map_err(failed)?;
            }
        }
        Err(Failure::new(Exit::Failed, "the application key is changed all the time")
            .hint("try again"))
    }

    /// The key of an application, if others have to agree that it is used, as of what others have recorded by now.
    ///
    /// # Errors
    /// As [`Office::application`].
    fn needed_key(&mut self, seat: &Seat) -> Result<Option<NeededKey>> {
        let custody = seat.custody()?;
        self.stewardship.follow().map_err(|error| failure(&error))?;
        let needed = self.stewardship.needed_key(&seat.name(), &custody);
        needed.map_err(|error| failure(&error))
    }

    /// Lets others work on the applications while something is done that takes long.
    fn aside<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        self.held.aside(act)
    }

    /// Custody at a place, as this device reaches it.
    ///
    /// # Errors
    /// As [`custody`].
    pub fn custody(&self, locator: &str) -> Result<Arc<dyn Custody>> {
        custody(locator, &self.services)
    }

    /// A place as the list of applications has it: commands run in any folder, and holders of a quorum count.
    ///
    /// # Errors
    /// A path is none; a holder is no device of the organisation.
    pub fn written_down(&self, locator: &str) -> Result<String> {
        match locator.split_once(':') {
            Some(("file", path)) => Ok(format!("file:{}", absolute(path)?)),
            Some(("quorum", rest)) => {
                let organisation = self.services.organisation.now();
                Ok(format!("quorum:{}", quorum::written_down(rest, &organisation)?))
            }
            _ => Ok(locator.to_owned()),
        }
    }

    /// Lets other commands write again; what is open goes on.
    pub fn into_stewardship(self) -> Stewardship {
        self.stewardship
    }

    /// The list.
    pub fn stewardship(&mut self) -> &mut Stewardship {
        &mut self.stewardship
    }

    /// What devices are called, as of now.
    pub fn names(&self) -> Names {
        let Services { organisation, keys, .. } = &self.services;
        Names { organisation: Arc::clone(organisation), keys: Arc::clone(keys) }
    }

    /// The organisation.
    pub fn organisation(&self) -> OrganisationId {
        self.organisation
    }

    /// Where application keys are kept unless somebody says otherwise: not with the state, which may be lost.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn default_custody(&self) -> Result<String> {
        let folder = self.home.directories().keys.join(&self.workspace);
        create_folder_durably(&RealDisk, &folder)
            .map_err(|error| Failure::io(format!("making `{}`", folder.display()), &error))?;
        Ok(format!("file:{}", folder.join("application.keys").display()))
    }
}

/// What devices are called.
pub struct Names {
    organisation: Arc<Roster>,
    keys: Arc<DeviceKeys>,
}

impl Names {
    /// The name of a device, or its id.
    pub fn of(&self, device: &DeviceId) -> String {
        let name = self.organisation.now().name(device, &self.keys);
        name.unwrap_or_else(|| device.to_string())
    }
}

/// What failed, in the words and numbers of this command.
pub fn failure(error: &Error) -> Failure {
    let (exit, hint) = match error.kind() {
        ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Invalid => (Exit::Failed, None),
        ErrorKind::Conflict => (Exit::Failed, Some("try again")),
        ErrorKind::Denied => (Exit::Denied, Some("the audit log says why, to whoever may read it")),
        ErrorKind::Held => {
            (Exit::Denied, Some("`strongroom subject show` lists the holds; lift them first"))
        }
        ErrorKind::Locked => (Exit::Locked, Some("give the place of the key with `--custody`")),
        ErrorKind::Forked | ErrorKind::Corrupt => {
            (Exit::Damaged, Some("`strongroom audit verify` says what is damaged"))
        }
        ErrorKind::Unavailable => {
            (Exit::Unreachable, Some("check the connection to the store and retry"))
        }
        ErrorKind::Full => (Exit::Failed, Some("free space there and try again")),
        ErrorKind::ReadOnly => (Exit::Failed, Some("the store may not be written")),
        ErrorKind::Unsupported => (Exit::Failed, Some("use a newer version of strongroom")),
        ErrorKind::Internal => (Exit::Bug, Some("this is a bug; please report it")),
    };
    let failure = Failure::new(exit, error.to_string());
    match (error.place(), hint) {
        (Some(place), _) => failure.hint(format!("it is looked for at `{place}`")),
        (None, Some(hint)) => failure.hint(hint),
        (None, None) => failure,
    }
}

/// What keeps others from writing, for views and counters.
///
/// # Errors
/// There is no home.
pub fn fence(place: &Place) -> Result<Fence> {
    let line = line(place)?;
    let raised = |entered: std::io::Result<Option<Entered>>| entered.ok().flatten();
    let own = line.clone();
    let wait = move || {
        let (line, mut waiter) = (line.clone(), line.wait().ok());
        let raise = move || {
            let entered = waiter.as_mut().map_or_else(|| line.try_enter(), Waiter::try_enter);
            raised(entered).map(|entered| entered as Fenced)
        };
        Box::new(raise) as Waiting
    };
    let raise = move || raised(own.try_enter()).map(|entered| entered as Fenced);
    Ok(Fence::with_line(raise, wait))
}

/// Waits for its turn to write.
fn lock(place: &Place) -> Result<Entered> {
    make_folders(&Home::find()?)?;
    line(place)?.enter(LOCK_LIMIT).map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => {
            let message = "another command works on the applications";
            Failure::new(Exit::Failed, message).hint("try again")
        }
        _ => Failure::io(format!("locking `{}`", place.shown()), &error),
    })
}

fn make_folders(home: &Home) -> Result<()> {
    home.directories()
        .create(&RealDisk)
        .map_err(|error| Failure::io("making the folders of local state", &error))
}

/// Who writes at a place takes turns: in a folder, with all who use it. A bucket has no locks: there all of this home take turns, the
/// threads of one agent among them; beyond it the register's own order decides, and the loser tries again. All of this home stand
/// in one line for it.
fn line(place: &Place) -> Result<Line> {
    let home = Home::find()?;
    let [a, b, c, d, e, f, g, h, ..] = blake3_256(place.shown().as_bytes());
    let name = format!("{LOCK}-{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    let state = &home.directories().state;
    let lock = match place {
        Place::Folder(root) => root.join(LOCK),
        Place::Remote(_) | Place::Mirror(_) => state.join(&name),
    };
    let (disk, clock) = (Arc::new(RealDisk), Arc::new(MachineClock::new()));
    Ok(Line::new(disk, clock, lock, state.join(format!("{name}.line"))))
}

/// Heads this device has seen: one small file for each application.
struct Pins {
    folder: PathBuf,
}

impl Memory for Pins {
    fn recall(&self, application: &ApplicationId) -> strongroom_steward::Result<Option<Pin>> {
        let damaged = || Error::new(ErrorKind::Corrupt, "the memory of heads is damaged");
        let text = match read_all(&RealDisk, &self.folder.join(application.to_string())) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| damaged())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(damaged()),
        };
        let (seq, hash) = text.trim_end().split_once(' ').ok_or_else(damaged)?;
        let seq = seq.parse().map_err(|_| damaged())?;
        Ok(Some(Pin { seq, hash: Hash::parse(hash).ok_or_else(damaged)? }))
    }

    fn remember(&self, application: &ApplicationId, pin: &Pin) -> strongroom_steward::Result<()> {
        let text = format!("{} {}\n", pin.seq, pin.hash);
        replace_file(&RealDisk, &self.folder.join(application.to_string()), text.as_bytes())
            .map_err(|_| Error::new(ErrorKind::Unavailable, "local state cannot be written"))
    }

    fn ledger(&self, place: &str) -> strongroom_steward::Result<Vec<u8>> {
        read_all(&RealDisk, &ledger_path(place)?).map_err(|_| no_ledger(place))
    }

    fn add_to_ledger(&self, place: &str, receipts: &[u8]) -> strongroom_steward::Result<()> {
        let path = ledger_path(place)?;
        let mut beside = path.clone().into_os_string();
        beside.push(".lock");
        let _others_wait = RealDisk.lock(Path::new(&beside)).map_err(|_| no_ledger(place))?;
        let mut all = match read_all(&RealDisk, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && receipts.is_empty() => {
                Vec::new()
            }
            found => found.map_err(|_| no_ledger(place))?,
        };
        all.extend_from_slice(receipts);
        replace_file(&RealDisk, &path, &all).map_err(|_| no_ledger(place))
    }
}

fn ledger_path(place: &str) -> strongroom_steward::Result<PathBuf> {
    let path = place.strip_prefix("file:").map(Path::new);
    path.filter(|path| path.is_absolute()).map(behind_links).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "a ledger is kept at file: and an absolute path")
    })
}

/// A ledger that is away may name somebody: nothing is opened without it.
fn no_ledger(place: &str) -> Error {
    let message = "the ledger cannot be read or written: ask again once it is there";
    Error::new(ErrorKind::Unavailable, message).at(place)
}

/// The policy language.
struct CedarLanguage;

impl PolicyLanguage for CedarLanguage {
    fn built_in(&self) -> &str {
        strongroom_cedar::BUILT_IN
    }

    fn read(&self, text: &str) -> strongroom_steward::Result<Arc<dyn DecisionPoint>> {
        match Cedar::read(text) {
            Ok(cedar) => Ok(Arc::new(cedar)),
            Err(refused) => Err(Error::new(ErrorKind::Invalid, refused.to_string())),
        }
    }

    fn beside(
        &self,
        own: Arc<dyn DecisionPoint>,
        place: &str,
        longest: Duration,
    ) -> strongroom_steward::Result<Arc<dyn DecisionPoint>> {
        let elsewhere = || {
            let message =
                "a decision point is asked on this machine: http://127.0.0.1:PORT or unix:/PATH";
            Error::new(ErrorKind::Invalid, message)
        };
        let place = strongroom_authzen::Place::parse(place).ok_or_else(elsewhere)?;
        let other = Arc::new(Remote::new(place, longest, Arc::new(MachineClock::new())));
        Ok(Arc::new(Both { own, other }))
    }
}
