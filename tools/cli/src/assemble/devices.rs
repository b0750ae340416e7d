//! Devices of a workspace: the organisation log of a store, read and written.

use std::path::PathBuf;
use std::sync::Arc;

use strongroom_crypto::kdf::PassphraseCost;
use strongroom_format::ids::{DeviceId, OrganisationId, WorkspaceId};
use strongroom_format::workspace::WorkspaceFile;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::disk::{create_folder_durably, replace_file};
use strongroom_host::entropy::MachineEntropy;
use strongroom_host::real_disk::RealDisk;
use strongroom_keyring::DeviceKeys;
use strongroom_keyring::enrolment::{self, Applicant, Code};
use strongroom_keyring::membership::Writer;
use strongroom_keyring::organisation::Organisation;
use strongroom_store::{Body, ErrorKind, Family, Key, Mode, Put, Store, wait};

#[cfg(not(feature = "custody"))]
use super::closing::Closing;
#[cfg(feature = "custody")]
use super::custody::closing::Closing;
use super::{stores, unlock};
use crate::exit::{Exit, Failure, Result};
use crate::home::Home;
use crate::passphrase::Passphrase;
use crate::place::Place;

/// LIMIT: requests that are offered. Anybody who can write to the store can put some there.
const REQUEST_COUNT_MAX: usize = 32;
/// LIMIT: how often a record is made anew because another device was first.
const TRY_COUNT_MAX: u32 = 8;
const IN_ALL_THE_SAME: &str = "the device is in all the same";
const OUT_ALL_THE_SAME: &str =
    "the device is out all the same; its file goes with the next one that is taken in or removed";
/// Name of the file in the local state that says which device this home is.
const DEVICE_FILE: &str = "device";

/// What asking made.
pub struct Asked {
    /// The new device.
    pub device: DeviceId,
    /// What people compare.
    pub code: Code,
}

/// A device as the list shows it.
pub struct Shown {
    /// Which.
    pub device: DeviceId,
    /// What it is called.
    pub name: Option<String>,
    /// The consumer of personal data it works for, if any.
    pub consumer: Option<String>,
    /// Position of the record that took it in.
    pub added_at: u64,
    /// Seconds since 1970, by the clock of who took it in.
    pub added: i64,
    /// Position of the record that took it out.
    pub revoked_at: Option<u64>,
    /// Whether it is the one that asks.
    pub is_this: bool,
}

/// An unlocked device and the organisation log it is in.
pub struct Registry {
    place: Place,
    store: Arc<dyn Store>,
    keys: Arc<DeviceKeys>,
    organisation: Organisation,
}

/// Makes a device for this machine, and its request.
///
/// # Errors
/// The store does not answer or cannot be written; local state cannot be written.
pub fn request(
    home: &Home,
    place: &Place,
    passphrase: &Passphrase,
    cost: PassphraseCost,
) -> Result<Asked> {
    let shown = place.shown();
    let store = stores::open(place, Mode::ReadWrite)?;
    let bytes = wait(store.get(Key::Workspace, None))
        .map_err(|error| Failure::store(format!("opening `{shown}`"), &error))?;
    let file = WorkspaceFile::parse(&bytes)
        .map_err(|error| Failure::format(&format!("`{shown}`"), &error))?;
    let (of, now) = ((file.organisation, file.workspace), MachineClock::new().now_ns());
    let asked = enrolment::request(of, passphrase, cost, now, &MachineEntropy)
        .map_err(|error| Failure::keyring(&shown, &error))?;
    // ORDER: the device file first. A request that is there can be answered at once.
    for (key, body) in [
        (Key::Device(asked.device), asked.device_file),
        (Key::Request(asked.device), asked.request),
    ] {
        wait(store.put(key, Body::Bytes(body.into())))
            .map_err(|error| Failure::store(format!("asking `{shown}`"), &error))?;
    }
    // In the home of a device that is in, another machine's was asked for.
    let own = remembered(home, &file.workspace);
    if !own.is_some_and(|own| is_in(&*store, &shown, &file.organisation, &own)) {
        remember(home, &file.workspace, &asked.device)?;
    }
    Ok(Asked { device: asked.device, code: asked.code })
}

/// Unlocks a device and reads the organisation log.
///
/// # Errors
/// Wrong passphrase; the device is not in, or no more; the log does not verify.
pub fn open(home: &Home, place: &Place, mode: Mode, passphrase: &Passphrase) -> Result<Registry> {
    let shown = place.shown();
    let store = stores::open(place, mode)?;
    let keys = unlock(home, &*store, place, passphrase)?;
    let organisation = organisation(&*store, &shown, &keys.organisation())?;
    learn(&keys, &organisation, place)?;
    Ok(Registry { place: place.clone(), store, keys: Arc::new(keys), organisation })
}

impl Registry {
    /// All devices, in the order they came.
    pub fn devices(&self) -> Vec<Shown> {
        let shown = |device: &strongroom_keyring::organisation::Device| Shown {
            device: device.id(),
            name: self.organisation.name(&device.id(), &self.keys),
            consumer: self.organisation.consumer(&device.id(), &self.keys),
            added_at: device.added_at(),
            added: device.time_ns().div_euclid(1_000_000_000),
            revoked_at: device.revoked_at(),
            is_this: device.id() == self.keys.device_id(),
        };
        self.organisation.devices().map(shown).collect()
    }

    /// Devices that ask to be taken in and may be.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn applicants(&self) -> Result<Vec<Applicant>> {
        let mut found = self.requests()?;
        found.retain(|applicant| self.is_live(applicant));
        found.truncate(REQUEST_COUNT_MAX);
        Ok(found)
    }

    /// Whether a request can be answered still.
    fn is_live(&self, applicant: &Applicant) -> bool {
        let is_new = self.organisation.find(&applicant.request().device).is_none();
        is_new && !applicant.is_void(MachineClock::new().now_ns())
    }

    /// Requests for this workspace, of one page of the store's list.
    fn requests(&self) -> Result<Vec<Applicant>> {
        let failed =
            |error| Failure::store(format!("reading requests in `{}`", self.place.shown()), &error);
        let listed = wait(self.store.list(Family::Request, None)).map_err(failed)?;
        let mut found = Vec::new();
        for listed in &listed {
            let file = match wait(self.store.get(listed.key, None)) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            // What is no request, or for others, is nobody's business here.
            let Ok(applicant) = Applicant::verify(&file) else { continue };
            let request = applicant.request();
            let asked = (Key::Request(request.device), request.organisation, request.workspace);
            let here = (listed.key, self.keys.organisation(), self.keys.workspace());
            if asked == here {
                found.push(applicant);
            }
        }
        Ok(found)
    }

    /// Takes a device in; for a consumer of personal data alone, if one is named.
    ///
    /// # Errors
    /// A name is taken or none; the store cannot be written.
    pub fn add(
        &mut self,
        applicant: &Applicant,
        name: Option<&str>,
        consumer: Option<&str>,
    ) -> Result<String> {
        let number = self.organisation.devices().count() + 1;
        let name = name.map_or_else(|| format!("device {number}"), str::to_owned);
        self.record(|writer| match consumer {
            None => writer.admit(applicant, &name),
            Some(consumer) => writer.admit_consumer(applicant, &name, consumer),
        })?;
        let key = Key::Request(applicant.request().device);
        self.drop_key(key, IN_ALL_THE_SAME)?;
        self.drop_dead_requests()?;
        self.drop_dead_files(IN_ALL_THE_SAME)?;
        Ok(name)
    }

    /// Requests that nobody can answer any more go, with the files of devices that were never in.
    fn drop_dead_requests(&self) -> Result<()> {
        for applicant in self.requests()? {
            let device = applicant.request().device;
            if self.is_live(&applicant) {
                continue;
            }
            // ORDER: the request last. While it is there, the next device that is taken in ends what was begun here.
            if self.organisation.find(&device).is_none() {
                self.drop_key(Key::Device(device), IN_ALL_THE_SAME)?;
            }
            self.drop_key(Key::Request(device), IN_ALL_THE_SAME)?;
        }
        Ok(())
    }

    /// Files of devices that are out go, also those that a store did not let go of when that was said.
    fn drop_dead_files(&self, hint: &str) -> Result<()> {
        let failed =
            |error| Failure::store(format!("reading devices in `{}`", self.place.shown()), &error);
        let listed = wait(self.store.list(Family::Device, None)).map_err(failed)?;
        for listed in listed {
            let Key::Device(device) = listed.key else { continue };
            if self.organisation.find(&device).is_some_and(|found| found.revoked_at().is_some()) {
                self.drop_key(listed.key, hint)?;
            }
        }
        Ok(())
    }

    /// Takes a device out, begins an epoch without it, and closes the logs of custody, so that it writes to none of them any
    /// more. What is wrong with those does not keep it in.
    ///
    /// # Errors
    /// It is this one; the store cannot be written. `Partial` when it is out and something is left to do.
    pub fn revoke(&mut self, home: &Home, device: &DeviceId) -> Result<Vec<(String, Failure)>> {
        let closing = self.closing(home, device);
        self.record(|writer| writer.revoke(device))?;
        let closed = match closing {
            Ok(Some(closing)) => closing.end(&self.organisation),
            Ok(None) => Ok(Vec::new()),
            Err(failure) => Err(failure),
        };
        let dropped = self.drop_dead_files(OUT_ALL_THE_SAME);
        // That it can still write here is the graver word.
        let closed = closed.map_err(|failure| {
            let message = format!("the device is out, and can still write here: {}", failure.message);
            let shown = self.place.shown();
            Failure::new(Exit::Partial, message).hint(format!(
                "take its access to the store away; `strongroom app list -w {shown}` tries again to keep it out"
            ))
        })?;
        dropped.map(|()| closed)
    }

    /// Begins an epoch for the devices that are in: what is sealed from now on is sealed under a new key. Returns its number.
    ///
    /// # Errors
    /// The store cannot be written.
    #[cfg(feature = "custody")]
    pub fn rotate(&mut self) -> Result<u64> {
        self.record(|writer| writer.rotate())?;
        Ok(self.keys.current_epoch().0)
    }

    /// A consumer's device writes to no log, and a mirror has none.
    fn closing(&self, home: &Home, device: &DeviceId) -> Result<Option<Closing>> {
        let is_consumer = self.organisation.find(device).is_some_and(|found| found.is_consumer());
        if is_consumer || matches!(self.place, Place::Mirror(_)) {
            return Ok(None);
        }
        let (store, keys) = (Arc::clone(&self.store), Arc::clone(&self.keys));
        Closing::begin(home, &self.place, store, keys, self.organisation.clone()).map(Some)
    }

    /// The device that somebody means: by name, id, or the beginning of its id.
    ///
    /// # Errors
    /// None or several are meant.
    pub fn find(&self, typed: &str) -> Result<Shown> {
        let live = || self.devices().into_iter().filter(|device| device.revoked_at.is_none());
        if let Some(named) = live().find(|device| device.name.as_deref() == Some(typed)) {
            return Ok(named);
        }
        let begins = |device: &Shown| device.device.to_string().starts_with(typed);
        let mut meant = live().filter(begins);
        match (meant.next(), meant.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Failure::new(
                Exit::Failed,
                format!("`{typed}` begins the id of several devices"),
            )
            .hint("give more of it")),
            (None, _) => Err(Failure::new(Exit::Failed, format!("there is no device `{typed}`"))
                .hint(format!("`strongroom device list {}` shows them", self.place.shown()))),
        }
    }

    /// Puts a record at the next position; whoever was first is read, and the record made anew.
    fn record(
        &mut self,
        make: impl Fn(&Writer<'_>) -> strongroom_keyring::error::Result<Vec<u8>>,
    ) -> Result<()> {
        let shown = self.place.shown();
        for _ in 0..TRY_COUNT_MAX {
            let writer = Writer {
                keys: &self.keys,
                organisation: &self.organisation,
                time_ns: MachineClock::new().now_ns(),
                entropy: &MachineEntropy,
            };
            let record = make(&writer).map_err(|error| Failure::keyring(&shown, &error))?;
            let key = Key::Organisation(self.organisation.position() + 1);
            let put = wait(self.store.put_if_absent(key, record.into()))
                .map_err(|error| Failure::store(format!("writing to `{shown}`"), &error))?;
            let was_first = matches!(put, Put::Created(_));
            follow(&*self.store, &shown, &mut self.organisation)?;
            learn(&self.keys, &self.organisation, &self.place)?;
            if was_first {
                return Ok(());
            }
        }
        Err(Failure::new(Exit::Failed, "other devices changed the organisation meanwhile")
            .hint("try again"))
    }

    fn drop_key(&self, key: Key, hint: &str) -> Result<()> {
        wait(self.store.delete(key)).map_err(|error| {
            let doing = format!("removing `{key}` from `{}`", self.place.shown());
            Failure { exit: Exit::Partial, ..Failure::store(doing, &error) }.hint(hint)
        })
    }
}

/// Takes the keys that the log gives a device, or says why there are none.
pub(super) fn learn(keys: &DeviceKeys, organisation: &Organisation, place: &Place) -> Result<()> {
    keys.learn(organisation).map_err(|error| {
        let (shown, device) = (place.shown(), keys.device_id());
        if error.kind() != strongroom_keyring::error::ErrorKind::Denied {
            return Failure::keyring(&shown, &error);
        }
        match organisation.find(&device) {
            Some(found) if found.is_consumer() && found.revoked_at().is_none() => {
                Failure::new(Exit::Denied, format!("this device is a consumer's in `{shown}`"))
                    .hint("`strongroom mount STORE FOLDER --app NAME --activity NAME` shows what its jobs may see")
            }
            Some(_) => removed(&shown),
            None => Failure::new(Exit::Denied, format!("this device is not in `{shown}` yet"))
                .hint(format!(
                    "`strongroom device add {shown}` on a device that is in takes it in"
                )),
        }
    })
}

/// Whether a device is in. Where the log cannot be read, whoever needs it says so.
pub(super) fn is_in(
    store: &dyn Store,
    shown: &str,
    pinned: &OrganisationId,
    device: &DeviceId,
) -> bool {
    let Ok(organisation) = organisation(store, shown, pinned) else { return true };
    organisation.find(device).is_some_and(|found| found.revoked_at().is_none())
}

/// Why a device does not count, if it does not.
pub(super) fn refusal(store: &dyn Store, keys: &DeviceKeys, place: &Place) -> Option<Failure> {
    let organisation = organisation(store, &place.shown(), &keys.organisation()).ok()?;
    learn(keys, &organisation, place).err()
}

/// The failure of a device that was taken out.
pub(super) fn removed(shown: &str) -> Failure {
    Failure::new(Exit::Denied, format!("this device was removed from `{shown}`")).hint(format!(
        "`strongroom device request {shown}` asks to be taken in anew; what it has not sent cannot be read any more"
    ))
}

/// Reads the organisation log of a store, from the genesis that is trusted on.
pub(super) fn organisation(
    store: &dyn Store,
    shown: &str,
    pinned: &OrganisationId,
) -> Result<Organisation> {
    let genesis = record(store, shown, 0)?.ok_or_else(|| {
        let error =
            strongroom_store::Error::new(ErrorKind::Corrupt, "the genesis record is missing");
        Failure::store(format!("opening `{shown}`"), &error)
    })?;
    let verified = Organisation::verify(&genesis, pinned);
    let mut organisation = verified.map_err(|error| Failure::keyring(shown, &error))?;
    follow(store, shown, &mut organisation)?;
    Ok(organisation)
}

pub(super) fn follow(
    store: &dyn Store,
    shown: &str,
    organisation: &mut Organisation,
) -> Result<()> {
    while let Some(file) = record(store, shown, organisation.position() + 1)? {
        organisation.extend(&file).map_err(|error| Failure::keyring(shown, &error))?;
    }
    Ok(())
}

fn record(store: &dyn Store, shown: &str, seq: u64) -> Result<Option<Vec<u8>>> {
    match wait(store.get(Key::Organisation(seq), None)) {
        Ok(bytes) => Ok(Some(bytes.to_vec())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::store(format!("opening `{shown}`"), &error)),
    }
}

/// The device that this home is, if it was made or used here.
pub(super) fn remembered(home: &Home, workspace: &WorkspaceId) -> Option<DeviceId> {
    let text = std::fs::read_to_string(device_path(home, workspace)).ok()?;
    match Key::parse(&format!("device/{}", text.trim_end()))? {
        Key::Device(device) => Some(device),
        _ => None,
    }
}

/// Notes which device this home is, so that its file is tried first.
pub(super) fn remember(home: &Home, workspace: &WorkspaceId, device: &DeviceId) -> Result<()> {
    if remembered(home, workspace) == Some(*device) {
        return Ok(());
    }
    let failed = |error| Failure::io("writing local state", &error);
    let path = device_path(home, workspace);
    let folder = path.parent().expect("a file in a folder");
    home.directories().create(&RealDisk).map_err(failed)?;
    create_folder_durably(&RealDisk, folder).map_err(failed)?;
    replace_file(&RealDisk, &path, format!("{device}\n").as_bytes()).map_err(failed)
}

fn device_path(home: &Home, workspace: &WorkspaceId) -> PathBuf {
    home.directories().state.join(workspace.to_string()).join(DEVICE_FILE)
}
