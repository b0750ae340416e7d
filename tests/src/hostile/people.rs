//! An organisation with devices that write, and one that was lost: the store has its keys.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use strongroom_crypto::hash::{blake3_256, sha256};
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_crypto::seal;
use strongroom_crypto::usage::{Author, Context, Place, Usage};
use strongroom_format::cbor::encode;
use strongroom_format::commit::{Body, BodyHead, BodyRef, CommitHeader, build};
use strongroom_format::ids::{CompartmentId, DeviceId, Digest, Ino};
use strongroom_format::inode::Kind;
use strongroom_format::op::Op;
use strongroom_format::workspace::SUITE;
use strongroom_host::sim::{SimClock, SimDisk, SimEntropy};
use strongroom_keyring::enrolment::{self, Applicant};
use strongroom_keyring::membership::Writer;
use strongroom_keyring::organisation::Organisation;
use strongroom_keyring::{DeviceKeys, device_file, founding};
use strongroom_store::{Family, FolderStore, Key, Store, now};
use strongroom_workspace::{Foundation, Services, Workspace};

use crate::harness::runner::CALLER;
use crate::harness::world::START_NS;

/// Position of the record that removes the lost device.
pub const REMOVAL: u64 = 5;
const PASSPHRASE: &[u8] = b"a passphrase";
/// As [`PassphraseCost`] has it for tests: a device is unlocked whenever it is opened.
const QUICK: PassphraseCost = PassphraseCost { memory_kib: 64, passes: 1, lanes: 1 };

/// Everything by key.
pub type Shelves = BTreeMap<Key, Bytes>;

/// All of them, made once.
pub struct People {
    /// Device files of those that write.
    device_files: Vec<Vec<u8>>,
    /// Ids of these devices.
    pub devices: Vec<DeviceId>,
    /// The device that is lost.
    pub lost: Arc<DeviceKeys>,
    /// What the store of the new workspace holds.
    pub stored: Shelves,
    /// The record that removes the lost device.
    pub removal: Bytes,
    /// The store of another organisation.
    pub foreign: Shelves,
}

impl People {
    /// The keys of a device that writes, as a process that begins has them: what it learned of the organisation before is not in
    /// them.
    ///
    /// # Panics
    /// If its file does not open.
    pub fn unlock(&self, number: usize) -> Arc<DeviceKeys> {
        unlock(&self.device_files[number])
    }
}

/// All of them.
///
/// # Panics
/// If a new workspace cannot be made.
pub fn people() -> &'static People {
    static PEOPLE: OnceLock<People> = OnceLock::new();
    PEOPLE.get_or_init(|| {
        let (disk, desk_file) = found(7);
        let desk = unlock(&desk_file);
        let admitted = ["phone", "tablet", "lost"].into_iter().zip(20..);
        let mut files = vec![desk_file];
        files.extend(admitted.map(|(name, seed)| admit(&disk, &desk, name, seed)));
        let stored = everything(&disk);
        let lost = unlock(&files.pop().expect("the last one"));
        lost.learn(&organisation(&stored, &lost)).expect("it counts");
        let removal = record(&stored, &desk, 40, |writer| {
            writer.revoke(&lost.device_id()).expect("it counts")
        });
        let devices = files.iter().map(|file| unlock(file).device_id()).collect();
        let foreign = everything(&found(8).0);
        People { device_files: files, devices, lost, stored, removal: removal.into(), foreign }
    })
}

fn unlock(device_file: &[u8]) -> Arc<DeviceKeys> {
    Arc::new(device_file::unlock(device_file, PASSPHRASE).expect("its own passphrase"))
}

fn found(seed: u64) -> (SimDisk, Vec<u8>) {
    let disk = SimDisk::new(seed);
    let entropy = Arc::new(SimEntropy::new(seed));
    let made = founding::found(PASSPHRASE, QUICK, START_NS, &*entropy);
    let made = made.expect("a new organisation");
    let store = FolderStore::create(Arc::new(disk.clone()), PathBuf::from("/store"));
    let store: Arc<dyn Store> = Arc::new(store.expect("a new store"));
    let foundation = Foundation {
        organisation: [&made.genesis, &made.first_epoch],
        device_file: &made.device_file,
        owner: (CALLER.uid, CALLER.gid),
    };
    let clock = Arc::new(SimClock::new(START_NS));
    let services = Services { disk: Arc::new(disk.clone()), clock, entropy };
    Workspace::create(&store, &Arc::new(made.keys), &foundation, &services)
        .expect("a new workspace");
    (disk, made.device_file)
}

fn open_store(disk: &SimDisk) -> FolderStore {
    let mode = strongroom_store::Mode::ReadWrite;
    FolderStore::open(Arc::new(disk.clone()), PathBuf::from("/store"), mode).expect("a store")
}

fn everything(disk: &SimDisk) -> Shelves {
    let store = open_store(disk);
    let mut keys = vec![Key::Workspace];
    for family in Family::ALL {
        let listed = now(store.list(family, None)).expect("a list");
        keys.extend(listed.iter().map(|listed| listed.key));
    }
    let get = |key| now(store.get(key, None)).expect("it was listed");
    keys.into_iter().map(|key| (key, get(key))).collect()
}

/// The organisation log as it lies there.
fn organisation(stored: &Shelves, keys: &DeviceKeys) -> Organisation {
    let genesis = &stored[&Key::Organisation(0)];
    let log = Organisation::verify(genesis, &keys.organisation());
    let mut log = log.expect("a genesis that verifies");
    let there =
        |seq| Ok::<_, strongroom_keyring::error::Error>(stored.get(&Key::Organisation(seq)));
    log.follow(there).expect("a log that verifies");
    log
}

/// A record that the desk signs.
fn record(
    stored: &Shelves,
    desk: &DeviceKeys,
    seed: u64,
    make: impl FnOnce(&Writer<'_>) -> Vec<u8>,
) -> Vec<u8> {
    let organisation = organisation(stored, desk);
    desk.learn(&organisation).expect("the desk counts");
    let entropy = SimEntropy::new(seed);
    make(&Writer { keys: desk, organisation: &organisation, time_ns: START_NS, entropy: &entropy })
}

/// Takes a device in, and returns its file.
fn admit(disk: &SimDisk, desk: &DeviceKeys, name: &str, seed: u64) -> Vec<u8> {
    let place = (desk.organisation(), desk.workspace());
    let asked = enrolment::request(place, PASSPHRASE, QUICK, START_NS, &SimEntropy::new(seed));
    let asked = asked.expect("a request");
    let applicant = Applicant::verify(&asked.request).expect("a sound request");
    let stored = everything(disk);
    let position = organisation(&stored, desk).position();
    let admitted =
        record(&stored, desk, seed + 10, |writer| writer.admit(&applicant, name).expect("in"));
    let put = open_store(disk);
    now(put.put_if_absent(Key::Organisation(position + 1), admitted.into())).expect("a record");
    asked.device_file
}

/// Where a forged commit would stand.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    /// Number of the commit before.
    pub seq: u64,
    /// SHA-256 of its header.
    pub hash: Digest,
    /// Position in the organisation log to be named.
    pub pin: u64,
}

/// A commit that makes a file, signed by the lost device, in its own name or in that of another.
///
/// # Panics
/// If the lost device has no key at all.
pub fn forge(stored: &Shelves, spot: Spot, claimed: DeviceId, seed: u64) -> Bytes {
    let keys = &people().lost;
    let log = organisation(stored, keys);
    let pin = spot.pin.min(log.position());
    let epoch = 1;
    let author = Author { device: claimed.0, incarnation: seed, counter: 1 };
    let body = Body {
        head: BodyHead {
            compartment: CompartmentId::ORDINARY,
            author: claimed,
            incarnation: seed,
            counter: 1,
            base_seq: spot.seq,
            journal_upto: 1,
            op_count: 1,
        },
        ops: vec![Op::Create {
            folder: Ino::ROOT,
            name: b"forged".to_vec(),
            ino: Ino::compose(0, 1 << 30),
            kind: Kind::File,
            mode: 0o644,
            uid: CALLER.uid,
            gid: CALLER.gid,
            rdev: 0,
            target: Vec::new(),
            time: START_NS,
        }],
    };
    let plain = body.encode().expect("a short body");
    let place = Place {
        organisation: keys.organisation().0,
        workspace: keys.workspace().0,
        compartment: CompartmentId::ORDINARY.0,
    };
    let context = Context::commit_body(&place, epoch, &author);
    let salt = keys.salt([3; 32], blake3_256(&plain));
    let sealed = seal::seal(keys.epoch_key(epoch).expect("of its time"), &context, salt, &plain);
    let header = encode(&CommitHeader {
        suite: SUITE,
        organisation: keys.organisation(),
        workspace: keys.workspace(),
        seq: spot.seq + 1,
        parent: spot.hash,
        author: claimed,
        incarnation: seed,
        counter: 1,
        organisation_seq: pin,
        organisation_head: log.head_at(pin).expect("within the log"),
        bodies: vec![BodyRef {
            compartment: CompartmentId::ORDINARY,
            epoch,
            len: sealed.len() as u64,
            sha256: Digest(sha256(&sealed)),
        }],
        added: Vec::new(),
        released: Vec::new(),
        time: START_NS,
    });
    let signature = keys.signing().sign(Usage::SignCommit, &header);
    build(&header, &signature, &[sealed]).into()
}
