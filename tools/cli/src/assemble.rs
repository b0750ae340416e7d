//! Puts the rooms together: store, keys, engine, kernel door. The only file that knows all of them.

mod apart;
mod arbiter;
#[cfg(not(feature = "custody"))]
mod closing;
#[cfg(feature = "custody")]
pub mod custody;
pub mod devices;
mod serving;
mod stores;
#[cfg(feature = "custody")]
pub mod view;

use std::path::Path;
use std::sync::Arc;

use strongroom_check::{InUse, Local, Report, Subject};
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_format::ids::DeviceId;
use strongroom_format::workspace::WorkspaceFile;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::disk::Disk;
use strongroom_host::entropy::{Entropy, MachineEntropy};
use strongroom_host::real_disk::RealDisk;
use strongroom_host::signals::Signals;
use strongroom_keyring::device::DeviceKeys;
use strongroom_keyring::error::ErrorKind as KeyringKind;
use strongroom_keyring::{device_file, founding};
use strongroom_mount::MountOptions;
use strongroom_remote::mirror::scrub::{self, Scrubbed};
use strongroom_store::{Body, Family, Key, Mode, Store};
use strongroom_workspace::error::ErrorKind;
use strongroom_workspace::{
    At, Foundation, Mode as WorkspaceMode, Options, Services, Tuning, Workspace,
};

use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::mountpoint;
use crate::passphrase::Passphrase;
use crate::place::Place;
use crate::ui;
use apart::Bound;
use arbiter::Turns;

pub use arbiter::Takeover;
pub use serving::{Listening, NOT_KEPT, Served, Serving};
pub use stores::Writers;

/// What `init` made.
pub struct Made {
    /// Id of the workspace in hexadecimal digits.
    pub workspace: String,
    /// Id of this device.
    pub device: String,
    /// How many devices may write to this store.
    pub writers: Writers,
}

/// Makes sure that nothing is in the way of a new workspace, before anybody is asked for a passphrase.
///
/// # Errors
/// The store holds a workspace, or does not answer.
pub fn require_fresh(place: &Place) -> Result<()> {
    stores::require_fresh(place)
}

/// Makes sure that there is a workspace this version can open.
///
/// # Errors
/// No such store, not a store, or one of a newer format.
pub fn require_workspace(place: &Place) -> Result<()> {
    let shown = place.shown();
    let store = stores::open(place, Mode::ReadOnly)?;
    let bytes = strongroom_store::wait(store.get(Key::Workspace, None))
        .map_err(|error| Failure::store(format!("opening `{shown}`"), &error))?;
    match WorkspaceFile::parse(&bytes) {
        Ok(_) => Ok(()),
        Err(error) => {
            let failure = Failure::format(&format!("`{shown}`"), &error);
            Err(match failure.exit {
                Exit::Failed => {
                    failure.hint("use a newer version of strongroom; nothing was changed")
                }
                _ => failure,
            })
        }
    }
}

/// Creates a workspace in a new or empty place.
///
/// # Errors
/// The place has other things in it, or cannot be written.
pub fn create(
    home: &Home,
    place: &Place,
    name: Option<&str>,
    passphrase: &Passphrase,
    cost: PassphraseCost,
) -> Result<Made> {
    let shown = place.shown();
    let services = services();
    let name = name.unwrap_or(founding::FIRST_NAME);
    if !strongroom_keyring::is_name(name) {
        return Err(Failure::new(Exit::Usage, format!("`{name}` is no name for a device"))
            .hint("it has 1 to 64 bytes, no `/` and no control characters"));
    }
    let (store, writers) = stores::create(place)?;
    let time = services.clock.now_ns();
    let founded = founding::found_as(name, passphrase, cost, time, &*services.entropy)
        .map_err(|error| Failure::keyring(&shown, &error))?;
    let keys = Arc::new(founded.keys);
    let foundation = Foundation {
        organisation: [&founded.genesis, &founded.first_epoch],
        device_file: &founded.device_file,
        owner: owner(),
    };
    Workspace::create(&store, &keys, &foundation, &services)
        .map_err(|error| Failure::workspace(format!("making `{shown}`"), &error))?;
    arbiter::note(home, &keys.workspace(), writers)?;
    devices::remember(home, &keys.workspace(), &keys.device_id())?;
    let (workspace, device) = (keys.workspace().to_string(), keys.device_id().to_string());
    Ok(Made { workspace, device, writers })
}

/// As [`require_workspace`]; also satisfied while the store is away, where this home has opened it before.
///
/// # Errors
/// As [`require_workspace`].
pub fn require_workspace_here(home: &Home, place: &Place) -> Result<()> {
    match require_workspace(place) {
        Err(away) if away.exit == Exit::Unreachable && apart::find(home, place).is_some() => Ok(()),
        required => required,
    }
}

/// Opens and mounts a workspace.
///
/// # Errors
/// Wrong passphrase, in use, or the kernel refuses.
pub fn mount(
    home: &Home,
    place: &Place,
    mountpoint: &Path,
    options: MountOptions,
    how: &Open,
    passphrase: Passphrase,
) -> Result<Serving> {
    let signals = listening()?;
    let workspace = open(home, place, how, passphrase)?;
    if let Some(trouble) = workspace.status().trouble {
        ui::tell(&trouble);
    }
    workspace
        .run_background()
        .map_err(|error| Failure::workspace(format!("opening `{}`", place.shown()), &error))?;
    let served = Served::Workspace(workspace);
    Serving::start(served, mountpoint, options, Some(signals))
        .map_err(|error| mountpoint::failure(mountpoint, &error))
}

/// How a workspace is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading and writing.
    Write(Takeover),
    /// For reading.
    Read,
    /// An old state, for reading.
    At(At),
}

/// Opens a workspace.
///
/// # Errors
/// Wrong passphrase, in use, or an old state that is not kept.
pub fn open(home: &Home, place: &Place, how: &Open, passphrase: Passphrase) -> Result<Workspace> {
    let modes = match how {
        Open::Write(_) => (Mode::ReadWrite, WorkspaceMode::ReadWrite),
        Open::Read | Open::At(_) => (Mode::ReadOnly, WorkspaceMode::ReadOnly),
    };
    let bound = Bound::open(home, place, modes.0)?;
    match open_bound(home, place, (&bound, modes), how, passphrase) {
        Ok(workspace) => {
            bound.end_opening();
            Ok(workspace)
        }
        Err(failure) => Err(bound.failure(failure)),
    }
}

fn open_bound(
    home: &Home,
    place: &Place,
    (bound, modes): (&Bound, (Mode, WorkspaceMode)),
    how: &Open,
    passphrase: Passphrase,
) -> Result<Workspace> {
    let (shown, store) = (place.shown(), bound.store.clone());
    let keys = unlock(home, &*store, place, &passphrase)?;
    drop(passphrase);
    bound.note_unlocked();
    let services = services();
    home.directories()
        .create(&*services.disk)
        .map_err(|error| Failure::io("making the folders of local state", &error))?;
    let mut alone = None;
    if let Open::Write(takeover) = how {
        let turns = arbiter::require_may_write(home, place, &keys.workspace(), *takeover)?;
        alone = (turns == Turns::Alone).then_some(*takeover);
        devices::remember(home, &keys.workspace(), &keys.device_id())?;
    }
    let state_folder = home.directories().state.join(keys.workspace().to_string());
    let store = stores::keep_copies(home, place, store, &keys.workspace().to_string());
    let opened = Options { state_folder, mode: modes.1, owner: owner(), tuning: Tuning::default() };
    let keys = Arc::new(keys);
    let workspace = match how {
        Open::Write(_) | Open::Read if bound.is_apart() => {
            Workspace::open_apart(opened, store.clone(), keys.clone(), services)
        }
        Open::At(at) => Workspace::open_at(opened, at, store.clone(), keys.clone(), services),
        Open::Write(_) | Open::Read => {
            Workspace::open(opened, store.clone(), keys.clone(), services)
        }
    };
    if workspace.is_ok() && place.is_remote() && !bound.is_apart() {
        apart::note(home, place, &keys.workspace().to_string())?;
    }
    let workspace = workspace.map_err(|error| match error.kind() {
        ErrorKind::Busy => in_use(&shown),
        ErrorKind::Denied => devices::refusal(&*store, &keys, place)
            .unwrap_or_else(|| Failure::workspace(format!("opening `{shown}`"), &error)),
        _ => Failure::workspace(format!("opening `{shown}`"), &error),
    })?;
    if let Some(takeover) = alone {
        arbiter::begin_writing(home, place, &workspace, takeover)?;
    }
    Ok(workspace)
}

/// Verifies everything, changing nothing.
///
/// # Errors
/// Wrong passphrase, or not readable.
pub fn check(home: &Home, place: &Place, passphrase: &Passphrase) -> Result<Report> {
    let shown = place.shown();
    let store = stores::open(place, Mode::ReadOnly)?;
    let keys = Arc::new(unlock(home, &*store, place, passphrase)?);
    let folder = home.directories().state.join(keys.workspace().to_string());
    let services = services();
    let local = folder.is_dir().then(|| Local {
        in_use: in_use_by(&folder.join("lock")),
        folder,
        disk: services.disk.clone(),
        entropy: services.entropy.clone(),
    });
    let began = services.clock.elapsed();
    let mut line = ui::Progress::start();
    let subject = Subject { store, keys, local, now: services.clock.now_ns() };
    let found = strongroom_check::examine(&subject, &mut |progress| {
        let bytes = ui::bytes_text(progress.bytes);
        line.show(
            services.clock.elapsed() - began,
            &format!("{} {}, {bytes} of files", progress.stage, progress.count),
        );
    });
    line.finish();
    found.map_err(|error| Failure::workspace(format!("checking `{shown}`"), &error))
}

/// Makes all members of a mirror hold the same, where nobody can tell as the `preferred` one.
///
/// # Errors
/// It is no mirror, or one without the preferred member; a member does not answer or cannot be written.
pub fn scrub(place: &Place, preferred: Option<&Place>) -> Result<Scrubbed> {
    let preferred = preferred.map(|member| member.seat_in(place)).transpose()?;
    let members = stores::members(place)?;
    let services = services();
    let began = services.clock.elapsed();
    let mut line = ui::Progress::start();
    let scrubbed = scrub::scrub(&members, preferred, &mut |so_far| {
        let bytes = ui::bytes_text(so_far.bytes);
        let text = format!("{} things, {bytes}, {} repaired", so_far.count, so_far.repaired);
        line.show(services.clock.elapsed() - began, &text);
    });
    line.finish();
    scrubbed.map_err(|error| Failure::store(format!("scrubbing `{}`", place.shown()), &error))
}

/// Whether a mount on this device holds the lock. Nothing is made where nothing is.
fn in_use_by(lock: &Path) -> InUse {
    match lock.exists().then(|| RealDisk.lock(lock)) {
        Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => InUse::Yes,
        _ => InUse::No,
    }
}

/// Seals the device file under another passphrase.
///
/// # Errors
/// Wrong passphrase, or the store cannot be written; it is done all the same where a member of a mirror was away.
pub fn change_passphrase(
    home: &Home,
    place: &Place,
    old: &Passphrase,
    new: &Passphrase,
    cost: PassphraseCost,
) -> Result<()> {
    let shown = place.shown();
    let store = stores::open(place, Mode::ReadWrite)?;
    let (file, keys) = unlock_file(home, &*store, place, old)?;
    let file = device_file::change_passphrase(&file, old, new, cost, &MachineEntropy)
        .map_err(|error| Failure::keyring(&shown, &error))?;
    let put = store.put(Key::Device(keys.device_id()), Body::Bytes(file.into()));
    strongroom_store::wait(put)
        .map_err(|error| Failure::store(format!("changing `{shown}`"), &error))?;
    if store.reaches_all() {
        return Ok(());
    }
    let message =
        "the passphrase is changed, and a member of the mirror that is away has the old one still";
    Err(Failure::new(Exit::Partial, message)
        .hint(format!("run `strongroom scrub {shown}` when all of them are there")))
}

/// Unlocks the device that this home is.
fn unlock(
    home: &Home,
    store: &dyn Store,
    place: &Place,
    passphrase: &Passphrase,
) -> Result<DeviceKeys> {
    unlock_file(home, store, place, passphrase).map(|(_, keys)| keys)
}

/// Unlocks a device file of the store that the passphrase opens: that of this home before others, and one of a device that
/// is in before those that are not. A file that cannot be read is another device's trouble, unless none opens.
fn unlock_file(
    home: &Home,
    store: &dyn Store,
    place: &Place,
    passphrase: &Passphrase,
) -> Result<(Vec<u8>, DeviceKeys)> {
    let shown = &place.shown();
    let own = own_device(home, store, shown)?;
    let files = device_files(own, store, shown)?;
    let is_only = files.len() == 1;
    // The file of a device goes when the device is removed.
    let is_removed = own.is_some_and(|own| files.iter().all(|(device, _)| *device != own));
    let (mut outside, mut wrong, mut unread) = (None, None, None);
    for (device, file) in files {
        let file = match file {
            Ok(file) => file,
            // What is the matter with another device's file keeps this one from nothing.
            Err(_) if !is_removed && own.is_some_and(|own| own != device) => continue,
            Err(failure) => return Err(failure),
        };
        match device_file::unlock(&file, passphrase) {
            Ok(keys) if is_only || devices::is_in(store, shown, &keys.organisation(), &device) => {
                return Ok((file, keys));
            }
            Ok(keys) => {
                outside.get_or_insert((file, keys));
            }
            Err(error) if error.kind() == KeyringKind::Locked => wrong = Some(error),
            // Where this home knows its file, another one is not the reason.
            Err(error) if own.is_none_or(|own| own == device) || wrong.is_none() => {
                unread = Some(error);
            }
            Err(_) => {}
        }
    }
    match (outside, unread, wrong) {
        (Some(opened), _, _) => Ok(opened),
        (None, _, Some(_)) if is_removed => Err(devices::removed(shown)),
        (None, Some(error), _) | (None, None, Some(error)) => Err(Failure::keyring(shown, &error)),
        (None, None, None) => Err(no_device(shown)),
    }
}

/// The device that this home is, as far as it remembers.
fn own_device(home: &Home, store: &dyn Store, shown: &str) -> Result<Option<DeviceId>> {
    let bytes = strongroom_store::wait(store.get(Key::Workspace, None))
        .map_err(|error| not_read(store, shown, &error))?;
    let file = WorkspaceFile::parse(&bytes).ok();
    Ok(file.and_then(|file| devices::remembered(home, &file.workspace)))
}

/// Why a store does not open. A mirror does not say of itself what makes its members the same.
fn not_read(store: &dyn Store, shown: &str, error: &strongroom_store::Error) -> Failure {
    let failure = Failure::store(format!("opening `{shown}`"), error);
    match store.is_mirrored() && error.kind() == strongroom_store::ErrorKind::Unavailable {
        true => failure.hint(format!("run `strongroom scrub {shown}` when all members are there")),
        false => failure,
    }
}

fn no_device(shown: &str) -> Failure {
    Failure::new(Exit::Damaged, format!("`{shown}` holds no device file"))
        .hint("restore the folder `device` of the store from a copy; nothing opens without it")
}

/// The file of each device, or why it cannot be read; this home's first.
fn device_files(
    own: Option<DeviceId>,
    store: &dyn Store,
    shown: &str,
) -> Result<Vec<(DeviceId, Result<Vec<u8>>)>> {
    let failed = |error| not_read(store, shown, &error);
    let mut files = Vec::new();
    for listed in strongroom_store::wait(store.list(Family::Device, None)).map_err(failed)? {
        if let Key::Device(device) = listed.key {
            let file = strongroom_store::wait(store.get(listed.key, None));
            files.push((device, file.map(|file| file.to_vec()).map_err(failed)));
        }
    }
    // Each try takes a second.
    files.sort_by_key(|(device, _)| Some(*device) != own);
    Ok(files)
}

fn in_use(shown: &str) -> Failure {
    Failure::new(Exit::Failed, format!("`{shown}` is mounted or in use already"))
        .hint("`strongroom status` shows where; `-o ro` mounts it a second time for reading")
}

/// Takes over the signals that end the program.
///
/// # Errors
/// The machine has no pipe left.
pub fn signals() -> Result<Signals> {
    Signals::take().map_err(|error| Failure::io("listening for signals", &error))
}

/// As [`signals`], for who mounts.
///
/// # Errors
/// The same.
pub fn listening() -> Result<Listening> {
    Listening::start(signals()?).map_err(|error| Failure::io("listening for signals", &error))
}

fn services() -> Services {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(MachineClock::new());
    let entropy: Arc<dyn Entropy> = Arc::new(MachineEntropy);
    Services { disk, clock, entropy }
}

/// Who owns the root folder of a new workspace.
fn owner() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
}
