//! A workspace's store, a device, custody: all in memory, and everything ever written kept.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod point;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use strongroom_audit::Pin;
use strongroom_authorizer::DecisionPoint;
use strongroom_cedar::Cedar;
use strongroom_crypto::kdf::PassphraseCost;
use strongroom_custody::Custody;
use strongroom_custody::vault::Vault;
use strongroom_host::sim::{SimClock, SimDisk, SimEntropy};
use strongroom_keyring::enrolment::{self, Applicant};
use strongroom_keyring::founding::found;
use strongroom_keyring::membership::Writer;
use strongroom_keyring::organisation::Organisation;
use strongroom_keyring::{DeviceKeys, device_file};
use strongroom_records::activity::{Basis, Reach};
use strongroom_records::ids::{ApplicationId, SubjectId};
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::{
    Answer, Asked, Custodian, Error, ErrorKind, Memory, PolicyLanguage, Proposal, Roster, Services,
    Stewardship, Target,
};
use strongroom_store::over::{Call, Over};
use strongroom_store::{Body, FolderStore, Key, Later, PolicyKey, Put, Shelf, Store, Uploaded};

pub const START_NS: i64 = 1_700_000_000_000_000_000;

/// A store that keeps every byte it was ever given, and can stop working at a call.
pub struct Tee {
    pub inner: FolderStore,
    pub ever: Mutex<Vec<(Key, Bytes)>>,
    pub calls_left: Mutex<Option<u64>>,
    pub deleted: Mutex<Vec<Key>>,
    /// How often a cell or a node of a keystore was read.
    pub looked: AtomicU64,
    fails: Mutex<Option<Fails>>,
    /// What happens while the next file of somebody is on its way here.
    meanwhile: Mutex<Option<Act>>,
    /// What comes in between before the next cell is put: that is not written over.
    before_cell: Mutex<Option<Act>>,
    /// What happens while something is read from here.
    while_read: Mutex<Option<(IsRead, Act)>>,
    /// Whether the next thing that is made once is said to have been there before.
    pub is_in_doubt: AtomicBool,
    /// Whether people's files are not answered for: whoever reads one waits.
    pub stalls: AtomicBool,
}

/// What is waited for among all that is read.
type IsRead = Box<dyn Fn(&Key) -> bool + Send>;
type Act = Box<dyn FnOnce() + Send>;
type Fails = Box<dyn FnMut(&Key) -> bool + Send>;

/// Whether it is a record of an application's register.
pub fn is_registers(key: &Key) -> bool {
    let Key::Policy(key) = key else { return false };
    key.shelf == Shelf::Log && key.application != ApplicationId::DIRECTORY.0
}

impl Tee {
    pub fn new() -> Arc<Self> {
        let inner = FolderStore::create(Arc::new(SimDisk::new(1)), "/store".into()).unwrap();
        let (ever, calls_left) = (Mutex::default(), Mutex::default());
        let (deleted, fails, looked) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        let (stalls, is_in_doubt, meanwhile) = Default::default();
        Arc::new(Self {
            inner,
            ever,
            calls_left,
            deleted,
            looked,
            fails,
            meanwhile,
            before_cell: Mutex::default(),
            while_read: Mutex::default(),
            is_in_doubt,
            stalls,
        })
    }

    /// The first thing that is so can be neither read nor removed, once.
    pub fn fail_once(&self, is_it: impl FnMut(&Key) -> bool + Send + 'static) {
        *self.fails.lock().unwrap() = Some(Box::new(is_it));
    }

    /// Something happens while the next file of somebody is on its way here.
    pub fn while_sent(&self, happens: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(happens));
    }

    /// Something happens while the first thing that is so is read.
    pub fn while_read(
        &self,
        is_it: impl Fn(&Key) -> bool + Send + 'static,
        happens: impl FnOnce() + Send + 'static,
    ) {
        *self.while_read.lock().unwrap() = Some((Box::new(is_it), Box::new(happens)));
    }

    /// Something comes in between before the next cell is put, which is refused then, as a server refuses what is put over
    /// something else than whoever puts it knows of.
    pub fn before_the_next_cell(&self, happens: impl FnOnce() + Send + 'static) {
        *self.before_cell.lock().unwrap() = Some(Box::new(happens));
    }

    /// How many files of people are there.
    pub fn file_count(&self) -> usize {
        let is_file = |key: &&Key| matches!(key, Key::Policy(key) if key.shelf == Shelf::Object);
        self.live().keys().filter(is_file).count()
    }

    /// Whether that is still to come.
    pub fn will_fail(&self) -> bool {
        self.fails.lock().unwrap().is_some()
    }

    fn try_once(&self, key: &Key) -> strongroom_store::Result<()> {
        match self.fails.lock().unwrap().take_if(|is_it| is_it(key)) {
            None => Ok(()),
            Some(_) => Err(strongroom_store::Error::new(
                strongroom_store::ErrorKind::Unavailable,
                "not this time",
            )),
        }
    }

    /// The machine dies before that many further changes are through.
    pub fn die_after(&self, calls: Option<u64>) {
        *self.calls_left.lock().unwrap() = calls;
    }

    /// Whether it has not died.
    pub fn has_room(&self) -> bool {
        self.calls_left.lock().unwrap().is_none_or(|left| left > 0)
    }

    pub fn get_now(&self, key: Key) -> Option<Bytes> {
        strongroom_store::now(self.inner.get(key, None)).ok()
    }

    pub fn put_now(&self, key: Key, bytes: Bytes) {
        strongroom_store::now(self.inner.put(key, Body::Bytes(bytes))).unwrap();
    }

    /// Everything that is there now.
    pub fn live(&self) -> BTreeMap<Key, Bytes> {
        let keys: Vec<Key> = self.ever.lock().unwrap().iter().map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| Some((key, self.get_now(key)?))).collect()
    }

    fn change(&self) -> strongroom_store::Result<()> {
        let mut left = self.calls_left.lock().unwrap();
        match left.as_mut() {
            Some(0) => Err(strongroom_store::Error::new(
                strongroom_store::ErrorKind::Unavailable,
                "the machine died",
            )),
            Some(count) => {
                *count -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn keep(&self, key: Key, bytes: &Bytes) {
        self.ever.lock().unwrap().push((key, bytes.clone()));
    }
}

impl Over for Tee {
    fn below(&self) -> &dyn Store {
        &self.inner
    }

    fn before(&self, call: Call) -> strongroom_store::Result<()> {
        match call {
            Call::Get(key) => {
                let happens = self.while_read.lock().unwrap().take_if(|(is_it, _)| is_it(&key));
                happens.into_iter().for_each(|(_, happens)| happens());
                self.try_once(&key)?;
                let is_looked = |shelf| matches!(shelf, Shelf::Cell | Shelf::Node);
                if matches!(key, Key::Policy(key) if is_looked(key.shelf)) {
                    self.looked.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
            Call::Put(Key::Policy(PolicyKey { shelf: Shelf::Cell, .. })) => {
                let happens = self.before_cell.lock().unwrap().take();
                let Some(happens) = happens else { return self.change() };
                happens();
                let kind = strongroom_store::ErrorKind::Exists;
                Err(strongroom_store::Error::new(kind, "it was changed meanwhile"))
            }
            Call::Put(_) | Call::PutIfAbsent(_) => self.change(),
            Call::List(_) => Ok(()),
            Call::Delete(key) => {
                self.try_once(&key).and_then(|()| self.change())?;
                self.deleted.lock().unwrap().push(key);
                Ok(())
            }
        }
    }

    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        let is_file = matches!(key, Key::Policy(key) if key.shelf == Shelf::Object);
        if is_file && self.stalls.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        self.inner.get(key, range)
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        if matches!(key, Key::Policy(key) if key.shelf == Shelf::Object) {
            let happens = self.meanwhile.lock().unwrap().take();
            happens.into_iter().for_each(|happens| happens());
        }
        if let Body::Bytes(bytes) = &body {
            self.keep(key, bytes);
        }
        self.inner.put(key, body)
    }

    fn put_if_absent<'a>(&'a self, key: Key, bytes: Bytes) -> Later<'a, Put> {
        self.keep(key, &bytes);
        let put = self.inner.put_if_absent(key, bytes);
        match self.is_in_doubt.swap(false, Ordering::SeqCst) {
            true => Box::pin(async { put.await.map(|_| Put::Exists) }),
            false => put,
        }
    }
}

#[derive(Default)]
pub struct Pins {
    pub heads: Mutex<BTreeMap<ApplicationId, Pin>>,
    /// Ledgers of erasures by their places; what is not there is away.
    pub ledgers: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Memory for Pins {
    fn recall(&self, application: &ApplicationId) -> strongroom_steward::Result<Option<Pin>> {
        Ok(self.heads.lock().unwrap().get(application).copied())
    }

    fn remember(&self, application: &ApplicationId, pin: &Pin) -> strongroom_steward::Result<()> {
        self.heads.lock().unwrap().insert(*application, *pin);
        Ok(())
    }

    fn ledger(&self, place: &str) -> strongroom_steward::Result<Vec<u8>> {
        let found = self.ledgers.lock().unwrap().get(place).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::Unavailable, "no ledger"))
    }

    fn add_to_ledger(&self, place: &str, receipts: &[u8]) -> strongroom_steward::Result<()> {
        let mut ledgers = self.ledgers.lock().unwrap();
        if receipts.is_empty() {
            ledgers.entry(place.to_owned()).or_default();
        }
        let ledger = ledgers.get_mut(place);
        let ledger = ledger.ok_or_else(|| Error::new(ErrorKind::Unavailable, "no ledger"))?;
        ledger.extend_from_slice(receipts);
        Ok(())
    }
}

pub struct CedarLanguage;

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
}

pub struct World {
    /// Genesis and first epoch of the organisation log.
    pub founding: [Vec<u8>; 2],
    pub store: Arc<Tee>,
    pub clock: Arc<SimClock>,
    pub vault: Vault,
    pub pins: Arc<Pins>,
    pub services: Services,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let entropy = Arc::new(SimEntropy::new(seed));
        let clock = Arc::new(SimClock::new(START_NS));
        let made =
            found(b"a passphrase", PassphraseCost::WEAK_FOR_TESTS, START_NS, &*entropy).unwrap();
        let mut organisation =
            Organisation::verify(&made.genesis, &made.keys.organisation()).unwrap();
        organisation.extend(&made.first_epoch).unwrap();
        let store = Tee::new();
        let founding = [made.genesis.clone(), made.first_epoch.clone()];
        for (position, record) in (0..).zip(&founding) {
            store.put_now(Key::Organisation(position), record.clone().into());
        }
        let pins = Arc::new(Pins::default());
        let services = Services {
            store: Arc::clone(&store) as Arc<dyn Store>,
            wait: strongroom_store::now,
            keys: Arc::new(made.keys),
            organisation: Arc::new(Roster::new(organisation)),
            clock: Arc::clone(&clock) as Arc<_>,
            entropy,
            memory: Arc::clone(&pins) as Arc<_>,
            language: Arc::new(CedarLanguage),
        };
        Self { founding, store, clock, vault: Vault::new(), pins, services }
    }

    /// One with a second device in its organisation: what that device works with.
    pub fn of_two(seed: u64) -> (Self, Services) {
        let mut world = Self::new(seed);
        let (applicant, bob) = world.applicant();
        let record = world.writer(|writer| writer.admit(&applicant, "bob's laptop"));
        let organisation = world.take_in(record);
        bob.learn(&organisation).unwrap();
        let organisation = Arc::new(Roster::new(organisation));
        let (keys, memory) = (Arc::new(bob), Arc::new(Pins::default()) as Arc<_>);
        let theirs = Services { keys, memory, organisation, ..world.services.clone() };
        (world, theirs)
    }

    /// Takes in a device that works for a consumer.
    pub fn consumer(&mut self, consumer: &str) -> DeviceKeys {
        let (applicant, keys) = self.applicant();
        let admit = |writer: &Writer<'_>| writer.admit_consumer(&applicant, "far", consumer);
        let record = self.writer(admit);
        self.take_in(record);
        keys
    }

    fn applicant(&self) -> (Applicant, DeviceKeys) {
        let (keys, entropy) = (&self.services.keys, &*self.services.entropy);
        let place = (keys.organisation(), keys.workspace());
        let cost = PassphraseCost::WEAK_FOR_TESTS;
        let asked = enrolment::request(place, b"bob", cost, START_NS, entropy).unwrap();
        let applicant = Applicant::verify(&asked.request).unwrap();
        (applicant, device_file::unlock(&asked.device_file, b"bob").unwrap())
    }

    fn writer(
        &self,
        write: impl FnOnce(&Writer<'_>) -> strongroom_keyring::error::Result<Vec<u8>>,
    ) -> Vec<u8> {
        let (keys, entropy) = (&self.services.keys, &*self.services.entropy);
        let organisation = &self.services.organisation.now();
        write(&Writer { keys, organisation, time_ns: START_NS, entropy }).unwrap()
    }

    fn take_in(&mut self, record: Vec<u8>) -> Organisation {
        let mut organisation = Organisation::clone(&self.services.organisation.now());
        organisation.extend(&record).unwrap();
        self.store.put_now(Key::Organisation(organisation.position()), record.into());
        self.services.organisation = Arc::new(Roster::new(organisation.clone()));
        organisation
    }

    pub fn custody(&self) -> Arc<dyn Custody> {
        Arc::new(self.vault.clone())
    }

    pub fn stewardship(&self) -> Stewardship {
        Stewardship::open(self.services.clone()).unwrap()
    }

    pub fn create(&self, name: &str) -> Custodian {
        self.stewardship().create(name, "vault:", self.custody(), 1).unwrap()
    }

    pub fn open(&self, name: &str) -> Custodian {
        self.stewardship().application(name, self.custody()).unwrap()
    }
}

pub fn own(subject: SubjectId, class: &str) -> Asked {
    Asked { activity: None, subject: subject.to_string(), class: class.into(), purpose: None }
}

pub fn by(activity: &str, subject: impl ToString, class: &str) -> Asked {
    let (activity, class) = (Some(activity.to_owned()), class.to_owned());
    Asked { activity, subject: subject.to_string(), class, purpose: None }
}

pub fn proposal(name: &str, basis: Basis, classes: &[&str]) -> Proposal {
    Proposal {
        name: name.into(),
        consumer: "mailer".into(),
        purpose: "marketing.email".into(),
        basis,
        classes: classes.iter().map(|class| (*class).to_owned()).collect(),
        reach: Reach::Read,
        recipients: vec![],
        retention_days: Some(30),
        expires: None,
        notice: "We write to you.".into(),
    }
}

pub fn registered(custodian: &mut Custodian, name: &str, basis: Basis, classes: &[&str]) {
    custodian.register_activity(proposal(name, basis, classes)).unwrap();
    custodian.approve_activity(name).unwrap();
}

pub fn answer(activity: &str, status: ConsentStatus) -> Answer {
    Answer {
        activity: activity.into(),
        status,
        explicit: false,
        classes: vec![],
        until: None,
        evidence: b"ticked the box".to_vec(),
    }
}

pub fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.err().expect("an error").kind()
}

/// What was written, in order.
#[derive(Default)]
pub struct Written(pub Vec<(String, Vec<u8>)>);

impl Target for Written {
    fn write(&mut self, path: &str, bytes: &[u8]) -> strongroom_steward::Result<()> {
        self.0.push((path.to_owned(), bytes.to_vec()));
        Ok(())
    }
}
