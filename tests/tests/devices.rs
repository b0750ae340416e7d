//! Two devices on one store: whose commits count where, and a store that shows an older or another organisation.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_format::commit::CommitFile;
use strongroom_host::disk::{Disk, read_all};
use strongroom_host::sim::{SimClock, SimDisk, SimEntropy};
use strongroom_keyring::enrolment::{self, Applicant};
use strongroom_keyring::membership::Writer;
use strongroom_keyring::organisation::Organisation;
use strongroom_keyring::{DeviceKeys, device_file, founding};
use strongroom_store::over::{Call, Over};
use strongroom_store::{
    Body, Error as StoreError, ErrorKind as StoreErrorKind, Family, FolderStore, Key,
    Mode as StoreMode, Put, Store, now,
};
use strongroom_tests::harness::files::OPEN;
use strongroom_tests::harness::runner::{CALLER, done};
use strongroom_tests::harness::world::small_tuning;
use strongroom_workspace::door::{Core, Folding, Ino, WriteMode};
use strongroom_workspace::error::{Error, ErrorKind};
use strongroom_workspace::{Foundation, Mode, Options, Services, Workspace};

const STORE: &str = "/store";
const START_NS: i64 = 1_700_000_000_000_000_000;
const PASSPHRASE: &[u8] = b"a passphrase";

/// Alice's desk, which founded the workspace, and her phone, which is in.
struct Founded {
    disk: SimDisk,
    desk: Arc<DeviceKeys>,
    phone: Arc<DeviceKeys>,
}

/// The same each time, with keys that know of nothing that came later.
fn founded() -> Founded {
    let disk = SimDisk::new(0);
    let entropy = SimEntropy::new(9);
    let made = founding::found(PASSPHRASE, PassphraseCost::SMALL, START_NS, &entropy).unwrap();
    let store = FolderStore::create(Arc::new(disk.clone()), PathBuf::from(STORE)).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let foundation = Foundation {
        organisation: [&made.genesis, &made.first_epoch],
        device_file: &made.device_file,
        owner: (CALLER.uid, CALLER.gid),
    };
    let desk = Arc::new(made.keys);
    Workspace::create(&store, &desk, &foundation, &services(&disk, 1)).unwrap();
    let phone = Arc::new(admit(&disk, &desk, "phone", 10));
    Founded { disk, desk, phone }
}

fn services(disk: &SimDisk, seed: u64) -> Services {
    Services {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(START_NS)),
        entropy: Arc::new(SimEntropy::new(seed)),
    }
}

fn store(disk: &SimDisk) -> Arc<dyn Store> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Arc::new(FolderStore::open(disk, PathBuf::from(STORE), StoreMode::ReadWrite).unwrap())
}

fn organisation(disk: &SimDisk, keys: &DeviceKeys) -> Organisation {
    let store = store(disk);
    let genesis = now(store.get(Key::Organisation(0), None)).unwrap();
    let mut organisation = Organisation::verify(&genesis, &keys.organisation()).unwrap();
    let there = |seq| {
        Ok::<_, strongroom_keyring::error::Error>(now(store.get(Key::Organisation(seq), None)).ok())
    };
    organisation.follow(there).unwrap();
    organisation
}

/// Puts a record that the desk signs.
fn record(disk: &SimDisk, desk: &DeviceKeys, seed: u64, make: impl FnOnce(&Writer<'_>) -> Vec<u8>) {
    let organisation = organisation(disk, desk);
    desk.learn(&organisation).unwrap();
    let entropy = SimEntropy::new(seed);
    let writer =
        Writer { keys: desk, organisation: &organisation, time_ns: START_NS, entropy: &entropy };
    let key = Key::Organisation(organisation.position() + 1);
    let put = now(store(disk).put_if_absent(key, Bytes::from(make(&writer)))).unwrap();
    assert!(matches!(put, Put::Created(_)));
}

fn admit(disk: &SimDisk, desk: &DeviceKeys, name: &str, seed: u64) -> DeviceKeys {
    let place = (desk.organisation(), desk.workspace());
    let entropy = SimEntropy::new(seed);
    let cost = PassphraseCost::SMALL;
    let asked = enrolment::request(place, PASSPHRASE, cost, START_NS, &entropy).unwrap();
    let applicant = Applicant::verify(&asked.request).unwrap();
    record(disk, desk, seed + 1, |writer| writer.admit(&applicant, name).unwrap());
    device_file::unlock(&asked.device_file, PASSPHRASE).unwrap()
}

fn revoke_phone(two: &Founded) {
    let phone = two.phone.device_id();
    record(&two.disk, &two.desk, 20, |writer| writer.revoke(&phone).unwrap());
}

fn open(
    disk: &SimDisk,
    store: Arc<dyn Store>,
    keys: &Arc<DeviceKeys>,
    home: &str,
) -> Result<Workspace, Error> {
    let options = Options {
        state_folder: PathBuf::from(home),
        mode: Mode::ReadWrite,
        owner: (CALLER.uid, CALLER.gid),
        tuning: small_tuning(),
    };
    // Chance of its own for each opening: the same twice would give two objects one id.
    static OPENINGS: AtomicU64 = AtomicU64::new(100);
    let seed = OPENINGS.fetch_add(1, Ordering::Relaxed);
    Workspace::open(options, store, keys.clone(), services(disk, seed))
}

/// The desk and the phone with the real store.
fn desk(two: &Founded) -> Result<Workspace, Error> {
    open(&two.disk, store(&two.disk), &two.desk, "/home/desk")
}

fn phone(two: &Founded) -> Result<Workspace, Error> {
    open(&two.disk, store(&two.disk), &two.phone, "/home/phone")
}

fn write(workspace: &Workspace, name: &str, content: &[u8]) -> Result<(), Error> {
    let made = workspace.create_open(CALLER, Ino::ROOT, name.as_bytes(), 0o644, OPEN);
    let (_, opened) = done(made)?;
    done(workspace.write(opened.handle, 0, content, WriteMode::At, false))?;
    workspace.release(opened.handle);
    workspace.commit()
}

/// Closes, and lets go of the lock.
fn close(workspace: Workspace) {
    workspace.close().unwrap();
}

fn names(workspace: &Workspace, all: &[&str]) -> Vec<bool> {
    let there =
        |name: &&str| done(workspace.lookup(Ino::ROOT, name.as_bytes(), Folding::Exact)).is_ok();
    all.iter().map(there).collect()
}

/// Hides records of the organisation log from `seen` on: a store that works with a removed device.
struct Hiding {
    store: Arc<dyn Store>,
    seen: Arc<AtomicU64>,
}

impl Over for Hiding {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        match call {
            Call::Get(Key::Organisation(seq)) if seq >= self.seen.load(Ordering::Relaxed) => {
                Err(StoreError::new(StoreErrorKind::NotFound, "hidden"))
            }
            _ => Ok(()),
        }
    }
}

/// The phone with a store that shows it the organisation as it was before its removal.
fn phone_in_the_past(two: &Founded) -> Workspace {
    let hiding = Hiding { store: store(&two.disk), seen: Arc::new(AtomicU64::new(3)) };
    open(&two.disk, Arc::new(hiding), &two.phone, "/home/phone").unwrap()
}

fn newest_commit(disk: &SimDisk) -> Vec<u8> {
    let store = store(disk);
    let last = now(store.list(Family::Log, None)).unwrap().last().unwrap().key;
    now(store.get(last, None)).unwrap().to_vec()
}

#[test]
fn two_devices_take_turns_on_one_history() {
    let two = founded();
    for turn in 0..3 {
        let workspace = desk(&two).unwrap();
        write(&workspace, &format!("desk{turn}"), b"of the desk").unwrap();
        close(workspace);
        let workspace = phone(&two).unwrap();
        write(&workspace, &format!("phone{turn}"), &[turn; 5000]).unwrap();
        close(workspace);
    }
    let all = ["desk0", "phone0", "desk1", "phone1", "desk2", "phone2"];
    assert_eq!(names(&desk(&two).unwrap(), &all), [true; 6]);
}

#[test]
fn commits_and_checkpoints_pin_the_organisation_and_what_a_device_did_before_its_removal_stays() {
    let two = founded();
    let workspace = phone(&two).unwrap();
    write(&workspace, "early", b"while it was in").unwrap();
    close(workspace);
    let header = CommitFile::parse(&newest_commit(&two.disk)).unwrap().header;
    let log = organisation(&two.disk, &two.desk);
    assert_eq!((header.organisation_seq, header.organisation_head), (2, log.head()));
    assert_eq!(header.bodies[0].epoch, 1);
    revoke_phone(&two);
    assert_eq!(phone(&two).err().map(|error| error.kind()), Some(ErrorKind::Denied));
    let workspace = desk(&two).unwrap();
    assert_eq!(names(&workspace, &["early"]), [true]);
    write(&workspace, "late", b"not for the phone").unwrap();
    close(workspace);
    let header = CommitFile::parse(&newest_commit(&two.disk)).unwrap().header;
    assert_eq!((header.organisation_seq, header.bodies[0].epoch), (3, 2));
    assert!(two.phone.epoch_key(2).is_none());
    assert!(two.desk.epoch_key(2).is_some());
}

#[test]
fn a_mounted_device_that_is_removed_takes_no_more_changes_and_says_why() {
    let two = founded();
    let workspace = phone(&two).unwrap();
    write(&workspace, "a", b"in").unwrap();
    revoke_phone(&two);
    let refused = write(&workspace, "b", b"out").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert_eq!(refused.to_string(), "this device was removed from the workspace");
    assert_eq!(
        workspace.status().trouble.as_deref(),
        Some("this device was removed from the workspace")
    );
    let made = done(workspace.create_open(CALLER, Ino::ROOT, b"c", 0o644, OPEN));
    assert_eq!(made.err().map(|error| error.kind()), Some(ErrorKind::Denied));
    assert_eq!(names(&workspace, &["a"]), [true], "what is here can still be read");
    assert_eq!(names(&desk(&two).unwrap(), &["a", "b"]), [true, false]);
}

#[test]
fn a_mounted_device_seals_its_next_commit_for_those_who_count_by_then() {
    let two = founded();
    let workspace = desk(&two).unwrap();
    write(&workspace, "a", b"for both").unwrap();
    revoke_phone(&two);
    write(&workspace, "b", b"for the desk").unwrap();
    let header = CommitFile::parse(&newest_commit(&two.disk)).unwrap().header;
    assert_eq!((header.organisation_seq, header.bodies[0].epoch), (3, 2));
    close(workspace);
    assert_eq!(names(&desk(&two).unwrap(), &["a", "b"]), [true, true]);
}

#[test]
fn a_removed_device_cannot_hide_behind_an_old_pin_once_another_has_pinned_its_removal() {
    let two = founded();
    drop(phone(&two).unwrap());
    revoke_phone(&two);
    let workspace = desk(&two).unwrap();
    write(&workspace, "a", b"pins the removal").unwrap();
    close(workspace);
    // It cannot even read that commit, so it cannot sign one on top of it.
    let hiding = Hiding { store: store(&two.disk), seen: Arc::new(AtomicU64::new(3)) };
    let opened = open(&two.disk, Arc::new(hiding), &two.phone, "/home/phone");
    assert_eq!(opened.err().map(|error| error.kind()), Some(ErrorKind::Corrupt));
    // Nor do others take one that it signs all the same: made aside, put where it would be next.
    let aside = founded();
    let workspace = desk(&aside).unwrap();
    write(&workspace, "x", b"as many commits").unwrap();
    close(workspace);
    let workspace = phone(&aside).unwrap();
    write(&workspace, "forged", b"with an old pin").unwrap();
    close(workspace);
    let next = now(store(&two.disk).list(Family::Log, None)).unwrap().len() as u64 + 1;
    now(store(&two.disk).put(Key::Log(next), Body::Bytes(newest_commit(&aside.disk).into())))
        .unwrap();
    assert_eq!(desk(&two).err().map(|error| error.kind()), Some(ErrorKind::Corrupt));
}

#[test]
fn until_then_a_store_that_works_with_it_can_pass_its_commits_off_as_earlier() {
    let two = founded();
    drop(phone(&two).unwrap());
    revoke_phone(&two);
    // As the documents say: nobody has pinned the removal yet.
    let workspace = phone_in_the_past(&two);
    write(&workspace, "late", b"but not told from early").unwrap();
    close(workspace);
    assert_eq!(names(&desk(&two).unwrap(), &["late"]), [true]);
}

#[test]
fn an_organisation_log_that_was_cut_is_refused_by_what_is_pinned_and_by_who_remembers() {
    let two = founded();
    let workspace = desk(&two).unwrap();
    revoke_phone(&two);
    write(&workspace, "a", b"pinned to 3").unwrap();
    close(workspace);
    now(store(&two.disk).delete(Key::Organisation(3))).unwrap();
    // Also by a home that never was here.
    let opened = open(&two.disk, store(&two.disk), &two.desk, "/home/new");
    assert_eq!(opened.err().map(|error| error.kind()), Some(ErrorKind::Corrupt));

    let two = founded();
    revoke_phone(&two);
    close(desk(&two).unwrap());
    now(store(&two.disk).delete(Key::Organisation(3))).unwrap();
    let refused = desk(&two).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert_eq!(
        refused.to_string(),
        "the store is not what this device last saw: the organisation log ends at record 2, this device saw 3"
    );
}

#[test]
fn another_organisation_log_than_the_one_a_home_remembers_is_refused() {
    let (ours, theirs) = (founded(), founded());
    revoke_phone(&ours);
    close(desk(&ours).unwrap());
    // Made of true records, as a store can that keeps what lost a race.
    record(&theirs.disk, &theirs.desk, 30, |writer| writer.rotate().unwrap());
    let forked =
        read_all(&theirs.disk, &Path::new(STORE).join(Key::Organisation(3).path())).unwrap();
    now(store(&ours.disk).delete(Key::Organisation(3))).unwrap();
    now(store(&ours.disk).put(Key::Organisation(3), Body::Bytes(forked.into()))).unwrap();
    let refused = desk(&ours).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert_eq!(
        refused.to_string(),
        "the store is not what this device last saw: record 3 of the organisation log is another one"
    );
}
