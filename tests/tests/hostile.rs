//! A store that lies: old, other, damaged and missing answers, histories that fork and go back, races that both win, commits
//! of devices that were removed. Whatever it does, a device shows what a device wrote there, nothing older than it has
//! seen, or an error that says so; and once the store is honest again, what was synced is there.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_check::{Subject, examine};
use strongroom_format::checkpoint::CheckpointFile;
use strongroom_host::sim::{SimClock, SimDisk, SimEntropy};
use strongroom_store::{Body, Family, Key, Store, now};
use strongroom_tests::harness::files::{OPEN, find, load, read, save, write};
use strongroom_tests::harness::runner::{CALLER, done};
use strongroom_tests::harness::seeds::{amount, repeat, seeds_after, trace};
use strongroom_tests::harness::world::{START_NS, STATE};
use strongroom_tests::hostile::people::people;
use strongroom_tests::hostile::story::{Plan, live, tuning};
use strongroom_tests::hostile::vault::{Face, Lie, Mood, Vault};
use strongroom_workspace::door::{
    Core, Folding, Ino, Kind, ListDetail, NewNode, SyncLevel, SyncScope, WriteMode,
};
use strongroom_workspace::error::{Error, ErrorKind};
use strongroom_workspace::inbound::conflict::ConflictName;
use strongroom_workspace::limits::Broken;
use strongroom_workspace::{Mode, Options, Services, Tuning, Workspace};

/// Lives that once went wrong: a device took what others had done for gone, where the store had shown two histories; it asked
/// a store that always has one more thing without end; it put beside what it had done, where the store had not shown the past; it
/// gave up what a sync had returned for, where the store had lost it. In the last two a device was blamed for refusing the truth
/// that had committed to another history while a mount failed.
const FOUND: [u64; 12] =
    [992, 1092, 1232, 1264, 1868, 4213, 1371, 5880, 11_271, 26_221, 89_151, 99_672];

#[test]
fn whatever_the_store_does_a_device_shows_the_truth_or_an_error_and_loses_nothing() {
    let test = "whatever_the_store_does_a_device_shows_the_truth_or_an_error_and_loses_nothing";
    let mut lives: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for seed in seeds_after(&FOUND, 1, amount(300, 100_000)) {
        let plan = Plan::of(seed);
        let examined = live(seed, plan, &tuning()).unwrap_or_else(|what| {
            panic!("seed {seed}, {plan:?}: {what}\n{}", repeat("hostile", test, seed))
        });
        let (all, judged) = lives.entry(format!("{plan:?}")).or_default();
        (*all, *judged) = (*all + 1, *judged + u64::from(examined > 0));
    }
    // Who refuses everything loses nothing, and shows nothing either.
    let is_idle = |(all, judged): &(u64, u64)| *all > 10 && judged * 3 < *all;
    trace(|| format!("{lives:?}"));
    assert!(!lives.values().any(is_idle), "lives and those that end with files: {lives:?}");
}

#[test]
fn devices_that_leave_out_a_check_are_caught() {
    let mut escaped = vec![
        (Broken::HeadNotRemembered, Plan::GoingBack),
        (Broken::MarksNotCompared, Plan::Forking),
        (Broken::ParentNotCompared, Plan::Forking),
        (Broken::SignatureNotVerified, Plan::Forging),
        (Broken::PinsMayGoDown, Plan::Reviving),
        (Broken::OrganisationNotRemembered, Plan::Forgetting),
        (Broken::OrganisationNotFollowed, Plan::Forgetting),
        (Broken::OwnCommitByNumber, Plan::HidingOwn),
        (Broken::PutBelieved, Plan::Racing),
    ];
    escaped.retain(|(broken, plan)| caught(*broken, *plan).is_none());
    assert_eq!(escaped, []);
}

#[test]
fn a_device_that_refuses_an_honest_store_for_what_it_was_shown_before_is_caught() {
    let told = caught(Broken::RefusedRemembered, Plan::Forging);
    assert!(told.is_some_and(|told| told.contains("with an honest store")), "it is not excused");
}

/// What a life says of devices with a mistake; none if all of them pass.
fn caught(broken: Broken, plan: Plan) -> Option<String> {
    let tuning = Tuning { broken: Some(broken), ..tuning() };
    let caught = (1..=200).find_map(|seed| Some((seed, live(seed, plan, &tuning).err()?)));
    trace(|| format!("{broken:?}: {caught:?}"));
    caught.map(|(_, told)| told)
}

/// A device that is opened by hand.
struct Device {
    number: usize,
    disk: SimDisk,
    clock: Arc<SimClock>,
    face: Arc<Face>,
}

impl Device {
    fn new(vault: &Arc<Vault>, number: usize) -> Self {
        let disk = SimDisk::new(number as u64);
        let face = Arc::new(Face::new(vault.clone(), &disk, 1));
        Self { number, disk, clock: Arc::new(SimClock::new(START_NS)), face }
    }

    fn open(&self) -> Result<Workspace, Error> {
        self.open_with(tuning())
    }

    fn open_with(&self, tuning: Tuning) -> Result<Workspace, Error> {
        let services = Services {
            disk: Arc::new(self.disk.clone()),
            clock: self.clock.clone(),
            entropy: Arc::new(SimEntropy::new(self.number as u64)),
        };
        let (state_folder, owner) = (PathBuf::from(STATE), (CALLER.uid, CALLER.gid));
        let options = Options { state_folder, mode: Mode::ReadWrite, owner, tuning };
        let keys = people().unlock(self.number);
        Workspace::open(options, self.face.clone(), keys, services)
    }

    fn tick(&self, workspace: &Workspace) -> Result<(), Error> {
        self.clock.advance(Duration::from_secs(2));
        workspace.tick()
    }
}

fn make(workspace: &Workspace, name: &str) -> Result<(), Error> {
    let node = NewNode { kind: Kind::File, mode: 0o644, rdev: 0, target: Vec::new() };
    done(workspace.create(CALLER, Ino::ROOT, name.as_bytes(), node))?;
    workspace.commit()
}

#[test]
fn a_fork_is_told_by_the_first_commit_of_the_other_side_and_by_comparing_letters() {
    let vault = Arc::new(Vault::new(1));
    let [first, second] = [0, 1].map(|number| Device::new(&vault, number));
    let (desk, phone) = (first.open().unwrap(), second.open().unwrap());
    make(&desk, "common").unwrap();
    second.tick(&phone).unwrap();
    let head = |workspace: &Workspace| {
        let status = workspace.status();
        (status.head_seq, status.head_code.to_string())
    };
    assert_eq!(head(&desk), head(&phone));

    let branch = vault.fork(false);
    second.face.be(Mood { branch, ..Mood::default() });
    make(&desk, "of the desk").unwrap();
    make(&phone, "of the phone").unwrap();
    let ((here, letters), (there, others)) = (head(&desk), head(&phone));
    assert!(here == there && letters != others, "people who compare see it");

    make(&phone, "more of the phone").unwrap();
    first.face.be(Mood { crossed: Some(branch), ..Mood::default() });
    let told = first.tick(&desk).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Corrupt);
    assert!(told.to_string().contains("different things to different devices"), "{told}");
    assert_eq!(desk.status().trouble, Some(told.to_string()));
    let refused = make(&desk, "late").map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::ReadOnly), "nothing is written on top of it");
    let found = done(desk.lookup(Ino::ROOT, b"of the desk", Folding::Exact));
    assert!(found.is_ok(), "what is here can be read");

    // The other one is shown the first history when it is mounted again: it lacks what the phone has seen.
    drop(phone);
    second.face.be(Mood::default());
    let told = second.open().err().unwrap();
    assert!(told.to_string().starts_with("the store is not what this device last saw"), "{told}");
}

#[test]
fn a_commit_made_while_a_mount_fails_is_remembered() {
    let vault = Arc::new(Vault::new(1));
    let [first, second] = [0, 1].map(|number| Device::new(&vault, number));
    let (desk, phone) = (first.open().unwrap(), second.open().unwrap());
    make(&phone, "of the phone").unwrap();
    first.tick(&desk).unwrap();
    let branch = vault.fork(false);
    second.face.be(Mood { branch, ..Mood::default() });
    save(&phone, "notes", b"waits").unwrap();
    done(phone.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    drop(phone);
    make(&desk, "of the desk").unwrap();
    make(&desk, "more of the desk").unwrap();

    // Its next number is taken in the other history, and then it is shown what follows in this one.
    second.face.be(Mood { branch, crossed: Some(0), ..Mood::default() });
    let told = second.open().err().unwrap();
    assert!(told.to_string().contains("different things to different devices"), "{told}");
    assert!(second.face.made().is_some_and(|made| !vault.is_in_truth(made)));
    second.face.be(Mood::default());
    let told = second.open().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told.starts_with("the store is not what this device last saw"), "{told}");
}

#[test]
fn an_older_page_in_place_of_a_newer_one_is_told_by_its_hash() {
    let vault = Arc::new(Vault::new(1));
    let [first, second] = [0, 1].map(|number| Device::new(&vault, number));
    let page = || {
        let newest =
            vault.truth().into_iter().rfind(|(key, _)| key.family() == Some(Family::Checkpoint));
        let root = CheckpointFile::parse(&newest.unwrap().1).unwrap().root;
        assert_eq!(root.page_objects.len(), 1);
        let key = Key::Object(root.page_objects[0].object);
        (key, vault.truth()[&key].clone())
    };
    // Enough for a checkpoint at each end.
    let names = ["notes", "more", "still more"];
    let desk = first.open().unwrap();
    names.iter().for_each(|name| save(&desk, name, &[1; 900]).unwrap());
    desk.close().unwrap();
    drop(desk);
    let (_, older) = page();
    let desk = first.open().unwrap();
    for name in names {
        write(&desk, find(&desk, name).unwrap(), OPEN, &[2; 900]).unwrap();
    }
    desk.close().unwrap();
    let (key, newer) = page();
    assert_ne!(older, newer);
    assert_eq!(older.len(), newer.len(), "it fits in its place");

    second.face.be(Mood { forged: Some((key, older)), ..Mood::default() });
    let told = second.open().and_then(|phone| load(&phone, "notes"));
    assert_eq!(told.map_err(|error| error.kind()), Err(ErrorKind::Corrupt));
    // One that leaves out the check is caught by what it shows.
    let careless = Tuning { broken: Some(Broken::PageHashNotCompared), ..tuning() };
    let phone = second.open_with(careless).unwrap();
    assert_eq!(load(&phone, "notes").unwrap(), [1; 900]);
}

#[test]
fn what_a_store_shows_wrongly_of_the_past_puts_nothing_beside() {
    let vault = Arc::new(Vault::new(1));
    let [first, second] = [0, 1].map(|number| Device::new(&vault, number));
    let is_manifest = |key: &Key| key.family() == Some(Family::Checkpoint);
    let newest = || vault.truth().into_keys().rfind(is_manifest);
    let desk = first.open().unwrap();
    save(&desk, "notes", b"of the desk").unwrap();
    desk.commit().unwrap();
    let phone = second.open().unwrap();
    save(&phone, "notes", b"of the phone, who has seen the other").unwrap();
    done(phone.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    drop(phone);
    let before = newest().unwrap();
    for number in 0..200 {
        make(&desk, &format!("more {number}")).unwrap();
    }
    assert!(newest() > Some(before), "what the phone did it did on top of an earlier manifest");

    let forged = Some((before, Bytes::from_static(b"no manifest")));
    second.face.be(Mood { forged, ..Mood::default() });
    assert_eq!(second.open().err().map(|error| error.kind()), Some(ErrorKind::Corrupt));
    second.face.be(Mood::default());
    let phone = second.open().unwrap();
    second.tick(&phone).unwrap();
    assert_eq!(load(&phone, "notes").unwrap(), b"of the phone, who has seen the other");
}

#[test]
fn what_a_conflict_copy_needs_and_is_not_shown_is_an_error_and_there_when_it_is_shown() {
    let vault = Arc::new(Vault::new(1));
    let [first, second] = [0, 1].map(|number| Device::new(&vault, number));
    let (desk, phone) = (first.open().unwrap(), second.open().unwrap());
    second.tick(&phone).unwrap();
    save(&desk, "notes", &[1; 70_000]).unwrap();
    desk.commit().unwrap();
    second.tick(&phone).unwrap();
    let handle = done(phone.open(find(&phone, "notes").unwrap(), OPEN)).unwrap().handle;
    done(phone.write(handle, 0, &[2; 100], WriteMode::At, false)).unwrap();
    phone.release(handle);
    write(&desk, find(&desk, "notes").unwrap(), OPEN, &[3; 70_000]).unwrap();
    desk.commit().unwrap();

    let is_of_the_desk =
        |(key, bytes): &(Key, Bytes)| key.family() == Some(Family::Object) && bytes.len() > 70_000;
    let blocks: Vec<_> = vault.truth().into_iter().filter(is_of_the_desk).collect();
    for (key, _) in &blocks {
        now(first.face.delete(*key)).unwrap();
    }
    assert_eq!(second.tick(&phone).map_err(|error| error.kind()), Err(ErrorKind::Corrupt));
    for (key, bytes) in blocks {
        now(first.face.put(key, Body::Bytes(bytes))).unwrap();
    }
    second.tick(&phone).unwrap();
    assert_eq!(load(&phone, "notes").unwrap(), [3; 70_000]);
    let names = done(phone.read_folder(Ino::ROOT, 0, 100, ListDetail::Names)).unwrap();
    let copy = names.iter().find(|entry| ConflictName::parse(&entry.name).is_some()).unwrap();
    assert_eq!(read(&phone, copy.ino).unwrap(), [&[2; 100][..], &[1; 69_900]].concat());
}

#[test]
fn what_was_put_and_not_committed_is_there_at_a_restart_though_the_store_does_not_show_it() {
    let vault = Arc::new(Vault::new(1));
    let desk = Device::new(&vault, 0);
    let workspace = desk.open().unwrap();
    save(&workspace, "notes", &[7; 70_000]).unwrap();
    // Its blocks get through, the commit does not.
    desk.face.be(Mood { lies: vec![Lie::Lost], one_in: 1, ..Mood::default() });
    assert_eq!(workspace.commit().map_err(|error| error.kind()), Err(ErrorKind::Unavailable));
    done(workspace.sync(SyncScope::All, SyncLevel::Local)).unwrap();
    drop(workspace);

    let is_new = |key: &Key| !people().stored.contains_key(key);
    let objects = vault.truth().into_keys().filter(|key| key.family() == Some(Family::Object));
    let put: Vec<Key> = objects.filter(is_new).collect();
    assert_eq!(put.len(), 1);
    desk.face.be(Mood { forged: Some((put[0], Bytes::new())), ..Mood::default() });
    let workspace = desk.open().unwrap();
    assert_eq!(load(&workspace, "notes").unwrap(), [7; 70_000]);
    desk.face.be(Mood::default());
    workspace.commit().unwrap();
    drop(workspace);
    assert_eq!(load(&desk.open().unwrap(), "notes").unwrap(), [7; 70_000]);
}

#[test]
fn a_check_of_a_store_that_repeats_its_lists_ends() {
    let vault = Arc::new(Vault::new(1));
    let desk = Device::new(&vault, 0);
    desk.face.be(Mood { lies: vec![Lie::Repeated], one_in: 1, ..Mood::default() });
    let keys = people().unlock(0);
    let subject = Subject { store: desk.face.clone(), keys, local: None, now: 0 };
    // The store stops who asks without end.
    let refused = examine(&subject, &mut |_| {});
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
}
