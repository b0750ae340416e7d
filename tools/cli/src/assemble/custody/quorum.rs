//! A quorum at a place: `quorum:FOLDER?k=2&holder=DEVICE&holder=DEVICE&…&wait=SECONDS`, its holders devices of the organisation.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_crypto::kem::KemPublicKey;
use strongroom_crypto::secret::SecretBytes;
use strongroom_crypto::sign::{SIGNATURE_LEN, VerifyingKey};
use strongroom_crypto::usage::{Context, Usage};
use strongroom_custody::quorum::{Kems, Meeting, Member, Quorum, Request, Terms, Waits};
use strongroom_custody::{Error as CustodyError, ErrorKind as CustodyKind};
use strongroom_format::ids::DeviceId;
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::entropy::MachineEntropy;
use strongroom_host::real_disk::RealDisk;
use strongroom_host::signals::{self, Heeded};
use strongroom_keyring::DeviceKeys;
use strongroom_keyring::organisation::Organisation;
use strongroom_records::ids::Pseudonym;
use strongroom_steward::Services;

use super::failure;
use crate::exit::{Exit, Failure, Result};
use crate::ui;

/// How long holders are waited for unless the place says otherwise.
const WAIT_SECONDS: u64 = 300;
/// LIMIT: how long a place may say: a day.
const WAIT_SECONDS_MAX: u64 = 86_400;
/// LIMIT: how long a program that ends waits until nobody can answer its requests any more.
const WITHDRAWAL_LIMIT: Duration = Duration::from_secs(2);
const WITHDRAWAL_PAUSE: Duration = Duration::from_millis(10);
const HINT: &str = "write quorum:/FOLDER?k=2&holder=DEVICE&holder=DEVICE&holder=DEVICE; \
    `strongroom device list --json` shows the ids";

/// A place, as it is written.
struct Written<'p> {
    folder: &'p str,
    terms: &'p str,
    enough: usize,
    holders: Vec<DeviceId>,
    wait: u64,
}

impl<'p> Written<'p> {
    fn parse(place: &'p str) -> Result<Self> {
        let bad = |what: &str| Failure::new(Exit::Usage, what.to_owned()).hint(HINT);
        let (folder, terms) = place.split_once('?').ok_or_else(|| bad("a quorum has terms"))?;
        let mut own = Self { folder, terms, enough: 0, holders: Vec::new(), wait: WAIT_SECONDS };
        for term in terms.split('&') {
            match term.split_once('=') {
                Some(("k", count)) => {
                    own.enough = count.parse().map_err(|_| bad("`k` is no number"))?;
                }
                Some(("wait", seconds)) => {
                    let seconds = seconds.parse().ok().filter(|own| *own <= WAIT_SECONDS_MAX);
                    let most = format!("`wait` is a number of seconds, {WAIT_SECONDS_MAX} at most");
                    own.wait = seconds.ok_or_else(|| bad(&most))?;
                }
                // Device ids are written like all ids of 16 bytes.
                Some(("holder", id)) => {
                    own.holders.push(DeviceId(Pseudonym::parse(id).ok_or_else(|| stranger(id))?.0));
                }
                _ => return Err(bad("a quorum has `k`, `holder` and perhaps `wait`")),
            }
        }
        Ok(own)
    }
}

/// Opens a quorum. Holders may have been removed since it was made, or be removed while it is open: the others open what they
/// are enough for.
///
/// # Errors
/// It is not written as one.
pub fn open(place: &str, services: &Services) -> Result<Quorum> {
    let Written { folder, enough, holders, wait, .. } = Written::parse(place)?;
    let meeting = meeting(Path::new(folder), &services.keys)?;
    let shown = meeting.folder.display().to_string();
    let waiting = Box::new(Waiting { shown, heeded: Mutex::default() });
    let terms = Terms { enough, holders, kems: kems(services) };
    let opened = Quorum::new(meeting, terms, Duration::from_secs(wait), waiting);
    opened.map_err(|error| failure(&error.into()).hint(HINT))
}

/// Requests of this process that holders may still answer.
static ASKED_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Says to people whom they wait for, until somebody ends the program.
struct Waiting {
    shown: String,
    heeded: Mutex<Option<Heeded>>,
}

impl Waits for Waiting {
    fn begin(&self, request: &Request) {
        ASKED_COUNT.fetch_add(1, Ordering::SeqCst);
        // Where the machine refuses, a request that is left behind is over a little later.
        *self.heeded.lock() = Heeded::begin().ok();
        let (shown, id) = (&self.shown, request.id);
        ui::tell(&format!(
            "waiting for holders of the key: `strongroom app agree {shown} {id} -w …` on their devices"
        ));
    }

    fn is_over(&self) -> bool {
        signals::has_come()
    }

    fn end(&self) {
        ASKED_COUNT.fetch_sub(1, Ordering::SeqCst);
        drop(self.heeded.lock().take());
    }
}

/// Waits a moment, in a program that was told to end, until its requests have been withdrawn.
pub fn end_asking() {
    let clock = MachineClock::new();
    while ASKED_COUNT.load(Ordering::SeqCst) > 0 && clock.elapsed() < WITHDRAWAL_LIMIT {
        clock.sleep(WITHDRAWAL_PAUSE);
    }
}

/// Public keys of devices that are in the organisation when they are asked for.
fn kems(services: &Services) -> Kems {
    let services = services.clone();
    Arc::new(move |devices| {
        let Services { store, keys, organisation, .. } = &services;
        let unread = "the organisation's log cannot be read: nobody can tell who holds a key";
        let unread = |_| CustodyError::new(CustodyKind::Unavailable, unread);
        organisation.follow(&**store, keys).map_err(unread)?;
        let now = organisation.now();
        Ok(devices.iter().map(|device| kem(device, &now)).collect())
    })
}

/// A place as it is written down: with the whole path of its folder.
///
/// # Errors
/// It is not written as one; a holder is no device of the organisation.
pub fn written_down(place: &str, organisation: &Organisation) -> Result<String> {
    let Written { folder, terms, holders, .. } = Written::parse(place)?;
    match holders.iter().find(|device| kem(device, organisation).is_none()) {
        Some(device) => Err(stranger(&device.to_string())),
        None => Ok(format!("{}?{terms}", super::absolute(folder)?)),
    }
}

/// Where the members of a quorum meet.
///
/// # Errors
/// The folder is no path.
pub fn meeting(folder: &Path, keys: &Arc<DeviceKeys>) -> Result<Meeting> {
    let folder: PathBuf = std::path::absolute(folder)
        .map_err(|error| Failure::io("finding the folder of the quorum", &error))?;
    Ok(Meeting {
        disk: Arc::new(RealDisk),
        folder,
        organisation: keys.organisation(),
        member: Arc::new(Own(Arc::clone(keys))),
        entropy: Arc::new(MachineEntropy),
        clock: Arc::new(MachineClock::new()),
    })
}

/// Who may ask and answer: devices that count now.
pub fn trust(organisation: &Organisation) -> impl Fn(&DeviceId) -> Option<VerifyingKey> {
    |device| organisation.device(device).cloned()
}

fn stranger(id: &str) -> Failure {
    Failure::new(Exit::Failed, format!("`{id}` is no device of the organisation")).hint(HINT)
}

fn kem(device: &DeviceId, organisation: &Organisation) -> Option<KemPublicKey> {
    organisation.live().find(|own| own.id() == *device).map(|own| own.kem().clone())
}

/// This device.
struct Own(Arc<DeviceKeys>);

impl Member for Own {
    fn device(&self) -> DeviceId {
        self.0.device_id()
    }

    fn unwrap(&self, context: &Context, wrapped: &[u8]) -> Option<SecretBytes> {
        self.0.kem().unwrap(context, wrapped).ok()
    }

    fn sign_request(&self, record: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.signing().sign(Usage::SignQuorumRequest, record)
    }
}
